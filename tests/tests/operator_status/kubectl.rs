//! What people see: the columns, `kubectl wait`, and Events.

use fairlead_api::PortForward;
use fairlead_tests::{
    clients::ask,
    cluster::CLUSTER_SOON,
    deadline::{await_condition, await_some},
    ports,
    scene::{NEVER, Scene, forward},
    targets::Target,
};
use k8s_openapi::api::{core::v1::ObjectReference, events::v1::Event};
use serde_json::json;

use super::state_of;

/// What kubectl prints.
fn kubectl(scene: &Scene<'_>, arguments: &[&str]) -> String {
    let all: Vec<_> = arguments.iter().copied().chain(["-n", scene.name()]).collect();
    let done = scene.cluster().kubectl(&all);
    assert_eq!(done.code, 0, "kubectl {all:?}: {}", done.stderr);
    done.stdout
}

/// The cells of one object's row, by column; columns are two spaces apart.
fn row(table: &str, name: &str) -> Vec<(String, String)> {
    let cells = |line: &str| -> Vec<String> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    let mut lines = table.lines();
    let head = cells(lines.next().unwrap_or_default());
    let row = lines.find(|line| line.split_whitespace().next() == Some(name));
    head.into_iter().zip(cells(row.unwrap_or_else(|| panic!("no {name} in\n{table}")))).collect()
}

fn cell<'a>(row: &'a [(String, String)], column: &str) -> &'a str {
    row.iter().find(|(name, _)| name == column).map_or("", |(_, cell)| cell)
}

#[test]
fn kubectl_shows_objects_with_fields_and_with_a_url_alike_and_waits_for_them() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (a, b) = (Target::letter('A'), Target::letter('B'));
    let ports = [ports::free(), ports::free()];
    let fields = forward("fields", ports[0], &[&a, &b], json!({}));
    let mut url = forward("url", ports[1], &[], json!({}));
    let spec = format!("tcp://localhost:{}/{},{}?strategy=random&fail_timeout=1s", ports[1], a.address(), b.address());
    url["spec"] = json!({"url": spec});
    for object in [&fields, &url] {
        scene.apply::<PortForward>(object);
    }
    kubectl(&scene, &["wait", "--for=condition=Ready", "--timeout=60s", "pfw/fields", "pfw/url"]);
    for (name, port, strategy) in [("fields", ports[0], "fifo"), ("url", ports[1], "random")] {
        let (_, address) = scene.await_pod(&format!("{name}-forward"), port);
        await_condition("clients at both targets, or at the first one", CLUSTER_SOON, || {
            let _ = ask(address);
            let states = scene
                .find::<PortForward>(name)
                .map(|object| [&a, &b].map(|target| state_of(&object, &target.address().to_string())).join(" "));
            states.as_deref() == Some(if name == "url" { "Alive Alive" } else { "Alive Unknown" })
        });
        let row = row(&kubectl(&scene, &["get", "pfw"]), name);
        assert_eq!(cell(&row, "SCHEME"), "tcp");
        assert_eq!(cell(&row, "LISTEN"), format!("localhost:{port}"));
        assert_eq!(cell(&row, "NODES"), if name == "url" { "2/2" } else { "1/2" });
        assert_eq!(cell(&row, "READY"), "True");
        assert_ne!(cell(&row, "AGE"), "");
        let wide = self::row(&kubectl(&scene, &["get", "portforwards", "-o", "wide"]), name);
        assert_eq!(cell(&wide, "STRATEGY"), strategy);
        assert_eq!(cell(&wide, "REASON"), "Ready");
        assert_eq!(cell(&wide, "PROXIES"), "1");
        assert_eq!(cell(&wide, "ADDRESS"), format!("{name}.{}.svc", scene.name()));
        assert_eq!(cell(&wide, "MESSAGE"), format!("listening on localhost:{port}"));
    }
}

/// Reason, note and how often it was told, of each Event of a PortForward.
fn events(scene: &Scene<'_>, name: &str) -> Vec<(String, String, i32)> {
    let regards = |object: &ObjectReference| {
        (object.kind.as_deref(), object.name.as_deref()) == (Some("PortForward"), Some(name))
    };
    let mut events = scene.list::<Event>("");
    events.retain(|event| event.regarding.as_ref().is_some_and(regards));
    events.sort_by(|a, b| a.event_time.cmp(&b.event_time));
    let told = |event: Event| {
        let count = event.series.as_ref().map_or(1, |series| series.count);
        (event.reason.unwrap_or_default(), event.note.unwrap_or_default(), count)
    };
    events.into_iter().map(told).collect()
}

fn reasons(events: &[(String, String, i32)]) -> Vec<(&str, i32)> {
    events.iter().map(|(reason, _, count)| (reason.as_str(), *count)).collect()
}

#[test]
fn each_transition_is_one_event_and_the_same_again_counts_in_it() {
    let Some(scene) = Scene::open(NEVER) else { return };
    let (mut a, b) = (Target::letter('A'), Target::letter('B'));
    let port = ports::free();
    scene.apply_ready(&[&forward("db", port, &[&a, &b], json!({}))]);
    let (_, address) = scene.await_pod("db-forward", port);
    let node = a.address().to_string();
    let await_state = |letter: char, state: &str| {
        scene.await_letter(address, letter);
        await_condition(format!("{node} {state}"), CLUSTER_SOON, || {
            scene.find("db").is_some_and(|object| state_of(&object, &node) == state)
        });
    };
    await_state('A', "Alive");
    for _ in 0..2 {
        a.kill();
        await_state('B', "Dead");
        a.restart();
        await_state('A', "Alive");
    }
    scene.await_idle();
    let all = await_some("the events", CLUSTER_SOON, || Some(events(&scene, "db")).filter(|all| all.len() >= 4));
    assert_eq!(reasons(&all), [("Accepted", 1), ("Programmed", 1), ("NodeDead", 2), ("NodeAlive", 2)], "{all:#?}");
    assert!(all[2].1.starts_with(&format!("target {node} is dead: ")), "{all:#?}");

    let shown = kubectl(&scene, &["events", "--for", "portforward/db"]);
    for (reason, note, _) in &all {
        let line = shown.lines().find(|line| line.contains(reason));
        assert!(line.is_some_and(|line| line.contains(note)), "no {reason} in\n{shown}");
    }
    assert!(shown.lines().any(|line| line.contains("x2 over") && line.contains("NodeDead")), "{shown}");
    let described = kubectl(&scene, &["describe", "pfw", "db"]);
    for (reason, ..) in &all {
        assert!(described.lines().any(|line| line.contains(reason)), "no {reason} in\n{described}");
    }
}
