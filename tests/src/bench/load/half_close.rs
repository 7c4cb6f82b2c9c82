//! One side says all it has to say and closes its half; then the other side answers as much. Every byte is compared.
//! It runs both ways: client first (a request without a length), target first (a banner).
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

const BLOCK: usize = 64 * 1024;

/// How long one read or write may take before the connection counts as stuck.
const STUCK: Duration = Duration::from_secs(10);

/// Who speaks, and closes its half, first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    Client,
    Target,
}

/// Listens, as the target, on a loopback port.
pub(crate) fn listen() -> Result<(TcpListener, SocketAddrV4)> {
    let (listener, address) = crate::bench::socket::listen()?;
    listener.set_nonblocking(false)?;
    Ok((listener, address))
}

/// Carries `size` bytes each way between a client of `address` and the target that accepts on `listener`.
pub(crate) fn run(address: SocketAddrV4, listener: &TcpListener, size: u64, first: First) -> Result<()> {
    let client = TcpStream::connect(address).with_context(|| format!("dial {address}"))?;
    std::thread::scope(|scope| {
        let target = scope.spawn(|| -> Result<()> {
            let (stream, _) = listener.accept()?;
            converse(stream, size, first == First::Target).context("target")
        });
        let client = converse(client, size, first == First::Client).context("client");
        if client.is_err() {
            // The forwarder may never have dialled: the target must not wait for it for ever.
            wake(listener);
        }
        let target = target.join().map_err(|_| anyhow!("the target's thread panicked"))?;
        client.and(target)
    })
}

fn wake(listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        // An error means that nobody listens, so that nobody waits either.
        let _ = TcpStream::connect(address);
    }
}

fn converse(mut stream: TcpStream, size: u64, speaks_first: bool) -> Result<()> {
    stream.set_read_timeout(Some(STUCK))?;
    stream.set_write_timeout(Some(STUCK))?;
    if speaks_first {
        speak(&mut stream, size)?;
        listen_to(&mut stream, size)
    } else {
        listen_to(&mut stream, size)?;
        speak(&mut stream, size)
    }
}

fn speak(stream: &mut TcpStream, size: u64) -> Result<()> {
    let mut block = vec![0; BLOCK];
    let mut sent = 0;
    while sent < size {
        fill(&mut block, sent);
        let count = (size - sent).min(BLOCK as u64) as usize;
        stream
            .write_all(&block[..count])
            .with_context(|| format!("broke after sending {} of {} MB", mb(sent), mb(size)))?;
        sent += count as u64;
    }
    stream.shutdown(Shutdown::Write).context("close one half")
}

fn listen_to(stream: &mut TcpStream, size: u64) -> Result<()> {
    let (mut block, mut expected) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut received = 0;
    loop {
        let count = read_block(stream, &mut block)
            .with_context(|| format!("broke after {} of {} MB", mb(received), mb(size)))?;
        fill(&mut expected, received);
        ensure!(block[..count] == expected[..count], "altered bytes after {} of {} MB", mb(received), mb(size));
        received += count as u64;
        if count < BLOCK {
            break;
        }
    }
    ensure!(received == size, "ended after {} of {} MB", mb(received), mb(size));
    Ok(())
}

/// Reads until the block is full or the peer has closed its half.
fn read_block(stream: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match stream.read(&mut block[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Fills a block with what belongs at `offset`: numbers that never repeat, so that a shifted or repeated piece shows.
fn fill(block: &mut [u8], offset: u64) {
    for (index, word) in block.chunks_exact_mut(8).enumerate() {
        let position = offset / 8 + index as u64;
        word.copy_from_slice(&crate::bench::stats::scramble(position).to_le_bytes());
    }
}

fn mb(bytes: u64) -> u64 {
    bytes / 1_000_000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_direct_connection_passes_both_ways() {
        let (listener, address) = listen().unwrap();
        for first in [First::Client, First::Target] {
            run(address, &listener, 1_000_000, first).unwrap();
        }
    }

    #[test]
    fn a_connection_that_is_closed_as_a_whole_fails() {
        let (listener, _) = listen().unwrap();
        let (closing, address) = listen().unwrap();
        let closer = std::thread::spawn(move || drop(closing.accept()));
        assert!(run(address, &listener, 1_000_000, First::Client).is_err());
        closer.join().unwrap();
    }
}
