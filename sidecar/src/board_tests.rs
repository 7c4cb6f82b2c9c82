//! What readers of the JSON lines get to see, from wanted objects and engine reports.
#![allow(clippy::unwrap_used)]

use fairlead_api::render::Place;

use super::*;
use crate::manifests;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn wanted(forwards: &[(&str, u16)]) -> Wanted {
    let object = |(name, port): &(&str, u16)| {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": name},
            "spec": {"scheme": "tcp", "listen": {"port": port}, "targets": [{"host": "127.0.0.1", "port": 1}]},
        }))
        .unwrap()
    };
    let (wanted, problems) = manifests::wanted(forwards.iter().map(object).collect(), Place::Laptop);
    assert_eq!(problems, Vec::<String>::new());
    wanted
}

fn report(wanted: &Wanted, node: &str) -> Report {
    let forwards = wanted.rendering.forwards.iter().map(|forward| {
        serde_json::json!({
            "key": forward.key, "digest": forward.digest, "state": "Listening", "listening": forward.listen,
            "nodes": [{"address": "127.0.0.1:1", "role": "Target", "state": node, "fails": 0, "since": 0}],
        })
    });
    let forwards: Vec<_> = forwards.collect();
    serde_json::from_value(serde_json::json!({"version": 1, "revision": 1, "forwards": forwards})).unwrap()
}

/// Sends what is new; returns the names with the state of the node, or `gone`.
fn send(seen: &mut Seen, board: &Board, now: Timestamp) -> Vec<(String, String)> {
    let news = seen.news(board, now);
    let told = news.iter().map(|object| {
        let gone = object.metadata.deletion_timestamp.is_some();
        let state = format!("{:?}", object.status.as_ref().unwrap().nodes[0].state);
        (key_of(object).name, if gone { "gone".to_owned() } else { state })
    });
    let told = told.collect();
    news.into_iter().for_each(|object| seen.note(object));
    told
}

fn told(name: &str, state: &str) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

#[test]
fn each_change_of_meaning_is_told_once_and_nothing_else_is() {
    let (mut board, mut seen) = (Board::default(), Seen::default());
    let both = wanted(&[("a", 1), ("b", 2)]);
    board.replace(&both, at(0));
    board.observe(&report(&both, "Unknown"), at(0));
    assert_eq!(send(&mut seen, &board, at(0)), [told("a", "Unknown"), told("b", "Unknown")]);
    board.observe(&report(&both, "Unknown"), at(9));
    assert_eq!(send(&mut seen, &board, at(9)), []);
    board.observe(&report(&both, "Dead"), at(10));
    assert_eq!(send(&mut seen, &board, at(10)), [told("a", "Dead"), told("b", "Dead")]);
    let one = wanted(&[("b", 2)]);
    board.replace(&one, at(11));
    board.observe(&report(&one, "Dead"), at(11));
    assert_eq!(send(&mut seen, &board, at(11)), [told("a", "gone")]);
    assert_eq!(send(&mut seen, &board, at(12)), []);
}

#[test]
fn a_reader_who_was_told_nothing_is_told_the_present_state_later() {
    let (mut board, mut seen) = (Board::default(), Seen::default());
    let one = wanted(&[("a", 1)]);
    board.replace(&one, at(0));
    for state in ["Unknown", "Dead", "Alive"] {
        board.observe(&report(&one, state), at(0));
        assert_eq!(seen.news(&board, at(0)).len(), 1);
    }
    assert_eq!(send(&mut seen, &board, at(0)), [told("a", "Alive")]);
}

#[test]
fn an_object_that_stays_keeps_its_age_and_counts_a_generation_only_when_it_changes() {
    let mut board = Board::default();
    let mut generations = Vec::new();
    for (second, port) in [(0, 1), (5, 1), (9, 2)] {
        let one = wanted(&[("a", port)]);
        board.replace(&one, at(second));
        board.observe(&report(&one, "Alive"), at(second));
        let object = board.objects().next().unwrap();
        assert_eq!(object.metadata.creation_timestamp, Some(Time(at(0))));
        assert_eq!(object.status.as_ref().unwrap().observed_generation, object.metadata.generation);
        generations.push(object.metadata.generation.unwrap());
    }
    assert_eq!(generations, [1, 1, 2]);
}

#[test]
fn a_time_of_transition_stays_while_nothing_changes() {
    let mut board = Board::default();
    let one = wanted(&[("a", 1)]);
    board.replace(&one, at(0));
    board.observe(&report(&one, "Alive"), at(0));
    let before = board.objects().next().unwrap().status.clone();
    board.observe(&report(&one, "Alive"), at(60));
    assert_eq!(board.objects().next().unwrap().status, before);
}
