//! Asks a chain's last hop to listen, for remote forwards: the hop is reached as for any connection, and the answer
//! says where it listens. The connection is all that holds the far end's port.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fairlead_config::HostPort;
use tokio::time::timeout;

use super::Hop;
use crate::{
    connect::{Dialer, connect},
    dial::{DialCause, DialError},
    group::Dialing,
    protocol::{
        Fault,
        socks5::{self, Listen},
    },
    selector::Ticket,
    ssh::{ListenFailure, Listening},
    stream::Stream,
};

/// How long the last hop may take to listen.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A last hop that listens.
pub(crate) struct Bound {
    pub(crate) stream: Stream,
    /// As the hop says; its host may be any of its addresses.
    pub(crate) address: HostPort,
    /// The hop's node, as configured.
    pub(crate) node: Arc<HostPort>,
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
    Ok((listening, reached.node))
}

/// A node of the last hop that is asked to listen.
struct Reached {
    hop: Arc<Hop>,
    node: Arc<HostPort>,
    /// To be judged, once.
    dialing: Option<Dialing>,
}

async fn reach(dialer: &Dialer, address: &HostPort, patience: Duration) -> Result<(Reached, Stream), BindError> {
    let nowhere = |text: &str| {
        let cause = DialCause::Other(text.to_owned());
        BindError::Failed(DialError::new(address.clone(), cause))
    };
    let (hop, below) = dialer.to_last_hop().ok_or_else(|| nowhere("the chain has no hop"))?;
    let below = Dialer { timeout: below.timeout.min(patience), ..below };
    let reached = connect(&hop.group, &below, &hop.counters, &mut Ticket::default()).await;
    let (stream, dialing) =
        reached.map_err(|error| error.map_or_else(|| nowhere("the last hop has no node"), BindError::Failed))?.taken();
    let node = Arc::clone(&dialing.node.address);
    Ok((Reached { hop, node, dialing: Some(dialing) }, stream))
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
                Err(BindError::Refused(self.hop.error(&self.node, cause)))
            }
            Err(Fault::Hop(cause)) => {
                let error = self.hop.error(&self.node, cause);
                dialing.into_iter().for_each(|dialing| dialing.failed(&error));
                Err(BindError::Failed(error))
            }
        }
    }
}
