//! Sessions with a server of the same crate, over a pipe: logins that OpenSSH has no easy account for, and what a server
//! may not do. What OpenSSH does is tried in `tests`.
#![allow(clippy::unwrap_used)]

use russh::{
    Channel, ChannelId, MethodKind, MethodSet,
    keys::{Algorithm, PrivateKey},
    server::{self, Auth, ChannelOpenHandle, Msg, Response},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{super::listening::ListenFailure, *};
use crate::secrets::Secrets;

const PASSWORD: &str = "s3cret";

/// A server that takes one password, in the ways it is told, and echoes what channels say.
#[derive(Clone, Copy)]
struct Server {
    takes: MethodKind,
    /// Asks for a channel itself once somebody is in.
    intrudes: bool,
}

impl server::Handler for Server {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, russh::Error> {
        Ok(self.answer(self.takes == MethodKind::None))
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        Ok(self.answer(self.takes == MethodKind::Password && user == "ann" && password == PASSWORD))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        match response {
            None => Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            }),
            Some(mut answers) => {
                Ok(self.answer(answers.next().is_some_and(|answer| &answer[..] == PASSWORD.as_bytes())))
            }
        }
    }

    async fn auth_succeeded(&mut self, session: &mut server::Session) -> Result<(), russh::Error> {
        if self.intrudes {
            session.channel_open_forwarded_tcpip("10.0.0.1", 1, "10.0.0.2", 2)?;
            session.channel_open_agent()?;
        }
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut server::Session,
    ) -> Result<bool, russh::Error> {
        if *port == 1 {
            return Ok(false);
        }
        *port = if *port == 0 { 4711 } else { *port };
        let (handle, address, port) = (session.handle(), address.to_owned(), *port);
        tokio::spawn(async move {
            let channel = handle.channel_open_forwarded_tcpip(address, port, "10.0.0.2", 2).await.unwrap();
            channel.data(&b"a peer"[..]).await.unwrap();
            channel.eof().await.unwrap();
            // Until the client has read it.
            std::future::pending::<()>().await;
        });
        Ok(true)
    }

    async fn channel_open_confirmation(
        &mut self,
        _id: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        assert!(!self.intrudes, "a channel that the client did not ask for was opened");
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        match host {
            "nowhere" => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            "silence" => {
                // Neither yes nor no.
                tokio::spawn(async move {
                    std::future::pending::<()>().await;
                    drop((channel, reply));
                });
            }
            _ => {
                reply.accept().await;
                tokio::spawn(async move {
                    let mut stream = channel.into_stream();
                    let mut said = Vec::new();
                    stream.read_to_end(&mut said).await.unwrap();
                    stream.write_all(&said).await.unwrap();
                    stream.shutdown().await.unwrap();
                });
            }
        }
        Ok(())
    }
}

impl Server {
    fn answer(self, accepted: bool) -> Auth {
        if accepted { Auth::Accept } else { Auth::Reject { proceed_with_methods: None, partial_success: false } }
    }
}

fn papers(password: &str) -> Arc<Papers> {
    let secrets = Secrets::default();
    let login = format!("ann {password}").into_bytes();
    secrets.replace([("memory:login".to_owned(), login)].into_iter().collect());
    let credentials = fairlead_config::HopCredentials { file: Some("memory:login".to_owned()), ..Default::default() };
    super::super::Drawer::default().papers(Some(&credentials), &trusting(), &secrets).unwrap()
}

fn trusting() -> HopSsh {
    HopSsh { insecure_ignore_host_key: true, ..HopSsh::default() }
}

async fn session(server: Server, papers: Arc<Papers>) -> Result<Arc<Session>, DialCause> {
    let (ours, theirs) = duplex(1 << 16);
    let config = server::Config {
        keys: vec![PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()],
        methods: MethodSet::from(&[server.takes][..]),
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..server::Config::default()
    };
    tokio::spawn(async move { server::run_stream(Arc::new(config), theirs, server).await.unwrap().await });
    let node = Arc::new(HostPort::new("bastion", 22));
    Session::begin(Stream::Layered(Box::new(ours)), node, papers, &trusting()).await
}

fn taking(takes: MethodKind) -> Server {
    Server { takes, intrudes: false }
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_password_is_given_in_the_way_the_server_asks_for_it() {
    for method in [MethodKind::Password, MethodKind::KeyboardInteractive] {
        assert!(session(taking(method), papers(PASSWORD)).await.is_ok(), "{method:?}");
        let error = session(taking(method), papers("wrong")).await.err().unwrap();
        let DialCause::Login(line) = error else { panic!("{error:?}") };
        assert!(line.contains("login as \"ann\"") && !line.contains("wrong"), "{line}");
    }
}

#[tokio::test]
async fn a_channel_carries_bytes_and_both_ends() {
    let session = session(taking(MethodKind::Password), papers(PASSWORD)).await.unwrap();
    let mut channel = session.open(&HostPort::new("db", 5432), SOON).await.unwrap();
    channel.write_all(b"hello").await.unwrap();
    channel.shutdown().await.unwrap();
    let mut answer = Vec::new();
    channel.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"hello");
}

#[tokio::test]
async fn a_refused_channel_is_the_targets_and_a_silent_one_too_while_the_server_answers() {
    let session = session(taking(MethodKind::Password), papers(PASSWORD)).await.unwrap();
    let refused = session.open(&HostPort::new("nowhere", 1), SOON).await.err().unwrap();
    assert!(matches!(refused, Fault::Address(DialCause::Rejected(_))), "{refused:?}");
    let (asked, limit) = (Instant::now(), Duration::from_millis(400));
    let silent = tokio::time::timeout(limit, session.open(&HostPort::new("silence", 1), limit)).await;
    assert!(silent.is_err());
    crate::testing::await_that("the server answers a ping", || !session.traffic.is_silent_since(asked)).await;
    assert_eq!(session.silence(asked, limit), Fault::Address(DialCause::Timeout(limit)));
    assert!(session.takes_channels(&session.papers));
}

#[tokio::test]
async fn a_session_that_ends_ends_its_channels_by_an_error() {
    let session = session(taking(MethodKind::Password), papers(PASSWORD)).await.unwrap();
    let mut channel = session.open(&HostPort::new("db", 5432), SOON).await.unwrap();
    session.handle.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
    let error = channel.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    assert!(!session.takes_channels(&session.papers));
    let fault = session.open(&HostPort::new("db", 5432), SOON).await.err().unwrap();
    assert!(matches!(fault, Fault::Hop(_)), "{fault:?}");
}

#[tokio::test]
async fn channels_that_a_server_opens_are_refused() {
    let server = Server { takes: MethodKind::Password, intrudes: true };
    let session = session(server, papers(PASSWORD)).await.unwrap();
    // Its answer comes after those to what the server asked for.
    let mut channel = session.open(&HostPort::new("db", 5432), SOON).await.unwrap();
    channel.shutdown().await.unwrap();
    assert_eq!(channel.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(session.traffic.channel_count(), 1);
}

#[tokio::test]
async fn changed_papers_want_another_session() {
    let session = session(taking(MethodKind::Password), papers(PASSWORD)).await.unwrap();
    assert!(session.takes_channels(&papers(PASSWORD)));
    assert!(!session.takes_channels(&papers("changed")));
}

#[tokio::test]
async fn a_port_of_the_server_brings_its_peers() {
    let session = session(taking(MethodKind::Password), papers(PASSWORD)).await.unwrap();
    for (asked, got) in [(0, 4711), (80, 80)] {
        let mut listening = session.listen("0.0.0.0", asked).await.unwrap();
        assert_eq!(listening.port(), got);
        let mut peer = tokio::time::timeout(SOON, listening.accept()).await.unwrap().unwrap();
        let mut said = Vec::new();
        peer.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"a peer");
    }
    assert_eq!(session.listen("0.0.0.0", 1).await.err(), Some(ListenFailure::Refused));
    let mut listening = session.listen("0.0.0.0", 81).await.unwrap();
    session.handle.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
    while let Some(peer) = tokio::time::timeout(SOON, listening.accept()).await.unwrap() {
        drop(peer);
    }
}
