//! When to try again after a far end's port was lost or never held: pure, with the time and the dice passed in.
//! Invariant: but for refused logins, a pause is never longer than a quarter of the time without the port, and so the
//! port is back soon after a short outage while a long one costs little.

use std::time::{Duration, Instant};

/// The first pause.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause, and the only one after a refused login.
const LONGEST: Duration = Duration::from_secs(30);
/// Another one has the port: tried again after 2 to 5 s.
const BUSY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// A server that gives each port to one peer may need a moment to let go of it.
const LETTING_GO: Duration = Duration::from_secs(1);
const LETTING_GO_PAUSE: Duration = Duration::from_millis(20);
/// A port held for less time than this was not recovered.
const STEADY: Duration = Duration::from_secs(5);
/// The least a dial is given.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The far end can't be reached, or the connection to it was cut.
    Lost,
    /// It does not give us the port.
    Busy,
    /// It does not accept our login.
    Login,
}

/// How long a forward has been without its port.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    held_at: Option<Instant>,
    handed_over_at: Option<Instant>,
    away_since: Option<Instant>,
}

impl Recovery {
    /// The port is held.
    pub(super) fn held(&mut self, now: Instant) {
        self.held_at = Some(now);
    }

    /// The port's peer came, and it must be asked for anew.
    pub(super) fn handed_over(&mut self, now: Instant) {
        (self.handed_over_at, self.away_since) = (Some(now), None);
    }

    /// Whether the port was given up only just now, for a peer.
    pub(super) fn is_letting_go(&self, now: Instant) -> bool {
        self.handed_over_at.is_some_and(|at| now.saturating_duration_since(at) < LETTING_GO)
    }

    /// How long from the beginning of the last attempt to the next one; `dice` is from 0 to 1.
    pub(super) fn pause(&mut self, kind: Kind, now: Instant, dice: f64) -> Duration {
        let was_steady = self.held_at.take().is_some_and(|at| now.saturating_duration_since(at) >= STEADY);
        if was_steady {
            self.away_since = None;
        }
        let away = now.saturating_duration_since(*self.away_since.get_or_insert(now));
        match kind {
            Kind::Login => LONGEST,
            Kind::Busy if self.is_letting_go(now) => LETTING_GO_PAUSE,
            Kind::Busy => BUSY.0 + (BUSY.1 - BUSY.0).mul_f64(dice),
            Kind::Lost => (away / 4).clamp(FIRST, LONGEST).mul_f64(0.5 + dice / 2.0),
        }
    }

    /// How long a dial may take: a server that is back answers none that began long before.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        let away = self.away_since.map(|since| now.saturating_duration_since(since));
        away.map_or(Duration::MAX, |away| (away / 4).max(LEAST_PATIENCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn pauses_grow_with_the_outage_and_never_beyond_a_quarter_of_it() {
        let begun = Instant::now();
        for dice in [0.0, 0.5, 1.0] {
            let (mut recovery, mut now) = (Recovery::default(), begun);
            recovery.held(begun - seconds(60));
            while now - begun < seconds(600) {
                let (away, pause) = (now - begun, recovery.pause(Kind::Lost, now, dice));
                assert!(pause <= (away / 4).max(FIRST) && pause <= LONGEST, "{pause:?} after {away:?}");
                assert!(pause >= Duration::from_millis(125), "{pause:?} after {away:?}");
                now += pause;
            }
        }
        let mut recovery = Recovery::default();
        recovery.pause(Kind::Lost, begun, 1.0);
        assert_eq!(recovery.pause(Kind::Lost, begun + seconds(8), 1.0), seconds(2));
        assert_eq!(recovery.pause(Kind::Lost, begun + seconds(1_000), 1.0), seconds(30));
    }

    #[test]
    fn a_port_that_is_lost_again_at_once_is_no_recovery() {
        let begun = Instant::now();
        let mut recovery = Recovery::default();
        recovery.pause(Kind::Lost, begun, 1.0);
        recovery.held(begun + seconds(80));
        assert_eq!(recovery.pause(Kind::Lost, begun + seconds(80), 1.0), seconds(20));
        recovery.held(begun + seconds(100));
        assert_eq!(recovery.pause(Kind::Lost, begun + seconds(200), 1.0), FIRST);
    }

    #[test]
    fn a_refused_login_waits_long_and_a_busy_port_a_little() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        assert_eq!(recovery.pause(Kind::Login, now, 0.0), seconds(30));
        assert_eq!(recovery.pause(Kind::Busy, now, 0.0), seconds(2));
        assert_eq!(recovery.pause(Kind::Busy, now, 1.0), seconds(5));
        recovery.handed_over(now);
        assert_eq!(recovery.pause(Kind::Busy, now, 1.0), LETTING_GO_PAUSE);
        assert_eq!(recovery.pause(Kind::Busy, now + seconds(1), 0.0), seconds(2));
    }

    #[test]
    fn dials_are_short_while_the_outage_is() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        assert_eq!(recovery.patience(now), Duration::MAX);
        recovery.pause(Kind::Lost, now, 1.0);
        assert_eq!(recovery.patience(now + seconds(1)), seconds(2));
        assert_eq!(recovery.patience(now + seconds(20)), seconds(5));
    }
}
