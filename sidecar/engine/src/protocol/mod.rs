//! What is asked of a hop, one file per protocol: client halves over any stream, and beside them the halves of servers. The protocol `forward` has none: its
//! stream is the connection.
//! Invariants: nothing is sent before the answer to what was sent last, since some servers drop it; and exactly the
//! bytes of each answer are read, since what follows is the target's.

pub(crate) mod address;
pub(crate) mod http;
pub(crate) mod incoming;
pub(crate) mod relay;
pub(crate) mod relay_client;
pub(crate) mod smux;
pub(crate) mod socks4;
pub(crate) mod socks5;
pub(crate) mod ss;
pub(crate) mod ss_cipher;
pub(crate) mod ss_client;
pub(crate) mod ss_salts;
pub(crate) mod udp_frame;
pub(crate) mod wrapping;

use std::io;

use crate::dial::DialCause;

/// Who is to blame for a request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The hop itself: it answered nonsense, or nothing.
    Hop(DialCause),
    /// What the hop was asked to connect to, as the hop says.
    Address(DialCause),
}

/// Why a client of a server got nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientFault {
    #[error("the client {0}")]
    Garbage(&'static str),
    #[error("the client's login is nobody's")]
    Login,
    #[error("{0} is not allowed here")]
    NotAllowed(String),
    /// Nothing answered where it wanted to go.
    #[error("{0}")]
    Upstream(String),
    /// Files that the server needs are missing or unfit.
    #[error("{0}")]
    Credentials(String),
    #[error("{0}")]
    TooSlow(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The cause of a handshake that ended half-way.
fn broken(protocol: &str, error: &io::Error) -> DialCause {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return DialCause::Handshake(format!("{protocol}: the hop closed the connection in the handshake"));
    }
    DialCause::Handshake(format!("{protocol}: {error}"))
}

#[cfg(test)]
mod fuzz_tests;
