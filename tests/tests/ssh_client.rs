//! Through OpenSSH's server as anybody has it, and others: each kind of login, whom we trust, and who is marked when
//! something fails.

use std::{fs, process::Command};

use fairlead_tests::{
    binary::{Fairlead, Launch},
    clients::{ask, ask_times},
    deadline::{SOON, await_condition},
    manifests::Manifest,
    ports,
    proxies::Proxy,
    skip::{is_root_or_skip, peer, skip},
    sshd::{Agent, Sshd, is_dead, node, through, user},
    targets::Target,
};

fn here(port: u16) -> ([u8; 4], u16) {
    ([127, 0, 0, 1], port)
}

#[test]
fn every_kind_of_key_logs_in() {
    let Some(sshd) = Sshd::start() else { return };
    let target = Target::letter('A');
    for (name, arguments) in [
        ("ed25519", &["-t", "ed25519", "-N", ""][..]),
        ("ecdsa-256", &["-t", "ecdsa", "-b", "256", "-N", ""]),
        ("ecdsa-521", &["-t", "ecdsa", "-b", "521", "-N", ""]),
        ("rsa", &["-t", "rsa", "-b", "2048", "-N", ""]),
        ("rsa-pem", &["-t", "rsa", "-b", "2048", "-N", "", "-m", "PEM"]),
        ("rsa-pkcs8", &["-t", "rsa", "-b", "2048", "-N", "", "-m", "PKCS8"]),
        ("ecdsa-pem", &["-t", "ecdsa", "-N", "", "-m", "PEM"]),
        ("encrypted", &["-t", "ed25519", "-N", "open sesame"]),
        ("encrypted-pem", &["-t", "rsa", "-b", "2048", "-N", "open sesame", "-m", "PEM"]),
        ("encrypted-pkcs8", &["-t", "ecdsa", "-N", "open sesame", "-m", "PKCS8"]),
    ] {
        let public = sshd.keys.make(name, arguments);
        sshd.authorize(&public);
        let login = sshd.keys.write("login", &format!("{} open sesame\n", user()));
        let secrets = if name.starts_with("encrypted") { format!("&secrets={login}") } else { String::new() };
        let (fairlead, port) = through(&[&(sshd.hop_by(name) + &secrets)], &target.address().to_string());
        assert_eq!(ask_times(here(port), 2), "AA", "with {name}:\n{}\n{}", fairlead.printed(), sshd.log());
        assert!(!fairlead.printed().contains("open sesame"));
    }
}

#[test]
fn a_certificate_of_the_user_and_one_of_the_host_are_enough() {
    let certified = "TrustedUserCAKeys DIR/ca.pub\nHostCertificate DIR/host-cert.pub\nAuthorizedKeysFile none";
    let Some(mut sshd) = Sshd::with(certified) else { return };
    let keys = &sshd.keys;
    let authority = keys.make("ca", &["-t", "ed25519", "-N", ""]);
    keys.sign("host", "ca", &["-h", "-n", "127.0.0.1"]);
    keys.make("rsa", &["-t", "rsa", "-b", "2048", "-N", ""]);
    for name in ["id", "rsa"] {
        keys.sign(name, "ca", &["-n", &user()]);
    }
    let known = keys.write("certified", &format!("@cert-authority 127.0.0.* {authority}\n"));
    sshd.restart();
    let target = Target::letter('A');
    for name in ["id", "rsa"] {
        let key = sshd.keys.text_path(name);
        let hop = format!("{}?ssh_key={key}&ssh_known_hosts={known}", sshd.url());
        let (fairlead, port) = through(&[&hop], &target.address().to_string());
        assert_eq!(ask(here(port)).ok(), Some('A'), "with {name}:\n{}\n{}", fairlead.printed(), sshd.log());
    }
    assert!(sshd.log().contains("ID rsa"), "the certificate was used:\n{}", sshd.log());
}

#[test]
fn the_users_own_agent_and_known_hosts_are_used_as_ssh_does() {
    let Some(sshd) = Sshd::start() else { return };
    let keys = &sshd.keys;
    fs::create_dir(keys.path(".ssh")).expect("a directory");
    keys.write(".ssh/known_hosts", &sshd.known_as("host"));
    let agent = Agent::holding(keys, &["id"]);
    let (target, port) = (Target::letter('A'), ports::free());
    let listen = format!("tcp://127.0.0.1:{port}/{}", target.address());
    let hop = format!("forward+ssh://127.0.0.1:{}", sshd.port);
    let fairlead = Launch::new(["run", "-o", "json", "-L", &listen, "-F", &hop])
        .environment("HOME", keys.path(""))
        .environment("USER", user())
        .environment("SSH_AUTH_SOCK", agent.socket())
        .start();
    fairlead.await_listening(port);
    assert_eq!(ask(here(port)).ok(), Some('A'), "{}\n{}", fairlead.printed(), sshd.log());
}

#[test]
fn two_servers_are_jumped_through() {
    let (Some(first), Some(second)) = (Sshd::start(), Sshd::start()) else { return };
    let target = Target::letter('A');
    let (_fairlead, port) = through(&[&first.hop(), &second.hop()], &target.address().to_string());
    assert_eq!(ask_times(here(port), 5), "AAAAA", "{}{}", first.log(), second.log());
    assert_eq!(second.log().matches("Accepted publickey").count(), 1, "five connections share a session");
}

#[test]
fn a_socks5_server_behind_it_is_reached_both_ways() {
    let Some(sshd) = Sshd::start() else { return };
    let (target, inner, far) = (Target::letter('A'), ports::free(), ports::free());
    let socks5 = format!("socks5://127.0.0.1:{inner}");
    let server = Fairlead::run(&["run", "-L", &socks5]);
    server.await_listening(inner);
    let (fairlead, port) = through(&[&sshd.hop(), &socks5], &target.address().to_string());
    assert_eq!(ask_times(here(port), 5), "AAAAA", "{}{}", fairlead.printed(), sshd.log());
    let listen = format!("rtcp://127.0.0.1:{far}/{}", target.address());
    let remote = Fairlead::run(&["run", "-o", "json", "-L", &listen, "-F", &sshd.hop(), "-F", &socks5]);
    remote.await_object("the far port", |object| object["status"]["addresses"][0]["port"] == far);
    assert_eq!(ask_times(here(far), 5), "AAAAA", "{}{}", remote.printed(), sshd.log());
}

#[test]
fn a_server_that_is_not_who_we_know_is_refused_with_what_to_do() {
    let Some(sshd) = Sshd::start() else { return };
    let target = Target::letter('A');
    sshd.keys.make("other", &["-t", "ed25519", "-N", ""]);
    let (shown, other) = (sshd.keys.fingerprint("host"), sshd.keys.fingerprint("other"));
    for (known, parts) in [
        (String::new(), vec!["host key is unknown", &shown, "add it to knownHosts"]),
        (sshd.known_as("other"), vec!["host key has changed", &shown, &other]),
        (format!("{}@revoked * {}\n", sshd.known_as("host"), sshd.keys.public("host")), vec!["is revoked", &shown]),
    ] {
        let known = sshd.keys.write("known", &known);
        let hop = format!("{}?ssh_key={}&ssh_known_hosts={known}", sshd.url(), sshd.keys.text_path("id"));
        let (fairlead, port) = through(&[&hop], &target.address().to_string());
        for _ in 0..3 {
            assert!(ask(here(port)).is_err());
        }
        fairlead.await_object("the server, dead for its key", |object| {
            parts.iter().all(|part| is_dead(object, &sshd.address(), part))
        });
        let tries = sshd.log().matches("Connection from").count();
        assert!(ask(here(port)).is_err());
        assert_eq!(sshd.log().matches("Connection from").count(), tries, "it is not tried again at once");
    }
    assert_eq!(target.accepted(), 0);
}

#[test]
fn a_refused_login_is_told_and_a_mended_secret_is_used_at_once() {
    let Some(sshd) = Sshd::start() else { return };
    sshd.keys.make("stranger", &["-t", "ed25519", "-N", ""]);
    let (target, port) = (Target::letter('A'), ports::free());
    let text = |key: &str| {
        let key = fs::read_to_string(sshd.keys.path(key)).expect("a key");
        let key: String = key.lines().map(|line| format!("    {line}\n")).collect();
        let chain = format!(
            "chain: [{{scheme: forward+ssh, nodes: [{{host: 127.0.0.1, port: {}}}], \
             credentials: {{secretRef: {{name: b}}}}, ssh: {{hostKeys: [{}]}}}}]",
            sshd.port,
            sshd.keys.public("host")
        );
        let secret = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: b}}\nstringData:\n  username: {}\n  ssh-privatekey: |\n{key}",
            user()
        );
        format!("{}---\n{secret}", Manifest::new("db", port).to(target.address()).with(&chain))
    };
    let path = sshd.keys.write("db.yaml", &text("stranger"));
    let fairlead = Launch::new(["run", "-o", "json", &path]).environment("SSH_AUTH_SOCK", "").start();
    fairlead.await_listening(port);
    assert!(ask(here(port)).is_err());
    let told = format!("login as {:?} refused; the server takes publickey", user());
    fairlead.await_object("the refused login", |object| is_dead(object, &sshd.address(), &told));
    fairlead_tests::manifests::replace(sshd.keys.path("db.yaml").as_path(), text("id"));
    await_condition("the new key is used", SOON, || ask(here(port)).is_ok());
}

#[test]
fn a_target_that_is_gone_is_marked_and_the_server_is_not() {
    let Some(sshd) = Sshd::start() else { return };
    let (mut dead, alive) = (Target::letter('A'), Target::letter('B'));
    dead.kill();
    let targets = format!("{},{}?strategy=fifo", dead.address(), alive.address());
    let (fairlead, port) = through(&[&sshd.hop()], &targets);
    assert_eq!(ask_times(here(port), 3), "BBB");
    fairlead.await_object("the dead target, and an alive server", |object| {
        is_dead(object, &dead.address().to_string(), "can't connect to it")
            && node(object, &sshd.address()).is_some_and(|node| node["state"] == "Alive")
    });
}

#[test]
fn a_server_that_forbids_it_is_quoted() {
    let Some(sshd) = Sshd::with("AllowTcpForwarding no") else { return };
    let target = Target::letter('A');
    let (fairlead, port) = through(&[&sshd.hop()], &target.address().to_string());
    assert!(ask(here(port)).is_err());
    fairlead.await_object("what the server says", |object| {
        is_dead(object, &target.address().to_string(), "AllowTcpForwarding")
    });
}

#[test]
fn dropbear_serves_as_well() {
    if !is_root_or_skip("dropbear, with a home of its own") {
        return;
    }
    let Some(sshd) = Sshd::start() else { return };
    let keys = &sshd.keys;
    let (host, port) = (keys.text_path("dropbear"), ports::free());
    let made = Command::new("dropbearkey").args(["-t", "ed25519", "-f", &host]).output();
    let Ok(made) = made else { return skip("dropbear is not installed (dropbear-bin)") };
    let public = String::from_utf8_lossy(&made.stdout);
    let public = public.lines().find(|line| line.starts_with("ssh-")).expect("a public key").to_owned();
    // It looks for keys in the user's home alone: here it has another one.
    fs::create_dir(keys.path(".ssh")).expect("a directory");
    keys.write(".ssh/authorized_keys", &format!("{}\n", keys.public("id")));
    let own_home = r#"mount --bind "$1" "$(getent passwd "$(id -u)" | cut -d: -f6)" && shift && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", own_home, "sh"]).arg(keys.path(""));
    command.args(["dropbear", "-F", "-E", "-s", "-r", &host, "-p", &format!("127.0.0.1:{port}"), "-P"]);
    command.arg(keys.path("pid")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let dropbear = Proxy::program(command, port);
    let known = keys.write("known", &format!("[127.0.0.1]:{port} {public}\n"));
    let hop = format!(
        "forward+ssh://{}@{}?ssh_key={}&ssh_known_hosts={known}",
        user(),
        dropbear.address(),
        keys.text_path("id")
    );
    let target = Target::letter('A');
    let (fairlead, port) = through(&[&hop], &target.address().to_string());
    assert_eq!(ask_times(here(port), 5), "AAAAA", "{}", fairlead.printed());
}

#[test]
fn gost_serves_as_well_with_and_without_a_password() {
    let Some(program) = peer("GOST_BIN", "GOST v2") else { return };
    let target = Target::letter('A');
    for login in ["", "ann:s3cret@"] {
        let port = ports::free();
        let mut command = Command::new(&program);
        command.args(["-L", &format!("forward+ssh://{login}127.0.0.1:{port}")]);
        let gost = Proxy::program(command, port);
        let user = if login.is_empty() { "ann@" } else { login };
        let hop = format!("forward+ssh://{user}{}?secure=false", gost.address());
        let (fairlead, port) = through(&[&hop], &target.address().to_string());
        assert_eq!(ask_times(here(port), 5), "AAAAA", "{}", fairlead.printed());
        assert!(!fairlead.printed().contains("s3cret"), "a password is shown");
    }
}
