//! The command around the forwarding: where manifests come from, what is printed, what is converted.

use std::fs;

use fairlead_api::PortForward;
use fairlead_tests::{
    binary::{Fairlead, Launch, finish},
    clients::{ask, ask_times},
    deadline::SOON,
    manifests::Manifest,
    objects::{condition, is_named, is_true, node_state},
    ports,
    targets::Target,
};
use serde_json::Value;

fn address(port: u16) -> ([u8; 4], u16) {
    ([127, 0, 0, 1], port)
}

#[test]
fn every_json_line_is_a_whole_portforward_that_passes_check() {
    let mut targets = ['A', 'B'].map(Target::letter);
    let port = ports::free();
    let [a, b] = [targets[0].address(), targets[1].address()];
    let url = format!("tcp://127.0.0.1:{port}/{a},{b}?strategy=fifo&fail_timeout=3s");
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &url]);
    fairlead.await_listening(port);
    ask(address(port)).expect("an answer");
    targets[0].kill();
    ask(address(port)).expect("an answer");
    let dead = fairlead.await_object("A dead", |object| node_state(object, &a.to_string()) == Some("Dead"));

    for object in fairlead.objects() {
        assert_eq!(object["apiVersion"], "fairlead.dev/v1alpha1", "{object}");
        assert_eq!(object["kind"], "PortForward", "{object}");
        assert_eq!(object["metadata"]["name"], format!("tcp-{port}"), "{object}");
        assert!(object["spec"].is_object() && object["status"].is_object(), "{object}");
        assert!(serde_json::from_value::<PortForward>(object.clone()).is_ok(), "{object}");
        let check = Launch::new(["check", "-"]).input(&object.to_string()).finish();
        assert_eq!(check.code, 0, "{object}\n{check:?}");
    }
    for kind in ["Accepted", "Programmed", "NodesAvailable", "Ready"] {
        let condition = condition(&dead, kind).unwrap_or_else(|| panic!("no condition {kind}: {dead}"));
        assert!(condition["lastTransitionTime"].is_string() && condition["message"].is_string(), "{condition}");
        assert!(is_true(&dead, kind), "a dead target of two changes none of them: {condition}");
    }
    let status = &dead["status"];
    assert_eq!(status["nodeSummary"], "1/2", "{status}");
    assert_eq!(status["nodes"][0]["address"], a.to_string(), "the dead come first: {status}");
    assert_eq!(status["nodes"][0]["role"], "Target", "{status}");
    assert!(status["nodes"][0]["lastError"].as_str().is_some_and(|error| error.contains("refused")), "{status}");
    let effective = &status["effective"];
    assert_eq!((&effective["strategy"], &effective["failTimeout"]), (&"fifo".into(), &"3s".into()), "{status}");
    assert_eq!((&effective["maxFails"], &effective["scheme"]), (&1.into(), &"tcp".into()), "{status}");
}

#[test]
fn an_object_is_printed_only_when_it_changed() {
    let target = Target::letter('A');
    let port = ports::free();
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &format!("tcp://127.0.0.1:{port}/{}", target.address())]);
    fairlead.await_listening(port);
    assert_eq!(ask_times(address(port), 50), "A".repeat(50));
    fairlead.await_object("A alive", |o| node_state(o, &target.address().to_string()) == Some("Alive"));
    let objects = fairlead.objects();
    assert!(objects.windows(2).all(|pair| pair[0] != pair[1]), "{}", fairlead.printed());
    assert!(objects.len() <= 4, "50 clients are no 50 changes: {}", fairlead.printed());
}

#[test]
fn manifests_come_from_files_directories_and_standard_input() {
    let target = Target::letter('A');
    let ports: [u16; 3] = std::array::from_fn(|_| ports::free());
    let dir = tempfile::tempdir().expect("a directory");
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).expect("a directory in it");
    let text = |name: &str, port| Manifest::new(name, port).to(target.address()).to_string();
    let single = dir.path().join("one.yaml");
    fs::write(&single, text("one", ports[0])).expect("write a file");
    fs::write(inner.join("two.yml"), text("two", ports[1])).expect("write a file");
    fs::write(inner.join("notes.txt"), "no manifest").expect("write a file");
    let (single, inner) = (single.to_str().expect("UTF-8"), inner.to_str().expect("UTF-8"));
    let fairlead = Launch::new(["run", single, inner, "-"]).input(&text("three", ports[2])).start();
    for port in ports {
        fairlead.await_listening(port);
        assert_eq!(ask(address(port)).ok(), Some('A'));
    }
}

#[test]
fn several_documents_and_lists_in_one_file_all_run() {
    let target = Target::letter('A');
    let [first, second] = [ports::free(), ports::free()];
    let text = format!(
        "{}{}",
        Manifest::new("first", first).to(target.address()),
        Manifest::new("second", second).to(target.address())
    );
    let fairlead = Launch::new(["run", "-o", "json", "-"]).input(&text).start();
    for name in ["first", "second"] {
        fairlead.await_object(name, |object| is_named(object, name) && is_true(object, "Ready"));
    }
    assert_eq!((ask(address(first)).ok(), ask(address(second)).ok()), (Some('A'), Some('A')));
}

#[test]
fn other_kinds_in_a_directory_are_skipped_with_one_line_each() {
    let target = Target::letter('A');
    let port = ports::free();
    let dir = tempfile::tempdir().expect("a directory");
    let other = "apiVersion: v1\nkind: Service\nmetadata: {name: neighbour}\nspec: {ports: [{port: 1}]}\n";
    fs::write(dir.path().join("a.yaml"), format!("{}---\n{other}", Manifest::new("mine", port).to(target.address())))
        .expect("write a file");
    let fairlead = Fairlead::run(&["run", dir.path().to_str().expect("UTF-8")]);
    fairlead.await_listening(port);
    assert_eq!(ask(address(port)).ok(), Some('A'));
    fairlead.await_log("neighbour");
    assert_eq!(fairlead.printed().matches("neighbour").count(), 1, "{}", fairlead.printed());
}

#[test]
fn check_accepts_what_is_right_and_finds_two_forwards_on_one_port_across_files() {
    let target = "127.0.0.1:9".parse().expect("an address");
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    fs::write(path("a.yaml"), Manifest::new("a", 8080).to(target).to_string()).expect("write a file");
    fs::write(path("b.yaml"), Manifest::new("b", 8080).to(target).to_string()).expect("write a file");
    for file in ["a.yaml", "b.yaml"] {
        assert_eq!(finish(&["check", &path(file)]).code, 0);
    }
    let both = finish(&["check", &path("a.yaml"), &path("b.yaml")]);
    let said = format!("{}{}", both.stdout, both.stderr);
    assert_eq!(both.code, 1, "{said}");
    assert!(said.contains("8080"), "{said}");
}

#[test]
fn check_lists_every_problem_at_once() {
    let target = "127.0.0.1:9".parse().expect("an address");
    let bad = Manifest::new("bad", 0).to(target).with("strategy: best").with("maxFials: 2").to_string();
    let check = Launch::new(["check", "-"]).input(&bad).finish();
    let said = format!("{}{}", check.stdout, check.stderr);
    assert_eq!(check.code, 1, "{said}");
    for word in ["spec.listen.port", "strategy", "maxFials", "maxFails"] {
        assert!(said.contains(word), "{word}:\n{said}");
    }
}

#[test]
fn what_convert_writes_passes_check_and_runs() {
    let targets = ['A', 'B', 'C'].map(Target::letter);
    let port = ports::free();
    let [a, b, c] = [0, 1, 2].map(|index: usize| targets[index].address());
    let url = format!("tcp://127.0.0.1:{port}/{a},{b}?ip={c}&strategy=round&max_fails=2&fail_timeout=10");
    let converted = finish(&["convert", "-L", &url]);
    assert_eq!(converted.code, 0, "{converted:?}");
    let check = Launch::new(["check", "-"]).input(&converted.stdout).finish();
    assert_eq!(check.code, 0, "{check:?}\n{}", converted.stdout);
    let fairlead = Launch::new(["run", "-o", "json", "-"]).input(&converted.stdout).start();
    let ready = fairlead.await_object("Ready", |object| is_true(object, "Ready"));
    let effective = &ready["status"]["effective"];
    assert_eq!((&effective["maxFails"], &effective["failTimeout"]), (&2.into(), &"10s".into()), "{ready}");
    assert_eq!(ask_times(address(port), 6), "ABCABC");
}

#[test]
fn convert_lists_what_is_wrong_and_ends_with_2_without_writing_anything() {
    let converted = finish(&["convert", "-L", "tcp://:8080/a:1?strategy=best", "-L", "tcp://:70000/b:1"]);
    assert_eq!((converted.code, converted.stdout.as_str()), (2, ""), "{converted:?}");
    assert!(converted.stderr.contains("best") && converted.stderr.contains("70000"), "{}", converted.stderr);
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = finish(&["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""), "{shell}");
        assert!(script.stdout.contains("fairlead") && script.stdout.contains("convert"), "{shell}");
    }
}

#[test]
fn help_shows_examples_of_every_command() {
    for arguments in [&["--help"][..], &["run", "-h"], &["check", "-h"], &["convert", "-h"], &["proxy", "-h"]] {
        let help = finish(arguments);
        assert_eq!(help.code, 0, "{arguments:?}");
        assert!(help.stdout.contains("Examples:\n") && help.stdout.contains("  fairlead "), "{}", help.stdout);
    }
    assert!(finish(&["--version"]).stdout.starts_with("fairlead "));
}

#[test]
fn log_lines_can_be_json() {
    let target = Target::letter('A');
    let port = ports::free();
    let url = format!("tcp://127.0.0.1:{port}/{}", target.address());
    let fairlead = Fairlead::run(&["--log-format", "json", "run", "-L", &url]);
    fairlead.await_listening(port);
    let line = fairlead.await_log("listening");
    assert!(line.object()["level"].is_string(), "{}", line.text);
}

#[test]
fn rust_log_says_which_log_lines_are_wanted() {
    let target = Target::letter('A');
    let port = ports::free();
    let url = format!("tcp://127.0.0.1:{port}/{}", target.address());
    let fairlead = Launch::new(["run", "-L", &url]).environment("RUST_LOG", "error").start();
    fairlead.await_listening(port);
    ask(address(port)).expect("an answer");
    fairlead.terminate();
    let mut fairlead = fairlead;
    assert_eq!(fairlead.await_exit(SOON), 0);
    assert!(!fairlead.printed().contains("listening"), "{}", fairlead.printed());
}

#[test]
fn an_idle_forward_is_unknown_until_its_first_client() {
    let target = Target::letter('A');
    let port = ports::free();
    let fairlead = Fairlead::run(&["run", "-o", "json", "-L", &format!("tcp://127.0.0.1:{port}/{}", target.address())]);
    let first: Value = fairlead.await_object("Programmed", |object| is_true(object, "Programmed"));
    assert_eq!(first["status"]["nodeSummary"], "?/1", "{first}");
    let available = condition(&first, "NodesAvailable").map(|condition| condition["reason"].clone());
    assert_eq!(available, Some("NotObserved".into()), "{first}");
}

#[test]
fn a_reader_who_goes_away_ends_nothing() {
    let target = Target::letter('A');
    let port = ports::free();
    let url = format!("tcp://127.0.0.1:{port}/{}", target.address());
    let mut fairlead = Launch::new(["run", "-o", "json", "-L", &url]).without_reader().start();
    fairlead.await_listening(port);
    assert_eq!(ask_times(address(port), 5), "AAAAA");
    assert!(fairlead.is_running(), "{}", fairlead.printed());
    fairlead.terminate();
    assert_eq!(fairlead.await_exit(SOON), 0, "{}", fairlead.printed());
}

#[test]
fn on_a_terminal_a_table_shows_which_nodes_are_alive() {
    let mut targets = ['A', 'B'].map(Target::letter);
    let port = ports::free();
    let [a, b] = [targets[0].address(), targets[1].address()];
    let url = format!("tcp://127.0.0.1:{port}/{a},{b}?strategy=fifo");
    let fairlead = Launch::new(["run", "-L", &url]).on_a_terminal().start();
    fairlead.await_listening(port);
    let heading = fairlead.await_line("NODES").text;
    for word in ["SCHEME", "LISTEN", "READY"] {
        assert!(heading.contains(word), "{heading}");
    }
    assert_eq!(ask_times(address(port), 1), "A");
    targets[0].kill();
    assert_eq!(ask_times(address(port), 1), "B");
    fairlead.await_line("1/2");
    fairlead.await_line("dead");
}
