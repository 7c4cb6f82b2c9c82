//! Dials one node: resolve, then all its addresses by happy eyeballs (RFC 8305), within one time limit.
//! Says who failed and why; judging what that means for the node is the selector's.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use fairlead_config::HostPort;
use futures::{StreamExt, stream::FuturesUnordered};
use socket2::{SockRef, TcpKeepalive};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{resolve::Resolver, socket::Socket};

/// How long one address may be silent before the next one is tried as well (RFC 8305 section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// A peer that vanished is noticed after 60 + 3 × 15 s.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_PROBES: u32 = 3;

/// A dial that failed: which node, and why. The cause's text is `status.nodes[].lastError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{node}: {cause}", HopName(*hop))]
pub struct DialError {
    /// The hop that the node is a member of, from 1; none for a target.
    pub hop: Option<u32>,
    pub node: HostPort,
    pub cause: DialCause,
}

/// Names a hop before its node.
struct HopName(Option<u32>);

impl fmt::Display for HopName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |number| write!(f, "hop {number} "))
    }
}

impl DialError {
    /// The error of a target.
    pub(crate) fn new(node: HostPort, cause: DialCause) -> Self {
        Self { hop: None, node, cause }
    }

    /// The same error of a hop's node, where it is not yet another hop's.
    pub(crate) fn or_of_hop(self, number: u32) -> Self {
        Self { hop: self.hop.or(Some(number)), ..self }
    }
}

/// Why a dial failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialCause {
    #[error("connection refused")]
    Refused,
    #[error("no answer within {}", fairlead_config::duration::format(*.0))]
    Timeout(Duration),
    #[error("name not resolved: {0}")]
    Resolve(String),
    #[error("unreachable: {0}")]
    Unreachable(String),
    #[error("{0}")]
    Other(String),
    /// A hop answered nonsense, or nothing.
    #[error("{0}")]
    Handshake(String),
    /// A hop wants another login.
    #[error("{0}")]
    Login(String),
    /// A hop is not who we know, or nobody we know.
    #[error("{0}")]
    HostKey(String),
    /// A hop says that it can't connect to the node.
    #[error("{0}")]
    Rejected(String),
    /// A file with credentials is missing or unfit: says nothing about any node.
    #[error("{0}")]
    Credentials(String),
    /// Every source port towards this node is in use: says nothing about the node.
    #[error("no source port is left on this host towards the node")]
    NoSourcePort,
    /// Our own shortage (descriptors, memory, threads for name resolution): says nothing about any node.
    #[error("this host is short of resources: {0}")]
    Shortage(String),
}

/// What whoever asked for a dial may be told of the path to its target, in words that every protocol has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathFault {
    Refused,
    Silent,
    Unknown,
    Unreachable,
}

impl DialCause {
    /// What is wrong with the path to the target; none where it is something else.
    pub(crate) fn path_fault(&self) -> Option<PathFault> {
        match self {
            Self::Refused => Some(PathFault::Refused),
            Self::Timeout(_) => Some(PathFault::Silent),
            Self::Resolve(_) => Some(PathFault::Unknown),
            Self::Unreachable(_) => Some(PathFault::Unreachable),
            Self::Other(_)
            | Self::Handshake(_)
            | Self::Login(_)
            | Self::HostKey(_)
            | Self::Rejected(_)
            | Self::Credentials(_)
            | Self::NoSourcePort
            | Self::Shortage(_) => None,
        }
    }

    /// The label of the failure in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout(_) => "timeout",
            Self::Resolve(_) => "resolve",
            Self::Unreachable(_) => "unreachable",
            Self::Other(_) => "other",
            Self::Handshake(_) => "handshake",
            Self::Login(_) => "login",
            Self::HostKey(_) => "host_key",
            Self::Rejected(_) => "rejected",
            Self::Credentials(_) => "credentials",
            Self::NoSourcePort => "no_source_port",
            Self::Shortage(_) => "shortage",
        }
    }

    /// Every label, in the order of [`DialCause::index`].
    pub const REASONS: [&'static str; 12] = [
        "refused",
        "timeout",
        "resolve",
        "unreachable",
        "other",
        "no_source_port",
        "shortage",
        "handshake",
        "login",
        "rejected",
        "credentials",
        "host_key",
    ];

    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Refused => 0,
            Self::Timeout(_) => 1,
            Self::Resolve(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Other(_) => 4,
            Self::NoSourcePort => 5,
            Self::Shortage(_) => 6,
            Self::Handshake(_) => 7,
            Self::Login(_) => 8,
            Self::Rejected(_) => 9,
            Self::Credentials(_) => 10,
            Self::HostKey(_) => 11,
        }
    }

    /// Whether the failure says something about the node.
    pub(crate) fn is_the_nodes(&self) -> bool {
        match self {
            Self::NoSourcePort | Self::Shortage(_) | Self::Credentials(_) => false,
            Self::Refused
            | Self::Timeout(_)
            | Self::Resolve(_)
            | Self::Unreachable(_)
            | Self::Other(_)
            | Self::Handshake(_)
            | Self::Login(_)
            | Self::HostKey(_)
            | Self::Rejected(_) => true,
        }
    }

    /// Whether dialling another node would fail likewise.
    pub(crate) fn is_shortage(&self) -> bool {
        matches!(self, Self::Shortage(_) | Self::Credentials(_))
    }

    /// Whether the same dial may succeed as soon as other connections end.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::NoSourcePort | Self::Shortage(_))
    }

    /// The cause of a failed `connect` to `address`.
    pub(crate) fn of(error: &io::Error, address: SocketAddr) -> Self {
        use rustix::io::Errno;
        match Errno::from_io_error(error) {
            Some(Errno::CONNREFUSED) => Self::Refused,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Self::Shortage(error.to_string()),
            Some(Errno::ADDRNOTAVAIL) if address.is_ipv4() => Self::NoSourcePort,
            // Without IPv6 on this host every such address is out of reach.
            Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT | Errno::HOSTUNREACH | Errno::NETUNREACH) => {
                Self::Unreachable(error.to_string())
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Dials `node` on behalf of a client or a health check; every failure is a [`DialError`].
pub(crate) async fn dial(node: Arc<HostPort>, limit: Duration, resolver: Arc<Resolver>) -> Result<Socket, DialError> {
    let result = dial_within(&node, limit, &resolver).await;
    result.map_err(|cause| DialError::new((*node).clone(), cause))
}

async fn dial_within(node: &HostPort, limit: Duration, resolver: &Resolver) -> Result<Socket, DialCause> {
    let deadline = Instant::now() + limit;
    let connected = match node.host.parse() {
        Ok(ip) => timeout_at(deadline, connect(SocketAddr::new(ip, node.port))).await,
        Err(_) => {
            let late = || DialCause::Resolve(format!("no answer within {}", fairlead_config::duration::format(limit)));
            let hosts = timeout_at(deadline, resolver.resolve(&node.host)).await.map_err(|_| late())??;
            timeout_at(deadline, race(with_port(&hosts, node.port))).await
        }
    };
    connected.unwrap_or(Err(DialCause::Timeout(limit)))
}

fn with_port(hosts: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    let mut addresses = hosts.to_vec();
    addresses.iter_mut().for_each(|address| address.set_port(port));
    addresses
}

/// Connects to the first of the addresses that answers: tries one after the other, each new one as soon as the last one failed or was silent for a while.
pub(crate) async fn race(addresses: Vec<SocketAddr>) -> Result<Socket, DialCause> {
    let mut waiting = interleave(addresses).into_iter();
    let mut running = FuturesUnordered::new();
    let mut failure: Option<DialCause> = None;
    loop {
        match waiting.next() {
            Some(address) => running.push(connect(address)),
            None if running.is_empty() => return Err(failure.unwrap_or(DialCause::Resolve("no address".to_owned()))),
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(result) = running.next() => match result {
                Ok(stream) => return Ok(stream),
                // What the first address said counts, but for a failure of ours, which must not hide the node's.
                Err(cause) if failure.as_ref().is_none_or(|told| !told.is_the_nodes()) => failure = Some(cause),
                Err(_) => {}
            },
            () = sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

/// Alternates between the families, keeping the resolver's order within each (RFC 8305 section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let longest = first.len().max(second.len());
    (0..longest).flat_map(|i| [first.get(i), second.get(i)]).flatten().copied().collect()
}

async fn connect(address: SocketAddr) -> Result<Socket, DialCause> {
    let cause = |error: io::Error| DialCause::of(&error, address);
    let connected = Socket::connect(address).await.map_err(cause)?;
    // A port of this host that nobody listens on may be given to the dial itself, which then reaches itself.
    if address.ip().is_loopback() && connected.stream().local_addr().map_err(cause)? == address {
        return Err(DialCause::Refused);
    }
    let socket = SockRef::from(&connected);
    socket.set_out_of_band_inline(true).map_err(cause)?;
    socket.set_tcp_nodelay(true).map_err(cause)?;
    socket.set_tcp_keepalive(&keep_alive()).map_err(cause)?;
    Ok(connected)
}

/// Makes a peer that vanished noticed after 15 + 4 × 5 s, while nothing that was sent to it is under way.
pub(crate) fn watch_idle(socket: &Socket) {
    let keep_alive = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));
    // A system that refuses finds out later.
    let _ = SockRef::from(socket).set_tcp_keepalive(&keep_alive.with_retries(4));
}

/// Makes a peer that vanished noticed within 45 s, whether or not something was sent to it. Not for streams: a peer that
/// doesn't read for so long would count as one that vanished.
pub(crate) fn watch(socket: &Socket) {
    let socket = SockRef::from(socket);
    // The third probe, after 35 s, is the last one before the limit, which the kernel looks at 10 s later again.
    let (idle, interval, limit) = (Duration::from_secs(15), Duration::from_secs(10), Duration::from_secs(40));
    // Without them it is noticed later.
    let _ = socket.set_tcp_keepalive(&keep_alive().with_time(idle).with_interval(interval));
    let _ = socket.set_tcp_user_timeout(Some(limit));
}

/// The keep-alive of both sides of a forward.
pub(crate) fn keep_alive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEP_ALIVE_IDLE).with_interval(KEEP_ALIVE_INTERVAL).with_retries(KEEP_ALIVE_PROBES)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::testing::closed;

    async fn dialled(node: HostPort, limit: Duration) -> Result<Socket, DialError> {
        dial(Arc::new(node), limit, Arc::new(Resolver::new(tokio::runtime::Handle::current()))).await
    }

    #[test]
    fn families_alternate_beginning_with_the_resolvers_first() {
        let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        assert_eq!(interleave(mixed), parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
    }

    #[test]
    fn our_own_shortage_is_not_the_nodes_failure() {
        use rustix::io::Errno;
        for (errno, address, of_the_node) in [
            (Errno::MFILE, "127.0.0.1:1", false),
            (Errno::NOBUFS, "127.0.0.1:1", false),
            (Errno::ADDRNOTAVAIL, "127.0.0.1:1", false),
            (Errno::ADDRNOTAVAIL, "[::1]:1", true),
            (Errno::HOSTUNREACH, "127.0.0.1:1", true),
        ] {
            let cause = DialCause::of(&io::Error::from(errno), address.parse().unwrap());
            assert_eq!(cause.is_the_nodes(), of_the_node, "{errno} at {address}");
        }
    }

    #[test]
    fn every_cause_has_its_label() {
        let text = String::new;
        let causes = [
            DialCause::Refused,
            DialCause::Timeout(Duration::ZERO),
            DialCause::Resolve(text()),
            DialCause::Unreachable(text()),
            DialCause::Other(text()),
            DialCause::NoSourcePort,
            DialCause::Shortage(text()),
            DialCause::Handshake(text()),
            DialCause::Login(text()),
            DialCause::Rejected(text()),
            DialCause::Credentials(text()),
            DialCause::HostKey(text()),
        ];
        assert_eq!(causes.each_ref().map(DialCause::reason), DialCause::REASONS);
        assert_eq!(causes.each_ref().map(DialCause::index), std::array::from_fn(|index| index));
    }

    #[tokio::test]
    async fn a_name_whose_addresses_all_refuse_is_refused() {
        let port = closed().port;
        let error = dialled(HostPort::new("localhost", port), Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.cause, DialCause::Refused);
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_and_the_text_names_the_node() {
        let port = closed().port;
        let error = dialled(HostPort::new("127.0.0.1", port), Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("127.0.0.1:{port}: connection refused"));
    }

    #[tokio::test]
    async fn a_name_with_several_addresses_is_tried_at_each() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // "localhost" is both loopback addresses, and nothing listens at ::1.
        let stream = dialled(HostPort::new("localhost", port), Duration::from_secs(5)).await.unwrap();
        assert_eq!(stream.stream().peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_silent_node_is_given_up_at_the_limit() {
        let silent = crate::testing::Silent::new();
        let error = dialled(silent.address(), Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(error.cause, DialCause::Timeout(Duration::from_millis(100)));
        assert!(error.to_string().ends_with("no answer within 100ms"), "{error}");
    }

    #[tokio::test]
    async fn a_name_nobody_knows_is_a_resolve_error() {
        let error = dialled(HostPort::new("no-such-name.invalid", 1), Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(error.cause.reason(), "resolve");
    }
}
