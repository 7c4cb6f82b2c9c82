//! A UDP forward through a proxy outside the cluster: its clients are answered, and its nodes are told as hop and target.

use fairlead_api::{NodeRole, PortForward};
use fairlead_tests::{
    datagrams::{Target, client_of, letter},
    far,
    operator::{nodes, says},
    ports,
    scene::{NEVER, Scene},
};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::{says_now, state_of};

#[test]
fn datagrams_go_through_a_chain_whose_nodes_are_told_by_their_roles() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (target, socks5, port) = (Target::start('U'), ports::free(), ports::free());
    let server = far::server(socks5);
    let (hop, node) = (format!("127.0.0.1:{socks5}"), target.address.to_string());
    let dns = json!({
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": "dns"},
        "spec": {
            "scheme": "udp", "listen": {"address": "localhost", "port": port}, "failTimeout": "1s",
            "targets": [{"host": target.address.ip().to_string(), "port": target.address.port()}],
            "chain": [{"url": format!("socks5://{hop}?fail_timeout=1s")}],
        },
    });
    scene.apply_ready(&[&dns]);
    scene.await_object("dns", "its port", |service: &Service| {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        ports.map(|offered| (offered.port, offered.protocol.as_deref())).eq([(i32::from(port), Some("UDP"))])
    });
    let (_, address) = scene.await_pod("dns-forward", port);
    let client = client_of(address);
    assert_eq!(letter(&client), 'U');
    let are = |hops: &str, targets: &str| {
        let (hop, node) = (hop.clone(), node.clone());
        let wanted = [hops, targets].map(str::to_owned);
        move |object: &PortForward| [state_of(object, &hop), state_of(object, &node)] == wanted
    };
    let object: PortForward = scene.await_object("dns", "both alive", are("Alive", "Alive"));
    let roles: Vec<_> = nodes(&object).iter().map(|node| (node.role, node.hop)).collect();
    assert!(roles.contains(&(NodeRole::Hop, Some(1))) && roles.contains(&(NodeRole::Target, None)), "{roles:?}");

    drop(server);
    let is_known = |object: &PortForward| {
        let _ = client.send(b"?");
        state_of(object, &hop) == "Dead" && says_now(object, "NodesAvailable", "False")
    };
    let object: PortForward = scene.await_object("dns", "the hop, dead", is_known);
    assert_eq!((state_of(&object, &node).as_str(), says(&object, "Ready").0), ("Alive", "True"));
    let _server = far::server(socks5);
    assert_eq!(letter(&client), 'U', "the same client, by the hop that is back");
    let _: PortForward = scene.await_object("dns", "both alive again", are("Alive", "Alive"));
}
