//! What a forwarder is to do, and how those that take it all as arguments are told.
use std::net::SocketAddrV4;

/// How clients and targets come together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Streams, straight to the targets.
    Tcp,
    /// Datagrams, straight to the targets.
    Udp,
    /// Streams, through the SOCKS5 server at that address.
    Socks5Hop(SocketAddrV4),
    /// Streams to where the clients say, in SOCKS5.
    Socks5Server,
    /// Streams, through the SSH server at that address, as that user of it.
    SshHop { server: SocketAddrV4, user: String },
}

/// The files of a client of SSH, in the directory of the run.
pub(crate) const SSH_KEY: &str = "ssh-key";
pub(crate) const SSH_KNOWN_HOSTS: &str = "ssh-known-hosts";

/// What a forwarder is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) way: Way,
    pub(crate) listen: SocketAddrV4,
    /// One, or several used in turn; none for a server.
    pub(crate) targets: Vec<SocketAddrV4>,
}

impl Route {
    /// GOST's command line; the directory holds the files of SSH.
    pub(super) fn gost_options(&self, dir: &str) -> String {
        let (listen, targets) = (self.listen, self.targets_joined());
        let strategy = if self.targets.len() > 1 { "?strategy=round" } else { "" };
        match &self.way {
            Way::Tcp => format!("-L tcp://{listen}/{targets}{strategy}"),
            Way::Udp => format!("-L udp://{listen}/{targets}{strategy}"),
            Way::Socks5Hop(hop) => format!("-L tcp://{listen}/{targets}{strategy} -F socks5://{hop}?notls=true"),
            Way::Socks5Server => format!("-L socks5://{listen}"),
            Way::SshHop { server, user } => {
                format!(
                    "-L tcp://{listen}/{targets}{strategy} -F forward+ssh://{user}@{server}?ssh_key={dir}/{SSH_KEY}"
                )
            }
        }
    }

    /// Fairlead's: GOST's, and where SSH servers are known from, which GOST does not ask.
    pub(super) fn fairlead_options(&self, dir: &str) -> String {
        let options = self.gost_options(dir);
        match self.way {
            Way::SshHop { .. } => format!("{options}&ssh_known_hosts={dir}/{SSH_KNOWN_HOSTS}"),
            Way::Tcp | Way::Udp | Way::Socks5Hop(_) | Way::Socks5Server => options,
        }
    }

    /// The options of OpenSSH's client; none where there is no SSH server.
    pub(super) fn ssh_options(&self, dir: &str) -> String {
        let Way::SshHop { server, user } = &self.way else {
            return String::new();
        };
        format!(
            "-N -F none -i {dir}/{SSH_KEY} -o IdentitiesOnly=yes -o UserKnownHostsFile={dir}/{SSH_KNOWN_HOSTS} -o BatchMode=yes \
             -o StrictHostKeyChecking=yes -o ExitOnForwardFailure=yes -c aes128-gcm@openssh.com -p {} -L {}:{} {user}@{}",
            server.port(),
            self.listen,
            self.targets_joined(),
            server.ip(),
        )
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
