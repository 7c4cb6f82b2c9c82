//! Datagrams of all sizes that IPv4 has, there and back, every byte compared.
use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::Result;

use crate::bench::{socket, stats};

/// Sizes around what buffers and networks have for limits, up to the largest there is.
const SIZES: [usize; 10] = [0, 1, 64, 1472, 1473, 8192, 9000, 16_384, 32_768, 65_507];

/// A datagram may be lost: so often it is sent, and so long its answer is waited for.
const ATTEMPTS: usize = 3;
const WAIT: Duration = Duration::from_millis(300);

/// The sizes in bytes that did not come back as they were sent.
pub(crate) fn altered(address: SocketAddrV4) -> Result<Vec<usize>> {
    let client = socket::client(address)?;
    client.set_read_timeout(Some(WAIT))?;
    Ok(SIZES.into_iter().filter(|size| !(0..ATTEMPTS).any(|attempt| comes_back(&client, *size, attempt))).collect())
}

fn comes_back(client: &UdpSocket, size: usize, attempt: usize) -> bool {
    let sent: Vec<u8> = (0..size).map(|index| stats::scramble((size + index + attempt) as u64) as u8).collect();
    let mut received = vec![0; 65_536];
    let answered = client.send(&sent).and_then(|_| client.recv(&mut received));
    answered.is_ok_and(|count| received[..count] == sent)
}
