//! A client of a server that reads where it wants to go from what it says to its target: the server name of a TLS
//! hello (RFC 6066 section 3), which is for port 443, or the Host of an HTTP request, which is for port 80 unless it
//! says another. What was read is sent on as it came.

use std::io;

use fairlead_config::{HostPort, check_host};
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::session::Session;
use crate::{protocol::ClientFault, stream::Stream};

/// The most bytes that are read before it is known where to go.
const LIMIT: usize = 16 << 10;
/// The first byte of a TLS handshake.
const TLS: u8 = 0x16;

/// Serves a client from its first byte on.
pub(super) async fn serve(session: &Session, client: Stream) -> Result<(), ClientFault> {
    let (client, said, address) = session.handshake(hear(client)).await?;
    let mut upstream = Box::pin(session.connect(&address)).await.map_err(|refusal| refusal.fault(&address))?;
    upstream.write_all(&said).await?;
    upstream.flush().await?;
    session.copy(client, upstream).await;
    Ok(())
}

async fn hear(mut client: Stream) -> Result<(Stream, Vec<u8>, HostPort), ClientFault> {
    let (mut said, mut buffer) = (Vec::new(), vec![0; LIMIT]);
    let mut hello = Acceptor::default();
    loop {
        let room = LIMIT - said.len();
        let count = client.read(&mut buffer[..room]).await?;
        if count == 0 {
            return Err(ClientFault::Garbage("does not say where it wants to go"));
        }
        said.extend_from_slice(&buffer[..count]);
        let found = match said[0] {
            TLS => of_hello(&mut hello, &buffer[..count])?,
            _ => of_request(&said)?,
        };
        if let Some(address) = found {
            return Ok((client, said, address));
        }
    }
}

/// Takes more of a TLS hello; the address once it is whole.
fn of_hello(hello: &mut Acceptor, mut more: &[u8]) -> Result<Option<HostPort>, ClientFault> {
    while !more.is_empty() {
        let read: io::Result<usize> = hello.read_tls(&mut more);
        read?;
        match hello.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_owned);
                let name = name.ok_or(ClientFault::Garbage("names no server in its TLS hello"))?;
                return Ok(Some(HostPort::new(name, 443)));
            }
            Err(_) => return Err(ClientFault::Garbage("sends no TLS hello")),
        }
    }
    Ok(None)
}

/// The address of an HTTP request, once its head is whole.
fn of_request(said: &[u8]) -> Result<Option<HostPort>, ClientFault> {
    let garbage = ClientFault::Garbage("speaks neither TLS nor HTTP");
    if !said[0].is_ascii_uppercase() {
        return Err(garbage);
    }
    let Some(end) = said.windows(4).position(|part| part == b"\r\n\r\n") else { return Ok(None) };
    let Ok(head) = std::str::from_utf8(&said[..end]) else { return Err(garbage) };
    let host = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    });
    let address = host.and_then(|host| HostPort::parse_with_fallback_port(host, 80).ok());
    address.filter(|address| !address.host.is_empty() && check_host(&address.host).is_ok()).map(Some).ok_or(garbage)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_tls_hello_names_its_server_however_it_arrives() {
        let bytes = hello("db.example");
        for step in [1, 100, bytes.len()] {
            let mut acceptor = Acceptor::default();
            let found = bytes.chunks(step).find_map(|part| of_hello(&mut acceptor, part).unwrap());
            assert_eq!(found, Some(HostPort::new("db.example", 443)));
        }
        assert!(of_hello(&mut Acceptor::default(), &hello("127.0.0.1")).is_err(), "no name");
        assert!(of_hello(&mut Acceptor::default(), &[TLS; 600]).is_err());
    }

    #[test]
    fn a_request_names_its_host() {
        let of = |text: &str| of_request(text.as_bytes()).ok().flatten().map(|address| address.to_string());
        assert_eq!(of("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").as_deref(), Some("a.example:80"));
        assert_eq!(of("POST / HTTP/1.1\r\nA: b\r\nHost:a.example:8080\r\n\r\nbody").as_deref(), Some("a.example:8080"));
        assert!(matches!(of_request(b"GET / HTTP/1.1\r\nHost: a"), Ok(None)));
        for noise in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "\0", "get"] {
            assert_eq!(of(noise), None);
            assert!(of_request(noise.as_bytes()).is_err(), "{noise:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn noise_is_an_error_and_never_a_panic(
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..600), at in 0..500_usize, byte: u8,
        ) {
            let _ = of_request(&noise);
            let _ = of_hello(&mut Acceptor::default(), &noise);
            let mut bytes = hello("db.example");
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = of_hello(&mut Acceptor::default(), &bytes);
        }
    }
}
