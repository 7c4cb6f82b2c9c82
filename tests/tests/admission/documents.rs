//! PortForwards that hold every field, and what the API server and the offline check say of a document.

use fairlead_api::schema::check;
use fairlead_tests::cluster::{TempNamespace, block_on};
use serde_json::{Value, json};

/// One thing that is wrong, as one of the two judges tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Empty where the API server names none.
    pub(crate) field: String,
    pub(crate) message: String,
}

/// What the API server says of a document that is created in earnest but for being stored.
pub(crate) fn server_says(namespace: &TempNamespace, document: &Value) -> Vec<Complaint> {
    let path = format!(
        "/apis/fairlead.dev/v1alpha1/namespaces/{}/portforwards?dryRun=All&fieldValidation=Strict",
        namespace.name()
    );
    let request = http::Request::post(path).header("content-type", "application/json");
    let request = request.body(document.to_string().into_bytes()).expect("a request");
    match block_on(namespace.cluster().client().request::<Value>(request)) {
        Ok(_) => Vec::new(),
        Err(kube::Error::Api(status)) => complaints(&status),
        Err(error) => panic!("{document}: {error}"),
    }
}

fn complaints(status: &kube::core::Status) -> Vec<Complaint> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let named = causes.map(|cause| Complaint {
        field: if cause.field == "<nil>" { String::new() } else { cause.field.clone() },
        message: cause.message.clone(),
    });
    let named: Vec<Complaint> = named.collect();
    if named.is_empty() {
        return vec![Complaint { field: String::new(), message: status.message.clone() }];
    }
    named
}

/// What the offline check says.
pub(crate) fn offline_says(document: &Value) -> Vec<Complaint> {
    let problems = check(document).into_iter();
    problems.map(|problem| Complaint { field: problem.field, message: problem.message }).collect()
}

/// A small PortForward.
pub(crate) fn plain() -> Value {
    document(json!({"scheme": "tcp", "listen": {"port": 5432}, "targets": [{"host": "db1", "port": 5432}]}))
}

/// Good PortForwards that hold every field of the spec between them.
pub(crate) fn every_field() -> Vec<Value> {
    let secret = json!({"secretRef": {"name": "logins"}});
    let map = |key: &str| json!({"configMapRef": {"name": "files", "key": key}});
    let hop = json!({
        "scheme": "socks5+tls", "nodes": [{"host": "bastion", "port": 1080}], "strategy": "fifo", "maxFails": 2,
        "failTimeout": "10s", "dialTimeout": "5s", "socks5": {"mbind": true, "noTLS": false, "udpAssociate": false},
        "credentials": secret,
        "ssh": {
            "hostKeys": ["ssh-ed25519 AAAA"], "knownHosts": map("known_hosts"), "insecureIgnoreHostKey": false,
            "keepAlive": "15s",
        },
        "tls": {"serverName": "a.example", "ca": map("ca.crt"), "certificate": secret, "insecureSkipVerify": false},
    });
    [
        json!({
            "scheme": "rtcp", "listen": {"address": "127.0.0.1", "port": 2222}, "gateway": {"name": "edge"},
            "targets": [{"host": "db1", "port": 5432}], "chain": [hop],
        }),
        json!({
            "scheme": "tcp", "listen": {"port": 5432}, "gateway": {"replicas": 2}, "suspend": true,
            "targets": [{"service": {"name": "db2", "port": 5432}}], "strategy": "fifo", "maxFails": 2,
            "failTimeout": "10s", "ttl": "60s", "dialTimeout": "5s", "hedgeDelay": "200ms", "idleTimeout": "0s",
            "maxConnections": 100, "healthCheck": {"interval": "5s", "timeout": "1s"},
        }),
        json!({
            "scheme": "socks5+tls", "listen": {"port": 1080}, "sidecar": {"name": "shop"}, "tls": {"certificate": secret},
            "server": {
                "users": secret, "hostKey": secret, "allowTargets": ["10.0.0.0/8"], "allowBind": ["1024-65535"],
                "anonymous": false,
            },
        }),
        json!({"url": "rtcp://:2222/db1:22", "chain": [{"url": "socks5://bastion:1080"}]}),
    ]
    .map(document)
    .into()
}

fn document(spec: Value) -> Value {
    json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": "db"}, "spec": spec})
}

/// The plain PortForward with a change, which is a JSON merge patch (RFC 7396).
pub(crate) fn changed(change: &Value) -> Value {
    let mut document = plain();
    merge(&mut document, change);
    document
}

fn merge(into: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            into.as_object_mut().map(|fields| fields.remove(key));
        } else {
            merge(&mut into[key], change);
        }
    }
}

/// The schema of a whole PortForward, as the CRD has it.
pub(crate) fn schema() -> Value {
    let crd = serde_json::to_value(fairlead_api::crd()).expect("the CRD");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}
