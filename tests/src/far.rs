//! Ports at a far end: remote forwards of ours, the server of ours that listens for them, and who asks there.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use serde_json::Value;

use crate::{
    binary::{Fairlead, Launch},
    clients::ask,
    datagrams, ports,
};

/// A SOCKS5 server of ours on a port of 127.0.0.1.
pub fn server(port: u16) -> Fairlead {
    let server =
        Fairlead::run(&["run", "-L", &format!("socks5://127.0.0.1:{port}?anonymous=true&allow_targets=0.0.0.0/0")]);
    server.await_listening(port);
    server
}

/// A remote forward of ours through `hops`, once the far end listens; with its port there.
pub fn forward(scheme: &str, hops: &[&str], target: SocketAddr) -> (Fairlead, u16) {
    let port = ports::free();
    let fairlead = begin(&format!("{scheme}://127.0.0.1:{port}/{target}"), hops);
    await_held(&fairlead, port);
    (fairlead, port)
}

/// Runs a forward through `hops`, with none of what the tester's own ssh has.
pub fn begin(listen: &str, hops: &[&str]) -> Fairlead {
    let mut arguments = vec!["run", "-o", "json", "-L", listen];
    arguments.extend(hops.iter().flat_map(|hop| ["-F", hop]));
    Launch::new(arguments).environment("HOME", "/nowhere").environment("SSH_AUTH_SOCK", "").start()
}

/// Waits until the forward holds this port at the far end.
pub fn await_held(fairlead: &Fairlead, port: u16) {
    let object = fairlead.await_object("the far end's port", |object| held(object) == Some(port.into()));
    assert_eq!(object["status"]["addresses"][0]["type"], "Remote", "{object}");
}

/// The far end's port in an object, where it is held.
fn held(object: &Value) -> Option<u64> {
    object.pointer("/status/addresses/0/port").and_then(Value::as_u64)
}

/// Who asks at a port of 127.0.0.1 again and again: by a new connection each time, or by one socket for datagrams.
pub enum Client {
    Streams(u16),
    Datagrams { socket: UdpSocket, count: AtomicU32 },
}

impl Client {
    /// One who keeps its socket.
    pub fn of_datagrams(port: u16) -> Self {
        Self::Datagrams { socket: datagrams::client(port), count: AtomicU32::default() }
    }

    /// Asks once, and says whether that was answered; answers to what was asked before don't count.
    pub fn is_answered(&self) -> bool {
        let Self::Datagrams { socket, .. } = self else { return self.has_connected() };
        let word = self.send();
        let (mut buffer, mut answer) = ([0; 64], None);
        while answer != Some(word) {
            match socket.recv(&mut buffer) {
                // Behind the target's letter.
                Ok(size) => answer = buffer[1..size.max(1)].try_into().ok().map(u32::from_be_bytes),
                Err(_) => break,
            }
        }
        answer == Some(word)
    }

    /// Says something without waiting for an answer; not for streams.
    pub fn send(&self) -> u32 {
        let Self::Datagrams { socket, count } = self else { return 0 };
        let word = count.fetch_add(1, Relaxed);
        // Nobody may listen there yet.
        let _ = socket.send(&word.to_be_bytes());
        word
    }

    fn has_connected(&self) -> bool {
        matches!(self, Self::Streams(port) if ask(([127, 0, 0, 1], *port)).is_ok())
    }
}
