//! What a request asks for, and what is left of it on its way.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn only_absolute_requests_and_connect_say_where_to_go() {
    for (method, uri, want) in [
        ("GET", "http://a.example/x?y", Some("a.example:80")),
        ("POST", "http://a.example:8080", Some("a.example:8080")),
        ("GET", "http://[::1]:8080/", Some("[::1]:8080")),
        ("CONNECT", "a.example:443", Some("a.example:443")),
        ("CONNECT", "[::1]:443", Some("[::1]:443")),
        ("CONNECT", "a.example", None),
        ("GET", "/x", None),
        ("GET", "https://a.example/", None),
        ("GET", "ftp://a.example/", None),
        ("OPTIONS", "*", None),
    ] {
        let method: Method = method.parse().unwrap();
        let found = target(&method, &uri.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(found.as_deref(), want, "{method} {uri}");
    }
}

#[test]
fn a_login_is_basic_or_none() {
    let login = |text: &str| login(&text.parse().unwrap()).map(|login| login.user);
    assert_eq!(login("Basic YW5uOnMzY3JldA==").as_deref(), Some("ann"));
    assert_eq!(login("basic  YW5uOnMzY3JldA==").as_deref(), Some("ann"));
    for noise in ["", "Basic", "Basic !", "Basic YW5u", "Bearer YW5uOnMzY3JldA=="] {
        assert_eq!(login(noise), None, "{noise}");
    }
}

#[test]
fn what_is_between_client_and_proxy_goes_no_further() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("proxy-authorization", "Basic YW5uOnMzY3JldA=="),
        ("proxy-connection", "keep-alive"),
        ("connection", "close, X-Mine"),
        ("x-mine", "1"),
        ("te", "trailers"),
        ("accept", "*/*"),
    ] {
        headers.append(name, value.parse().unwrap());
    }
    clean(&mut headers);
    let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["accept", "via"]);
}
