//! The rights that `deploy/install.yaml` gives the operator, one by one.

use std::{collections::BTreeSet, path::Path};

use fairlead_config::yaml;
use fairlead_tests::{cluster::Request, operator::SERVICE_ACCOUNT};
use serde_json::Value;

/// One verb on one resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    group: String,
    /// With its subresource, as in `portforwards/status`.
    resource: String,
    verb: String,
    /// The only object it is good for.
    name: Option<String>,
    /// The only namespace it is good for.
    namespace: Option<String>,
}

impl Right {
    /// Whether it covers a request.
    pub(crate) fn allows(&self, request: &Request) -> bool {
        let subresource = request.subresource.iter().map(|name| format!("/{name}"));
        let resource: String = std::iter::once(request.resource.clone()).chain(subresource).collect();
        (&self.group, &self.resource, &self.verb) == (&request.group, &resource, &request.verb)
            && (self.name.is_none() || self.name == request.name)
            && (self.namespace.is_none() || self.namespace == request.namespace)
    }
}

/// Every right of the operator's roles.
pub(crate) fn granted() -> BTreeSet<Right> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/install.yaml");
    let text = std::fs::read_to_string(file).expect("read deploy/install.yaml");
    let documents: Vec<Value> = yaml::documents(&text).expect("deploy/install.yaml is YAML");
    let of_kind = |kind: &str, name: &Value| {
        documents.iter().find(|document| document["kind"] == *kind && document["metadata"]["name"] == *name).cloned()
    };
    let bindings = documents.iter().filter(|document| {
        let is_binding = document["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding"));
        is_binding
            && document["subjects"].as_array().is_some_and(|who| who.iter().any(|s| s["name"] == SERVICE_ACCOUNT))
    });
    let roles = bindings.map(|binding| {
        let role = of_kind(binding["roleRef"]["kind"].as_str().unwrap_or_default(), &binding["roleRef"]["name"]);
        (role.expect("the bound role"), binding["metadata"]["namespace"].as_str().map(str::to_owned))
    });
    roles.flat_map(|(role, namespace)| rights(&role, namespace.as_deref())).collect()
}

fn rights(role: &Value, namespace: Option<&str>) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let names = texts(&rule["resourceNames"]);
        let names: Vec<_> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
        for group in texts(&rule["apiGroups"]) {
            for (resource, verb) in pairs(&texts(&rule["resources"]), &texts(&rule["verbs"])) {
                rights.extend(names.iter().map(|name| Right {
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    name: name.clone(),
                    namespace: namespace.map(str::to_owned),
                }));
            }
        }
    }
    rights
}

fn pairs(left: &[String], right: &[String]) -> Vec<(String, String)> {
    left.iter().flat_map(|l| right.iter().map(|r| (l.clone(), r.clone()))).collect()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
