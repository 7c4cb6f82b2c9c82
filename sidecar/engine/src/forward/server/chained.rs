//! Clients of a SOCKS5 server behind a chain that listen: the last hop is asked for the same, and what it says of peers
//! goes to the client. The far end's port lives as long as both connections.

use std::net::SocketAddr;

use fairlead_config::HostPort;

use super::{
    listening::{gone, stopped},
    session::{Session, watch_closely},
    socks5::Asked,
};
use crate::{
    chain::bind,
    plan::HopProtocol,
    protocol::{
        ClientFault,
        socks5::{
            self, Listen,
            server::{self as wire, Code},
        },
    },
    stream::Stream,
};

/// Serves BIND: the first peer's connection is handed over once the last hop has it.
pub(super) async fn bind_one(session: &Session, asked: Asked) -> Result<(), ClientFault> {
    let (mut client, mut hop) = listen(session, asked, Listen::Peer).await?;
    let peer = tokio::select! {
        peer = socks5::peer(&mut hop) => peer.map_err(|cause| ClientFault::Upstream(cause.to_string()))?,
        fault = gone(&mut client) => return Err(fault),
        () = stopped(session) => return Err(ClientFault::TooSlow("the server stops")),
    };
    wire::reply(&mut client, Code::Succeeded, address(&peer)).await?;
    session.copy(client, hop).await;
    Ok(())
}

/// Serves 0xF2: peers are streams of a smux session between the client and the last hop.
pub(super) async fn bind_many(session: &Session, asked: Asked) -> Result<(), ClientFault> {
    let (client, hop) = listen(session, asked, Listen::Peers).await?;
    session.copy(client, hop).await;
    Ok(())
}

async fn listen(session: &Session, asked: Asked, what: Listen) -> Result<(Stream, Stream), ClientFault> {
    let Asked { mut client, control, request, .. } = asked;
    watch_closely(session, &client, control, false)?;
    match at_the_last_hop(session, what, &request.address).await {
        Ok((hop, bound)) => {
            wire::reply(&mut client, Code::Succeeded, bound).await?;
            Ok((client, hop))
        }
        Err((code, fault)) => {
            wire::reply(&mut client, code, None).await?;
            Err(fault)
        }
    }
}

/// Asks the last hop to listen, if the client may; returns its connection, and where it listens.
pub(super) async fn at_the_last_hop(
    session: &Session,
    what: Listen,
    asked: &HostPort,
) -> Result<(Stream, Option<SocketAddr>), (Code, ClientFault)> {
    let limit = session.running.plan.dial_timeout;
    let dialer = match what {
        Listen::Datagrams => session.watched_dialer(),
        Listen::Peer | Listen::Peers => session.shared.dialer(limit),
    };
    if !dialer.path.last().is_some_and(|hop| hop.protocol() == HopProtocol::Socks5) {
        let what = "to listen through a chain whose last hop is no socks5".to_owned();
        return Err((Code::UnknownCommand, ClientFault::NotAllowed(what)));
    }
    if !session.may_bind(asked) {
        return Err((Code::NotAllowed, ClientFault::NotAllowed(format!("to listen on {asked}"))));
    }
    let bound = bind(&dialer, what, asked, limit).await;
    let bound = bound.map_err(|error| (Code::Failed, ClientFault::Upstream(error.to_string())))?;
    Ok((bound.stream, address(&bound.address)))
}

fn address(said: &HostPort) -> Option<SocketAddr> {
    Some(SocketAddr::new(said.host.parse().ok()?, said.port))
}
