//! Chains through proxies that serve, and through ones that misbehave: who is served, and who is marked.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use fairlead_config::{Config, Forward, ForwardState, NodeRole, NodeState};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{
    engine::{Engine, EngineOptions},
    plan::Plan,
    resolve::Resolver,
    secrets::SecretFiles,
    testing::{Silent, await_that, closed, closed_address, host_port},
};

mod credentials;
mod relay_and_ss;
mod transcript;

/// What a SOCKS5 proxy does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Serve,
    /// Serves whoever says `ann` and `secret`.
    ServeAnn,
    Refuse,
    HangAtOnce,
    HangAtRequest,
    CloseAtOnce,
    CloseAtRequest,
    Garbage,
}

struct Peer {
    address: HostPort,
    task: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    async fn new<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = host_port(listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Self { address, task }
    }

    /// Says its letter unasked, then sends back what it gets.
    async fn target(letter: u8) -> Self {
        Self::new(move |mut stream| async move {
            stream.write_all(&[letter]).await.ok()?;
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.ok().map(drop)
        })
        .await
    }

    async fn proxy(does: Does) -> Self {
        Self::new(move |stream| proxied(stream, does)).await
    }
}

async fn proxied(mut stream: TcpStream, does: Does) -> Option<()> {
    match does {
        Does::CloseAtOnce => return None,
        Does::HangAtOnce => std::future::pending().await,
        Does::Garbage => return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok(),
        Does::Serve | Does::ServeAnn | Does::Refuse | Does::HangAtRequest | Does::CloseAtRequest => {}
    }
    let count = { stream.read_u16().await.ok()? & 0xff };
    stream.read_exact(&mut vec![0; usize::from(count)]).await.ok()?;
    if does == Does::ServeAnn {
        stream.write_all(&[5, 2]).await.ok()?;
        let mut login = vec![0; 12];
        stream.read_exact(&mut login).await.ok()?;
        let right = login == b"\x01\x03ann\x06secret";
        stream.write_all(&[1, u8::from(!right)]).await.ok()?;
        right.then_some(())?;
    } else {
        stream.write_all(&[5, 0]).await.ok()?;
    }
    let mut request = [0; 10];
    stream.read_exact(&mut request).await.ok()?;
    match does {
        Does::HangAtRequest => std::future::pending().await,
        Does::CloseAtRequest => return None,
        Does::Refuse => return stream.write_all(b"\x05\x05\x00\x01\0\0\0\0\0\0").await.ok(),
        Does::Serve | Does::ServeAnn | Does::CloseAtOnce | Does::HangAtOnce | Does::Garbage => {}
    }
    let [.., a, b, c, d, high, low] = request;
    let Ok(mut target) = TcpStream::connect(SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))).await
    else {
        return stream.write_all(b"\x05\x05\x00\x01\0\0\0\0\0\0").await.ok();
    };
    stream.write_all(b"\x05\x00\x00\x01\0\0\0\0\0\0").await.ok()?;
    tokio::io::copy_bidirectional(&mut stream, &mut target).await.ok().map(drop)
}

fn hop(nodes: &[&HostPort]) -> Value {
    hop_within("20s", nodes)
}

/// Its nodes are given up after so long.
fn hop_within(limit: &str, nodes: &[&HostPort]) -> Value {
    json!({"scheme": "socks5", "nodes": nodes, "strategy": "fifo", "dialTimeout": limit, "failTimeout": "10m"})
}

/// A running forward through a chain.
struct Bench {
    engine: Engine,
    listen: SocketAddr,
    /// How long targets are waited for, and how long nodes before the next one is tried beside them.
    times: Value,
}

impl Bench {
    /// One that waits long and for one node at a time, so that a slow machine is no other case.
    fn new(hops: &[Value], targets: &[&HostPort]) -> Self {
        Self::with(json!({"dialTimeout": "20s", "hedgeDelay": "0s"}), hops, targets)
    }

    fn with(times: Value, hops: &[Value], targets: &[&HostPort]) -> Self {
        let two = NonZeroUsize::new(2).unwrap();
        let engine = Engine::start(&EngineOptions { workers: two, drain_timeout: Duration::ZERO }).unwrap();
        let bench = Self { engine, listen: closed_address(), times };
        bench.apply(hops, targets);
        bench
    }

    fn apply(&self, hops: &[Value], targets: &[&HostPort]) {
        let mut forward = json!({
            "key": {"namespace": "ns", "name": "f"}, "digest": json!(hops).to_string(), "scheme": "tcp", "targets": targets,
            "listen": host_port(self.listen), "chain": hops, "strategy": "fifo", "failTimeout": "10m",
        });
        forward.as_object_mut().unwrap().extend(self.times.as_object().unwrap().clone());
        let forward: Forward = serde_json::from_value(forward).unwrap();
        self.engine.apply(Plan::new(Config::new(1, vec![forward]).into()));
        assert_eq!(self.engine.report().forwards.len(), 1, "{:?}", self.engine.report());
    }

    /// The letter of the target that a client reaches.
    async fn ask(&self) -> Option<char> {
        let mut stream = TcpStream::connect(self.listen).await.ok()?;
        stream.read_u8().await.ok().map(char::from)
    }

    /// Hops' nodes by number, targets as 0; `-` unknown, `+` alive, `x` dead.
    fn states(&self) -> String {
        let sign = |state| match state {
            NodeState::Alive => '+',
            NodeState::Dead => 'x',
            NodeState::Unknown => '-',
        };
        let nodes = self.engine.report().forwards.remove(0).nodes;
        let text = nodes.iter().map(|node| {
            assert_eq!(node.role == NodeRole::Hop, node.hop.is_some());
            format!("{}{}", node.hop.unwrap_or_default(), sign(node.state))
        });
        text.collect::<Vec<_>>().join(" ")
    }

    fn error_of(&self, index: usize) -> String {
        self.engine.report().forwards[0].nodes[index].last_error.clone().unwrap_or_default()
    }
}

#[tokio::test]
async fn a_client_is_served_through_one_two_and_three_hops() {
    let target = Peer::target(b'A').await;
    let proxies = [Peer::proxy(Does::Serve).await, Peer::proxy(Does::Serve).await, Peer::proxy(Does::Serve).await];
    for (count, states) in [(1, "1+ 0+"), (2, "1+ 2+ 0+"), (3, "1+ 2+ 3+ 0+")] {
        let hops: Vec<_> = proxies[..count].iter().map(|proxy| hop(&[&proxy.address])).collect();
        let bench = Bench::new(&hops, &[&target.address]);
        let mut stream = TcpStream::connect(bench.listen).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'A', "what the target says first comes through");
        stream.write_all(b"ping").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"ping", "and a half-close goes through {count} hops");
        assert_eq!(bench.states(), states);
    }
}

#[tokio::test]
async fn who_fails_is_marked_and_nobody_else() {
    let target = Peer::target(b'A').await;
    for (does, states, error) in [
        (Does::Refuse, "1+ 0x", "connection refused"),
        (Does::HangAtOnce, "1x 0-", "no answer within 300ms"),
        (Does::HangAtRequest, "1+ 0x", "no answer within 300ms"),
        (Does::CloseAtOnce, "1x 0-", "socks5: "),
        (Does::CloseAtRequest, "1x 0-", "closed the connection"),
        (Does::Garbage, "1x 0-", "something else"),
        (Does::ServeAnn, "1x 0-", "none is configured"),
    ] {
        let proxy = Peer::proxy(does).await;
        let (hop_limit, target_limit) = match does {
            Does::HangAtOnce => ("300ms", "20s"),
            Does::HangAtRequest => ("20s", "300ms"),
            Does::Serve | Does::ServeAnn | Does::Refuse | Does::CloseAtOnce | Does::CloseAtRequest | Does::Garbage => {
                ("20s", "20s")
            }
        };
        let hop = hop_within(hop_limit, &[&proxy.address]);
        let bench = Bench::with(json!({"dialTimeout": target_limit}), &[hop], &[&target.address]);
        assert_eq!(bench.ask().await, None, "{does:?}");
        assert_eq!(bench.states(), states, "{does:?}");
        let dead = usize::from(states.starts_with("1+"));
        assert!(bench.error_of(dead).contains(error), "{does:?}: {}", bench.error_of(dead));
    }
}

/// Tries the next node of its hop soon, and gives a silent one up later.
fn hedging(nodes: &[&HostPort], target: &Peer) -> Bench {
    Bench::with(json!({"dialTimeout": "20s"}), &[hop_within("3s", nodes)], &[&target.address])
}

#[tokio::test]
async fn a_hops_dead_node_is_left_out_and_no_client_notices() {
    let target = Peer::target(b'A').await;
    for does in [Does::CloseAtOnce, Does::CloseAtRequest, Does::Garbage, Does::HangAtOnce] {
        let (bad, good) = (Peer::proxy(does).await, Peer::proxy(Does::Serve).await);
        let bench = hedging(&[&bad.address, &good.address], &target);
        assert_eq!(bench.ask().await, Some('A'), "{does:?}");
        await_that("it is judged", || bench.states() == "1x 1+ 0+").await;
    }
    let (refusing, silent, good) = (closed(), Silent::new(), Peer::proxy(Does::Serve).await);
    let bench = hedging(&[&refusing, &silent.address(), &good.address], &target);
    assert_eq!(bench.ask().await, Some('A'));
    await_that("the silent one is judged too", || bench.states() == "1x 1x 1+ 0+").await;
}

#[tokio::test]
async fn a_later_hop_that_is_gone_is_marked_and_not_the_one_before_it() {
    let (target, first, gone, second) =
        (Peer::target(b'A').await, Peer::proxy(Does::Serve).await, closed(), Peer::proxy(Does::Serve).await);
    let bench = Bench::new(&[hop(&[&first.address]), hop(&[&gone, &second.address])], &[&target.address]);
    assert_eq!(bench.ask().await, Some('A'));
    assert_eq!(bench.states(), "1+ 2x 2+ 0+");
    assert!(bench.error_of(1).contains("the socks5 hop says: connection refused"), "{}", bench.error_of(1));
}

#[tokio::test]
async fn a_dead_first_hop_says_nothing_of_what_is_behind_it() {
    let (target, other) = (Peer::target(b'A').await, Peer::target(b'B').await);
    let second = Peer::proxy(Does::Serve).await;
    let bench = Bench::new(&[hop(&[&closed()]), hop(&[&second.address])], &[&target.address, &other.address]);
    assert_eq!(bench.ask().await, None);
    assert_eq!(bench.states(), "1x 2- 0- 0-");
}

#[tokio::test]
async fn a_client_whose_first_target_is_refused_by_the_hop_gets_the_next() {
    let (gone, target) = (closed(), Peer::target(b'B').await);
    let proxy = Peer::proxy(Does::Serve).await;
    let bench = Bench::new(&[hop(&[&proxy.address])], &[&gone, &target.address]);
    assert_eq!(bench.ask().await, Some('B'));
    assert_eq!(bench.states(), "1+ 0x 0+");
}

/// What dials through one hop.
fn dialer(hop: &Value, files: SecretFiles) -> Dialer {
    let forward: Forward = serde_json::from_value(json!({
        "key": {"namespace": "ns", "name": "f"}, "digest": "d", "scheme": "tcp", "targets": [closed()],
        "listen": {"port": 1}, "chain": [hop],
    }))
    .unwrap();
    let plan = Plan::new(Config::new(1, vec![forward]).into()).forwards.into_values().next().unwrap().plan;
    let secrets = Arc::<crate::secrets::Secrets>::default();
    secrets.replace(files);
    Dialer {
        resolver: Arc::new(Resolver::new(tokio::runtime::Handle::current())),
        timeout: Duration::from_secs(20),
        judges: tokio_util::task::TaskTracker::new(),
        secrets,
        path: Path::whole(hops(&plan.chain, &[], "f", &Changes::new(), &Pool::new([]))),
    }
}

#[tokio::test]
async fn an_error_names_the_hop_its_node_and_its_protocol() {
    let (target, proxy) = (Peer::target(b'A').await, Peer::proxy(Does::Garbage).await);
    let dialer = dialer(&hop(&[&proxy.address]), SecretFiles::default());
    let error = reach(dialer, Arc::new(target.address.clone())).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("hop 1 {}: socks5: the hop speaks something else", proxy.address)), "{error}");
}

fn with_login(address: &HostPort) -> Value {
    let mut hop = hop(&[address]);
    hop["credentials"] = json!({"directory": "memory:/secrets/ns/bastion"});
    hop
}

fn login(user: &str, password: &str) -> SecretFiles {
    let file = |key: &str, value: &str| (format!("memory:/secrets/ns/bastion/{key}"), value.as_bytes().to_vec());
    [file("username", user), file("password", password)].into_iter().collect()
}

#[tokio::test]
async fn hops_keep_what_is_known_of_their_nodes_unless_what_is_said_to_them_changes() {
    let (target, proxy, gone) = (Peer::target(b'A').await, Peer::proxy(Does::Serve).await, closed());
    let bench = Bench::new(&[hop(&[&gone, &proxy.address])], &[&target.address]);
    assert_eq!(bench.ask().await, Some('A'));
    bench.apply(&[hop(&[&proxy.address, &gone])], &[&target.address]);
    assert_eq!(bench.states(), "1+ 1x 0+");
    let mut other = hop(&[&proxy.address, &gone]);
    other["socks5"] = json!({"noTLS": true});
    bench.apply(&[other], &[&target.address]);
    assert_eq!(bench.states(), "1- 1- 0+");
}

#[tokio::test]
async fn a_forward_hop_is_the_connection_itself() {
    let target = Peer::target(b'F').await;
    let mut hop = hop(&[&target.address]);
    hop["scheme"] = json!("forward");
    let bench = Bench::new(&[hop], &[]);
    assert_eq!(bench.ask().await, Some('F'));
    assert_eq!(bench.states(), "1+");
}
