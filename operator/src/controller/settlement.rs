//! What a proxy's configuration document says now, and what became of each member: from the PortForwards of one proxy
//! and the document in force to the next one. Pure. Invariants: an unchanged content keeps its revision; a member whose
//! new spec is refused goes on as it was accepted last.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fairlead_api::{
    PortForward,
    render::{AcceptedReason, Place, Rendering, Verdict, key_of, render_beside},
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

/// What one proxy shall run.
#[derive(Debug, Clone)]
pub(super) struct Wishes<'a> {
    pub(super) members: &'a [PortForward],
    pub(super) place: Place,
    /// The proxy's own ports.
    pub(super) ports: Vec<u16>,
    /// The members whose Service or gateway is somebody else's, and why.
    pub(super) taken: BTreeMap<String, String>,
    /// Forwards that are another proxy's by now and go on here as they were.
    pub(super) leavers: BTreeSet<ForwardKey>,
    /// Members that go on in another proxy until this one runs them.
    pub(super) comers: BTreeSet<ForwardKey>,
}

/// Renders the members of one proxy.
pub(super) fn settle(wishes: &Wishes<'_>, in_force: &InForce, now_ms: u64) -> Result<Settlement, YamlError> {
    let Wishes { members, place, ports, taken, leavers, comers } = wishes;
    let name = |object: &PortForward| object.metadata.name.clone().unwrap_or_default();
    let is_taken = |object: &&PortForward| taken.contains_key(&name(object));
    let refused: Vec<&PortForward> = members.iter().filter(is_taken).collect();
    let others: Vec<PortForward>;
    let rendered = if refused.is_empty() {
        *members
    } else {
        others = members.iter().filter(|object| !is_taken(object)).cloned().collect();
        &others
    };
    let Rendering { forwards, verdicts } = render_beside(rendered, *place, ports);
    let mut verdicts: BTreeMap<ForwardKey, Verdict> = verdicts.into_iter().collect();
    for object in refused {
        let message = taken.get(&name(object)).cloned().unwrap_or_default();
        verdicts.insert(key_of(object), Verdict::Refused { reason: AcceptedReason::NameTaken, message });
    }
    for key in comers {
        if let Some(Verdict::Refused { message, .. }) = verdicts.get_mut(key) {
            message.push_str(GOES_ON);
        }
    }
    // Reading the document is most of the work, and for the refused and the leavers alone.
    let some_stay = !leavers.is_empty() || verdicts.values().any(|verdict| matches!(verdict, Verdict::Refused { .. }));
    let before = in_force.text.as_deref().filter(|_| some_stay).and_then(|text| ReadConfig::parse(text).ok());
    let before = before.map(|before| before.forwards).unwrap_or_default();
    let mut forwards = with_kept(forwards, &mut verdicts, &before);
    for forward in before.into_iter().filter(|forward| leavers.contains(&forward.key)) {
        if !forwards.iter().any(|other| other.excludes(&forward)) {
            forwards.push(forward);
        }
    }
    forwards.sort_by(|a, b| a.key.cmp(&b.key));
    let runs = forwards.iter().map(|forward| forward.key.clone()).collect();
    let (revision, text) = document(forwards, in_force, now_ms)?;
    let verdicts = verdicts.into_iter().map(|(key, verdict)| (key.name, verdict)).collect();
    Ok(Settlement { revision, text, verdicts, runs })
}

/// Adds the last accepted forward of every refused member whose listener nobody else has got meanwhile.
fn with_kept(
    mut forwards: Vec<Forward>,
    verdicts: &mut BTreeMap<ForwardKey, Verdict>,
    before: &[Forward],
) -> Vec<Forward> {
    for forward in before {
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

    fn wishes(members: &[PortForward]) -> Wishes<'_> {
        let (ports, taken) = (vec![19443, 19444], BTreeMap::new());
        let (leavers, comers) = Default::default();
        Wishes { members, place: Place::Gateway, ports, taken, leavers, comers }
    }

    fn after(wishes: &Wishes<'_>, before: &Settlement) -> Settlement {
        let in_force = InForce { revision: before.revision, text: Some(before.text.clone()) };
        settle(wishes, &in_force, 5).unwrap()
    }

    fn next(members: &[PortForward], before: &Settlement) -> Settlement {
        after(&wishes(members), before)
    }

    fn first(members: &[PortForward]) -> Settlement {
        settle(&wishes(members), &InForce::default(), 1000).unwrap()
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
        let settled = settle(&wishes(&[]), &in_force, 5).unwrap();
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
        let members = [object("a", "tcp://:1/x:1")];
        let settled = settle(&Wishes { taken, ..wishes(&members) }, &InForce::default(), 1).unwrap();
        assert!(names(&settled).is_empty());
        assert!(matches!(&settled.verdicts["a"], Verdict::Refused { reason: AcceptedReason::NameTaken, .. }));
    }

    #[test]
    fn a_leaver_goes_on_as_it_was_unless_a_member_wants_its_listener() {
        let one = first(&[object("a", "tcp://:1/x:1"), object("b", "tcp://:2/x:1")]);
        let leaving = |members| Wishes { leavers: [key_of(&object("a", "tcp://:9/y:9"))].into(), ..wishes(members) };
        let stays = [object("b", "tcp://:2/x:1")];
        let held = after(&leaving(&stays), &one);
        assert_eq!((names(&held), held.revision), (vec!["a".to_owned(), "b".to_owned()], one.revision));
        assert!(!held.verdicts.contains_key("a"));
        let wants = [object("b", "tcp://:1/x:1")];
        assert_eq!(names(&after(&leaving(&wants), &one)), ["b"]);
        assert_eq!(names(&next(&stays, &held)), ["b"]);
    }

    #[test]
    fn a_refused_member_that_comes_from_elsewhere_goes_on_there() {
        let members = [object("a", "tcp://:1/x:1?strategy=best")];
        let comers = [key_of(&members[0])].into();
        let settled = settle(&Wishes { comers, ..wishes(&members) }, &InForce::default(), 1).unwrap();
        let Some(Verdict::Refused { message, .. }) = settled.verdicts.get("a") else { panic!("{settled:?}") };
        assert!(message.ends_with(GOES_ON) && names(&settled).is_empty(), "{message}");
    }

    #[test]
    fn a_port_is_refused_only_where_it_is_the_proxys_own() {
        let members = [object("a", "tcp://:19443/x:1")];
        assert!(names(&first(&members)).is_empty());
        let moved = Wishes { ports: vec![7, 8], ..wishes(&members) };
        assert_eq!(names(&settle(&moved, &InForce::default(), 1).unwrap()), ["a"]);
    }
}
