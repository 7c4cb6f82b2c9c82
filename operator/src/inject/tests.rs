//! Who gets a sidecar, what it is, what stays as it was, and what is refused.
#![allow(clippy::unwrap_used)]

use fairlead_config::yaml;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::objects::fixtures;

fn read(text: &str) -> Vec<Value> {
    yaml::documents(text).unwrap()
}

fn run(text: &str, sidecar: Option<&str>) -> Injection {
    inject(read(text), sidecar, &fixtures::settings("")).unwrap()
}

fn refusal(text: &str) -> String {
    inject(read(text), Some("shop"), &fixtures::settings("")).unwrap_err().to_string()
}

/// A Pod `web` with one container and whatever stands in `more` of its spec.
fn pod(more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  containers: [{{name: web, image: web}}]\n{more}"
    )
}

fn spec_of(more: &str) -> Value {
    run(&pod(more), Some("shop")).documents[0]["spec"].clone()
}

#[test]
fn every_kind_that_makes_pods_gets_a_sidecar_into_its_template() {
    for (api_version, kind, head, at) in [
        ("v1", "Pod", "", ""),
        ("apps/v1", "Deployment", "spec: {template: ", "/spec/template"),
        ("apps/v1", "StatefulSet", "spec: {template: ", "/spec/template"),
        ("apps/v1", "DaemonSet", "spec: {template: ", "/spec/template"),
        ("batch/v1", "Job", "spec: {template: ", "/spec/template"),
        ("batch/v1", "CronJob", "spec: {jobTemplate: {spec: {template: ", "/spec/jobTemplate/spec/template"),
    ] {
        let body = match head {
            "" => "spec: {containers: []}".to_owned(),
            head => format!("{head}{{spec: {{containers: []}}}}{}", "}".repeat(head.matches('{').count())),
        };
        let made = run(&format!("apiVersion: {api_version}\nkind: {kind}\n{body}\n"), Some("shop"));
        let template = made.documents[0].pointer(at).unwrap();
        assert_eq!(template["metadata"]["labels"]["fairlead.dev/sidecar"], "shop", "{kind}");
        assert_eq!(template["spec"]["initContainers"][0]["name"], "fairlead", "{kind}");
    }
}

#[test]
fn lists_are_walked_also_those_whose_items_do_not_say_what_they_are() {
    let item = "{metadata: {name: web}, spec: {containers: []}}";
    for text in [
        format!("apiVersion: v1\nkind: PodList\nitems: [{item}]"),
        "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, spec: {}}]".to_owned(),
        "apiVersion: v1\nkind: List\nitems: [{kind: List, items: [{apiVersion: v1, kind: Pod, spec: {}}]}]".to_owned(),
    ] {
        let made = run(&text, Some("shop")).documents.remove(0);
        assert!(made.to_string().contains("fairlead.dev/sidecar"), "{text}");
    }
}

#[test]
fn what_makes_no_pods_passes_through_without_a_word() {
    for text in [
        "apiVersion: v1\nkind: ConfigMap\ndata: {a: b}",
        "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nspec: {template: {spec: {}}}",
        "apiVersion: v1\nkind: List\nitems: [{kind: Service}]",
        "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nspec: {sidecar: {name: shop}}",
        "kind: List\nitems: none",
        "just text",
        "[1, 2]",
    ] {
        let injection = run(text, Some("shop"));
        assert_eq!((injection.documents, injection.notes), (read(text), Vec::<String>::new()), "{text}");
    }
}

#[test]
fn the_label_counts_then_the_flag_and_without_either_nothing_is_done_and_said() {
    let labelled = pod("").replace("{name: web}\nspec", "{name: web, labels: {fairlead.dev/sidecar: own}}\nspec");
    let label = |injection: &Injection| injection.documents[0]["metadata"]["labels"]["fairlead.dev/sidecar"].clone();
    let own = run(&labelled, None);
    assert_eq!((label(&own), own.notes.len()), (json!("own"), 0));
    let both = run(&labelled, Some("shop"));
    assert_eq!(label(&both), json!("own"));
    assert!(both.notes[0].contains("own counts, not --sidecar shop"), "{:?}", both.notes);
    let flag = run(&pod(""), Some("shop"));
    assert_eq!((label(&flag), flag.notes.len()), (json!("shop"), 0));
    let none = run(&pod(""), None);
    assert_eq!(none.documents, read(&pod("")));
    assert!(none.notes[0].contains("Pod web: left as it is; write --sidecar NAME"), "{:?}", none.notes);
}

#[test]
fn the_sidecar_is_native_and_first_so_that_all_others_may_use_it() {
    let spec = spec_of("  initContainers: [{name: migrate, image: m}]\n");
    let containers = spec["initContainers"].as_array().unwrap();
    assert_eq!((&containers[0]["name"], &containers[1]["name"]), (&json!("fairlead"), &json!("migrate")));
    assert_eq!(containers[0]["restartPolicy"], "Always");
    assert_eq!(containers[0]["startupProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(containers[0]["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(containers[0].get("lifecycle"), None);
    assert_eq!(spec["containers"], json!([{"name": "web", "image": "web"}]));
}

#[test]
fn the_sidecar_is_restricted_whatever_its_pod_says() {
    let wanted = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
        "runAsGroup": 65532, "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_eq!(spec_of("  securityContext: {runAsUser: 0}\n")["initContainers"][0]["securityContext"], wanted);
}

#[test]
fn a_pod_may_come_before_its_portforward() {
    let wanted = json!([{"name": "fairlead-config", "configMap": {"name": "shop-sidecar", "optional": true}}]);
    assert_eq!(spec_of("")["volumes"], wanted);
    let mounts = json!([{"name": "fairlead-config", "mountPath": "/etc/fairlead/config", "readOnly": true}]);
    assert_eq!(spec_of("")["initContainers"][0]["volumeMounts"], mounts);
}

#[test]
fn settings_decide_image_resources_and_drain_time() {
    let settings = fixtures::settings("drainTimeout: 9s\nsidecar: {resources: {limits: {cpu: 2}}}");
    let made = inject(read(&pod("")), Some("shop"), &settings).unwrap().documents.remove(0);
    let sidecar = &made["spec"]["initContainers"][0];
    assert_eq!((&sidecar["image"], &sidecar["resources"]), (&json!(fixtures::IMAGE), &json!({"limits": {"cpu": "2"}})));
    assert_eq!(sidecar["args"].as_array().unwrap().last(), Some(&json!("9s")));
    assert!(spec_of("")["initContainers"][0]["resources"]["limits"].is_object());
}

#[test]
fn an_older_sidecar_is_replaced_and_comes_first_again() {
    let old = "  initContainers: [{name: a}, {name: fairlead, image: old, restartPolicy: Always}]\n  \
               volumes: [{name: fairlead-config, configMap: {name: other-sidecar}}, {name: b, emptyDir: {}}]\n";
    let mut fresh = spec_of(
        "  initContainers: [{name: a}]\n  volumes: [{name: fairlead-config, configMap: {name: x-sidecar}}, {name: b, emptyDir: {}}]\n",
    );
    assert_eq!(spec_of(old), fresh.take());
}

#[test]
fn what_is_mounted_is_what_the_portforwards_among_the_documents_name() {
    let forward = |namespace: &str, name: &str| {
        format!(
            "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {{name: f, namespace: {namespace}}}\nspec:\n  \
             sidecar: {{name: {name}}}\n  chain: [{{url: 'socks5://a:1', credentials: {{secretRef: {{name: bastion}}}}}}]\n"
        )
    };
    let pod = pod("").replace("{name: web}\nspec", "{name: web, namespace: live}\nspec");
    for (namespace, name, volumes) in [("live", "shop", 2), ("live", "other", 1), ("test", "shop", 1)] {
        for text in [
            format!("{pod}---\n{}", forward(namespace, name)),
            json!({"kind": "List", "items": read(&format!("{}---\n{pod}", forward(namespace, name)))}).to_string(),
        ] {
            let made = json!(run(&text, Some("shop")).documents).to_string();
            assert_eq!(made.contains("/etc/fairlead/secrets/bastion"), volumes == 2, "{namespace} {name}");
        }
    }
}

#[test]
fn every_refusal_names_the_object_and_says_what_to_write() {
    let template = |template: &str| {
        format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d, namespace: live}}\n{template}")
    };
    let labelled = |label: &str| {
        pod("").replace("{name: web}\nspec", &format!("{{name: web, labels: {{fairlead.dev/sidecar: {label}}}}}\nspec"))
    };
    for (text, says) in [
        (template(""), vec!["Deployment live/d: spec is missing", "write a mapping"]),
        (template("spec: {template: []}"), vec!["spec.template is a list"]),
        (template("spec: {template: {metadata: {}}}"), vec!["spec is missing"]),
        (pod("  initContainers: {}\n"), vec!["Pod web: spec.initContainers is a mapping", "write a list"]),
        (pod("  volumes: 1\n"), vec!["spec.volumes is a number"]),
        (labelled("Shop"), vec!["\"Shop\"", "a letter first"]),
        (labelled("1a"), vec!["\"1a\""]),
        (labelled("''"), vec!["\"\""]),
        (labelled(&"a".repeat(51)), vec!["at most 50"]),
        (pod("").replace("name: web, image", "name: fairlead, image"), vec!["spec.containers", "rename it"]),
        (pod("  initContainers: [{name: fairlead}]\n"), vec!["spec.initContainers", "rename it"]),
        (pod("  volumes: [{name: fairlead-config, emptyDir: {}}]\n"), vec!["\"fairlead-config\"", "rename it"]),
        (
            pod("").replace("image: web", "ports: [{containerPort: 19444}]"),
            vec!["\"web\"", "19444", "fairlead.dev/metrics-port"],
        ),
        (
            pod("").replace("{name: web}\nspec", "{name: web, annotations: {fairlead.dev/admin-port: a}}\nspec"),
            vec!["fairlead.dev/admin-port", "\"a\""],
        ),
        (pod("  os: {name: windows}\n"), vec!["windows"]),
    ] {
        let refusal = refusal(&text);
        assert!(says.iter().all(|says| refusal.contains(says)), "{text}\n{refusal}");
    }
}

#[test]
fn all_refusals_come_at_once_and_nothing_is_done_by_halves() {
    let bad = pod("  os: {name: windows}\n");
    let refusal =
        refusal(&format!("{bad}---\n{}---\n{}", pod(""), bad.replace("name: web}\nspec", "name: two}\nspec")));
    assert_eq!(refusal.lines().count(), 2, "{refusal}");
    assert!(refusal.contains("Pod web: ") && refusal.contains("Pod two: "), "{refusal}");
}

#[test]
fn an_annotation_moves_the_ports_of_a_pod_in_which_they_are_taken() {
    let text = pod("").replace("image: web", "ports: [{containerPort: 19443}, {containerPort: 19444, protocol: UDP}]");
    let text = text.replace("{name: web}\nspec", "{name: web, annotations: {fairlead.dev/admin-port: '20443'}}\nspec");
    let made = run(&text, Some("shop")).documents.remove(0);
    let sidecar = &made["spec"]["initContainers"][0];
    assert_eq!(sidecar["ports"][0]["containerPort"], 20443);
    assert!(sidecar["args"].as_array().unwrap().contains(&json!(":20443")));
}

/// Anything that may stand in a manifest.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9:~. '\"\n-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Words that mean something here, and others.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(&["initContainers", "containers", "volumes", "os", "labels", "annotations", "name"][..])
            .prop_map(str::to_owned),
        "[a-z]{1,5}",
    ]
}

proptest! {
    #[test]
    fn twice_is_the_same_as_once_and_what_was_there_stays(spec in prop::collection::vec((key(), anything()), 0..5), metadata in anything()) {
        let spec = Value::Object(spec.into_iter().collect());
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        let settings = fixtures::settings("");
        let Ok(once) = inject(vec![pod.clone()], Some("shop"), &settings) else { return Ok(()) };
        let twice = inject(once.documents.clone(), Some("shop"), &settings).unwrap();
        let text = |injection: &Injection| yaml::to_string(&injection.documents[0]).unwrap();
        prop_assert_eq!(text(&twice), text(&once));
        prop_assert_eq!(&yaml::documents(&text(&once)).unwrap()[0], &once.documents[0]);
        for (field, value) in pod["spec"].as_object().into_iter().flatten() {
            let after = &once.documents[0]["spec"][field];
            match (field.as_str(), value) {
                ("initContainers" | "volumes", Value::Array(items)) => {
                    prop_assert!(items.iter().all(|item| after.as_array().unwrap().contains(item)));
                }
                ("initContainers" | "volumes", _) => prop_assert!(value.is_null()),
                _ => prop_assert_eq!(after, value),
            }
        }
    }
}
