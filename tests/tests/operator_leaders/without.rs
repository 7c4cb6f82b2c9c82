//! Nobody operates: what runs goes on, and the next operator knows better without ever having known nothing.

use std::{net::SocketAddr, time::Instant};

use fairlead_api::{NodeState, PortForward};
use fairlead_tests::{
    clients::{ask, dial, is_echoed, letter},
    cluster::{CLUSTER_SOON, ControlPlane},
    deadline::{await_condition, await_some},
    operator::{History, Seen, await_condition_of, install, nodes, writes},
    ports,
    scene::{NEVER, Scene, forward},
    targets::{Behaviour, Target},
};
use serde_json::json;

use super::{await_holder, start};

const RESTARTS: usize = 6;

fn state_of(object: &PortForward, target: &Target) -> Option<NodeState> {
    let address = target.address().to_string();
    nodes(object).iter().find(|node| node.address == address).map(|node| node.state)
}

fn assert_never_unknown(seen: &[Seen]) {
    for seen in seen {
        let status = seen.object.status.iter();
        let conditions = status.flat_map(|status| &status.conditions).any(|condition| condition.status == "Unknown");
        let nodes = nodes(&seen.object).iter().any(|node| node.state == NodeState::Unknown);
        assert!(!conditions && !nodes, "{}", seen.line());
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "the time is what the test is about")]
fn proxies_go_on_without_an_operator_and_the_next_one_finds_the_status_right() {
    let Some(cluster) = ControlPlane::start() else { return };
    install(&cluster);
    let scene = Scene::of(cluster.namespace(), NEVER);
    let first = start(&cluster, "first");
    let (mut a, b) = (Target::start(Behaviour::Greet('A')), Target::start(Behaviour::Greet('B')));
    let port = ports::free();
    scene.apply_ready(&[&forward("db", port, &[&a, &b], json!({"gateway": {"replicas": 2}}))]);
    let pods = await_some("two pods", CLUSTER_SOON, || Some(scene.kubelet().pods()).filter(|pods| pods.len() == 2));
    let pods: Vec<SocketAddr> = pods.iter().map(|(_, ip)| (*ip, port).into()).collect();
    let greeted = |wanted: &str| pods.iter().map(|pod| greeting(*pod)).collect::<String>() == wanted;
    let history = History::of(&scene, "db");
    let await_states = |mark: usize, a: &Target, states: [NodeState; 2]| {
        history.await_seen(mark, &format!("{states:?}"), |object| {
            [a, &b].map(|target| state_of(object, target)) == states.map(Some)
        });
    };
    await_condition("both proxies at A", CLUSTER_SOON, || greeted("AA"));
    await_states(0, &a, [NodeState::Alive, NodeState::Unknown]);
    a.kill();
    await_condition("both proxies at B", CLUSTER_SOON, || greeted("BB"));
    await_states(0, &a, [NodeState::Dead, NodeState::Alive]);
    a.restart();
    await_condition("both proxies at A", CLUSTER_SOON, || greeted("AA"));
    await_states(history.mark() - 1, &a, [NodeState::Alive, NodeState::Alive]);
    scene.await_idle();

    let held = dial(pods[0]).expect("a connection");
    assert_eq!(letter(&held).ok(), Some('A'));
    let mark = history.mark();
    drop(first);
    assert!(is_echoed(&held, "nobody operates") && greeted("AA"));
    a.refuse_new();
    await_condition("both proxies at B again", CLUSTER_SOON, || greeted("BB"));
    assert!(is_echoed(&held, "and it goes on"));
    assert_eq!(history.mark(), mark, "nobody was there to write a status");

    let _second = start(&cluster, "second");
    await_holder(&cluster, "second");
    let elected = Instant::now();
    let right = history.time_from(elected, "A dead, as it is", |object| {
        [&a, &b].map(|target| state_of(object, target)) == [NodeState::Dead, NodeState::Alive].map(Some)
    });
    eprintln!("the status was right {right:?} after the election of the next operator");
    scene.await_idle();
    assert_never_unknown(&history.since(mark));
    assert!(is_echoed(&held, "all the time"));
    assert_eq!(pods.iter().filter_map(|pod| ask(*pod).ok()).collect::<String>(), "BB");
}

#[test]
fn an_operator_that_starts_finds_everything_in_order_and_writes_nothing() {
    let Some(cluster) = ControlPlane::start() else { return };
    install(&cluster);
    let scene = Scene::of(cluster.namespace(), NEVER);
    let target = Target::letter('A');
    let of = |name: &str, more| forward(name, ports::free(), &[&target], more);
    let (edge, port) = (json!({"gateway": {"name": "edge"}}), ports::free());
    let forwards = [
        of("own", json!({})),
        forward("left", port, &[&target], edge.clone()),
        of("right", edge.clone()),
        forward("too-late", port, &[&target], edge),
        of("beside", json!({"sidecar": {"name": "shop"}})),
        of("asleep", json!({"suspend": true})),
    ];
    let mut operator = start(&cluster, "first");
    forwards.iter().for_each(|forward| drop(scene.apply::<PortForward>(forward)));
    ["own", "left", "right"].iter().for_each(|name| drop(scene.await_ready(name)));
    await_condition_of(&scene, "beside", "Ready", ("True", "NoPods"));
    await_condition_of(&scene, "too-late", "Ready", ("False", "PortConflict"));
    for name in ["own", "left", "right", "too-late", "asleep"] {
        scene.await_object(name, "its proxy connected", |object: &PortForward| {
            let proxies = object.status.as_ref().and_then(|status| status.proxies.clone()).unwrap_or_default();
            proxies.connected == 1
        });
    }
    scene.await_idle();
    let mark = writes(&cluster).len();
    for restart in 0..RESTARTS {
        operator.process().terminate();
        operator.process().await_exit(CLUSTER_SOON);
        let name = format!("next{restart}");
        operator = start(&cluster, &name);
        await_holder(&cluster, &name);
        scene.await_idle();
        let all = writes(&cluster);
        assert_eq!(all.len(), mark, "restart {restart} caused writes: {:#?}", &all[mark..]);
    }
}

fn greeting(address: SocketAddr) -> char {
    dial(address).and_then(|stream| letter(&stream)).unwrap_or('-')
}
