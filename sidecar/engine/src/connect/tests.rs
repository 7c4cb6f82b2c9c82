//! Clients over real sockets: nodes that answer, refuse and stay silent.
#![allow(clippy::unwrap_used)]

use std::{net::TcpListener, time::Instant};

use fairlead_config::{HostPort, NodeState, Strategy};

use super::*;
use crate::{
    changes::Changes,
    selector::Rules,
    testing::{Silent, await_that, closed, host_port},
};

struct Bench {
    group: Arc<Group>,
    dialer: Dialer,
    counters: ClientCounters,
}

impl Bench {
    fn new(nodes: &[HostPort], hedge_delay: Duration) -> Self {
        let rules =
            Rules { strategy: Strategy::Fifo, max_fails: 1, fail_timeout: Duration::from_secs(600), hedge_delay };
        let group = Arc::new(Group::new("test".to_owned(), rules, nodes, Changes::new()));
        let dialer = Dialer {
            resolver: Arc::new(Resolver::new(tokio::runtime::Handle::current())),
            timeout: LIMIT,
            judges: TaskTracker::new(),
            secrets: Arc::default(),
            path: Path::whole(Arc::new([])),
        };
        Self { group, dialer, counters: ClientCounters::default() }
    }

    fn with_limit(self, timeout: Duration) -> Self {
        Self { dialer: Dialer { timeout, ..self.dialer }, ..self }
    }

    /// The port of the node that served one client.
    async fn client(&self) -> Result<u16, Option<DialError>> {
        self.client_of(&mut Ticket::default()).await
    }

    async fn client_of(&self, ticket: &mut Ticket) -> Result<u16, Option<DialError>> {
        let connected = connect(&self.group, &self.dialer, &self.counters, ticket).await;
        connected.map(|connected| connected.answered().1.address.port)
    }

    fn states(&self) -> Vec<NodeState> {
        self.group.report().into_iter().map(|node| node.state).collect()
    }
}

fn answering() -> (TcpListener, HostPort) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = host_port(listener.local_addr().unwrap());
    (listener, address)
}

/// Of one dial.
const LIMIT: Duration = Duration::from_secs(1);
/// Of one dial that shall go on for as long as anybody looks.
const LONG: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_millis(50);
const OFF: Duration = Duration::ZERO;

#[tokio::test]
async fn a_client_of_a_refusing_node_is_passed_on() {
    let (_listener, up) = answering();
    let bench = Bench::new(&[closed(), up.clone()], OFF);
    assert_eq!(bench.client().await.unwrap(), up.port);
    assert_eq!(bench.states(), [NodeState::Dead, NodeState::Alive]);
    assert_eq!(bench.counters.passed_on.load(Relaxed), 1);
}

#[tokio::test]
async fn a_silent_node_is_hedged_and_still_judged() {
    let (_listener, up) = answering();
    let silent = Silent::new();
    let bench = Bench::new(&[silent.address(), up.clone()], DELAY).with_limit(LONG);
    let begun = Instant::now();
    assert_eq!(bench.client().await.unwrap(), up.port);
    assert!(begun.elapsed() >= DELAY, "the silent node got its time");
    assert_eq!(bench.states(), [NodeState::Unknown, NodeState::Alive], "not judged before its own end");
    await_that("the silent node is dead", || bench.states()[0] == NodeState::Dead).await;
    assert_eq!(bench.client().await.unwrap(), up.port);
    assert_eq!(bench.counters.hedged.load(Relaxed), 1, "a dead node needs no hedge");
}

#[tokio::test]
async fn without_a_hedge_the_client_waits_for_the_dial_to_end() {
    let (_listener, up) = answering();
    let silent = Silent::new();
    let bench = Bench::new(&[silent.address(), up.clone()], OFF);
    let begun = Instant::now();
    assert_eq!(bench.client().await.unwrap(), up.port);
    assert!(begun.elapsed() >= bench.dialer.timeout);
    assert_eq!(bench.counters.hedged.load(Relaxed), 0);
}

#[tokio::test]
async fn no_more_than_the_limit_of_lost_dials_run_on() {
    let (_listener, up) = answering();
    let silent = Silent::new();
    let bench = Bench::new(&[silent.address(), up], DELAY).with_limit(LONG);
    let clients = futures::future::join_all((0..JUDGED_LIMIT + 6).map(|_| bench.client())).await;
    assert!(clients.iter().all(Result::is_ok));
    assert_eq!(bench.dialer.judges.len(), JUDGED_LIMIT as usize);
    await_that("all are judged", || bench.dialer.judges.is_empty()).await;
    assert_eq!(bench.group.nodes()[0].judging.load(Relaxed), 0);
}

#[tokio::test]
async fn a_client_that_nobody_answers_gets_the_last_error() {
    let (a, b) = (closed(), closed());
    let bench = Bench::new(&[a, b.clone()], OFF);
    let error = bench.client().await.unwrap_err().unwrap();
    assert_eq!(error.to_string(), format!("{b}: connection refused"));
    assert_eq!(
        bench.client().await.unwrap_err().unwrap().cause.reason(),
        "refused",
        "dead nodes are dialled rather than nobody"
    );
}

#[tokio::test]
async fn a_group_without_nodes_has_no_error_to_show() {
    assert_eq!(Bench::new(&[], DELAY).client().await, Err(None));
}

#[tokio::test]
async fn a_client_that_starts_over_counts_its_hedges_once() {
    let (_listener, up) = answering();
    let silent = Silent::new();
    let bench = Bench::new(&[silent.address(), up.clone()], DELAY);
    let mut ticket = Ticket::default();
    for _ in 0..2 {
        assert_eq!(bench.client_of(&mut ticket).await.unwrap(), up.port);
        ticket.start_over();
    }
    assert_eq!(bench.counters.hedged.load(Relaxed), 1);
}
