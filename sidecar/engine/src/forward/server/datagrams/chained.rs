//! 0xF3 at a server behind a chain: the last hop is asked for the same, and the frames pass both ways as they are, each
//! judged by where it goes. What may not go there is dropped; a peer that has sent something may be answered.

use std::{collections::HashSet, net::SocketAddr, sync::Mutex};

use fairlead_config::HostPort;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};

use super::{LARGEST, canonical, ended_by_the_hop, frame_to, garbage, noise_of_the_hop, remember};
use crate::{
    forward::server::{
        chained::at_the_last_hop,
        listening::stopped,
        session::{Session, watch_closely},
        socks5::Asked,
        waiting::Waiting,
    },
    protocol::{
        ClientFault,
        incoming::Incoming,
        socks5::{
            Listen,
            server::{self as wire, Code},
        },
        udp_frame,
    },
    stats::Dropped,
};

/// One client's frames.
struct Frames<'a> {
    session: &'a Session,
    /// Who has sent something; none where the client did not ask for a port.
    peers: Option<Mutex<HashSet<SocketAddr>>>,
}

/// Serves 0xF3 through the chain.
pub(super) async fn serve(session: &Session, asked: Asked) -> Result<(), ClientFault> {
    let Asked { mut client, control, request, .. } = asked;
    watch_closely(session, &client, control, true)?;
    let (hop, bound) = match at_the_last_hop(session, Listen::Datagrams, &request.address).await {
        Ok(opened) => opened,
        Err((code, fault)) => {
            wire::reply(&mut client, code, None).await?;
            return Err(fault);
        }
    };
    wire::reply(&mut client, Code::Succeeded, bound).await?;
    let frames = Frames { session, peers: (request.address.port != 0).then(Mutex::default) };
    let ((from_client, to_client), (from_hop, to_hop)) = (split(client), split(hop));
    tokio::select! {
        ended = frames.to_hop(from_client, to_hop) => ended,
        ended = frames.to_client(from_hop, to_client) => ended,
        () = stopped(session) => Ok(()),
    }
}

impl Frames<'_> {
    /// Passes on what the client may send until it leaves.
    async fn to_hop(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) -> Result<(), ClientFault> {
        let (mut incoming, mut batch) = (Incoming::with_room(2 * LARGEST), Batch::default());
        let mut waiting = Waiting::default();
        loop {
            tokio::select! {
                more = incoming.fill(&mut reader) => {
                    if !more? {
                        return Ok(());
                    }
                    let taken = self.judge(incoming.bytes(), &mut waiting, &mut batch)?;
                    incoming.take(taken);
                }
                (to, datagrams) = waiting.answered() => {
                    datagrams.iter().for_each(|datagram| self.count(batch.add(to.as_ref(), datagram)));
                }
            }
            writer.write_all(&batch.frames).await?;
            writer.flush().await?;
            batch.frames.clear();
            batch.lengths.drain(..).for_each(|count| self.session.datagrams().upstream(Ok(count)));
        }
    }

    /// Frames what the client may send of the frames that have come whole; returns how many bytes those take up.
    fn judge<'a>(
        &'a self,
        bytes: &[u8],
        waiting: &mut Waiting<'a, HostPort>,
        batch: &mut Batch,
    ) -> Result<usize, ClientFault> {
        let mut taken = 0;
        while let Some(frame) = udp_frame::decode(&bytes[taken..]).map_err(|_| garbage())? {
            let bytes = &bytes[taken..];
            let peer = udp_frame::peer(&bytes[frame.address.clone()]).map_err(|_| garbage())?;
            taken += frame.data.end;
            let datagram = &bytes[frame.data];
            if self.may_be_answered(&peer) {
                self.count(batch.add(Some(&peer), datagram));
                continue;
            }
            let asked = peer.clone();
            match waiting.judge(&peer, datagram, async move { self.session.asked_for(&asked).await }) {
                Ok(Some(to)) => self.count(batch.add(Some(&to), datagram)),
                Ok(None) => {}
                Err(why) => self.count(Err(why)),
            }
        }
        Ok(taken)
    }

    fn may_be_answered(&self, peer: &HostPort) -> bool {
        let literal = peer.host.parse().ok().map(|ip| canonical(SocketAddr::new(ip, peer.port)));
        literal.is_some_and(|peer| self.peers.as_ref().is_some_and(|peers| super::lock(peers).contains(&peer)))
    }

    fn count(&self, added: Result<(), Dropped>) {
        if let Err(why) = added {
            self.session.datagrams().drop(why, 1);
        }
    }

    /// Passes on whole frames of the hop until the client takes no more.
    async fn to_client(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) -> Result<(), ClientFault> {
        let mut incoming = Incoming::with_room(2 * LARGEST);
        while incoming.fill(&mut reader).await? {
            let (mut taken, mut framed) = (0, Vec::new());
            while let Some(frame) = udp_frame::decode(&incoming.bytes()[taken..]).map_err(|_| noise_of_the_hop())? {
                let peer = udp_frame::peer(&incoming.bytes()[taken..][frame.address.clone()])
                    .map_err(|_| noise_of_the_hop())?;
                if let (Some(peers), Ok(ip)) = (&self.peers, peer.host.parse()) {
                    remember(peers, SocketAddr::new(ip, peer.port));
                }
                framed.push(frame.data.len());
                taken += frame.data.end;
            }
            writer.write_all(&incoming.bytes()[..taken]).await?;
            writer.flush().await?;
            incoming.take(taken);
            framed.into_iter().for_each(|count| self.session.datagrams().client(Ok(count)));
        }
        Err(ended_by_the_hop())
    }
}

/// Frames for the hop, and how long their datagrams are.
#[derive(Default)]
struct Batch {
    frames: Vec<u8>,
    lengths: Vec<usize>,
}

impl Batch {
    /// Adds a datagram to where the client may send it; none: nowhere.
    fn add(&mut self, to: Option<&HostPort>, datagram: &[u8]) -> Result<(), Dropped> {
        frame_to(to.ok_or(Dropped::NoNode)?, datagram, &mut self.frames)?;
        self.lengths.push(datagram.len());
        Ok(())
    }
}
