//! A suspended PortForward runs nowhere and keeps its Service, so that it comes back at the same address.

use std::net::SocketAddr;

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    cluster::CLUSTER_SOON,
    deadline::await_condition,
    operator::{await_condition_of, says},
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::ResourceExt;
use serde_json::{Value, json};

fn suspended(more: &Value) -> Value {
    let mut more = more.clone();
    more["suspend"] = true.into();
    more
}

fn cluster_ip(scene: &Scene<'_>, name: &str) -> (Option<String>, Option<String>) {
    let service: Service = scene.find(name).expect("the Service");
    (service.uid(), service.spec.and_then(|spec| spec.cluster_ip))
}

#[test]
fn a_suspended_forward_runs_nowhere_and_comes_back_where_it_was() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    for (name, deployment, more) in
        [("own", "own-forward", json!({})), ("shared", "edge-gateway", json!({"gateway": {"name": "edge"}}))]
    {
        let (port, other) = (ports::free(), ports::free());
        scene.apply_ready(&[&forward(name, port, &[&a], more.clone())]);
        if name == "shared" {
            scene.apply_ready(&[&forward("beside", other, &[&b], more.clone())]);
        }
        let (pod, address) = scene.await_pod(deployment, port);
        let service = cluster_ip(&scene, name);
        let generation = scene.find::<Deployment>(deployment).expect("the Deployment").metadata.generation;

        scene.apply::<PortForward>(&forward(name, port, &[&a], suspended(&more)));
        let object = await_condition_of(&scene, name, "Ready", ("True", "Suspended"));
        assert_eq!(says(&object, "Programmed"), ("True", "Suspended"));
        await_condition("nobody to listen", CLUSTER_SOON, || ask(address).is_err());
        let config: ConfigMap = scene.find(deployment).expect("the ConfigMap");
        assert!(!config.data.expect("data")["config.yaml"].contains(&format!("name: {name}\n")));
        assert_eq!(cluster_ip(&scene, name), service);
        if name == "shared" {
            assert_eq!(ask(SocketAddr::new(address.ip(), other)).ok(), Some('B'));
        }

        scene.apply_ready(&[&forward(name, port, &[&b], more)]);
        scene.await_letter(address, 'B');
        assert_eq!(scene.await_pod(deployment, port).0, pod, "the same pod");
        assert_eq!(cluster_ip(&scene, name), service);
        assert_eq!(scene.find::<Deployment>(deployment).expect("the Deployment").metadata.generation, generation);
    }
}
