//! Who leads: decides what to ask of the Lease and until when this process may write. Pure; `leader` asks, the time is
//! passed in. Invariant: no two candidates' `write_deadline`s lie in the future at once. It holds since a Lease is only
//! replaced in the version that was read, a holder counts from before its request, everybody else from after they
//! saw the record change, both by their own monotonic clock; the times in the record are for people.

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Who a candidate is, and how long leading lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Names this process, no other and no earlier one.
    pub identity: String,
    /// How long others leave an unchanged record alone.
    pub duration: Duration,
    /// How long after the last successful renewal this process considers itself leading.
    pub renew_deadline: Duration,
    /// How often a leader renews.
    pub retry: Duration,
}

/// What the Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Empty: released.
    pub holder: String,
    pub duration: Duration,
    pub acquired: Option<Timestamp>,
    pub renewed: Option<Timestamp>,
    pub transitions: i32,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this, for [`Terms::request_timeout`] at most, and pass the [`Answer`] on.
    Ask(Request),
    /// Nothing to do before then.
    Wait(Instant),
    /// The candidate stopped; the Lease is released if it was held.
    Done,
}

/// What is asked of the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Read,
    Create(Record),
    /// Replaces exactly this version.
    Replace(Record, String),
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Found(Record, String),
    Absent,
    /// Created or replaced; the new version.
    Written(String),
    /// Somebody else created or changed it, or it is gone.
    Conflict,
    /// An error or no answer in time: it may have been applied all the same.
    Failed,
}

/// One process that wants to lead.
#[derive(Debug)]
pub struct Candidate {
    terms: Terms,
    known: Option<Known>,
    /// The Lease has to be read before anything is decided.
    stale: bool,
    /// A claim was sent, and nothing since says that the Lease isn't ours.
    claimed: bool,
    /// Start of the last successful request to hold the Lease.
    renewed: Option<Instant>,
    pending: Option<Pending>,
    due: Instant,
    /// When to give releasing up.
    stopping: Option<Instant>,
}

/// The Lease as it was last read or written.
#[derive(Debug, Clone)]
struct Known {
    record: Record,
    /// Empty: there is no Lease any more.
    version: String,
    /// When this process saw the record change.
    changed: Instant,
}

#[derive(Debug)]
struct Pending {
    started: Instant,
    written: Option<Record>,
}

impl Terms {
    /// Lease 10 s, renew deadline 6 s, retry 2 s.
    pub fn new(identity: impl Into<String>) -> Self {
        let [duration, renew_deadline, retry] = [10, 6, 2].map(Duration::from_secs);
        Self { identity: identity.into(), duration, renew_deadline, retry }
    }

    /// After this a request counts as failed, so that two fit before the renew deadline.
    pub fn request_timeout(&self) -> Duration {
        self.renew_deadline / 3
    }

    /// How long a leader may write after the start of its last renewal. A tenth of the lease is left for clocks that
    /// run at different rates and for a write that is on its way when it is given up.
    fn write_time(&self) -> Duration {
        self.duration - self.duration / 10
    }

    /// How often the others look: often enough to follow a released Lease within a second or so.
    fn poll(&self) -> Duration {
        self.retry / 2
    }
}

impl Candidate {
    /// A candidate that knows nothing yet.
    pub fn new(terms: Terms, now: Instant) -> Self {
        Self { terms, known: None, stale: true, claimed: false, renewed: None, pending: None, due: now, stopping: None }
    }

    /// Tells whether this process leads.
    pub fn is_leading(&self, now: Instant) -> bool {
        self.renew_deadline().is_some_and(|deadline| now < deadline)
    }

    /// Tells until when a write that began while leading may be under way; `None` without leadership.
    pub fn write_deadline(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.terms.write_time())
    }

    /// Tells when [`Self::is_leading`] ends if nothing is renewed.
    pub fn renew_deadline(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.terms.renew_deadline)
    }

    /// Gives leadership up at once, and the Lease with the next steps: call it when no write is under way any more.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = Some(now + self.terms.retry);
        self.renewed = None;
        self.due = now;
    }

    /// Says what to do now. After [`Action::Ask`], [`Self::answer`] comes before the next step.
    pub fn step(&mut self, now: Instant, wall: Timestamp) -> Action {
        if self.stopping.is_some_and(|limit| now >= limit || !self.claimed) {
            return Action::Done;
        }
        if now < self.due {
            return Action::Wait(self.due);
        }
        let request = match self.next_request(now, wall) {
            Ok(request) => request,
            Err(due) => {
                self.due = due;
                self.stale = true;
                return Action::Wait(due);
            }
        };
        let written = match &request {
            Request::Read => None,
            Request::Create(record) | Request::Replace(record, _) => Some(record.clone()),
        };
        self.claimed |= written.as_ref().is_some_and(|record| record.holder == self.terms.identity);
        self.pending = Some(Pending { started: now, written });
        Action::Ask(request)
    }

    /// Takes what came of the last request; `now` is after the answer arrived or was given up.
    pub fn answer(&mut self, answer: Answer, now: Instant) {
        let Some(Pending { started, written }) = self.pending.take() else { return };
        match answer {
            Answer::Found(record, version) => self.found(record, version, now),
            Answer::Absent => self.absent(),
            Answer::Written(version) => {
                if let Some(record) = written {
                    self.written(record, version, started, now);
                }
            }
            Answer::Conflict => self.stale = true,
            Answer::Failed => self.failed(started, now),
        }
    }

    fn next_request(&self, now: Instant, wall: Timestamp) -> Result<Request, Instant> {
        if self.stale {
            return Ok(Request::Read);
        }
        let Some(known) = &self.known else {
            return Ok(Request::Create(self.claim(None, wall)));
        };
        if self.stopping.is_some() {
            return Ok(Request::Replace(released(&known.record, wall), known.version.clone()));
        }
        let expiry = known.changed + known.record.duration;
        let is_free = known.record.holder.is_empty() || known.record.holder == self.terms.identity || now >= expiry;
        match (is_free, known.version.as_str()) {
            (false, _) => Err((now + self.terms.poll()).min(expiry)),
            (true, "") => Ok(Request::Create(self.claim(Some(&known.record), wall))),
            (true, version) => Ok(Request::Replace(self.claim(Some(&known.record), wall), version.to_owned())),
        }
    }

    /// The record that makes this process the holder. Its renewal time always grows, so that others see every renewal.
    fn claim(&self, before: Option<&Record>, wall: Timestamp) -> Record {
        let renewed = later_than(before, wall);
        let ours = before.filter(|record| record.holder == self.terms.identity);
        Record {
            holder: self.terms.identity.clone(),
            duration: self.terms.duration,
            acquired: ours.and_then(|record| record.acquired).or(Some(renewed)),
            renewed: Some(renewed),
            transitions: match (before, ours) {
                (None, _) => 0,
                (Some(record), Some(_)) => record.transitions,
                (Some(record), None) => record.transitions.saturating_add(1),
            },
        }
    }

    fn found(&mut self, record: Record, version: String, now: Instant) {
        let unchanged = self.known.as_ref().filter(|known| known.record == record);
        let changed = unchanged.map_or(now, |known| known.changed);
        if record.holder != self.terms.identity {
            self.renewed = None;
            self.claimed = false;
        }
        self.known = Some(Known { record, version, changed });
        self.stale = false;
    }

    /// A Lease that somebody deleted says nothing about its holder, who may not know yet: its time runs all the same.
    fn absent(&mut self) {
        self.renewed = None;
        self.claimed = false;
        self.stale = false;
        if let Some(known) = &mut self.known {
            known.version.clear();
        }
    }

    fn written(&mut self, record: Record, version: String, started: Instant, now: Instant) {
        let is_ours = record.holder == self.terms.identity;
        self.claimed = is_ours;
        self.stale = false;
        self.known = Some(Known { record, version, changed: now });
        if is_ours && self.stopping.is_none() {
            self.renewed = Some(started);
            self.due = started + self.terms.retry;
        }
    }

    /// A holder tries the same version again; anybody else looks first.
    fn failed(&mut self, started: Instant, now: Instant) {
        const RELEASE_AGAIN: Duration = Duration::from_millis(200);
        let (stopping, leading) = (self.stopping.is_some(), self.is_leading(now));
        self.stale |= stopping || !leading;
        self.due = match (stopping, leading) {
            (true, _) => now + RELEASE_AGAIN,
            (false, true) => started + self.terms.retry,
            (false, false) => started + self.terms.poll(),
        };
    }
}

/// The record that lets the next one in at once.
fn released(before: &Record, wall: Timestamp) -> Record {
    Record {
        holder: String::new(),
        duration: Duration::from_secs(1),
        renewed: Some(later_than(Some(before), wall)),
        ..before.clone()
    }
}

fn later_than(before: Option<&Record>, wall: Timestamp) -> Timestamp {
    let last = before.and_then(|record| record.renewed);
    let next = last.and_then(|last| last.checked_add(SignedDuration::from_micros(1)).ok());
    next.map_or(wall, |next| next.max(wall))
}
