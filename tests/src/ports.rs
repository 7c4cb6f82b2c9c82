//! Ports for tests: free ones, and who listens where according to the kernel, without connecting to anything.
//! They lie below the ephemeral range, so that no client's own port can take one before the program under test does.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
};

use crate::bench::socket;

/// A port of 127.0.0.1 that nobody holds, and that no other caller in this process is given.
pub fn free() -> u16 {
    socket::free_address().expect("a free port").port()
}

/// Listens on such a port, blocking.
pub(crate) fn listen() -> (TcpListener, SocketAddr) {
    let (listener, address) = socket::listen().expect("listen on a free port");
    listener.set_nonblocking(false).expect("a blocking listener");
    (listener, address.into())
}

/// The inode of the socket that listens on this port, which tells a listener from its successor; none if nobody does.
pub fn listener_on(port: u16) -> Option<u64> {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| listener_in(line, port))
    })
}

/// Whether the peers of every connection accepted at this port have all that was sent to them.
pub(crate) fn is_all_acknowledged(port: u16) -> bool {
    let text = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    text.lines().skip(1).all(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, _, queues, ..] = columns[..] else { return true };
        let is_of_port = local.rsplit_once(':').is_some_and(|(_, hex)| u16::from_str_radix(hex, 16).ok() == Some(port));
        !is_of_port || queues.starts_with("00000000:")
    })
}

/// Whether a UDP socket is bound to this port.
pub fn takes_datagrams(port: u16) -> bool {
    ["/proc/net/udp", "/proc/net/udp6"].iter().any(|table| {
        let text = fs::read_to_string(table).unwrap_or_default();
        let local = text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(1)?.rsplit_once(':'));
        local.into_iter().any(|(_, bound)| u16::from_str_radix(bound, 16).ok() == Some(port))
    })
}

/// Reads one row of proc_net_tcp(5): local address, state 0A (listening), and in the tenth column the inode.
fn listener_in(line: &str, port: u16) -> Option<u64> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
    let listens = *columns.get(3)? == "0A" && u16::from_str_radix(local_port, 16).ok()? == port;
    if listens { columns.get(9)?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_its_port_until_it_is_closed() {
        let (listener, address) = listen();
        let inode = listener_on(address.port());
        assert!(inode.is_some_and(|inode| inode > 0), "{inode:?}");
        drop(listener);
        assert_eq!(listener_on(address.port()), None);
    }

    #[test]
    fn no_port_is_given_twice() {
        let ports: std::collections::BTreeSet<u16> = (0..50).map(|_| free()).collect();
        assert_eq!(ports.len(), 50);
    }
}
