//! A pod that comes before its PortForward.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::{ask, dial},
    cluster::CLUSTER_SOON,
    deadline::await_some,
    ports,
    targets::Target,
};
use k8s_openapi::api::core::v1::Pod;

use crate::application::{application, await_pod, in_shop, restricted};

const METRICS_PORT: u16 = 19444;

/// What the readiness probe is answered.
fn readiness(address: SocketAddr) -> io::Result<String> {
    let mut stream = dial(address)?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map(|_| answer)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[test]
fn a_pod_that_comes_first_waits_and_says_for_what() {
    let Some(scene) = restricted() else { return };
    let (target, port) = (Target::letter('A'), ports::free());
    scene.create::<Pod>(application("shop")).expect("a Pod");
    let probed = await_pod(&scene, "shop", METRICS_PORT);
    let answer = await_some("an answer to the probe", CLUSTER_SOON, || readiness(probed).ok());
    assert!(answer.starts_with("HTTP/1.0 503"), "{answer}");
    assert!(answer.contains("no configuration yet: waiting for"), "{answer}");
    assert!(!is_ready(&scene.find("shop").expect("the Pod")));

    scene.apply::<PortForward>(&in_shop("db", port, &target));
    scene.await_ready("db");
    scene.await_object("shop", "readiness", is_ready);
    assert_eq!(ask(await_pod(&scene, "shop", port)).ok(), Some('A'));
}
