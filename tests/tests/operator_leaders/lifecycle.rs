//! One operator from its start, with or without an API server, to its end.

use std::time::Instant;

use fairlead_tests::{
    binary::{Launch, operator},
    clients::http,
    cluster::{CLUSTER_SOON, ControlPlane},
    deadline::{SOON, await_condition},
    operator::{NAMESPACE, Operator, SERVICE_ACCOUNT, install},
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::json;

use super::{await_holder, holder};

/// What dashboards and alerts read.
const SERIES: [&str; 12] = [
    "fairlead_operator_build_info{",
    "fairlead_operator_leader 1",
    "fairlead_operator_reconciles_total{result=\"done\"}",
    "fairlead_operator_reconcile_seconds_count",
    "fairlead_operator_queue_depth ",
    "fairlead_operator_api_writes_total{resource=\"deployments\",verb=\"create\"} 1",
    "fairlead_operator_status_writes_total ",
    "fairlead_operator_status_latency_seconds_bucket{",
    "fairlead_operator_events_total ",
    "fairlead_operator_proxies{state=\"connected\"} 1",
    "fairlead_operator_proxies{state=\"known\"} 1",
    "fairlead_operator_portforwards{condition=\"Ready\",status=\"True\"} 1",
];

#[test]
#[allow(clippy::print_stderr, reason = "the time is what the test is about")]
fn an_operator_shows_what_it_does_and_gives_its_lease_back_when_told_to_end() {
    let Some(cluster) = ControlPlane::start() else { return };
    let mut operator = Operator::start(&cluster);
    let scene = Scene::of(cluster.namespace(), NEVER);
    let target = Target::letter('A');
    scene.apply_ready(&[&forward("db", ports::free(), &[&target], json!({}))]);
    let asked = |path| http("GET", operator.metrics_port(), path).expect("an answer");
    assert_eq!((asked("/livez").code, asked("/readyz").code), (200, 200));
    // What there is of each is counted now and then.
    await_condition("every series", CLUSTER_SOON, || {
        let metrics = asked("/metrics").body;
        SERIES.iter().all(|series| metrics.contains(series))
    });
    let begin = Instant::now();
    operator.process().terminate();
    assert_eq!(operator.process().await_exit(SOON), 0);
    eprintln!("it ended {:?} after SIGTERM", begin.elapsed());
    let lease: Lease = cluster.objects(NAMESPACE).find(SERVICE_ACCOUNT).expect("the lease");
    assert_eq!(lease.spec.and_then(|spec| spec.holder_identity).as_deref(), Some(""));
}

#[test]
#[allow(clippy::print_stderr, reason = "the time is what the test is about")]
fn an_operator_without_an_api_server_says_so_tries_on_and_ends_when_told() {
    let Some(cluster) = ControlPlane::start() else { return };
    install(&cluster);
    let kubeconfig = cluster.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT);
    let start = |identity: &str| {
        let port = ports::free();
        let address = format!("127.0.0.1:{port}");
        let arguments = ["run", "--namespace", NAMESPACE, "--identity", identity, "--metrics-addr", &address];
        (Launch::new(arguments).program(operator()).environment("KUBECONFIG", &kubeconfig).start(), port)
    };
    cluster.stop_api_server();
    let (mut first, port) = start("first");
    first.await_log("a watch failed; it begins again after a pause");
    first.await_log("the lease can't be read or written");
    let code = |path| http("GET", port, path).map(|answer| answer.code).ok();
    assert_eq!((code("/livez"), code("/readyz")), (Some(200), Some(503)));
    let begin = Instant::now();
    first.terminate();
    assert_eq!(first.await_exit(SOON), 0, "{}", first.printed());
    eprintln!("without an API server it ended {:?} after SIGTERM", begin.elapsed());

    let (mut second, port) = start("second");
    second.await_log("a watch failed; it begins again after a pause");
    cluster.start_api_server();
    await_holder(&cluster, "second");
    await_condition("the operator to be ready", CLUSTER_SOON, || {
        http("GET", port, "/readyz").is_ok_and(|answer| answer.code == 200)
    });
    cluster.stop_api_server();
    let mark = second.log_mark();
    second.await_log_after(mark, "the lease can't be read or written");
    assert!(second.is_running());
    second.terminate();
    assert_eq!(second.await_exit(SOON), 0, "{}", second.printed());
    cluster.start_api_server();
    assert_eq!(holder(&cluster).as_deref(), Some("second"), "nobody could be told");
}
