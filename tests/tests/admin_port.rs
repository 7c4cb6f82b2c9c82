//! The admin port of `fairlead proxy`: whom it lets in, what it takes, and what it reports.

use std::{
    io::{Read, Write},
    time::Duration,
};

use fairlead_config::NodeState;
use fairlead_tests::{
    binary::Fairlead,
    clients::{ask, dial, http, is_echoed, letter},
    deadline::{SOON, await_condition, await_some},
    manifests::{replace, swap_as_kubelet},
    operator_side::{Authority, Flaw, Operator, Reports, push_answer},
    ports,
    targets::{Behaviour, Target},
};
use tempfile::TempDir;

struct Scene {
    dir: TempDir,
    fairlead: Fairlead,
    admin: u16,
    metrics: u16,
}

impl Scene {
    /// A proxy without a configuration that trusts nobody yet.
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (admin, metrics) = (ports::free(), ports::free());
        let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
        let address = |port| format!("127.0.0.1:{port}");
        let fairlead = Fairlead::run(&[
            "proxy",
            "--config",
            &path("config.yaml"),
            "--metrics-addr",
            &address(metrics),
            "--admin-addr",
            &address(admin),
            "--admin-ca",
            &path("ca.crt"),
        ]);
        fairlead.await_listening(admin);
        Self { dir, fairlead, admin, metrics }
    }

    /// The same, trusting these authorities.
    fn trusting(authorities: &[&Authority]) -> Self {
        let scene = Self::new();
        scene.trust(authorities);
        scene
    }

    fn trust(&self, authorities: &[&Authority]) {
        let mark = self.fairlead.log_mark();
        let bundle: String = authorities.iter().map(|authority| authority.pem()).collect();
        replace(&self.dir.path().join("ca.crt"), bundle);
        self.fairlead.await_log_after(mark, &format!("certificates={}", authorities.len()));
    }

    fn watch(&self, operator: &Operator) -> Reports {
        operator.connect(self.admin).and_then(|connection| connection.watch()).expect("a stream of reports")
    }

    /// What an operator gets who does as if everything were in order.
    fn is_let_in(&self, operator: &Operator) -> bool {
        let answer = operator.connect(self.admin).and_then(|mut connection| connection.ask("GET", "/report", b""));
        answer.is_ok_and(|answer| answer.code == 200)
    }
}

fn document(revision: u64, port: u16, target: &Target, more: &str) -> String {
    let to = target.address().port();
    format!(
        "version: 1\nrevision: {revision}\nforwards:\n- key: {{namespace: shop, name: db, uid: u}}\n  digest: d{revision}\n  \
         scheme: tcp\n  listen: {{host: 127.0.0.1, port: {port}}}\n  targets: [{{host: 127.0.0.1, port: {to}}}]\n{more}"
    )
}

fn answer(port: u16) -> Option<char> {
    ask(([127, 0, 0, 1], port)).ok()
}

#[test]
fn a_push_runs_at_once_and_neither_an_older_push_nor_an_older_file_goes_back() {
    let [a, b] = ['A', 'B'].map(Target::letter);
    let (authority, port) = (Authority::new("operator"), ports::free());
    let scene = Scene::trusting(&[&authority]);
    let mut operator = authority.operator(Flaw::None).connect(scene.admin).expect("a connection");
    let mut push = |document: &str| {
        let answer = operator.push(document).expect("an answer to a push");
        (answer.code, push_answer(&answer))
    };
    let (code, said) = push(&document(5, port, &a, ""));
    assert_eq!((code, said.revision, said.message), (200, Some(5), None));
    assert_eq!(answer(port), Some('A'));
    assert_eq!(http("GET", scene.metrics, "/readyz").expect("an answer").code, 200);

    let (code, said) = push(&document(4, port, &b, ""));
    assert_eq!((code, said.revision), (409, Some(5)));
    assert!(said.message.is_some_and(|message| message.contains('4') && message.contains('5')));
    let (code, said) = push(&document(5, port, &b, ""));
    assert_eq!((code, said.revision, said.message), (200, Some(5), None), "the same revision has no effect");
    swap_as_kubelet(scene.dir.path(), "config.yaml", 1, &document(3, port, &b, ""));
    scene.fairlead.await_log("not newer");
    assert_eq!(answer(port), Some('A'));

    swap_as_kubelet(scene.dir.path(), "config.yaml", 2, &document(6, port, &b, ""));
    await_condition("the newer file", SOON, || answer(port) == Some('B'));
    let (code, said) = push(&document(6, port, &a, ""));
    assert_eq!((code, said.revision), (200, Some(6)));
    let (code, _) = push(&document(7, port, &a, ""));
    assert_eq!((code, answer(port)), (200, Some('A')));
}

#[test]
fn what_is_no_configuration_is_refused_and_what_runs_goes_on() {
    let target = Target::start(Behaviour::Greet('A'));
    let (authority, port) = (Authority::new("operator"), ports::free());
    let scene = Scene::trusting(&[&authority]);
    let operator = authority.operator(Flaw::None);
    assert_eq!(operator.push(scene.admin, &document(1, port, &target, "")).expect("an answer").code, 200);
    let mut reports = scene.watch(&operator);
    let client = dial(([127, 0, 0, 1], port)).expect("a connection");
    assert_eq!(letter(&client).ok(), Some('A'));

    let padding = |size: usize| document(2, port, &target, "") + "#" + &"x".repeat(size) + "\n";
    for (body, code, says) in [
        ("", 400, "configuration"),
        ("version: 1\nrevision: 2\nforwards: [", 400, "line"),
        ("revision: 2\n", 400, "version"),
        (&document(1 << 53, port, &target, ""), 400, "revision"),
        (&padding(1 << 20), 413, "1024 KiB"),
    ] {
        let answer = operator.push(scene.admin, body).expect("an answer");
        let said = push_answer(&answer);
        assert_eq!((answer.code, said.revision), (code, Some(1)), "{answer:?}");
        assert!(said.message.as_ref().is_some_and(|message| message.contains(says)), "{answer:?}");
    }
    for (method, path, code) in
        [("GET", "/", 404), ("GET", "/config", 405), ("POST", "/report", 405), ("GET", "/metrics", 404)]
    {
        let mut connection = operator.connect(scene.admin).expect("a connection");
        assert_eq!(connection.ask(method, path, b"").expect("an answer").code, code, "{method} {path}");
    }
    assert!(is_echoed(&client, "undisturbed"));
    assert_eq!(operator.push(scene.admin, &padding(900 << 10)).expect("an answer").code, 200);
    reports.await_report("the next revision", |report| report.revision == 2);
}

#[test]
fn who_has_no_good_certificate_is_refused_and_disturbs_nobody() {
    let target = Target::letter('A');
    let (authority, stranger) = (Authority::new("operator"), Authority::new("operator"));
    let scene = Scene::trusting(&[&authority]);
    let operator = authority.operator(Flaw::None);
    let port = ports::free();
    let mut reports = scene.watch(&operator);
    let mut revision = 0;
    let mut is_undisturbed = || {
        revision += 1;
        operator.push(scene.admin, &document(revision, port, &target, "")).expect("an answer");
        reports.await_report("the revision", |report| report.revision == revision);
    };
    for (who, refused) in [
        ("nobody", Operator::anonymous()),
        ("another authority's", stranger.operator(Flaw::None)),
        ("one of the past", authority.operator(Flaw::Expired)),
        ("a server", authority.operator(Flaw::ForServers)),
    ] {
        assert!(!scene.is_let_in(&refused), "{who}");
        let pushed = refused.push(scene.admin, &document(1000, port, &target, ""));
        assert!(pushed.is_err(), "{who}: {pushed:?}");
        is_undisturbed();
    }
    for garbage in
        [&b"GET /report HTTP/1.1\r\n\r\n"[..], &[0; 4096], &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3], b"SSH-2.0-x\r\n"]
    {
        let mut stream = dial(([127, 0, 0, 1], scene.admin)).expect("a connection");
        // A peer that has seen enough may close before it has read everything.
        let _ = stream.write_all(garbage);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
        is_undisturbed();
    }
    assert_eq!(answer(port), Some('A'));
    scene.fairlead.await_log("refused a client of the admin port");
}

#[test]
fn before_there_is_an_authority_nobody_is_let_in_and_the_log_and_the_probe_say_why() {
    let authority = Authority::new("operator");
    let scene = Scene::new();
    let operator = authority.operator(Flaw::None);
    assert!(!scene.is_let_in(&operator));
    scene.fairlead.await_log("refused a client of the admin port");
    let file = scene.dir.path().join("ca.crt");
    assert!(scene.fairlead.printed().contains(&format!("{}: no such file", file.display())));
    let readiness = http("GET", scene.metrics, "/readyz").expect("an answer");
    let config = scene.dir.path().join("config.yaml");
    let says = format!("no configuration yet: waiting for {} or a push", config.display());
    assert!(readiness.code == 503 && readiness.body.contains(&says), "{readiness:?}");

    std::fs::write(&file, "no certificate").expect("write the file");
    scene.fairlead.await_log("holds no certificate");
    assert!(!scene.is_let_in(&operator));
    scene.trust(&[&authority]);
    assert!(scene.is_let_in(&operator));
}

#[test]
fn a_rotation_of_authorities_loses_no_push_and_keeps_connections() {
    let target = Target::letter('A');
    let [old, new] = ["old", "new"].map(Authority::new);
    let [with_old, with_new] = [&old, &new].map(|authority| authority.operator(Flaw::None));
    let scene = Scene::trusting(&[&old]);
    let port = ports::free();
    let mut reports = scene.watch(&with_old);
    let mut kept = with_old.connect(scene.admin).expect("a connection");
    let mut operator = &with_old;
    for revision in 1..=40 {
        match revision {
            10 => scene.trust(&[&old, &new]),
            20 => operator = &with_new,
            30 => scene.trust(&[&new]),
            _ => {}
        }
        let pushed = operator.push(scene.admin, &document(revision, port, &target, "")).expect("an answer");
        assert_eq!((pushed.code, push_answer(&pushed).revision), (200, Some(revision)));
    }
    assert!(!scene.is_let_in(&with_old), "its authority is no longer trusted");
    reports.await_report("the last revision", |report| report.revision == 40);
    assert_eq!(kept.push(&document(41, port, &target, "")).expect("an answer on the old connection").code, 200);

    replace(&scene.dir.path().join("ca.crt"), "half a certif");
    scene.fairlead.await_log("stay in force");
    assert!(scene.is_let_in(&with_new));
}

#[test]
fn every_change_is_reported_within_a_second() {
    let mut target = Target::letter('A');
    let (authority, port) = (Authority::new("operator"), ports::free());
    let scene = Scene::trusting(&[&authority]);
    let operator = authority.operator(Flaw::None);
    let mut reports = scene.watch(&operator);
    let first = reports.next_report().expect("the first report");
    assert_eq!((first.revision, first.forwards.len()), (0, 0));
    let checked = "  healthCheck: {interval: 100ms}\n";
    operator.push(scene.admin, &document(1, port, &target, checked)).expect("an answer");
    let state = |report: &fairlead_config::Report| Some(report.forwards.first()?.nodes.first()?.state);
    let alive = reports.await_report("a living node", |report| state(report) == Some(NodeState::Alive));
    assert_eq!((alive.revision, alive.forwards[0].digest.as_str()), (1, "d1"));
    let killed = std::time::Instant::now();
    target.kill();
    reports.await_report("a dead node", |report| state(report) == Some(NodeState::Dead));
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
}

#[test]
fn the_ninth_connection_takes_the_place_of_the_oldest() {
    let authority = Authority::new("operator");
    let scene = Scene::trusting(&[&authority]);
    let operator = authority.operator(Flaw::None);
    let mut all: Vec<_> = (0..8).map(|_| scene.watch(&operator)).collect();
    all.iter_mut().for_each(|reports| drop(reports.next_report().expect("a report")));
    let mut ninth = scene.watch(&operator);
    ninth.next_report().expect("a report");
    assert!(all[0].ends_within(SOON));
    for others in all.iter_mut().skip(1).chain([&mut ninth]) {
        assert!(!others.ends_within(Duration::from_millis(20)));
    }
}

#[test]
fn clients_that_never_finish_their_handshake_do_not_keep_an_operator_out() {
    let authority = Authority::new("operator");
    let scene = Scene::trusting(&[&authority]);
    let silent: Vec<_> = (0..100).map(|_| dial(([127, 0, 0, 1], scene.admin)).expect("a connection")).collect();
    let operator = authority.operator(Flaw::None);
    await_some("an operator among silent clients", SOON, || scene.is_let_in(&operator).then_some(()));
    for mut stream in silent {
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
}

#[test]
fn it_ends_with_an_operator_connected() {
    let authority = Authority::new("operator");
    let mut scene = Scene::trusting(&[&authority]);
    let operator = authority.operator(Flaw::None);
    let mut reports = scene.watch(&operator);
    reports.next_report().expect("a report");
    scene.fairlead.terminate();
    assert_eq!(scene.fairlead.await_exit(SOON), 0, "{}", scene.fairlead.printed());
    assert!(reports.ends_within(SOON));
}
