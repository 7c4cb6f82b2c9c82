//! What operator and proxy must agree on about the proxy's admin port: paths, limits, times and the answer to a push.
//! The operator dials, with a client certificate of its own authority; the proxy serves HTTP/1.1 over TLS.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::defaults::CONFIG_BYTES_LIMIT;

/// `PUT` here: the configuration document, as it stands in the ConfigMap. The answer is a [`PushAnswer`] as JSON.
pub const CONFIG_PATH: &str = "/config";
/// `GET` here: one [`crate::Report`] as JSON.
pub const REPORT_PATH: &str = "/report";
/// `GET` here: a [`crate::Report`] a line, the present one at once and another at every change.
pub const REPORT_WATCH_PATH: &str = "/report?watch=true";

/// Media type of a pushed document (which may be JSON, that being YAML).
pub const CONFIG_CONTENT_TYPE: &str = "application/yaml";
/// Media type of reports, of which each is one line; an empty line keeps the connection alive.
pub const REPORTS_CONTENT_TYPE: &str = "application/x-ndjson";

/// Size of a pushed document in bytes; a larger one is refused.
pub const CONFIG_BODY_LIMIT: usize = 1 << 20;
const _: () = assert!(CONFIG_BYTES_LIMIT < CONFIG_BODY_LIMIT, "what a ConfigMap holds can be pushed");
/// Size of a report in bytes, its line end included; a proxy leaves nodes out of a larger one.
pub const REPORT_LINE_LIMIT: usize = 1 << 20;

/// How long a proxy waits after a change for others to report with it.
pub const REPORT_COALESCE: Duration = Duration::from_millis(100);
/// The least time between two reports: 4 a second.
pub const REPORT_GAP: Duration = Duration::from_millis(250);
/// A proxy with nothing to report sends an empty line this often.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A proxy that says nothing for so long is lost.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(45);
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a proxy keeps a connection on which nothing is asked; an operator gives up an idle one earlier.
pub const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// What a proxy answers to a push, whatever the status code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushAnswer {
    /// The revision in force after the push; none before the first configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Why the document is not in force, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_a_newer_proxy_is_read() {
        let answer: PushAnswer = serde_json::from_str(r#"{"revision": 7, "mood": "good"}"#).unwrap();
        assert_eq!(answer, PushAnswer { revision: Some(7), message: None });
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"revision":7}"#);
        assert_eq!(serde_json::from_str::<PushAnswer>("{}").unwrap(), PushAnswer { revision: None, message: None });
    }
}
