//! One SSH connection to a hop's node: handshake, login, and channels on demand, to targets (RFC 4254 section 7.2) or to
//! carry another protocol. It lives on the worker it was made on, carries channels of connections on any, and ends when
//! nobody names it and no channel is left.

use std::{
    borrow::Cow,
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fairlead_config::{HopSsh, HostPort, defaults};
use russh::{Channel, ChannelOpenFailure, Preferred, SshId, client};
use tokio::{io::BufReader, runtime::Handle, time::sleep};

use super::{
    CARRIER, CIPHERS, READ_AHEAD, UNANSWERED,
    authenticate::authenticate,
    channel::ChannelStream,
    handler::{Users, Watch},
    listening::Ports,
    papers::Papers,
    sign_of_life_pause,
    to_its_end::ToItsEnd,
    traffic::{BACKLOG, CHANNEL_MESSAGES, FIRST_WINDOW, Traffic},
};
use crate::{dial::DialCause, group::Chosen, protocol::Fault, stream::Stream};

/// How often a session is looked at.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// Refused channels after which a new session is begun: `russh` keeps a record of each until the session ends.
const REFUSALS_LIMIT: u32 = 1_000;

/// A session that is logged in.
pub(crate) struct Session {
    handle: client::Handle<Watch>,
    traffic: Arc<Traffic>,
    users: Arc<Users>,
    ports: Arc<Ports>,
    papers: Arc<Papers>,
    runtime: Handle,
    refusals: AtomicU32,
    /// New channels go to others.
    retired: AtomicBool,
}

impl Session {
    /// Shakes hands over a connection to `node`, and logs in. The caller sets the time limit.
    pub(crate) async fn begin(
        stream: Stream,
        node: Arc<HostPort>,
        papers: Arc<Papers>,
        ssh: &HopSsh,
    ) -> Result<Arc<Self>, DialCause> {
        let config = Arc::new(config(&node, &papers, ssh));
        let (traffic, users, ports) = (Arc::new(Traffic::new()), Arc::<Users>::default(), Arc::<Ports>::default());
        let watch = Watch {
            node,
            papers: Arc::clone(&papers),
            traffic: Arc::clone(&traffic),
            users: Arc::clone(&users),
            ports: Arc::clone(&ports),
        };
        let handle = client::connect_stream(config, BufReader::with_capacity(READ_AHEAD, stream), watch).await;
        let mut handle = handle.map_err(super::handler::Failure::cause)?;
        authenticate(&mut handle, &papers.login).await?;
        let session = Arc::new(Self {
            handle,
            traffic,
            users,
            ports,
            papers,
            runtime: Handle::current(),
            refusals: AtomicU32::new(0),
            retired: AtomicBool::new(false),
        });
        tokio::spawn(look_after(Arc::downgrade(&session)));
        Ok(session)
    }

    /// Asks the server to connect to `target`. After half of `limit` the server is asked whether it is there at all.
    pub(crate) async fn open(self: &Arc<Self>, target: &HostPort, limit: Duration) -> Result<ChannelStream, Fault> {
        let (session, target) = (Arc::clone(self), target.clone());
        let opening = async move {
            let host = if target.host.is_empty() { "localhost" } else { &target.host };
            let opened = session.handle.channel_open_direct_tcpip(host, target.port.into(), "127.0.0.1", 0).await;
            session.stream(opened, refused)
        };
        self.opened(opening, limit).await
    }

    /// Asks the server for a channel that carries another protocol; the rest as with `open`.
    pub(crate) async fn open_carrier(self: &Arc<Self>, limit: Duration) -> Result<ChannelStream, Fault> {
        let session = Arc::clone(self);
        let opening = async move { session.stream(session.handle.channel_open_unknown(CARRIER).await, not_carried) };
        self.opened(opening, limit).await
    }

    async fn opened(
        self: &Arc<Self>,
        opening: impl Future<Output = Result<ChannelStream, Fault>> + Send + 'static,
        limit: Duration,
    ) -> Result<ChannelStream, Fault> {
        // The answer to a question that nobody waits for any more is a channel to be closed.
        let mut opening = ToItsEnd::new(&self.runtime, opening);
        tokio::select! {
            opened = &mut opening => opened,
            () = sleep(limit / 2) => {
                self.ping();
                opening.await
            }
        }
    }

    fn stream(
        &self,
        opened: Result<Channel<client::Msg>, russh::Error>,
        refused: impl FnOnce(&ChannelOpenFailure) -> Fault,
    ) -> Result<ChannelStream, Fault> {
        match opened {
            Ok(channel) => {
                let (granter, traffic) = (self.handle.window_granter(), Arc::clone(&self.traffic));
                Ok(ChannelStream::new(channel, granter, traffic, self.runtime.clone()))
            }
            Err(russh::Error::ChannelOpenFailure(why)) => {
                self.refusals.fetch_add(1, Relaxed);
                Err(refused(&why))
            }
            Err(_) => Err(ended()),
        }
    }

    fn ping(self: &Arc<Self>) {
        let session = Arc::clone(self);
        self.runtime.spawn(async move {
            if session.handle.send_ping().await.is_ok() && !session.handle.is_closed() {
                session.traffic.note_heard();
            }
        });
    }

    /// What a request that got no answer since `asked` says of the server.
    pub(crate) fn silence(&self, asked: Instant, limit: Duration) -> Fault {
        if self.traffic.is_held() {
            return Fault::Hop(DialCause::Shortage("channels to the hop are full and nobody reads them".to_owned()));
        }
        if self.traffic.is_silent_since(asked) {
            self.retired.store(true, Relaxed);
            return Fault::Hop(DialCause::Timeout(limit));
        }
        Fault::Address(DialCause::Timeout(limit))
    }

    /// Remembers for whom the server falls silent, if it does.
    pub(crate) fn is_used_by(&self, chosen: Chosen, hop: u32) {
        self.users.add(chosen, hop);
    }

    pub(super) fn ports(&self) -> &Ports {
        &self.ports
    }

    pub(super) fn handle(&self) -> &client::Handle<Watch> {
        &self.handle
    }

    /// The session's own, whoever asks.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Whether the connection is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.handle.is_closed()
    }

    /// Whether new channels may go to it.
    pub(super) fn takes_channels(&self, papers: &Papers) -> bool {
        let is_worn = self.refusals.load(Relaxed) >= REFUSALS_LIMIT;
        !self.has_ended() && !self.retired.load(Relaxed) && !is_worn && *self.papers == *papers
    }

    /// How much a new channel would have to wait behind: backlog first, then channels.
    pub(super) fn load(&self) -> (i64, usize) {
        let backlog = self.traffic.backlog();
        (if backlog > BACKLOG { backlog } else { 0 }, self.traffic.channel_count())
    }

    /// What waits to be read, in bytes.
    pub(crate) fn backlog(&self) -> u64 {
        u64::try_from(self.traffic.backlog()).unwrap_or_default()
    }
}

/// Ends a channel that holds up others, as long as the session is there.
async fn look_after(session: Weak<Session>) {
    loop {
        sleep(LOOK_PAUSE).await;
        let Some(session) = session.upgrade().filter(|session| !session.has_ended()) else { return };
        if let Some(id) = session.traffic.end_stalled() {
            tracing::warn!(channel = %id, "ended an ssh channel that nobody read while it held up others");
        }
    }
}

fn config(node: &HostPort, papers: &Papers, ssh: &HopSsh) -> client::Config {
    let keep_alive = ssh.keep_alive.unwrap_or(defaults::SSH_KEEP_ALIVE);
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Fairlead_", env!("CARGO_PKG_VERSION")))),
        window_size: FIRST_WINDOW,
        grant_on_arrival: false,
        channel_buffer_size: CHANNEL_MESSAGES,
        keepalive_interval: Some(sign_of_life_pause(keep_alive)).filter(|pause| !pause.is_zero()),
        keepalive_max: UNANSWERED,
        preferred: Preferred {
            key: papers.trust.algorithms(&node.host, node.port).into(),
            host_key_certificates: papers.trust.certificate_algorithms(&node.host, node.port).into(),
            cipher: Cow::Borrowed(&CIPHERS),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

fn refused(why: &ChannelOpenFailure) -> Fault {
    let said = |line: &str| Fault::Address(DialCause::Rejected(line.to_owned()));
    match why {
        ChannelOpenFailure::ConnectFailed => said("the SSH server can't connect to it"),
        ChannelOpenFailure::AdministrativelyProhibited => {
            said("the SSH server forbids it; see AllowTcpForwarding and PermitOpen there")
        }
        ChannelOpenFailure::ResourceShortage => said("the SSH server is short of resources"),
        ChannelOpenFailure::UnknownChannelType => {
            let line = "ssh: the server forwards no ports; one that carries a proxy's protocol is written socks5+ssh or \
                        what its scheme is";
            Fault::Hop(DialCause::Handshake(line.to_owned()))
        }
        ChannelOpenFailure::Other { reason, .. } => said(&format!("the SSH server refused: {reason}")),
    }
}

/// OpenSSH has no word of its own for a channel type that it doesn't know.
fn not_carried(why: &ChannelOpenFailure) -> Fault {
    let said = match why {
        ChannelOpenFailure::AdministrativelyProhibited => "ssh: the server lets this login open no channel",
        ChannelOpenFailure::ResourceShortage => "ssh: the server is short of resources",
        ChannelOpenFailure::ConnectFailed
        | ChannelOpenFailure::UnknownChannelType
        | ChannelOpenFailure::Other { .. } => {
            "ssh: the server carries no other protocol; behind one that only forwards ports, such as sshd, write a hop \
             forward+ssh and the proxy as a hop of its own"
        }
    };
    Fault::Hop(DialCause::Handshake(said.to_owned()))
}

fn ended() -> Fault {
    Fault::Hop(DialCause::Handshake("ssh: the session ended".to_owned()))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
