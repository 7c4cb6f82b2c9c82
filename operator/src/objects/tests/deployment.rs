//! One test for each thing that a gateway's Deployment promises.

use fairlead_api::{PortForward, render::Verdict};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString};
use serde_json::{Value, json};

use crate::objects::{Gateway, METRICS_PORT_NAME, PortsError, ProxyPorts, fixtures::*, gateway};

fn deployment_of(objects: &[(PortForward, Verdict)], text: &str) -> Value {
    serde_json::to_value(made(objects, &settings(text)).deployment).unwrap()
}

fn pod_of(text: &str) -> PodSpec {
    made(&[database("")], &settings(text)).deployment.spec.unwrap().template.spec.unwrap()
}

fn container_of(text: &str) -> Container {
    pod_of(text).containers.remove(0)
}

#[test]
fn a_gateway_has_one_pod_unless_its_portforward_says_more_and_a_shared_one_what_the_settings_say() {
    let shared = |text: &str| deployment_of(&[database("gateway: {name: edge}")], text)["spec"]["replicas"].clone();
    let own = |more: &str| deployment_of(&[database(more)], "gateway: {replicas: 5}")["spec"]["replicas"].clone();
    assert_eq!((own(""), own("gateway: {replicas: 3}"), own("gateway: {replicas: 0}")), (json!(1), json!(3), json!(0)));
    assert_eq!((shared(""), shared("gateway: {replicas: 5}")), (json!(1), json!(5)));
}

#[test]
fn a_changed_configuration_listener_or_suspension_leaves_the_deployment_as_it_is() {
    let with = |verdict: Verdict, config: &str| {
        let objects = [(forward("db", NAMING), verdict)];
        with_gateway(&objects, &settings(""), |input| gateway(&Gateway { config, ca: config, ..*input }))
    };
    let before = with(accepted("tcp", ":5432"), CONFIG);
    for after in [with(accepted("udp", ":53"), "other"), with(suspended("tcp", ":5432"), "other")] {
        assert_eq!(after.deployment, before.deployment);
        assert_ne!(after.config_map, before.config_map);
    }
}

#[test]
fn a_new_reference_or_setting_changes_the_deployment() {
    let before = deployment_of(&[database("")], "");
    assert_ne!(deployment_of(&[database("tls: {certificate: {secretRef: {name: a}}}")], ""), before);
    assert_ne!(deployment_of(&[database("")], "gateway: {labels: {a: b}}"), before);
    assert_eq!(deployment_of(&[database("")], ""), before);
}

#[test]
fn the_pod_is_restricted_and_has_no_token() {
    let pod = pod_of("");
    assert_eq!((pod.automount_service_account_token, pod.enable_service_links), (Some(false), Some(false)));
    let security = pod.security_context.unwrap();
    assert_eq!((security.run_as_non_root, security.run_as_user), (Some(true), Some(65532)));
    assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
    let sysctl = &security.sysctls.unwrap()[0];
    assert_eq!((sysctl.name.as_str(), sysctl.value.as_str()), ("net.ipv4.ip_unprivileged_port_start", "0"));
    let security = container_of("").security_context.unwrap();
    assert_eq!(security.capabilities.unwrap().drop.unwrap(), ["ALL"]);
    assert_eq!((security.read_only_root_filesystem, security.allow_privilege_escalation), (Some(true), Some(false)));
    assert_eq!((security.run_as_non_root, security.run_as_user), (Some(true), Some(65532)));
    assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
}

#[test]
fn the_probes_ask_the_metrics_port() {
    let container = container_of("");
    for (probe, path) in [
        (container.startup_probe, "/livez"),
        (container.liveness_probe, "/livez"),
        (container.readiness_probe, "/readyz"),
    ] {
        let get = probe.unwrap().http_get.unwrap();
        assert_eq!(get.path.as_deref(), Some(path));
        assert_eq!(get.port, IntOrString::String(METRICS_PORT_NAME.to_owned()));
    }
}

#[test]
fn only_the_proxys_own_ports_are_in_the_pod() {
    let ports = container_of("").ports.unwrap();
    let ports: Vec<_> = ports.iter().map(|port| (port.name.as_deref().unwrap(), port.container_port)).collect();
    assert_eq!(ports, [("proxy-admin", 19443), ("proxy-metrics", 19444)]);
}

#[test]
fn a_pod_that_ends_sleeps_and_has_the_time_to_drain() {
    let sleep = container_of("").lifecycle.unwrap().pre_stop.unwrap().sleep.unwrap();
    assert_eq!(sleep.seconds, 5);
    for (drain, grace) in [("30s", 45), ("0s", 15), ("1m", 75), ("1500ms", 17)] {
        let text = format!("drainTimeout: {drain}");
        assert_eq!(pod_of(&text).termination_grace_period_seconds, Some(grace), "{drain}");
    }
}

#[test]
fn a_new_pod_is_there_before_an_old_one_goes_and_pods_are_spread() {
    let spec = deployment_of(&[database("")], "")["spec"].clone();
    assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}));
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"fairlead.dev/proxy": "db-forward"}},
    }]);
    assert_eq!(spec["template"]["spec"]["topologySpreadConstraints"], spread);
    let said = "gateway: {topologySpread: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, labelSelector: {}}]}";
    let constraint = pod_of(said).topology_spread_constraints.unwrap().remove(0);
    assert_eq!(constraint.label_selector, Some(LabelSelector::default()));
    assert_eq!(pod_of("gateway: {topologySpread: []}").topology_spread_constraints, None);
}

#[test]
fn the_command_line_names_files_ports_and_the_drain_time() {
    let args = "proxy --config /etc/fairlead/config/config.yaml --admin-addr :19443 \
                --admin-ca /etc/fairlead/config/ca.crt --metrics-addr :19444 --drain-timeout 30s";
    assert_eq!(container_of("").args.unwrap(), args.split(' ').collect::<Vec<_>>());
    assert_eq!(container_of("drainTimeout: 2m").args.unwrap().last().unwrap(), "120s");
}

#[test]
fn an_annotation_moves_a_port_everywhere() {
    let deployment = deployment_of(&[database("")], "gateway: {annotations: {fairlead.dev/admin-port: '20443'}}");
    let template = &deployment["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["containerPort"], 20443);
    assert!(container["args"].as_array().unwrap().contains(&json!(":20443")));
    assert_eq!(template["metadata"]["annotations"]["fairlead.dev/admin-port"], "20443");
    assert_eq!(template["metadata"]["annotations"]["config.linkerd.io/skip-inbound-ports"], "20443");
}

#[test]
fn a_mesh_leaves_the_admin_port_alone() {
    let annotations = deployment_of(&[database("")], "")["spec"]["template"]["metadata"]["annotations"].clone();
    let wanted = json!({
        "config.linkerd.io/skip-inbound-ports": "19443",
        "traffic.sidecar.istio.io/excludeInboundPorts": "19443",
    });
    assert_eq!(annotations, wanted);
}

#[test]
fn settings_reach_the_pod_and_never_hide_our_labels() {
    let text = "imagePullPolicy: Always\nimagePullSecrets: [r]\ngateway: {nodeSelector: {a: b}, tolerations: [{key: k}], \
                affinity: {nodeAffinity: {}}, priorityClassName: p, labels: {team: net}, annotations: {note: x}}";
    let pod = pod_of(text);
    let selector = pod.node_selector.unwrap();
    assert_eq!((selector["a"].as_str(), selector["kubernetes.io/os"].as_str()), ("b", "linux"));
    assert_eq!(pod.tolerations.unwrap()[0].key.as_deref(), Some("k"));
    assert!(pod.affinity.unwrap().node_affinity.is_some());
    assert_eq!(pod.priority_class_name.as_deref(), Some("p"));
    assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "r");
    assert_eq!(pod.containers[0].image.as_deref(), Some(IMAGE));
    assert_eq!(pod.containers[0].image_pull_policy.as_deref(), Some("Always"));
    let deployment = deployment_of(&[database("")], text);
    for metadata in [&deployment["metadata"], &deployment["spec"]["template"]["metadata"]] {
        assert_eq!((&metadata["labels"]["team"], &metadata["annotations"]["note"]), (&json!("net"), &json!("x")));
        assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "fairlead");
    }
    assert_eq!(container_of("gateway: {resources: {}}").resources, None);
}

#[test]
fn a_selector_holds_nothing_that_ever_changes() {
    let deployment = deployment_of(&[database("")], "gateway: {labels: {team: net}}");
    assert_eq!(deployment["spec"]["selector"], json!({"matchLabels": {"fairlead.dev/proxy": "db-forward"}}));
    assert_eq!(deployment["spec"]["template"]["metadata"]["labels"]["fairlead.dev/proxy"], "db-forward");
}

#[test]
fn ports_of_a_pod_are_numbers_and_two() {
    let ports = |admin: Option<&'static str>, metrics: Option<&'static str>| {
        ProxyPorts::of(move |key| if key.ends_with("admin-port") { admin } else { metrics })
    };
    assert_eq!(ports(None, None), Ok(ProxyPorts { admin: 19443, metrics: 19444 }));
    assert_eq!(ports(Some("1"), Some("65535")), Ok(ProxyPorts { admin: 1, metrics: 65535 }));
    assert_eq!(ports(Some("19444"), None), Err(PortsError::Same(19444)));
    for bad in ["", "0", "65536", "x", "-1"] {
        let error = ports(None, Some(bad)).unwrap_err().to_string();
        assert!(error.contains("fairlead.dev/metrics-port") && error.contains("write a number"), "{error}");
    }
}
