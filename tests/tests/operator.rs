//! A PortForward on a real API server, from `kubectl apply` to clients that are served, and a status that is true.

use std::net::SocketAddr;

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    cluster::{CLUSTER_SOON, ControlPlane, Kubelet, Mounting},
    deadline::await_condition,
    operator::{Operator, await_condition_of, forbidden, node_states, says},
    ports,
    targets::Target,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use serde_json::{Value, json};

fn forward(name: &str, port: u16, targets: &[&Target]) -> Value {
    let targets: Vec<Value> = targets
        .iter()
        .map(|target| json!({"host": target.address().ip().to_string(), "port": target.address().port()}))
        .collect();
    json!({
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": name},
        "spec": {
            "scheme": "tcp", "listen": {"address": "localhost", "port": port}, "targets": targets,
            "strategy": "fifo", "failTimeout": "1s", "dialTimeout": "1s",
        },
    })
}

#[test]
fn an_applied_forward_serves_clients_and_follows_its_spec_and_its_nodes() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let _operator = Operator::start(cluster);
    let namespace = cluster.namespace();
    // A file that is mounted never changes: only what is pushed arrives.
    let kubelet = Kubelet::start(&namespace, Mounting::AtStart);
    let (mut a, b) = (Target::letter('A'), Target::letter('B'));
    let port = ports::free();
    namespace.apply::<PortForward>(&forward("db", port, &[&a, &b]));
    let ready = await_condition_of(&namespace, "db", "Ready", ("True", "Ready"));
    assert_eq!(says(&ready, "NodesAvailable"), ("Unknown", "NotObserved"));
    let address: SocketAddr = (kubelet.pods()[0].1, port).into();
    assert_eq!(ask(address).ok(), Some('A'));
    namespace.await_object("db", "its port", |service: &Service| {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        ports.map(|offered| offered.port).collect::<Vec<_>>() == [i32::from(port)]
    });

    a.kill();
    assert_eq!(ask(address).ok(), Some('B'));
    namespace.await_object("db", "A dead", |object: &PortForward| {
        let status = object.status.clone().unwrap_or_default();
        node_states(&status) == [format!("{} Dead", a.address()), format!("{} Alive", b.address())]
    });
    a.restart();
    await_condition("A to be taken back", CLUSTER_SOON, || ask(address).ok() == Some('A'));
    namespace.await_object("db", "A alive", |object: &PortForward| {
        object.status.as_ref().is_some_and(|status| status.node_summary.as_deref() == Some("2/2"))
    });

    let deployment: Deployment = namespace.find("db-forward").expect("the Deployment");
    namespace.apply::<PortForward>(&forward("db", port, &[&b]));
    await_condition_of(&namespace, "db", "Ready", ("True", "Ready"));
    assert_eq!(ask(address).ok(), Some('B'));
    let after: Deployment = namespace.find("db-forward").expect("the Deployment");
    assert_eq!(deployment.metadata.generation, after.metadata.generation);
    assert_eq!(forbidden(cluster), Vec::<String>::new());

    namespace.delete::<PortForward>("db");
    namespace.await_gone::<Deployment>("db-forward");
    namespace.await_gone::<ConfigMap>("db-forward");
    namespace.await_gone::<Service>("db");
}
