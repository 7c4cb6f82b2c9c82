//! Ports at a far end: who holds them, who stands by, and that nobody here listens.

use fairlead_api::{AddressType, PortForward, PortForwardStatus};
use fairlead_tests::{
    binary::Fairlead,
    operator::says,
    ports,
    scene::{NEVER, Scene},
    targets::Target,
};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

/// A SOCKS5 server of ours, outside the cluster.
fn far_end() -> (Fairlead, u16) {
    let port = ports::free();
    let listen = format!("socks5://127.0.0.1:{port}?anonymous=true");
    let server = Fairlead::run(&["run", "-L", &listen]);
    server.await_listening(port);
    (server, port)
}

fn status(object: &PortForward) -> PortForwardStatus {
    object.status.clone().unwrap_or_default()
}

/// Whether one of two proxies holds the port and the other stands by.
fn is_held_once(object: &PortForward) -> bool {
    let status = status(object);
    let proxies = status.proxies.unwrap_or_default();
    (proxies.programmed, proxies.standby, status.addresses.len()) == (1, 1, 1)
}

#[test]
fn one_replica_holds_a_far_port_and_the_other_takes_over() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (target, (_server, socks5), port) = (Target::letter('A'), far_end(), ports::free());
    let far = json!({
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": "far"},
        "spec": {
            "url": format!("rtcp://127.0.0.1:{port}/{}", target.address()),
            "chain": [{"url": format!("socks5://127.0.0.1:{socks5}?mbind=true")}],
            "gateway": {"replicas": 2},
        },
    });
    scene.apply_ready(&[&far]);
    let object: PortForward = scene.await_object("far", "one holder and one standby", is_held_once);
    let [address] = &status(&object).addresses[..] else { panic!("{object:?}") };
    assert_eq!((address.type_, address.host.as_str(), address.port), (AddressType::Remote, "127.0.0.1", port));
    scene.await_letter(([127, 0, 0, 1], port).into(), 'A');
    assert!(scene.find::<Service>("far").is_none(), "nobody here listens");

    let holder = address.pod.clone().expect("the pod that holds it");
    scene.delete::<k8s_openapi::api::core::v1::Pod>(&holder);
    // Until then it may have been nobody's.
    let taken_over = |object: &PortForward| {
        status(object).addresses.iter().any(|address| address.pod.as_ref().is_some_and(|pod| *pod != holder))
            && says(object, "Ready").0 == "True"
    };
    scene.await_object("far", "another holder", taken_over);
    scene.await_letter(([127, 0, 0, 1], port).into(), 'A');
}
