//! A process group under way: waits until it listens, tells its last words, and kills it when it is dropped.
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use super::peer::Way;

/// How long a forwarder may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A process group; dropping it kills the group.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until clients may come to a loopback port.
    pub(crate) fn listens(&mut self, port: u16, way: &Way) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if is_listening(port, way)? {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("ended before it listened ({status}): {}", self.last_words());
            }
            if Instant::now() > deadline {
                bail!("not listening on port {port} after {} s: {}", START_LIMIT.as_secs(), self.last_words());
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        // An error means that nothing is left to kill.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The states of sockets that clients may come to, as /proc has them: of streams, and of datagrams.
const LISTENING: &str = "0A";
const UNCONNECTED: &str = "07";

/// Whether somebody listens on a loopback port, without connecting (which would make a forwarder dial).
fn is_listening(port: u16, way: &Way) -> Result<bool> {
    let (file, state) = match way {
        Way::Udp => ("/proc/net/udp", UNCONNECTED),
        Way::Tcp | Way::Socks5Hop(_) | Way::Socks5Server | Way::SshHop { .. } => ("/proc/net/tcp", LISTENING),
    };
    let table = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    Ok(has_socket(&table, port, state))
}

/// Looks for a socket in a table as in proc_net(5): address and port in hexadecimal, then the other end, then the state.
fn has_socket(table: &str, port: u16, state: &str) -> bool {
    let address = u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets());
    let wanted = format!("{address:08X}:{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next() == Some(wanted.as_str()) && fields.nth(1) == Some(state)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_port_and_state() {
        let table = "  sl  local_address rem_address   st\n   \
                     0: 0100007F:07D0 00000000:0000 0A 0:0\n   \
                     1: 0100007F:07D1 0100007F:07D0 01 0:0\n   \
                     2: 0100007F:07D2 00000000:0000 07 0:0\n";
        assert!(has_socket(table, 2000, LISTENING));
        assert!(!has_socket(table, 2001, LISTENING));
        assert!(!has_socket(table, 2002, LISTENING));
        assert!(has_socket(table, 2002, UNCONNECTED));
    }
}
