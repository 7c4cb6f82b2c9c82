//! What becomes of servers: whom they serve where, and what is refused.
#![allow(clippy::unwrap_used)]

use fairlead_config::Forward;
use serde_json::{Value, json};

use crate::{
    PortForward,
    render::{Place, Verdict, render},
};

fn rendered(spec: Value, place: Place) -> Result<(Forward, Vec<String>), String> {
    let document = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": {"name": "proxy"}, "spec": spec});
    let object: PortForward = serde_json::from_value(document).unwrap();
    let mut rendering = render(&[object], place);
    match rendering.verdicts.remove(0).1 {
        Verdict::Accepted { warnings, effective, .. } => {
            let chooses = !rendering.forwards[0].targets.is_empty();
            assert_eq!(effective.strategy.is_some(), chooses, "a server chooses nothing but its own targets");
            Ok((rendering.forwards.remove(0), warnings))
        }
        Verdict::Refused { message, .. } => Err(message),
        Verdict::Suspended { .. } => panic!("suspended"),
    }
}

#[test]
fn a_server_without_users_is_on_loopback_unless_it_is_meant_for_everybody() {
    for (spec, place, host, warns) in [
        (json!({"url": "socks5://:1080"}), Place::CommandLine, "127.0.0.1", true),
        (json!({"url": "socks5://:1080"}), Place::Gateway, "127.0.0.1", true),
        (json!({"url": "socks5://:1080"}), Place::Sidecar, "127.0.0.1", false),
        (json!({"url": "socks5://:1080?anonymous=true"}), Place::CommandLine, "", false),
        (json!({"url": "socks5://0.0.0.0:1080?anonymous=true"}), Place::CommandLine, "0.0.0.0", false),
        (
            json!({"scheme": "socks5", "listen": {"port": 1080}, "server": {"anonymous": true}}),
            Place::Gateway,
            "",
            false,
        ),
        (
            json!({"scheme": "socks5", "listen": {"port": 1080}, "server": {"users": {"secretRef": {"name": "a"}}}}),
            Place::Gateway,
            "",
            false,
        ),
        (json!({"scheme": "socks5", "listen": {"port": 1080, "address": "::1"}}), Place::Laptop, "::1", false),
    ] {
        let (forward, warnings) = rendered(spec.clone(), place).unwrap();
        assert_eq!(forward.listen.host, host, "{spec}");
        assert_eq!(warnings.iter().any(|warning| warning.contains("anonymous=true")), warns, "{spec}: {warnings:?}");
    }
}

#[test]
fn options_and_fields_say_the_same() {
    let url = "socks5://:1080?secrets=/u&allow_targets=10.0.0.0/8,192.0.2.1&allow_bind=80,1024-2000&cert=/c&key=/k";
    let (forward, _) = rendered(json!({"url": url}), Place::CommandLine).unwrap();
    let server = json!({"users": {"file": "/u"}, "allowTargets": ["10.0.0.0/8", "192.0.2.1/32"], "allowBind": ["80", "1024-2000"]});
    assert_eq!(serde_json::to_value(forward.server).unwrap(), server);
    assert_eq!(serde_json::to_value(forward.tls).unwrap(), json!({"certificate": "/c", "key": "/k"}));
    let fields = json!({"scheme": "socks", "listen": {"port": 1080}, "tls": {"certificate": {"secretRef": {"name": "t"}}}, "server": {
        "users": {"secretRef": {"name": "u"}}, "allowTargets": ["10.0.0.0/8"], "allowBind": ["80"]}});
    let (forward, _) = rendered(fields, Place::Gateway).unwrap();
    let server =
        json!({"users": {"directory": "/etc/fairlead/secrets/u"}, "allowTargets": ["10.0.0.0/8"], "allowBind": ["80"]});
    assert_eq!((forward.scheme.as_str(), serde_json::to_value(forward.server).unwrap()), ("socks5", server));
    let tls = json!({"certificate": "/etc/fairlead/secrets/t/tls.crt", "key": "/etc/fairlead/secrets/t/tls.key"});
    assert_eq!(serde_json::to_value(forward.tls).unwrap(), tls);
}

#[test]
fn a_relay_server_may_have_targets_and_auto_with_targets_is_a_tcp_forward() {
    let fields =
        |scheme: &str| json!({"scheme": scheme, "listen": {"port": 8080}, "targets": [{"host": "a", "port": 1}]});
    for (spec, scheme) in [
        (json!({"url": "relay://:8080/a:1"}), "relay"),
        (fields("relay"), "relay"),
        (json!({"url": ":8080/a:1"}), "tcp"),
        (fields("auto"), "tcp"),
    ] {
        let (forward, _) = rendered(spec.clone(), Place::Gateway).unwrap();
        assert_eq!((forward.scheme.as_str(), forward.targets.len(), forward.server), (scheme, 1, None), "{spec}");
    }
}

#[test]
fn a_server_over_ssh_says_the_same_in_both_spellings() {
    for (url, scheme) in
        [("socks5+ssh", "socks5+ssh"), ("socks+ssh", "socks5+ssh"), ("ssh", "auto+ssh"), ("sni+ssh", "sni+ssh")]
    {
        let options = "ssh_key=/k&ssh_authorized_keys=/a";
        let (forward, _) = rendered(json!({"url": format!("{url}://:2222?{options}")}), Place::CommandLine).unwrap();
        let server = json!({"users": {"authorizedKeys": "/a"}, "hostKey": "/k"});
        assert_eq!((forward.scheme.as_str(), serde_json::to_value(forward.server).unwrap()), (scheme, server));
        let fields = json!({"scheme": url, "listen": {"port": 2222}, "server": {
            "users": {"secretRef": {"name": "u"}}, "hostKey": {"secretRef": {"name": "h"}}}});
        let (forward, _) = rendered(fields, Place::Gateway).unwrap();
        let server = json!({
            "users": {"directory": "/etc/fairlead/secrets/u"}, "hostKey": "/etc/fairlead/secrets/h/ssh-privatekey",
        });
        assert_eq!((forward.scheme.as_str(), serde_json::to_value(forward.server).unwrap()), (scheme, server));
    }
}

#[test]
fn what_makes_no_server_is_refused_by_name() {
    for (spec, place, part) in [
        (json!({"url": "socks5://10.0.0.1:1080"}), Place::CommandLine, "serves everybody who can reach 10.0.0.1"),
        (
            json!({"scheme": "socks5", "listen": {"port": 1, "address": "0.0.0.0"}}),
            Place::Gateway,
            "server.anonymous: true",
        ),
        (json!({"url": "socks5://ann@:1080"}), Place::CommandLine, "a user needs a password"),
        (json!({"url": "ssu://:8338"}), Place::CommandLine, "write ssu://chacha20-ietf-poly1305:password@:8388"),
        (
            json!({"scheme": "ssu", "listen": {"port": 1}, "server": {"users": {"secretRef": {"name": "u"}}},
                "chain": [{"url": "socks5://a:1?udp_associate=true"}]}),
            Place::Gateway,
            "spec.chain: ssu sends its clients' datagrams to anywhere",
        ),
        (json!({"url": "socks5://:1080?secrets=/u"}), Place::Gateway, "a pod has none of yours"),
        (json!({"url": "socks5://:1080?cert=/u&key=/k&anonymous=1"}), Place::Gateway, "a pod has none of yours"),
        (
            json!({"scheme": "socks5", "listen": {"port": 1}, "targets": [{"host": "a", "port": 1}]}),
            Place::Laptop,
            "clients of a server name them",
        ),
        (
            json!({"scheme": "socks5", "listen": {"port": 1}, "server": {"hostKey": {"secretRef": {"name": "a"}}}}),
            Place::Laptop,
            "is for ssh",
        ),
        (
            json!({"scheme": "socks5+ssh", "listen": {"port": 1}, "tls": {"certificate": {"secretRef": {"name": "a"}}}}),
            Place::Laptop,
            "ssh has server.hostKey",
        ),
        (json!({"url": "ssh://:2222/a:1"}), Place::CommandLine, "takes no targets"),
        (
            json!({"scheme": "ssh", "listen": {"port": 1}, "targets": [{"host": "a", "port": 1}]}),
            Place::Laptop,
            "clients of a server name them",
        ),
        (json!({"scheme": "ss+ssh", "listen": {"port": 1}}), Place::Laptop, "ss needs a cipher and a password"),
        (
            json!({"scheme": "socks5", "listen": {"port": 1}, "chain": [{"url": "forward://a:1"}]}),
            Place::Laptop,
            "clients of a server",
        ),
        (
            json!({"url": "tcp://:1/a:1", "tls": {"certificate": {"secretRef": {"name": "a"}}}}),
            Place::Laptop,
            "listeners that encrypt",
        ),
    ] {
        let message = rendered(spec.clone(), place).unwrap_err();
        assert!(message.contains(part), "{spec}: {message}");
    }
}
