//! One association's way through a chain: a task that opens a way when there is something to carry, carries until the
//! way breaks, and opens another when there is something again, so that the client's association outlives it.
//! Called by the `courier`, to whom answers go back; what is said to the last hop is in `way`.
//!
//! Who is marked: a hop's node that can't be reached, and a target that a hop refuses. A way that breaks marks nobody:
//! opening the next one shows who is at fault.

mod carry;
mod way;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fairlead_config::HostPort;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{Shared, upstream::TRIAL};
use crate::{
    association::Id,
    chain::mark_refused,
    dial::{DialCause, DialError},
    group::{Chosen, Dialing, Group},
    selector::{Ticket, Why},
    stats::{DatagramCounters, Dropped},
    stream::Stream,
};
pub(crate) use way::{Framing, beside, in_stream};

/// Datagrams, and bytes of them, that wait for a way.
const QUEUE: usize = 64;
const QUEUE_BYTES: usize = 256 * 1024;
/// A way that lasted so long was a good one.
const LASTED: Duration = Duration::from_secs(5);
/// How often the same association tells that its target lives.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// The shortest and the longest pause before the next attempt.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// The courier's end; dropping it ends the way.
pub(super) struct Tunnel {
    to_task: mpsc::Sender<Box<[u8]>>,
    queued: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

/// A datagram for an association's client.
pub(super) struct Answer {
    pub(super) id: Id,
    pub(super) datagram: Box<[u8]>,
}

/// The task's end.
struct Line {
    from_client: FromClient,
    to_client: ToClient,
}

/// What the client sends.
struct FromClient {
    shared: Arc<Shared>,
    worker: usize,
    datagrams: mpsc::Receiver<Box<[u8]>>,
    queued: Arc<AtomicUsize>,
}

/// Where answers go, and what is learnt of who sent them.
struct ToClient {
    id: Id,
    answers: mpsc::Sender<Answer>,
    target: Option<Target>,
}

/// The target of an association, for as long as it has not failed.
pub(crate) struct Target {
    chosen: Chosen,
    /// Not judged yet.
    dialing: Option<Dialing>,
    told_at: Instant,
}

impl Tunnel {
    /// Begins the task, on the worker this is called on.
    pub(super) fn begin(id: Id, shared: &Arc<Shared>, worker: usize, answers: mpsc::Sender<Answer>) -> Self {
        let (to_task, datagrams) = mpsc::channel(QUEUE);
        let queued = Arc::new(AtomicUsize::new(0));
        let from_client = FromClient { shared: Arc::clone(shared), worker, datagrams, queued: Arc::clone(&queued) };
        let line = Line { from_client, to_client: ToClient { id, answers, target: None } };
        Self { to_task, queued, _task: AbortOnDropHandle::new(tokio::spawn(line.run())) }
    }

    /// Whether it takes nothing any more.
    pub(super) fn is_over(&self) -> bool {
        self.to_task.is_closed()
    }

    /// Takes the first of the datagrams for which there is room; returns how many.
    pub(super) fn take(&self, datagrams: &[&[u8]]) -> usize {
        for (index, datagram) in datagrams.iter().enumerate() {
            let is_full = self.queued.load(Relaxed) + datagram.len() > QUEUE_BYTES;
            if is_full || self.to_task.try_send((*datagram).into()).is_err() {
                return index;
            }
            self.queued.fetch_add(datagram.len(), Relaxed);
        }
        datagrams.len()
    }
}

impl Line {
    async fn run(mut self) {
        let mut outage = Outage::default();
        while let Some(first) = self.from_client.next().await {
            if self.shared().chain.is_empty() {
                return;
            }
            let began = Instant::now();
            let outcome = match self.open().await {
                Ok(way) => {
                    let ended = way.carry(first, &mut self).await;
                    let cause = ended.err().map(|error| DialCause::Other(error.to_string()));
                    outage.is_over_after(began);
                    cause
                }
                Err(error) => {
                    self.from_client.count().drop(Dropped::NoNode, 1);
                    self.shared().unserved.fetch_add(1, Relaxed);
                    tracing::debug!(forward = %self.shared().key, %error, "no way for an association");
                    Some(error.cause)
                }
            };
            // None: the association has ended.
            let Some(cause) = outcome else { return };
            tracing::trace!(forward = %self.shared().key, %cause, "an association's way has ended");
            outage.rest(began, &cause).await;
        }
    }

    fn shared(&self) -> &Shared {
        &self.from_client.shared
    }

    /// The association's target; another one if the last was refused.
    fn target(&mut self) -> Result<&mut Target, DialError> {
        let target = match self.to_client.target.take() {
            Some(target) => target,
            None => Target::choose(&self.from_client.shared.group)?,
        };
        Ok(self.to_client.target.insert(target))
    }
}

impl FromClient {
    /// The next datagram; none when the association has ended.
    async fn next(&mut self) -> Option<Box<[u8]>> {
        let datagram = self.datagrams.recv().await?;
        self.queued.fetch_sub(datagram.len(), Relaxed);
        Some(datagram)
    }

    /// The next one if it is there already.
    fn next_now(&mut self) -> Option<Box<[u8]>> {
        let datagram = self.datagrams.try_recv().ok()?;
        self.queued.fetch_sub(datagram.len(), Relaxed);
        Some(datagram)
    }

    fn count(&self) -> &DatagramCounters {
        &self.shared.counters[self.worker]
    }
}

impl ToClient {
    /// Hands an answer on, once the courier has room for it; false when it is gone.
    async fn answer(&mut self, datagram: &[u8]) -> bool {
        if let Some(target) = &mut self.target {
            target.answered(Instant::now());
        }
        self.answers.send(Answer { id: self.id, datagram: datagram.into() }).await.is_ok()
    }

    /// Returns once a dead target that is tried has drawn no refusal for a while; never for others.
    async fn trial(&self) {
        match &self.target {
            Some(target) if target.is_on_trial() => sleep(TRIAL).await,
            _ => std::future::pending().await,
        }
    }

    fn passed_trial(&mut self) {
        if let Some(target) = &mut self.target {
            target.passed_trial();
        }
    }
}

impl Target {
    /// The next target that may be tried.
    pub(crate) fn choose(group: &Arc<Group>) -> Result<Self, DialError> {
        let (dialing, _) = group.select(&mut Ticket::default(), Why::Nothing).ok_or_else(|| {
            DialError::new(HostPort::new("", 0), DialCause::Other("no target may be tried now".to_owned()))
        })?;
        dialing.node.counters.connections.fetch_add(1, Relaxed);
        Ok(Self { chosen: dialing.chosen(), dialing: Some(dialing), told_at: Instant::now() })
    }

    pub(crate) fn address(&self) -> Arc<HostPort> {
        Arc::clone(&self.chosen.node.address)
    }

    /// It can't be reached.
    pub(crate) fn failed(self, error: &DialError) {
        self.dialing.unwrap_or_else(|| self.chosen.dialing(self.told_at)).failed(error);
    }

    /// It has failed once the hop before it says late that it can't be reached.
    pub(crate) fn hears_of_refusal(&self, stream: &mut Stream) {
        if let Stream::Late(late) = stream {
            late.on_refusal(mark_refused(self.chosen.clone(), None));
        }
    }

    /// Whether it was dead when it was chosen, and nothing has been learnt of it since.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.dialing.as_ref().is_some_and(Dialing::is_of_a_dead_node)
    }

    /// A trial's time is over without a refusal.
    pub(crate) fn passed_trial(&mut self) {
        if let Some(dialing) = self.dialing.take_if(|dialing| dialing.is_of_a_dead_node()) {
            dialing.answered_late();
        }
    }

    /// It answered.
    pub(crate) fn answered(&mut self, now: Instant) {
        match self.dialing.take() {
            Some(dialing) => dialing.answered(),
            None if now.saturating_duration_since(self.told_at) < TELL_AGAIN => return,
            None => self.chosen.dialing(self.told_at).answered_late(),
        }
        self.told_at = now;
    }
}

/// Since when no way has been a good one, if the last one was none.
#[derive(Default)]
pub(crate) struct Outage(Option<Instant>);

impl Outage {
    /// A way that began then has ended.
    pub(crate) fn is_over_after(&mut self, began: Instant) {
        if began.elapsed() >= LASTED {
            self.0 = None;
        }
    }

    /// Waits before the next attempt, unless the last one took long by itself.
    pub(crate) async fn rest(&mut self, began: Instant, cause: &DialCause) {
        if began.elapsed() < LASTED {
            let since = *self.0.get_or_insert(began);
            sleep(pause(since.elapsed(), cause, rand::random())).await;
        }
    }
}

/// How long to wait before the next attempt: at most a quarter of the time that the hop has been away. A refused login
/// is tried rarely.
fn pause(away: Duration, cause: &DialCause, dice: f64) -> Duration {
    let (least, most) = PAUSES;
    if matches!(cause, DialCause::Login(_)) {
        return most;
    }
    (away / 4).clamp(least, most).mul_f64(1.0 - dice.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_a_quarter_of_the_outage_and_never_long() {
        let seconds = Duration::from_secs;
        let refused = DialCause::Refused;
        for (away, most) in [(seconds(0), 0.25), (seconds(1), 0.25), (seconds(8), 2.0), (seconds(600), 30.0)] {
            for dice in [0.0, 0.5, 1.0] {
                let pause = pause(away, &refused, dice).as_secs_f64();
                assert!(pause <= most && pause >= most * 0.75, "{away:?} {dice}: {pause}");
            }
        }
        assert_eq!(pause(seconds(0), &DialCause::Login(String::new()), 1.0), seconds(30));
    }
}
