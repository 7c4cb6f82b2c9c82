//! A PortForward that moves from one proxy to another is served there and leaves nothing where it was.

use std::net::SocketAddr;

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    cluster::{CLUSTER_SOON, Kubelet, PROXY_ARGUMENTS, proxy_pod},
    deadline::{SOON, await_condition, await_some},
    operator::condition,
    ports,
    scene::{AT_ONCE, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use serde_json::{Value, json};

use crate::what::{await_made, behind, refuses};

const OWN: [&str; 3] = ["ConfigMap db-forward", "Deployment db-forward", "Service db"];
const SHARED: [&str; 3] = ["ConfigMap edge-gateway", "Deployment edge-gateway", "Service db"];
const SIDECAR: [&str; 1] = ["ConfigMap shop-sidecar"];

fn application(scene: &Scene<'_>) {
    let labels = json!({"fairlead.dev/sidecar": "shop"});
    scene.create::<Pod>(proxy_pod("shop", &labels, "shop-sidecar", &PROXY_ARGUMENTS)).expect("a Pod");
}

fn address_of(kubelet: &Kubelet, pod: &str, port: u16) -> SocketAddr {
    let pods = kubelet.pods();
    let (_, ip) = pods.into_iter().find(|(name, _)| name == pod).expect("the pod");
    (ip, port).into()
}

#[test]
fn a_forward_that_moves_is_served_where_it_is_and_leaves_nothing_where_it_was() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let target = Target::letter('A');
    let port = ports::free();
    let mv = |more: Value, made: &[&str]| {
        scene.apply_ready(&[&forward("db", port, &[&target], more)]);
        await_made(&scene, made);
    };
    let (own, shared, sidecar) =
        (json!({}), json!({"gateway": {"name": "edge"}}), json!({"sidecar": {"name": "shop"}}));
    mv(own.clone(), &OWN);
    scene.await_letter(scene.await_pod("db-forward", port).1, 'A');
    mv(shared.clone(), &SHARED);
    scene.await_letter(scene.await_pod("edge-gateway", port).1, 'A');
    let service: Service = scene.find("db").expect("the Service");
    let selector = service.spec.and_then(|spec| spec.selector).expect("a selector");
    assert_eq!(selector.get("fairlead.dev/proxy").map(String::as_str), Some("edge-gateway"));

    application(&scene);
    await_some("the application", SOON, || scene.kubelet().pods().into_iter().find(|(name, _)| name == "shop"));
    mv(sidecar, &SIDECAR);
    scene.await_letter(address_of(scene.kubelet(), "shop", port), 'A');
    mv(own, &OWN);
    scene.await_letter(scene.await_pod("db-forward", port).1, 'A');
    let left = address_of(scene.kubelet(), "shop", port);
    await_condition("nobody to listen in the application's pod", CLUSTER_SOON, || ask(left).is_err());
    mv(shared, &SHARED);
    scene.await_letter(scene.await_pod("edge-gateway", port).1, 'A');
}

#[test]
fn a_gateway_that_loses_a_member_goes_on_and_one_that_loses_the_last_goes() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let (port, other) = (ports::free(), ports::free());
    let at = |gateway: &str| json!({"gateway": {"name": gateway}});
    scene.apply_ready(&[&forward("a", port, &[&a], at("edge")), &forward("b", other, &[&b], at("edge"))]);
    let (pod, address) = scene.await_pod("edge-gateway", port);
    scene.apply_ready(&[&forward("a", port, &[&a], at("side"))]);
    scene.await_letter(scene.await_pod("side-gateway", port).1, 'A');
    scene.await_object("edge-gateway", "one owner", |object: &Deployment| {
        let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
        owners.iter().map(|owner| owner.name.as_str()).eq(["b"])
    });
    scene.await_letter((address.ip(), other).into(), 'B');
    assert_eq!(scene.await_pod("edge-gateway", port).0, pod, "the same pod");

    // A member that is refused keeps no gateway that serves nobody.
    let mut refused = forward("c", 1, &[&a], at("edge"));
    refused["spec"] = json!({"url": "tcp://localhost:1/127.0.0.1:1?strategy=best", "gateway": {"name": "edge"}});
    scene.apply::<PortForward>(&refused);
    scene.await_refused("c", "InvalidURL");
    scene.apply_ready(&[&forward("b", other, &[&b], at("side"))]);
    let left = ["ConfigMap side-gateway", "Deployment side-gateway", "Service a", "Service b"];
    await_made(&scene, &left);
}

/// Follows the Service as clients do, until it leads to a proxy and `done`; answers how often it was asked in vain.
fn refused_until(scene: &Scene<'_>, port: u16, proxy: &str, done: impl Fn() -> bool) -> usize {
    let mut refused = 0;
    await_condition(format!("the Service to lead to {proxy}"), CLUSTER_SOON, || {
        let (leads_to, _) = behind(scene, "db").expect("the Service");
        if leads_to == proxy {
            let object: PortForward = scene.find("db").expect("the PortForward");
            let present = condition(&object, "Programmed").expect("Programmed");
            let said = (present.status.as_str(), present.observed_generation);
            assert_eq!(said, ("True", object.metadata.generation), "turned before the new proxy ran it");
        }
        refused += usize::from(refuses(scene, "db", port));
        leads_to == proxy && done()
    });
    refused
}

#[test]
fn clients_of_the_service_are_served_at_every_moment_of_a_move() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    let db = |more: Value| forward("db", port, &[&target], more);
    let edge = json!({"gateway": {"name": "edge"}});
    // The older one of two has the port.
    scene.apply_ready(&[&forward("alpha", port, &[&target], json!({"gateway": {"name": "side"}}))]);
    scene.apply_ready(&[&db(json!({}))]);
    await_condition("a pod behind the Service", CLUSTER_SOON, || {
        behind(&scene, "db").is_some_and(|(_, pods)| pods.len() == 1)
    });
    let left = || scene.find::<Deployment>("db-forward").is_none();
    scene.apply::<PortForward>(&db(edge));
    assert_eq!(refused_until(&scene, port, "edge-gateway", left), 0);

    // Refused where it wants to be, it stays where it was.
    scene.apply::<PortForward>(&db(json!({"gateway": {"name": "side"}})));
    let refused = scene.await_refused("db", "PortConflict");
    let message = &condition(&refused, "Accepted").expect("Accepted").message;
    assert!(message.contains("goes on as it was accepted last"), "{message}");
    scene.await_idle();
    let (leads_to, pods) = behind(&scene, "db").expect("the Service");
    assert_eq!((leads_to.as_str(), ask((pods[0], port)).ok()), ("edge-gateway", Some('A')));
    scene.delete::<PortForward>("alpha");
    let left = || scene.find::<Deployment>("edge-gateway").is_none();
    assert_eq!(refused_until(&scene, port, "side-gateway", left), 0);
}
