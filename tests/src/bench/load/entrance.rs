//! Where a client's streams begin: at a forwarder that knows the target, or at a SOCKS5 server that has to be told (RFC 1928).
//! Clients offer no method but "none", and say nothing before they were answered.
use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long an answer in the handshake may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// One thing a client says, and what it waits for then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) says: Cow<'static, [u8]>,
    /// How the answer begins.
    pub(crate) hears: &'static [u8],
    /// The answer's whole length.
    pub(crate) length: usize,
}

/// Where to connect, and what to say first.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    pub(crate) address: SocketAddrV4,
    pub(crate) steps: Vec<Step>,
}

impl Entrance {
    /// A forwarder that knows where to.
    pub(crate) fn plain(address: SocketAddrV4) -> Self {
        Self { address, steps: Vec::new() }
    }

    /// A SOCKS5 server that shall connect to `target`.
    pub(crate) fn socks5(address: SocketAddrV4, target: SocketAddrV4) -> Self {
        let mut connect = vec![5, 1, 0, 1];
        connect.extend(target.ip().octets());
        connect.extend(target.port().to_be_bytes());
        Self {
            address,
            steps: vec![
                Step { says: Cow::Borrowed(&[5, 1, 0]), hears: &[5, 0], length: 2 },
                Step { says: Cow::Owned(connect), hears: &[5, 0, 0, 1], length: 10 },
            ],
        }
    }

    /// The same, followed by one byte that the target echoes.
    pub(crate) fn with_echo(mut self) -> Self {
        self.steps.push(Step { says: Cow::Borrowed(b"x"), hears: b"x", length: 1 });
        self
    }

    /// Connects and takes all the steps.
    pub(crate) fn open(&self) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).with_context(|| format!("dial {}", self.address))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        for step in &self.steps {
            stream.write_all(&step.says)?;
            let mut answer = vec![0; step.length];
            stream.read_exact(&mut answer).context("an answer that did not come")?;
            ensure!(answer.starts_with(step.hears), "answered {answer:?} where {:?} was to come first", step.hears);
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socks5_client_greets_and_then_names_the_target() {
        let address = SocketAddrV4::new([127, 0, 0, 1].into(), 1080);
        let target = SocketAddrV4::new([127, 0, 0, 1].into(), 258);
        let said: Vec<_> =
            Entrance::socks5(address, target).with_echo().steps.into_iter().map(|step| step.says).collect();
        assert_eq!(said, [&[5_u8, 1, 0][..], &[5, 1, 0, 1, 127, 0, 0, 1, 1, 2], b"x"]);
    }
}
