//! What can go wrong between operator and pod, in one short line each: these lines end in events and conditions.

use std::{error::Error, io, net::SocketAddr, time::Duration};

use fairlead_config::admin::REPORT_LINE_LIMIT;

/// Characters of a line at most; the pod has a say in some of them.
const LONGEST: usize = 300;

/// Why a pod is lost, or a push failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("dial {0}: {1}")]
    Dial(SocketAddr, io::Error),
    #[error("dial {0}: no answer within {1:?}")]
    DialTimeout(SocketAddr, Duration),
    #[error("{0}: TLS handshake: {1}")]
    Tls(SocketAddr, io::Error),
    #[error("{0}: TLS handshake not done within {1:?}")]
    TlsTimeout(SocketAddr, Duration),
    #[error("the operator's own certificate can't be used: {0}")]
    Identity(rustls::Error),
    #[error("{0}")]
    Http(#[source] hyper::Error),
    #[error("no answer within {0:?}")]
    AnswerTimeout(Duration),
    #[error("answered {0}: {1}")]
    Status(u16, String),
    #[error("said nothing for {0:?}")]
    Silent(Duration),
    #[error("sent a report of more than {} KiB", REPORT_LINE_LIMIT >> 10)]
    TooLong,
    #[error("sent what is no report: {0}")]
    NoReport(serde_json::Error),
    #[error("closed the connection")]
    Closed,
}

impl From<hyper::Error> for LinkError {
    fn from(error: hyper::Error) -> Self {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        let ended = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        if error.is_closed() || error.is_incomplete_message() || cause.is_some_and(|kind| ended.contains(&kind)) {
            return Self::Closed;
        }
        Self::Http(error)
    }
}

impl LinkError {
    /// The whole story in one line of printable characters.
    pub(super) fn line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let words = error.to_string();
            if !text.contains(&words) {
                text = format!("{text}: {words}");
            }
            cause = error.source();
        }
        // With TLS 1.3 a client hears only after its handshake that it was turned away.
        let alert = text.split_once("received fatal alert").is_some_and(|(_, alert)| about_certificates(alert));
        if alert {
            text = format!("the proxy refused the operator's certificate ({text}); its ConfigMap may be behind");
        } else if matches!(self, Self::Tls(_, error) if error.kind() == io::ErrorKind::UnexpectedEof) {
            text += "; a proxy does so before it has a ConfigMap with the operator's authority";
        }
        one_line(&text)
    }
}

fn about_certificates(alert: &str) -> bool {
    ["Certificate", "UnknownCA", "AccessDenied", "DecryptError"].iter().any(|word| alert.contains(word))
}

/// Makes any text one printable line that is not long.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let printable = words.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut line: String = printable.clone().take(LONGEST).collect();
    if printable.count() > LONGEST {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_says_becomes_one_printable_line() {
        let line = LinkError::Status(400, "bad\r\n\tthing \u{1b}[31m".to_owned() + &"x".repeat(1000)).line();
        assert!(line.starts_with("answered 400: bad thing \u{fffd}[31m"), "{line}");
        assert_eq!(line.chars().count(), LONGEST + 1);
    }

    #[test]
    fn a_refused_certificate_is_named_as_such() {
        let address = SocketAddr::from(([10, 0, 0, 7], 19443));
        let alert = io::Error::other("received fatal alert: UnknownCA");
        let line = LinkError::Tls(address, alert).line();
        assert!(line.contains("refused the operator's certificate") && line.contains("UnknownCA"), "{line}");
        let other = LinkError::Tls(address, io::Error::other("received fatal alert: ProtocolVersion")).line();
        assert!(!other.contains("refused"), "{other}");
        let closed = LinkError::Tls(address, io::ErrorKind::UnexpectedEof.into()).line();
        assert!(closed.contains("before it has a ConfigMap"), "{closed}");
    }
}
