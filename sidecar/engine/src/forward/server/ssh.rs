//! SSH servers. Some (seed: `forward+ssh://:2222`) forward ports for clients such as `ssh -L` and `ssh -R`, and do
//! nothing else (RFC 4254 section 7). Others (seed: the transport `ssh`, as in `socks5+ssh`) carry another protocol, each
//! channel being one client of it, and forward no ports.
//!
//! The `guest` hears what a client asks for and judges it by its login; what it may have becomes a `Wish`, carried out
//! by a task of the session. Everything ends with the session, and its listeners before it if the server drains.

mod guest;
mod leash;
mod listeners;
mod logins;
mod proof;
mod welcome;

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use russh::{ChannelOpenFailure, Disconnect, server};
use tokio::{
    io::BufReader,
    net::TcpStream,
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{interval, timeout},
};

use super::{
    listening::stopped,
    session::{Refusal, Session},
};
use crate::{
    protocol::ClientFault,
    socket::Socket,
    ssh::{ChannelStream, READ_AHEAD, Traffic},
    stream::Stream,
};
use guest::{Guest, Wish};
use leash::Leash;
pub(super) use welcome::Welcome;

/// Channels of one session.
const CHANNELS_LIMIT: usize = 4_096;
/// Wishes that wait to be taken up.
const WISHES: usize = 64;
/// How long a client may take to leave that is told to.
const LEAVE: Duration = Duration::from_secs(1);
/// How often a session is looked at for channels that stall.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// Serves one client to its end.
pub(super) async fn serve(session: Session, client: Socket) -> Result<(), ClientFault> {
    let local = client.stream().local_addr()?.ip();
    let welcome = session.shared.welcome(&session.running.server).map_err(ClientFault::Credentials)?;
    let config = welcome.config();
    let traffic = Arc::new(Traffic::new());
    let (wishes, heard) = mpsc::channel(WISHES);
    let (passed, has_passed) = oneshot::channel();
    let guest = Guest::new(session.clone(), local, welcome, Arc::clone(&traffic), wishes, passed);
    let (leash, client) = Leash::new(Stream::Tcp(client));
    let greeting = async {
        let mut running = server::run_stream(config, BufReader::with_capacity(READ_AHEAD, client), guest).await?;
        tokio::select! {
            passed = has_passed => passed.map(|()| running).map_err(|_| ClientFault::Login),
            ended = &mut running => Err(ended.err().map_or(ClientFault::Login, ClientFault::from)),
        }
    };
    let running = session.handshake(greeting).await?;
    let served = carry(&session, running, heard, &traffic).await;
    drop(leash);
    served
}

/// Carries out what the client may have, until it leaves, or the server stops and nothing is under way.
async fn carry(
    session: &Session,
    mut running: server::RunningSession<Guest>,
    mut heard: mpsc::Receiver<Wish>,
    traffic: &Arc<Traffic>,
) -> Result<(), ClientFault> {
    let handle = running.handle();
    let mut tasks = JoinSet::new();
    let mut look = interval(LOOK_PAUSE);
    let (mut stop, mut stops) = (pin!(stopped(session)), false);
    loop {
        if stops && tasks.is_empty() && heard.is_empty() {
            let words = "the server stops".to_owned();
            // An error says that it has left.
            let _ = timeout(LEAVE, handle.disconnect(Disconnect::ByApplication, words, String::new())).await;
            let _ = timeout(LEAVE, running).await;
            return Ok(());
        }
        tokio::select! {
            () = &mut stop, if !stops => stops = true,
            ended = &mut running => return ended.map_err(ClientFault::from),
            Some(wish) = heard.recv() => {
                if tasks.len() < CHANNELS_LIMIT {
                    tasks.spawn(fulfil(session.clone(), wish, handle.clone(), Arc::clone(traffic)));
                } else {
                    refuse(wish).await;
                }
            }
            Some(_) = tasks.join_next() => {}
            _ = look.tick() => if let Some(id) = traffic.end_stalled() {
                tracing::warn!(peer = %session.peer, channel = %id, "ended an ssh channel that nobody read while it held up others");
            },
        }
    }
}

async fn fulfil(session: Session, wish: Wish, handle: server::Handle, traffic: Arc<Traffic>) {
    match wish {
        Wish::Open { session, channel, address, reply } => match session.connect(&address).await {
            Ok(upstream) => {
                let client = ChannelStream::new(channel, handle.window_granter(), traffic, Handle::current());
                reply.accept().await;
                session.copy(Stream::Channel(Box::new(client)), upstream).await;
            }
            Err(refusal) => {
                reply.reject(failure(&refusal)).await;
                let fault = refusal.fault(&address);
                tracing::debug!(forward = %session.shared.key, peer = %session.peer, %fault, "channel refused");
            }
        },
        Wish::Converse { session, channel, reply } => {
            session.shared.clients.accepted.fetch_add(1, Relaxed);
            let client = ChannelStream::new(channel, handle.window_granter(), traffic, Handle::current());
            reply.accept().await;
            session.meet(Stream::Channel(Box::new(client))).await;
        }
        Wish::Carry { peer, address, port } => {
            let Ok((origin, peer)) = accepted(peer) else { return };
            match handle.channel_open_forwarded_tcpip(address, port.into(), origin.0, origin.1).await {
                Ok(channel) => {
                    let client = ChannelStream::new(channel, handle.window_granter(), traffic, Handle::current());
                    session.copy(Stream::Channel(Box::new(client)), Stream::Tcp(peer)).await;
                }
                // The client doesn't want the peer, or reaches no target for it: a plain close would read as an empty answer.
                Err(error) => {
                    peer.reset_at_end();
                    tracing::debug!(forward = %session.shared.key, peer = %session.peer, %error, "caller refused");
                }
            }
        }
    }
}

/// Takes no more of a session that has as many channels as it may.
async fn refuse(wish: Wish) {
    match wish {
        Wish::Open { reply, .. } | Wish::Converse { reply, .. } => {
            reply.reject(ChannelOpenFailure::ResourceShortage).await
        }
        Wish::Carry { peer, .. } => {
            if let Ok((_, peer)) = accepted(peer) {
                peer.reset_at_end();
            }
        }
    }
}

fn accepted(peer: TcpStream) -> std::io::Result<((String, u32), Socket)> {
    let address = peer.peer_addr()?;
    peer.set_nodelay(true)?;
    let origin = (address.ip().to_canonical().to_string(), u32::from(address.port()));
    Ok((origin, Socket::new(peer.into_std()?)?))
}

fn failure(refusal: &Refusal) -> ChannelOpenFailure {
    match refusal {
        Refusal::NotAllowed => ChannelOpenFailure::AdministrativelyProhibited,
        Refusal::Failed(_) => ChannelOpenFailure::ConnectFailed,
    }
}

impl From<russh::Error> for ClientFault {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the errors of another crate, most of which mean the same here")]
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::IO(error) => Self::Io(error),
            russh::Error::Disconnect | russh::Error::HUP => Self::TooSlow("the client left"),
            russh::Error::KeepaliveTimeout => Self::TooSlow("the client no longer answers"),
            russh::Error::Version => Self::Garbage("speaks no SSH"),
            error => Self::Io(std::io::Error::other(error)),
        }
    }
}

#[cfg(test)]
mod tests;
