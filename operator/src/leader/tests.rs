//! The election's shell against an API server in memory, in simulated time.
#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use axum::http::{self, Method, StatusCode};
use hyper::rt::Write;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/fairlead/leases";

/// One Lease, the requests for it, and what is wrong with the server.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    /// Method, and the holder that it writes.
    log: Vec<(Method, Option<String>)>,
    trouble: Trouble,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Trouble {
    #[default]
    None,
    Refuses,
    NeverAnswers,
}

type Shared = Arc<Mutex<Server>>;

impl Server {
    fn start() -> (Shared, Client) {
        let shared = Shared::default();
        let server = shared.clone();
        let service = service_fn(move |request| serve(server.clone(), request));
        (shared, Client::new(service, "fairlead"))
    }

    fn answer(&mut self, method: &Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let written = body.as_ref().map(|body| body["spec"]["holderIdentity"].as_str().unwrap().to_owned());
        self.log.push((method.clone(), written));
        let named = format!("{PATH}/operator");
        match (method, self.lease.clone(), body) {
            (&Method::GET, Some(lease), _) if path == named => (StatusCode::OK, lease),
            (&Method::GET, None, _) if path == named => failure(StatusCode::NOT_FOUND),
            (&Method::POST, None, Some(body)) if path == PATH => (StatusCode::CREATED, self.store(body)),
            (&Method::POST, Some(_), _) if path == PATH => failure(StatusCode::CONFLICT),
            (&Method::PUT, Some(lease), Some(body)) if path == named => {
                let is_current = lease["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"];
                if is_current { (StatusCode::OK, self.store(body)) } else { failure(StatusCode::CONFLICT) }
            }
            _ => failure(StatusCode::NOT_FOUND),
        }
    }

    fn store(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }

    fn spec(&self) -> Value {
        self.lease.as_ref().unwrap()["spec"].clone()
    }
}

async fn serve(server: Shared, request: http::Request<Body>) -> Result<http::Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect_bytes().await.unwrap();
    let body = (!body.is_empty()).then(|| serde_json::from_slice(&body).unwrap());
    let trouble = server.lock().unwrap().trouble;
    let (status, answer) = match trouble {
        Trouble::None => server.lock().unwrap().answer(&parts.method, parts.uri.path(), body),
        Trouble::Refuses => failure(StatusCode::INTERNAL_SERVER_ERROR),
        Trouble::NeverAnswers => std::future::pending().await,
    };
    Ok(http::Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap())
}

fn failure(status: StatusCode) -> (StatusCode, Value) {
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        _ => "InternalError",
    };
    let answer = json!({"status": "Failure", "code": status.as_u16(), "message": "no", "reason": reason});
    (status, answer)
}

fn settings(identity: &str) -> LeaseSettings {
    LeaseSettings { namespace: "fairlead".into(), name: "operator".into(), terms: Terms::new(identity) }
}

fn campaign(client: &Client, identity: &str) -> (Leader, CancellationToken) {
    let stop = CancellationToken::new();
    (lead(client.clone(), settings(identity), stop.clone()), stop)
}

/// Waits until it leads or doesn't; fails after a simulated minute. Returns how long it took.
async fn await_leading(leader: &Leader, leads: bool) -> Duration {
    let start = Instant::now();
    let mut watch = leader.watch();
    timeout(Duration::from_secs(60), watch.wait_for(|now| *now == leads)).await.unwrap().unwrap();
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_absent_lease_is_created_as_other_tools_expect_and_renewed_every_two_seconds() {
    let (server, client) = Server::start();
    let (leader, _stop) = campaign(&client, "a");
    await_leading(&leader, true).await;
    let created = server.lock().unwrap().spec();
    assert_eq!(
        (&created["holderIdentity"], &created["leaseDurationSeconds"], &created["leaseTransitions"]),
        (&json!("a"), &json!(10), &json!(0))
    );
    assert_eq!(created["acquireTime"], created["renewTime"]);
    let deadline = leader.write_deadline().unwrap();
    server.lock().unwrap().lease.as_mut().unwrap()["metadata"]["labels"] = json!({"kept": "yes"});
    // Somebody's label gives a new version: the renewal conflicts, and is made again.
    server.lock().unwrap().lease.as_mut().unwrap()["metadata"]["resourceVersion"] = json!("77");
    tokio::time::sleep(Duration::from_millis(6100)).await;
    let log: Vec<_> = server.lock().unwrap().log.iter().map(|(method, _)| method.to_string()).collect();
    assert_eq!(log, ["GET", "POST", "PUT", "GET", "PUT", "PUT", "PUT"]);
    let lease = server.lock().unwrap().lease.clone().unwrap();
    assert_eq!(lease["metadata"]["labels"], json!({"kept": "yes"}));
    assert_eq!(lease["spec"]["acquireTime"], created["acquireTime"]);
    assert_eq!(leader.write_deadline().unwrap() - deadline, Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn the_second_one_follows_within_two_seconds_of_a_release() {
    let (server, client) = Server::start();
    let (first, stop) = campaign(&client, "a");
    await_leading(&first, true).await;
    let (second, _stop) = campaign(&client, "b");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(first.is_leading() && !second.is_leading());
    stop.cancel();
    assert!(await_leading(&second, true).await < Duration::from_secs(2));
    first.released().await;
    assert!(!first.is_leading() && !*first.watch().borrow());
    let released = server.lock().unwrap().log.iter().any(|(_, holder)| holder.as_deref() == Some(""));
    assert!(released, "the lease was given back");
    let spec = server.lock().unwrap().spec();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("b"), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_renewals_fail_stops_leading_in_time_and_leads_again() {
    for trouble in [Trouble::Refuses, Trouble::NeverAnswers] {
        let (server, client) = Server::start();
        let (leader, _stop) = campaign(&client, "a");
        await_leading(&leader, true).await;
        server.lock().unwrap().trouble = trouble;
        let took = await_leading(&leader, false).await.as_millis();
        assert!((5900..6100).contains(&took), "6 s after the last renewal began, not {took} ms");
        assert_eq!((leader.is_leading(), leader.write_deadline()), (false, None));
        server.lock().unwrap().trouble = Trouble::None;
        await_leading(&leader, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_ends_when_the_lease_does_and_none_begins_without_leadership() {
    let (server, client) = Server::start();
    let (leader, _stop) = campaign(&client, "a");
    assert_eq!(leader.write(async { 1 }).await, Err(WriteError::NotLeading));
    await_leading(&leader, true).await;
    assert_eq!(leader.write(async { 1 }).await, Ok(1));
    let long = Duration::from_secs(30);
    assert_eq!(leader.write(tokio::time::sleep(long)).await, Ok(()), "renewals extend it");
    server.lock().unwrap().trouble = Trouble::Refuses;
    let deadline = leader.write_deadline().unwrap();
    assert_eq!(leader.write(tokio::time::sleep(long)).await, Err(WriteError::LeadershipEnded));
    assert!(Instant::now() <= deadline + Duration::from_secs(2) && !leader.is_leading());
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_given_back_after_the_writes_under_way_but_not_for_their_sake_for_ever() {
    for (takes, ended) in [(100, Ok(())), (60_000, Err(WriteError::LeadershipEnded))] {
        let (server, client) = Server::start();
        let (leader, stop) = campaign(&client, "a");
        await_leading(&leader, true).await;
        let holder = || server.lock().unwrap().spec()["holderIdentity"].clone();
        let write = leader.write(tokio::time::sleep(Duration::from_millis(takes)));
        let write = async { (write.await, holder()) };
        stop.cancel();
        let begun = Instant::now();
        assert_eq!(write.await, (ended, json!("a")), "the lease is held until the write ended");
        leader.released().await;
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(holder(), json!(""));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_sends_nothing_after_the_lease_has_run_out() {
    let (server, client) = Server::start();
    let (leader, _stop) = campaign(&client, "a");
    await_leading(&leader, true).await;
    let (near, _far) = tokio::io::duplex(1 << 16);
    let mut connection = gate::Gated { inner: TokioIo::new(near), gate: leader.gate() };
    let mut send = || {
        let mut context = Context::from_waker(Waker::noop());
        let sent = Pin::new(&mut connection).poll_write(&mut context, b"PATCH");
        matches!(sent, Poll::Ready(Ok(5)))
    };
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(send(), "renewals extend it");
    server.lock().unwrap().trouble = Trouble::Refuses;
    await_leading(&leader, false).await;
    assert!(send(), "what was begun in time may go on");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!send());
}
