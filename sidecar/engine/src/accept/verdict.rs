//! Decides what a failed accept means, how long to pause after it, which workers accept and which carries a connection.
//! Pure: the accept loop asks, nothing here touches a socket or a clock.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::control::Trouble;
use crate::workers::Load;

/// The pauses while the system is short of something: doubling from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Workers that watch one listener: each of them is woken for every client.
const WATCHERS: usize = 4;
/// Connections a worker may have more than the least loaded one before it hands over new ones …
const UNEVEN: usize = 8;
/// … and where there are workers that get connections in no other way.
const UNEVEN_AMONG_MANY: usize = 1;

/// What a failed accept means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody is waiting.
    NoClient,
    /// That client has gone; the next may be there.
    ClientGone,
    /// Trying again at once would fail again.
    Short(Trouble),
}

/// Judges the error of one accept, as accept(2) lists them.
pub(super) fn judge(error: &io::Error) -> Verdict {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Verdict::NoClient;
    }
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => Verdict::Short(Trouble::OutOfDescriptors),
        Some(Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC) => Verdict::Short(Trouble::OutOfMemory),
        // Linux passes pending network errors of the new socket on through accept.
        Some(
            Errno::CONNABORTED
            | Errno::INTR
            | Errno::PROTO
            | Errno::PERM
            | Errno::TIMEDOUT
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::OPNOTSUPP,
        ) => Verdict::ClientGone,
        _ => Verdict::Short(Trouble::AcceptFailed),
    }
}

/// Returns the pause that follows `pause`; zero when there was none.
pub(super) fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
}

/// Whether this one of `workers` workers watches a listener that counts them from `first` on.
pub(super) fn watches(worker: usize, first: usize, workers: usize) -> bool {
    (worker + workers - first) % workers < WATCHERS
}

/// Returns the worker that carries a connection accepted by `own`: another only when far less loaded.
pub(super) fn worker_for(own: usize, load: &Load) -> usize {
    let least = load.least();
    let uneven = if load.workers() > WATCHERS { UNEVEN_AMONG_MANY } else { UNEVEN };
    if load.live(own) > load.live(least) + uneven { least } else { own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_accept_is_skipped_slowed_down_or_just_the_end_of_the_queue() {
        for (errno, verdict) in [
            (Errno::AGAIN, Verdict::NoClient),
            (Errno::CONNABORTED, Verdict::ClientGone),
            (Errno::INTR, Verdict::ClientGone),
            (Errno::MFILE, Verdict::Short(Trouble::OutOfDescriptors)),
            (Errno::NFILE, Verdict::Short(Trouble::OutOfDescriptors)),
            (Errno::NOBUFS, Verdict::Short(Trouble::OutOfMemory)),
            (Errno::NOMEM, Verdict::Short(Trouble::OutOfMemory)),
            (Errno::BADF, Verdict::Short(Trouble::AcceptFailed)),
            (Errno::INVAL, Verdict::Short(Trouble::AcceptFailed)),
        ] {
            assert_eq!(judge(&errno.into()), verdict, "{errno:?}");
        }
    }

    #[test]
    fn pauses_double_from_10_ms_to_1_s() {
        let mut pause = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pause = longer(pause);
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn a_listener_is_watched_by_at_most_four_workers_and_the_next_one_by_others() {
        for workers in 1..10 {
            let mut watched = vec![0; workers];
            for first in 0..workers {
                let watchers: Vec<_> = (0..workers).filter(|&worker| watches(worker, first, workers)).collect();
                assert_eq!(watchers.len(), workers.min(4), "{workers} workers from {first} on");
                watchers.iter().for_each(|&worker| watched[worker] += 1);
            }
            assert!(watched.iter().all(|&listeners| listeners == workers.min(4)), "{watched:?}");
        }
    }

    #[test]
    fn where_not_all_workers_accept_the_others_get_their_share_sooner() {
        let load = Load::new(5, usize::MAX);
        (0..4).for_each(|worker| load.add(worker));
        assert_eq!(worker_for(1, &load), 1);
        load.add(1);
        assert_eq!(worker_for(1, &load), 4);
        assert_eq!(worker_for(2, &load), 2);
    }

    #[test]
    fn a_connection_is_handed_over_only_when_the_load_is_more_than_8_uneven() {
        let load = Load::new(2, usize::MAX);
        (0..8).for_each(|_| load.add(1));
        assert_eq!(worker_for(1, &load), 1);
        load.add(1);
        assert_eq!(worker_for(1, &load), 0);
        assert_eq!(worker_for(0, &load), 0);
    }
}
