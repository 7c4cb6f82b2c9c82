//! SOCKS4 and SOCKS4A as a server: one request, one answer. Exactly the request's bytes are read.

use std::net::Ipv4Addr;

use fairlead_config::{HostPort, check_host};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::CONNECT;
use crate::protocol::ClientFault;

/// The longest user or name in bytes.
const LONGEST: usize = 255;

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Granted = 90,
    Failed = 91,
    WhoAreYou = 93,
}

/// Reads a request behind its first byte; one that can't be met is answered here.
pub(crate) async fn read_request<S>(stream: &mut S) -> Result<HostPort, ClientFault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let command = stream.read_u8().await?;
    let port = stream.read_u16().await?;
    let ip = Ipv4Addr::from(stream.read_u32().await?);
    text(stream).await?;
    let is_named = ip.octets()[..3] == [0, 0, 0] && ip.octets()[3] != 0;
    let host = if is_named { String::from_utf8(text(stream).await?).unwrap_or_default() } else { ip.to_string() };
    if command != CONNECT || host.is_empty() || check_host(&host).is_err() {
        answer(stream, Code::Failed).await?;
        return Err(ClientFault::Garbage("asks for something that SOCKS4 is not served for"));
    }
    Ok(HostPort::new(host, port))
}

/// Answers a request.
pub(crate) async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, code: Code) -> Result<(), ClientFault> {
    stream.write_all(&[0, code as u8, 0, 0, 0, 0, 0, 0]).await?;
    Ok(stream.flush().await?)
}

/// A text up to the zero byte behind it.
async fn text(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ClientFault> {
    let mut text = Vec::new();
    loop {
        match stream.read_u8().await? {
            0 => return Ok(text),
            _ if text.len() == LONGEST => return Err(ClientFault::Garbage("sends a text without end")),
            byte => text.push(byte),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    async fn read(message: &[u8]) -> Result<String, ClientFault> {
        let (mut client, mut server) = duplex(2048);
        client.write_all(message).await.unwrap();
        client.shutdown().await.unwrap();
        read_request(&mut server).await.map(|address| address.to_string())
    }

    #[tokio::test]
    async fn addresses_and_names_are_read_and_all_else_is_refused() {
        assert_eq!(read(b"\x01\x00\x50\x7f\x00\x00\x01ann\x00").await.unwrap(), "127.0.0.1:80");
        assert_eq!(read(b"\x01\x15\x38\x00\x00\x00\x01\x00db.example\x00rest").await.unwrap(), "db.example:5432");
        assert_eq!(read(b"\x01\x00\x50\x00\x00\x00\x00\x00").await.unwrap(), "0.0.0.0:80");
        let long = [b"\x01\x00\x50\x7f\x00\x00\x01".as_slice(), &[b'a'; 300], b"\x00"].concat();
        for noise in [
            b"\x02\x00\x50\x7f\x00\x00\x01\x00".as_slice(),
            b"\x01\x00\x50\x00\x00\x00\x01\x00\x00",
            b"\x01\x00\x50\x00\x00\x00\x01\x00a b\x00",
            b"\x01\x00\x50\x00\x00\x00\x01\x00\xff\x00",
            b"\x01\x00",
            b"",
            &long,
        ] {
            assert!(read(noise).await.is_err(), "{noise:?}");
        }
    }
    proptest::proptest! {
        #[test]
        fn noise_is_an_error_and_never_a_panic(
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(&noise));
        }
    }
}
