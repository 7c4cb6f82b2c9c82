//! Finds one client a node that answers: dials the chosen node, the next one when it fails or stays silent,
//! and takes the first answer. Dials that lose run on to their own end, so that their nodes are judged.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use crate::{
    dial::{DialError, dial},
    group::{Dialing, Group, Node},
    resolve::Resolver,
    selector::{Ticket, Why},
    stats::ClientCounters,
};

/// Dials of one node that may run on after losing; further ones are dropped unjudged.
const JUDGED_LIMIT: u32 = 64;

/// What connecting a client needs besides the group.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) resolver: Arc<Resolver>,
    /// Time limit of each dial.
    pub(crate) timeout: Duration,
    /// The tasks of lost dials.
    pub(crate) judges: TaskTracker,
}

/// A node that answered, and the connection to it.
pub(crate) struct Connected {
    pub(crate) stream: TcpStream,
    pub(crate) node: Arc<Node>,
}

struct Attempt {
    dialing: Dialing,
    first: bool,
    answer: Pin<Box<dyn Future<Output = Result<TcpStream, DialError>> + Send>>,
}

/// Connects one client to the first node of `group` that answers. The error is the last dial's; none if there was
/// no node to dial.
pub(crate) async fn connect(
    group: &Arc<Group>,
    dialer: &Dialer,
    counters: &ClientCounters,
) -> Result<Connected, Option<DialError>> {
    let mut ticket = Ticket::default();
    let mut running: Vec<Attempt> = Vec::with_capacity(1);
    let mut hedge_at = None;
    let mut failure = None;
    loop {
        if running.is_empty() {
            let Some((dialing, after)) = group.select(&mut ticket, Why::Nothing) else { return Err(failure) };
            running.push(Attempt::begin(dialing, dialer, failure.is_none()));
            hedge_at = after.map(|after| Instant::now() + after);
        }
        let (index, answer) = tokio::select! {
            biased;
            ended = first_ended(&mut running) => ended,
            () = at(hedge_at) => {
                let next = group.select(&mut ticket, Why::Silence);
                hedge_at = next.as_ref().and_then(|(_, after)| after.map(|after| Instant::now() + after));
                if let Some((dialing, _)) = next {
                    running.push(Attempt::begin(dialing, dialer, false));
                    counters.hedged.fetch_add(1, Relaxed);
                }
                continue;
            }
        };
        let Attempt { dialing, first, .. } = running.swap_remove(index);
        match answer {
            Ok(stream) => {
                let node = Arc::clone(&dialing.node);
                dialing.answered();
                running.into_iter().for_each(|lost| lost.run_on(&dialer.judges));
                counters.passed_on.fetch_add(u64::from(!first), Relaxed);
                return Ok(Connected { stream, node });
            }
            Err(error) => {
                dialing.failed(&error);
                failure = Some(error);
            }
        }
    }
}

impl Attempt {
    fn begin(dialing: Dialing, dialer: &Dialer, first: bool) -> Self {
        let answer = dial(Arc::clone(&dialing.node.address), dialer.timeout, Arc::clone(&dialer.resolver));
        Self { dialing, first, answer: Box::pin(answer) }
    }

    fn run_on(self, judges: &TaskTracker) {
        if !self.dialing.may_run_on(JUDGED_LIMIT) {
            return;
        }
        judges.spawn(async move {
            let node = Arc::clone(&self.dialing.node);
            match self.answer.await {
                Ok(_) => self.dialing.answered(),
                Err(error) => self.dialing.failed(&error),
            }
            node.judging.fetch_sub(1, Relaxed);
        });
    }
}

/// Waits for whichever attempt ends first.
async fn first_ended(running: &mut [Attempt]) -> (usize, Result<TcpStream, DialError>) {
    poll_fn(|context: &mut Context<'_>| {
        let ended =
            running.iter_mut().enumerate().find_map(|(index, attempt)| match attempt.answer.as_mut().poll(context) {
                Poll::Ready(answer) => Some((index, answer)),
                Poll::Pending => None,
            });
        ended.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
