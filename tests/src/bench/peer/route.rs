//! What a forwarder is to do, and how those that take it all as arguments are told.
use std::net::SocketAddrV4;

/// How clients and targets come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Streams, straight to the targets.
    Tcp,
    /// Datagrams, straight to the targets.
    Udp,
    /// Streams, through the SOCKS5 server at that address.
    Socks5Hop(SocketAddrV4),
    /// Streams to where the clients say, in SOCKS5.
    Socks5Server,
}

/// What a forwarder is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) way: Way,
    pub(crate) listen: SocketAddrV4,
    /// One, or several used in turn; none for a server.
    pub(crate) targets: Vec<SocketAddrV4>,
}

impl Route {
    /// The command line that GOST and Fairlead have in common.
    pub(super) fn gost_options(&self) -> String {
        let (listen, targets) = (self.listen, self.targets_joined());
        let strategy = if self.targets.len() > 1 { "?strategy=round" } else { "" };
        match self.way {
            Way::Tcp => format!("-L tcp://{listen}/{targets}{strategy}"),
            Way::Udp => format!("-L udp://{listen}/{targets}{strategy}"),
            Way::Socks5Hop(hop) => format!("-L tcp://{listen}/{targets}{strategy} -F socks5://{hop}"),
            Way::Socks5Server => format!("-L socks5://{listen}"),
        }
    }

    /// The two addresses socat connects, with a process for each client.
    pub(super) fn socat_addresses(&self) -> String {
        let (protocol, backlog) = if self.way == Way::Udp { ("UDP", "") } else { ("TCP", ",backlog=1024") };
        let (listen, targets) = (self.listen, self.targets_joined());
        format!("{protocol}-LISTEN:{},bind={},fork,reuseaddr{backlog} {protocol}:{targets}", listen.port(), listen.ip())
    }

    fn targets_joined(&self) -> String {
        let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        targets.join(",")
    }
}
