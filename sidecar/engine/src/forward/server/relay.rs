//! A client of a relay server: one request, one answer, then the target's bytes, or datagrams behind their lengths. A
//! server with targets of its own (seed: `relay://:8080/host:port`) chooses one of them, and takes no other address.

mod datagrams;

use std::sync::atomic::Ordering::Relaxed;

use tokio::io::AsyncWriteExt;

use super::session::{Refusal, Session};
use crate::{
    connect::connect,
    dial::PathFault,
    protocol::{
        ClientFault,
        relay::{Request, Status},
    },
    selector::Ticket,
    stream::Stream,
};

/// Serves a client from its first byte on.
pub(super) async fn serve(session: &Session, client: Stream) -> Result<(), ClientFault> {
    let (mut client, request) = session.handshake(hear(session, client)).await?;
    let has_targets = !session.running.plan.targets.is_empty();
    let address = match (request.address, has_targets) {
        (Some(address), true) => {
            answer(&mut client, Status::Forbidden).await?;
            return Err(ClientFault::NotAllowed(format!("{address}, where the server itself says the target,")));
        }
        (None, true) if session.must_name_targets() => {
            answer(&mut client, Status::Forbidden).await?;
            return Err(ClientFault::NotAllowed("the server's own target".to_owned()));
        }
        (None, false) => {
            answer(&mut client, Status::BadRequest).await?;
            return Err(ClientFault::Garbage("does not say where it wants to go"));
        }
        (address, _) => address,
    };
    if request.datagrams {
        return Box::pin(datagrams::serve(session, client, address)).await;
    }
    let Some(address) = address else { return connect_to_own(session, client).await };
    match Box::pin(session.connect(&address)).await {
        Ok(upstream) => {
            answer(&mut client, Status::Ok).await?;
            session.copy(client, upstream).await;
            Ok(())
        }
        Err(refusal) => {
            answer(&mut client, status(&refusal)).await?;
            Err(refusal.fault(&address))
        }
    }
}

async fn hear(session: &Session, mut client: Stream) -> Result<(Stream, Request), ClientFault> {
    let request = match Request::read(&mut client).await {
        Ok(request) => request,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            answer(&mut client, Status::BadRequest).await?;
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    let (user, password) = match &request.login {
        Some(login) => (login.user.as_str(), login.password.expose()),
        None => ("", ""),
    };
    if let Err(fault) = session.user(user.as_bytes(), password.as_bytes()).await {
        answer(&mut client, Status::Unauthorized).await?;
        return Err(fault);
    }
    Ok((client, request))
}

/// Connects a client that left it to the server where it goes.
async fn connect_to_own(session: &Session, mut client: Stream) -> Result<(), ClientFault> {
    let shared = &session.shared;
    let dialer = shared.dialer(session.running.plan.dial_timeout);
    let mut ticket = Ticket::default();
    match Box::pin(connect(&shared.group, &dialer, &shared.clients, &mut ticket)).await {
        Ok(connected) => {
            let (upstream, node) = connected.answered();
            node.counters.connections.fetch_add(1, Relaxed);
            answer(&mut client, Status::Ok).await?;
            session.copy(client, upstream).await;
            Ok(())
        }
        Err(error) => {
            answer(&mut client, Status::ServiceUnavailable).await?;
            let line = error.map_or_else(|| "no target may be tried now".to_owned(), |error| error.to_string());
            Err(ClientFault::Upstream(line))
        }
    }
}

async fn answer(client: &mut Stream, status: Status) -> Result<(), ClientFault> {
    client.write_all(&status.encode()).await?;
    Ok(client.flush().await?)
}

fn status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::NotAllowed => Status::Forbidden,
        Refusal::Failed(cause) => match cause.path_fault() {
            Some(PathFault::Silent) => Status::Timeout,
            Some(PathFault::Refused | PathFault::Unknown) => Status::HostUnreachable,
            Some(PathFault::Unreachable) => Status::NetworkUnreachable,
            None => Status::ServiceUnavailable,
        },
    }
}

#[cfg(test)]
mod tests;
