//! Sidecars into manifests: from whole documents, as `kubectl` reads them, to the same documents with the container
//! `fairlead` in every pod template that is meant. Pure, and twice is the same as once. What is no pod or makes none,
//! and every field that isn't ours, passes through as it was.

mod order;
mod pod;
mod template;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use fairlead_api::PortForward;
use serde_json::Value;

use crate::{
    names::SIDECAR_LABEL,
    objects::{PortsError, Reference, references_of},
    settings::Settings,
};

pub use order::{InOrder, Order};
pub use pod::inject_template;

/// Documents with their sidecars.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    pub documents: Vec<Value>,
    /// What a person should know, one line each.
    pub notes: Vec<String>,
}

/// Why documents get no sidecars: everything at once.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct InjectErrors(pub Vec<InjectError>);

/// Why one object gets no sidecar.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {refusal}")]
pub struct InjectError {
    /// Its kind, namespace and name.
    pub object: String,
    pub refusal: Refusal,
}

/// Why a pod template gets no sidecar; each message says what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{path} is {found}; write {wanted}")]
    Shape { path: String, found: &'static str, wanted: &'static str },
    #[error(
        "{place}: \"{name}\" is no sidecar's name; write at most 50 lower case letters, digits and '-', a letter first"
    )]
    Name { place: &'static str, name: String },
    #[error("{list} has a container \"fairlead\" that is no sidecar of ours; rename it")]
    ContainerTaken { list: &'static str },
    #[error("spec.volumes has a volume \"{0}\" that is none of ours; rename it")]
    VolumeTaken(String),
    #[error(
        "container \"{container}\" has port {port}, which is the proxy's own; write another port into the annotation {annotation}"
    )]
    PortTaken { container: String, port: u16, annotation: &'static str },
    #[error("annotation {0}")]
    Ports(#[from] PortsError),
    #[error("spec.os.name is windows, for which there is no proxy; leave the label {SIDECAR_LABEL} out")]
    Windows,
    #[error("the container can't be written: {0}")]
    Unwritable(#[from] serde_json::Error),
}

/// Puts sidecars into every pod template that is labelled, or into every one if `sidecar` names one for those without a
/// label. Secrets and ConfigMaps are mounted as far as PortForwards among the documents name them.
pub fn inject(documents: Vec<Value>, sidecar: Option<&str>, settings: &Settings) -> Result<Injection, InjectErrors> {
    let mut documents = documents;
    let forwards = port_forwards(&documents);
    let mut run = Run { sidecar, settings, forwards, notes: Vec::new(), errors: Vec::new() };
    for document in &mut documents {
        run.walk(document, None);
    }
    if run.errors.is_empty() { Ok(Injection { documents, notes: run.notes }) } else { Err(InjectErrors(run.errors)) }
}

/// One call of [`inject`].
struct Run<'a> {
    sidecar: Option<&'a str>,
    settings: &'a Settings,
    forwards: Vec<PortForward>,
    notes: Vec<String>,
    errors: Vec<InjectError>,
}

impl Run<'_> {
    /// Takes an object, or every object of a list; items of a typed list need not repeat what they are.
    fn walk(&mut self, object: &mut Value, listed: Option<(String, String)>) {
        if let Some((items, listed)) = template::items(object) {
            for item in items {
                self.walk(item, listed.clone());
            }
            return;
        }
        let Some(path) = template::path(object, listed.as_ref()) else { return };
        let (name, namespace) = (template::name(object, listed.as_ref()), template::namespace(object).to_owned());
        if let Err(refusal) = self.take(object, path, (&name, &namespace)) {
            self.errors.push(InjectError { object: name, refusal });
        }
    }

    fn take(
        &mut self,
        object: &mut Value,
        path: &[&'static str],
        (name, namespace): (&str, &str),
    ) -> Result<(), Refusal> {
        let template = template::at(object, path)?;
        let labelled = template.pointer("/metadata/labels").and_then(|labels| labels.get(SIDECAR_LABEL));
        let labelled = labelled.and_then(Value::as_str).map(str::to_owned);
        let sidecar = match (labelled, self.sidecar) {
            (Some(label), Some(flag)) if label != flag => {
                self.notes.push(format!("{name}: its label {SIDECAR_LABEL}: {label} counts, not --sidecar {flag}"));
                label
            }
            (Some(label), _) => label,
            (None, Some(flag)) => flag.to_owned(),
            (None, None) => {
                self.notes.push(format!(
                    "{name}: left as it is; write --sidecar NAME, or the label {SIDECAR_LABEL}: NAME into its pod template"
                ));
                return Ok(());
            }
        };
        let references = self.references(namespace, &sidecar);
        pod::inject_template(template, &sidecar, self.settings, &references)
    }

    /// What the forwards of a sidecar name, as far as they are among the documents.
    fn references(&self, namespace: &str, sidecar: &str) -> BTreeSet<Reference> {
        let runs_there = |object: &&PortForward| {
            object.metadata.namespace.as_deref().unwrap_or_default() == namespace
                && object.spec.sidecar.as_ref().is_some_and(|place| place.name == sidecar)
        };
        self.forwards.iter().filter(runs_there).flat_map(references_of).collect()
    }
}

/// The PortForwards among the documents; one that can't be read is somebody else's concern.
fn port_forwards(documents: &[Value]) -> Vec<PortForward> {
    let items = documents.iter().flat_map(|document| match document.get("items") {
        Some(Value::Array(items)) => items.as_slice(),
        Some(_) | None => std::slice::from_ref(document),
    });
    let ours = items.filter(|object| object.get("kind").and_then(Value::as_str) == Some("PortForward"));
    ours.filter_map(|object| serde_json::from_value(object.clone()).ok()).collect()
}
