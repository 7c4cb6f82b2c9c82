//! Ports that a server listens on for us (RFC 4254 section 7.1, tcpip-forward): who comes there arrives as a channel
//! (forwarded-tcpip). A session may hold several; each has a queue of its own.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use russh::ChannelOpenFailure;
use tokio::sync::mpsc;

use super::{caller::Caller, session::Session};
use crate::dial::DialCause;

/// Callers at one port that wait to be served; further ones are refused.
const QUEUE: usize = 128;

/// The ports of one session.
#[derive(Debug, Default)]
pub(super) struct Ports(Mutex<Vec<Port>>);

/// A port's number; 0 as long as the server has not said which it chose.
type Number = Arc<AtomicU32>;

#[derive(Debug)]
struct Port {
    number: Number,
    callers: mpsc::Sender<Caller>,
}

/// A port that the server holds for us. Dropped, it is given back.
pub(crate) struct Listening {
    session: Arc<Session>,
    host: String,
    number: Number,
    callers: mpsc::Receiver<Caller>,
}

/// Why a server does not listen for us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListenFailure {
    /// The port is taken, or ours is no right to have one.
    #[error(
        "the SSH server does not listen there: another one may have the port; see also AllowTcpForwarding, \
             PermitListen and GatewayPorts there"
    )]
    Refused,
    #[error("{0}")]
    Failed(DialCause),
}

impl Ports {
    /// Room for one more caller at a port. The error is what the server is told.
    pub(super) fn room(&self, number: u32) -> Result<mpsc::OwnedPermit<Caller>, ChannelOpenFailure> {
        let ports = self.ports();
        let with = |wanted| ports.iter().find(|port| port.number.load(Relaxed) == wanted);
        // The first caller may be faster than the answer that tells us the port.
        let port = with(number).or_else(|| with(0)).ok_or(ChannelOpenFailure::AdministrativelyProhibited)?;
        port.callers.clone().try_reserve_owned().map_err(|_| ChannelOpenFailure::ResourceShortage)
    }

    /// Drops every queue, since the session has ended.
    pub(super) fn close(&self) {
        self.ports().clear();
    }

    fn add(&self, number: u16) -> (Number, mpsc::Receiver<Caller>) {
        let (callers, queue) = mpsc::channel(QUEUE);
        let number = Arc::new(AtomicU32::new(number.into()));
        self.ports().push(Port { number: Arc::clone(&number), callers });
        (number, queue)
    }

    fn remove(&self, number: &Number) {
        self.ports().retain(|kept| !Arc::ptr_eq(&kept.number, number));
    }

    fn ports(&self) -> MutexGuard<'_, Vec<Port>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Asks the server to listen at `host:port`; port 0: it chooses.
    pub(crate) async fn listen(self: &Arc<Self>, host: &str, port: u16) -> Result<Listening, ListenFailure> {
        let (number, callers) = self.ports().add(port);
        // Given back by its drop, whatever comes.
        let listening = Listening { session: Arc::clone(self), host: host.to_owned(), number, callers };
        match self.handle().tcpip_forward(host, port.into()).await {
            Ok(chosen) => {
                let number = if port == 0 { chosen } else { port.into() };
                listening.number.store(number, Relaxed);
                Ok(listening)
            }
            Err(russh::Error::RequestDenied) => Err(ListenFailure::Refused),
            Err(error) => Err(ListenFailure::Failed(DialCause::Handshake(format!("ssh: {error}")))),
        }
    }
}

impl Listening {
    /// The port that the server listens on.
    pub(crate) fn port(&self) -> u16 {
        u16::try_from(self.number.load(Relaxed)).unwrap_or_default()
    }

    /// The next caller; none once the session has ended.
    pub(crate) async fn accept(&mut self) -> Option<Caller> {
        self.callers.recv().await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.session.ports().remove(&self.number);
        let (session, host) = (Arc::clone(&self.session), std::mem::take(&mut self.host));
        let number = self.number.load(Relaxed);
        // A refused one has nothing to be given back, and an ended session has given it back already.
        if number != 0 && !session.has_ended() {
            let runtime = session.runtime().clone();
            runtime.spawn(async move { session.handle().cancel_tcpip_forward(host, number).await });
        }
    }
}
