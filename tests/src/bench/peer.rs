//! The forwarders that are compared, and how each is told what to do: configuration files and arguments, as pure functions.
//! Each runs as its package runs it (haproxy and nginx start as root and become their own user), everything else as nobody.
mod config;
mod route;

use std::path::Path;

pub(crate) use route::{Route, SSH_KEY, SSH_KNOWN_HOSTS, Way};

use config::{haproxy_config, nginx_config};

/// The user that forwarders without one of their own run as.
pub(crate) const NOBODY: u32 = 65534;

/// A forwarder, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Fairlead,
    HaproxySplice,
    HaproxyPipes,
    Haproxy,
    Nginx,
    Socat,
    Microsocks,
    /// OpenSSH's client.
    OpenSsh,
    Gost,
    Direct,
}

impl Peer {
    /// Its name in the tables.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Fairlead => "fairlead",
            Self::HaproxySplice => "haproxy splice",
            Self::HaproxyPipes => "haproxy splice, pipes 1 MiB",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx stream",
            Self::Socat => "socat",
            Self::Microsocks => "microsocks",
            Self::OpenSsh => "ssh -L, aes128-gcm",
            Self::Gost => "GOST",
            Self::Direct => "direct, no forwarder",
        }
    }

    /// The program it is, as found on the search path; none where it comes from elsewhere.
    pub(crate) fn program(self) -> Option<&'static str> {
        match self {
            Self::HaproxySplice | Self::HaproxyPipes | Self::Haproxy => Some("haproxy"),
            Self::Nginx => Some("nginx"),
            Self::Socat => Some("socat"),
            Self::Microsocks => Some("microsocks"),
            Self::OpenSsh => Some("ssh"),
            Self::Fairlead | Self::Gost | Self::Direct => None,
        }
    }

    /// Whether it is started as root, where possible, to become another user by itself.
    pub(crate) fn changes_user_itself(self) -> bool {
        matches!(self.program(), Some("haproxy" | "nginx"))
    }

    /// The file it reads its configuration from, and that configuration; none if arguments say it all.
    pub(crate) fn config(self, route: &Route, root: bool) -> Option<(&'static str, String)> {
        match self {
            Self::HaproxySplice | Self::HaproxyPipes | Self::Haproxy => {
                Some(("haproxy.cfg", haproxy_config(self, route, root)))
            }
            Self::Nginx => Some(("nginx.conf", nginx_config(route, root))),
            Self::Fairlead | Self::Socat | Self::Microsocks | Self::OpenSsh | Self::Gost | Self::Direct => None,
        }
    }

    /// Its arguments; `dir` holds the configuration file.
    pub(crate) fn arguments(self, route: &Route, dir: &Path) -> Vec<String> {
        let dir = dir.display().to_string();
        let line = match self {
            Self::HaproxySplice | Self::HaproxyPipes | Self::Haproxy => format!("-db -f {dir}/haproxy.cfg"),
            Self::Nginx => format!("-p {dir} -c {dir}/nginx.conf -e stderr"),
            Self::Socat => route.socat_addresses(),
            Self::Microsocks => format!("-i {} -p {}", route.listen.ip(), route.listen.port()),
            Self::OpenSsh => route.ssh_options(&dir),
            Self::Fairlead => format!("run {}", route.fairlead_options(&dir)),
            Self::Gost => route.gost_options(&dir),
            Self::Direct => return Vec::new(),
        };
        line.split(' ').map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn route(way: Way, targets: &[&str]) -> Route {
        Route {
            way,
            listen: "127.0.0.1:2000".parse().unwrap(),
            targets: targets.iter().map(|t| t.parse().unwrap()).collect(),
        }
    }

    fn arguments(peer: Peer, way: Way, targets: &[&str]) -> String {
        peer.arguments(&route(way, targets), Path::new("/run/x")).join(" ")
    }

    #[test]
    fn arguments_name_the_listener_and_the_targets() {
        let one = ["127.0.0.1:1"];
        let two = ["127.0.0.1:1", "127.0.0.1:2"];
        let hop = Way::Socks5Hop("127.0.0.1:3000".parse().unwrap());
        let ssh = Way::SshHop { server: "127.0.0.1:22".parse().unwrap(), user: "me".to_owned() };
        let chained = "-L tcp://127.0.0.1:2000/127.0.0.1:1 -F socks5://127.0.0.1:3000?notls=true";
        let cases = [
            (Peer::Fairlead, Way::Tcp, &one[..], "run -L tcp://127.0.0.1:2000/127.0.0.1:1"),
            (Peer::Gost, Way::Tcp, &two, "-L tcp://127.0.0.1:2000/127.0.0.1:1,127.0.0.1:2?strategy=round"),
            (Peer::Socat, Way::Tcp, &one, "TCP-LISTEN:2000,bind=127.0.0.1,fork,reuseaddr,backlog=1024 TCP:127.0.0.1:1"),
            (Peer::Haproxy, Way::Tcp, &one, "-db -f /run/x/haproxy.cfg"),
            (Peer::Fairlead, Way::Udp, &one, "run -L udp://127.0.0.1:2000/127.0.0.1:1"),
            (Peer::Socat, Way::Udp, &one, "UDP-LISTEN:2000,bind=127.0.0.1,fork,reuseaddr UDP:127.0.0.1:1"),
            (Peer::Gost, hop.clone(), &one, chained),
            (Peer::Fairlead, hop, &one, &format!("run {chained}")),
            (Peer::Fairlead, Way::Socks5Server, &[], "run -L socks5://127.0.0.1:2000"),
            (
                Peer::OpenSsh,
                ssh.clone(),
                &one,
                "-N -F none -i /run/x/ssh-key -o IdentitiesOnly=yes -o UserKnownHostsFile=/run/x/ssh-known-hosts -o BatchMode=yes \
                 -o StrictHostKeyChecking=yes -o ExitOnForwardFailure=yes -c aes128-gcm@openssh.com -p 22 \
                 -L 127.0.0.1:2000:127.0.0.1:1 me@127.0.0.1",
            ),
            (
                Peer::Fairlead,
                ssh,
                &one,
                "run -L tcp://127.0.0.1:2000/127.0.0.1:1 \
                 -F forward+ssh://me@127.0.0.1:22?ssh_key=/run/x/ssh-key&ssh_known_hosts=/run/x/ssh-known-hosts",
            ),
            (Peer::Microsocks, Way::Socks5Server, &[], "-i 127.0.0.1 -p 2000"),
        ];
        for (peer, way, targets, expected) in cases {
            assert_eq!(arguments(peer, way, targets), expected);
        }
    }

    #[test]
    fn the_variants_of_haproxy_differ_in_splicing_and_pipes() {
        let cases =
            [(Peer::Haproxy, false, false), (Peer::HaproxySplice, true, false), (Peer::HaproxyPipes, true, true)];
        for (peer, splices, large_pipes) in cases {
            let (_, config) = peer.config(&route(Way::Tcp, &["127.0.0.1:1"]), true).unwrap();
            assert_eq!(config.contains("splice-response"), splices, "{config}");
            assert_eq!(config.contains("tune.pipesize 1048576"), large_pipes, "{config}");
            assert!(config.contains("user haproxy"), "{config}");
        }
    }

    #[test]
    fn haproxy_checks_targets_when_there_are_several() {
        let (_, config) = Peer::Haproxy.config(&route(Way::Tcp, &["127.0.0.1:1", "127.0.0.1:2"]), false).unwrap();
        assert!(config.contains("server target1 127.0.0.1:2 check inter"), "{config}");
        assert!(!config.contains("user haproxy"), "{config}");
    }

    #[test]
    fn nginx_forwards_datagrams_where_it_is_asked_to() {
        for (way, expected) in
            [(Way::Tcp, "listen 127.0.0.1:2000;"), (Way::Udp, "listen 127.0.0.1:2000 udp reuseport;")]
        {
            let (_, config) = Peer::Nginx.config(&route(way, &["127.0.0.1:1"]), false).unwrap();
            assert!(config.contains(expected), "{config}");
        }
    }
}
