//! Changing a manifest while it runs: what did not change is not touched, and a bad change changes nothing.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use fairlead_tests::{
    binary::Fairlead,
    clients::{Load, ask, dial, has_ended, is_echoed, letter},
    deadline::{SOON, await_condition, until},
    manifests::{Manifest, overwrite, replace},
    objects::{is_named, is_true, node_state},
    ports,
    targets::{Behaviour, Target},
};
use tempfile::TempDir;

/// A directory of manifests that `fairlead run -o json DIR` follows.
struct Scene {
    dir: TempDir,
    fairlead: Fairlead,
}

impl Scene {
    fn new(manifests: &[(&str, &Manifest)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, manifest) in manifests {
            replace(&dir.path().join(format!("{name}.yaml")), manifest);
        }
        let path = dir.path().to_str().expect("a path in UTF-8");
        let fairlead = Fairlead::run(&["run", "-o", "json", path]);
        for (name, _) in manifests {
            fairlead.await_object("Programmed", |object| is_named(object, name) && is_true(object, "Programmed"));
        }
        Self { dir, fairlead }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.yaml"))
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = dial(([127, 0, 0, 1], port)).expect("a connection");
    letter(&stream).expect("a greeting");
    stream
}

fn answers(port: u16) -> Option<char> {
    ask(([127, 0, 0, 1], port)).ok()
}

#[test]
fn a_change_under_load_keeps_every_connection_and_drops_no_new_one() {
    let [a, b, c] = ['A', 'B', 'C'].map(|letter| Target::start(Behaviour::Greet(letter)));
    let port = ports::free();
    let before = Manifest::new("busy", port).to(a.address()).to(b.address());
    let after = Manifest::new("busy", port).to(c.address()).with("maxFails: 3").with("strategy: fifo");
    let scene = Scene::new(&[("busy", &before)]);
    let listener = ports::listener_on(port);
    let established: Vec<TcpStream> = (0..20).map(|_| connect(port)).collect();

    let load = Load::start(port, 200, Duration::from_secs(4));
    await_condition("the load to be served by the old targets", SOON, || a.answered() > 100);
    replace(&scene.file("busy"), &after);
    await_condition("the load to be served by the new target", SOON, || c.answered() > 100);
    let fared = load.finish();

    assert_eq!((fared.clients, fared.unanswered), (800, 0), "{fared:?}");
    assert!(established.iter().all(|stream| is_echoed(stream, "still here")), "also to targets no longer listed");
    assert_eq!(ports::listener_on(port), listener, "the same listener");
}

#[test]
fn an_unrelated_forward_is_not_touched() {
    let [a, b] = ['A', 'B'].map(|letter| Target::start(Behaviour::Greet(letter)));
    let (changed, unrelated) = (ports::free(), ports::free());
    let scene = Scene::new(&[
        ("changed", &Manifest::new("changed", changed).to(a.address())),
        ("unrelated", &Manifest::new("unrelated", unrelated).to(b.address())),
    ]);
    let (listener, connection) = (ports::listener_on(unrelated), connect(unrelated));

    let moved = ports::free();
    replace(&scene.file("changed"), Manifest::new("changed", moved).to(a.address()));
    await_condition("the changed forward at its new port", SOON, || ports::listener_on(moved).is_some());
    fs::remove_file(scene.file("changed")).expect("remove a manifest");
    await_condition("the removed forward to stop listening", SOON, || ports::listener_on(moved).is_none());

    assert_eq!(ports::listener_on(unrelated), listener, "the same listener");
    assert!(is_echoed(&connection, "the same connection"));
}

#[test]
fn a_node_in_both_plans_keeps_its_liveness() {
    let [mut a, b] = ['A', 'B'].map(Target::letter);
    let port = ports::free();
    let manifest = Manifest::new("kept", port).with("strategy: fifo").with("failTimeout: 10m");
    let manifest = manifest.to(a.address()).to(b.address());
    let scene = Scene::new(&[("kept", &manifest)]);
    a.kill();
    assert_eq!(answers(port), Some('B'));
    let name = a.address().to_string();
    scene.fairlead.await_object("A dead", |object| node_state(object, &name) == Some("Dead"));
    a.restart();
    let accepted = a.accepted();
    let c = Target::letter('C');
    let mark = scene.fairlead.mark();
    replace(&scene.file("kept"), manifest.to(c.address()));
    let third = c.address().to_string();
    scene.fairlead.await_object_after(mark, "the third target", |object| node_state(object, &third).is_some());
    assert_eq!(answers(port), Some('B'), "still dead for ten minutes");
    assert_eq!(a.accepted(), accepted, "and not dialled");
}

#[test]
fn what_ran_before_keeps_running_whatever_the_manifest_becomes() {
    let target = Target::start(Behaviour::Greet('A'));
    let port = ports::free();
    let good = Manifest::new("good", port).to(target.address());
    let whole = good.to_string();
    let other_port = format!("port: {}", target.address().port());
    let broken = [
        ("cut in half", whole[..whole.len() / 2].to_owned()),
        ("cut right behind its targets", whole[..whole.find("targets:").unwrap_or(0) + 8].to_owned()),
        ("empty", String::new()),
        ("no YAML", "spec: [".to_owned()),
        ("an unknown field", whole.replace("  targets:", "  tragets: []\n  targets:")),
        ("port 0", whole.replace(&other_port, "port: 0")),
        ("port 70000", whole.replace(&other_port, "port: 70000")),
        ("a target without port", whole.replace(&format!(", {other_port}"), "")),
        ("two forwards on one port", format!("{whole}{}", Manifest::new("second", port).to(target.address()))),
    ];
    let scene = Scene::new(&[("good", &good)]);
    let (listener, connection) = (ports::listener_on(port), connect(port));
    for (what, text) in broken {
        assert_ne!(text, whole, "{what}");
        let mark = scene.fairlead.log_mark();
        overwrite(&scene.file("good"), text);
        scene.fairlead.await_log_after(mark, "");
        until(Instant::now() + Duration::from_millis(300), || {
            assert_eq!(answers(port), Some('A'), "{what}: {}", scene.fairlead.printed());
        });
        assert_eq!(ports::listener_on(port), listener, "{what}: the same listener");
        assert!(is_echoed(&connection, "still here"), "{what}");
    }
    assert!(!scene.fairlead.printed().contains("panicked"), "{}", scene.fairlead.printed());

    let second = Target::letter('B');
    overwrite(&scene.file("good"), Manifest::new("good", port).to(second.address()));
    await_condition("the mended manifest to take effect", SOON, || answers(port) == Some('B'));
}

#[test]
fn a_broken_change_is_said_once_with_the_file_and_the_field() {
    let target = Target::letter('A');
    let port = ports::free();
    let good = Manifest::new("good", port).to(target.address());
    let scene = Scene::new(&[("good", &good)]);
    replace(&scene.file("good"), good.with("maxFials: 2"));
    let line = scene.fairlead.await_log("maxFials");
    assert!(line.text.contains("good"), "{}", line.text);
    until(Instant::now() + Duration::from_millis(500), || {
        let said = scene.fairlead.printed().matches("maxFials").count();
        assert!(said <= 2, "said {said} times:\n{}", scene.fairlead.printed());
    });
}

#[test]
fn a_manifest_added_to_the_directory_starts_and_a_removed_one_drains() {
    let target = Target::start(Behaviour::Greet('A'));
    let (first, added) = (ports::free(), ports::free());
    let scene = Scene::new(&[("first", &Manifest::new("first", first).to(target.address()))]);
    replace(&scene.file("added"), Manifest::new("added", added).to(target.address()));
    await_condition("the added forward to listen", SOON, || ports::listener_on(added).is_some());
    let connection = connect(added);
    fs::remove_file(scene.file("added")).expect("remove a manifest");
    await_condition("the removed forward to stop listening", SOON, || ports::listener_on(added).is_none());
    assert!(is_echoed(&connection, "connections of a removed forward go on for a while"));
    assert!(answers(first).is_some());
}

#[test]
fn a_removed_forwards_connections_end_when_the_drain_time_is_over() {
    let target = Target::start(Behaviour::Greet('A'));
    let (kept, removed) = (ports::free(), ports::free());
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("two.yaml");
    let (first, second) = (Manifest::new("kept", kept), Manifest::new("removed", removed));
    let (first, second) = (first.to(target.address()), second.to(target.address()));
    replace(&file, format!("{first}{second}"));
    let path = file.to_str().expect("a path in UTF-8");
    let fairlead = Fairlead::run(&["run", "--drain-timeout", "1s", path]);
    fairlead.await_listening(removed);
    let connection = connect(removed);
    let begin = Instant::now();
    replace(&file, first);
    assert!(has_ended(&connection));
    assert!(begin.elapsed() >= Duration::from_millis(950), "ended after {:?}", begin.elapsed());
}

#[test]
fn a_change_of_the_listening_port_moves_the_listener_and_drains_the_old_one() {
    let target = Target::start(Behaviour::Greet('A'));
    let (old, new) = (ports::free(), ports::free());
    let scene = Scene::new(&[("moved", &Manifest::new("moved", old).to(target.address()))]);
    let connection = connect(old);
    replace(&scene.file("moved"), Manifest::new("moved", new).to(target.address()));
    await_condition("the new listener", SOON, || ports::listener_on(new).is_some());
    await_condition("the old listener to close", SOON, || ports::listener_on(old).is_none());
    assert!(is_echoed(&connection, "the old connection"));
    assert_eq!(answers(new), Some('A'));
}
