//! Manifest texts to what shall run: strictly read, rendered, and all problems at once. Pure, but
//! for what ssh would take on this machine.
//! Invariant of a reload: a change that makes a problem is not taken, and nothing else suffers from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use fairlead_api::{
    PortForward,
    manifest::{self, ConfigMap, Manifests, Secret},
    render::{self, Place, Rendering, Verdict},
    schema::API_VERSION,
};
use fairlead_engine::SecretFiles;

use crate::{
    own_ssh,
    source::{Snapshot, Text},
};

/// What shall run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) objects: Vec<PortForward>,
    /// With one verdict per object, in the same order.
    pub(crate) rendering: Rendering,
    /// The Secrets and ConfigMaps beside the objects, as the files that the rendering names.
    pub(crate) files: SecretFiles,
}

/// What texts say.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) wanted: Wanted,
    /// One line each; with any of them the texts are not to be run.
    pub(crate) problems: Vec<String>,
    /// What a person should know all the same.
    pub(crate) warnings: Vec<String>,
    /// Objects of other kinds.
    pub(crate) skipped: Vec<String>,
}

/// What a changed set of texts comes to.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// The texts in force from now on: the new ones, but the old one wherever the new one is no good.
    pub(crate) texts: Vec<Text>,
    pub(crate) reading: Reading,
    /// Why the others are not taken.
    pub(crate) problems: Vec<String>,
}

/// Renders objects and gathers the reasons of the refused ones. Of two with one name the first is taken.
pub(crate) fn wanted(mut objects: Vec<PortForward>, place: Place) -> (Wanted, Vec<String>) {
    let mut names = BTreeSet::new();
    objects.retain(|object| names.insert(render::key_of(object)));
    let mut rendering = render::render(&objects, place);
    let lacking = if place.is_in_a_cluster() { Vec::new() } else { own_ssh::complete(&mut rendering.forwards) };
    let refused = rendering.verdicts.iter().filter_map(|(key, verdict)| match verdict {
        Verdict::Refused { message, .. } => Some(format!("forward {key}: {message}")),
        Verdict::Accepted { .. } | Verdict::Suspended { .. } => None,
    });
    let problems = refused.chain(lacking).collect();
    (Wanted { objects, rendering, files: SecretFiles::default() }, problems)
}

/// Secrets and ConfigMaps as the files that a rendering for this place names.
pub(crate) fn files<'a>(
    secrets: &'a [Secret],
    config_maps: &'a [ConfigMap],
    place: Place,
) -> impl Iterator<Item = (String, Vec<u8>)> + 'a {
    let in_dir = |dir: String, data: &'a BTreeMap<String, Vec<u8>>| {
        data.iter().map(move |(key, value)| (format!("{dir}/{key}"), value.clone()))
    };
    let secrets = secrets.iter().map(move |it| (render::secret_dir(place, &it.namespace, &it.name), &it.data));
    let config_maps =
        config_maps.iter().map(move |it| (render::config_map_dir(place, &it.namespace, &it.name), &it.data));
    secrets.chain(config_maps).flat_map(move |(dir, data)| in_dir(dir, data))
}

/// Reads texts that shall run together.
pub(crate) fn read(texts: &[Text], place: Place) -> Reading {
    let (mut all, mut skipped, mut empty) = (Manifests::default(), Vec::new(), Vec::new());
    for text in texts {
        let manifests = manifest::read(&text.name, &text.text);
        skipped.extend(manifests.skipped.iter().map(|(kind, name)| format!("{}: skipped {kind} {name:?}", text.name)));
        if text.of_directory.is_none() && says_nothing(&manifests) {
            empty.push(nothing_in(&text.name));
        }
        all.merge(manifests);
    }
    let files = files(&all.secrets, &all.config_maps, place).collect();
    let (wanted, refused) = wanted(all.port_forwards, place);
    let wanted = Wanted { files, ..wanted };
    let problems = all.problems.iter().map(ToString::to_string).chain(empty).chain(refused).collect();
    let warnings = warnings(&wanted.rendering);
    Reading { wanted, problems, warnings, skipped }
}

/// Reads what origins hold at the start: everything has to be right, and each has to hold a PortForward.
pub(crate) fn first(snapshot: &Snapshot, directories: &[&Path], place: Place) -> Reading {
    let mut reading = read(&snapshot.texts, place);
    let unreadable = snapshot.unreadable.iter().map(|unreadable| unreadable.problem.clone());
    reading.problems.extend(unreadable);
    for directory in directories {
        let name = directory.display().to_string();
        let mut its = snapshot.texts.iter().filter(|text| text.of_directory.as_deref() == Some(directory));
        let listed = snapshot.unreadable.iter().all(|unreadable| unreadable.name != name);
        if listed && its.all(|text| says_nothing(&manifest::read(&text.name, &text.text))) {
            reading.problems.push(nothing_in(&name));
        }
    }
    reading
}

/// Decides what to take of a changed set of texts while `held` runs.
pub(crate) fn next(held: &[Text], snapshot: &Snapshot, place: Place) -> Reloaded {
    let mut problems: Vec<String> = snapshot.unreadable.iter().map(|unreadable| unreadable.problem.clone()).collect();
    let fresh = completed(held, snapshot, &mut problems);
    let reading = read(&fresh, place);
    if reading.problems.is_empty() {
        return Reloaded { texts: fresh, reading, problems };
    }
    problems.extend(reading.problems);
    // One after the other: a file is taken if what runs can run with it.
    let mut texts = held.to_vec();
    for change in changes(held, &fresh) {
        let tried = applied(&texts, &change);
        if read(&tried, place).problems.is_empty() {
            texts = tried;
        }
    }
    let reading = read(&texts, place);
    Reloaded { texts, reading, problems }
}

/// The new texts, with the held one wherever there is nothing to be read now.
fn completed(held: &[Text], snapshot: &Snapshot, problems: &mut Vec<String>) -> Vec<Text> {
    let mut fresh = snapshot.texts.clone();
    for old in held {
        let gone = |unreadable: &crate::source::Unreadable| {
            unreadable.name == old.name
                || old.of_directory.as_ref().is_some_and(|d| d.display().to_string() == unreadable.name)
        };
        let new = fresh.iter_mut().find(|new| new.name == old.name);
        match new {
            // Somebody is about to write it.
            Some(new) if new.text.trim().is_empty() && !old.text.trim().is_empty() => {
                problems.push(format!("{}: is empty", old.name));
                new.text.clone_from(&old.text);
            }
            None if snapshot.unreadable.iter().any(gone) => fresh.push(old.clone()),
            Some(_) | None => {}
        }
    }
    fresh
}

/// One file's change: its new text, or none when it is gone.
struct Change<'a> {
    name: &'a str,
    text: Option<&'a Text>,
}

/// Removals come first: they make room.
fn changes<'a>(held: &'a [Text], fresh: &'a [Text]) -> Vec<Change<'a>> {
    let in_list = |list: &'a [Text], name: &str| list.iter().find(|text| text.name == name);
    let removed =
        held.iter().filter(|old| in_list(fresh, &old.name).is_none()).map(|old| Change { name: &old.name, text: None });
    let changed = fresh.iter().filter(|new| in_list(held, &new.name) != Some(*new));
    removed.chain(changed.map(|new| Change { name: &new.name, text: Some(new) })).collect()
}

fn applied(texts: &[Text], change: &Change<'_>) -> Vec<Text> {
    let mut tried: Vec<Text> = texts.iter().filter(|text| text.name != change.name).cloned().collect();
    tried.extend(change.text.cloned());
    tried
}

/// What a person should know of a rendering, one line each.
pub(crate) fn warnings(rendering: &Rendering) -> Vec<String> {
    let warnings = rendering.verdicts.iter().flat_map(|(key, verdict)| match verdict {
        Verdict::Accepted { warnings, .. } | Verdict::Suspended { warnings, .. } => {
            warnings.iter().map(|warning| format!("forward {key}: {warning}")).collect()
        }
        Verdict::Refused { .. } => Vec::new(),
    });
    warnings.collect()
}

fn says_nothing(manifests: &Manifests) -> bool {
    manifests.port_forwards.is_empty() && manifests.problems.is_empty()
}

fn nothing_in(name: &str) -> String {
    format!("{name}: holds no PortForward; write one (apiVersion: {API_VERSION}, kind: PortForward)")
}

#[cfg(test)]
#[path = "manifests_tests.rs"]
mod tests;
