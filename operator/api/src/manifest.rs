//! Reading manifests, from files and standard input to `render`: several documents, lists, YAML or JSON.
//! PortForwards are checked strictly; Secrets and ConfigMaps stand in for a cluster's; other kinds are left out by name.
//! One bad document spoils no other, all problems are reported at once, and no message holds a Secret's value.

mod data;

use std::{collections::BTreeMap, fmt};

use fairlead_config::yaml::{self, Lines};
use serde_json::Value;

pub use data::{ConfigMap, Secret};

use crate::{
    PortForward,
    schema::{self, API_VERSION, KIND, Problem},
};

/// The largest manifest text in bytes.
pub const TEXT_LIMIT: usize = 4 << 20;
/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Documents that can't be read before the rest of a text is given up.
const UNREADABLE_LIMIT: usize = 10;
/// Problems of one text after which the rest is given up.
const PROBLEMS_LIMIT: usize = 200;

/// What manifests hold.
#[derive(Debug, Default)]
pub struct Manifests {
    pub port_forwards: Vec<PortForward>,
    pub secrets: Vec<Secret>,
    pub config_maps: Vec<ConfigMap>,
    /// Kind and name of every object that is nothing to us.
    pub skipped: Vec<(String, String)>,
    pub problems: Vec<ManifestProblem>,
    /// Where each object was read, by kind, namespace and name.
    places: BTreeMap<(&'static str, String, String), Place>,
}

/// One thing that is wrong in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestProblem {
    pub place: Place,
    pub problem: Problem,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// A place in a manifest, shown as `forwards.yaml, line 14 (PortForward "db")`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    pub source: String,
    /// Counted from 1, where known.
    pub line: Option<usize>,
    /// Kind and name of the object, where it has them.
    pub object: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        self.object.as_ref().map_or(Ok(()), |object| write!(f, " ({object})"))
    }
}

/// Reads one manifest text; `source_name` is how messages call it, a file's name as a rule.
pub fn read(source_name: &str, text: &str) -> Manifests {
    let mut manifests = Manifests::default();
    let whole = Place { source: source_name.to_owned(), ..Place::default() };
    if text.len() > TEXT_LIMIT {
        let message = format!("{} bytes are too many for a manifest; write at most {TEXT_LIMIT}", text.len());
        manifests.complain(whole, Problem::new("", message));
        return manifests;
    }
    let mut unreadable = 0;
    for document in yaml::each_document(text) {
        let before = manifests.problems.len();
        match &document.content {
            Ok(value) => {
                manifests.take(&Place { line: Some(document.line), ..whole.clone() }, "", value);
                manifests.locate(before, || document.lines());
            }
            Err(error) => {
                manifests.complain(whole.clone(), Problem::new("", error.to_string()));
                unreadable += 1;
            }
        }
        if unreadable >= UNREADABLE_LIMIT || manifests.is_hopeless() {
            manifests.complain(whole, Problem::new("", "too many problems; the rest was not read"));
            break;
        }
    }
    manifests
}

impl Manifests {
    /// Adds what another text holds; an object that both have is a problem.
    pub fn merge(&mut self, other: Self) {
        for (key, place) in other.places {
            self.claim(key, place);
        }
        self.port_forwards.extend(other.port_forwards);
        self.secrets.extend(other.secrets);
        self.config_maps.extend(other.config_maps);
        self.skipped.extend(other.skipped);
        self.problems.extend(other.problems);
    }

    /// Finds a Secret.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Secret> {
        self.secrets.iter().find(|secret| secret.namespace == namespace && secret.name == name)
    }

    /// Finds a ConfigMap.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap> {
        self.config_maps.iter().find(|map| map.namespace == namespace && map.name == name)
    }

    /// Takes an object, or every object of a list; `path` is where it stands in its document.
    fn take(&mut self, place: &Place, path: &str, object: &Value) {
        let kind = text(object, "/kind");
        match object.get("items") {
            _ if self.is_hopeless() => {}
            Some(Value::Array(items)) if kind == "List" || kind == "PortForwardList" => {
                for (index, item) in items.iter().enumerate() {
                    self.take(place, &format!("{path}items[{index}]."), item);
                }
            }
            Some(_) | None => {
                let name = schema::clipped(text(object, "/metadata/name"));
                let named = (!kind.is_empty()).then(|| format!("{} {name:?}", schema::clipped(kind)));
                self.take_object(Place { object: named, ..place.clone() }, path, object);
            }
        }
    }

    fn take_object(&mut self, place: Place, path: &str, object: &Value) {
        let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        let taken = match (api_version, kind) {
            _ if is_ours(api_version, kind) => self.take_port_forward(&place, object),
            ("v1", "Secret") => Secret::from_object(object).map(|secret| {
                self.claim(("Secret", secret.namespace.clone(), secret.name.clone()), place.clone());
                self.secrets.push(secret);
            }),
            ("v1", "ConfigMap") => ConfigMap::from_object(object).map(|map| {
                self.claim(("ConfigMap", map.namespace.clone(), map.name.clone()), place.clone());
                self.config_maps.push(map);
            }),
            (_, "") => {
                Err(vec![Problem::new("kind", format!("required; write apiVersion: {API_VERSION} and kind: {KIND}"))])
            }
            _ => {
                self.skipped.push((schema::clipped(kind), schema::clipped(text(object, "/metadata/name"))));
                Ok(())
            }
        };
        for problem in taken.err().into_iter().flatten() {
            let field = format!("{path}{}", problem.field);
            self.complain(place.clone(), Problem { field, ..problem });
        }
    }

    fn take_port_forward(&mut self, place: &Place, object: &Value) -> Result<(), Vec<Problem>> {
        let problems = schema::check(object);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut stored = schema::without_nulls(object);
        stored.as_object_mut().and_then(|fields| fields.remove("status"));
        let forward: PortForward = serde_json::from_value(stored)
            .map_err(|_| vec![Problem::new("", "passes the schema but is no PortForward")])?;
        let namespace = forward.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        self.claim((KIND, namespace, forward.metadata.name.clone().unwrap_or_default()), place.clone());
        self.port_forwards.push(forward);
        Ok(())
    }

    fn claim(&mut self, key: (&'static str, String, String), place: Place) {
        if let Some(first) = self.places.get(&key) {
            let first = Place { object: None, ..first.clone() };
            let message = format!("twice in namespace {}, first in {first}; rename one of the two", key.1);
            return self.complain(place, Problem::new("metadata.name", message));
        }
        self.places.insert(key, place);
    }

    fn complain(&mut self, place: Place, problem: Problem) {
        self.problems.push(ManifestProblem { place, problem });
    }

    fn is_hopeless(&self) -> bool {
        self.problems.len() >= PROBLEMS_LIMIT
    }

    /// Puts the line of its field into every problem from `first` on.
    fn locate(&mut self, first: usize, lines: impl FnOnce() -> Lines) {
        let new = self.problems.get_mut(first..).unwrap_or_default();
        if new.is_empty() {
            return;
        }
        let lines = lines();
        for ManifestProblem { place, problem } in new {
            place.line = lines.of(&problem.field).or(place.line);
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Also what was meant to be ours: the kind with another version, or another kind in our group.
fn is_ours(api_version: &str, kind: &str) -> bool {
    let group = |version: &str| version.split('/').next().unwrap_or_default().to_owned();
    kind.eq_ignore_ascii_case(KIND) || group(api_version) == group(API_VERSION)
}

#[cfg(test)]
mod tests;
