//! CONNECT over pipes: answers that are read to their end and no further, and those that say no.
#![allow(clippy::unwrap_used)]

use fairlead_config::url::Secret;
use futures::FutureExt;
use proptest::prelude::*;
use tokio::io::duplex;

use super::*;

fn login() -> Login {
    Login { user: "user".to_owned(), password: Secret::new("pass") }
}

async fn answered(answer: &[u8]) -> (Result<(), Fault>, Vec<u8>) {
    let (mut ours, mut theirs) = duplex(64 << 10);
    theirs.write_all(answer).await.unwrap();
    theirs.shutdown().await.unwrap();
    let outcome = connect(&mut ours, &HostPort::new("db.example", 5432), Some(&login())).await;
    let mut rest = Vec::new();
    ours.read_to_end(&mut rest).await.unwrap();
    (outcome, rest)
}

#[test]
fn a_request_names_the_target_and_who_asks() {
    let text = request(&HostPort::new("::1", 80), Some(&login())).unwrap();
    let want = "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n";
    assert_eq!(text, want);
    assert!(!request(&HostPort::new("a", 1), None).unwrap().contains("Proxy-Authorization"));
    let colon = Login { user: "a:b".to_owned(), ..login() };
    assert!(request(&HostPort::new("a", 1), Some(&colon)).is_err());
}

#[tokio::test]
async fn what_the_target_says_first_is_left_in_the_stream() {
    for head in [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 200 OK\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 299 x\r\nA: \r\n\r\n",
    ] {
        let (outcome, rest) = answered(format!("{head}\r\n220 hello").as_bytes()).await;
        assert_eq!(outcome, Ok(()), "{head:?}");
        assert_eq!(rest, b"\r\n220 hello", "{head:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_the_targets_and_a_strange_answer_the_hops() {
    for (answer, blames_target, want) in [
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", true, "502 Bad Gateway"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!", true, "403"),
        ("HTTP/1.1 503 \r\n\r\n", true, "503"),
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", false, "refuses the user"),
        ("HTTP/1.1 405 Method Not Allowed\r\n\r\n", false, "does not serve CONNECT"),
        ("HTTP/1.1 302 Found\r\n\r\n", false, "302"),
        ("HTTP/1.1 abc\r\n\r\n", false, "no status"),
        ("SSH-2.0-OpenSSH_9.2\r\n", false, "something else"),
        ("HTTP/1.1 200 OK\r\n", false, "closed the connection"),
        ("", false, "closed the connection"),
    ] {
        let (outcome, _) = answered(answer.as_bytes()).await;
        let (is_target, cause) = match outcome.unwrap_err() {
            Fault::Address(cause) => (true, cause),
            Fault::Hop(cause) => (false, cause),
        };
        assert_eq!(is_target, blames_target, "{answer:?}: {cause}");
        assert!(cause.to_string().contains(want), "{answer:?}: {cause}");
    }
}

#[tokio::test]
async fn an_endless_head_is_given_up() {
    let (outcome, _) = answered(format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_LIMIT)).as_bytes()).await;
    assert!(matches!(outcome, Err(Fault::Hop(DialCause::Handshake(message))) if message.contains("longer")));
}

#[test]
fn base64_is_padded() {
    for (text, want) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
        assert_eq!(base64(text.as_bytes()), want);
    }
}

proptest! {
    #[test]
    fn a_head_is_read_to_its_first_empty_line(lines in proptest::collection::vec("[A-Za-z: \r]{0,12}", 0..6), rest in "[\r\nx]{0,9}") {
        let whole = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n{rest}", lines.join("\r\n"));
        let end = whole.find("\r\n\r\n").unwrap() + 4;
        let mut stream = whole.as_bytes();
        let head = head(&mut stream).now_or_never().unwrap().unwrap();
        prop_assert_eq!(head, &whole.as_bytes()[..end]);
        prop_assert_eq!(stream, &whole.as_bytes()[end..]);
    }
}
