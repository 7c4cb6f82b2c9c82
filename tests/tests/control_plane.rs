//! The control plane that other tests stand on: it does what a cluster does, for whom RBAC lets it.

use std::fs;

use fairlead_api::PortForward;
use fairlead_tests::{
    cluster::{CLUSTER_SOON, ControlPlane, TempNamespace, block_on},
    deadline::{await_condition, await_some},
};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ConfigMap, Namespace, Pod, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};

fn forward(name: &str) -> Value {
    json!({
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": name},
        "spec": {"url": "tcp://:5432/db1:5432"},
    })
}

fn deployment(replicas: u32) -> Value {
    let container = json!({"name": "web", "image": "web:1"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    })
}

/// Lets a new ServiceAccount list PortForwards and nothing else; answers its user name.
fn reader(namespace: &TempNamespace) -> String {
    let metadata = json!({"name": "reader"});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
    namespace.apply::<ServiceAccount>(&account);
    let rules = json!([{"apiGroups": ["fairlead.dev"], "resources": ["portforwards"], "verbs": ["list"]}]);
    let kind = |kind: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata});
    let mut role = kind("Role");
    role["rules"] = rules;
    namespace.apply::<Role>(&role);
    let mut binding = kind("RoleBinding");
    binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"});
    binding["subjects"] = json!([{"kind": "ServiceAccount", "name": "reader", "namespace": namespace.name()}]);
    namespace.apply::<RoleBinding>(&binding);
    format!("system:serviceaccount:{}:reader", namespace.name())
}

#[test]
fn the_crd_explains_itself() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let explained = cluster.kubectl(&["explain", "pfw.spec"]);
    assert_eq!(explained.code, 0, "{explained:?}");
    for words in ["KIND:       PortForward", "FIELD: spec", "targets\t<[]Object>", "Default: round"] {
        assert!(explained.stdout.contains(words), "no {words:?} in:\n{}", explained.stdout);
    }
    let field = cluster.kubectl(&["explain", "portforwards.spec.chain.socks5.mbind"]);
    assert!(field.stdout.contains("Default: false"), "{field:?}");
}

#[test]
fn a_namespace_has_its_default_service_account_and_goes_with_all_it_holds() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let name = namespace.name().to_owned();
    assert!(namespace.find::<ServiceAccount>("default").is_some());
    namespace.apply::<PortForward>(&forward("db"));
    drop(namespace);
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    await_condition("the namespace to be gone", CLUSTER_SOON, || {
        block_on(namespaces.get_opt(&name)).expect("read the namespace").is_none()
    });
}

#[test]
fn a_deployment_makes_pods_and_its_deletion_takes_them_along() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let owner = namespace.apply::<PortForward>(&forward("db"));
    let mut wanted = deployment(2);
    wanted["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "name": "db", "uid": owner.uid(),
    }]);
    namespace.apply::<Deployment>(&wanted);
    await_condition("two pods", CLUSTER_SOON, || namespace.list::<Pod>("app=web").len() == 2);
    namespace.delete::<PortForward>("db");
    namespace.await_gone::<Deployment>("web");
    await_condition("no pods and no ReplicaSet", CLUSTER_SOON, || {
        namespace.list::<Pod>("").is_empty() && namespace.list::<ReplicaSet>("").is_empty()
    });
}

#[test]
fn a_service_account_has_the_rights_that_rbac_gives_it_and_its_requests_are_recorded() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let user = reader(&namespace);
    assert_eq!(cluster.requests_of(&user), []);
    let [first, second] = [(), ()].map(|()| cluster.kubeconfig_for(namespace.name(), "reader"));
    let client = cluster.client_of(&first);
    let forwards: Api<PortForward> = Api::namespaced(client, namespace.name());
    await_condition("the role to be in force", CLUSTER_SOON, || {
        block_on(forwards.list(&ListParams::default())).is_ok()
    });
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client_of(&second), namespace.name());
    let refused = block_on(maps.get("secret-plan")).expect_err("no right to that");
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");

    let requests = cluster.requests_of(&user);
    let [.., listed, refused] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((listed.verb.as_str(), listed.resource.as_str(), listed.code), ("list", "portforwards", 200));
    assert_eq!((listed.group.as_str(), listed.namespace.as_deref()), ("fairlead.dev", Some(namespace.name())));
    assert_eq!((refused.verb.as_str(), refused.resource.as_str(), refused.code), ("get", "configmaps", 403));
    assert_eq!((refused.name.as_deref(), refused.is_denied, listed.is_denied), (Some("secret-plan"), true, false));
    assert!(requests.iter().all(|request| !request.is_write()), "{requests:?}");
    assert!(
        listed.credential.is_some() && listed.credential != refused.credential,
        "each kubeconfig has a token of its own: {requests:?}"
    );
    assert!(listed.received <= refused.received, "{requests:?}");
}

#[test]
fn what_is_stored_outlives_the_api_server() {
    let Some(cluster) = ControlPlane::start() else { return };
    let namespace = cluster.namespace();
    let before = namespace.apply::<PortForward>(&forward("db"));
    cluster.stop_api_server();
    assert!(block_on(namespace.api::<PortForward>().get("db")).is_err());
    cluster.start_api_server();
    let after = await_some("the object", CLUSTER_SOON, || namespace.find::<PortForward>("db"));
    assert_eq!(before, after);
    // The controllers find it again too.
    namespace.apply::<Deployment>(&deployment(1));
    await_condition("a pod", CLUSTER_SOON, || namespace.list::<Pod>("app=web").len() == 1);
}

#[test]
fn without_our_crd_there_are_no_portforwards_until_it_is_installed() {
    let Some(cluster) = ControlPlane::start_without_crd() else { return };
    assert_ne!(cluster.kubectl(&["get", "pfw"]).code, 0);
    let crd = fairlead_api::crd_yaml().expect("the CRD");
    let applied = cluster.kubectl_with(&crd, &["apply", "--server-side", "-f", "-"]);
    assert_eq!((applied.code, applied.stderr.as_str()), (0, ""), "no warning either");
    await_condition("PortForwards", CLUSTER_SOON, || cluster.kubectl(&["get", "pfw"]).code == 0);
}

#[test]
fn nothing_is_left_of_a_control_plane_that_was_dropped() {
    let Some(cluster) = ControlPlane::start() else { return };
    let kubeconfig = cluster.kubeconfig_admin();
    let directory = kubeconfig.parent().expect("its directory").to_owned();
    let ours = || {
        let named = |process: &fs::DirEntry| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&*directory.to_string_lossy())
        };
        fs::read_dir("/proc").expect("the processes").flatten().filter(named).count()
    };
    // etcd, the API server, the controller manager, and the shell that removes the directory.
    assert_eq!(ours(), 4);
    drop(cluster);
    assert_eq!((ours(), directory.exists()), (0, false));
}
