//! A SOCKS4 or SOCKS4A client of a server. It can't prove who it is, and so is served only where nobody has to.

use tokio::io::AsyncReadExt;

use super::session::Session;
use crate::{
    protocol::{
        ClientFault,
        socks4::server::{self as wire, Code},
    },
    stream::Stream,
};

/// Serves a client from its first byte on.
pub(super) async fn serve(session: &Session, mut client: Stream) -> Result<(), ClientFault> {
    let heard = async {
        if client.read_u8().await? != 4 {
            return Err(ClientFault::Garbage("speaks something else than SOCKS4"));
        }
        let address = wire::read_request(&mut client).await?;
        if session.has_users() {
            wire::answer(&mut client, Code::WhoAreYou).await?;
            return Err(ClientFault::Login);
        }
        Ok((client, address))
    };
    let (mut client, address) = session.handshake(heard).await?;
    match Box::pin(session.connect(&address)).await {
        Ok(upstream) => {
            wire::answer(&mut client, Code::Granted).await?;
            session.copy(client, upstream).await;
            Ok(())
        }
        Err(refusal) => {
            wire::answer(&mut client, Code::Failed).await?;
            Err(refusal.fault(&address))
        }
    }
}
