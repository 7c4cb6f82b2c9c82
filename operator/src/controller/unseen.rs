//! Statuses that were written and that the cache does not show yet: from the API server's answers to the next look at
//! the status, so that nothing is written or told twice. Pure.

use std::collections::HashMap;

use fairlead_api::{PortForward, PortForwardStatus};

use super::index::ObjectName;

/// A status that was written.
pub(super) struct Written {
    status: Box<PortForwardStatus>,
    /// Of the object that has it, where versions of objects can be compared.
    version: Option<u64>,
}

impl Written {
    /// `answer` is the object with this status, as the API server has it.
    pub(super) fn new(status: PortForwardStatus, answer: &PortForward) -> Self {
        Self { status: Box::new(status), version: version_of(answer) }
    }

    fn shows_in(&self, seen: &PortForward) -> bool {
        match (self.version, version_of(seen)) {
            (Some(written), Some(seen)) => written <= seen,
            (None, _) | (_, None) => true,
        }
    }
}

/// Those of all objects.
#[derive(Default)]
pub(super) struct Unseen(HashMap<ObjectName, Written>);

impl Unseen {
    /// Keeps a status until the object is seen with it, or with a later one.
    pub(super) fn keep(&mut self, seen: Option<&PortForward>, name: ObjectName, written: Written) {
        if seen.is_some_and(|seen| !written.shows_in(seen)) {
            self.0.insert(name, written);
        }
    }

    /// Takes note of an object as it was seen, or that it is gone.
    pub(super) fn see(&mut self, name: &ObjectName, seen: Option<&PortForward>) {
        if self.0.get(name).is_some_and(|written| seen.is_none_or(|seen| written.shows_in(seen))) {
            self.0.remove(name);
        }
    }

    /// The status that an object really has, if it isn't the one that was seen.
    pub(super) fn of(&self, name: &ObjectName) -> Option<&PortForwardStatus> {
        self.0.get(name).map(|written| &*written.status)
    }
}

fn version_of(object: &PortForward) -> Option<u64> {
    object.metadata.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(version: &str) -> PortForward {
        serde_json::from_value(json!({
            "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward",
            "metadata": {"name": "db", "namespace": "shop", "resourceVersion": version},
            "spec": {"url": "tcp://:1/x:1"},
        }))
        .unwrap()
    }

    fn name() -> ObjectName {
        ObjectName::new("shop", "db")
    }

    #[test]
    fn a_status_counts_until_the_object_is_seen_with_it() {
        let mut unseen = Unseen::default();
        let written = || Written::new(PortForwardStatus::default(), &seen("7"));
        unseen.keep(Some(&seen("5")), name(), written());
        // Somebody else's change came before ours, and is seen only now.
        unseen.see(&name(), Some(&seen("6")));
        assert!(unseen.of(&name()).is_some());
        unseen.see(&name(), Some(&seen("7")));
        assert!(unseen.of(&name()).is_none());
        for (when, what) in [(Some(seen("8")), "seen already"), (None, "gone")] {
            unseen.keep(when.as_ref(), name(), written());
            assert!(unseen.of(&name()).is_none(), "{what}");
        }
    }

    #[test]
    fn nothing_is_kept_of_an_object_that_is_gone_or_whose_versions_say_nothing() {
        for sight in [None, Some(seen("x"))] {
            let mut unseen = Unseen::default();
            unseen.keep(Some(&seen("5")), name(), Written::new(PortForwardStatus::default(), &seen("7")));
            unseen.see(&name(), sight.as_ref());
            assert!(unseen.of(&name()).is_none());
        }
    }
}
