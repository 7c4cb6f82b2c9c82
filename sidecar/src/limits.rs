//! Limits of this process: as many file descriptors as the system lets it have.
//! A connection takes two, and the usual soft limit of 1024 is for programs that use `select`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one.
pub(crate) fn raise_open_files() {
    let present = getrlimit(Resource::Nofile);
    let Some(wanted) = raised(&present) else { return };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// The limit to set, when there is anything to gain.
fn raised(present: &Rlimit) -> Option<Rlimit> {
    (present.current != present.maximum).then_some(Rlimit { current: present.maximum, maximum: present.maximum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_goes_up_to_the_hard_one() {
        let limits = |current, maximum| Rlimit { current, maximum };
        for (present, want) in [
            (limits(Some(1024), Some(4096)), Some((Some(4096), Some(4096)))),
            (limits(Some(1024), None), Some((None, None))),
            (limits(Some(4096), Some(4096)), None),
        ] {
            assert_eq!(raised(&present).map(|raised| (raised.current, raised.maximum)), want);
        }
    }
}
