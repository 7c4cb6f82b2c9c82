//! What a proxy's configuration document says now, and what became of each member: from the PortForwards of one proxy
//! and the document in force to the next one. Pure. Invariants: an unchanged content keeps its revision; a member whose
//! new spec is refused goes on as it was accepted last.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fairlead_api::{
    PortForward,
    render::{AcceptedReason, Place, Rendering, Verdict, key_of, render},
};
use fairlead_config::{Config, Forward, ForwardKey, ReadConfig, yaml::YamlError};

/// What follows the message of a refused object that still runs.
const GOES_ON: &str = "; until then it goes on as it was accepted last";

/// The document in force, as far as anybody knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct InForce {
    /// The largest revision that anybody has seen.
    pub(super) revision: u64,
    /// The newest document.
    pub(super) text: Option<Arc<str>>,
}

/// What is to be in force, and the verdict on each member by name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settlement {
    pub(super) revision: u64,
    pub(super) text: Arc<str>,
    pub(super) verdicts: BTreeMap<String, Verdict>,
    /// What stands in the document.
    pub(super) runs: BTreeSet<ForwardKey>,
}

/// Renders the members of one proxy. `taken` names those whose Service or gateway is somebody else's, and why.
pub(super) fn settle(
    members: &[PortForward],
    place: Place,
    taken: &BTreeMap<String, String>,
    in_force: &InForce,
    now_ms: u64,
) -> Result<Settlement, YamlError> {
    let name = |object: &PortForward| object.metadata.name.clone().unwrap_or_default();
    let is_taken = |object: &&PortForward| taken.contains_key(&name(object));
    let refused: Vec<&PortForward> = members.iter().filter(is_taken).collect();
    let others: Vec<PortForward>;
    let rendered = if refused.is_empty() {
        members
    } else {
        others = members.iter().filter(|object| !is_taken(object)).cloned().collect();
        &others
    };
    let Rendering { forwards, verdicts } = render(rendered, place);
    let mut verdicts: BTreeMap<ForwardKey, Verdict> = verdicts.into_iter().collect();
    for object in refused {
        let message = taken.get(&name(object)).cloned().unwrap_or_default();
        verdicts.insert(key_of(object), Verdict::Refused { reason: AcceptedReason::NameTaken, message });
    }
    // Reading the document is most of the work, and for the refused alone.
    let some_refused = verdicts.values().any(|verdict| matches!(verdict, Verdict::Refused { .. }));
    let before = in_force.text.as_deref().filter(|_| some_refused).and_then(|text| ReadConfig::parse(text).ok());
    let forwards = with_kept(forwards, &mut verdicts, before.as_ref());
    let runs = forwards.iter().map(|forward| forward.key.clone()).collect();
    let (revision, text) = document(forwards, in_force, now_ms)?;
    let verdicts = verdicts.into_iter().map(|(key, verdict)| (key.name, verdict)).collect();
    Ok(Settlement { revision, text, verdicts, runs })
}

/// Adds the last accepted forward of every refused member whose listener nobody else has got meanwhile.
fn with_kept(
    mut forwards: Vec<Forward>,
    verdicts: &mut BTreeMap<ForwardKey, Verdict>,
    before: Option<&ReadConfig>,
) -> Vec<Forward> {
    for forward in before.into_iter().flat_map(|before| &before.forwards) {
        let Some(Verdict::Refused { message, reason }) = verdicts.get_mut(&forward.key) else { continue };
        let lost = match reason {
            AcceptedReason::NameTaken | AcceptedReason::GatewayFull => true,
            AcceptedReason::InvalidURL
            | AcceptedReason::InvalidSpec
            | AcceptedReason::PortConflict
            | AcceptedReason::UnsupportedValue => forwards.iter().any(|other| other.excludes(forward)),
        };
        if !lost {
            message.push_str(GOES_ON);
            forwards.push(forward.clone());
        }
    }
    forwards.sort_by(|a, b| a.key.cmp(&b.key));
    forwards
}

/// A content that is in force keeps its revision; another gets one that is newer than all before, whoever forgot them.
fn document(forwards: Vec<Forward>, in_force: &InForce, now_ms: u64) -> Result<(u64, Arc<str>), YamlError> {
    let mut config = Config::new(in_force.revision, forwards);
    if let Some(text) = &in_force.text
        && config.to_yaml()? == **text
    {
        return Ok((config.revision, Arc::clone(text)));
    }
    config.revision = now_ms.max(in_force.revision.saturating_add(1));
    Ok((config.revision, config.to_yaml()?.into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, url: &str) -> PortForward {
        serde_json::from_value(json!({
            "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward",
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
            "spec": {"url": url},
        }))
        .unwrap()
    }

    fn next(members: &[PortForward], before: &Settlement) -> Settlement {
        let in_force = InForce { revision: before.revision, text: Some(before.text.clone()) };
        settle(members, Place::Gateway, &BTreeMap::new(), &in_force, 5).unwrap()
    }

    fn first(members: &[PortForward]) -> Settlement {
        settle(members, Place::Gateway, &BTreeMap::new(), &InForce::default(), 1000).unwrap()
    }

    fn names(settlement: &Settlement) -> Vec<String> {
        let config = ReadConfig::parse(&settlement.text).unwrap();
        assert_eq!(config.revision, settlement.revision);
        config.forwards.into_iter().map(|forward| forward.key.name).collect()
    }

    #[test]
    fn the_same_content_keeps_its_revision_and_another_gets_a_newer_one_also_when_the_clock_goes_back() {
        let one = first(&[object("a", "tcp://:1/x:1")]);
        assert_eq!(one.revision, 1000);
        assert_eq!(next(&[object("a", "tcp://:1/x:1")], &one), one);
        let two = next(&[object("a", "tcp://:1/x:2")], &one);
        assert_eq!(two.revision, 1001);
        assert_ne!(two.text, one.text);
    }

    #[test]
    fn a_document_that_was_lost_is_followed_by_a_newer_revision() {
        let in_force = InForce { revision: 7000, text: None };
        let settled = settle(&[], Place::Gateway, &BTreeMap::new(), &in_force, 5).unwrap();
        assert_eq!(settled.revision, 7001);
    }

    #[test]
    fn a_member_whose_new_spec_is_refused_goes_on_unless_its_listener_is_gone() {
        let one = first(&[object("a", "tcp://:1/x:1"), object("b", "tcp://:2/x:1")]);
        let broken = next(&[object("a", "tcp://:1/x:1?strategy=best"), object("b", "tcp://:2/x:1")], &one);
        assert_eq!((names(&broken), broken.revision), (vec!["a".to_owned(), "b".to_owned()], one.revision));
        let Some(Verdict::Refused { message, .. }) = broken.verdicts.get("a") else { panic!("{broken:?}") };
        assert!(message.ends_with(GOES_ON), "{message}");
        let stolen = next(&[object("a", "tcp://:1/x:1?strategy=best"), object("b", "tcp://:1/x:1")], &broken);
        assert_eq!(names(&stolen), ["b"]);
        assert_eq!(names(&next(&[object("b", "tcp://:2/x:1")], &one)), ["b"]);
    }

    #[test]
    fn a_member_without_its_names_is_not_run() {
        let taken = BTreeMap::from([("a".to_owned(), "Service shop/a is somebody else's".to_owned())]);
        let settled = settle(&[object("a", "tcp://:1/x:1")], Place::Gateway, &taken, &InForce::default(), 1).unwrap();
        assert!(names(&settled).is_empty());
        assert!(matches!(&settled.verdicts["a"], Verdict::Refused { reason: AcceptedReason::NameTaken, .. }));
    }
}
