//! One candidate, step by step.
#![allow(clippy::unwrap_used)]

use super::*;

const ME: &str = "me";

fn wall(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn theirs(renewed: i64) -> Record {
    Record {
        holder: "rival".into(),
        duration: seconds(10),
        acquired: Some(wall(0)),
        renewed: Some(wall(renewed)),
        transitions: 3,
    }
}

/// A candidate and its clock, which starts at 0.
struct Bench {
    candidate: Candidate,
    start: Instant,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        Self { candidate: Candidate::new(Terms::new(ME), start), start }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn step(&mut self, millis: u64) -> Action {
        self.candidate.step(self.at(millis), wall(i64::try_from(millis / 1000).unwrap()))
    }

    fn asked(&mut self, millis: u64) -> Request {
        match self.step(millis) {
            Action::Ask(request) => request,
            other @ (Action::Wait(_) | Action::Done) => panic!("expected a request, got {other:?}"),
        }
    }

    fn answer(&mut self, answer: Answer, millis: u64) {
        let now = self.at(millis);
        self.candidate.answer(answer, now);
    }

    /// Makes it lead from 0 on, in version 1.
    fn leading() -> Self {
        let mut bench = Self::new();
        bench.asked(0);
        bench.answer(Answer::Absent, 0);
        bench.asked(0);
        bench.answer(Answer::Written("1".into()), 0);
        bench
    }
}

fn record_of(request: Request) -> (Record, Option<String>) {
    match request {
        Request::Create(record) => (record, None),
        Request::Replace(record, version) => (record, Some(version)),
        Request::Read => panic!("expected a write"),
    }
}

#[test]
fn an_absent_lease_is_created_and_led_from_before_the_request() {
    let mut bench = Bench::new();
    assert_eq!(bench.asked(0), Request::Read);
    bench.answer(Answer::Absent, 100);
    let (record, version) = record_of(bench.asked(200));
    assert_eq!((record.holder.as_str(), record.transitions, version), (ME, 0, None));
    assert_eq!((record.acquired, record.renewed), (Some(wall(0)), Some(wall(0))));
    assert!(!bench.candidate.is_leading(bench.at(200)));
    bench.answer(Answer::Written("1".into()), 900);
    assert!(bench.candidate.is_leading(bench.at(6199)));
    assert!(!bench.candidate.is_leading(bench.at(6200)));
    assert_eq!(bench.candidate.write_deadline(), Some(bench.at(9200)));
    assert_eq!(bench.step(900), Action::Wait(bench.at(2200)));
}

#[test]
fn a_rivals_lease_is_left_alone_until_its_record_stood_still_for_its_duration() {
    let mut bench = Bench::new();
    bench.asked(0);
    bench.answer(Answer::Found(theirs(-900), "7".into()), 0);
    for poll in 1..=9 {
        assert_eq!(bench.step(1000 * (poll - 1)), Action::Wait(bench.at(1000 * poll)));
        assert_eq!(bench.asked(1000 * poll), Request::Read);
        // A new version with the same record is somebody's label, not a renewal.
        bench.answer(Answer::Found(theirs(-900), format!("7{poll}")), 1000 * poll);
    }
    assert_eq!(bench.step(9000), Action::Wait(bench.at(10_000)));
    assert_eq!(bench.asked(10_000), Request::Read);
    bench.answer(Answer::Found(theirs(-900), "80".into()), 10_000);
    let (record, version) = record_of(bench.asked(10_000));
    assert_eq!((record.transitions, version.as_deref()), (4, Some("80")));
    assert_eq!(record.acquired, Some(wall(10)));
}

#[test]
fn a_renewed_record_starts_the_time_again() {
    let mut bench = Bench::new();
    bench.asked(0);
    bench.answer(Answer::Found(theirs(0), "7".into()), 0);
    bench.step(0);
    bench.asked(9900);
    bench.answer(Answer::Found(theirs(1), "8".into()), 9900);
    assert_eq!(bench.step(15_000), Action::Wait(bench.at(16_000)));
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut bench = Bench::new();
    bench.asked(0);
    bench.answer(Answer::Found(released(&theirs(0), wall(1)), "8".into()), 0);
    assert_eq!(record_of(bench.asked(0)).1.as_deref(), Some("8"));
}

#[test]
fn a_deleted_lease_of_a_rival_is_not_created_before_the_rivals_time_is_over() {
    let mut bench = Bench::new();
    bench.asked(0);
    bench.answer(Answer::Found(theirs(0), "7".into()), 0);
    bench.step(0);
    bench.asked(9500);
    bench.answer(Answer::Absent, 9500);
    assert_eq!(bench.step(9500), Action::Wait(bench.at(10_000)));
    bench.asked(10_000);
    bench.answer(Answer::Absent, 10_000);
    assert_eq!(record_of(bench.asked(10_000)).1, None);
}

#[test]
fn a_renewal_keeps_the_acquisition_and_its_time_always_grows() {
    let mut bench = Bench::leading();
    // The wall clock was set back by a day.
    let action = bench.candidate.step(bench.at(2000), wall(-86_400));
    let Action::Ask(request) = action else { panic!("{action:?}") };
    let (record, version) = record_of(request);
    assert_eq!((record.transitions, record.acquired, version.as_deref()), (0, Some(wall(0)), Some("1")));
    assert_eq!(record.renewed, Some(wall(0) + SignedDuration::from_micros(1)));
}

#[test]
fn failing_renewals_end_leadership_at_the_deadline_and_a_late_success_gives_no_time() {
    let mut bench = Bench::leading();
    for start in [2000, 4000] {
        assert_eq!(record_of(bench.asked(start)).1.as_deref(), Some("1"));
        bench.answer(Answer::Failed, start + 2000);
    }
    assert!(!bench.candidate.is_leading(bench.at(6000)));
    assert_eq!(bench.candidate.write_deadline(), Some(bench.at(9000)));
    assert_eq!(bench.asked(6000), Request::Read);
    bench.answer(Answer::Found(theirs(5), "2".into()), 6100);
    assert_eq!(bench.candidate.write_deadline(), None);
}

#[test]
fn a_conflict_is_looked_at_and_a_renewal_that_was_applied_is_continued() {
    let mut bench = Bench::leading();
    let (record, _) = record_of(bench.asked(2000));
    bench.answer(Answer::Failed, 4000);
    bench.asked(4000);
    bench.answer(Answer::Conflict, 4010);
    assert!(bench.candidate.is_leading(bench.at(4010)));
    assert_eq!(bench.asked(4010), Request::Read);
    bench.answer(Answer::Found(record, "2".into()), 4020);
    assert_eq!(record_of(bench.asked(4020)).1.as_deref(), Some("2"));
    bench.answer(Answer::Written("3".into()), 4030);
    assert_eq!(bench.candidate.write_deadline(), Some(bench.at(13_020)));
}

#[test]
fn stopping_releases_what_is_held_and_permits_nothing_more() {
    let mut bench = Bench::leading();
    bench.candidate.stop(bench.at(1000));
    assert_eq!((bench.candidate.write_deadline(), bench.candidate.is_leading(bench.at(1000))), (None, false));
    let (record, version) = record_of(bench.asked(1000));
    assert_eq!((record.holder.as_str(), record.duration, version.as_deref()), ("", seconds(1), Some("1")));
    bench.answer(Answer::Written("2".into()), 1010);
    assert_eq!(bench.step(1010), Action::Done);
}

#[test]
fn stopping_asks_nothing_of_a_rivals_lease() {
    let mut bench = Bench::new();
    bench.asked(0);
    bench.answer(Answer::Found(theirs(0), "7".into()), 0);
    bench.candidate.stop(bench.at(10));
    assert_eq!(bench.step(10), Action::Done);
}

#[test]
fn a_release_that_meets_an_own_late_renewal_tries_again_and_gives_up_in_time() {
    let mut bench = Bench::leading();
    let (record, _) = record_of(bench.asked(2000));
    bench.answer(Answer::Failed, 3000);
    bench.candidate.stop(bench.at(3000));
    bench.asked(3000);
    bench.answer(Answer::Conflict, 3010);
    assert_eq!(bench.asked(3010), Request::Read);
    bench.answer(Answer::Found(record, "2".into()), 3020);
    assert_eq!(record_of(bench.asked(3020)).1.as_deref(), Some("2"));
    bench.answer(Answer::Failed, 4000);
    assert_eq!(bench.step(4000), Action::Wait(bench.at(4200)));
    assert_eq!(bench.step(5000), Action::Done);
}

#[test]
fn a_claim_of_unknown_outcome_is_looked_at_and_released_when_stopping() {
    let mut bench = Bench::new();
    bench.asked(0);
    bench.answer(Answer::Absent, 0);
    let (record, _) = record_of(bench.asked(0));
    bench.answer(Answer::Failed, 2000);
    bench.candidate.stop(bench.at(2000));
    assert_eq!(bench.asked(2000), Request::Read);
    bench.answer(Answer::Found(record, "1".into()), 2010);
    let (released, version) = record_of(bench.asked(2010));
    assert_eq!((released.holder.as_str(), version.as_deref()), ("", Some("1")));
}
