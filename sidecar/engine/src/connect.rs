//! Finds one client a node that answers: dials the chosen node, the next one when it fails or stays silent,
//! and takes the first answer. Dials that lose run on to their own end, so that their nodes are judged.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use crate::{
    chain::{Path, mark_refused, reach},
    dial::DialError,
    group::{Dialing, Group, Node},
    resolve::Resolver,
    secrets::Secrets,
    selector::{Ticket, Why},
    stats::ClientCounters,
    stream::Stream,
};

/// Dials of one node that may run on after losing; further ones are dropped unjudged.
const JUDGED_LIMIT: u32 = 64;
/// Dials that one client may have under way.
const PARALLEL_DIALS: usize = 3;
/// Dial time-outs after which no further node is tried for a client.
const PATIENCE: u32 = 4;

/// What connecting a client needs besides the group.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) resolver: Arc<Resolver>,
    /// Time limit of each dial.
    pub(crate) timeout: Duration,
    /// The tasks of lost dials.
    pub(crate) judges: TaskTracker,
    pub(crate) secrets: Arc<Secrets>,
    /// What is gone through to the nodes.
    pub(crate) path: Path,
}

/// A node that answered, and the connection to it. Dropped before `answered` or `failed`, the node is unjudged.
pub(crate) struct Connected {
    stream: Stream,
    dialing: Dialing,
    /// The number of the hop whose node it is; none for a target.
    level: Option<u32>,
}

/// One client's dials.
struct Race<'a> {
    group: &'a Arc<Group>,
    dialer: &'a Dialer,
    ticket: &'a mut Ticket,
    running: Vec<Attempt>,
    /// When to dial another node beside those that run.
    hedge_at: Option<Instant>,
    /// A hop before the nodes failed: no further node is dialled.
    cut_off: bool,
}

struct Attempt {
    dialing: Dialing,
    answer: Pin<Box<dyn Future<Output = Result<Stream, DialError>> + Send>>,
}

/// Connects the client of `ticket` to the first node of `group` that answers. The error is the last dial's; none if
/// there was no node to dial.
pub(crate) async fn connect(
    group: &Arc<Group>,
    dialer: &Dialer,
    counters: &ClientCounters,
    ticket: &mut Ticket,
) -> Result<Connected, Option<DialError>> {
    let mut race = Race { group, dialer, ticket, running: Vec::with_capacity(1), hedge_at: None, cut_off: false };
    let give_up = Instant::now() + dialer.timeout * PATIENCE;
    let mut failure = None;
    loop {
        if race.running.is_empty() && (Instant::now() >= give_up || !race.begin(Why::Nothing)) {
            return Err(failure);
        }
        tokio::select! {
            biased;
            (dialing, answer) = first_ended(&mut race.running) => match answer {
                Ok(stream) => {
                    counters.passed_on.fetch_add(u64::from(!dialing.is_first_of(race.ticket)), Relaxed);
                    return Ok(race.won(dialing, stream));
                }
                Err(error) if error.hop != dialer.path.level() => {
                    // It says nothing about this node, and the next one would meet the same.
                    drop(dialing);
                    race.cut_off = true;
                    failure = Some(error);
                }
                Err(error) => {
                    dialing.failed(&error);
                    let ours = error.cause.is_shortage();
                    failure = Some(error);
                    if ours {
                        // The other nodes would only be asked with what this host doesn't have.
                        race.leave();
                        return Err(failure);
                    }
                }
            },
            () = at(race.hedge_at) => {
                let begun = race.begin(Why::Silence) && !race.ticket.has_started_over();
                counters.hedged.fetch_add(u64::from(begun), Relaxed);
            }
        }
    }
}

impl Race<'_> {
    /// Dials the next node; false when there is none that helps.
    fn begin(&mut self, why: Why) -> bool {
        self.hedge_at = None;
        if self.cut_off {
            return false;
        }
        let Some((dialing, hedge_after)) = self.group.select(self.ticket, why) else { return false };
        self.running.push(Attempt::begin(dialing, self.dialer));
        if self.running.len() < PARALLEL_DIALS {
            self.hedge_at = hedge_after.map(|after| Instant::now() + after);
        }
        true
    }

    fn won(mut self, mut dialing: Dialing, stream: Stream) -> Connected {
        dialing.note_answer();
        self.leave();
        Connected { stream, dialing, level: self.dialer.path.level() }
    }

    /// Leaves the dials under way to be judged.
    fn leave(&mut self) {
        self.running.drain(..).for_each(|lost| lost.run_on(self.dialer));
    }
}

impl Connected {
    /// The connection, of a node that has said all it had to.
    pub(crate) fn answered(mut self) -> (Stream, Arc<Node>) {
        let node = Arc::clone(&self.dialing.node);
        if let Stream::Late(late) = &mut self.stream {
            late.on_refusal(mark_refused(self.dialing.chosen(), self.level));
        }
        self.dialing.answered();
        (self.stream, node)
    }

    /// The connection, and the dial that is still to be judged.
    pub(crate) fn taken(self) -> (Stream, Dialing) {
        (self.stream, self.dialing)
    }
}

impl Attempt {
    fn begin(dialing: Dialing, dialer: &Dialer) -> Self {
        let answer = reach(dialer.clone(), Arc::clone(&dialing.node.address));
        Self { dialing, answer }
    }

    fn run_on(mut self, dialer: &Dialer) {
        let level = dialer.path.level();
        if !self.dialing.run_on(JUDGED_LIMIT) {
            return;
        }
        dialer.judges.spawn(async move {
            match self.answer.await {
                Ok(_) => self.dialing.answered_late(),
                Err(error) if error.hop == level => self.dialing.failed(&error),
                // Of a hop before it.
                Err(_) => drop(self.dialing),
            }
        });
    }
}

/// Waits for whichever attempt ends first, and takes it out.
async fn first_ended(running: &mut Vec<Attempt>) -> (Dialing, Result<Stream, DialError>) {
    let (index, answer) = poll_fn(|context: &mut Context<'_>| {
        let ended =
            running.iter_mut().enumerate().find_map(|(index, attempt)| match attempt.answer.as_mut().poll(context) {
                Poll::Ready(answer) => Some((index, answer)),
                Poll::Pending => None,
            });
        ended.map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    (running.swap_remove(index).dialing, answer)
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
