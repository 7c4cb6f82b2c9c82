//! SOCKS4 and SOCKS4A as a client (the memos "SOCKS: A protocol for TCP proxy across firewalls" and "SOCKS 4A"): one
//! request, one answer of eight bytes. SOCKS4 carries IPv4 addresses only; SOCKS4A names as well.

pub(crate) mod server;

use std::net::{IpAddr, Ipv4Addr};

use fairlead_config::HostPort;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Fault, broken};
use crate::dial::DialCause;

const VERSION: u8 = 4;
const CONNECT: u8 = 1;
/// An address that no host has says that a name follows.
const NAME_FOLLOWS: Ipv4Addr = Ipv4Addr::new(0, 0, 0, 1);

/// What a request says of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    Ip(Ipv4Addr, u16),
    Name(String, u16),
}

impl Goal {
    /// What SOCKS4A can say of an address.
    pub(crate) fn by_name(address: &HostPort) -> Result<Self, DialCause> {
        match address.host.parse() {
            Ok(IpAddr::V4(ip)) => Ok(Self::Ip(ip, address.port)),
            Ok(IpAddr::V6(_)) => Err(no_ipv6("socks4a")),
            Err(_) => Ok(Self::Name(address.host.clone(), address.port)),
        }
    }

    /// What SOCKS4 can say of the addresses that a host has.
    pub(crate) fn by_address(found: &[IpAddr], port: u16) -> Result<Self, DialCause> {
        let v4 = found.iter().find_map(|ip| match ip {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        });
        v4.map(|ip| Self::Ip(ip, port)).ok_or_else(|| no_ipv6("socks4"))
    }
}

/// Asks for a connection as `user`; from then on the stream is the target's.
pub(crate) async fn connect<S>(stream: &mut S, goal: &Goal, user: &str) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hop = |error: &std::io::Error| Fault::Hop(broken("socks4", error));
    let request = request(goal, user).map_err(Fault::Hop)?;
    stream.write_all(&request).await.map_err(|error| hop(&error))?;
    stream.flush().await.map_err(|error| hop(&error))?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await.map_err(|error| hop(&error))?;
    judge(answer[0], answer[1])
}

fn request(goal: &Goal, user: &str) -> Result<Vec<u8>, DialCause> {
    if user.contains('\0') {
        return Err(DialCause::Login("socks4: the user has a zero byte in it".to_owned()));
    }
    let (ip, port, name) = match goal {
        Goal::Ip(ip, port) => (*ip, *port, None),
        Goal::Name(name, port) => (NAME_FOLLOWS, *port, Some(name)),
    };
    let mut message = vec![VERSION, CONNECT];
    message.extend(port.to_be_bytes());
    message.extend(ip.octets());
    for text in [Some(user), name.map(String::as_str)].into_iter().flatten() {
        message.extend(text.as_bytes());
        message.push(0);
    }
    Ok(message)
}

fn judge(version: u8, code: u8) -> Result<(), Fault> {
    let hop = |what: String| Err(Fault::Hop(DialCause::Handshake(format!("socks4: {what}"))));
    match (version, code) {
        (0, 90) => Ok(()),
        (0, 91) => {
            Err(Fault::Address(DialCause::Rejected("the socks4 hop says: request rejected or failed".to_owned())))
        }
        (0, 92 | 93) => Err(Fault::Hop(DialCause::Login("socks4: the hop refuses the user".to_owned()))),
        (0, _) => hop(format!("the hop answered with code {code}")),
        _ => hop(format!("the hop speaks something else (it began with {version:#04x})")),
    }
}

fn no_ipv6(protocol: &str) -> DialCause {
    DialCause::Rejected(format!("{protocol} carries no IPv6 address; use a socks5 or http hop"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[test]
    fn addresses_and_names_are_written_as_the_memos_say() {
        let ip = Goal::by_name(&HostPort::new("127.0.0.1", 80)).unwrap();
        assert_eq!(request(&ip, "").unwrap(), b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00");
        let name = Goal::by_name(&HostPort::new("db.example", 5432)).unwrap();
        assert_eq!(request(&name, "ann").unwrap(), b"\x04\x01\x15\x38\x00\x00\x00\x01ann\x00db.example\x00");
        assert!(Goal::by_name(&HostPort::new("::1", 80)).is_err());
        let both = ["::1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        assert_eq!(Goal::by_address(&both, 1), Ok(Goal::Ip([10, 0, 0, 1].into(), 1)));
        assert!(Goal::by_address(&both[..1], 1).is_err());
    }

    #[tokio::test]
    async fn the_answer_is_read_to_its_end_and_no_further() {
        let (mut client, mut server) = duplex(64);
        server.write_all(&[0, 90, 0, 0, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
        connect(&mut client, &Goal::Ip(Ipv4Addr::LOCALHOST, 1), "").await.unwrap();
        let mut rest = [0; 2];
        client.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"hi");
    }

    #[test]
    fn a_rejected_request_is_the_targets_and_all_else_the_hops() {
        let blames_target = |fault| matches!(fault, Err(Fault::Address(_)));
        assert!(judge(0, 90).is_ok());
        assert!(blames_target(judge(0, 91)));
        for (version, code) in [(0, 92), (0, 93), (0, 0), (5, 0), (b'H', b'T')] {
            assert!(matches!(judge(version, code), Err(Fault::Hop(_))), "{version} {code}");
        }
    }
}
