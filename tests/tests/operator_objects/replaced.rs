//! A Secret that is replaced by another one: pods that don't mount it serve on as before, until one that does is there.

use std::fs;

use fairlead_api::PortForward;
use fairlead_tests::{
    binary::Fairlead,
    cluster::CLUSTER_SOON,
    deadline::await_condition,
    operator::{History, condition},
    ports,
    scene::{AT_ONCE, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    references::secrets_of,
    what::{message, refuses},
};

/// A SOCKS5 server for whom each of two Secrets has a login.
struct Hop {
    port: u16,
    _fairlead: Fairlead,
    _files: TempDir,
}

impl Hop {
    fn start(scene: &Scene<'_>) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let path = files.path().join("logins");
        fs::write(&path, "ann one\nbob two\n").expect("write a file");
        let port = ports::free();
        let url = format!("socks5://127.0.0.1:{port}?secrets={}", path.display());
        let fairlead = Fairlead::run(&["run", "-L", &url]);
        fairlead.await_listening(port);
        for (password, username) in [("one", "ann"), ("two", "bob")] {
            let data = json!({"username": username, "password": password});
            let meta = json!({"name": password});
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data});
            scene.create::<Secret>(secret).expect("a Secret");
        }
        Self { port, _fairlead: fairlead, _files: files }
    }

    fn chain(&self, secret: &str) -> Value {
        let url = format!("socks5://127.0.0.1:{}", self.port);
        json!([{"url": url, "credentials": {"secretRef": {"name": secret}}}])
    }
}

#[test]
fn nobody_is_refused_while_a_secret_is_replaced_by_another() {
    let Some(scene) = Scene::open(AT_ONCE) else { return };
    let (target, hop) = (Target::letter('A'), Hop::start(&scene));
    for (name, deployment, place) in
        [("own", "own-forward", json!({})), ("shared", "edge-gateway", json!({"gateway": {"name": "edge"}}))]
    {
        let port = ports::free();
        let with = |secret: &str| {
            let mut more = place.clone();
            more["chain"] = hop.chain(secret);
            forward(name, port, &[&target], more)
        };
        scene.apply_ready(&[&with("one")]);
        scene.await_letter(scene.await_pod(deployment, port).1, 'A');
        let history = History::of(&scene, name);
        let generation = scene.apply::<PortForward>(&with("two")).metadata.generation;
        let mut refused = 0;
        await_condition("a pod with the other Secret, and no other pod", CLUSTER_SOON, || {
            refused += usize::from(refuses(&scene, name, port));
            let object: PortForward = scene.find(name).expect("the PortForward");
            let programmed = condition(&object, "Programmed").expect("Programmed");
            let is_new = programmed.status == "True" && programmed.observed_generation == generation;
            let made: Deployment = scene.find(deployment).expect("the Deployment");
            let pods = scene.kubelet().pods().iter().filter(|(pod, _)| pod.starts_with(deployment)).count();
            is_new && secrets_of(&made) == ["two"] && pods == 1
        });
        assert_eq!(refused, 0, "{name}");
        let mut waiting = history.seen();
        waiting.retain(|seen| message(&seen.object, "Programmed").contains("doesn't mount Secret \"two\""));
        assert!(!waiting.is_empty() || name == "own", "a shared gateway's pods are replaced later, and it says so");
        for seen in waiting {
            assert!(message(&seen.object, "Programmed").ends_with("; until then it goes on as it was"));
            assert_eq!(seen.says("Ready"), "False", "{}", seen.line());
        }
        scene.await_letter(scene.await_pod(deployment, port).1, 'A');
    }
}
