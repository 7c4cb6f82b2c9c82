//! A client of a relay server: one request, one answer, then the target's bytes, or datagrams behind their lengths.

use fairlead_config::HostPort;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::UdpSocket,
};

use super::{
    datagrams::{LARGEST, of_family, open},
    listening::stopped,
    session::{Refusal, Session, watch_closely},
};
use crate::{
    dial::DialCause,
    protocol::{
        ClientFault,
        relay::{self as wire, Request, Status},
    },
    stats::{DatagramCounters, Dropped},
    stream::Stream,
};

/// Serves a client from its first byte on.
pub(super) async fn serve(session: &Session, client: Stream) -> Result<(), ClientFault> {
    let (mut client, request) = session.handshake(hear(session, client)).await?;
    let Some(address) = request.address else {
        answer(&mut client, Status::BadRequest).await?;
        return Err(ClientFault::Garbage("does not say where it wants to go"));
    };
    if request.datagrams {
        return Box::pin(datagrams(session, client, &address)).await;
    }
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

/// Carries datagrams to one address and back until the client leaves.
async fn datagrams(session: &Session, mut client: Stream, address: &HostPort) -> Result<(), ClientFault> {
    let target = if session.running.plan.chain.is_empty() { session.reachable(address).await } else { None };
    let Some(target) = target else {
        answer(&mut client, Status::Forbidden).await?;
        return Err(ClientFault::NotAllowed(format!("UDP to {address}")));
    };
    watch_closely(&client, None, true)?;
    let socket = open(([0, 0, 0, 0, 0, 0, 0, 0], 0).into())?;
    socket.connect(of_family(&socket, target)).await?;
    answer(&mut client, Status::Ok).await?;
    let (reader, writer) = split(client);
    tokio::select! {
        ended = to_target(reader, &socket, session.datagrams()) => ended,
        ended = to_client(writer, &socket, session.datagrams()) => ended,
        () = stopped(session) => Ok(()),
    }
}

async fn to_target(
    mut reader: impl AsyncRead + Unpin,
    socket: &UdpSocket,
    counters: &DatagramCounters,
) -> Result<(), ClientFault> {
    let mut buffer = vec![0; 2 * LARGEST];
    let mut filled = 0;
    loop {
        match reader.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            count => filled += count,
        }
        let mut taken = 0;
        while let Some((datagram, length)) = wire::decode_datagram(&buffer[taken..filled]) {
            let sent = match socket.send(datagram).await {
                // The error is an earlier datagram's.
                Err(error) if Dropped::of(&error).is_none() => socket.send(datagram).await,
                sent => sent,
            };
            counters.upstream(sent);
            taken += length;
        }
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
    }
}

async fn to_client(
    mut writer: impl AsyncWrite + Unpin,
    socket: &UdpSocket,
    counters: &DatagramCounters,
) -> Result<(), ClientFault> {
    let (mut buffer, mut out) = (vec![0; LARGEST], Vec::new());
    loop {
        // An error: the target refused what was sent to it.
        let Ok(count) = socket.recv(&mut buffer).await else { continue };
        out.clear();
        wire::encode_datagram(&buffer[..count], &mut out);
        writer.write_all(&out).await?;
        writer.flush().await?;
        counters.client(Ok(count));
    }
}

async fn answer(client: &mut Stream, status: Status) -> Result<(), ClientFault> {
    client.write_all(&status.encode()).await?;
    Ok(client.flush().await?)
}

fn status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::NotAllowed => Status::Forbidden,
        Refusal::Failed(DialCause::Timeout(_)) => Status::Timeout,
        Refusal::Failed(DialCause::Refused | DialCause::Resolve(_)) => Status::HostUnreachable,
        Refusal::Failed(DialCause::Unreachable(_)) => Status::NetworkUnreachable,
        Refusal::Failed(
            DialCause::Other(_)
            | DialCause::Handshake(_)
            | DialCause::Login(_)
            | DialCause::HostKey(_)
            | DialCause::Rejected(_)
            | DialCause::Credentials(_)
            | DialCause::NoSourcePort
            | DialCause::Shortage(_),
        ) => Status::ServiceUnavailable,
    }
}
