//! What a reader has to know about the machine and the programs to judge the figures.
use std::fs;
use std::path::Path;
use std::process::Command;

use super::forwarder::{Toolbox, find};
use super::peer::Peer;

/// A fact's name and its value.
pub(crate) type Fact = (String, String);

/// The facts of this run.
pub(crate) fn facts(toolbox: &Toolbox, isolated: bool) -> Vec<Fact> {
    [
        ("date", first_line("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("machine", machine()),
        ("network", network(isolated)),
        ("users and limits", users(toolbox.root())),
        ("CPU", cpu(toolbox)),
        ("forwarders", versions(toolbox)),
        (
            "method",
            "load generator, forwarder and targets share the cores; all forwarders in turn, in random order in every round; \
             figures are medians, ratios are medians of same-round ratios; GB are 10⁹ bytes"
                .to_owned(),
        ),
        (
            "memory",
            "per connection: anonymous memory (PSS) beyond that before the connections; at rest: resident memory; \
             the program's file stands for its image"
                .to_owned(),
        ),
        (
            "datagrams",
            "sent and received one by one; lost: sent inside the window and not answered by the end; nginx with a socket for each worker \
             (reuseport)"
                .to_owned(),
        ),
        (
            "several targets",
            "in turn; haproxy with active checks every 500 ms, connect time-out 500 ms and redispatch, \
             nginx and GOST as they are by default; a silent target is one whose listener drops every SYN"
                .to_owned(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores, {model}, Linux {kernel}")
}

fn network(isolated: bool) -> String {
    let namespace = if isolated {
        "loopback in a network namespace of its own"
    } else {
        "DEGRADED: the machine's own loopback, because no network namespace could be made; connection rates depend on its ports and TIME_WAIT table"
    };
    let setting = |name: &str| read(&format!("/proc/sys/net/ipv4/{name}")).replace('\t', "–");
    format!(
        "{namespace}; ports {}, tcp_max_tw_buckets {}",
        setting("ip_local_port_range"),
        setting("tcp_max_tw_buckets"),
    )
}

fn users(root: bool) -> String {
    let pages = read("/proc/sys/fs/pipe-user-pages-soft");
    let users = if root {
        "haproxy runs as haproxy, nginx as www-data (each drops root itself, as its package has it), the others as uid 65534"
    } else {
        "DEGRADED: all run as the user who started this"
    };
    format!("{users}; nofile 20000; pipe-user-pages-soft {pages}")
}

fn cpu(toolbox: &Toolbox) -> String {
    let source = if toolbox.has_control_groups() {
        "a control group for each forwarder"
    } else {
        "/proc, in ticks of 10 ms (no control group could be made)"
    };
    format!("user and system time of all processes of the forwarder, read from {source}")
}

fn versions(toolbox: &Toolbox) -> String {
    let version = |program: &Path, flag: &str| first_line(&program.to_string_lossy(), &[flag]);
    let packaged =
        [("haproxy", "-v"), ("nginx", "-v"), ("socat", "-V"), ("ssh", "-V")].map(|(name, flag)| match find(name) {
            Some(program) => version(&program, flag),
            None => format!("{name} is not installed"),
        });
    let ours = [(Peer::Fairlead, "--version"), (Peer::Gost, "-V")].map(|(peer, flag)| match toolbox.program(peer) {
        Ok(program) => version(&program, flag),
        Err(reason) => format!("{} {reason}", peer.label()),
    });
    // It has no option that tells its version.
    let microsocks = first_line("dpkg-query", &["--show", "microsocks"]).replace('\t', " ");
    [ours.as_slice(), packaged.as_slice(), &[microsocks]].concat().join("; ")
}

/// The first line with a digit of what a program prints, on whichever stream.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return format!("{program}: does not run");
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit()));
    line.unwrap_or("unknown version").trim().to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(file).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
