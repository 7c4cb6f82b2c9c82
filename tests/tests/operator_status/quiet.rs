//! Nothing to do: then nothing is written, however often the operator looks.

use std::time::{Duration, Instant};

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    cluster::{CLUSTER_SOON, ControlPlane, Objects, Request, block_on},
    deadline::{await_condition, until},
    operator::{Operator, USER, await_condition_of, writes},
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use futures::{StreamExt, stream};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{says_now, state_of};

const MINUTE: Duration = Duration::from_secs(60);
/// Looks that find nothing to do.
const TOUCHES: usize = 10_000;
/// Of those, how many are asked for at once: one of each object, or they would wait for each other.
const AT_ONCE: usize = 6;
/// How long the operator has to do something that it should not do.
const A_WHILE: Duration = Duration::from_secs(5);
/// The forwards that run, and how many proxies each has.
const PROXIES: [(&str, u32); 4] = [("own", 2), ("left", 1), ("right", 1), ("url", 1)];

fn lines(writes: &[Request]) -> String {
    writes.iter().map(|write| format!("{} {} {}\n", write.received, write.verb, write.path)).collect()
}

/// One of each kind.
fn forwards(target: &Target) -> Vec<Value> {
    let free = |name, more| forward(name, ports::free(), &[target], more);
    let mut url = free("url", json!({}));
    url["spec"] = json!({"url": format!("tcp://localhost:{}/{}", ports::free(), target.address())});
    vec![
        free("own", json!({"gateway": {"replicas": 2}})),
        free("left", json!({"gateway": {"name": "edge"}})),
        free("right", json!({"gateway": {"name": "edge"}})),
        free("beside", json!({"sidecar": {"name": "shop"}})),
        free("asleep", json!({"suspend": true})),
        url,
    ]
}

/// Changes what the operator doesn't read, so that it looks again.
fn touch(objects: &Objects, forwards: &[Value]) {
    let api: Api<PortForward> = objects.api();
    let one = |touch: usize| {
        let name = forwards[touch % forwards.len()]["metadata"]["name"].as_str().expect("a name").to_owned();
        let change = Patch::Merge(json!({"metadata": {"annotations": {"touched": touch.to_string()}}}));
        let api = &api;
        async move { api.patch(&name, &PatchParams::default(), &change).await.expect("a change") }
    };
    block_on(stream::iter(0..TOUCHES).map(one).buffer_unordered(AT_ONCE).for_each(|_| std::future::ready(())));
}

/// Waits until every status says all there is to say, and nothing is left to write.
fn await_settled(scene: &Scene<'_>) {
    for (name, count) in PROXIES {
        scene.await_object(name, &format!("{count} proxies that run it"), |object: &PortForward| {
            let proxies = object.status.as_ref().and_then(|status| status.proxies.clone()).unwrap_or_default();
            says_now(object, "Ready", "True") && [proxies.desired, proxies.connected, proxies.programmed] == [count; 3]
        });
    }
    scene.await_idle();
}

#[test]
#[allow(clippy::print_stderr, reason = "how fast the looks came is part of what they show")]
fn an_idle_cluster_causes_no_writes_nor_do_looks_that_find_nothing_new() {
    let Some(cluster) = ControlPlane::start() else { return };
    let mut operator = Operator::start(&cluster);
    let scene = Scene::of(cluster.namespace(), NEVER);
    let target = Target::letter('A');
    let forwards = forwards(&target);
    scene.apply_ready(&[&forwards[0], &forwards[1], &forwards[2], &forwards[5]]);
    forwards.iter().for_each(|forward| drop(scene.apply::<PortForward>(forward)));
    await_condition_of(&scene, "beside", "Ready", ("True", "NoPods"));
    await_condition_of(&scene, "asleep", "Ready", ("True", "Suspended"));
    let port = forwards[1]["spec"]["listen"]["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
    let (_, address) = scene.await_pod("edge-gateway", port);
    assert_eq!(ask(address).ok(), Some('A'));
    await_condition("the target alive", CLUSTER_SOON, || {
        scene.find("left").is_some_and(|object| state_of(&object, &target.address().to_string()) == "Alive")
    });
    await_settled(&scene);
    let mark = writes(&cluster).len();
    let assert_none = |of: &str| {
        let all = writes(&cluster);
        assert_eq!(all.len(), mark, "{of} caused writes:\n{}", lines(&all[mark..]));
    };
    until(Instant::now() + MINUTE, || {});
    assert_none("an idle minute");

    let began = Instant::now();
    touch(&scene, &forwards);
    eprintln!("{TOUCHES} changes of nobody's business took {:.1?}", began.elapsed());
    until(Instant::now() + A_WHILE, || {});
    assert_none("an annotation of nobody's business");

    let renewals = || cluster.requests_of(USER).iter().filter(|r| r.resource == "leases" && r.is_write()).count();
    cluster.restart_api_server();
    let before = renewals();
    await_condition("the lease to be renewed again", CLUSTER_SOON, || renewals() > before + 1);
    // Every watch begins anew, after a pause of its own.
    until(Instant::now() + 4 * A_WHILE, || {});
    assert_none("an API server that came back");
    assert!(operator.process().is_running());
}
