//! `status.nodes`, `nodeSummary` and the condition `NodesAvailable`.

use super::*;
use crate::{NodeRole, render::NodeName};

const ALIVE: NodeState = NodeState::Alive;
const DEAD: NodeState = NodeState::Dead;
const DEGRADED: NodeState = NodeState::Degraded;
const UNKNOWN: NodeState = NodeState::Unknown;

#[test]
fn proxies_experiences_are_put_together() {
    let scene = || Scene::two_targets().desired(2);
    let (first, second) = ("db1:5432", "db2:5432");
    for (case, scene, states_, summary, available) in [
        ("none reports", scene(), vec![(first, UNKNOWN), (second, UNKNOWN)], "?/2", "Unknown/NotObserved"),
        ("none dialled", scene().listening(), vec![(first, UNKNOWN), (second, UNKNOWN)], "?/2", "Unknown/NotObserved"),
        ("alive", scene().dialled([0, 0]), vec![(first, ALIVE), (second, ALIVE)], "2/2", "True/AllAlive"),
        ("one dead", scene().dialled([0, 3]), vec![(second, DEAD), (first, ALIVE)], "1/2", "True/SomeDead"),
        ("all dead", scene().dialled([1, 3]), vec![(first, DEAD), (second, DEAD)], "0/2", "False/AllDead"),
        (
            "dead for one",
            scene().dialled([0, 0]).dialled([0, 1]),
            vec![(second, DEGRADED), (first, ALIVE)],
            "1/2",
            "True/SomeDead",
        ),
        ("no say", scene().dialled([1, 1]).listening(), vec![(first, DEAD), (second, DEAD)], "0/2", "False/AllDead"),
        (
            "one untried",
            scene().proxy(|f| f.nodes[1].state = fairlead_config::NodeState::Dead),
            vec![(second, DEAD), (first, UNKNOWN)],
            "0/2",
            "True/SomeDead",
        ),
    ] {
        let status = scene.status();
        assert_eq!(states(&status), states_, "{case}");
        assert_eq!(status.node_summary.as_deref(), Some(summary), "{case}");
        assert_eq!(said(&status, "NodesAvailable"), available, "{case}");
        assert_ne!(condition(&status, "Ready").reason, "AllDead", "{case}: a dead target is no reason not to be ready");
    }
}

#[test]
fn messages_name_the_group_its_nodes_and_the_last_error() {
    let message = |scene: Scene| condition(&scene.status(), "NodesAvailable").message.clone();
    let dead = message(Scene::two_targets().dialled([1, 1]));
    let want = "all 2 targets are dead: db1:5432 (connection refused), db2:5432 (connection refused)";
    assert_eq!(dead, want);
    assert_eq!(message(Scene::two_targets().dialled([0, 1])), "dead: db2:5432 (connection refused)");
    let only = Scene::new(json!({"url": "tcp://:1/db1:5432"})).proxy(|forward| {
        forward.nodes.truncate(1);
        forward.nodes[0].state = fairlead_config::NodeState::Dead;
        forward.nodes[0].last_error = Some("db1:5432: no answer\n within 5s".to_owned());
    });
    assert_eq!(message(only), "the only target is dead: db1:5432: no answer within 5s");
}

#[test]
fn a_dead_hop_makes_the_chain_useless() {
    let mut scene = Scene::two_targets();
    if let Verdict::Accepted { nodes, .. } = &mut scene.verdict {
        let hop = |hop| NodeName { role: NodeRole::Hop, hop: Some(hop), address: "s:1080".to_owned() };
        nodes.splice(0..0, [hop(1), hop(2)]);
    }
    let scene = scene.proxy(|forward| {
        let mut nodes = vec![undialled("s:1080", Some(1)), undialled("s:1080", Some(2))];
        nodes[0].state = fairlead_config::NodeState::Alive;
        nodes[1].state = fairlead_config::NodeState::Dead;
        forward.nodes.splice(0..0, nodes);
    });
    let status = scene.status();
    assert_eq!(said(&status, "NodesAvailable"), "False/AllDead");
    assert_eq!(condition(&status, "NodesAvailable").message, "the only node of hop 2 is dead: s:1080");
    assert_eq!((status.nodes[0].hop, status.nodes[0].state), (Some(2), DEAD));
    assert_eq!(status.node_summary.as_deref(), Some("1/4"));
}

#[test]
fn failures_and_errors_are_written_with_the_state() {
    let node = |scene: &Scene, address: &str| {
        let status = scene.status();
        status.nodes.iter().find(|node| node.address == address).unwrap().clone()
    };
    let scene = Scene::two_targets().desired(2).dialled([0, 2]).dialled([0, 5]);
    let (alive, dead) = (node(&scene, "db1:5432"), node(&scene, "db2:5432"));
    assert_eq!((alive.fails, alive.last_error), (Some(0), None));
    assert_eq!((dead.fails, dead.last_error.as_deref()), (Some(5), Some("connection refused")));
    let scene = scene.later().dialled([0, 9]);
    assert_eq!(node(&scene, "db2:5432").fails, Some(5), "counters move only with the state");
    assert_eq!(node(&scene, "db2:5432").last_transition_time.unwrap().0.as_second(), 0);
    let scene = scene.later().dialled([0, 0]);
    let alive = node(&scene, "db2:5432");
    assert_eq!((alive.fails, alive.last_error), (Some(0), None));
    assert_eq!(alive.last_transition_time.unwrap().0.as_second(), 200);
}

#[test]
fn an_error_that_is_written_stays_while_any_proxy_has_it() {
    let errors = |errors: [&'static str; 2]| {
        let dead = |error: &'static str| {
            move |forward: &mut ForwardReport| {
                forward.nodes[0].state = fairlead_config::NodeState::Dead;
                forward.nodes[0].last_error = Some(error.to_owned());
            }
        };
        move |scene: Scene| scene.proxy(dead(errors[0])).proxy(dead(errors[1]))
    };
    let error = |scene: &Scene| scene.status().nodes[0].last_error.clone().unwrap();
    let scene = errors(["refused", "timed out"])(Scene::two_targets().desired(2));
    assert_eq!(error(&scene), "refused");
    let scene = errors(["timed out", "unreachable"])(scene.later());
    assert_eq!(error(&scene), "timed out");
    let scene = errors(["no route", "timed out"])(scene.later());
    assert_eq!(error(&scene), "timed out");
}

#[test]
fn a_state_began_when_its_proxy_says() {
    let since = |milliseconds: u64| {
        let mut scene = Scene::two_targets().proxy(|forward| {
            forward.nodes[0].state = fairlead_config::NodeState::Alive;
            forward.nodes[0].since = milliseconds;
        });
        scene.second = 1000;
        scene.status().nodes[0].last_transition_time.clone().unwrap().0.as_second()
    };
    assert_eq!([since(998_700), since(0), since(2_000_000), since(u64::MAX)], [998, 1000, 1000, 1000]);
}

#[test]
fn the_same_target_twice_is_two_nodes() {
    let scene = Scene::new(json!({"url": "tcp://:1/a:1,a:1"})).proxy(|forward| {
        forward.nodes = vec![undialled("a:1", None), undialled("a:1", None)];
        forward.nodes[0].state = fairlead_config::NodeState::Dead;
    });
    assert_eq!(states(&scene.status()), [("a:1", DEAD), ("a:1", UNKNOWN)]);
    let scene = scene.later().proxy(|forward| {
        forward.nodes = vec![undialled("a:1", None), undialled("a:1", None)];
        forward.nodes[1].state = fairlead_config::NodeState::Alive;
    });
    assert_eq!(states(&scene.status()), [("a:1", UNKNOWN), ("a:1", ALIVE)]);
}

#[test]
fn a_changed_list_shows_the_new_nodes_at_once() {
    let scene = Scene::two_targets().dialled([0, 1]).later();
    let mut changed = Scene::new(json!({"url": "tcp://:5432/db2:5432,db3:5432"})).dialled([0, 1]);
    changed.object.status = scene.object.status;
    changed.reports[0].forwards[0].digest = "old".to_owned();
    assert_eq!(states(&changed.status()), [("db2:5432", DEAD), ("db3:5432", UNKNOWN)]);
}

#[test]
fn a_status_names_sixty_four_nodes_the_dead_first() {
    let mut scene = Scene::two_targets();
    if let Verdict::Accepted { nodes, .. } = &mut scene.verdict {
        *nodes = (0..80).map(|n| NodeName { role: NodeRole::Target, hop: None, address: format!("a{n}:1") }).collect();
    }
    let scene = scene.proxy(|forward| {
        forward.nodes = (0..80).map(|n| undialled(&format!("a{n}:1"), None)).collect();
        forward.nodes[79].state = fairlead_config::NodeState::Dead;
        forward.nodes[0].state = fairlead_config::NodeState::Alive;
    });
    let status = scene.status();
    assert_eq!(status.nodes.len(), 64);
    assert_eq!((status.nodes[0].address.as_str(), status.nodes[1].address.as_str()), ("a79:1", "a0:1"));
    assert_eq!(status.node_summary.as_deref(), Some("1/80"));
}

#[test]
fn a_server_has_no_nodes_and_needs_none() {
    let mut scene = Scene::two_targets();
    if let Verdict::Accepted { nodes, .. } = &mut scene.verdict {
        nodes.clear();
    }
    let status = scene.listening().status();
    assert_eq!(said(&status, "NodesAvailable"), "True/NoNodes");
    assert_eq!((status.nodes.len(), status.node_summary), (0, None));
}
