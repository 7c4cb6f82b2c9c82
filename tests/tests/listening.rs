//! When a port can't be had: said with the address, at the start an end with 1, later a forward that waits its turn.

use std::{
    fs,
    io::Write,
    net::{Ipv6Addr, TcpListener},
};

use fairlead_tests::{
    binary::{Fairlead, Finished, Launch, finish},
    clients::ask,
    manifests::{Manifest, replace},
    objects::{condition, has_condition, is_named, is_true},
    ports,
    skip::{is_root_or_skip, skip},
    targets::Target,
};

#[track_caller]
fn assert_says(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.code, 1, "{finished:?}");
    for word in words {
        assert!(finished.stderr.contains(word), "{word:?} is not in the message:\n{}", finished.stderr);
    }
}

#[test]
fn an_address_in_use_ends_it_with_1_and_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = holder.local_addr().expect("its address").to_string();
    let finished = finish(&["run", "-L", &format!("tcp://{address}/127.0.0.1:9")]);
    assert_says(&finished, &[&address, "in use"]);
}

#[test]
fn a_privileged_port_without_rights_ends_it_with_1_and_says_what_to_do() {
    if !is_root_or_skip("a user without rights is refused port 1") {
        return;
    }
    let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first_free.trim() == "0" {
        return skip("this machine lets everybody have low ports (ip_unprivileged_port_start=0)");
    }
    let finished = Launch::new(["run", "-L", "tcp://127.0.0.1:1/127.0.0.1:9"]).as_nobody().finish();
    assert_says(&finished, &["127.0.0.1:1", "1024"]);
}

#[test]
fn an_address_this_host_does_not_have_is_named() {
    let finished = finish(&["run", "-L", "tcp://192.0.2.1:8080/127.0.0.1:9"]);
    assert_says(&finished, &["192.0.2.1:8080"]);
}

#[test]
fn a_forward_added_later_waits_for_its_port_while_the_other_runs() {
    let target = Target::letter('A');
    let holder = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let (taken, port) = (holder.local_addr().expect("its address").port(), ports::free());
    let good = Manifest::new("good", port).to(target.address());
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("two.yaml");
    replace(&file, &good);
    let fairlead = Fairlead::run(&["run", "-o", "json", file.to_str().expect("a path in UTF-8")]);
    fairlead.await_listening(port);

    replace(&file, format!("{good}{}", Manifest::new("waiting", taken).to(target.address())));
    let failed = fairlead.await_object("ListenFailed", |object| {
        is_named(object, "waiting") && has_condition(object, "Programmed", "False", "ListenFailed")
    });
    let message = condition(&failed, "Programmed").map(|condition| condition["message"].to_string());
    assert!(message.as_ref().is_some_and(|message| message.contains(&taken.to_string())), "{message:?}");
    assert_eq!(ask(([127, 0, 0, 1], port)).ok(), Some('A'));

    drop(holder);
    fairlead.await_object("its turn", |object| is_named(object, "waiting") && is_true(object, "Programmed"));
    assert_eq!(ask(([127, 0, 0, 1], taken)).ok(), Some('A'));
}

#[test]
fn a_forward_listens_where_it_says_and_nowhere_else() {
    let target = Target::letter('A');
    let [loopback, everywhere] = [ports::free(), ports::free()];
    let to = target.address();
    let first = format!("tcp://127.0.0.1:{loopback}/{to}");
    let second = format!("tcp://:{everywhere}/{to}");
    let fairlead = Fairlead::run(&["run", "-L", &first, "-L", &second]);
    fairlead.await_listening(everywhere);
    assert_eq!(ask(([127, 0, 0, 2], everywhere)).ok(), Some('A'), "an empty address is every address");
    assert!(ask(([127, 0, 0, 2], loopback)).is_err(), "127.0.0.2 was not asked for");
}

#[test]
fn a_manifest_without_an_address_listens_on_loopback_only() {
    let target = Target::letter('A');
    let port = ports::free();
    let text = Manifest::new("quiet", port).to(target.address()).to_string().replace("address: 127.0.0.1, ", "");
    let fairlead = Launch::new(["run", "-"]).input(&text).start();
    fairlead.await_listening(port);
    assert_eq!(ask(([127, 0, 0, 1], port)).ok(), Some('A'));
    assert!(TcpListener::bind(format!("127.0.0.2:{port}")).is_ok(), "another loopback address is still to be had");
}

#[test]
fn ipv6_is_listened_on_and_dialled_in_brackets() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return skip("this machine has no IPv6 loopback");
    };
    let target = listener.local_addr().expect("its address");
    let port = ports::free();
    let fairlead = Fairlead::run(&["run", "-L", &format!("tcp://[::1]:{port}/{target}")]);
    fairlead.await_listening(port);
    let client = std::thread::spawn(move || ask((Ipv6Addr::LOCALHOST, port)));
    let (mut upstream, _) = listener.accept().expect("the forwarder's connection");
    upstream.write_all(b"6").expect("answer");
    assert_eq!(client.join().expect("the client").ok(), Some('6'));
}

/// `localhost` has an IPv6 and an IPv4 address on most machines, and the target listens on one of them.
#[test]
fn every_address_of_a_targets_name_is_tried() {
    let target = Target::letter('A');
    let port = ports::free();
    let url = format!("tcp://127.0.0.1:{port}/localhost:{}", target.address().port());
    let fairlead = Fairlead::run(&["run", "-L", &url]);
    fairlead.await_listening(port);
    assert_eq!(ask(([127, 0, 0, 1], port)).ok(), Some('A'));
}

#[test]
fn a_suspended_forward_listens_nowhere_until_it_is_resumed() {
    let target = Target::letter('A');
    let port = ports::free();
    let manifest = Manifest::new("paused", port).to(target.address());
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("paused.yaml");
    replace(&file, manifest.clone().with("suspend: true"));
    let fairlead = Fairlead::run(&["run", "-o", "json", file.to_str().expect("a path in UTF-8")]);
    fairlead.await_object("Suspended", |object| has_condition(object, "Programmed", "True", "Suspended"));
    assert_eq!(ports::listener_on(port), None);
    replace(&file, &manifest);
    fairlead.await_listening(port);
    assert_eq!(ask(([127, 0, 0, 1], port)).ok(), Some('A'));
}
