//! SSH with keys from Secrets and ConfigMaps, as pods mount them: a server for OpenSSH's client, and a hop through
//! OpenSSH's server.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
};

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::{ask, ask_times},
    cluster::CLUSTER_SOON,
    deadline::await_condition,
    operator::{await_condition_of, nodes},
    ports,
    scene::{AT_ONCE, Scene, forward},
    sshd::{Keys, Sshd, user},
    targets::Target,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};

use crate::what::message;

const ED25519: [&str; 4] = ["-t", "ed25519", "-N", ""];

fn secret(scene: &Scene<'_>, name: &str, data: Value) {
    let meta = json!({"name": name});
    scene.apply::<Secret>(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data}));
}

fn private(keys: &Keys, name: &str) -> String {
    fs::read_to_string(keys.path(name)).expect("a private key")
}

/// The letter that OpenSSH's client brings back from the target through a server, or what it says instead.
fn through(server: SocketAddr, keys: &Keys, key: &str, target: &Target) -> Result<String, String> {
    let known = format!("UserKnownHostsFile={}", keys.text_path("known_hosts"));
    // One that hangs is ended.
    let mut command = Command::new("timeout");
    command.args(["30", "ssh", "-F", "none", "-p", &server.port().to_string(), "-i", &keys.text_path(key)]);
    for option in ["IdentitiesOnly=yes", "BatchMode=yes", "GlobalKnownHostsFile=/dev/null", &known] {
        command.args(["-o", option]);
    }
    command.args(["-W", &target.address().to_string(), &format!("somebody@{}", server.ip())]);
    let mut client =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start ssh");
    // One that was refused reads nothing.
    let _ = client.stdin.take().expect("its input").write_all(b"?");
    let ended = client.wait_with_output().expect("ssh's end");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ended.status.success() { Ok(text(&ended.stdout)) } else { Err(text(&ended.stderr)) }
}

#[test]
fn an_ssh_server_shows_and_takes_the_keys_of_its_secrets_and_follows_them_without_a_restart() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let (keys, target, port) = (Keys::default(), Target::letter('A'), ports::free());
    for name in ["host", "first", "second"] {
        keys.make(name, &ED25519);
    }
    secret(&scene, "hostkey", json!({"ssh-privatekey": private(&keys, "host")}));
    let authorize = |key: &str| secret(&scene, "logins", json!({"authorized_keys": keys.public(key) + "\n"}));
    authorize("first");
    let server = json!({
        "users": {"secretRef": {"name": "logins"}}, "hostKey": {"secretRef": {"name": "hostkey"}},
        "allowTargets": ["127.0.0.0/8"],
    });
    let meta = json!({"name": "bastion"});
    let listen = json!({"address": "localhost", "port": port});
    let spec = json!({"scheme": "forward+ssh", "listen": listen, "server": server});
    let object = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": meta, "spec": spec});
    scene.apply_ready(&[&object]);
    let (pod, address) = scene.await_pod("bastion-forward", port);
    let process = || scene.kubelet().with_pod(&pod, |pod| pod.process().pid());
    let before = process();
    keys.write("known_hosts", &format!("[{}]:{port} {}\n", address.ip(), keys.public("host")));
    assert_eq!(through(address, &keys, "first", &target).as_deref(), Ok("A"));
    let refused = through(address, &keys, "second", &target).expect_err("a stranger");
    assert!(refused.contains("Permission denied"), "{refused}");

    authorize("second");
    await_condition("the other key to be let in", CLUSTER_SOON, || {
        through(address, &keys, "second", &target).is_ok_and(|letter| letter == "A")
    });
    let refused = through(address, &keys, "first", &target).expect_err("a key that was taken back");
    assert!(refused.contains("Permission denied"), "{refused}");
    assert!(before.is_some() && process() == before, "the same process");
}

#[test]
fn a_proxy_over_ssh_between_two_gateways_takes_its_keys_from_where_they_are_mounted() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let (keys, target, port) = (Keys::default(), Target::letter('A'), ports::free());
    for name in ["host", "id"] {
        keys.make(name, &ED25519);
    }
    secret(&scene, "hostkey", json!({"ssh-privatekey": private(&keys, "host")}));
    secret(&scene, "logins", json!({"authorized_keys": keys.public("id") + "\n"}));
    secret(&scene, "login", json!({"username": "ann", "ssh-privatekey": private(&keys, "id")}));
    let server = json!({
        "users": {"secretRef": {"name": "logins"}}, "hostKey": {"secretRef": {"name": "hostkey"}},
        "allowTargets": ["127.0.0.0/8"],
    });
    let listen = json!({"address": "localhost", "port": port});
    let spec = json!({"scheme": "socks5+ssh", "listen": listen, "server": server});
    let meta = json!({"name": "gate"});
    let object = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": meta, "spec": spec});
    scene.apply_ready(&[&object]);
    let address = scene.await_pod("gate-forward", port).1;

    let hop = json!({
        "scheme": "socks5+ssh", "nodes": [{"host": address.ip().to_string(), "port": port}],
        "credentials": {"secretRef": {"name": "login"}}, "ssh": {"hostKeys": [keys.public("host")]},
    });
    let near = ports::free();
    scene.apply_ready(&[&forward("db", near, &[&target], json!({"chain": [hop]}))]);
    let near = scene.await_pod("db-forward", near).1;
    assert_eq!(ask_times(near, 3), "AAA");
    let object = await_condition_of(&scene, "db", "NodesAvailable", ("True", "AllAlive"));
    assert_eq!(nodes(&object).len(), 2, "hop and target");
}

#[test]
fn a_hop_through_sshd_takes_key_and_known_hosts_from_where_they_are_mounted_and_says_what_is_wrong_with_them() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let Some(sshd) = Sshd::start() else { return };
    let target = Target::letter('A');
    for name in ["stranger", "other"] {
        sshd.keys.make(name, &ED25519);
    }
    let login = |name: &str, key: &str| {
        secret(&scene, name, json!({"username": user(), "ssh-privatekey": private(&sshd.keys, key)}));
    };
    login("bastion", "id");
    login("mistaken", "stranger");
    for (name, key) in [("hosts", "host"), ("outdated", "other")] {
        let data = json!({"known_hosts": sshd.known_as(key)});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        scene.create::<ConfigMap>(map).expect("a ConfigMap");
    }
    let edge = |name: &str, secret: &str, hosts: &str| {
        let node = json!({"host": "127.0.0.1", "port": sshd.port});
        let ssh = json!({"knownHosts": {"configMapRef": {"name": hosts}}});
        let credentials = json!({"secretRef": {"name": secret}});
        let hop = json!({"scheme": "forward+ssh", "nodes": [node], "credentials": credentials, "ssh": ssh});
        let (port, more) = (ports::free(), json!({"gateway": {"name": "edge"}, "chain": [hop]}));
        (forward(name, port, &[&target], more), port)
    };
    let [(right, port), (wrong, other), (unknown, third)] =
        [edge("right", "bastion", "hosts"), edge("wrong", "mistaken", "hosts"), edge("unknown", "bastion", "outdated")];
    scene.apply_ready(&[&right, &wrong, &unknown]);
    let at = |port: u16| scene.await_pod("edge-gateway", port).1;
    assert_eq!(ask_times(at(port), 3), "AAA", "{}", sshd.log());
    await_condition_of(&scene, "right", "NodesAvailable", ("True", "AllAlive"));

    let told = format!("login as {:?} refused; the server takes publickey", user());
    for (name, port, why) in [("wrong", other, told.as_str()), ("unknown", third, "host key has changed")] {
        assert!(ask(at(port)).is_err(), "{name}");
        let object: PortForward = await_condition_of(&scene, name, "NodesAvailable", ("False", "AllDead"));
        assert!(message(&object, "NodesAvailable").contains(why), "{}", message(&object, "NodesAvailable"));
        let error = nodes(&object).iter().find_map(|node| node.last_error.clone()).unwrap_or_default();
        assert!(error.contains(why), "{error}");
    }
    login("mistaken", "id");
    await_condition("the mended key to be used", CLUSTER_SOON, || ask(at(other)).ok() == Some('A'));
    await_condition_of(&scene, "wrong", "NodesAvailable", ("True", "AllAlive"));
}
