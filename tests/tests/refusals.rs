//! Invalid input: one clear message for each problem, naming the field, and the right exit code.

use std::fs;

use fairlead_tests::{
    binary::{Finished, Launch, finish},
    manifests::Manifest,
};

/// Lines on standard error that say what is wrong.
fn complaints(finished: &Finished) -> Vec<&str> {
    finished.stderr.lines().filter(|line| !line.trim().is_empty()).collect()
}

#[track_caller]
fn assert_refused(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code, code, "{finished:?}");
    for word in words {
        assert!(finished.stderr.contains(word), "{word:?} is not in the message:\n{}", finished.stderr);
    }
    assert_eq!(finished.stdout, "", "nothing on standard output");
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

#[test]
fn each_malformed_url_is_refused_with_a_message_that_names_the_part() {
    for (url, words) in [
        ("tcp://:0/127.0.0.1:80", &["port"][..]),
        ("tcp://:70000/127.0.0.1:80", &["70000", "65535"]),
        ("tcp://:8080/127.0.0.1", &["127.0.0.1", "port"]),
        ("tcp://:8080/127.0.0.1:0", &["target 1", "port 0"]),
        ("tcp://:8080/127.0.0.1:70000", &["70000"]),
        ("tcp://:8080/127.0.0.1:http", &["http"]),
        ("tcp://:8080", &["target"]),
        ("tcp://:8080/", &["target"]),
        ("tcp:///127.0.0.1:80", &["port"]),
        ("tpc://:8080/127.0.0.1:80", &["tpc", "tcp"]),
        ("tcp://:8080/127.0.0.1:80?strategy=roundrobin", &["strategy", "roundrobin", "round"]),
        ("tcp://:8080/127.0.0.1:80?fail_timeout=soon", &["fail_timeout", "soon"]),
        ("tcp://:8080/127.0.0.1:80?max_fails=many", &["max_fails", "many"]),
        ("tcp://:8080/127.0.0.1:80?max_fails=-2", &["max_fails"]),
        ("tcp://:8080/127.0.0.1:80?max_fials=2", &["max_fials", "max_fails"]),
        ("tcp://:8080/[::1:80", &["["]),
        ("tcp://:8080/127.0.0.1:80%zz", &["80%zz"]),
        ("", &["empty"]),
    ] {
        let finished = finish(&["run", "-L", url]);
        assert_refused(&finished, 2, words);
        assert_eq!(complaints(&finished).len(), 1, "{url}: one problem, one line:\n{}", finished.stderr);
    }
}

#[test]
fn a_scheme_that_is_known_but_not_built_is_named() {
    for scheme in ["tls", "kcp", "socks5+tls"] {
        let target = if scheme == "socks5+tls" { "" } else { "/127.0.0.1:80" };
        let finished = finish(&["run", "-L", &format!("{scheme}://:8080{target}")]);
        assert_refused(&finished, 2, &[scheme]);
    }
}

#[test]
fn port_zero_is_refused_where_nobody_else_chooses_the_port() {
    let finished = finish(&["run", "-L", "tcp://:0/127.0.0.1:80"]);
    assert_refused(&finished, 2, &["0"]);
    let remote = finish(&["convert", "-L", "rtcp://:0/127.0.0.1:80", "-F", "socks5://127.0.0.1:1080"]);
    assert_eq!(remote.code, 0, "the far end may choose: {}", remote.stderr);
}

#[test]
fn noise_as_a_url_is_refused_in_a_short_message() {
    let noise: String =
        (0..100_000u32).map(|n| char::from(33 + (n.wrapping_mul(2_654_435_761) >> 16) as u8 % 94)).collect();
    for url in
        [noise.clone(), format!("tcp://{noise}"), format!("tcp://:8080/{noise}"), format!("tcp://:1/a:1?{noise}")]
    {
        let finished = finish(&["run", "-L", &url]);
        assert_refused(&finished, 2, &[]);
        let said = finished.stderr.len();
        assert!((1..20_000).contains(&said), "{said} bytes of message");
    }
}

#[test]
fn every_problem_of_every_url_is_listed_at_once() {
    let finished = finish(&["run", "-L", "tcp://:8080/a?strategy=x", "-L", "tcp://:70000/b:1", "-L", "warp://:1/c:1"]);
    assert_refused(&finished, 2, &["strategy", "70000", "warp"]);
    assert!(complaints(&finished).len() >= 3, "{}", finished.stderr);
}

#[test]
fn two_urls_for_one_port_are_refused() {
    let finished = finish(&["run", "-L", "tcp://127.0.0.1:8080/a:1", "-L", "tcp://:8080/b:1"]);
    assert_refused(&finished, 2, &["8080"]);
}

#[test]
fn each_malformed_manifest_is_refused_with_a_message_that_names_the_field() {
    let target = "127.0.0.1:9".parse().expect("an address");
    let good = Manifest::new("some", 8080).to(target).to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("some.yaml");
    let path = file.to_str().expect("a path in UTF-8");
    for (what, text, words) in [
        ("cut in half", good[..good.len() / 2].to_owned(), &["some.yaml"][..]),
        ("no YAML", "spec: [".to_owned(), &["some.yaml", "line"]),
        (
            "an unknown field",
            good.replace("  targets:", "  tragets: []\n  targets:"),
            &["some.yaml", "tragets", "targets"],
        ),
        ("an unknown field of a target", good.replace("port: 9", "prot: 9"), &["prot"]),
        ("port 0", good.replace("8080", "0"), &["spec.listen.port"]),
        ("port 70000", good.replace("8080", "70000"), &["spec.listen.port", "70000"]),
        ("a target without port", good.replace(", port: 9", ""), &["spec.targets[0]", "port"]),
        ("a target with port 0", good.replace("port: 9", "port: 0"), &["spec.targets[0].port"]),
        ("a word for a number", good.replace("8080", "http"), &["spec.listen.port"]),
        ("an unknown scheme", good.replace("scheme: tcp", "scheme: tpc"), &["tpc"]),
        ("an unknown strategy", good.replace("  targets:", "  strategy: best\n  targets:"), &["strategy", "best"]),
        ("a garbage duration", good.replace("  targets:", "  failTimeout: soon\n  targets:"), &["failTimeout"]),
        ("url and scheme", good.replace("  targets:", "  url: 'tcp://:1/a:1'\n  targets:"), &["url", "scheme"]),
        ("an upper-case name", good.replace("name: some", "name: Some"), &["metadata.name"]),
        (
            "no spec",
            "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {name: x}\n".to_owned(),
            &["spec"],
        ),
    ] {
        assert_ne!(text, good, "{what}");
        fs::write(&file, text).expect("write the manifest");
        let run = finish(&["run", path]);
        assert_refused(&run, 2, words);
        let check = finish(&["check", path]);
        assert_eq!(check.code, 1, "{what}: {check:?}");
        let said = format!("{}{}", check.stdout, check.stderr);
        assert!(words.iter().all(|word| said.contains(word)), "{what}: check says:\n{said}");
    }
}

#[test]
fn two_manifests_on_one_port_are_refused_naming_both() {
    let target = "127.0.0.1:9".parse().expect("an address");
    let both = format!("{}{}", Manifest::new("first", 8080).to(target), Manifest::new("second", 8080).to(target));
    for (command, code) in [("run", 2), ("check", 1)] {
        let finished = Launch::new([command, "-"]).input(&both).finish();
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.code, code, "{said}");
        assert!(["first", "second", "8080"].iter().all(|word| said.contains(word)), "{said}");
    }
}

#[test]
fn what_is_no_manifest_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let other = dir.path().join("other.yaml");
    fs::write(&other, "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n").expect("write a Service");
    let other = other.to_str().expect("a path in UTF-8");
    assert_refused(&finish(&["run", other]), 2, &["other.yaml", "PortForward"]);
    assert_refused(&finish(&["run", "/nowhere/some.yaml"]), 2, &["/nowhere/some.yaml"]);
    assert_refused(&Launch::new(["run", "-"]).input("").finish(), 2, &["PortForward"]);
    assert_refused(&finish(&["run"]), 2, &["-L"]);
    assert_refused(&finish(&["run", "--nonsense"]), 2, &["--nonsense"]);
}
