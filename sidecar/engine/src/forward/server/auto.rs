//! A client of a server that speaks HTTP, SOCKS4 and SOCKS5 (seed: `-L :8080`): its first byte tells which.

use super::{http, session::Session, socks4, socks5};
use crate::{protocol::ClientFault, stream::Stream};

/// Serves a client from its first byte on, which is left where it is.
pub(super) async fn serve(session: &Session, client: Stream) -> Result<(), ClientFault> {
    let heard = async {
        let first = match &client {
            Stream::Tcp(socket) => socket.first_byte().await?,
            Stream::Layered(_) | Stream::Channel(_) | Stream::Late(_) | Stream::Session(_) => None,
        };
        Ok((client, first))
    };
    match session.handshake(heard).await? {
        (client, Some(4)) => socks4::serve(session, client).await,
        (client, Some(5)) => socks5::serve(session, client).await,
        (client, Some(byte)) if byte.is_ascii_alphabetic() => http::serve(session, client).await,
        (_, Some(_)) => Err(ClientFault::Garbage("speaks neither HTTP nor SOCKS")),
        (_, None) => Err(ClientFault::Garbage("leaves without a word")),
    }
}
