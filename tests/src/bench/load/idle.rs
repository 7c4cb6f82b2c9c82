//! Connections that are established, proven by one echoed byte, and then left alone.
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Establishes so many connections; they stay open until the answer is dropped.
pub(crate) fn establish(address: SocketAddrV4, connections: usize) -> Result<Vec<TcpStream>> {
    (1..=connections).map(|n| one(address).with_context(|| format!("idle connection {n} of {connections}"))).collect()
}

fn one(address: SocketAddrV4) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0; 1])?;
    Ok(stream)
}
