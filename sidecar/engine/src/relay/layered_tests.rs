//! The copy to a layered upstream, over a pipe in its place.
#![allow(clippy::unwrap_used)]

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::socket::Socket;

/// A client, the far end of the upstream, and the copy between them.
async fn relayed(idle: Option<Duration>) -> (TcpStream, DuplexStream, JoinHandle<Result<(), CopyError>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepted = listener.accept().await.unwrap().0.into_std().unwrap();
    let (upstream, far_end) = duplex(4 << 10);
    let copied = tokio::spawn(async move {
        let counters = ByteCounters::default();
        let socket = Socket::new(accepted).unwrap();
        relay_layered(Stream::Tcp(socket), Stream::Layered(Box::new(upstream)), &counters, idle).await
    });
    (client, far_end, copied)
}

#[tokio::test]
async fn each_side_may_end_first_and_still_gets_the_rest() {
    let (mut client, mut far_end, copied) = relayed(None).await;
    let request = vec![7; 300_000];
    let (sent, got) = tokio::join!(
        async {
            client.write_all(&request).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        },
        async {
            let mut got = Vec::new();
            far_end.read_to_end(&mut got).await.unwrap();
            far_end.write_all(b"answer").await.unwrap();
            far_end.shutdown().await.unwrap();
            got
        }
    );
    assert_eq!((sent.as_slice(), got), (b"answer".as_slice(), request));
    copied.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_breaks_off_ends_the_copy() {
    let (client, _far_end, copied) = relayed(None).await;
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert!(matches!(copied.await.unwrap(), Err(CopyError::Client(_))));
}

#[tokio::test]
async fn an_idle_connection_is_reset() {
    let (mut client, _far_end, copied) = relayed(Some(Duration::from_millis(100))).await;
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(matches!(copied.await.unwrap(), Err(CopyError::IdleTimeout(_))));
}
