//! `fairlead proxy`, as pods run it: follows the configuration file as a kubelet swaps it, and answers probes.

use std::{fs, net::TcpListener, path::Path};

use fairlead_tests::{
    binary::Fairlead,
    clients::{HttpAnswer, ask, dial, http, is_echoed, letter},
    datagrams,
    deadline::{SOON, await_condition, await_some},
    manifests::swap_as_kubelet,
    ports,
    targets::{Behaviour, Target},
};
use tempfile::TempDir;

struct Scene {
    dir: TempDir,
    fairlead: Fairlead,
    admin: u16,
    version: u32,
}

impl Scene {
    /// A proxy whose configuration is not there yet.
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let admin = ports::free();
        let (file, address) = (dir.path().join("config.yaml"), format!("127.0.0.1:{admin}"));
        let file = file.to_str().expect("UTF-8");
        let fairlead = Fairlead::run(&["proxy", "--config", file, "--metrics-addr", &address]);
        fairlead.await_listening(admin);
        Self { dir, fairlead, admin, version: 0 }
    }

    fn swap(&mut self, text: &str) {
        self.version += 1;
        swap_as_kubelet(self.dir.path(), "config.yaml", self.version, text);
    }

    fn probe(&self, path: &str) -> HttpAnswer {
        http("GET", self.admin, path).expect("an answer to a probe")
    }

    fn await_ready(&self) {
        await_condition("readiness", SOON, || self.probe("/readyz").code == 200);
    }
}

fn forward(name: &str, port: u16, target: &Target, more: &str) -> String {
    let to = target.address().port();
    format!(
        "- key: {{namespace: shop, name: {name}, uid: u-{name}}}\n  digest: d\n  scheme: tcp\n  \
         listen: {{host: 127.0.0.1, port: {port}}}\n  targets: [{{host: 127.0.0.1, port: {to}}}]\n{more}"
    )
}

fn config(revision: u64, forwards: &[String]) -> String {
    format!("version: 1\nrevision: {revision}\nforwards:\n{}", forwards.concat())
}

fn answer(port: u16) -> Option<char> {
    ask(([127, 0, 0, 1], port)).ok()
}

#[test]
fn it_is_alive_at_once_and_ready_with_its_first_configuration() {
    let target = Target::letter('A');
    let port = ports::free();
    let mut scene = Scene::new();
    assert_eq!(scene.probe("/livez").code, 200);
    assert_eq!(scene.probe("/readyz").code, 503, "no configuration yet");
    assert_eq!(scene.probe("/nowhere").code, 404);
    scene.swap(&config(1, &[forward("db", port, &target, "")]));
    scene.await_ready();
    assert_eq!(answer(port), Some('A'));
}

#[test]
fn a_kubelets_swap_takes_effect_and_keeps_connections() {
    let [a, b] = ['A', 'B'].map(|letter| Target::start(Behaviour::Greet(letter)));
    let port = ports::free();
    let mut scene = Scene::new();
    scene.swap(&config(1, &[forward("db", port, &a, "")]));
    scene.await_ready();
    let connection = dial(([127, 0, 0, 1], port)).expect("a connection");
    assert_eq!(letter(&connection).ok(), Some('A'));
    scene.swap(&config(2, &[forward("db", port, &b, "")]));
    await_condition("the new target", SOON, || answer(port) == Some('B'));
    scene.swap(&config(3, &[forward("db", port, &a, "")]));
    await_condition("the old target again", SOON, || answer(port) == Some('A'));
    assert!(is_echoed(&connection, "through every change"));
}

#[test]
fn an_older_revision_and_a_broken_document_change_nothing() {
    let [a, b] = ['A', 'B'].map(Target::letter);
    let port = ports::free();
    let mut scene = Scene::new();
    scene.swap(&config(5, &[forward("db", port, &a, "")]));
    scene.await_ready();
    scene.swap(&config(4, &[forward("db", port, &b, "")]));
    scene.fairlead.await_log("not newer");
    scene.swap("version: 1\nrevision: 9\nforwards: [");
    scene.fairlead.await_log("config.yaml");
    assert_eq!(answer(port), Some('A'));
    assert_eq!(scene.probe("/readyz").code, 200);
    scene.swap(&config(10, &[forward("db", port, &b, "")]));
    await_condition("the newer revision", SOON, || answer(port) == Some('B'));
}

#[test]
fn a_forward_that_cannot_run_is_refused_alone_and_the_proxy_is_ready() {
    let target = Target::letter('A');
    let good = ports::free();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let taken = holder.local_addr().expect("its address").port();
    let mut scene = Scene::new();
    let from_the_future = forward("future", ports::free(), &target, "  warpFactor: 9\n");
    let unknown_scheme = forward("warp", ports::free(), &target, "").replace("scheme: tcp", "scheme: warp");
    let blocked = forward("blocked", taken, &target, "");
    scene.swap(&config(1, &[from_the_future, unknown_scheme, blocked, forward("good", good, &target, "")]));
    scene.await_ready();
    assert_eq!(answer(good), Some('A'));
    for word in ["warpFactor", "warp", &taken.to_string()] {
        scene.fairlead.await_log(word);
    }
    drop(holder);
    scene.fairlead.await_listening(taken);
}

#[test]
fn a_newer_format_with_unknown_words_at_the_top_is_read() {
    let target = Target::letter('A');
    let port = ports::free();
    let mut scene = Scene::new();
    let newer = config(1, &[forward("db", port, &target, "")]).replace("version: 1", "version: 7\nweather: fine");
    scene.swap(&newer);
    scene.await_ready();
    assert_eq!(answer(port), Some('A'));
}

#[test]
fn metrics_count_connections_bytes_and_failures_by_forward_and_node() {
    let (mut a, b) = (Target::letter('A'), Target::letter('B'));
    let port = ports::free();
    let mut scene = Scene::new();
    let two =
        format!("{{host: 127.0.0.1, port: {}}}, {{host: 127.0.0.1, port: {}}}", a.address().port(), b.address().port());
    let one = forward("db", port, &a, "  strategy: fifo\n");
    let alone = format!("{{host: 127.0.0.1, port: {}}}", a.address().port());
    scene.swap(&config(1, &[one.replace(&alone, &two)]));
    scene.await_ready();
    assert_eq!((answer(port), answer(port)), (Some('A'), Some('A')));
    a.kill();
    assert_eq!(answer(port), Some('B'));

    let metrics = scene.probe("/metrics");
    assert_eq!(metrics.code, 200);
    // A client may have its answer before the worker that sent it has counted it.
    let text = &await_some("all bytes to be counted", SOON, || {
        let text = scene.probe("/metrics").body;
        let counted = sample(&text, &["bytes", "db"]);
        (counted.len() > 1 && counted.iter().all(|bytes| *bytes >= 3.0)).then_some(text)
    });
    let (node_a, node_b) = (a.address().to_string(), b.address().to_string());
    assert!(sample(text, &["connections", "db", &node_a]).contains(&2.0), "{text}");
    assert!(sample(text, &["connections", "db", &node_b]).contains(&1.0), "{text}");
    assert!(sample(text, &["failures", "refused", &node_a]).contains(&1.0), "{text}");
    assert!(sample(text, &["alive", &node_a]).contains(&0.0), "{text}");
    assert!(sample(text, &["alive", &node_b]).contains(&1.0), "{text}");
    assert!(!sample(text, &["dial", "_bucket", &node_a]).is_empty(), "{text}");
    assert!(!text.contains("peer=") && !text.contains("client="), "label sets are bounded:\n{text}");
}

#[test]
fn metrics_count_datagrams_that_a_server_carries_as_those_of_a_forward() {
    let target = datagrams::Target::start('T');
    let mut scene = Scene::new();
    let ways =
        [("tunnel", "socks5", ""), ("beside", "socks5", ", socks5: {udpAssociate: true}"), ("relay", "relay", "")];
    let (mut forwards, mut locals) = (Vec::new(), Vec::new());
    for (name, scheme, option) in ways {
        let [server, local] = [ports::free(), ports::free()];
        let listening = |name: &str, scheme: &str, port: u16| {
            format!(
                "- key: {{namespace: shop, name: {name}, uid: u-{name}}}\n  digest: d\n  scheme: {scheme}\n  \
                 listen: {{host: 127.0.0.1, port: {port}}}\n"
            )
        };
        forwards.push(listening(name, scheme, server));
        forwards.push(format!(
            "{}  targets: [{{host: 127.0.0.1, port: {}}}]\n  \
             chain: [{{scheme: {scheme}, nodes: [{{host: 127.0.0.1, port: {server}}}]{option}}}]\n",
            listening(&format!("local-{name}"), "udp", local),
            target.address.port()
        ));
        locals.push(local);
    }
    scene.swap(&config(1, &forwards));
    scene.await_ready();
    for ((name, ..), local) in ways.into_iter().zip(locals) {
        let client = datagrams::client(local);
        assert_eq!(datagrams::letter(&client), 'T', "{name}");
        await_condition("the server to count what the forward in front of it counts", SOON, || {
            let text = scene.probe("/metrics").body;
            let counted = |name: &str| {
                let forward = format!("forward=\"{name}\"");
                ["datagrams_total", "bytes_total"].map(|metric| sample(&text, &[metric, &forward]))
            };
            let of_server = counted(name);
            of_server == counted(&format!("local-{name}")) && of_server.concat().iter().all(|value| *value >= 1.0)
        });
        let text = scene.probe("/metrics").body;
        let forward = format!("forward=\"{name}\"");
        assert_eq!(sample(&text, &["connections_open", &forward]), [1.0], "{text}");
        assert_eq!(sample(&text, &["datagrams_dropped_total", &forward]), [0.0; 6], "{text}");
    }
}

/// The values of all samples whose name and labels contain every word.
fn sample(metrics: &str, words: &[&str]) -> Vec<f64> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#') && words.iter().all(|word| line.contains(word)));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect()
}

#[test]
fn it_drains_and_ends_with_0_when_asked() {
    let target = Target::letter('A');
    let port = ports::free();
    let mut scene = Scene::new();
    scene.swap(&config(1, &[forward("db", port, &target, "")]));
    scene.await_ready();
    scene.fairlead.terminate();
    assert_eq!(scene.fairlead.await_exit(SOON), 0, "{}", scene.fairlead.printed());
}

#[test]
fn a_plain_file_replaced_or_overwritten_takes_effect_too() {
    let [a, b, c] = ['A', 'B', 'C'].map(Target::letter);
    let port = ports::free();
    let scene = Scene::new();
    let file = scene.dir.path().join("config.yaml");
    fs::write(&file, config(1, &[forward("db", port, &a, "")])).expect("write the file");
    scene.await_ready();
    fairlead_tests::manifests::replace(&file, config(2, &[forward("db", port, &b, "")]));
    await_condition("the replaced file", SOON, || answer(port) == Some('B'));
    fairlead_tests::manifests::overwrite(Path::new(&file), config(3, &[forward("db", port, &c, "")]));
    await_condition("the overwritten file", SOON, || answer(port) == Some('C'));
}
