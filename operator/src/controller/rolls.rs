//! When a gateway's pods are replaced because its PortForwards name other Secrets or ConfigMaps: a shared gateway's
//! changes are collected for a while, so that several cost its members one replacement. Pure, with the time passed in.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::objects::Reference;

/// How long changes are collected.
pub(super) const COLLECTING: Duration = Duration::from_secs(10);

/// The changes of one gateway that wait.
#[derive(Debug, Default)]
pub(super) struct Collection {
    /// When the pods are replaced; none while nothing waits.
    due: Option<Instant>,
}

/// What a gateway's pods shall mount now.
#[derive(Debug, PartialEq)]
pub(super) struct Mounts {
    pub(super) references: BTreeSet<Reference>,
    /// When they shall mount something else, if nothing changes until then.
    pub(super) until: Option<Instant>,
}

impl Collection {
    /// Decides between what is wanted and what is mounted at present, if there is a gateway.
    pub(super) fn settle(
        &mut self,
        wanted: BTreeSet<Reference>,
        present: Option<BTreeSet<Reference>>,
        now: Instant,
    ) -> Mounts {
        let Some(present) = present.filter(|present| *present != wanted) else {
            self.due = None;
            return Mounts { references: wanted, until: None };
        };
        // Once due it stays so until the change is seen to be made: a write may fail.
        let due = *self.due.get_or_insert(now + COLLECTING);
        if now < due {
            Mounts { references: present, until: Some(due) }
        } else {
            Mounts { references: wanted, until: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(names: &[&str]) -> BTreeSet<Reference> {
        names.iter().map(|name| Reference::Secret((*name).to_owned())).collect()
    }

    #[test]
    fn changes_are_collected_from_the_first_on_and_made_together() {
        let (mut collection, begin) = (Collection::default(), Instant::now());
        let mut at = |seconds: u64, wanted: &[&str], present: Option<&[&str]>| {
            let now = begin + Duration::from_secs(seconds);
            let Mounts { references, until } = collection.settle(secrets(wanted), present.map(secrets), now);
            (references, until.map(|until| (until - begin).as_secs()))
        };
        assert_eq!(at(0, &["a"], None), (secrets(&["a"]), None), "a new gateway mounts at once what it needs");
        assert_eq!(at(1, &["a", "b"], Some(&["a"])), (secrets(&["a"]), Some(11)));
        assert_eq!(at(9, &["a", "b", "c"], Some(&["a"])), (secrets(&["a"]), Some(11)));
        for seconds in [11, 12] {
            assert_eq!(at(seconds, &["a", "b", "c"], Some(&["a"])), (secrets(&["a", "b", "c"]), None));
        }
        assert_eq!(at(13, &["a", "b", "c"], Some(&["a", "b", "c"])), (secrets(&["a", "b", "c"]), None));
        assert_eq!(at(20, &["a"], Some(&["a", "b", "c"])), (secrets(&["a", "b", "c"]), Some(30)));
        assert_eq!(at(21, &["a", "b", "c"], Some(&["a", "b", "c"])), (secrets(&["a", "b", "c"]), None));
        assert_eq!(at(40, &["b"], Some(&["a", "b", "c"])), (secrets(&["a", "b", "c"]), Some(50)), "a new collection");
    }
}
