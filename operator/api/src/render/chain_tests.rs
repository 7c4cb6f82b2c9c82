//! Chains in both spellings, to the hops of a configuration.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use crate::{
    NodeRole, PortForward, PortForwardSpec,
    render::{Place, Verdict, render},
};

/// A node: role, hop, address.
type Named = (NodeRole, Option<u32>, String);

/// The hops of a configuration and the nodes of the verdict, or the refusal.
fn rendered(chain: Value, place: Place) -> Result<(Value, Vec<Named>), String> {
    let spec = json!({
        "scheme": "tcp", "listen": {"port": 5432}, "targets": [{"host": "db.example", "port": 5432}], "chain": chain,
    });
    of_spec(spec, place)
}

fn of_spec(spec: Value, place: Place) -> Result<(Value, Vec<Named>), String> {
    let spec: PortForwardSpec = serde_json::from_value(spec).unwrap();
    let mut object = PortForward::new("db", spec);
    object.metadata.namespace = Some("shop".to_owned());
    let mut rendering = render(&[object], place);
    match rendering.verdicts.remove(0).1 {
        Verdict::Accepted { nodes, .. } => {
            let nodes = nodes.into_iter().map(|node| (node.role, node.hop, node.address)).collect();
            Ok((json!(rendering.forwards[0].chain), nodes))
        }
        Verdict::Refused { message, .. } => Err(message),
        Verdict::Suspended { .. } => Err("suspended".to_owned()),
    }
}

#[test]
fn a_url_and_fields_say_the_same() {
    let url = json!([{
        "url": "socks5://ann@p.example:1080?ip=10.0.0.1:1,10.0.0.2:2&strategy=fifo&max_fails=2&fail_timeout=10s&timeout=2s&notls=true",
        "credentials": {"secretRef": {"name": "bastion"}},
    }]);
    let fields = json!([{
        "scheme": "socks5", "nodes": [{"host": "10.0.0.1", "port": 1}, {"host": "10.0.0.2", "port": 2}],
        "strategy": "fifo", "maxFails": 2, "failTimeout": "10s", "dialTimeout": "2s", "socks5": {"noTLS": true},
        "credentials": {"secretRef": {"name": "bastion"}},
    }]);
    let (mut by_url, nodes) = rendered(url, Place::Gateway).unwrap();
    let (by_fields, same) = rendered(fields, Place::Gateway).unwrap();
    assert_eq!(by_url[0]["credentials"]["username"].take(), "ann", "a user name may stay in a URL");
    by_url[0]["credentials"].as_object_mut().unwrap().remove("username");
    assert_eq!(by_url, by_fields);
    assert_eq!(by_fields[0]["credentials"], json!({"directory": "/etc/fairlead/secrets/bastion"}));
    let node = |role, hop, address: &str| (role, hop, address.to_owned());
    let want = [
        node(NodeRole::Hop, Some(1), "10.0.0.1:1"),
        node(NodeRole::Hop, Some(1), "10.0.0.2:2"),
        node(NodeRole::Target, None, "db.example:5432"),
    ];
    assert_eq!((nodes.as_slice(), same.as_slice()), (want.as_slice(), want.as_slice()), "hops first");
}

#[test]
fn files_are_mounted_in_pods_and_in_memory_elsewhere() {
    let chain = || {
        json!([{
            "url": "socks5://p:1?secure=true", "credentials": {"secretRef": {"name": "bastion"}},
            "tls": {"ca": {"configMapRef": {"name": "roots"}}, "certificate": {"secretRef": {"name": "client"}}},
        }])
    };
    for (place, secrets, maps) in [
        (Place::Sidecar, "/etc/fairlead/secrets", "/etc/fairlead/configmaps"),
        (Place::Laptop, "memory:/secrets/shop", "memory:/configmaps/shop"),
    ] {
        let (hops, _) = rendered(chain(), place).unwrap();
        assert_eq!(hops[0]["credentials"], json!({"directory": format!("{secrets}/bastion")}));
        let tls = json!({
            "verify": true, "ca": format!("{maps}/roots/ca.crt"),
            "certificate": format!("{secrets}/client/tls.crt"), "key": format!("{secrets}/client/tls.key"),
        });
        assert_eq!(hops[0]["tls"], tls);
    }
}

#[test]
fn datagrams_go_through_hops_that_carry_them_and_no_others() {
    let udp = |chain: Value| {
        let targets = json!([{"host": "dns.example", "port": 53}]);
        of_spec(json!({"scheme": "udp", "listen": {"port": 53}, "targets": targets, "chain": chain}), Place::Gateway)
    };
    let secret = json!({"secretRef": {"name": "a"}});
    for chain in [
        json!([{"url": "http://a:1"}, {"url": "socks5://b:1"}]),
        json!([{"url": "socks5://b:1?udp_associate=true"}]),
        json!([{"url": "ss://chacha20@a:1", "credentials": secret}, {"url": "relay://b:1"}]),
        json!([{"scheme": "ss", "nodes": [{"host": "a", "port": 1}], "credentials": secret}]),
        json!([{"url": "ssu://chacha20@a:1", "credentials": secret}]),
    ] {
        assert!(udp(chain.clone()).is_ok(), "{chain}: {:?}", udp(chain.clone()));
    }
    for (chain, want) in [
        (
            json!([{"url": "socks5://b:1"}, {"url": "http://a:1"}]),
            "spec.chain[1]: a last hop http carries no datagrams",
        ),
        (json!([{"url": "forward://a:1"}]), "a last hop forward carries no datagrams"),
        (json!([{"url": "http://a:1"}, {"url": "socks5://b:1?udp_associate=true"}]), "spec.chain[1]: socks5 with udp"),
        (
            json!([{"url": "http://a:1"}, {"url": "ss://chacha20@a:1", "credentials": secret}]),
            "go through no other hop",
        ),
        (json!([{"url": "socks5+ssh://a:1?udp_associate=true"}]), "and not over SSH"),
        (json!([{"url": "ss+ssh://chacha20@a:1", "credentials": secret}]), "and not over SSH"),
    ] {
        let message = udp(chain.clone()).unwrap_err();
        assert!(message.contains(want), "{chain}: {message}");
    }
}

#[test]
fn what_cannot_be_chained_is_refused_by_name() {
    for (chain, want) in [
        (json!([{"url": "kcp://a:1"}]), "spec.chain[0].url: hop scheme \"kcp\" is not built yet"),
        (json!([{"scheme": "sni", "nodes": [{"host": "a", "port": 1}]}]), "spec.chain[0].scheme: hop scheme \"sni\""),
        (json!([{"url": "ss://chacha20@a:1"}]), "spec.chain[0].credentials: ss needs a Secret"),
        (json!([{"url": "socks5://a:1"}, {"url": "forward://a:1"}]), "leave the targets out"),
        (json!([{"url": "socks5://a:1?notls=true&secure=true"}]), "excludes a verified certificate"),
        (json!([{"url": "http://a:1", "tls": {"insecureSkipVerify": true}}]), "spec.chain[0].tls: is for hops"),
        (json!([{"url": "socks5://a:1?secrets=/etc/logins"}]), "a pod has none of yours"),
        (json!([{"scheme": "http", "nodes": [{"host": "a", "port": 1}], "dialTimeout": "0s"}]), "dialTimeout: 0s"),
    ] {
        let message = rendered(chain.clone(), Place::Gateway).unwrap_err();
        assert!(message.contains(want), "{chain}: {message}");
    }
    let message = of_spec(json!({"url": "tcp://:1", "chain": [{"url": "socks5://a:1"}]}), Place::Gateway).unwrap_err();
    assert!(message.contains("needs a target"), "{message}");
    for hop in ["forward://a:1", "relay://a:1"] {
        assert!(of_spec(json!({"url": "tcp://:1", "chain": [{"url": hop}]}), Place::Gateway).is_ok());
    }
}

#[test]
fn an_ssh_hop_says_the_same_in_both_spellings() {
    let url = json!([{
        "url": "forward+ssh://ann@bastion:22?ping=5s",
        "credentials": {"secretRef": {"name": "bastion"}}, "ssh": {"knownHosts": {"configMapRef": {"name": "hosts"}}},
    }]);
    let fields = json!([{
        "scheme": "forward+ssh", "nodes": [{"host": "bastion", "port": 22}],
        "credentials": {"secretRef": {"name": "bastion"}},
        "ssh": {"knownHosts": {"configMapRef": {"name": "hosts"}}, "keepAlive": "5s"},
    }]);
    let (mut by_url, _) = rendered(url, Place::Gateway).unwrap();
    let (by_fields, _) = rendered(fields, Place::Gateway).unwrap();
    by_url[0]["credentials"].as_object_mut().unwrap().remove("username");
    assert_eq!(by_url, by_fields);
    let ssh = json!({"knownHosts": ["/etc/fairlead/configmaps/hosts/known_hosts"], "keepAlive": "5s"});
    assert_eq!((&by_fields[0]["ssh"], &by_fields[0]["scheme"]), (&ssh, &json!("forward+ssh")));
    let url = json!([{"url": "forward+ssh://bastion:22?ssh_key=/k&ssh_known_hosts=/h&secure=false"}]);
    let (hops, _) = rendered(url, Place::CommandLine).unwrap();
    assert_eq!(hops[0]["credentials"], json!({"keys": ["/k"]}));
    assert_eq!(hops[0]["ssh"], json!({"knownHosts": ["/h"], "insecureIgnoreHostKey": true}));
}

#[test]
fn a_proxy_over_ssh_is_an_ssh_hop_and_a_proxy() {
    let login = json!({"secretRef": {"name": "gateway"}});
    let map = json!({"configMapRef": {"name": "hosts"}});
    for (word, scheme) in
        [("socks5+ssh", "socks5+ssh"), ("socks+ssh", "socks5+ssh"), ("ssh", "http+ssh"), ("ss2+ssh", "ss+ssh")]
    {
        let url =
            json!([{"url": format!("{word}://g:2222?ping=5s"), "credentials": login, "ssh": {"knownHosts": map}}]);
        let fields = json!([{
            "scheme": word, "nodes": [{"host": "g", "port": 2222}], "credentials": login,
            "ssh": {"knownHosts": map, "keepAlive": "5s"},
        }]);
        let (by_url, by_fields) = (rendered(url, Place::Gateway).unwrap(), rendered(fields, Place::Gateway).unwrap());
        assert_eq!(by_url.0, by_fields.0);
        assert_eq!(by_url.0[0]["scheme"], scheme);
    }
    let (hops, _) = rendered(json!([{"url": "socks5+ssh://g:1?secure=false"}]), Place::CommandLine).unwrap();
    assert_eq!(hops[0]["ssh"], json!({"insecureIgnoreHostKey": true}));
    assert!(hops[0]["tls"].is_null(), "it says whom SSH trusts: {}", hops[0]);
    let trusting = json!({"insecureIgnoreHostKey": true});
    for (more, want) in [
        (json!({"credentials": login}), "spec.chain[0].ssh: no host key is known"),
        (json!({"ssh": trusting}), "spec.chain[0].credentials: is missing"),
        (json!({"ssh": trusting, "credentials": login, "tls": {"serverName": "a"}}), "spec.chain[0].tls: is for hops"),
    ] {
        let mut hop = json!({"scheme": "socks5+ssh", "nodes": [{"host": "g", "port": 1}]});
        hop.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let message = rendered(json!([hop]), Place::Gateway).unwrap_err();
        assert!(message.contains(want), "{hop}: {message}");
    }
}

#[test]
fn an_ssh_hop_has_to_say_whom_it_trusts_in_a_cluster() {
    let bare = || json!({"scheme": "forward+ssh", "nodes": [{"host": "b", "port": 22}]});
    let with = |more: Value| {
        let mut hop = bare();
        hop.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([hop])
    };
    let secret = json!({"secretRef": {"name": "b"}});
    for (chain, want) in [
        (with(json!({"ssh": {"insecureIgnoreHostKey": true}})), "spec.chain[0].credentials: is missing"),
        (with(json!({"credentials": secret})), "spec.chain[0].ssh: no host key is known"),
        (
            with(json!({"credentials": secret, "ssh": {"hostKeys": ["nonsense"]}})),
            "ssh.hostKeys[0]: \"nonsense\" is no",
        ),
        (json!([{"url": "forward+ssh://b:22?ssh_key=/k", "ssh": {"insecureIgnoreHostKey": true}}]), "ssh-privatekey"),
        (json!([{"url": "socks5://b:1", "ssh": {"insecureIgnoreHostKey": true}}]), "spec.chain[0].ssh: is for hops"),
    ] {
        let message = rendered(chain.clone(), Place::Gateway).unwrap_err();
        assert!(message.contains(want), "{chain}: {message}");
    }
    assert!(rendered(with(json!({})), Place::Laptop).is_ok(), "there the rest is what ssh would take");
    let good = json!({"credentials": secret, "ssh": {"hostKeys": ["ssh-ed25519 AAAAC3Nz"]}});
    assert!(rendered(with(good), Place::Gateway).is_ok());
}
