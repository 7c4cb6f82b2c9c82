//! What clients asked of the API server, from its audit log: every request of everybody but the control plane's own.

use std::{
    collections::HashSet,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use serde_json::{Value, json};

/// One request that was answered, or a watch that began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As RBAC says it: get, list, watch, create, update, patch, delete or deletecollection.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// The plural; empty for a path that is no resource.
    pub resource: String,
    pub subresource: Option<String>,
    pub namespace: Option<String>,
    /// None for a list, and for a create.
    pub name: Option<String>,
    /// The path with its query.
    pub path: String,
    /// The HTTP status.
    pub code: u16,
    /// Whether it was refused for want of rights, and not for what it asked.
    pub is_denied: bool,
    /// When the server got it (RFC 3339), which also orders texts.
    pub received: String,
    /// Which token was shown: two kubeconfigs of one ServiceAccount differ in it.
    pub credential: Option<String>,
}

impl Request {
    /// When, what and how it was answered, for messages.
    pub fn line(&self) -> String {
        format!("{} {} {} {}", self.received, self.verb, self.path, self.code)
    }

    /// Whether it changes what is stored.
    pub fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }
}

/// Metadata of all requests, but of those that the control plane makes of itself.
pub(super) fn policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "users": ["system:apiserver", super::CONTROLLER_MANAGER]},
            {"level": "None", "nonResourceURLs": ["/livez*", "/readyz*"]},
            {"level": "Metadata"},
        ],
    })
}

/// The log as far as it was read.
pub(super) struct AuditLog {
    file: PathBuf,
    read: u64,
    requests: Vec<(String, Request)>,
    /// Requests that were told at their beginning, as watches are.
    begun: HashSet<String>,
}

impl AuditLog {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, read: 0, requests: Vec::new(), begun: HashSet::new() }
    }

    /// Reads on, and answers whether a request with this path has been logged.
    pub(super) fn has(&mut self, path: &str) -> bool {
        self.read_on();
        self.requests.iter().any(|(_, request)| request.path == path)
    }

    /// The requests of a user, in the order of their ends.
    pub(super) fn of(&self, user: &str) -> Vec<Request> {
        self.requests.iter().filter(|(who, _)| who == user).map(|(_, request)| request.clone()).collect()
    }

    /// The server may be in the middle of a line.
    fn read_on(&mut self) {
        let Ok(mut file) = File::open(&self.file) else { return };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read)).expect("go on in the audit log");
        file.read_to_end(&mut bytes).expect("read the audit log");
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            let event = serde_json::from_str(line).unwrap_or_else(|error| panic!("an audit event: {error}: {line}"));
            self.take(&event);
        }
    }

    fn take(&mut self, event: &Value) {
        let id = text(event, "/auditID");
        let is_new = match event["stage"].as_str() {
            Some("ResponseStarted") => self.begun.insert(id),
            _ => !self.begun.remove(&id),
        };
        if is_new {
            self.requests.push((text(event, "/user/username"), request(event)));
        }
    }
}

fn request(event: &Value) -> Request {
    let some = |pointer| Some(text(event, pointer)).filter(|text| !text.is_empty());
    Request {
        verb: text(event, "/verb"),
        group: text(event, "/objectRef/apiGroup"),
        resource: text(event, "/objectRef/resource"),
        subresource: some("/objectRef/subresource"),
        namespace: some("/objectRef/namespace"),
        name: some("/objectRef/name"),
        path: text(event, "/requestURI"),
        code: event["responseStatus"]["code"].as_u64().and_then(|code| code.try_into().ok()).unwrap_or_default(),
        is_denied: text(event, "/annotations/authorization.k8s.io~1decision") == "forbid",
        received: text(event, "/requestReceivedTimestamp"),
        credential: some("/user/extra/authentication.kubernetes.io~1credential-id/0"),
    }
}

fn text(event: &Value, pointer: &str) -> String {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::*;

    fn event(id: &str, stage: &str, user: &str, path: &str) -> String {
        let event = json!({"auditID": id, "stage": stage, "verb": "watch", "requestURI": path, "user": {"username": user},
            "objectRef": {"resource": "pods", "namespace": "shop", "apiVersion": "v1"}, "responseStatus": {"code": 200}});
        format!("{event}\n")
    }

    #[test]
    fn each_request_counts_once_and_half_a_line_waits_for_its_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("audit.log");
        let mut log = AuditLog::new(file.clone());
        assert!(!log.has("/a"), "no file yet");
        let append = |text: &str| {
            let mut open = OpenOptions::new().create(true).append(true).open(&file).expect("open");
            open.write_all(text.as_bytes()).expect("write");
        };
        let last = event("3", "ResponseComplete", "me", "/c");
        append(&event("1", "ResponseStarted", "me", "/a"));
        append(&event("2", "ResponseComplete", "you", "/b"));
        append(&event("1", "ResponseComplete", "me", "/a"));
        append(&last[..20]);
        assert!(log.has("/a") && !log.has("/c"));
        assert_eq!(log.of("me").len(), 1);
        append(&last[20..]);
        assert!(log.has("/c"));
        let requests = log.of("me");
        assert_eq!((requests.len(), requests[0].resource.as_str(), requests[0].code), (2, "pods", 200));
        assert!(!requests[0].is_write());
    }
}
