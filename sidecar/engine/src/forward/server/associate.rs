//! Clients of a SOCKS5 server that ask for UDP ASSOCIATE (RFC 1928 section 7): datagrams with a header in front, from
//! the client's own address and no other, to wherever it may, and the answers back. Fragments are dropped, as the RFC
//! allows. Ends with the client's connection or the tunnel behind it, or when no datagram has passed for a while.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

use super::{
    binds::{Owner, Place},
    datagrams::{LARGEST, open},
    listening::{gone, stopped},
    outlet::{Outlet, Unopened},
    session::{Session, watch_closely},
    socks5::Asked,
};
use crate::{
    protocol::{
        ClientFault, address,
        socks5::server::{self as wire, Code},
    },
    stats::Dropped,
};

/// How long an association lives without a datagram.
const IDLE: Duration = Duration::from_secs(300);
/// Bytes before the address: two reserved ones and the fragment number.
const HEAD: usize = 3;

/// One client's association.
struct Association<'a> {
    session: &'a Session,
    /// Towards the client.
    inner: UdpSocket,
    /// Towards everybody else.
    outlet: Outlet<'a>,
    ip: IpAddr,
    /// Where the client sends from: said by it, or found out by its first datagram.
    client: Option<SocketAddr>,
    _place: Place,
}

/// Serves UDP ASSOCIATE.
pub(super) async fn serve(session: &Session, asked: Asked) -> Result<(), ClientFault> {
    let Asked { mut client, control, user, request } = asked;
    let local = watch_closely(session, &client, control, false)?;
    let owner = Owner { user, ip: session.peer.ip().to_canonical() };
    let mut association = match Association::open(session, owner, local.to_canonical()).await {
        Ok(opened) => opened,
        Err(why) => {
            let code = if matches!(why, Unopened::Unfit) { Code::UnknownCommand } else { Code::Failed };
            wire::reply(&mut client, code, None).await?;
            return Err(why.into());
        }
    };
    wire::reply(&mut client, Code::Succeeded, Some(association.inner.local_addr()?)).await?;
    let port = request.address.port;
    association.client = (port != 0).then(|| SocketAddr::new(association.ip, port));
    tokio::select! {
        ended = association.run() => ended,
        // It has nothing to say there; a plain end is the end.
        _ = gone(&mut client) => Ok(()),
        () = stopped(session) => Ok(()),
    }
}

impl<'a> Association<'a> {
    async fn open(session: &'a Session, owner: Owner, local: IpAddr) -> Result<Self, Unopened> {
        let ip = owner.ip;
        let place = session.shared.binds.enter(owner)?;
        let inner = open(SocketAddr::new(local, 0))?;
        Ok(Self { session, inner, outlet: Outlet::open(session).await?, ip, client: None, _place: place })
    }

    /// Passes datagrams on until none has passed for a while, or they can leave no longer.
    async fn run(mut self) -> Result<(), ClientFault> {
        let mut sent = vec![0; LARGEST];
        let mut out = Vec::new();
        let mut end = Instant::now() + IDLE;
        loop {
            tokio::select! {
                received = self.inner.recv_from(&mut sent) => {
                    let Ok((count, from)) = received else { continue };
                    if self.is_client(from) {
                        self.pass_on(&sent[..count]).await;
                        end = Instant::now() + IDLE;
                    }
                }
                answer = self.outlet.next() => {
                    let (from, datagram) = answer?;
                    let Some(client) = self.client else { continue };
                    out.clear();
                    out.extend([0; HEAD]);
                    address::encode_ip(from, &mut out);
                    out.extend_from_slice(&datagram);
                    let sent = self.inner.send_to(&out, client).await;
                    self.session.datagrams().client(sent.map(|_| datagram.len()));
                    end = Instant::now() + IDLE;
                }
                () = sleep_until(end) => return Ok(()),
            }
        }
    }

    /// Whether the datagram is the client's, whose port the first one tells.
    fn is_client(&mut self, from: SocketAddr) -> bool {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        from.ip() == self.ip && *self.client.get_or_insert(from) == from
    }

    async fn pass_on(&mut self, message: &[u8]) {
        match read(message) {
            Some((peer, datagram)) => self.outlet.send(&peer, datagram).await,
            None => self.session.datagrams().drop(Dropped::Refused, 1),
        }
    }
}

/// The address and the data of a client's datagram; none of a fragment or of noise.
fn read(message: &[u8]) -> Option<(fairlead_config::HostPort, &[u8])> {
    let (head, rest) = message.split_at_checked(HEAD)?;
    let (peer, length) = address::decode(rest).ok()??;
    (head[2] == 0).then_some((peer, &rest[length..]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_read_and_a_fragment_is_not() {
        let (peer, data) = read(b"\0\0\0\x01\x7f\0\0\x01\0\x35hi").unwrap();
        assert_eq!((peer.to_string().as_str(), data), ("127.0.0.1:53", b"hi".as_slice()));
        assert_eq!(read(b"\0\0\0\x03\x01a\0\x35").unwrap().1, b"");
        for noise in [b"".as_slice(), b"\0\0", b"\0\0\x01\x01\x7f\0\0\x01\0\x35hi", b"\0\0\0\x09", b"\0\0\0\x01\x7f\0"]
        {
            assert_eq!(read(noise), None, "{noise:?}");
        }
    }
}
