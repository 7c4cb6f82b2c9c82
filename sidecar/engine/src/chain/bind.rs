//! Asks a chain's last hop to listen, for remote forwards: the hop is reached as for any connection, and the answer
//! says where it listens. The connection is all that holds the far end's port.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fairlead_config::HostPort;
use socket2::TcpKeepalive;
use tokio::time::timeout;

use crate::{
    connect::{Dialer, connect},
    dial::{DialCause, DialError},
    protocol::{
        Fault,
        socks5::{self, Listen},
    },
    selector::Ticket,
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

/// Found out after 15 + 4 × 5 s.
pub(super) fn keep_alive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(4)
}

/// Asks one of the last hop's nodes to listen at `address`; dialling it takes at most `patience`.
pub(crate) async fn bind(
    dialer: &Dialer,
    what: Listen,
    address: &HostPort,
    patience: Duration,
) -> Result<Bound, BindError> {
    let nowhere = |text: &str| {
        let cause = DialCause::Other(text.to_owned());
        BindError::Failed(DialError::new(address.clone(), cause))
    };
    let (hop, below) = dialer.to_last_hop().ok_or_else(|| nowhere("the chain has no hop"))?;
    let below = Dialer { timeout: below.timeout.min(patience), ..below };
    let reached = connect(&hop.group, &below, &hop.counters, &mut Ticket::default()).await;
    let (mut stream, judged) =
        reached.map_err(|error| error.map_or_else(|| nowhere("the last hop has no node"), BindError::Failed))?.taken();
    let node = Arc::clone(&judged.node.address);
    let asked = timeout(ANSWER_LIMIT, socks5::listen(&mut stream, what, address)).await;
    match asked.unwrap_or(Err(Fault::Hop(DialCause::Timeout(ANSWER_LIMIT)))) {
        Ok(address) => {
            judged.node.counters.connections.fetch_add(1, Relaxed);
            judged.answered();
            Ok(Bound { stream, address, node })
        }
        Err(Fault::Address(cause)) => {
            judged.answered();
            Err(BindError::Refused(hop.error(&node, cause)))
        }
        Err(Fault::Hop(cause)) => {
            let error = hop.error(&node, cause);
            judged.failed(&error);
            Err(BindError::Failed(error))
        }
    }
}
