//! The condition `Programmed` and what follows from it.

use fairlead_config::HostPort;

use super::{super::remote_addresses, *};

fn pending(forward: &mut ForwardReport) {
    forward.digest = "old".to_owned();
    forward.state = ForwardState::Failed;
}

fn told(scene: &Scene) -> [String; 4] {
    let status = scene.status();
    ["Programmed", "Ready", "Reconciling", "Stalled"].map(|type_| said(&status, type_))
}

#[test]
fn programmed_says_how_far_the_proxies_are() {
    let scene = Scene::two_targets;
    for (case, scene, programmed, ready, reconciling, stalled) in [
        ("nobody", scene().desired(0), "False/NoProxies", "False/NoProxies", "True/NoProxies", "False/NotStalled"),
        ("none connected", scene(), "False/NoProxies", "False/NoProxies", "True/NoProxies", "False/NotStalled"),
        ("old one", scene().proxy(pending), "False/Pending", "False/Pending", "True/Pending", "False/NotStalled"),
        ("one of one", scene().listening(), "True/Programmed", "True/Ready", "False/Settled", "False/NotStalled"),
        (
            "one of two",
            scene().desired(2).listening(),
            "False/PartiallyProgrammed",
            "False/PartiallyProgrammed",
            "True/PartiallyProgrammed",
            "False/NotStalled",
        ),
        (
            "can't listen",
            scene().failing(ForwardState::Failed, "ListenFailed", ":5432: address in use"),
            "False/ListenFailed",
            "False/ListenFailed",
            "True/ListenFailed",
            "False/NotStalled",
        ),
        (
            "too old",
            scene().failing(ForwardState::Refused, "ProxyTooOld", "restart the pod"),
            "False/ProxyTooOld",
            "False/ProxyTooOld",
            "False/Settled",
            "True/ProxyTooOld",
        ),
        (
            "without credentials",
            scene().failing(ForwardState::Refused, "CredentialsMissing", "Secret bastion has no password"),
            "False/CredentialsMissing",
            "False/CredentialsMissing",
            "False/Settled",
            "True/CredentialsMissing",
        ),
        (
            "strange reason",
            scene().failing(ForwardState::Failed, "out of\nluck", "x"),
            "False/ListenFailed",
            "False/ListenFailed",
            "True/ListenFailed",
            "False/NotStalled",
        ),
    ] {
        assert_eq!(told(&scene), [programmed, ready, reconciling, stalled], "{case}");
    }
}

#[test]
fn messages_say_what_hinders() {
    let message = |scene: Scene| condition(&scene.status(), "Programmed").message.clone();
    assert_eq!(message(Scene::two_targets().listening()), "listening on :5432");
    assert_eq!(message(Scene::two_targets().desired(2).proxy(pending)), "0 of 2 proxies run this generation");
    let failing = |scene: Scene| scene.failing(ForwardState::Failed, "ListenFailed", ":5432: address in use");
    assert_eq!(message(failing(Scene::two_targets())), ":5432: address in use");
    let want = "1 of 2 proxies run this generation; another one: :5432: address in use";
    assert_eq!(message(failing(Scene::two_targets().desired(2).listening())), want);
}

#[test]
fn proxies_are_counted_by_what_they_run() {
    let scene = Scene::two_targets().desired(4).listening().listening().proxy(pending);
    let want = json!({"desired": 4, "connected": 3, "programmed": 2, "standby": 0});
    assert_eq!(json!(scene.status().proxies), want);
}

#[test]
fn once_programmed_a_generation_stays_so_while_one_proxy_serves() {
    let rollout = Scene::two_targets().listening().later().desired(3).listening().proxy(pending);
    assert_eq!(said(&rollout.status(), "Programmed"), "True/Programmed");
    let rollout = rollout.later().desired(3).proxy(|forward| forward.digest = "older".to_owned());
    assert_eq!(said(&rollout.status(), "Programmed"), "True/Programmed", "it serves, with an older rendering");
    assert_eq!(json!(rollout.status().proxies)["programmed"], 0);
    let mut changed = rollout.later().desired(3).proxy(pending).listening();
    assert_eq!(said(&changed.status(), "Programmed"), "True/Programmed");
    changed.object.metadata.generation = Some(4);
    assert_eq!(said(&changed.status(), "Programmed"), "False/PartiallyProgrammed");
    changed.object.metadata.generation = Some(3);
    changed.reports.clear();
    assert_eq!(said(&changed.status(), "Programmed"), "False/NoProxies", "none is left");
}

#[test]
fn without_a_generation_only_the_present_rendering_counts() {
    let mut scene = Scene::two_targets().listening();
    scene.object.metadata.generation = None;
    let scene = scene.later().proxy(|forward| forward.digest = "old".to_owned());
    assert_eq!(said(&scene.status(), "Programmed"), "False/Pending");
}

#[test]
fn a_sidecar_without_pods_is_programmed() {
    let scene = Scene::new(json!({"url": TWO, "sidecar": {"name": "shop"}})).desired(0);
    assert_eq!(told(&scene), ["True/NoPods", "True/NoPods", "False/Settled", "False/NotStalled"]);
    let message = condition(&scene.status(), "Programmed").message.clone();
    assert!(message.contains("fairlead.dev/sidecar=shop"), "{message}");
    let scene = scene.later().desired(2).listening();
    assert_eq!(said(&scene.status(), "Programmed"), "False/PartiallyProgrammed", "having had no pods is no success");
}

#[test]
fn a_suspended_object_is_ready_and_dials_nobody() {
    let scene = Scene::new(json!({"url": TWO, "suspend": true})).dialled([0, 1]);
    let status = scene.status();
    assert_eq!(told(&scene), ["True/Suspended", "True/Suspended", "False/Settled", "False/NotStalled"]);
    assert_eq!(said(&status, "Accepted"), "True/Accepted");
    assert_eq!(said(&status, "NodesAvailable"), "Unknown/NotObserved");
    assert_eq!(status.node_summary.as_deref(), Some("?/2"));
    assert_eq!(json!(status.proxies)["programmed"], 0);
    assert_eq!(status.effective.unwrap().listen.as_deref(), Some(":5432"));
}

#[test]
fn one_of_several_replicas_holds_a_far_ends_port() {
    let remote = || {
        let mut scene = Scene::two_targets().desired(2);
        if let Verdict::Accepted { effective, .. } = &mut scene.verdict {
            effective.scheme = Some("rtcp".to_owned());
        }
        scene
    };
    let standby = |forward: &mut ForwardReport| forward.state = ForwardState::Standby;
    let held = remote().listening().proxy(standby);
    assert_eq!(said(&held.status(), "Programmed"), "True/Programmed");
    assert_eq!(json!(held.status().proxies)["standby"], 1);
    let lost = remote().proxy(standby).proxy(standby);
    assert_eq!(said(&lost.status(), "Programmed"), "False/BindRefused");
    assert_eq!(said(&remote().proxy(standby).status(), "Programmed"), "False/Pending");
    let local = Scene::two_targets().desired(2).listening().proxy(standby);
    assert_eq!(said(&local.status(), "Programmed"), "False/PartiallyProgrammed", "only far ends have standbys");
}

#[test]
fn a_far_ends_addresses_are_those_that_proxies_hold() {
    let bound = |port| move |forward: &mut ForwardReport| forward.bound = Some(HostPort::new("far.example", port));
    let standby = |forward: &mut ForwardReport| forward.state = ForwardState::Standby;
    let scene = Scene::two_targets().desired(3).proxy(bound(2)).proxy(standby).proxy(bound(1));
    let pods = [Some("b"), Some("c"), None];
    let addresses = remote_addresses(&scene.object, pods.into_iter().zip(&scene.reports));
    let held = |port, pod: Option<&str>| json!({"type": "Remote", "host": "far.example", "port": port, "pod": pod});
    let mut want = json!([held(1, None), held(2, Some("b"))]);
    want[0].as_object_mut().unwrap().remove("pod");
    assert_eq!(json!(addresses), want);
}

#[test]
fn a_proxy_that_cannot_even_read_the_digest_is_too_old() {
    let scene = Scene::two_targets().failing(ForwardState::Refused, "ProxyTooOld", "x");
    let mut scene = scene;
    scene.reports[0].forwards[0].digest = String::new();
    assert_eq!(said(&scene.status(), "Programmed"), "False/ProxyTooOld");
}

#[test]
fn a_proxy_that_keeps_an_older_rendering_since_it_is_too_old_says_so() {
    let goes_on = |forward: &mut ForwardReport| {
        forward.digest = "older".to_owned();
        forward.reason = Some("ProxyTooOld".to_owned());
        forward.message = Some("unknown field `warp`; restart the pod".to_owned());
    };
    let scene = Scene::two_targets().proxy(goes_on);
    assert_eq!(told(&scene), ["False/ProxyTooOld", "False/ProxyTooOld", "False/Settled", "True/ProxyTooOld"]);
    let message = condition(&scene.status(), "Programmed").message.clone();
    assert_eq!(message, "unknown field `warp`; restart the pod");
    let one_of_two = Scene::two_targets().desired(2).listening().proxy(goes_on).status();
    assert_eq!(said(&one_of_two, "Programmed"), "False/PartiallyProgrammed");
    let message = &condition(&one_of_two, "Programmed").message;
    assert!(message.ends_with("another one: unknown field `warp`; restart the pod"), "{message}");
    let rolled_out = Scene::two_targets().listening().later().proxy(goes_on).status();
    assert_eq!(said(&rolled_out, "Programmed"), "True/Programmed", "this generation was in force, and is served");
}

#[test]
fn a_proxy_that_goes_on_until_one_mounts_the_new_secret_says_so() {
    let goes_on = |forward: &mut ForwardReport| {
        forward.digest = "older".to_owned();
        forward.reason = Some("Pending".to_owned());
        forward.message = Some("pod a doesn't mount Secret \"two\"".to_owned());
    };
    let scene = Scene::two_targets().proxy(goes_on);
    assert_eq!(told(&scene), ["False/Pending", "False/Pending", "True/Pending", "False/NotStalled"]);
    assert_eq!(condition(&scene.status(), "Programmed").message, "pod a doesn't mount Secret \"two\"");
}

#[test]
fn an_earlier_object_of_the_same_name_says_nothing() {
    let mut scene = Scene::two_targets().dialled([1, 1]);
    scene.reports[0].forwards[0].key.uid = "earlier".to_owned();
    assert_eq!(said(&scene.status(), "Programmed"), "False/Pending");
    assert_eq!(said(&scene.status(), "NodesAvailable"), "Unknown/NotObserved");
}
