//! A client of a server that speaks HTTP, SOCKS4 and SOCKS5 (seed: `-L :8080`): its first byte tells which.

use tokio::io::{AsyncBufReadExt, BufReader};

use super::{http, session::Session, socks4, socks5};
use crate::{protocol::ClientFault, stream::Stream};

/// Bytes that are read at once of a client whose first one can't be looked at otherwise: no greeting is longer.
const GREETING: usize = 512;

/// Serves a client from its first byte on, which is left where it is.
pub(super) async fn serve(session: &Session, client: Stream) -> Result<(), ClientFault> {
    match session.handshake(look(client)).await? {
        (client, Some(4)) => socks4::serve(session, client).await,
        (client, Some(5)) => socks5::serve(session, client).await,
        (client, Some(byte)) if byte.is_ascii_alphabetic() => http::serve(session, client).await,
        (_, Some(_)) => Err(ClientFault::Garbage("speaks neither HTTP nor SOCKS")),
        (_, None) => Err(ClientFault::Garbage("leaves without a word")),
    }
}

async fn look(client: Stream) -> Result<(Stream, Option<u8>), ClientFault> {
    if let Stream::Tcp(socket) = &client {
        let first = socket.first_byte().await?;
        return Ok((client, first));
    }
    let mut client = BufReader::with_capacity(GREETING, client);
    let first = client.fill_buf().await?.first().copied();
    Ok((Stream::Layered(Box::new(client)), first))
}
