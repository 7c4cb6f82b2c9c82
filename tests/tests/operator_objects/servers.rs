//! A proxy server as a PortForward: ready without a node, with a Service, and of use to its clients.

use std::io::{Read, Write};

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::{dial, letter},
    operator::{await_condition_of, says},
    ports,
    scene::{NEVER, Scene},
    targets::Target,
};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

fn server(name: &str, port: u16, server: Value) -> Value {
    json!({
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": name},
        "spec": {"scheme": "socks5", "listen": {"address": "localhost", "port": port}, "server": server},
    })
}

#[test]
fn a_socks5_server_is_ready_and_connects_its_clients() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (port, target) = (ports::free(), Target::letter('A'));
    let ready = scene.apply_ready(&[&server("proxy", port, json!({"allowTargets": ["127.0.0.0/8"]}))]).remove(0);
    assert_eq!(says(&ready, "NodesAvailable"), ("True", "NoNodes"));
    let status = ready.status.unwrap_or_default();
    assert_eq!(json!(status.effective), json!({"scheme": "socks5", "listen": format!("localhost:{port}")}));
    scene.await_object("proxy", "its port", |service: &Service| {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        ports.map(|offered| offered.port).collect::<Vec<_>>() == [i32::from(port)]
    });
    let (_, address) = scene.await_pod("proxy-forward", port);
    let mut client = dial(address).expect("a connection");
    let [high, low] = target.address().port().to_be_bytes();
    let mut answer = [0; 12];
    client.write_all(&[5, 1, 0]).expect("say");
    client.read_exact(&mut answer[..2]).expect("hear");
    client.write_all(&[5, 1, 0, 1, 127, 0, 0, 1, high, low]).expect("say");
    client.read_exact(&mut answer[2..]).expect("hear");
    assert_eq!(answer, [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    client.write_all(b"?").expect("say");
    assert_eq!(letter(&client).ok(), Some('A'));
}

#[test]
fn a_server_whose_users_are_missing_says_so() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let users = json!({"users": {"secretRef": {"name": "no-such-logins"}}});
    scene.apply::<PortForward>(&server("proxy", ports::free(), users));
    let object = await_condition_of(&scene, "proxy", "Ready", ("False", "CredentialsMissing"));
    let said = json!(object.status).to_string();
    assert!(said.contains("Secret \\\"no-such-logins\\\", key \\\"users\\\": is not there"), "{said}");
}

#[test]
fn an_ssh_server_needs_a_host_key_that_every_replica_shows() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let mut object = server("bastion", ports::free(), json!({"anonymous": true}));
    object["spec"]["scheme"] = json!("forward+ssh");
    scene.apply::<PortForward>(&object);
    let object = await_condition_of(&scene, "bastion", "Ready", ("False", "CredentialsMissing"));
    let said = json!(object.status).to_string();
    assert!(said.contains("kubectl create secret generic hostkey"), "{said}");
}
