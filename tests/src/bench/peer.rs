//! The forwarders that are compared, and how each is told to forward one port: configuration files and arguments, as pure functions.
//! Each runs as its package runs it (haproxy and nginx start as root and become their own user), everything else as nobody.
use std::net::SocketAddrV4;
use std::path::Path;

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
            Self::Fairlead | Self::Socat | Self::Gost | Self::Direct => None,
        }
    }

    /// Its arguments; `dir` holds the configuration file.
    pub(crate) fn arguments(self, route: &Route, dir: &Path) -> Vec<String> {
        let dir = dir.display();
        let words = |line: String| line.split(' ').map(str::to_owned).collect();
        match self {
            Self::HaproxySplice | Self::HaproxyPipes | Self::Haproxy => words(format!("-db -f {dir}/haproxy.cfg")),
            Self::Nginx => words(format!("-p {dir} -c {dir}/nginx.conf -e stderr")),
            Self::Socat => words(format!(
                "TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr,backlog=1024 TCP:{}",
                route.listen.port(),
                route.targets_joined(),
            )),
            Self::Fairlead => words(format!("run -L {}", route.url())),
            Self::Gost => words(format!("-L {}", route.url())),
            Self::Direct => Vec::new(),
        }
    }
}

/// What a forwarder is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) listen: SocketAddrV4,
    /// One, or several used in turn.
    pub(crate) targets: Vec<SocketAddrV4>,
}

impl Route {
    fn targets_joined(&self) -> String {
        let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        targets.join(",")
    }

    fn url(&self) -> String {
        let strategy = if self.targets.len() > 1 { "?strategy=round" } else { "" };
        format!("tcp://{}/{}{strategy}", self.listen, self.targets_joined())
    }
}

fn haproxy_config(variant: Peer, route: &Route, root: bool) -> String {
    let user = if root { "  user haproxy\n  group haproxy\n" } else { "" };
    let pipes = if variant == Peer::HaproxyPipes { "  tune.pipesize 1048576\n" } else { "" };
    let splice = if variant == Peer::Haproxy { "" } else { "  option splice-request\n  option splice-response\n" };
    // It refuses to start when its connections, and a pipe for every fourth of them if it splices, need too many descriptors.
    let connections = if variant == Peer::Haproxy { 9000 } else { 2000 };
    format!(
        "global\n  maxconn {connections}\n{user}{pipes}\
         defaults\n  mode tcp\n  timeout client 1h\n  timeout server 1h\n{splice}{}\
         listen forward\n  bind {}\n{}",
        haproxy_timing(route.targets.len()),
        route.listen,
        haproxy_servers(route),
    )
}

/// With several targets haproxy gets what makes it best at leaving one out.
fn haproxy_timing(targets: usize) -> &'static str {
    if targets > 1 {
        "  timeout connect 500ms\n  timeout check 300ms\n  retries 3\n  option redispatch 1\n  balance roundrobin\n"
    } else {
        "  timeout connect 5s\n"
    }
}

fn haproxy_servers(route: &Route) -> String {
    let check = if route.targets.len() > 1 { " check inter 500ms fall 1 rise 1" } else { "" };
    let server = |(index, target): (usize, &SocketAddrV4)| format!("  server target{index} {target}{check}\n");
    route.targets.iter().enumerate().map(server).collect()
}

fn nginx_config(route: &Route, root: bool) -> String {
    let user = if root { "user www-data;\n" } else { "" };
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let servers: String = route.targets.iter().map(|target| format!("    server {target};\n")).collect();
    format!(
        "{load}{user}daemon off;\npid nginx.pid;\nworker_processes auto;\nworker_rlimit_nofile 20000;\n\
         events {{\n  worker_connections 20000;\n}}\n\
         stream {{\n  upstream targets {{\n{servers}  }}\n\
         \x20 server {{\n    listen {};\n    proxy_pass targets;\n  }}\n}}\n",
        route.listen,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn route(targets: &[&str]) -> Route {
        Route {
            listen: "127.0.0.1:2000".parse().unwrap(),
            targets: targets.iter().map(|t| t.parse().unwrap()).collect(),
        }
    }

    fn arguments(peer: Peer, targets: &[&str]) -> String {
        peer.arguments(&route(targets), Path::new("/run/x")).join(" ")
    }

    #[test]
    fn arguments_name_the_listener_and_the_targets() {
        let one = ["127.0.0.1:1"];
        let two = ["127.0.0.1:1", "127.0.0.1:2"];
        let cases = [
            (Peer::Fairlead, &one[..], "run -L tcp://127.0.0.1:2000/127.0.0.1:1"),
            (Peer::Gost, &two[..], "-L tcp://127.0.0.1:2000/127.0.0.1:1,127.0.0.1:2?strategy=round"),
            (Peer::Socat, &one[..], "TCP-LISTEN:2000,bind=127.0.0.1,fork,reuseaddr,backlog=1024 TCP:127.0.0.1:1"),
            (Peer::Haproxy, &one[..], "-db -f /run/x/haproxy.cfg"),
        ];
        for (peer, targets, expected) in cases {
            assert_eq!(arguments(peer, targets), expected);
        }
    }

    #[test]
    fn the_variants_of_haproxy_differ_in_splicing_and_pipes() {
        let cases =
            [(Peer::Haproxy, false, false), (Peer::HaproxySplice, true, false), (Peer::HaproxyPipes, true, true)];
        for (peer, splices, large_pipes) in cases {
            let (_, config) = peer.config(&route(&["127.0.0.1:1"]), true).unwrap();
            assert_eq!(config.contains("splice-response"), splices, "{config}");
            assert_eq!(config.contains("tune.pipesize 1048576"), large_pipes, "{config}");
            assert!(config.contains("user haproxy"), "{config}");
        }
    }

    #[test]
    fn haproxy_checks_targets_when_there_are_several() {
        let (_, config) = Peer::Haproxy.config(&route(&["127.0.0.1:1", "127.0.0.1:2"]), false).unwrap();
        assert!(config.contains("server target1 127.0.0.1:2 check inter"), "{config}");
        assert!(!config.contains("user haproxy"), "{config}");
    }
}
