//! A client of a Shadowsocks server: encrypted from the first byte on, the address first. Nothing is ever answered but
//! the target's bytes; who has another key, or repeats what a client said, is nobody and hears nothing.
//! Invariant: until its time is over, nobody learns from us that or where it failed: whatever comes is read and dropped.

use std::sync::Arc;

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
    let client = SsStream::of_client(client, key, Arc::clone(&session.shared.salts));
    let mut fault = None;
    let heard = session.handshake(hear(client, &mut fault)).await;
    let (client, address) = heard.map_err(|late| fault.unwrap_or(late))?;
    let client = Stream::Layered(Box::new(client));
    let upstream = Box::pin(session.connect(&address)).await.map_err(|refusal| refusal.fault(&address))?;
    session.copy(client, upstream).await;
    Ok(())
}

/// Reads where the client wants to go. Of somebody else it notes the `fault`, and goes on as if it still waited.
async fn hear(
    mut client: SsStream<Stream>,
    fault: &mut Option<ClientFault>,
) -> Result<(SsStream<Stream>, HostPort), ClientFault> {
    match read_address(&mut client).await {
        Ok(address) => Ok((client, address)),
        Err(found) => {
            *fault = Some(found);
            tokio::io::copy(&mut client.into_inner(), &mut tokio::io::sink()).await?;
            Err(ClientFault::Garbage("leaves"))
        }
    }
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
