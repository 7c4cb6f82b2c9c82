//! 0xF3 at a server behind a chain: the last hop is asked for the same, and the frames pass both ways as they are, each
//! judged by where it goes. What may not go there is dropped; a peer that has sent something may be answered.

use std::{collections::HashSet, net::SocketAddr, sync::Mutex};

use fairlead_config::HostPort;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};

use super::{LARGEST, canonical, garbage, remember};
use crate::{
    forward::server::{
        chained::at_the_last_hop,
        listening::stopped,
        session::{Session, watch_closely},
        socks5::Asked,
    },
    protocol::{
        ClientFault, address,
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
        let (mut incoming, mut frames) = (Incoming::with_room(2 * LARGEST), Vec::new());
        while incoming.fill(&mut reader).await? {
            let (mut taken, mut framed) = (0, Vec::new());
            while let Some(frame) = udp_frame::decode(&incoming.bytes()[taken..]).map_err(|_| garbage())? {
                let bytes = &incoming.bytes()[taken..];
                let peer = udp_frame::peer(&bytes[frame.address.clone()]).map_err(|_| garbage())?;
                match self.encode(&peer, &bytes[frame.data.clone()], &mut frames).await {
                    Ok(count) => framed.push(count),
                    Err(why) => self.session.datagrams().drop(why, 1),
                }
                taken += frame.data.end;
            }
            incoming.take(taken);
            writer.write_all(&frames).await?;
            writer.flush().await?;
            frames.clear();
            framed.into_iter().for_each(|count| self.session.datagrams().upstream(Ok(count)));
        }
        Ok(())
    }

    /// Appends the frame for the hop, if the client may send there; returns the datagram's length.
    async fn encode(&self, peer: &HostPort, datagram: &[u8], out: &mut Vec<u8>) -> Result<usize, Dropped> {
        let literal = peer.host.parse().ok().map(|ip| canonical(SocketAddr::new(ip, peer.port)));
        let is_known =
            literal.is_some_and(|peer| self.peers.as_ref().is_some_and(|peers| super::lock(peers).contains(&peer)));
        let checked = if is_known { Ok(peer.clone()) } else { self.session.checked(peer).await };
        let (peer, mut name) = (checked.map_err(|_| Dropped::NoNode)?, Vec::new());
        address::encode(&peer, &mut name).map_err(|_| Dropped::NoNode)?;
        udp_frame::encode(&name, datagram, out).map_err(Dropped::from)?;
        Ok(datagram.len())
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
            while let Some(frame) = udp_frame::decode(&incoming.bytes()[taken..]).map_err(|_| of_the_hop())? {
                let peer =
                    udp_frame::peer(&incoming.bytes()[taken..][frame.address.clone()]).map_err(|_| of_the_hop())?;
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
        Err(ClientFault::Upstream("the last hop has ended the tunnel".to_owned()))
    }
}

fn of_the_hop() -> ClientFault {
    ClientFault::Upstream("the last hop sends datagrams from what is no address".to_owned())
}
