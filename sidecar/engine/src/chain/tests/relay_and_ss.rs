//! Chains through relay and Shadowsocks hops: served, refused at once or late, and by a fixed target.

use fairlead_config::url::Secret;

use super::*;
use crate::{
    protocol::{
        address,
        relay::{Request, Status},
        ss::SsStream,
        ss_cipher::Key,
    },
    secrets::Login,
};

/// When a relay server answers a request that it could meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    AtOnce,
    /// With the first bytes of the target, as GOST does.
    WithData,
}

/// A relay server; one with a target of its own takes no other, one with a login takes nobody else.
async fn relay(answers: Answers, own: Option<HostPort>, login: Option<Login>) -> Peer {
    Peer::new(move |stream| relayed(stream, answers, own.clone(), login.clone())).await
}

async fn relayed(mut stream: TcpStream, answers: Answers, own: Option<HostPort>, login: Option<Login>) -> Option<()> {
    let request = Request::read(&mut stream).await.ok()?;
    let refuse = |status: Status| status.encode();
    if request.login != login {
        return stream.write_all(&refuse(Status::Unauthorized)).await.ok();
    }
    let Some(address) = request.address.or(own) else {
        return stream.write_all(&refuse(Status::BadRequest)).await.ok();
    };
    let Ok(mut target) = TcpStream::connect(address.to_string()).await else {
        return stream.write_all(&refuse(Status::ServiceUnavailable)).await.ok();
    };
    if answers == Answers::WithData {
        let mut first = vec![0; 16];
        // The target has nothing to say before the client has, unless it speaks first.
        let (mut read, mut write) = stream.split();
        let (mut from, mut to) = target.split();
        let count = loop {
            tokio::select! {
                Ok(count) = from.read(&mut first) => break count,
                Ok(byte) = read.read_u8() => to.write_u8(byte).await.ok()?,
            }
        };
        write.write_all(&[&Status::Ok.encode()[..], &first[..count]].concat()).await.ok()?;
    } else {
        stream.write_all(&Status::Ok.encode()).await.ok()?;
    }
    tokio::io::copy_bidirectional(&mut stream, &mut target).await.ok().map(drop)
}

async fn ss(method: &'static str) -> Peer {
    let key = Key::of(&Login { user: method.to_owned(), password: Secret::new("secret") }).unwrap();
    Peer::new(move |stream| {
        let mut stream = SsStream::new(stream, key.clone());
        async move {
            let mut bytes = Vec::new();
            let address = loop {
                bytes.push(stream.read_u8().await.ok()?);
                if let Some((address, _)) = address::decode(&bytes).ok()? {
                    break address;
                }
            };
            let mut target = TcpStream::connect(address.to_string()).await.ok()?;
            tokio::io::copy_bidirectional(&mut stream, &mut target).await.ok().map(drop)
        }
    })
    .await
}

fn hop_of(scheme: &str, address: &HostPort) -> Value {
    let mut hop = hop(&[address]);
    hop["scheme"] = json!(scheme);
    hop
}

fn with_credentials(mut hop: Value) -> Value {
    hop["credentials"] = json!({"directory": "memory:/secrets/ns/bastion"});
    hop
}

/// Sends back what it gets, and says nothing before.
async fn echo() -> Peer {
    Peer::new(|mut stream| async move {
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.ok().map(drop)
    })
    .await
}

async fn echoed(bench: &Bench, word: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect(bench.listen).await else { return false };
    let mut answer = vec![0; word.len()];
    let asked = async {
        stream.write_all(word).await?;
        stream.read_exact(&mut answer).await
    };
    asked.await.is_ok() && answer == word
}

#[tokio::test]
async fn relay_hops_carry_what_either_side_says_first() {
    let (speaks, silent) = (Peer::target(b'A').await, echo().await);
    for answers in [Answers::AtOnce, Answers::WithData] {
        let (first, second) = (relay(Answers::AtOnce, None, None).await, relay(answers, None, None).await);
        let hops = [hop_of("relay", &first.address), hop_of("relay", &second.address)];
        let bench = Bench::new(&hops, &[&speaks.address]);
        assert_eq!(bench.ask().await, Some('A'), "{answers:?}");
        assert_eq!(bench.states(), "1+ 2+ 0+", "{answers:?}");
        let bench = Bench::new(&hops, &[&silent.address]);
        for word in [b"one", b"two", b"six"] {
            assert!(echoed(&bench, word).await, "{answers:?}");
        }
    }
}

#[tokio::test]
async fn a_target_that_a_relay_hop_refuses_is_marked_and_the_client_gets_the_next() {
    let (gone, target) = (closed(), Peer::target(b'B').await);
    let proxy = relay(Answers::WithData, None, None).await;
    let bench = Bench::new(&[hop_of("relay", &proxy.address)], &[&gone, &target.address]);
    assert_eq!(bench.ask().await, Some('B'));
    assert_eq!(bench.states(), "1+ 0x 0+");
    assert!(bench.error_of(1).contains("the relay hop says: the target can't be reached"), "{}", bench.error_of(1));
}

#[tokio::test]
async fn a_target_that_is_refused_late_is_marked_for_the_next_client() {
    let (first, second) = (HostPort::new("10.0.0.1", 1), HostPort::new("10.0.0.2", 1));
    let proxy = Peer::new(|mut stream| async move {
        let request = Request::read(&mut stream).await.ok()?;
        let is_first = request.address? == HostPort::new("10.0.0.1", 1);
        // Later than anything is waited for.
        stream.read_u8().await.ok()?;
        let answer: &[u8] = if is_first { b"\x01\x05\x00\x00" } else { b"\x01\x00\x00\x00x" };
        stream.write_all(answer).await.ok()
    })
    .await;
    let bench = Bench::new(&[hop_of("relay", &proxy.address)], &[&first, &second]);
    assert!(!echoed(&bench, b"x").await);
    await_that("the first is marked", || bench.states() == "1+ 0x 0-").await;
    assert!(echoed(&bench, b"x").await);
}

#[tokio::test]
async fn a_relay_hop_that_refuses_the_login_is_marked_and_no_target_is() {
    let target = Peer::target(b'A').await;
    let ann = Login { user: "ann".to_owned(), password: Secret::new("secret") };
    let proxy = relay(Answers::AtOnce, None, Some(ann)).await;
    let bench = Bench::new(&[with_credentials(hop_of("relay", &proxy.address))], &[&target.address]);
    bench.engine.set_secrets(login("ann", "wrong!"));
    assert_eq!(bench.ask().await, None);
    assert_eq!(bench.states(), "1x 0-");
    assert!(bench.error_of(0).contains("refuses the user or the password"), "{}", bench.error_of(0));
    bench.engine.set_secrets(login("ann", "secret"));
    assert_eq!(bench.ask().await, Some('A'));
}

#[tokio::test]
async fn a_relay_hop_may_have_a_target_of_its_own() {
    let target = Peer::target(b'T').await;
    let proxy = relay(Answers::WithData, Some(target.address.clone()), None).await;
    let bench = Bench::new(&[hop_of("relay", &proxy.address)], &[]);
    assert_eq!(bench.ask().await, Some('T'));
    let without = relay(Answers::AtOnce, None, None).await;
    let bench = Bench::new(&[hop_of("relay", &without.address)], &[]);
    assert_eq!(bench.ask().await, None);
    assert!(bench.error_of(0).contains("name one in targets"), "{}", bench.error_of(0));
}

#[tokio::test]
async fn shadowsocks_hops_serve_with_every_cipher_and_behind_others() {
    let target = Peer::target(b'A').await;
    for method in ["aes-128-gcm", "AEAD_AES_256_GCM", "chacha20-ietf-poly1305", "chacha20"] {
        let (before, proxy) = (Peer::proxy(Does::Serve).await, ss(method).await);
        let last = with_credentials(hop_of("ss", &proxy.address));
        let bench = Bench::new(&[hop(&[&before.address]), last.clone(), last], &[&target.address]);
        bench.engine.set_secrets(login(method, "secret"));
        let mut stream = TcpStream::connect(bench.listen).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'A', "{method}");
        let sent = vec![7; 100_000];
        let (mut read, mut write) = stream.split();
        let mut received = vec![0; sent.len()];
        let (written, answered) = tokio::join!(write.write_all(&sent), read.read_exact(&mut received));
        assert!(written.is_ok() && answered.is_ok() && received == sent, "{method}");
    }
}

#[tokio::test]
async fn a_cipher_that_nobody_knows_marks_nobody_and_is_said() {
    let (target, proxy) = (Peer::target(b'A').await, ss("chacha20").await);
    let bench = Bench::new(&[with_credentials(hop_of("ss", &proxy.address))], &[&target.address]);
    bench.engine.set_secrets(login("rc4-md5", "secret"));
    await_that("it is said", || {
        let message = bench.engine.report().forwards[0].message.clone().unwrap_or_default();
        message.contains("cipher \"rc4-md5\" is not known")
    })
    .await;
    assert_eq!(bench.ask().await, None);
    assert_eq!(bench.states(), "1- 0-");
}
