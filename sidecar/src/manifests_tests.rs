//! What is taken of manifests at the start and at a reload, by texts.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::*;
use crate::source::Unreadable;

fn forward(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {{name: {name}}}\n\
         spec: {{scheme: tcp, listen: {{port: {port}}}, targets: [{{host: 127.0.0.1, port: 1}}]}}\n"
    )
}

fn file(name: &str, text: &str) -> Text {
    Text { name: name.to_owned(), text: text.to_owned(), of_directory: None }
}

fn in_directory(name: &str, text: &str) -> Text {
    Text { of_directory: Some(PathBuf::from("dir")), ..file(name, text) }
}

fn snapshot(texts: &[Text]) -> Snapshot {
    Snapshot { texts: texts.to_vec(), unreadable: Vec::new() }
}

fn unreadable(name: &str) -> Unreadable {
    Unreadable { name: name.to_owned(), problem: format!("{name}: gone") }
}

/// Names and listening ports of what runs after `held` became `fresh`, and how many problems there were.
fn after(held: &[Text], fresh: &Snapshot) -> (Vec<(String, u16)>, usize) {
    let reloaded = next(held, fresh, Place::Laptop);
    assert_eq!(reloaded.reading.problems, Vec::<String>::new(), "what is taken is good");
    let forwards = reloaded.reading.wanted.rendering.forwards.iter();
    let mut running: Vec<_> = forwards.map(|forward| (forward.key.name.clone(), forward.listen.port)).collect();
    running.sort();
    (running, reloaded.problems.len())
}

fn running(forwards: &[(&str, u16)]) -> Vec<(String, u16)> {
    forwards.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect()
}

#[test]
fn all_problems_of_all_texts_are_listed_at_once() {
    let bad_field = forward("a", 1).replace("scheme", "skeme");
    let bad_url =
        "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {name: c}\nspec: {url: 'tcp://:99999/x'}\n";
    let texts = [
        file("a", &bad_field),
        file("b", "kind: ["),
        file("c", bad_url),
        file("d", "kind: Pod\n"),
        file("e", &forward("e", 5)),
    ];
    let mut snapshot = snapshot(&texts);
    snapshot.unreadable.push(unreadable("f"));
    let problems = first(&snapshot, &[], Place::Laptop).problems;
    for (part, place) in [("skeme", "a"), ("line", "b"), ("99999", "/c"), ("holds no PortForward", "d"), ("gone", "f")]
    {
        assert!(
            problems.iter().any(|problem| problem.contains(part) && problem.contains(place)),
            "{place}: {problems:#?}"
        );
    }
    assert!(!problems.iter().any(|problem| problem.starts_with('e')), "{problems:#?}");
}

#[test]
fn two_forwards_on_one_port_are_a_problem_that_names_both_and_the_port() {
    let problems =
        first(&snapshot(&[file("a", &forward("a", 7001)), file("b", &forward("b", 7001))]), &[], Place::Laptop)
            .problems;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(["default/a", "default/b", "7001"].iter().all(|part| problems[0].contains(part)), "{problems:#?}");
}

#[test]
fn one_name_used_twice_is_one_problem() {
    let problems =
        first(&snapshot(&[file("x", &forward("a", 1)), file("y", &forward("a", 1))]), &[], Place::Laptop).problems;
    assert_eq!(problems.len(), 1, "{problems:#?}");
}

#[test]
fn a_directory_needs_a_portforward_somewhere_and_other_kinds_are_skipped_by_name() {
    let directory = PathBuf::from("dir");
    let pod = in_directory("dir/pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n");
    let only_pod = first(&snapshot(std::slice::from_ref(&pod)), &[&directory], Place::Laptop);
    assert!(only_pod.problems[0].starts_with("dir: holds no PortForward"), "{:?}", only_pod.problems);
    let both = first(&snapshot(&[pod, in_directory("dir/a.yaml", &forward("a", 1))]), &[&directory], Place::Laptop);
    assert_eq!(both.problems, Vec::<String>::new());
    assert_eq!(both.skipped, [r#"dir/pod.yaml: skipped Pod "web""#]);
}

#[test]
fn a_change_is_taken_unless_it_makes_a_problem_and_the_others_are_taken_all_the_same() {
    let held = [file("a", &forward("a", 1)), file("b", &forward("b", 2))];
    let cut = &forward("a", 9)[..60];
    for (a, b, want, problems) in [
        (forward("a", 9), forward("b", 8), running(&[("a", 9), ("b", 8)]), false),
        (cut.to_owned(), forward("b", 8), running(&[("a", 1), ("b", 8)]), true),
        (forward("a", 9).replace("scheme", "skeme"), forward("b", 2), running(&[("a", 1), ("b", 2)]), true),
        (String::new(), forward("b", 8), running(&[("a", 1), ("b", 8)]), true),
        (forward("a", 2), forward("b", 2), running(&[("a", 1), ("b", 2)]), true),
        (forward("a", 2), forward("b", 1), running(&[("a", 2), ("b", 1)]), false),
        (forward("a", 3) + &forward("c", 4), forward("b", 2), running(&[("a", 3), ("b", 2), ("c", 4)]), false),
    ] {
        let (got, count) = after(&held, &snapshot(&[file("a", &a), file("b", &b)]));
        assert_eq!((got, count > 0), (want, problems), "a: {a}\nb: {b}");
    }
}

#[test]
fn a_named_file_that_vanished_goes_on_running_and_one_removed_from_a_directory_does_not() {
    let held =
        [file("a", &forward("a", 1)), in_directory("dir/b", &forward("b", 2)), in_directory("dir/c", &forward("c", 3))];
    let mut fresh = snapshot(&held[2..]);
    fresh.unreadable = vec![unreadable("a")];
    assert_eq!(after(&held, &fresh), (running(&[("a", 1), ("c", 3)]), 1));
    fresh.texts.clear();
    fresh.unreadable = vec![unreadable("dir"), unreadable("a")];
    assert_eq!(after(&held, &fresh), (running(&[("a", 1), ("b", 2), ("c", 3)]), 2));
    fresh.unreadable = vec![unreadable("a")];
    assert_eq!(after(&held, &fresh), (running(&[("a", 1)]), 1));
}

#[test]
fn a_broken_new_file_of_a_directory_stops_nothing() {
    let held = [in_directory("dir/a", &forward("a", 1))];
    let fresh = snapshot(&[held[0].clone(), in_directory("dir/b", "kind: [")]);
    let (got, problems) = after(&held, &fresh);
    assert_eq!((got, problems), (running(&[("a", 1)]), 1));
}
