//! HTTP CONNECT as a client (RFC 9110 section 9.3.6), with the Basic scheme (RFC 7617).
//! The head of the answer is read in steps that can't go beyond its end, since what follows is the target's.

use fairlead_config::HostPort;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Fault, broken};
use crate::{dial::DialCause, secrets::Login};

/// The longest head of an answer in bytes.
const HEAD_LIMIT: usize = 16 << 10;
const END: &[u8; 4] = b"\r\n\r\n";

/// Asks for a connection; from then on the stream is the target's.
pub(crate) async fn connect<S>(stream: &mut S, address: &HostPort, login: Option<&Login>) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hop = |error: &std::io::Error| Fault::Hop(broken("http", error));
    let request = request(address, login).map_err(Fault::Hop)?;
    stream.write_all(request.as_bytes()).await.map_err(|error| hop(&error))?;
    stream.flush().await.map_err(|error| hop(&error))?;
    let head = head(stream).await.map_err(Fault::Hop)?;
    judge(&head, login.is_some())
}

fn request(address: &HostPort, login: Option<&Login>) -> Result<String, DialCause> {
    let mut request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n");
    if let Some(Login { user, password }) = login {
        if user.contains(':') {
            return Err(DialCause::Login("http: the user has a colon in it".to_owned()));
        }
        let pair = base64(format!("{user}:{}", password.expose()).as_bytes());
        request.push_str(&format!("Proxy-Authorization: Basic {pair}\r\n"));
    }
    request.push_str("\r\n");
    Ok(request)
}

/// Reads up to and with the empty line. As many bytes as the end still lacks can't go beyond it.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, DialCause> {
    let mut head = Vec::with_capacity(128);
    while !head.ends_with(END) {
        let lacking = END.len() - (0..END.len()).rev().find(|part| head.ends_with(&END[..*part])).unwrap_or_default();
        if head.len() + lacking > HEAD_LIMIT {
            return Err(DialCause::Handshake(format!(
                "http: the head of the answer is longer than {HEAD_LIMIT} bytes"
            )));
        }
        let mut bytes = [0; END.len()];
        let read = stream.read_exact(&mut bytes[..lacking]).await;
        read.map_err(|error| broken("http", &error))?;
        head.extend_from_slice(&bytes[..lacking]);
        // Noise would otherwise be waited for to its end.
        if !b"HTTP/1."[..head.len().min(7)].eq(&head[..head.len().min(7)]) {
            return Err(DialCause::Handshake("http: the hop speaks something else".to_owned()));
        }
    }
    Ok(head)
}

/// A hop that is asked for what it doesn't do, or by somebody it doesn't know, is at fault itself; all else it says is
/// about the target.
fn judge(head: &[u8], has_login: bool) -> Result<(), Fault> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.splitn(3, ' ');
    let code: Option<u16> = words.nth(1).filter(|word| word.len() == 3).and_then(|word| word.parse().ok());
    let reason: String = words.next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(80).collect();
    match code {
        Some(200..=299) => Ok(()),
        Some(407) if has_login => {
            Err(Fault::Hop(DialCause::Login("http: the hop refuses the user or the password".to_owned())))
        }
        Some(407) => Err(Fault::Hop(DialCause::Login(
            "http: the hop asks for a user and a password, and none is configured".to_owned(),
        ))),
        Some(code @ (400 | 401 | 405 | 426 | 501 | 505)) => {
            Err(Fault::Hop(DialCause::Handshake(format!("http: the hop does not serve CONNECT: {code} {reason}"))))
        }
        Some(code @ 400..=599) => {
            Err(Fault::Address(DialCause::Rejected(format!("the http hop says: {code} {reason}"))))
        }
        Some(code) => Err(Fault::Hop(DialCause::Handshake(format!("http: the hop answered with {code} {reason}")))),
        None => Err(Fault::Hop(DialCause::Handshake("http: the hop's answer has no status".to_owned()))),
    }
}

/// The standard alphabet with padding (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() { '=' } else { digit.into() });
        }
    }
    text
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
