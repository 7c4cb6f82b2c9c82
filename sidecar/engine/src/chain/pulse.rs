//! Finds out that a far hop has vanished behind a first one that lives and says nothing of it: when something was sent
//! over a tunnel and nothing comes back, the hop is asked for by a connection of its own, for all tunnels to it at once.
//! Nobody is marked; and a hop that answers is there, whatever it answers.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use fairlead_config::HostPort;
use futures::future::BoxFuture;
use tokio::{sync::Mutex, time::sleep};

use super::greet;
use crate::{
    connect::Dialer,
    dial::{DialCause, DialError},
    group::Chosen,
};

/// How often a tunnel is looked at, and how long it may owe an answer.
const LOOK: Duration = Duration::from_secs(5);
const OWED_LIMIT: Duration = Duration::from_secs(10);
/// How often the hop is asked for, and how long it may take each time.
const ATTEMPTS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what was found out holds for other tunnels.
const FRESH: Duration = Duration::from_secs(5);

/// What was found out of a hop's nodes, and when; locked while one is asked for.
pub(super) type Pulses = Mutex<HashMap<HostPort, (Instant, Result<(), DialError>)>>;

/// What went over one tunnel since it was last looked at.
#[derive(Debug, Default)]
pub(crate) struct Debt {
    owed: AtomicBool,
    heard: AtomicBool,
}

impl Debt {
    /// Something was sent, which may have an answer.
    pub(crate) fn sent(&self) {
        self.owed.store(true, Relaxed);
    }

    /// Something came.
    pub(crate) fn heard(&self) {
        self.owed.store(false, Relaxed);
        self.heard.store(true, Relaxed);
    }

    /// Returns once the tunnel's node can't be reached any more. Never where it is of the first hop: there the system
    /// finds out.
    pub(crate) fn until_gone<'a>(&'a self, dialer: Dialer, node: &'a Chosen) -> BoxFuture<'a, DialError> {
        if dialer.path.hops.len() < 2 {
            return Box::pin(std::future::pending());
        }
        Box::pin(async move {
            let mut silent = Duration::ZERO;
            loop {
                sleep(LOOK).await;
                let is_quiet = !self.heard.swap(false, Relaxed) && self.owed.load(Relaxed);
                silent = if is_quiet { silent + LOOK } else { Duration::ZERO };
                if silent < OWED_LIMIT {
                    continue;
                }
                match is_there(&dialer, node).await {
                    Ok(()) => {
                        self.owed.store(false, Relaxed);
                        silent = Duration::ZERO;
                    }
                    Err(error) => return error,
                }
            }
        })
    }
}

/// Whether a node of the last hop can still be reached.
async fn is_there(dialer: &Dialer, node: &Chosen) -> Result<(), DialError> {
    let Some(hop) = dialer.path.last() else { return Ok(()) };
    let mut pulses = hop.pulses.lock().await;
    let address = &*node.node.address;
    if let Some((_, found)) = pulses.get(address).filter(|(at, _)| at.elapsed() < FRESH) {
        return found.clone();
    }
    let mut found = Ok(());
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            // A hop before that is at its limit refuses for a moment, and the tunnel works all the same.
            sleep(LOOK).await;
        }
        let asked = greet(dialer, node, PATIENCE).await;
        found = asked.map(drop).or_else(|error| if is_silence(&error.cause) { Err(error) } else { Ok(()) });
        if found.is_ok() {
            break;
        }
    }
    pulses.insert(address.clone(), (Instant::now(), found.clone()));
    found
}

/// Whether nobody answers there, as far as the hop before can tell.
fn is_silence(cause: &DialCause) -> bool {
    match cause {
        DialCause::Timeout(_) | DialCause::Unreachable(_) | DialCause::Rejected(_) => true,
        DialCause::Refused
        | DialCause::Resolve(_)
        | DialCause::Other(_)
        | DialCause::NoSourcePort
        | DialCause::Shortage(_)
        | DialCause::Handshake(_)
        | DialCause::Login(_)
        | DialCause::Credentials(_)
        | DialCause::HostKey(_) => false,
    }
}
