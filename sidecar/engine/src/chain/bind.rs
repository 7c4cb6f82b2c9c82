//! Asks a chain's last hop to listen, for remote forwards: the hop is reached as for any connection, and the answer
//! says where it listens. The connection is all that holds the far end's port.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use fairlead_config::HostPort;
use tokio::{io::AsyncReadExt, time::timeout};

use super::{Hop, reach as reach_node};
use crate::{
    connect::{Dialer, connect},
    dial::{DialCause, DialError},
    group::{Chosen, Dialing},
    protocol::{
        Fault,
        socks5::{self, Listen},
    },
    selector::Ticket,
    ssh::{ListenFailure, Listening},
    stream::Stream,
};

/// How long the last hop may take to listen; on a connection that has waited, before a new one is tried.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const SPARE_LIMIT: Duration = Duration::from_secs(2);

/// A last hop that listens.
pub(crate) struct Bound {
    pub(crate) stream: Stream,
    /// As the hop says; its host may be any of its addresses.
    pub(crate) address: HostPort,
    pub(crate) node: Chosen,
}

/// A last hop that has been greeted, and asked for nothing yet.
pub(crate) struct Greeted {
    stream: Stream,
    hop: Arc<Hop>,
    node: Chosen,
}

/// Why the last hop does not listen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BindError {
    /// It says that it can't listen there.
    #[error("{0}")]
    Refused(DialError),
    /// It was not reached, or answered nonsense.
    #[error("{0}")]
    Failed(DialError),
}

/// Asks one of the last hop's nodes to listen at `address`; dialling it takes at most `patience`.
pub(crate) async fn bind(
    dialer: &Dialer,
    what: Listen,
    address: &HostPort,
    patience: Duration,
) -> Result<Bound, BindError> {
    let (mut reached, mut stream) = reach(dialer, address, patience).await?;
    let asked = timeout(ANSWER_LIMIT, socks5::listen(&mut stream, what, address)).await;
    let address = reached.judged(asked.unwrap_or(Err(Fault::Hop(DialCause::Timeout(ANSWER_LIMIT)))))?;
    Ok(Bound { stream, address, node: reached.node })
}

/// Greets a node of the last hop once more, within `patience`; whatever comes of it says nothing about the node.
pub(crate) async fn greet(dialer: &Dialer, node: &Chosen, patience: Duration) -> Result<Greeted, DialError> {
    let address = &node.node.address;
    let (hop, below) = dialer.to_last_hop().ok_or_else(|| nowhere(address, "the chain has no hop"))?;
    let below = Dialer { timeout: below.timeout.min(patience), ..below };
    let stream = reach_node(below, Arc::clone(address)).await?;
    Ok(Greeted { stream, hop, node: node.clone() })
}

impl Greeted {
    /// Returns once the hop has ended it, or said something unasked.
    pub(crate) async fn ended(&mut self) {
        let _ = self.stream.read(&mut [0]).await;
    }

    /// Asks it to listen at `address`; none if the hop no longer serves this connection.
    pub(crate) async fn bind(self, what: Listen, address: &HostPort) -> Option<Result<Bound, BindError>> {
        let Self { mut stream, hop, node } = self;
        let dialing = node.dialing(Instant::now());
        match timeout(SPARE_LIMIT, socks5::listen(&mut stream, what, address)).await.ok()? {
            Ok(address) => {
                node.node.counters.connections.fetch_add(1, Relaxed);
                dialing.answered_late();
                Some(Ok(Bound { stream, address, node }))
            }
            Err(Fault::Address(cause)) => Some(Err(BindError::Refused(hop.error(&node.node.address, cause)))),
            Err(Fault::Hop(_)) => None,
        }
    }
}

/// Asks one of the last hop's nodes to listen, where that is an SSH server; answers with its node, as configured.
pub(crate) async fn listen(
    dialer: &Dialer,
    address: &HostPort,
    patience: Duration,
) -> Result<(Listening, Arc<HostPort>), BindError> {
    let (mut reached, stream) = reach(dialer, address, patience).await?;
    let asked = async {
        let session = stream.session().ok_or_else(|| Fault::Hop(DialCause::Other("it is no SSH server".to_owned())))?;
        let listening = session.listen(&address.host, address.port).await;
        listening.map_err(|failure| match failure {
            ListenFailure::Failed(cause) => Fault::Hop(cause),
            ListenFailure::Refused => Fault::Address(DialCause::Rejected(failure.to_string())),
        })
    };
    let asked = timeout(ANSWER_LIMIT, asked).await;
    let listening = reached.judged(asked.unwrap_or(Err(Fault::Hop(DialCause::Timeout(ANSWER_LIMIT)))))?;
    Ok((listening, Arc::clone(&reached.node.node.address)))
}

/// A node of the last hop that is asked to listen.
struct Reached {
    hop: Arc<Hop>,
    node: Chosen,
    /// To be judged, once.
    dialing: Option<Dialing>,
}

async fn reach(dialer: &Dialer, address: &HostPort, patience: Duration) -> Result<(Reached, Stream), BindError> {
    let nowhere = |text: &str| BindError::Failed(nowhere(address, text));
    let (hop, below) = dialer.to_last_hop().ok_or_else(|| nowhere("the chain has no hop"))?;
    let below = Dialer { timeout: below.timeout.min(patience), ..below };
    let reached = connect(&hop.group, &below, &hop.counters, &mut Ticket::default()).await;
    let (stream, dialing) =
        reached.map_err(|error| error.map_or_else(|| nowhere("the last hop has no node"), BindError::Failed))?.taken();
    let node = dialing.chosen();
    Ok((Reached { hop, node, dialing: Some(dialing) }, stream))
}

fn nowhere(address: &HostPort, text: &str) -> DialError {
    DialError::new(address.clone(), DialCause::Other(text.to_owned()))
}

impl Reached {
    /// Marks the node by what it answered.
    fn judged<T>(&mut self, answer: Result<T, Fault>) -> Result<T, BindError> {
        let dialing = self.dialing.take();
        match answer {
            Ok(bound) => {
                dialing.into_iter().for_each(|dialing| {
                    dialing.node.counters.connections.fetch_add(1, Relaxed);
                    dialing.answered();
                });
                Ok(bound)
            }
            Err(Fault::Address(cause)) => {
                dialing.into_iter().for_each(Dialing::answered);
                Err(BindError::Refused(self.hop.error(&self.node.node.address, cause)))
            }
            Err(Fault::Hop(cause)) => {
                let error = self.hop.error(&self.node.node.address, cause);
                dialing.into_iter().for_each(|dialing| dialing.failed(&error));
                Err(BindError::Failed(error))
            }
        }
    }
}
