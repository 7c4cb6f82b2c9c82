//! SOCKS5 as a client (RFC 1928, RFC 1929), with the methods 0x80 and 0x82 that GOST adds: TLS right behind the
//! greeting, and TLS with a login. `chain` puts the steps together, since TLS changes the stream between two of them.

pub(crate) mod server;

use fairlead_config::HostPort;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Fault, address, broken};
use crate::{dial::DialCause, secrets::Login};

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const LONGEST: usize = 255;

/// How a server is asked to carry datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Beside this connection (RFC 1928).
    Associate,
    /// Over this connection, framed: GOST's UDP tunnel.
    UdpTunnel,
}

/// What the server wants before a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Nothing,
    Login,
    Tls,
    TlsAndLogin,
}

/// Which methods are offered; in GOST's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Plain,
    PlainOrTls,
    /// For a hop that must prove who it is.
    TlsOnly,
}

impl Method {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0x00 => Self::Nothing,
            0x02 => Self::Login,
            0x80 => Self::Tls,
            0x82 => Self::TlsAndLogin,
            _ => return None,
        })
    }

    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsAndLogin)
    }

    pub(crate) fn has_login(self) -> bool {
        matches!(self, Self::Login | Self::TlsAndLogin)
    }
}

impl Offer {
    fn greeting(self) -> &'static [u8] {
        match self {
            Self::Plain => &[VERSION, 2, 0x00, 0x02],
            Self::PlainOrTls => &[VERSION, 3, 0x00, 0x02, 0x80],
            Self::TlsOnly => &[VERSION, 1, 0x80],
        }
    }

    fn allows(self, method: Method) -> bool {
        match self {
            Self::Plain => !method.has_tls(),
            Self::PlainOrTls => true,
            Self::TlsOnly => method.has_tls(),
        }
    }
}

/// Offers methods and learns which one the server chose.
pub(crate) async fn greet<S>(stream: &mut S, offer: Offer) -> Result<Method, DialCause>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    send(stream, offer.greeting()).await?;
    let [version, method] = receive(stream).await?;
    check_version(version)?;
    match Method::of(method) {
        Some(method) if offer.allows(method) => Ok(method),
        _ if offer == Offer::TlsOnly => {
            Err(handshake("the hop does not encrypt, and it shall be verified; drop what verifies it, or use another"))
        }
        _ if method == 0xff => Err(handshake("the hop accepts none of the methods offered")),
        _ => Err(handshake(format!("the hop chose method {method:#04x}, which was not offered"))),
    }
}

/// Says who we are.
pub(crate) async fn login<S>(stream: &mut S, login: Option<&Login>) -> Result<(), DialCause>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asked =
        || DialCause::Login("socks5: the hop asks for a user and a password, and none is configured".to_owned());
    let Login { user, password } = login.ok_or_else(asked)?;
    let mut message = vec![LOGIN_VERSION];
    for (what, text) in [("user", user.as_str()), ("password", password.expose())] {
        let length = u8::try_from(text.len());
        message
            .push(length.map_err(|_| DialCause::Login(format!("socks5: the {what} is longer than {LONGEST} bytes")))?);
        message.extend_from_slice(text.as_bytes());
    }
    send(stream, &message).await?;
    let [_, status] = receive(stream).await?;
    if status == 0 {
        Ok(())
    } else {
        Err(DialCause::Login("socks5: the hop refuses the user or the password".to_owned()))
    }
}

/// Asks for a connection; from then on the stream is the target's.
pub(crate) async fn connect<S>(stream: &mut S, address: &HostPort) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(CONNECT, address).map_err(Fault::Address)?;
    send(stream, &request).await.map_err(Fault::Hop)?;
    let (code, _) = reply(stream).await.map_err(Fault::Hop)?;
    judge(code, "CONNECT")
}

/// Asks for a way for datagrams; returns the address in the answer.
pub(crate) async fn command<S>(stream: &mut S, command: Command, address: &HostPort) -> Result<HostPort, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (byte, name) = match command {
        Command::Associate => (0x03, "UDP ASSOCIATE (0x03)"),
        Command::UdpTunnel => (0xf3, "GOST's UDP over TCP (0xF3); write udp_associate=true"),
    };
    let request = request(byte, address).map_err(Fault::Address)?;
    send(stream, &request).await.map_err(Fault::Hop)?;
    let (code, bound) = reply(stream).await.map_err(Fault::Hop)?;
    judge(code, name).map(|()| bound)
}

/// What a server is asked to listen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// One peer, whose connection the stream becomes: BIND (RFC 1928).
    Peer,
    /// Peers, each a stream of a smux session: GOST's MBIND.
    Peers,
    /// Datagrams, framed: GOST's UDP tunnel.
    Datagrams,
}

impl Listen {
    fn command(self) -> (u8, &'static str) {
        match self {
            Self::Peer => (0x02, "BIND (0x02)"),
            Self::Peers => (0xf2, "MBIND (0xF2)"),
            Self::Datagrams => (0xf3, "UDP tunnels (0xF3)"),
        }
    }
}

/// Asks the server to listen, and learns where it does.
pub(crate) async fn listen<S>(stream: &mut S, what: Listen, address: &HostPort) -> Result<HostPort, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (command, name) = what.command();
    let request = request(command, address).map_err(Fault::Address)?;
    send(stream, &request).await.map_err(Fault::Hop)?;
    let silent = |error| match (&error, what) {
        // The only answer GOST has when the port is taken.
        (DialCause::Handshake(_), Listen::Datagrams) => Fault::Address(DialCause::Rejected(format!(
            "the socks5 hop closed the connection: {address} is taken there, or it knows no {name}"
        ))),
        _ => Fault::Hop(error),
    };
    let (code, bound) = reply(stream).await.map_err(silent)?;
    judge(code, name)?;
    Ok(bound)
}

/// Waits for the one peer, whose connection the stream is from then on; returns its address.
pub(crate) async fn peer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<HostPort, DialCause> {
    let (code, address) = reply(stream).await?;
    match judge(code, "BIND (0x02)") {
        Ok(()) => Ok(address),
        Err(Fault::Hop(cause) | Fault::Address(cause)) => Err(cause),
    }
}

/// Addresses go as such, and not as text as GOST sends them: not every server reads an address from a name's place.
fn request(command: u8, address: &HostPort) -> Result<Vec<u8>, DialCause> {
    let mut message = vec![VERSION, command, 0];
    let encoded = address::encode(address, &mut message);
    encoded.map_err(|error| DialCause::Rejected(format!("socks5: {error}")))?;
    Ok(message)
}

/// Reads a reply to its last byte: its code and the address in it.
async fn reply<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(u8, HostPort), DialCause> {
    let [version, code, _, kind] = receive(stream).await?;
    check_version(version)?;
    let mut bytes = vec![kind];
    let mut length = match kind {
        1 => 4,
        4 => 16,
        3 => {
            let [length] = receive(stream).await?;
            bytes.push(length);
            usize::from(length)
        }
        _ => return Err(handshake(format!("the hop answered with address type {kind}"))),
    };
    length += 2;
    let start = bytes.len();
    bytes.resize(start + length, 0);
    read(stream, &mut bytes[start..]).await?;
    // What is no text says nothing to anybody.
    let address = address::decode(&bytes).ok().flatten().map(|(address, _)| address);
    Ok((code, address.unwrap_or_else(|| HostPort::new("", 0))))
}

fn judge(code: u8, command: &str) -> Result<(), Fault> {
    let says = |what: &str| Err(Fault::Address(DialCause::Rejected(format!("the socks5 hop says: {what}"))));
    match code {
        0 => Ok(()),
        1 => says("general failure"),
        2 => says("not allowed by its rules"),
        3 => says("network unreachable"),
        4 => says("host unreachable"),
        5 => says("connection refused"),
        6 => says("time to live expired"),
        8 => says("address type not supported"),
        7 => Err(Fault::Hop(handshake(format!("the hop does not know {command}")))),
        _ => Err(Fault::Hop(handshake(format!("the hop answered with code {code}")))),
    }
}

fn check_version(version: u8) -> Result<(), DialCause> {
    match version {
        VERSION => Ok(()),
        b'S' => Err(handshake("the hop speaks SSH; write socks5+ssh, or forward+ssh where it only forwards ports")),
        _ => Err(handshake(format!("the hop speaks something else (it began with {version:#04x})"))),
    }
}

fn handshake(what: impl AsRef<str>) -> DialCause {
    DialCause::Handshake(format!("socks5: {}", what.as_ref()))
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), DialCause> {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| broken("socks5", &error))
}

async fn receive<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], DialCause> {
    let mut bytes = [0; N];
    read(stream, &mut bytes).await?;
    Ok(bytes)
}

async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<(), DialCause> {
    stream.read_exact(bytes).await.map(drop).map_err(|error| broken("socks5", &error))
}

#[cfg(test)]
#[path = "socks5_tests.rs"]
mod tests;
