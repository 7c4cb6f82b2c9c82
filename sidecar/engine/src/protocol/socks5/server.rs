//! SOCKS5 as a server (RFC 1928, RFC 1929), with GOST's methods 0x80 and 0x82 (TLS right behind the greeting) and its
//! commands 0xF2 (many peers of a bound port over one connection) and 0xF3 (datagrams over the connection).
//! Exactly the bytes of each message are read: what follows may be TLS or the target's.

use std::net::{IpAddr, SocketAddr};

use fairlead_config::{HostPort, check_host};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{LOGIN_VERSION, Method, VERSION};
use crate::protocol::ClientFault;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Connect,
    /// Listen for one peer, and hand it over on this connection.
    Bind,
    /// Relay datagrams of the client's own address.
    Associate,
    /// Listen, and hand every peer over as a stream of its own.
    BindMany,
    /// Carry datagrams over this connection.
    Datagrams,
}

/// A client's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) command: Command,
    pub(crate) address: HostPort,
}

/// How a request ends (RFC 1928 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Succeeded = 0,
    Failed = 1,
    NotAllowed = 2,
    Unreachable = 4,
    Refused = 5,
    UnknownCommand = 7,
    UnknownAddress = 8,
}

impl Command {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::Connect,
            0x02 => Self::Bind,
            0x03 => Self::Associate,
            0xf2 => Self::BindMany,
            0xf3 => Self::Datagrams,
            _ => return None,
        })
    }
}

impl Method {
    fn byte(self) -> u8 {
        match self {
            Self::Nothing => 0x00,
            Self::Login => 0x02,
            Self::Tls => 0x80,
            Self::TlsAndLogin => 0x82,
        }
    }
}

/// How a server greets its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Clients have to say who they are.
    pub(crate) has_users: bool,
    /// What carries them encrypts already.
    pub(crate) is_encrypted: bool,
}

/// Reads the greeting behind its first byte, answers it, and returns the method. TLS is chosen whenever it is offered:
/// GOST loses what follows a message in the same segment, and records keep messages apart. Not so over SSH, where GOST's
/// own TLS loses every other answer.
pub(crate) async fn greet<S>(stream: &mut S, terms: Terms) -> Result<Method, ClientFault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let count = stream.read_u8().await?;
    let mut offered = [0; 255];
    let offered = &mut offered[..usize::from(count)];
    stream.read_exact(offered).await?;
    let method = choose(offered, terms);
    send(stream, &[VERSION, method.map_or(0xff, Method::byte)]).await?;
    method.ok_or(ClientFault::Garbage("offers no method that is accepted here"))
}

fn choose(offered: &[u8], terms: Terms) -> Option<Method> {
    let offers = |byte| offered.contains(&byte);
    match terms.has_users {
        false if terms.is_encrypted && offers(0x00) => Some(Method::Nothing),
        true if offers(0x80) => Some(Method::TlsAndLogin),
        true if offers(0x02) => Some(Method::Login),
        true => None,
        false if offers(0x80) => Some(Method::Tls),
        false if offers(0x00) => Some(Method::Nothing),
        // It insists on telling a password, which nobody asks for.
        false if offers(0x02) => Some(Method::Login),
        false => None,
    }
}

/// Reads a user and a password.
pub(crate) async fn read_login<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Vec<u8>, Vec<u8>), ClientFault> {
    if stream.read_u8().await? != LOGIN_VERSION {
        return Err(ClientFault::Garbage("sends no login"));
    }
    Ok((text(stream).await?, text(stream).await?))
}

/// Says whether the login is somebody's.
pub(crate) async fn answer_login<S: AsyncWrite + Unpin>(stream: &mut S, is_known: bool) -> Result<(), ClientFault> {
    send(stream, &[LOGIN_VERSION, u8::from(!is_known)]).await
}

/// Reads a request; one that can't be met is answered here.
pub(crate) async fn read_request<S>(stream: &mut S) -> Result<Request, ClientFault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let [version, command, _, kind] = bytes(stream).await?;
    if version != VERSION {
        return Err(ClientFault::Garbage("sends no SOCKS5 request"));
    }
    let host = match kind {
        1 => Some(IpAddr::from(bytes::<4>(stream).await?).to_string()),
        4 => Some(IpAddr::from(bytes::<16>(stream).await?).to_string()),
        3 => String::from_utf8(text(stream).await?).ok().map(unbracketed).filter(|host| check_host(host).is_ok()),
        _ => None,
    };
    let Some(host) = host else {
        reply(stream, Code::UnknownAddress, None).await?;
        return Err(ClientFault::Garbage("asks for an address that is none"));
    };
    let port = u16::from_be_bytes(bytes(stream).await?);
    let Some(command) = Command::of(command) else {
        reply(stream, Code::UnknownCommand, None).await?;
        return Err(ClientFault::Garbage("asks for an unknown command"));
    };
    Ok(Request { command, address: HostPort::new(host, port) })
}

/// GOST writes addresses as names, and some write those of IPv6 as in a URL.
fn unbracketed(host: String) -> String {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned).unwrap_or(host)
}

/// Answers a request; no address is one of zeros.
pub(crate) async fn reply<S>(stream: &mut S, code: Code, address: Option<SocketAddr>) -> Result<(), ClientFault>
where
    S: AsyncWrite + Unpin,
{
    let address = address.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let mut message = vec![VERSION, code as u8, 0];
    match address.ip() {
        IpAddr::V4(ip) => {
            message.push(1);
            message.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            message.push(4);
            message.extend(ip.octets());
        }
    }
    message.extend(address.port().to_be_bytes());
    send(stream, &message).await
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), ClientFault> {
    stream.write_all(bytes).await?;
    Ok(stream.flush().await?)
}

async fn bytes<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], ClientFault> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A text behind the byte that holds its length.
async fn text(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ClientFault> {
    let length = stream.read_u8().await?;
    let mut text = vec![0; usize::from(length)];
    stream.read_exact(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
