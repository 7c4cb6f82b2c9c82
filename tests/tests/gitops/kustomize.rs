//! Names that kustomize generates, in PortForwards: the paths come from the CRD, and kustomize itself follows them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use fairlead_tests::{golden, skip::skip, verdicts::on_search_path};
use serde_json::{Value, json};

const REFERENCES: &str = "deploy/kustomize/name-reference.yaml";
const HEAD: &str = "# Where PortForwards name Secrets and ConfigMaps. Made from the CRD by the test `gitops`; see UPDATE_GOLDEN there.\n";

/// The paths at which a schema has references of this kind, `secretRef` for example.
fn paths(schema: &Value, reference: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, String::new(), &mut |path, _| {
        if path.ends_with(&format!("/{reference}")) {
            found.push(format!("{}/name", path.trim_start_matches('/')));
        }
    });
    found.sort();
    found
}

/// Visits every field; kustomize looks into lists by itself, so that they leave no trace in a path.
fn walk(schema: &Value, path: String, visit: &mut dyn FnMut(&str, &Value)) {
    visit(&path, schema);
    if let Some(items) = schema.get("items") {
        walk(items, path.clone(), visit);
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(inner, format!("{path}/{name}"), visit);
    }
}

fn schema() -> Value {
    let crd = serde_json::to_value(fairlead_api::crd()).expect("the CRD");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn the_references_are_those_of_the_crd() {
    let schema = schema();
    let mut text = format!("{HEAD}nameReference:\n");
    for (kind, reference) in [("ConfigMap", "configMapRef"), ("Secret", "secretRef")] {
        let paths = paths(&schema, reference);
        assert!(paths.len() > 1, "{reference}: {paths:?}");
        text += &format!("- kind: {kind}\n  version: v1\n  fieldSpecs:\n");
        for path in paths {
            text += &format!("  - group: fairlead.dev\n    kind: PortForward\n    path: {path}\n");
        }
    }
    golden::assert_says(REFERENCES, &text);
}

/// A PortForward that has a reference at every path: the schema with the shortest value for each field.
fn sample(schema: &Value, field: &str) -> Value {
    if field == "secretRef" || field == "configMapRef" {
        return json!({"name": if field == "secretRef" { "mine" } else { "mine-too" }});
    }
    let mut map = serde_json::Map::new();
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let leads_on = ["secretRef", "configMapRef"].iter().any(|reference| !paths(inner, reference).is_empty());
        if leads_on || name == "secretRef" || name == "configMapRef" {
            let inner_sample = sample(inner.get("items").unwrap_or(inner), name);
            let value = if inner.get("items").is_some() { json!([inner_sample]) } else { inner_sample };
            map.insert(name.clone(), value);
        }
    }
    Value::Object(map)
}

#[test]
fn kustomize_puts_the_names_that_it_generates_into_every_reference() {
    let Some(kubectl) = kubectl() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    copy("deploy/kustomize", &dir.path().join("component"));
    let spec = sample(&schema()["properties"]["spec"], "spec");
    let object =
        json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": "a"}, "spec": spec});
    let kustomization = json!({
        "resources": ["port-forward.yaml"],
        "components": ["component"],
        "secretGenerator": [{"name": "mine", "literals": ["username=a"]}],
        "configMapGenerator": [{"name": "mine-too", "literals": ["known_hosts=b"]}],
    });
    fs::write(dir.path().join("port-forward.yaml"), object.to_string()).expect("write the object");
    fs::write(dir.path().join("kustomization.yaml"), kustomization.to_string()).expect("write the kustomization");
    let objects = build(&kubectl, dir.path());
    let named = |kind: &str| objects.iter().find(|object| object["kind"] == kind).expect(kind);
    let generated = |kind: &str| named(kind)["metadata"]["name"].as_str().expect("a name").to_owned();
    for (kind, reference, plain) in [("Secret", "secretRef", "mine"), ("ConfigMap", "configMapRef", "mine-too")] {
        assert!(generated(kind).len() > plain.len() + 5, "{kind} has no hash: {}", generated(kind));
        let text = named("PortForward").to_string();
        let count = paths(&schema(), reference).len();
        let wanted = format!("\"{reference}\":{{\"name\":\"{}\"}}", generated(kind));
        assert_eq!(text.matches(&wanted).count(), count, "{wanted} in {text}");
    }
}

#[test]
fn the_base_is_what_install_yaml_has() {
    let Some(kubectl) = kubectl() else { return };
    let built = build(&kubectl, &golden::file("deploy"));
    let installed = fairlead_config::yaml::documents(&golden::read("deploy/install.yaml")).expect("YAML");
    let names = |objects: &[Value]| {
        let mut names: Vec<String> =
            objects.iter().map(|o| format!("{} {}", o["kind"], o["metadata"]["name"])).collect();
        names.sort();
        names
    };
    assert_eq!(names(&built), names(&installed));
}

/// kustomize takes no absolute path.
fn copy(directory: &str, to: &Path) {
    fs::create_dir(to).expect("make a directory");
    for file in fs::read_dir(golden::file(directory)).expect(directory) {
        let file = file.expect("a file");
        fs::copy(file.path(), to.join(file.file_name())).expect("copy a file");
    }
}

/// Runs kustomize as kubectl has it.
fn build(kubectl: &Path, directory: &Path) -> Vec<Value> {
    let built = Command::new(kubectl).arg("kustomize").arg(directory).output().expect("run kubectl");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fairlead_config::yaml::documents(&String::from_utf8_lossy(&built.stdout)).expect("YAML")
}

/// One on the search path, else the one that `tests/cluster/build` made.
fn kubectl() -> Option<PathBuf> {
    let built = || {
        let told = Command::new(golden::file("tests/cluster/build")).arg("--where").output().ok()?;
        let file = PathBuf::from(String::from_utf8_lossy(&told.stdout).trim()).join("kubectl");
        file.is_file().then_some(file)
    };
    let found = on_search_path("kubectl").or_else(built);
    if found.is_none() {
        skip("no kubectl, which has kustomize; run tests/cluster/build");
    }
    found
}
