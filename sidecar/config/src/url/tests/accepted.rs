//! What is accepted, and what it is understood as.

use std::time::Duration;

use crate::address::HostPort;
use crate::config::HealthCheck;
use crate::strategy::Strategy;
use crate::url::{NodeUrl, Role, Secret, UrlOption};

fn listen(text: &str) -> NodeUrl {
    NodeUrl::parse(text, Role::Listen).unwrap_or_else(|errors| panic!("{text}: {errors}"))
}

fn hop(text: &str) -> NodeUrl {
    NodeUrl::parse(text, Role::Hop).unwrap_or_else(|errors| panic!("{text}: {errors}"))
}

fn addresses(list: &[HostPort]) -> String {
    list.iter().map(HostPort::to_string).collect::<Vec<_>>().join(" ")
}

/// Every node URL of GOST's "Port Forwarding" page, with `server_ip` and `..` as it writes them.
#[test]
fn every_url_of_the_port_forwarding_page_parses() {
    for (text, printed) in [
        ("tcp://:2222/192.168.1.1:22", "tcp://:2222/192.168.1.1:22"),
        ("forward+ssh://:2222", "forward+ssh://:2222"),
        ("rtcp://:2222/192.168.1.1:22", "rtcp://:2222/192.168.1.1:22"),
        ("rtcp://:8080/192.168.1.1:80", "rtcp://:8080/192.168.1.1:80"),
        ("udp://:5353/192.168.1.1:53?ttl=60", "udp://:5353/192.168.1.1:53?ttl=60s"),
        ("rudp://:5353/192.168.1.1:53?ttl=60", "rudp://:5353/192.168.1.1:53?ttl=60s"),
        ("tls://:443/:1443", "tls://:443/:1443"),
        ("sni://:1443", "sni://:1443"),
        (":8080", "auto://:8080"),
        ("tls://:443/:8080", "tls://:443/:8080"),
        ("http://:8080", "http://:8080"),
        ("kcp://:8388/:8338", "kcp://:8388/:8338"),
        ("ss://chacha20:123456@:8338", "ss://chacha20:123456@:8338"),
    ] {
        assert_eq!(listen(text).to_string(), printed);
    }
    for text in
        ["forward+ssh://:2222", "socks5://172.24.10.1:1080", "socks5://:1080?mbind=true", "forward+tls://server_ip:443"]
    {
        assert_eq!(hop(text).to_string(), text);
    }
}

#[test]
fn canonical_texts_say_the_same_in_one_way() {
    for (text, printed) in [
        ("TCP://:1/a:2/", "tcp://:1/a:2"),
        ("tcp://[::1]:1/[::1]:22,10.0.0.1:22,:9", "tcp://[::1]:1/[::1]:22,10.0.0.1:22,:9"),
        ("tcp://[fe80::1%25eth0]:1/[fe80::2%eth0]:22", "tcp://[fe80::1%25eth0]:1/[fe80::2%eth0]:22"),
        ("tcp://[fe80::1%eth0]:1/a:2", "tcp://[fe80::1%25eth0]:1/a:2"),
        ("tcp://:1/a:2?ip=b:3,[::1]:4", "tcp://:1/a:2,b:3,[::1]:4"),
        ("tcp://:1?ip=b:3", "tcp://:1/b:3"),
        ("tcp://:1/a:2?max_fails=-1&strategy=fifo", "tcp://:1/a:2?strategy=fifo&max_fails=-1"),
        ("tcp://:1/a:2?&fail_timeout=90m&", "tcp://:1/a:2?fail_timeout=1h30m"),
        ("tcp://:1/a:2?fail%5Ftimeout=3", "tcp://:1/a:2?fail_timeout=3s"),
        ("rtcp://:0/a:2", "rtcp://:0/a:2"),
        ("socks5://:1?auth=dXNlcjpw", "socks5://user:p@:1"),
        ("socks5://u%40x:p:w@:1?allow_bind=1-5,7", "socks5://u%40x:p%3Aw@:1?allow_bind=1-5,7"),
    ] {
        assert_eq!(listen(text).to_string(), printed, "{text}");
        assert_eq!(listen(printed), listen(text));
    }
}

#[test]
fn targets_are_those_of_the_path_then_those_of_ip() {
    let url = listen("tcp://:1/a:2,b:3?ip=c:4,a:2");
    assert_eq!(addresses(url.targets()), "a:2 b:3 c:4 a:2");
    assert!(url.nodes().is_empty());
    assert_eq!(url.address(), &HostPort::new("", 1));
}

#[test]
fn nodes_of_a_hop_are_those_of_ip_or_itself() {
    assert_eq!(addresses(hop("socks5://a:1").nodes()), "a:1");
    let url = hop("forward+tls://name:443?ip=10.0.0.1,[::1],10.0.0.2:444");
    assert_eq!(addresses(url.nodes()), "10.0.0.1:443 [::1]:443 10.0.0.2:444");
    assert_eq!(url.address(), &HostPort::new("name", 443));
    assert!(url.targets().is_empty());
    assert_eq!(url.to_string(), "forward+tls://name:443?ip=10.0.0.1:443,[::1]:443,10.0.0.2:444");
}

#[test]
fn options_arrive_typed() {
    let url = listen(
        "tcp://127.0.0.1:1/a:2,b:3?strategy=fifo&max_fails=2&fail_timeout=10s&timeout=2&hedge_delay=0&idle_timeout=5m\
         &max_connections=100&health_check=5s&health_timeout=500ms&ttl=1m",
    );
    let options = url.options();
    assert_eq!(options.strategy(), Some(Strategy::Fifo));
    assert_eq!(options.max_fails(), Some(2));
    assert_eq!(options.count(UrlOption::MaxConnections), Some(100));
    for (option, seconds) in [
        (UrlOption::FailTimeout, 10),
        (UrlOption::Timeout, 2),
        (UrlOption::HedgeDelay, 0),
        (UrlOption::IdleTimeout, 300),
        (UrlOption::Ttl, 60),
    ] {
        assert_eq!(options.duration(option), Some(Duration::from_secs(seconds)), "{option:?}");
    }
    let check = HealthCheck { interval: Duration::from_secs(5), timeout: Some(Duration::from_millis(500)) };
    assert_eq!(options.health_check(), Some(check));
    assert!(url.warnings().is_empty());
    assert_eq!(listen("tcp://:1/a:2").options().health_check(), None);
    assert_eq!(listen("tcp://:1/a:2?max_fails=-1").options().max_fails(), Some(0));
}

#[test]
fn options_of_hops_and_servers_arrive_typed() {
    let url = hop("socks5://u:p@h:1?mbind=T&notls=0&udp_associate=true&secure=false&ca=/etc/ca.crt&timeout=3s");
    assert_eq!(url.options().flag(UrlOption::Mbind), Some(true));
    assert_eq!(url.options().flag(UrlOption::Notls), Some(false));
    assert_eq!(url.options().text(UrlOption::Ca), Some("/etc/ca.crt"));
    assert_eq!(url.credentials().unwrap().password.as_ref().map(Secret::expose), Some("p"));
    let url = listen("socks5://:1080?allow_targets=10.0.0.0/8,::1&allow_bind=1024-65535&anonymous=true");
    assert_eq!(url.options().list(UrlOption::AllowTargets), ["10.0.0.0/8", "::1"]);
    assert_eq!(url.options().flag(UrlOption::Anonymous), Some(true));
    let url = hop("forward+quic://h:1?cipher=k%26y&keepalive=true");
    assert_eq!(url.options().secret(UrlOption::Cipher).map(Secret::expose), Some("k&y"));
}

#[test]
fn what_means_less_or_else_than_to_gost_is_noted() {
    for (text, role, note) in [
        (
            "tcp://:1/a:2?retry=3",
            Role::Listen,
            "option \"retry\" has no effect: a client is always passed on to the next live target",
        ),
        (
            "udp://:1/a:2?backlog=9",
            Role::Listen,
            "option \"backlog\" has no effect: Fairlead's queues have their own bounds",
        ),
        (
            "socks5://u:p@:1",
            Role::Listen,
            "a password in a URL shows in process lists and shell histories: put \"user password\" into a file and name it in secrets=FILE",
        ),
        (
            "forward+tls://h:1",
            Role::Hop,
            "the certificate of h:1 is verified, which GOST does not: write secure=false for a self-signed one",
        ),
    ] {
        assert_eq!(NodeUrl::parse(text, role).unwrap().warnings(), [note], "{text}");
    }
    for text in ["forward+tls://h:1?secure=true", "forward+tls://h:1?secure=false", "socks5://u@h:1"] {
        assert!(hop(text).warnings().is_empty(), "{text}");
    }
    assert_eq!(listen("tcp://:1/a:2?retry=3").to_string(), "tcp://:1/a:2?retry=3");
}
