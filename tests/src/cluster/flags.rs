//! The command lines of the servers. Only loopback, only what tests need: no nodes, no cloud, no leader election.

use std::path::Path;

use super::pki::Pki;

/// Controllers that tests rely on: what ServiceAccounts, namespaces, owners, Deployments, budgets and quotas promise.
const CONTROLLERS: [&str; 13] = [
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "disruption-controller",
    "resourcequota-controller",
    "endpointslice-controller",
    "clusterrole-aggregation-controller",
];

pub(super) fn etcd(directory: &Path, clients: u16, peers: u16) -> Vec<String> {
    let (clients, peers) = (url(clients), url(peers));
    vec![
        "--name=tests".to_owned(),
        format!("--data-dir={}", directory.join("etcd").display()),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=tests={peers}"),
    ]
}

pub(super) fn api_server(directory: &Path, pki: &Pki, port: u16, etcd: u16) -> Vec<String> {
    let (server, tokens) = (pki.server(), pki.tokens());
    let file = |name: &str| directory.join(name).display().to_string();
    vec![
        format!("--etcd-servers={}", url(etcd)),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", server.certificate.display()),
        format!("--tls-private-key-file={}", server.key.display()),
        format!("--client-ca-file={}", pki.authority().display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-signing-key-file={}", tokens.key.display()),
        format!("--service-account-key-file={}", tokens.certificate.display()),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--profiling=false".to_owned(),
        format!("--audit-policy-file={}", file("audit-policy.json")),
        format!("--audit-log-path={}", file(super::AUDIT_LOG)),
        "--audit-log-maxsize=100000".to_owned(),
    ]
}

pub(super) fn controller_manager(kubeconfig: &Path, pki: &Pki) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--controllers={}", CONTROLLERS.join(",")),
        format!("--root-ca-file={}", pki.authority().display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ]
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
