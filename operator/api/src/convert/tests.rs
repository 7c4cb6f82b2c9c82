//! Command lines to objects and manifests: what is said, what is warned of, what is refused.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::manifest;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn converted(listen: &[&str], forward: &[&str]) -> Conversion {
    convert(&texts(listen), &texts(forward)).unwrap()
}

/// Reads documents as `fairlead check` would; none may have a problem.
fn read(conversion: &Conversion) -> manifest::Manifests {
    let manifests = manifest::read("converted", &conversion.documents.join("---\n"));
    assert!(manifests.problems.is_empty(), "{:?}", manifests.problems);
    manifests
}

#[test]
fn a_manifest_says_what_the_command_line_said_and_no_more() {
    let url = "tcp://:5432/db1:5432,db2:5432?strategy=fifo&max_fails=2&fail_timeout=10&retry=3";
    let conversion = converted(&[url], &[]);
    let want = "\
apiVersion: fairlead.dev/v1alpha1
kind: PortForward
metadata:
  name: tcp-5432
spec:
  scheme: tcp
  listen:
    port: 5432
  targets:
  - host: db1
    port: 5432
  - host: db2
    port: 5432
  strategy: fifo
  maxFails: 2
  failTimeout: 10s
";
    assert_eq!(conversion.documents, [want]);
    assert!(conversion.warnings[0].starts_with("-L 1: option \"retry\" has no effect"), "{:?}", conversion.warnings);
    assert!(conversion.warnings[1].contains("GOST listens on every address"), "{:?}", conversion.warnings);
    assert_eq!(conversion.warnings.len(), 2);
}

#[test]
fn a_converted_manifest_renders_to_the_same_forward_as_its_url() {
    for url in [
        "tcp://:5432/db1:5432",
        "tcp://127.0.0.1:1/[::1]:22,:23?ip=a:1",
        "tcp://[::1]:1/a:1?strategy=random&max_fails=-1&fail_timeout=1500ms&ttl=5m&timeout=2&hedge_delay=0",
        "tcp://:1/a:1?idle_timeout=1h&max_connections=9&health_check=5&health_timeout=900ms",
    ] {
        let by_url = command_line(&texts(&[url]), &[]).unwrap().objects;
        let by_fields = read(&converted(&[url], &[])).port_forwards;
        for place in [Place::CommandLine, Place::Gateway, Place::Laptop] {
            let (by_url, by_fields) = (render::render(&by_url, place), render::render(&by_fields, place));
            assert_eq!(by_url.forwards.len(), 1, "{:?}", by_url.verdicts);
            assert_eq!(by_url.forwards, by_fields.forwards, "{url}");
        }
    }
}

#[test]
fn every_line_of_gosts_manual_becomes_a_manifest_that_passes_the_check() {
    for (listen, forward, parts) in [
        (vec!["udp://:5353/192.168.1.1:53?ttl=60"], vec![], vec!["scheme: udp", "ttl: 60s"]),
        (vec!["tcp://:8080"], vec!["forward+tls://s:443?secure=true"], vec!["scheme: forward+tls", "host: s"]),
        (vec!["tcp://:1/a:1"], vec!["socks5://s:1080?secure=true"], vec!["insecureSkipVerify: false"]),
        (vec!["tcp://:1/a:1"], vec!["http+tls://s:443?ip=10.0.0.1"], vec!["serverName: s", "insecureSkipVerify: true"]),
        (
            vec!["tcp://:1/a:1"],
            vec!["relay+tls://s:443?cert=/c&key=/k&timeout=3"],
            vec!["name: tcp-1-hop-1-tls", "dialTimeout: 3s"],
        ),
        (
            vec!["rtcp://:0/a:22"],
            vec!["forward+ssh://s:22?ping=15"],
            vec!["port: 0", "insecureIgnoreHostKey: true", "keepAlive: 15s"],
        ),
        (vec!["rudp://:53/a:53"], vec!["socks5://s:1080?mbind=true&notls=true"], vec!["mbind: true", "noTLS: true"]),
        (vec!["tls://:443/:1443?cert=/c&key=/k"], vec![], vec!["scheme: tls", "host: localhost", "name: tls-443-tls"]),
        (
            vec!["socks5://:1080?allow_targets=10.0.0.0/8,::1&allow_bind=80,1024-2048&anonymous=true"],
            vec![],
            vec!["anonymous: true", "::1/128", "1024-2048"],
        ),
        (
            vec!["forward+ssh://:2222?ssh_authorized_keys=/a&ssh_key=/k"],
            vec![],
            vec!["name: forward-ssh-2222-host-key"],
        ),
        (
            vec!["socks5+ssh://:2222?ssh_authorized_keys=/a&ssh_key=/k"],
            vec![],
            vec!["scheme: socks5+ssh", "name: socks5-ssh-2222-host-key"],
        ),
        (
            vec!["tcp://:1/a:1"],
            vec!["socks5+ssh://s:22?secure=true&ssh_known_hosts=/k&mbind=true"],
            vec!["scheme: socks5+ssh", "name: tcp-1-hop-1-known-hosts", "mbind: true"],
        ),
        (vec![":8080"], vec![], vec!["scheme: auto", "name: auto-8080"]),
        (vec![":8080/a:1"], vec![], vec!["scheme: tcp", "host: a"]),
        (vec!["relay://u:p@:8080/a:1,b:1?strategy=fifo"], vec![], vec!["scheme: relay", "host: b", "strategy: fifo"]),
        (vec!["ssu://aes-256-gcm:p@:8338?ttl=10"], vec![], vec!["scheme: ssu", "ttl: 10s", "aes-256-gcm:p"]),
    ] {
        let conversion = converted(&listen, &forward);
        read(&conversion);
        for part in parts {
            assert!(
                conversion.documents.concat().contains(part),
                "{part:?} is not in {}",
                conversion.documents.concat()
            );
        }
    }
}

#[test]
fn a_password_becomes_a_secret_document_and_stands_nowhere_else() {
    let (listen, forward) = (["socks5://anna:s3cret@:1080"], ["ss://chacha20:hunter2@s:8338", "http://u@s:8080"]);
    let conversion = converted(&listen, &forward);
    let manifests = read(&conversion);
    let chain = &manifests.port_forwards[0].spec.chain;
    let named = |hop: &Hop| hop.credentials.as_ref().map(|c| c.secret_ref.name.clone());
    assert_eq!(chain.iter().filter_map(named).collect::<Vec<_>>(), ["socks5-1080-hop-1", "socks5-1080-hop-2"]);
    assert_eq!(manifests.secrets.len(), 3);
    for (index, document) in conversion.documents.iter().enumerate() {
        let is_secret = document.contains("kind: Secret");
        assert_eq!(is_secret, index > 0, "PortForwards come first");
        assert!(is_secret || !(document.contains("hunter2") || document.contains("s3cret")));
    }
    assert!(
        conversion.documents[1].contains("username: chacha20") && conversion.documents[1].contains("password: hunter2")
    );
    assert!(conversion.documents[3].contains("users: anna:s3cret"));
    let others = format!("{conversion:?} {:?}", command_line(&texts(&listen), &texts(&forward)).unwrap());
    assert!(!others.contains("hunter2") && !others.contains("s3cret"), "{others}");
}

#[test]
fn what_gost_leaves_unverified_is_written_out_with_a_warning() {
    for (hop, line, warning) in [
        ("http+tls://s:1", Some("insecureSkipVerify: true"), "GOST trusts any certificate unless secure=true"),
        ("http+tls://s:1?secure=false", Some("insecureSkipVerify: true"), "GOST trusts any certificate"),
        ("http+tls://s:1?secure=true", None, "scheme \"http+tls\" of a hop is not built yet"),
        ("http+tls://s:1?ca=/ca.pem", Some("name: tcp-1-hop-1-ca"), "checks the certificate's issuer and not its name"),
        ("forward+ssh://s:22", Some("insecureIgnoreHostKey: true"), "GOST trusts any host key"),
        ("forward+ssh://s:22?ssh_known_hosts=/k", Some("name: tcp-1-hop-1-known-hosts"), "under the key known_hosts"),
        ("forward+ssh://ann@s:22", Some("name: tcp-1-hop-1"), "under the key ssh-privatekey"),
        ("socks5+wss://s:1?path=/x&secure=true", None, "option \"path\" has no field in a PortForward yet"),
    ] {
        let conversion = converted(&["tcp://127.0.0.1:1/a:1"], &[hop]);
        let document = &conversion.documents[0];
        assert_eq!(line.is_none(), !document.contains("tls:") && !document.contains("ssh:"), "{document}");
        assert!(line.is_none_or(|line| document.contains(line)), "{document}");
        let warns = conversion.warnings.iter().any(|w| w.starts_with("-F 1: ") && w.contains(warning));
        assert!(warns, "{hop}: {:?}", conversion.warnings);
    }
}

#[test]
fn parts_that_do_not_go_together_are_noted() {
    for (listen, hop, note) in [
        ("tcp://:1/a:1", "forward://s:1", "leave the targets out"),
        ("udp://:1/a:1", "http://s:1", "carries no datagrams"),
    ] {
        let conversion = converted(&[listen], &[hop]);
        let noted =
            conversion.warnings.iter().any(|w| w.starts_with("-L 1: the manifest will be ref") && w.contains(note));
        assert!(noted, "{:?}", conversion.warnings);
    }
}

#[test]
fn objects_are_named_by_scheme_and_port() {
    let listen = ["tcp://:5432/a:1", "tcp://127.0.0.1:5432/a:1", "socks5+tls://:1", "tcp://[::1]:5432/a:1", ":2"];
    let objects = command_line(&texts(&listen), &[]).unwrap().objects;
    let names: Vec<_> = objects.iter().map(|object| object.metadata.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["tcp-5432", "tcp-5432-2", "socks5-tls-1", "tcp-5432-3", "auto-2"]);
}

#[test]
fn every_object_of_a_command_line_goes_through_the_whole_chain() {
    let line =
        command_line(&texts(&["tcp://:1/a:1", "udp://:1/a:1"]), &texts(&["http://u:p@h:1", "socks5://s:2"])).unwrap();
    for object in line.objects {
        let urls: Vec<_> = object.spec.chain.into_iter().map(|hop| hop.url.unwrap()).collect();
        assert_eq!(urls, ["http://u@h:1", "socks5://s:2"]);
    }
}

#[test]
fn a_command_line_warns_of_what_its_objects_no_longer_show() {
    let listen = texts(&["tcp://:1/a:1?retry=2", "socks5://u:p@:1080"]);
    let warnings = command_line(&listen, &texts(&["socks5://h:1?retry=2"])).unwrap().warnings;
    let starts = ["-L 2: a password in a URL", "-F 1: option \"retry\" has no effect"];
    assert_eq!(warnings.len(), starts.len(), "{warnings:?}");
    assert!(warnings.iter().zip(starts).all(|(warning, start)| warning.starts_with(start)), "{warnings:?}");
}

#[test]
fn all_problems_are_listed_with_their_flag_and_number() {
    let listen = ["tcp://:1/a:1", "tcp://:70000/a?max_fail=1", "rtcp://:1/a:1", "tcp://:2"];
    let want = [
        "-L 2: listening address: port 70000 is out of range: write 1 to 65535",
        "-L 2: target 1: \"a\" has no port: write a:PORT",
        "-L 2: option \"max_fail\" is unknown: did you mean max_fails?",
        "-L 3: scheme \"rtcp\" listens at the far end of a chain: name the chain with -F",
        "-L 4: scheme \"tcp\" needs a target: write it behind the '/', as in tcp://:5432/db.example:5432",
    ];
    assert_eq!(command_line(&texts(&listen), &[]).unwrap_err(), want);
    assert_eq!(convert(&texts(&listen), &[]).unwrap_err(), want);
    let hops = ["socks5://s:1080", "tcp://h:1"];
    let problems = command_line(&texts(&["tcp://:1"]), &texts(&hops)).unwrap_err();
    assert!(problems.iter().all(|problem| problem.starts_with("-F 2: ")) && problems.len() == 1, "{problems:?}");
    assert_eq!(convert(&[], &[]).unwrap_err(), ["-L: write at least one, as in -L tcp://:5432/db.example:5432"]);
}

#[test]
fn what_could_never_run_is_not_converted() {
    for (listen, forward, want) in [
        (vec!["tcp://:1/a:1", "tcp://127.0.0.1:1/b:1"], vec![], "-L 2: 127.0.0.1:1 is taken by default/tcp-1"),
        (vec!["redirect://:1"], vec![], "-L 1: scheme \"redirect\" is known to GOST and out of Fairlead's scope"),
        (vec!["tcp://:1/a:1"], vec!["http+obfs4://a:1"], "-F 1: scheme \"http+obfs4\" is known to GOST and out of"),
        (vec!["tcp://:1/a:1?ttl=1.5us"], vec![], "-L 1: spec.ttl:"),
    ] {
        let problems = convert(&texts(&listen), &texts(&forward)).unwrap_err();
        assert!(problems.len() == 1 && problems[0].starts_with(want), "{problems:?}");
    }
}
