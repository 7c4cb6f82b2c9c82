//! No password is ever printed, whatever is wrong with what it stands in.

use std::fs;

use fairlead_tests::{
    binary::{Fairlead, Launch, finish},
    clients::ask,
    manifests::Manifest,
    ports,
    targets::Target,
};

const PASSWORD: &str = "hunter2-s3cr3t";
/// `user:hunter2-s3cr3t` in base 64, as `auth=` takes it.
const IN_BASE64: &str = "dXNlcjpodW50ZXIyLXMzY3IzdA";

#[track_caller]
fn assert_silent(what: &str, printed: &str) {
    for form in [PASSWORD, IN_BASE64, "hunter2"] {
        assert!(!printed.contains(form), "{what}: the password is shown:\n{printed}");
    }
}

#[test]
fn command_lines_with_passwords_are_refused_or_run_without_showing_them() {
    for arguments in [
        vec!["run", "-L", "tcp://user:hunter2-s3cr3t@:70000/127.0.0.1:1"],
        vec!["run", "-L", "tcp://user:hunter2-s3cr3t@[::1/127.0.0.1:1?strategy=best"],
        vec!["run", "-L", "tcp://:8080/127.0.0.1", "-F", "socks5://user:hunter2-s3cr3t@127.0.0.1:1080"],
        vec!["run", "-L", "tcp://:8080/127.0.0.1", "-F", "socks5://user:hunter2-s3cr3t@"],
        vec!["run", "-L", "tcp://:8080/127.0.0.1", "-F", "socks5://127.0.0.1:1?auth=dXNlcjpodW50ZXIyLXMzY3IzdA"],
        vec!["run", "-L", "ss://chacha20:hunter2-s3cr3t@:8338?max_fails=x"],
        vec!["run", "-L", "user:hunter2-s3cr3t@:70000"],
        vec!["run", "tcp://user:hunter2-s3cr3t@:8080/127.0.0.1:1"],
        vec!["run", "--proxy=user:hunter2-s3cr3t@host"],
        vec!["convert", "-L", "tcp://user:hunter2-s3cr3t@:70000/127.0.0.1:1"],
        vec!["check", "tcp://user:hunter2-s3cr3t@:8080/127.0.0.1:1"],
    ] {
        let finished = finish(&arguments);
        assert_ne!(finished.code, 0, "{arguments:?}");
        assert_silent(&arguments.join(" "), &format!("{}{}", finished.stdout, finished.stderr));
    }
}

#[test]
fn a_secret_beside_a_running_forward_is_not_logged_at_any_level() {
    let target = Target::letter('A');
    let port = ports::free();
    let secret =
        format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{password: {PASSWORD}}}\n");
    let text = format!("{}{secret}", Manifest::new("beside", port).to(target.address()));
    let fairlead = Launch::new(["run", "-o", "json", "-"]).input(&text).environment("RUST_LOG", "trace").start();
    fairlead.await_listening(port);
    ask(([127, 0, 0, 1], port)).expect("an answer");
    fairlead.await_object("an object", |_| true);
    assert_silent("run -o json", &fairlead.printed());
}

#[test]
fn a_hops_password_on_the_command_line_is_not_shown_whatever_the_hop_does() {
    let target = Target::letter('A');
    // It answers SOCKS5 and HTTP with a letter, which is neither.
    for scheme in ["socks5", "http", "socks4"] {
        for hop in [format!("{scheme}://user:{PASSWORD}@"), format!("{scheme}://?auth={IN_BASE64}")] {
            let port = ports::free();
            let (before, after) = hop.split_at(hop.find('?').unwrap_or(hop.len()));
            let hop = format!("{before}{}{after}", target.address());
            let listen = format!("tcp://127.0.0.1:{port}/127.0.0.1:1");
            let launch = Launch::new(["run", "-o", "json", "-L", &listen, "-F", &hop]);
            let fairlead = launch.environment("RUST_LOG", "trace").start();
            fairlead.await_listening(port);
            assert!(ask(([127, 0, 0, 1], port)).is_err(), "{scheme}");
            fairlead.await_object("the dead hop", |object| object.to_string().contains("Dead"));
            assert_silent(&format!("run -F {scheme}"), &fairlead.printed());
        }
    }
}

#[test]
fn a_password_in_a_manifests_url_is_refused_without_being_shown() {
    let text = format!(
        "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {{name: loud}}\n\
         spec: {{url: 'tcp://user:{PASSWORD}@:8080/127.0.0.1:1'}}\n"
    );
    for command in ["run", "check"] {
        let finished = Launch::new([command, "-"]).input(&text).finish();
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert_ne!(finished.code, 0, "{said}");
        assert!(said.contains("spec.url") || said.contains("credentials"), "{said}");
        assert_silent(command, &said);
    }
}

#[test]
fn a_broken_secret_beside_a_manifest_is_not_quoted() {
    let secret = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{password: {PASSWORD}");
    for broken in [secret.clone(), format!("{secret}, password: {PASSWORD}}}\n"), format!("{secret}: [}}\n")] {
        for command in ["run", "check"] {
            let finished = Launch::new([command, "-"]).input(&broken).finish();
            assert_ne!(finished.code, 0, "{broken}");
            assert_silent(command, &format!("{}{}", finished.stdout, finished.stderr));
        }
    }
}

#[test]
fn convert_puts_a_password_into_a_secret_and_nowhere_else() {
    let hop = format!("socks5://user:{PASSWORD}@127.0.0.1:1080");
    let converted = finish(&["convert", "-L", "tcp://:8080/127.0.0.1:1", "-F", &hop]);
    assert_silent("warnings", &converted.stderr);
    if converted.code != 0 {
        assert_silent("a refused conversion", &converted.stdout);
        return;
    }
    let documents = converted.stdout.split("---\n");
    for document in documents.filter(|document| document.contains(PASSWORD)) {
        assert!(document.contains("kind: Secret"), "{document}");
    }
}

#[test]
fn a_broken_configuration_is_named_and_not_quoted() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.yaml");
    fs::write(&file, format!("version: 1\nrevision: [{PASSWORD}\n")).expect("write a file");
    let port = ports::free();
    let metrics = format!("127.0.0.1:{port}");
    let path = file.to_str().expect("UTF-8");
    let fairlead = Fairlead::run(&["proxy", "--config", path, "--metrics-addr", &metrics]);
    fairlead.await_listening(port);
    fairlead.await_log("config.yaml");
    assert_silent("proxy", &fairlead.printed());
}
