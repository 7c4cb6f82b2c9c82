//! Datagrams of a relay server's client, behind their lengths: to the address that it asked for, or to one of the
//! server's own targets, and back until it leaves. A target of the server's is judged as those of local forwards are: a
//! name that is unknown or a path that says it can't be reached is a failure, an answer is life.

mod chained;

use std::{io, time::Instant};

use fairlead_config::HostPort;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, split},
    net::UdpSocket,
    sync::Notify,
    time::sleep,
};

use super::answer;
use crate::{
    dial::{DialCause, DialError},
    forward::{
        local_udp::{TRIAL, Target, beside},
        server::{
            datagrams::{LARGEST, of_family, open},
            listening::stopped,
            session::{Session, watch_closely},
        },
    },
    protocol::{
        ClientFault,
        incoming::Incoming,
        relay::{self as wire, Status},
    },
    stats::{DatagramCounters, Dropped},
    stream::Stream,
};

/// Where datagrams go: a socket, and the server's own target if it is one.
struct Way {
    socket: UdpSocket,
    target: Option<Target>,
}

/// Why datagrams pass no longer.
enum End {
    Client(ClientFault),
    /// The path to the server's own target says that it can't be reached.
    Target(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Client(error.into())
    }
}

/// Serves a client that may have asked for an address.
pub(super) async fn serve(session: &Session, mut client: Stream, asked: Option<HostPort>) -> Result<(), ClientFault> {
    if !session.running.plan.chain.is_empty() {
        return chained::serve(session, client, asked).await;
    }
    let opened = match &asked {
        Some(address) => to_asked(session, address).await,
        None => to_own(session).await,
    };
    let Way { socket, mut target } = match opened {
        Ok(way) => way,
        Err((status, fault)) => {
            answer(&mut client, status).await?;
            return Err(fault);
        }
    };
    watch_closely(session, &client, None, true)?;
    answer(&mut client, Status::Ok).await?;
    let (reader, writer) = split(client);
    let (counters, sent) = (session.datagrams(), target.is_some().then(Notify::new));
    let ended = tokio::select! {
        ended = to_target(reader, &socket, counters, sent.as_ref()) => ended,
        ended = to_client(writer, &socket, counters, target.as_mut().zip(sent.as_ref())) => ended,
        () = stopped(session) => Ok(()),
    };
    match (ended, target) {
        (Ok(()), _) => Ok(()),
        (Err(End::Client(fault)), _) => Err(fault),
        (Err(End::Target(error)), target) => {
            let line = error.to_string();
            let to = socket.peer_addr().ok();
            if let (Some(target), Some(to)) = (target, to) {
                let node = (*target.address()).clone();
                target.failed(&DialError::new(node, DialCause::of(&error, to)));
            }
            Err(ClientFault::Upstream(line))
        }
    }
}

/// A socket to where the client may go.
async fn to_asked(session: &Session, address: &HostPort) -> Result<Way, (Status, ClientFault)> {
    let Some(target) = session.reachable(address).await else {
        return Err(forbidden(address));
    };
    let opened = async {
        let socket = open(([0, 0, 0, 0, 0, 0, 0, 0], 0).into())?;
        socket.connect(of_family(&socket, target)).await?;
        Ok(Way { socket, target: None })
    };
    opened.await.map_err(|error: io::Error| (Status::ServiceUnavailable, error.into()))
}

fn forbidden(address: &HostPort) -> (Status, ClientFault) {
    (Status::Forbidden, ClientFault::NotAllowed(format!("UDP to {address}")))
}

/// A socket to the next of the server's own targets that has an address.
async fn to_own(session: &Session) -> Result<Way, (Status, ClientFault)> {
    let group = &session.shared.group;
    let dialer = session.shared.dialer(session.running.plan.dial_timeout);
    let mut line = "no target may be tried now".to_owned();
    for _ in 0..session.running.plan.targets.len() {
        let Ok(target) = Target::choose(group) else { break };
        match beside(&dialer, &target.address()).await {
            Ok(socket) => return Ok(Way { socket, target: Some(target) }),
            Err(cause) => {
                let error = DialError::new((*target.address()).clone(), cause);
                line = error.to_string();
                target.failed(&error);
            }
        }
    }
    Err((Status::ServiceUnavailable, ClientFault::Upstream(line)))
}

/// Sends a client's datagrams on, and tells whoever waits for the first to a target of the server's own.
async fn to_target(
    mut reader: impl AsyncRead + Unpin,
    socket: &UdpSocket,
    counters: &DatagramCounters,
    to_own: Option<&Notify>,
) -> Result<(), End> {
    let mut incoming = Incoming::with_room(2 * LARGEST);
    while incoming.fill(&mut reader).await? {
        let mut taken = 0;
        while let Some((datagram, length)) = wire::decode_datagram(&incoming.bytes()[taken..]) {
            let sent = match socket.send(datagram).await {
                Err(error) if Dropped::of(&error).is_none() && to_own.is_some() => return Err(End::Target(error)),
                // The error is an earlier datagram's.
                Err(error) if Dropped::of(&error).is_none() => socket.send(datagram).await,
                sent => sent,
            };
            to_own.filter(|_| sent.is_ok()).into_iter().for_each(Notify::notify_one);
            counters.upstream(sent);
            taken += length;
        }
        incoming.take(taken);
    }
    Ok(())
}

async fn to_client(
    mut writer: impl AsyncWrite + Unpin,
    socket: &UdpSocket,
    counters: &DatagramCounters,
    mut target: Option<(&mut Target, &Notify)>,
) -> Result<(), End> {
    let (mut buffer, mut out) = (vec![0; LARGEST], Vec::new());
    loop {
        let on_trial = target.as_ref().filter(|(target, _)| target.is_on_trial()).map(|(_, sent)| *sent);
        let received = tokio::select! {
            received = socket.recv(&mut buffer) => received,
            () = passed_without_complaint(on_trial) => {
                target.iter_mut().for_each(|(target, _)| target.passed_trial());
                continue;
            }
        };
        let count = match received {
            Ok(count) => count,
            Err(error) if target.is_some() => return Err(End::Target(error)),
            // The target refused what was sent to it.
            Err(_) => continue,
        };
        target.iter_mut().for_each(|(target, _)| target.answered(Instant::now()));
        out.clear();
        wire::encode_datagram(&buffer[..count], &mut out);
        writer.write_all(&out).await?;
        writer.flush().await?;
        counters.client(Ok(count));
    }
}

/// Waits until something has been sent to a target on trial, and the path has had the time to say that it can't be
/// reached.
async fn passed_without_complaint(on_trial: Option<&Notify>) {
    match on_trial {
        Some(sent) => {
            sent.notified().await;
            sleep(TRIAL).await;
        }
        None => std::future::pending().await,
    }
}
