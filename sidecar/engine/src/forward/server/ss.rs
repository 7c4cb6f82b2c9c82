//! A client of a Shadowsocks server: encrypted from the first byte on, the address first. Nothing is ever answered but
//! the target's bytes; who has another key is nobody, and hears nothing.

use fairlead_config::{HostPort, check_host};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::session::Session;
use crate::{
    protocol::{ClientFault, address, ss::SsStream, ss_cipher::Key},
    stream::Stream,
};

/// Serves a client from its first byte on.
pub(super) async fn serve(session: &Session, client: Stream) -> Result<(), ClientFault> {
    let login = session.first_login()?;
    let key = Key::of(&login).map_err(ClientFault::Credentials)?;
    let heard = async {
        let mut client = SsStream::new(client, key);
        let address = read_address(&mut client).await?;
        Ok((Stream::Layered(Box::new(client)), address))
    };
    let (client, address) = session.handshake(heard).await?;
    let upstream = Box::pin(session.connect(&address)).await.map_err(|refusal| refusal.fault(&address))?;
    session.copy(client, upstream).await;
    Ok(())
}

/// Reads exactly the address.
async fn read_address(client: &mut (impl AsyncRead + Unpin)) -> Result<HostPort, ClientFault> {
    const GARBAGE: ClientFault = ClientFault::Garbage("has another key, or says no address");
    let mut bytes = Vec::with_capacity(address::LONGEST);
    let length = loop {
        bytes.push(client.read_u8().await?);
        if let Some(length) = address::length(&bytes).map_err(|_| GARBAGE)? {
            break length;
        }
    };
    let known = bytes.len();
    bytes.resize(length.max(known), 0);
    client.read_exact(&mut bytes[known..]).await?;
    let (address, _) = address::decode(&bytes).map_err(|_| GARBAGE)?.ok_or(GARBAGE)?;
    if check_host(&address.host).is_err() { Err(GARBAGE) } else { Ok(address) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_address_is_read_to_its_end_and_no_further() {
        for (bytes, want) in [
            (b"\x01\x7f\0\0\x01\0\x50rest".as_slice(), Some("127.0.0.1:80")),
            (b"\x03\x01a\0\x50rest", Some("a:80")),
            (b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50rest", Some("[::1]:80")),
            (b"\x09\0\0\0", None),
            (b"\x03\x03a b\0\x50", None),
            (b"\x03", None),
        ] {
            let mut rest = bytes;
            let read = read_address(&mut rest).await.ok().map(|address| address.to_string());
            assert_eq!(read.as_deref(), want);
            assert!(want.is_none() || rest == b"rest");
        }
    }
}
