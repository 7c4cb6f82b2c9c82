//! The selector against its rules: tables for each, and a history-based model under random operations.
#![allow(clippy::unwrap_used)]

use fairlead_config::Strategy;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;

const FAIL_TIMEOUT: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_millis(200);

fn rules(strategy: Strategy, max_fails: u32) -> Rules {
    Rules { strategy, max_fails, fail_timeout: FAIL_TIMEOUT, hedge_delay: DELAY }
}

fn addresses(names: &str) -> Vec<HostPort> {
    names.chars().map(|name| HostPort::new(name.to_string(), 1)).collect()
}

/// A selector with a clock that tests move by hand; nodes are named by single letters.
struct Bench {
    selector: Selector,
    now: Instant,
}

impl Bench {
    fn new(strategy: Strategy, names: &str) -> Self {
        Self { selector: Selector::new(rules(strategy, 1), &addresses(names)), now: Instant::now() }
    }

    fn choose(&mut self, ticket: &mut Ticket, why: Why) -> Option<(char, Choice)> {
        let choice = self.selector.select(ticket, why, self.now, u64::MAX)?;
        let name = self.selector.nodes().nth(choice.index).unwrap().address.host.chars().next().unwrap();
        Some((name, choice))
    }

    /// One client's whole way while only `up` answer: the nodes it dials, in order.
    fn client(&mut self, up: &str) -> String {
        let (mut ticket, mut way) = (Ticket::default(), String::new());
        while let Some((name, choice)) = self.choose(&mut ticket, Why::Nothing) {
            way.push(name);
            let answers = up.contains(name);
            let outcome = if answers { Outcome::Answered } else { Outcome::Failed("refused".to_owned()) };
            self.selector.record(&choice, self.now, outcome, self.now);
            if answers {
                break;
            }
        }
        way
    }

    fn clients(&mut self, up: &str, count: usize) -> String {
        (0..count).map(|_| self.client(up)).collect()
    }

    fn reconfigure(&mut self, rules: Rules, names: &str) -> Vec<Option<usize>> {
        self.selector.reconfigure(rules, &addresses(names), self.now)
    }

    fn states(&self) -> Vec<NodeState> {
        self.selector.nodes().map(|node| node.state).collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

#[test]
fn round_takes_one_after_the_other() {
    assert_eq!(Bench::new(Strategy::Round, "ABC").clients("ABC", 6), "ABCABC");
}

#[test]
fn fifo_takes_the_first_that_is_not_dead() {
    let mut bench = Bench::new(Strategy::Fifo, "ABC");
    assert_eq!(bench.clients("BC", 3), "ABBB");
    bench.pass(FAIL_TIMEOUT);
    assert_eq!(bench.clients("ABC", 2), "AA");
}

#[test]
fn random_spreads_by_the_dice() {
    let len = 3;
    let shares =
        (0..300u64).map(|i| roll(i * (u64::MAX / 300) + u64::MAX / 600, len)).fold([0; 3], |mut shares, place| {
            shares[place] += 1;
            shares
        });
    assert_eq!(shares, [100, 100, 100]);
    assert_eq!(roll(u64::MAX, len), 2);
}

#[test]
fn a_failed_client_goes_on_to_the_next_and_the_round_moves_once() {
    let mut bench = Bench::new(Strategy::Round, "ABC");
    assert_eq!(bench.client("BC"), "AB");
    assert_eq!(bench.clients("BC", 4), "CBCB");
}

#[test]
fn a_client_that_starts_over_keeps_its_turn_of_the_round() {
    let mut bench = Bench::new(Strategy::Round, "ABC");
    assert_eq!(bench.client("ABC"), "A");
    let mut ticket = Ticket::default();
    let way = |bench: &mut Bench, ticket: &mut Ticket| -> String {
        (0..2).filter_map(|_| bench.choose(ticket, Why::Nothing)).map(|(name, _)| name).collect()
    };
    assert_eq!(way(&mut bench, &mut ticket), "BC");
    ticket.start_over();
    assert_eq!(way(&mut bench, &mut ticket), "BC");
    assert_eq!(bench.client("ABC"), "C", "the round moved once");
}

#[test]
fn a_node_is_dead_at_max_fails_and_a_success_resets_the_count() {
    let mut bench = Bench::new(Strategy::Fifo, "AB");
    bench.reconfigure(rules(Strategy::Fifo, 2), "AB");
    assert_eq!(bench.client("B"), "AB");
    assert_eq!(bench.states(), [NodeState::Alive, NodeState::Alive]);
    assert_eq!(bench.client("AB"), "A");
    assert_eq!(bench.clients("B", 3), "ABABB");
    assert_eq!(bench.states(), [NodeState::Dead, NodeState::Alive]);
}

#[test]
fn never_dead_with_max_fails_zero() {
    let mut bench = Bench::new(Strategy::Fifo, "AB");
    bench.reconfigure(rules(Strategy::Fifo, 0), "AB");
    assert_eq!(bench.clients("B", 3), "ABABAB");
    assert_eq!(bench.states()[0], NodeState::Alive);
}

#[test]
fn the_time_a_dead_node_is_left_out_is_exact_below_a_second() {
    let mut bench = Bench::new(Strategy::Fifo, "AB");
    bench.client("B");
    bench.pass(FAIL_TIMEOUT - Duration::from_millis(1));
    assert_eq!(bench.client("AB"), "B");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.client("AB"), "A");
}

#[test]
fn a_dead_node_that_is_tried_and_fails_is_dead_again_at_once() {
    let mut bench = Bench::new(Strategy::Fifo, "AB");
    bench.reconfigure(rules(Strategy::Fifo, 3), "AB");
    bench.clients("B", 3);
    bench.pass(FAIL_TIMEOUT);
    assert_eq!(bench.clients("B", 3), "ABBB");
}

#[test]
fn one_connection_at_a_time_tries_a_dead_node() {
    let mut bench = Bench::new(Strategy::Fifo, "AB");
    bench.client("B");
    bench.pass(FAIL_TIMEOUT);
    let (name, probe) = bench.choose(&mut Ticket::default(), Why::Nothing).unwrap();
    assert_eq!((name, probe.probe.is_some(), probe.hedge_after), ('A', true, Some(Duration::ZERO)));
    assert_eq!(bench.client("AB"), "B", "others wait for the outcome");
    let (now, started) = (bench.now, bench.now);
    bench.selector.record(&probe, started, Outcome::Unjudged, now);
    assert_eq!(bench.client("AB"), "A", "a probe given up makes room for the next");
}

#[test]
fn the_end_of_an_old_trial_says_nothing_about_a_new_one() {
    let mut bench = Bench::new(Strategy::Fifo, "AB");
    bench.client("B");
    bench.pass(FAIL_TIMEOUT);
    let (_, old) = bench.choose(&mut Ticket::default(), Why::Nothing).unwrap();
    let a = bench.selector.choice(0).unwrap();
    bench.selector.record(&a, bench.now, Outcome::Answered, bench.now);
    bench.selector.record(&a, bench.now, Outcome::Failed("refused".to_owned()), bench.now);
    bench.pass(FAIL_TIMEOUT);
    let (name, new) = bench.choose(&mut Ticket::default(), Why::Nothing).unwrap();
    assert!(name == 'A' && new.probe.is_some());
    bench.selector.record(&old, bench.now, Outcome::Unjudged, bench.now);
    assert_eq!(bench.choose(&mut Ticket::default(), Why::Nothing).unwrap().0, 'B');
}

#[test]
fn an_answer_after_a_lost_race_does_not_count_as_usual() {
    let mut bench = Bench::new(Strategy::Fifo, "AB");
    let (a, started) = (bench.selector.choice(0).unwrap(), bench.now);
    bench.pass(Duration::from_secs(4));
    bench.selector.record(&a, started, Outcome::AnsweredLate, bench.now);
    assert_eq!(bench.choose(&mut Ticket::default(), Why::Nothing).unwrap().1.hedge_after, Some(DELAY));
}

#[test]
fn an_only_node_is_dialled_also_when_dead() {
    let mut bench = Bench::new(Strategy::Round, "A");
    assert_eq!(bench.clients("", 3), "AAA");
    assert_eq!(bench.states(), [NodeState::Dead]);
    let choice = bench.choose(&mut Ticket::default(), Why::Nothing).unwrap().1;
    assert_eq!((choice.probe, choice.hedge_after), (None, None));
}

#[test]
fn with_all_dead_the_one_due_soonest_comes_first() {
    let mut bench = Bench::new(Strategy::Fifo, "AB");
    let fail = |bench: &mut Bench, name: char| {
        let index = if name == 'A' { 0 } else { 1 };
        let choice = bench.selector.choice(index).unwrap();
        bench.selector.record(&choice, bench.now, Outcome::Failed("refused".to_owned()), bench.now);
    };
    fail(&mut bench, 'B');
    bench.pass(Duration::from_secs(1));
    fail(&mut bench, 'A');
    assert_eq!(bench.client(""), "BA");
}

#[test]
fn a_hedge_goes_to_a_dead_node_only_when_all_are() {
    let mut bench = Bench::new(Strategy::Fifo, "AB");
    bench.reconfigure(rules(Strategy::Fifo, 1), "BA");
    bench.client("A");
    bench.reconfigure(rules(Strategy::Fifo, 1), "AB");
    let mut ticket = Ticket::default();
    assert_eq!(bench.choose(&mut ticket, Why::Nothing).unwrap().0, 'A');
    assert_eq!(bench.choose(&mut ticket, Why::Silence), None, "B is dead and A may still answer");
    let a = bench.selector.choice(0).unwrap();
    bench.selector.record(&a, bench.now, Outcome::Failed("refused".to_owned()), bench.now);
    assert_eq!(bench.choose(&mut ticket, Why::Silence).unwrap().0, 'B');
}

#[test]
fn a_failure_of_a_dial_begun_before_the_last_success_is_ignored() {
    let mut bench = Bench::new(Strategy::Fifo, "AB");
    let (_, slow) = bench.choose(&mut Ticket::default(), Why::Nothing).unwrap();
    let started = bench.now;
    bench.pass(Duration::from_secs(1));
    bench.client("A");
    bench.pass(Duration::from_secs(4));
    assert!(!bench.selector.record(&slow, started, Outcome::Failed("timeout".to_owned()), bench.now));
    assert_eq!(bench.states()[0], NodeState::Alive);
}

#[test]
fn the_hedge_waits_for_the_longer_of_the_delay_and_twice_the_usual_dial() {
    let ms = Duration::from_millis;
    for (delay, usual, probe, expected) in [
        (ms(200), None, false, Some(ms(200))),
        (ms(200), Some(ms(50)), false, Some(ms(200))),
        (ms(200), Some(ms(150)), false, Some(ms(300))),
        (ms(200), Some(ms(150)), true, Some(ms(0))),
        (ms(0), Some(ms(150)), true, None),
    ] {
        assert_eq!(hedge_after(delay, usual, probe), expected);
    }
}

#[test]
fn a_new_list_keeps_the_liveness_of_nodes_in_both() {
    let mut bench = Bench::new(Strategy::Fifo, "ABA");
    bench.client("B");
    let origins = bench.reconfigure(rules(Strategy::Fifo, 1), "CAA");
    assert_eq!(origins, [None, Some(0), Some(2)]);
    assert_eq!(bench.states(), [NodeState::Unknown, NodeState::Dead, NodeState::Unknown]);
}

#[test]
fn a_state_changes_once_and_keeps_its_time() {
    let mut bench = Bench::new(Strategy::Fifo, "A");
    let choice = bench.selector.choice(0).unwrap();
    let failed = || Outcome::Failed("refused".to_owned());
    assert!(bench.selector.record(&choice, bench.now, failed(), bench.now));
    let since = bench.selector.nodes().next().unwrap().since;
    bench.pass(DELAY);
    assert!(!bench.selector.record(&choice, bench.now, failed(), bench.now));
    let node = bench.selector.nodes().next().unwrap();
    assert_eq!((node.fails, node.since, node.last_error), (2, since, Some("refused")));
}

/// A dial's outcome as a model keeps it: node, start, end (milliseconds), answered.
type Event = (usize, u64, u64, bool);

/// The consecutive failures of `node` by its whole history, and the end of the last one.
fn fails_by_history(history: &[Event], node: usize) -> (u32, Option<u64>) {
    let mine = || history.iter().filter(|event| event.0 == node);
    let mut fails = (0, None);
    let mut last_success = None;
    for &(_, started, ended, answered) in mine() {
        if answered {
            (fails, last_success) = ((0, None), Some(ended));
        } else if last_success.is_none_or(|success| started >= success) {
            fails = (fails.0 + 1, Some(ended));
        }
    }
    fails
}

proptest! {
    /// Dials are begun and ended in any order; after each step the selector agrees with the history, never
    /// chooses a node that is left out while another is eligible, and never lets two connections try a dead node.
    #[test]
    fn agrees_with_a_model_that_only_knows_the_history(
        strategy in prop::sample::select(vec![Strategy::Round, Strategy::Random, Strategy::Fifo]),
        max_fails in 0u32..4,
        count in 1usize..5,
        steps in prop::collection::vec((0u64..6_000, any::<u64>(), any::<bool>(), any::<bool>()), 1..80),
    ) {
        let start = Instant::now();
        let names: String = ('A'..='E').take(count).collect();
        let mut selector = Selector::new(rules(strategy, max_fails), &addresses(&names));
        let (mut history, mut open): (Vec<Event>, Vec<(Choice, u64)>) = (Vec::new(), Vec::new());
        let mut clock = 0;
        for (pause, dice, begin, answered) in steps {
            clock += pause;
            let now = start + Duration::from_millis(clock);
            let dead = |node: usize| {
                let (fails, at) = fails_by_history(&history, node);
                let due = at.is_none_or(|at| clock - at >= 10_000);
                (max_fails > 0 && fails >= max_fails, due)
            };
            if begin || open.is_empty() {
                let choice = selector.select(&mut Ticket::default(), Why::Nothing, now, dice).unwrap();
                let (is_dead, due) = dead(choice.index);
                let trying = |node: usize| open.iter().any(|(c, _)| c.probe.is_some() && c.index == node);
                let eligible = |node: usize| {
                    let (dead, due) = dead(node);
                    count == 1 || !dead || (due && !trying(node))
                };
                prop_assert!(eligible(choice.index) || !(0..count).any(eligible));
                prop_assert!(choice.probe.is_none() || (is_dead && due && !trying(choice.index)));
                open.push((choice, clock));
            } else {
                let (choice, started) = open.swap_remove((dice % open.len() as u64) as usize);
                let outcome = if answered { Outcome::Answered } else { Outcome::Failed("refused".to_owned()) };
                selector.record(&choice, start + Duration::from_millis(started), outcome, now);
                history.push((choice.index, started, clock, answered));
                if answered {
                    // A success ends the trial, whoever had it.
                    for (other, _) in open.iter_mut().filter(|(other, _)| other.index == choice.index) {
                        other.probe = None;
                    }
                }
            }
            for (node, view) in selector.nodes().enumerate() {
                let (fails, _) = fails_by_history(&history, node);
                prop_assert_eq!(view.fails, fails);
                prop_assert_eq!(view.state == NodeState::Dead, max_fails > 0 && fails >= max_fails);
            }
        }
    }

    /// However its dials end, a client tries each node at most once and reaches one that answers if there is any.
    #[test]
    fn a_client_reaches_a_node_that_answers(
        strategy in prop::sample::select(vec![Strategy::Round, Strategy::Random, Strategy::Fifo]),
        up in prop::collection::vec(any::<[bool; 4]>(), 1..30),
    ) {
        let mut bench = Bench::new(strategy, "ABCD");
        for up in up {
            let up: String = "ABCD".chars().zip(up).filter_map(|(name, up)| up.then_some(name)).collect();
            let way = bench.client(&up);
            let distinct: std::collections::BTreeSet<char> = way.chars().collect();
            prop_assert_eq!(distinct.len(), way.len());
            prop_assert!(up.is_empty() || way.ends_with(|name| up.contains(name)), "{} of {}", way, up);
            bench.pass(Duration::from_secs(3));
        }
    }
}
