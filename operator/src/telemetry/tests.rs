//! The three paths, over a real socket.
#![allow(clippy::unwrap_used)]

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

async fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn start() -> (Arc<Telemetry>, SocketAddr) {
    let telemetry = Arc::new(Telemetry::new());
    let address = serve(&HostPort::new("127.0.0.1", 0), telemetry.clone()).await.unwrap();
    (telemetry, address)
}

#[tokio::test]
async fn every_metric_is_there_with_its_labels_and_content_type() {
    let (telemetry, address) = start().await;
    telemetry.reconciled(ReconcileResult::Done, Duration::from_millis(3));
    telemetry.reconciled(ReconcileResult::Failed, Duration::from_secs(100));
    telemetry.queue_depth(7);
    telemetry.api_write("deployments", "apply", true);
    telemetry.api_write("portforwards/status", "apply", false);
    telemetry.status_written(Some(Duration::from_millis(300)));
    telemetry.status_written(None);
    telemetry.events_written(2);
    telemetry.leading(true);
    telemetry.proxies(5, 4);
    telemetry.portforwards([(("Ready", "False"), 9)]);
    telemetry.portforwards([(("Ready", "True"), 11)]);
    let text = fetch(address, "/metrics").await;
    for line in [
        r#"fairlead_operator_leader 1"#,
        r#"fairlead_operator_reconciles_total{result="done"} 1"#,
        r#"fairlead_operator_reconciles_total{result="failed"} 1"#,
        r#"fairlead_operator_reconcile_seconds_bucket{le="0.005"} 1"#,
        r#"fairlead_operator_reconcile_seconds_count 2"#,
        r#"fairlead_operator_queue_depth 7"#,
        r#"fairlead_operator_api_writes_total{resource="deployments",verb="apply"} 1"#,
        r#"fairlead_operator_api_writes_total{resource="portforwards/status",verb="apply"} 1"#,
        r#"fairlead_operator_api_write_failures_total{resource="portforwards/status",verb="apply"} 1"#,
        r#"fairlead_operator_status_writes_total 2"#,
        r#"fairlead_operator_status_latency_seconds_bucket{le="0.5"} 1"#,
        r#"fairlead_operator_status_latency_seconds_count 1"#,
        r#"fairlead_operator_events_total 2"#,
        r#"fairlead_operator_proxies{state="known"} 5"#,
        r#"fairlead_operator_proxies{state="connected"} 4"#,
        r#"fairlead_operator_portforwards{condition="Ready",status="True"} 11"#,
        r#"# EOF"#,
    ] {
        assert!(text.lines().any(|candidate| candidate == line), "no line {line} in:\n{text}");
    }
    assert!(!text.contains(r#"status="False""#), "counts of before are gone:\n{text}");
    assert!(text.contains("content-type: application/openmetrics-text; version=1.0.0"), "{text}");
}

#[tokio::test]
async fn what_only_a_leader_knows_goes_with_leadership() {
    let (telemetry, address) = start().await;
    telemetry.leading(true);
    telemetry.proxies(5, 4);
    telemetry.portforwards([(("Ready", "True"), 11)]);
    telemetry.leading(false);
    let text = fetch(address, "/metrics").await;
    assert!(text.contains("fairlead_operator_leader 0"));
    assert!(
        !text.contains("fairlead_operator_proxies{") && !text.contains("fairlead_operator_portforwards{"),
        "{text}"
    );
}

#[tokio::test]
async fn it_is_ready_once_the_caches_are_synced() {
    let (telemetry, address) = start().await;
    let before = fetch(address, "/readyz").await;
    assert!(
        before.starts_with("HTTP/1.1 503") && before.ends_with("the cluster's objects are being read\n"),
        "{before}"
    );
    telemetry.caches_are_synced();
    assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn it_is_alive_while_the_main_loop_goes_round() {
    let (telemetry, address) = start().await;
    assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
    let start = telemetry.started;
    telemetry.ticked_at(start + Duration::from_secs(100));
    assert_eq!(telemetry.stuck_for(start + Duration::from_secs(159)), None);
    assert_eq!(telemetry.stuck_for(start + Duration::from_secs(160)), Some(STUCK_AFTER));
}
