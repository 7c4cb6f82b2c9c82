//! One pod template, to the same with the container `fairlead`: the first of the init containers, so that those after
//! it and the application find their forwards at work. A pod that comes before its PortForward waits: its ConfigMap is
//! optional, and the container counts as started once it has a configuration; what it waits for is in its log.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Refusal, template::kind_of};
use crate::{
    names::{CONTAINER, ProxyId, ProxyKind, SIDECAR_LABEL},
    objects::{CONFIG_VOLUME, ProxyPorts, Reference, Waiting, container},
    settings::Settings,
};

/// The longest name of a sidecar.
const NAME_LIMIT: usize = 50;
/// How the names of our ConfigMaps end.
const CONFIG_MAP_SUFFIX: &str = "-sidecar";

/// Puts the sidecar `name` into a pod template, or into a Pod, in the place of an older one.
pub fn inject_template(
    template: &mut Value,
    name: &str,
    settings: &Settings,
    references: &BTreeSet<Reference>,
) -> Result<(), Refusal> {
    check_name(name)?;
    let annotation = |key: &str| template.pointer("/metadata/annotations")?.get(key)?.as_str();
    let ports = ProxyPorts::of(annotation)?;
    let spec = field(template, "spec", "spec")?;
    check_pod(spec, ports)?;
    let sidecar = container(settings, &settings.sidecar.resources, ports, Waiting::ForConfiguration, references);
    let mut sidecar = serde_json::to_value(sidecar)?;
    sidecar["restartPolicy"] = json!("Always");
    let containers = list(spec, "initContainers")?;
    containers.retain(|container| container["name"] != CONTAINER);
    containers.insert(0, sidecar);
    put_volumes(list(spec, "volumes")?, name, references)?;
    let metadata = field_or_new(template, "metadata", "metadata")?;
    let labels = field_or_new(metadata, "labels", "metadata.labels")?;
    labels[SIDECAR_LABEL] = json!(name);
    Ok(())
}

/// As the CRD has it for `spec.sidecar.name`.
fn check_name(name: &str) -> Result<(), Refusal> {
    let is_label = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.len() <= NAME_LIMIT;
    if is_label { Ok(()) } else { Err(Refusal::Name { place: SIDECAR_LABEL, name: name.to_owned() }) }
}

/// Refuses a pod in which the sidecar would take what is somebody else's.
fn check_pod(spec: &Value, ports: ProxyPorts) -> Result<(), Refusal> {
    if spec.pointer("/os/name").is_some_and(|name| name == "windows") {
        return Err(Refusal::Windows);
    }
    let named = |list: &str| {
        let all = spec.get(list).and_then(Value::as_array).into_iter().flatten();
        all.filter(|container| container["name"] == CONTAINER).cloned().collect::<Vec<_>>()
    };
    if !named("containers").is_empty() {
        return Err(Refusal::ContainerTaken { list: "spec.containers" });
    }
    if named("initContainers").iter().any(|container| container["restartPolicy"] != "Always") {
        return Err(Refusal::ContainerTaken { list: "spec.initContainers" });
    }
    let others = ["initContainers", "containers"].into_iter().filter_map(|list| spec.get(list)?.as_array()).flatten();
    others.filter(|container| container["name"] != CONTAINER).try_for_each(|other| check_ports(other, ports))
}

fn check_ports(container: &Value, ports: ProxyPorts) -> Result<(), Refusal> {
    let theirs = container.get("ports").and_then(Value::as_array).into_iter().flatten();
    let theirs: Vec<u64> = theirs
        .filter(|port| port.get("protocol").is_none_or(|protocol| protocol == "TCP"))
        .filter_map(|port| port.get("containerPort")?.as_u64())
        .collect();
    let ours = [ports.admin, ports.metrics].into_iter().zip(ProxyPorts::ANNOTATIONS);
    match ours.into_iter().find(|(port, _)| theirs.contains(&u64::from(*port))) {
        Some((port, annotation)) => {
            let container = container["name"].as_str().unwrap_or_default().to_owned();
            Err(Refusal::PortTaken { container, port, annotation })
        }
        None => Ok(()),
    }
}

fn put_volumes(volumes: &mut Vec<Value>, name: &str, references: &BTreeSet<Reference>) -> Result<(), Refusal> {
    let kind = ProxyKind::Sidecar(name.to_owned());
    let config_map = ProxyId { namespace: String::new(), kind }.object_name();
    let is_ours = |volume: &Value| {
        let name = volume.pointer("/configMap/name").and_then(Value::as_str);
        name.is_some_and(|name| name.ends_with(CONFIG_MAP_SUFFIX))
    };
    if volumes.iter().any(|volume| volume["name"] == CONFIG_VOLUME && !is_ours(volume)) {
        return Err(Refusal::VolumeTaken(CONFIG_VOLUME.to_owned()));
    }
    put(volumes, json!({"name": CONFIG_VOLUME, "configMap": {"name": config_map, "optional": true}}));
    for reference in references {
        put(volumes, serde_json::to_value(reference.volume())?);
    }
    Ok(())
}

/// Puts a volume where one of its name is, or last.
fn put(volumes: &mut Vec<Value>, volume: Value) {
    match volumes.iter_mut().find(|other| other["name"] == volume["name"]) {
        Some(other) => *other = volume,
        None => volumes.push(volume),
    }
}

fn field<'a>(parent: &'a mut Value, name: &str, path: &str) -> Result<&'a mut Value, Refusal> {
    let found = kind_of(parent.get(name).unwrap_or(&Value::Null));
    let field = parent.get_mut(name).filter(|value| value.is_object());
    field.ok_or(Refusal::Shape { path: path.to_owned(), found, wanted: "a mapping" })
}

fn field_or_new<'a>(parent: &'a mut Value, name: &str, path: &str) -> Result<&'a mut Value, Refusal> {
    if parent.get(name).is_none_or(Value::is_null) {
        parent[name] = Value::Object(Map::new());
    }
    field(parent, name, path)
}

/// A list of the pod's spec, which is made where it is missing.
fn list<'a>(spec: &'a mut Value, name: &str) -> Result<&'a mut Vec<Value>, Refusal> {
    if spec.get(name).is_none_or(Value::is_null) {
        spec[name] = json!([]);
    }
    let found = kind_of(&spec[name]);
    let list = spec[name].as_array_mut();
    list.ok_or_else(|| Refusal::Shape { path: format!("spec.{name}"), found, wanted: "a list" })
}
