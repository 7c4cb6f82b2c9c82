//! Clients of a SOCKS5 server that listen: for one peer (BIND), or for every peer as a stream of its own (0xF2).
//! A port lives as long as its client's connection; a client that says nothing any more is found out within 45 s.

use std::{
    future::Future,
    io,
    net::{IpAddr, Shutdown, SocketAddr},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use fairlead_config::HostPort;
use socket2::SockRef;
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinSet, time::sleep};

use super::{
    binds::{Bound, KEPT, Owner, every_family},
    chained,
    session::{Session, watch_closely},
    socks5::Asked,
};
use crate::{
    accept::{Phase, ServeControl},
    protocol::{
        ClientFault,
        smux::{self, MuxStream, Role},
        socks5::server::{self as wire, Code},
    },
    socket::Socket,
    stream::Stream,
};

/// How long a peer waits for room among the server's connections before it is looked for again.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Serves BIND: the first peer that comes is handed over on the client's connection.
pub(super) async fn bind(session: &Session, asked: Asked) -> Result<(), ClientFault> {
    if !session.running.plan.chain.is_empty() {
        return chained::bind_one(session, asked).await;
    }
    let (mut client, bound) = listen(session, asked).await?;
    let listener = TcpListener::from_std(bound.listener.try_clone()?)?;
    let (peer, address) = tokio::select! {
        accepted = accept(&listener) => accepted?,
        fault = gone(&mut client) => return Err(fault),
        () = stopped(session) => return Err(ClientFault::TooSlow("the server stops")),
    };
    keep(session, bound);
    wire::reply(&mut client, Code::Succeeded, Some(canonical(address))).await?;
    session.copy(client, Stream::Tcp(peer)).await;
    Ok(())
}

/// Serves 0xF2: each peer that comes is a stream of the client's connection, which speaks smux from then on.
pub(super) async fn bind_many(session: &Session, asked: Asked) -> Result<(), ClientFault> {
    if !session.running.plan.chain.is_empty() {
        return chained::bind_many(session, asked).await;
    }
    let (client, bound) = listen(session, asked).await?;
    let (mux, driver) = smux::Session::new(Role::Client, client);
    tokio::select! {
        ended = hand_over(session, mux, bound) => ended,
        end = driver.run() => Err(ClientFault::Upstream(end.to_string())),
    }
}

/// Opens a stream for each peer; once the server stops, the port is given back and the peers go on to their end.
async fn hand_over(session: &Session, mux: smux::Session, bound: Bound) -> Result<(), ClientFault> {
    let listener = TcpListener::from_std(bound.listener.try_clone()?)?;
    let mut peers = JoinSet::new();
    let mut stop = pin!(stopped(session));
    loop {
        tokio::select! {
            accepted = accept(&listener) => {
                let (peer, address) = accepted?;
                let room = room(session).await;
                let Ok(stream) = mux.open() else { return Ok(()) };
                peers.spawn(carry(session.clone(), stream, peer, address, room));
            }
            // Nobody asked for it.
            Some(refused) = mux.accept() => drop(refused),
            Some(_) = peers.join_next() => {}
            () = &mut stop => break,
        }
    }
    // The port is free at once, whoever still has the descriptor.
    let _ = SockRef::from(&bound.listener).shutdown(Shutdown::Read);
    drop((listener, bound));
    while peers.join_next().await.is_some() {}
    Ok(())
}

async fn carry(session: Session, stream: MuxStream, peer: Socket, address: SocketAddr, room: Room) {
    tracing::trace!(forward = %session.shared.key, %address, "peer handed over");
    session.copy(Stream::Layered(Box::new(stream)), Stream::Tcp(peer)).await;
    drop(room);
}

/// Listens where the client asks for it, and tells it where that is.
async fn listen(session: &Session, asked: Asked) -> Result<(Stream, Bound), ClientFault> {
    let Asked { mut client, control, user, request } = asked;
    let local = watch_closely(session, &client, control, false)?;
    let bound = match listener(session, user, &request.address) {
        Ok(bound) => bound,
        Err((code, fault)) => {
            wire::reply(&mut client, code, None).await?;
            return Err(fault);
        }
    };
    let address = bound.listener.local_addr()?;
    wire::reply(&mut client, Code::Succeeded, Some(told(address, local))).await?;
    Ok((client, bound))
}

fn listener(session: &Session, user: Option<Arc<str>>, address: &HostPort) -> Result<Bound, (Code, ClientFault)> {
    let asked = may_listen(session, address)?;
    let owner = Owner { user, ip: session.peer.ip().to_canonical() };
    let bound = session.shared.binds.bind(owner, asked, Instant::now());
    let bound =
        bound.map_err(|error| (Code::Failed, ClientFault::Upstream(format!("listen on {address}: {error}"))))?;
    let port = bound.listener.local_addr().map(|address| address.port()).unwrap_or_default();
    if session.running.server.access.may_bind(port) {
        return Ok(bound);
    }
    Err((Code::NotAllowed, ClientFault::NotAllowed(format!("to listen on port {port}"))))
}

/// The address to listen on, if the client may; every address is those of both families.
pub(super) fn may_listen(session: &Session, address: &HostPort) -> Result<SocketAddr, (Code, ClientFault)> {
    let refused = |code, what: &str| Err((code, ClientFault::NotAllowed(format!("to listen on {address}{what}"))));
    let ip = match address.host.as_str() {
        "" => IpAddr::from([0, 0, 0, 0]),
        host => match host.parse() {
            Ok(ip) => ip,
            Err(_) => return refused(Code::UnknownAddress, ": that is a name"),
        },
    };
    if !session.may_bind(address) {
        return refused(Code::NotAllowed, "");
    }
    Ok(every_family(SocketAddr::new(ip, address.port)))
}

/// What a client is told of its port: the address it reached this host by, in the family that is listened on.
pub(super) fn told(bound: SocketAddr, local: IpAddr) -> SocketAddr {
    let ip = match (bound.ip(), local.to_canonical()) {
        (IpAddr::V6(ip), IpAddr::V4(local)) if ip.is_unspecified() => local.to_ipv6_mapped().into(),
        (ip, local) if ip.is_unspecified() => local,
        (ip, _) => ip,
    };
    SocketAddr::new(ip, bound.port())
}

fn keep(session: &Session, bound: Bound) {
    bound.keep(Instant::now());
    let binds = Arc::downgrade(&session.shared.binds);
    session.shared.judges.spawn(async move {
        sleep(KEPT).await;
        if let Some(binds) = binds.upgrade() {
            binds.forget(Instant::now());
        }
    });
}

/// A connection's room among those of the server.
struct Room(Arc<ServeControl>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Waits for room for one more connection.
async fn room(session: &Session) -> Room {
    let control = &session.shared.control;
    while !control.try_reserve() {
        sleep(ROOM_PAUSE).await;
    }
    Room(Arc::clone(control))
}

/// Takes the next peer; one that left at once is none.
async fn accept(listener: &TcpListener) -> io::Result<(Socket, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok((peer, address)) => return Ok((Socket::new(peer.into_std()?)?, address)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // The next attempt would fail at once, too.
            Err(_) => sleep(ROOM_PAUSE).await,
        }
    }
}

/// Waits until the client leaves; it has nothing to say while it waits for a peer.
pub(super) async fn gone(client: &mut Stream) -> ClientFault {
    match client.read_u8().await {
        Ok(_) => ClientFault::Garbage("says something before its peer is there"),
        Err(error) => error.into(),
    }
}

/// Waits until the server takes no more clients.
pub(super) fn stopped(session: &Session) -> impl Future<Output = ()> + use<> {
    let mut phases = session.shared.control.phases();
    async move {
        // An error: there is no server any more.
        let _ = phases.wait_for(|phase| *phase != Phase::Serving).await;
    }
}

/// IPv4 is told as such.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
