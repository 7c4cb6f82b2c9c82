//! What two processes of GOST exchanged where both had a login and neither `notls` (v2-03): TLS at once behind the
//! choice of a method, and inside it what is said without TLS elsewhere.

use rustls::server::Acceptor;
use tokio_rustls::LazyConfigAcceptor;

use super::*;
use crate::{secrets::Secrets, tls::server::Certificate};

/// How long something that shall not come is waited for.
const NEVER: Duration = Duration::from_millis(20);

/// GOST's side: what it hears and says, to the byte.
async fn gost(mut stream: TcpStream, request: Vec<u8>) -> TcpStream {
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"\x05\x03\x00\x02\x80");
    assert!(tokio::time::timeout(NEVER, stream.peek(&mut [0])).await.is_err(), "nothing is said before the answer");
    stream.write_all(b"\x05\x82").await.unwrap();
    let opened = LazyConfigAcceptor::new(Acceptor::default(), stream).await.unwrap();
    let hello = opened.client_hello();
    assert!(hello.server_name().is_none() && hello.alpn().is_none(), "as GOST's own: neither SNI nor ALPN");
    let config = Certificate::default().config(None, &Secrets::default()).unwrap();
    let mut inside = opened.into_stream(config).await.unwrap();
    let login = b"\x01\x04user\x04pass".to_vec();
    for (want, answer) in
        [(login, b"\x01\x00".as_slice()), (request, b"\x05\x00\x00\x01\0\0\0\0\0\0"), (b"hello".to_vec(), b"hello")]
    {
        let mut got = vec![0; want.len()];
        inside.read_exact(&mut got).await.unwrap();
        assert_eq!(got, want);
        let early = tokio::time::timeout(NEVER, inside.read_u8()).await;
        assert!(early.is_err(), "nothing is said before the answer: {early:?}");
        inside.write_all(answer).await.unwrap();
        inside.flush().await.unwrap();
    }
    assert_eq!(inside.read_to_end(&mut Vec::new()).await.unwrap(), 0, "TLS is ended before the connection is");
    inside.into_inner().0
}

#[tokio::test]
async fn a_login_inside_tls_is_exchanged_as_gost_exchanges_it() {
    for (target, request) in [
        // A name is asked for as such, which is how GOST asks for addresses, too.
        (HostPort::new("localhost", 21_005), b"\x05\x01\x00\x03\x09localhost\x52\x0d".to_vec()),
        (HostPort::new("127.0.0.1", 21_005), b"\x05\x01\x00\x01\x7f\x00\x00\x01\x52\x0d".to_vec()),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut hop = with_login(&host_port(listener.local_addr().unwrap()));
        hop["dialTimeout"] = json!("20s");
        let dialer = dialer(&hop, login("user", "pass"));
        let server = tokio::spawn(async move { gost(listener.accept().await.unwrap().0, request).await });
        let mut stream = reach(dialer, Arc::new(target)).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
        stream.shutdown().await.unwrap();
        server.await.unwrap();
    }
}
