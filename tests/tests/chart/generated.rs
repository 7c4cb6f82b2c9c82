//! What is made from the sources: the CRD in three places, `deploy/install.yaml`, the table in the chart's README.

use std::collections::BTreeMap;

use fairlead_tests::{
    chart::{Helm, RELEASE},
    golden,
};
use serde_json::{Value, json};

const MADE: &str = "# Made from the sources by the test `chart`; see UPDATE_GOLDEN there. Not to be edited.\n";
const NAME: &str = "metadata:\n  name: portforwards.fairlead.dev\n";
const TABLE: [&str; 2] = ["<!-- values -->\n", "<!-- end of values -->"];

#[test]
fn the_crd_is_the_one_of_the_types() {
    golden::assert_says("deploy/crd.yaml", &crd());
}

#[test]
fn the_chart_has_the_same_crd_with_labels_and_a_switch() {
    let crd = crd();
    assert_eq!(crd.matches(NAME).count(), 1, "the place for the labels");
    assert!(!crd.contains("{{"), "a description must not look like a template");
    let metadata = concat!(
        "metadata:\n  name: portforwards.fairlead.dev\n",
        "  {{- $keep := ternary (dict \"helm.sh/resource-policy\" \"keep\") (dict) .Values.crds.keep }}\n",
        "  {{- include \"fairlead.metadata\" (dict \"root\" . \"annotations\" $keep) | nindent 2 }}\n",
    );
    let template = format!(
        "{{{{- /* Made from the sources by the test `chart`; not to be edited. */}}}}\n{{{{- if .Values.crds.enabled }}}}\n{}{{{{- end }}}}\n",
        crd.replace(NAME, metadata)
    );
    golden::assert_says("charts/fairlead/templates/crd.yaml", &template);
}

#[test]
fn the_manifest_to_apply_is_what_the_chart_renders() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let rendered = helm.template(&json!({})).expect("the defaults render");
    let namespace = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {}\n  labels:\n    app.kubernetes.io/name: fairlead\n    \
         app.kubernetes.io/part-of: fairlead\n    pod-security.kubernetes.io/enforce: restricted\n",
        RELEASE.1
    );
    golden::assert_says("deploy/install.yaml", &format!("{MADE}{namespace}{rendered}"));
}

#[test]
fn the_readme_explains_every_value() {
    let readme = golden::read("charts/fairlead/README.md");
    let (before, rest) = readme.split_once(TABLE[0]).expect("the table's begin");
    let (_, after) = rest.split_once(TABLE[1]).expect("the table's end");
    let mut rows = "| value | default | what it does |\n|---|---|---|\n".to_owned();
    for (path, default, description) in super::values::all() {
        rows += &format!("| `{path}` | `{}` | {} |\n", shown(&default), description.replace('|', "\\|"));
    }
    let wanted = format!("{before}{}{rows}{}{after}", TABLE[0], TABLE[1]);
    golden::assert_says("charts/fairlead/README.md", &wanted);
}

fn crd() -> String {
    fairlead_api::crd_yaml().expect("the CRD as YAML")
}

/// A value on one line, with the keys of a map in order.
fn shown(value: &Value) -> String {
    match value.as_object() {
        Some(map) => serde_json::to_string(&map.iter().collect::<BTreeMap<_, _>>()).expect("JSON"),
        None => value.to_string(),
    }
}
