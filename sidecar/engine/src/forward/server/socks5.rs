//! A SOCKS5 client of a server: greeting, perhaps TLS and a login, a request, and what was asked for.

use std::{net::TcpStream, sync::Arc};

use tokio::io::AsyncReadExt;

use super::{
    associate, datagrams, listening,
    session::{Refusal, Session},
};
use crate::{
    dial::PathFault,
    protocol::{
        ClientFault,
        socks5::server::{self as wire, Code, Command, Request},
    },
    stream::Stream,
};

/// A client that has said what it wants.
pub(super) struct Asked {
    pub(super) client: Stream,
    /// The connection that `client` is layered on.
    pub(super) control: Option<TcpStream>,
    pub(super) user: Option<Arc<str>>,
    pub(super) request: Request,
}

/// Serves a client from its first byte on.
pub(super) async fn serve(session: &Session, mut client: Stream) -> Result<(), ClientFault> {
    let heard = async {
        if client.read_u8().await? != 5 {
            return Err(ClientFault::Garbage("speaks something else than SOCKS5"));
        }
        hear(session, client).await
    };
    let asked = session.handshake(heard).await?;
    meet(session, asked).await
}

/// Hears a client out whose first byte has been read.
async fn hear(session: &Session, mut client: Stream) -> Result<Asked, ClientFault> {
    let method = wire::greet(&mut client, session.terms()).await?;
    let mut control = None;
    if method.has_tls() {
        if let Stream::Tcp(socket) = &client {
            control = Some(socket.stream().try_clone()?);
        }
        client = session.encrypted(client).await?;
    }
    let mut user = session.known_user();
    if method.has_login() {
        let (name, password) = wire::read_login(&mut client).await?;
        let known = session.user(&name, &password).await;
        wire::answer_login(&mut client, known.is_ok()).await?;
        user = known?;
    }
    let request = wire::read_request(&mut client).await?;
    Ok(Asked { client, control, user, request })
}

async fn meet(session: &Session, asked: Asked) -> Result<(), ClientFault> {
    match asked.request.command {
        Command::Connect => connect(session, asked).await,
        // Boxed: most clients connect, and would pay for the room of the others.
        Command::Bind => Box::pin(listening::bind(session, asked)).await,
        Command::BindMany => Box::pin(listening::bind_many(session, asked)).await,
        Command::Datagrams => Box::pin(datagrams::serve(session, asked)).await,
        Command::Associate => Box::pin(associate::serve(session, asked)).await,
    }
}

async fn connect(session: &Session, asked: Asked) -> Result<(), ClientFault> {
    let Asked { mut client, control, request, .. } = asked;
    drop(control);
    // Boxed: an established connection then keeps only what copying needs.
    match Box::pin(session.connect(&request.address)).await {
        Ok(upstream) => {
            wire::reply(&mut client, Code::Succeeded, None).await?;
            session.copy(client, upstream).await;
            Ok(())
        }
        Err(refusal) => {
            wire::reply(&mut client, code(&refusal), None).await?;
            Err(refusal.fault(&request.address))
        }
    }
}

fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::NotAllowed => Code::NotAllowed,
        Refusal::Failed(cause) => match cause.path_fault() {
            Some(PathFault::Refused) => Code::Refused,
            Some(PathFault::Silent | PathFault::Unknown | PathFault::Unreachable) => Code::Unreachable,
            None => Code::Failed,
        },
    }
}
