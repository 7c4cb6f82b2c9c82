//! Datagrams of a relay server's client behind a chain: in a stream through the last hop, relay or socks5 (0xF3), to the
//! address that it asked for or to one of the server's own targets. A target that the hop refuses has failed, and one
//! that answers lives; the way ends with either connection.

use std::time::Instant;

use fairlead_config::HostPort;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, split},
    sync::Notify,
};

use super::{forbidden, passed_without_complaint};
use crate::{
    chain::{Asked, Debt},
    connect::Dialer,
    dial::DialError,
    forward::{
        local_udp::{Framing, Target, in_stream},
        server::{
            datagrams::{LARGEST, ended_by_the_hop},
            listening::stopped,
            relay::{answer, status},
            session::{Refusal, Session, watch_closely},
        },
    },
    protocol::{
        ClientFault,
        incoming::Incoming,
        relay::{self as wire, Status},
    },
    stream::Stream,
};

/// A stream through the last hop, and the server's own target if it leads to one.
struct Way {
    asked: Asked,
    framing: Framing,
    target: Option<Target>,
}

/// One client's datagrams on their way.
struct Line<'a> {
    session: &'a Session,
    framing: Framing,
    debt: Debt,
    /// Tells of what was sent to a target of the server's own.
    sent: Notify,
}

/// Serves a client that may have asked for an address.
pub(super) async fn serve(session: &Session, mut client: Stream, asked: Option<HostPort>) -> Result<(), ClientFault> {
    let dialer = session.watched_dialer();
    let opened = match &asked {
        Some(address) => to_asked(session, &dialer, address).await,
        None => to_own(session, &dialer).await,
    };
    let Way { asked, framing, mut target } = match opened {
        Ok(way) => way,
        Err((status, fault)) => {
            answer(&mut client, status).await?;
            return Err(fault);
        }
    };
    watch_closely(session, &client, None, true)?;
    answer(&mut client, Status::Ok).await?;
    let line = Line { session, framing, debt: Debt::default(), sent: Notify::new() };
    let ((from_client, to_client), (from_hop, to_hop)) = (split(client), split(asked.stream));
    tokio::select! {
        ended = line.to_hop(from_client, to_hop) => ended,
        ended = line.to_client(from_hop, to_client, target.as_mut()) => ended,
        error = line.debt.until_gone(dialer, &asked.node) => Err(ClientFault::Upstream(error.to_string())),
        () = stopped(session) => Ok(()),
    }
}

async fn to_asked(session: &Session, dialer: &Dialer, address: &HostPort) -> Result<Way, (Status, ClientFault)> {
    let Some(address) = session.asked_for(address).await else { return Err(forbidden(address)) };
    match in_stream(dialer, &address).await {
        Ok(Some((asked, framing))) => Ok(Way { asked, framing, target: None }),
        Ok(None) => Err(unfit()),
        Err(error) => Err(failed(error)),
    }
}

/// To the next of the server's own targets that the hop does not refuse.
async fn to_own(session: &Session, dialer: &Dialer) -> Result<Way, (Status, ClientFault)> {
    let mut failure = None;
    for _ in 0..session.running.plan.targets.len() {
        let Ok(target) = Target::choose(&session.shared.group) else { break };
        match in_stream(dialer, &target.address()).await {
            Ok(Some((mut asked, framing))) => {
                target.hears_of_refusal(&mut asked.stream);
                return Ok(Way { asked, framing, target: Some(target) });
            }
            Ok(None) => return Err(unfit()),
            Err(error) if error.hop.is_some() => return Err(failed(error)),
            Err(error) => {
                target.failed(&error);
                failure = Some(error);
            }
        }
    }
    let line = failure.map_or_else(|| "no target may be tried now".to_owned(), |error| error.to_string());
    Err((Status::ServiceUnavailable, ClientFault::Upstream(line)))
}

fn unfit() -> (Status, ClientFault) {
    let what = "UDP through a chain whose last hop is neither relay nor socks5, or one with udp_associate,";
    (Status::Forbidden, ClientFault::NotAllowed(what.to_owned()))
}

fn failed(error: DialError) -> (Status, ClientFault) {
    let fault = ClientFault::Upstream(error.to_string());
    (status(&Refusal::Failed(error.cause)), fault)
}

impl Line<'_> {
    /// Sends the client's datagrams on until it leaves.
    async fn to_hop(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) -> Result<(), ClientFault> {
        let (mut incoming, mut frames) = (Incoming::with_room(2 * LARGEST), Vec::new());
        while incoming.fill(&mut reader).await? {
            let (mut taken, mut framed) = (0, Vec::new());
            while let Some((datagram, length)) = wire::decode_datagram(&incoming.bytes()[taken..]) {
                match self.framing.encode(datagram, &mut frames) {
                    Ok(()) => framed.push(datagram.len()),
                    Err(why) => self.session.datagrams().drop(why, 1),
                }
                taken += length;
            }
            incoming.take(taken);
            if framed.is_empty() {
                continue;
            }
            writer.write_all(&frames).await?;
            writer.flush().await?;
            frames.clear();
            self.debt.sent();
            self.sent.notify_one();
            framed.into_iter().for_each(|count| self.session.datagrams().upstream(Ok(count)));
        }
        Ok(())
    }

    /// Hands the target's datagrams on until the client takes no more.
    async fn to_client(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
        mut target: Option<&mut Target>,
    ) -> Result<(), ClientFault> {
        let (mut incoming, mut out) = (Incoming::with_room(2 * LARGEST), Vec::new());
        loop {
            let on_trial = target.as_ref().is_some_and(|target| target.is_on_trial()).then_some(&self.sent);
            tokio::select! {
                more = incoming.fill(&mut reader) => if !more? {
                    return Err(ended_by_the_hop());
                },
                () = passed_without_complaint(on_trial) => {
                    target.iter_mut().for_each(|target| target.passed_trial());
                    continue;
                }
            }
            self.debt.heard();
            let (mut taken, mut handed) = (0, Vec::new());
            while let Some((datagram, length)) = self.framing.decode(&incoming.bytes()[taken..])? {
                taken += length;
                // None: from somebody else.
                let Some(datagram) = datagram else { continue };
                wire::encode_datagram(datagram, &mut out);
                handed.push(datagram.len());
            }
            incoming.take(taken);
            if handed.is_empty() {
                continue;
            }
            target.iter_mut().for_each(|target| target.answered(Instant::now()));
            writer.write_all(&out).await?;
            writer.flush().await?;
            out.clear();
            handed.into_iter().for_each(|count| self.session.datagrams().client(Ok(count)));
        }
    }
}
