//! GOST's relay protocol, version 1: the wire format of both sides. A request is flags and features (who asks, for which
//! address); the answer is a status. Behind them the stream is the target's, or carries datagrams behind their lengths.
//! The client half that copes with servers which answer late is in `relay_client`.

use std::io;

use fairlead_config::{HostPort, url::Secret};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::address::{self, AddressError};
use crate::secrets::Login;

pub(super) const VERSION: u8 = 1;
/// Bytes before the features, of a request and of an answer.
pub(super) const HEAD: usize = 4;
/// Flag: the stream carries datagrams.
const DATAGRAMS: u8 = 0x80;
/// What else a later version may ask for; 0 and 1 are to connect.
const COMMAND: u8 = 0x0f;
const CONNECT: u8 = 1;
const LOGIN: u8 = 1;
const ADDRESS: u8 = 2;
/// Of a later version: 0 for streams, 1 for datagrams.
const NETWORK: u8 = 4;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Request {
    pub(crate) datagrams: bool,
    pub(crate) login: Option<Login>,
    /// None: the server says itself where it goes.
    pub(crate) address: Option<HostPort>,
}

/// What a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    Timeout,
    ServiceUnavailable,
    HostUnreachable,
    NetworkUnreachable,
}

/// Why bytes are no request, or a request can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("relay: it speaks something else (it began with {0:#04x})")]
    Version(u8),
    #[error("relay: command {0} is not known")]
    Command(u8),
    #[error("relay: a feature of type {0} is cut off")]
    CutOff(u8),
    #[error("relay: {0}")]
    Address(#[from] AddressError),
    #[error("relay: the {0} is longer than 255 bytes")]
    TooLong(&'static str),
}

impl Request {
    /// The bytes of the request.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, RelayError> {
        let mut features = Vec::new();
        if let Some(Login { user, password }) = &self.login {
            let mut login = Vec::new();
            for (what, text) in [("user", user.as_str()), ("password", password.expose())] {
                login.push(u8::try_from(text.len()).map_err(|_| RelayError::TooLong(what))?);
                login.extend_from_slice(text.as_bytes());
            }
            feature(LOGIN, &login, &mut features);
        }
        if let Some(target) = &self.address {
            let mut bytes = Vec::new();
            address::encode(target, &mut bytes)?;
            feature(ADDRESS, &bytes, &mut features);
        }
        let [high, low] = (features.len() as u16).to_be_bytes();
        let flags = if self.datagrams { DATAGRAMS } else { 0 };
        Ok([&[VERSION, flags, high, low][..], &features].concat())
    }

    /// Reads exactly one request. What is wrong with its bytes is an `InvalidData` error around a [`RelayError`].
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let [version, flags, high, low] = {
            let mut head = [0; HEAD];
            stream.read_exact(&mut head[..1]).await?;
            check_version(head[0]).map_err(invalid)?;
            stream.read_exact(&mut head[1..]).await?;
            head
        };
        debug_assert_eq!(version, VERSION);
        let mut features = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        stream.read_exact(&mut features).await?;
        Self::decode(flags, &features).map_err(invalid)
    }

    /// Understands flags and features; features of later versions that say nothing new are passed over.
    fn decode(flags: u8, mut features: &[u8]) -> Result<Self, RelayError> {
        let command = flags & COMMAND;
        if command > CONNECT {
            return Err(RelayError::Command(command));
        }
        let mut request = Self { datagrams: flags & DATAGRAMS != 0, ..Self::default() };
        while let [kind, rest @ ..] = features {
            let cut_off = || RelayError::CutOff(*kind);
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(cut_off)?;
            let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(cut_off)?;
            match *kind {
                LOGIN => request.login = Some(login(value).ok_or_else(cut_off)?),
                ADDRESS => {
                    let (target, _) = address::decode(value)?.ok_or_else(cut_off)?;
                    request.address = Some(target);
                }
                NETWORK => request.datagrams |= value.last() == Some(&1),
                _ => {}
            }
            features = rest;
        }
        Ok(request)
    }
}

impl Status {
    const ALL: [Self; 8] = [
        Self::Ok,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Timeout,
        Self::ServiceUnavailable,
        Self::HostUnreachable,
        Self::NetworkUnreachable,
    ];

    pub(super) fn of(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// The bytes of the answer.
    pub(crate) fn encode(self) -> [u8; HEAD] {
        [VERSION, self as u8, 0, 0]
    }
}

pub(super) fn check_version(version: u8) -> Result<(), RelayError> {
    if version == VERSION { Ok(()) } else { Err(RelayError::Version(version)) }
}

/// Appends a datagram behind its length; false if it has more than 65,535 bytes.
pub(crate) fn encode_datagram(datagram: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(datagram.len()) else { return false };
    out.extend(length.to_be_bytes());
    out.extend_from_slice(datagram);
    true
}

/// Finds the datagram that `bytes` begin with, and how many of them it takes up; none while it is not whole.
pub(crate) fn decode_datagram(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    rest.get(..length).map(|datagram| (datagram, 2 + length))
}

fn feature(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    // A login has at most 512 bytes, an address 259.
    out.extend((value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

fn login(value: &[u8]) -> Option<Login> {
    let (user, rest) = counted(value)?;
    let (password, _) = counted(rest)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Login { user: text(user), password: Secret::new(text(password)) })
}

fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

fn invalid(error: RelayError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
