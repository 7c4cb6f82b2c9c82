//! What is told of which change of status, and the requests that tell it.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use axum::http::{Request, Response};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::client::Body;
use serde_json::Value;
use tower::service_fn;

use super::*;

fn with(conditions: &[(&str, &str, &str)], nodes: Vec<Node>) -> PortForwardStatus {
    let condition = |(type_, status, reason): &(&str, &str, &str)| Condition {
        type_: (*type_).to_owned(),
        status: (*status).to_owned(),
        reason: (*reason).to_owned(),
        message: format!("about {reason}"),
        observed_generation: Some(1),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    };
    PortForwardStatus { conditions: conditions.iter().map(condition).collect(), nodes, ..PortForwardStatus::default() }
}

fn node(address: &str, state: NodeState) -> Node {
    Node {
        address: address.to_owned(),
        role: NodeRole::Target,
        hop: None,
        state,
        fails: Some(1),
        last_error: (state == NodeState::Dead).then(|| "connection refused".to_owned()),
        last_transition_time: None,
    }
}

/// Type (N or W) and reason of each.
fn told(before: Option<&PortForwardStatus>, after: &PortForwardStatus) -> Vec<String> {
    let short = |note: EventNote| match note.type_ {
        EventType::Normal => format!("N {}", note.reason),
        EventType::Warning => format!("W {}", note.reason),
    };
    transitions(before, after).into_iter().map(short).collect()
}

#[test]
fn conditions_are_told_when_they_change_for_the_user() {
    type Row = (Option<(&'static str, &'static str)>, (&'static str, &'static str), Option<&'static str>);
    let table: &[(&str, &[Row])] = &[
        (
            "Accepted",
            &[
                (None, ("True", "Accepted"), Some("N Accepted")),
                (Some(("True", "Accepted")), ("True", "Accepted"), None),
                (Some(("True", "Accepted")), ("False", "PortConflict"), Some("W PortConflict")),
                (Some(("False", "PortConflict")), ("False", "InvalidURL"), Some("W InvalidURL")),
                (Some(("False", "PortConflict")), ("True", "Accepted"), Some("N Accepted")),
                (None, ("Unknown", "Pending"), None),
            ],
        ),
        (
            "Programmed",
            &[
                (None, ("False", "Pending"), None),
                (None, ("False", "NoProxies"), None),
                (Some(("False", "Pending")), ("False", "NoProxies"), None),
                (Some(("True", "Programmed")), ("False", "NoProxies"), Some("W NoProxies")),
                (Some(("False", "Pending")), ("True", "Programmed"), Some("N Programmed")),
                (Some(("True", "Programmed")), ("True", "Suspended"), Some("N Suspended")),
                (Some(("False", "Pending")), ("False", "ListenFailed"), Some("W ListenFailed")),
                (Some(("False", "ListenFailed")), ("False", "Pending"), None),
                (Some(("False", "Pending")), ("Unknown", "ProxyUnreachable"), Some("W ProxyUnreachable")),
            ],
        ),
        (
            "NodesAvailable",
            &[
                (None, ("Unknown", "NotObserved"), None),
                (Some(("Unknown", "NotObserved")), ("True", "AllAlive"), None),
                (Some(("True", "AllAlive")), ("True", "SomeDead"), None),
                (Some(("True", "SomeDead")), ("False", "AllDead"), Some("W AllDead")),
                (Some(("False", "AllDead")), ("True", "SomeDead"), Some("N NodesAvailable")),
                (Some(("False", "AllDead")), ("Unknown", "NotObserved"), None),
            ],
        ),
    ];
    for (type_, rows) in table {
        for (before, after, expected) in *rows {
            let before = before.map(|(status, reason)| with(&[(type_, status, reason)], Vec::new()));
            let after = with(&[(type_, after.0, after.1)], Vec::new());
            let expected: Vec<_> = expected.iter().map(|told| (*told).to_owned()).collect();
            assert_eq!(told(before.as_ref(), &after), expected, "{type_}: {before:?} to {after:?}");
        }
    }
}

#[test]
fn a_node_is_told_once_per_death_and_recovery() {
    use NodeState::{Alive, Dead, Degraded, Unknown};
    let table = [
        (Unknown, Alive, None),
        (Unknown, Dead, Some("W NodeDead")),
        (Alive, Dead, Some("W NodeDead")),
        (Alive, Degraded, Some("W NodeDegraded")),
        (Degraded, Dead, Some("W NodeDead")),
        (Dead, Degraded, Some("W NodeDegraded")),
        (Dead, Dead, None),
        (Dead, Unknown, None),
        (Dead, Alive, Some("N NodeAlive")),
        (Degraded, Alive, Some("N NodeAlive")),
    ];
    for (before, after, expected) in table {
        let [before, after] = [before, after].map(|state| with(&[], vec![node("db1:5432", state)]));
        let expected: Vec<_> = expected.iter().map(|told| (*told).to_owned()).collect();
        assert_eq!(told(Some(&before), &after), expected);
    }
}

#[test]
fn a_status_that_another_operator_wrote_is_no_news() {
    let status = with(
        &[
            ("Accepted", "True", "Accepted"),
            ("Programmed", "True", "Programmed"),
            ("NodesAvailable", "False", "AllDead"),
        ],
        vec![node("db1:5432", NodeState::Dead)],
    );
    assert_eq!(transitions(Some(&status), &status), []);
}

#[test]
fn nodes_are_compared_by_name_not_by_place_and_the_second_of_a_name_with_the_second() {
    use NodeState::{Alive, Dead};
    let before = with(&[], vec![node("a:1", Alive), node("b:1", Alive), node("b:1", Alive)]);
    let after = with(&[], vec![node("b:1", Alive), node("b:1", Dead), node("a:1", Alive)]);
    let notes = transitions(Some(&before), &after);
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].note, "target b:1 is dead: connection refused");
    assert_eq!(notes[0].field, "status.nodes{b:1}");
}

#[test]
fn a_hops_node_is_named_with_its_hop_and_a_long_error_is_cut_between_characters() {
    let long = Node {
        role: NodeRole::Hop,
        hop: Some(2),
        last_error: Some("é".repeat(1024)),
        ..node("bastion:22", NodeState::Dead)
    };
    let note = transitions(None, &with(&[], vec![long])).remove(0).note;
    assert!(note.starts_with("node bastion:22 of hop 2 is dead: éé"), "{note}");
    assert!((1023..=1024).contains(&note.len()), "{} bytes", note.len());
}

type Log = Arc<Mutex<Vec<(String, Value)>>>;

/// An API server that takes every Event, or has lost them all.
fn server(status: u16) -> (Log, Client) {
    let log = Log::default();
    let written = log.clone();
    let service = service_fn(move |request: Request<Body>| {
        let log = written.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            log.lock()
                .unwrap()
                .push((format!("{} {}", parts.method, parts.uri.path()), serde_json::from_slice(&body).unwrap()));
            let answer = if status == 200 {
                body.to_vec()
            } else {
                json!({"kind": "Status", "status": "Failure", "code": status, "message": "", "reason": ""})
                    .to_string()
                    .into_bytes()
            };
            Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(Body::from(answer)).unwrap())
        }
    });
    (log, Client::new(service, "shop"))
}

fn object() -> PortForward {
    serde_json::from_value(json!({
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward",
        "metadata": {"name": "db", "namespace": "shop", "uid": "u-1", "resourceVersion": "9"},
        "spec": {"url": "tcp://:5432/db1:5432"},
    }))
    .unwrap()
}

fn dead(address: &str) -> Vec<EventNote> {
    transitions(None, &with(&[], vec![node(address, NodeState::Dead)]))
}

#[tokio::test]
async fn two_nodes_are_two_events_and_a_repeated_one_counts() {
    let (log, client) = server(200);
    let publisher = Publisher::new(client, "pod-1");
    for address in ["db1:5432", "db2:5432", "db1:5432"] {
        assert_eq!(publisher.publish(&object(), &dead(address)).await, 1);
    }
    let log = log.lock().unwrap();
    let path = "/apis/events.k8s.io/v1/namespaces/shop/events";
    let (first, second, third) = (&log[0], &log[1], &log[2]);
    assert_eq!((first.0.clone(), second.0.clone()), (format!("POST {path}"), format!("POST {path}")));
    assert_eq!(third.0, format!("PATCH {path}/{}", first.1["metadata"]["name"].as_str().unwrap()));
    assert_eq!(third.1["series"]["count"], 2);
    let event = &first.1;
    assert_eq!(event["regarding"]["fieldPath"], "status.nodes{db1:5432}");
    assert_eq!((&event["regarding"]["uid"], &event["regarding"]["kind"]), (&json!("u-1"), &json!("PortForward")));
    assert_eq!(
        (&event["type"], &event["reason"], &event["action"]),
        (&json!("Warning"), &json!("NodeDead"), &json!("Dial"))
    );
    assert_eq!(event["reportingController"], "fairlead-operator");
    assert_eq!(event["reportingInstance"], "pod-1");
}

#[tokio::test]
async fn an_event_that_is_gone_is_made_anew() {
    let (log, client) = server(404);
    let publisher = Publisher::new(client, "pod-1");
    for _ in 0..2 {
        publisher.publish(&object(), &dead("db1:5432")).await;
    }
    assert!(log.lock().unwrap().iter().all(|(request, _)| request.starts_with("POST")));
}

#[tokio::test]
async fn an_object_with_much_to_tell_is_cut_short() {
    let (log, client) = server(200);
    let publisher = Publisher::new(client, "pod-1");
    for _ in 0..40 {
        publisher.publish(&object(), &dead("db1:5432")).await;
    }
    assert_eq!(log.lock().unwrap().len(), 25);
}
