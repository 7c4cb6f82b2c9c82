//! Fuzzes the reading of manifests, as an ordinary test: no text makes it panic, what is read is valid and reads back
//! equal, and every message is one printable line. `FUZZ_SECONDS=10` runs each target that long (else half a second).
//! Inputs in `__fuzz__/NAME/corpus` are replayed first; whatever a run finds belongs there.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bolero::check;
use fairlead_api::{
    manifest::{self, ManifestProblem},
    schema,
};
use fairlead_config::yaml;

/// What manifests are made of; a byte of the input picks one.
const PIECES: [&str; 64] = [
    "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {name: a}\nspec:\n",
    "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata:\n  name: b\nspec: {url: 'tcp://:1/a:1'}\n",
    "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n",
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
    "apiVersion: v1\nkind: List\nitems:\n",
    "---\n",
    "...\n",
    "# comment\n",
    "%YAML 1.2\n",
    "  scheme: tcp\n",
    "  scheme: rtcp\n",
    "  listen: {port: 80}\n",
    "  listen:\n",
    "  listen: null\n",
    "    address: '::1'\n",
    "    port: 70000\n",
    "  targets:\n",
    "  targets: []\n",
    "  - {host: a, port: 1}\n",
    "  - host: b\n",
    "    port: \"80\"\n",
    "  - service: {name: web, port: 80}\n",
    "  strategy: fifo\n",
    "  maxFails: 0x10\n",
    "  failTimeout: 10\n",
    "  failTimeout: 1m30s\n",
    "  url: tcp://:1/a:1\n",
    "  url: socks5://u:p@h:1\n",
    "  chain: [{url: 'http://a:1'}]\n",
    "  chain:\n",
    "  - scheme: socks5+tls\n",
    "    nodes: [{host: a, port: 1}]\n",
    "    credentials: {secretRef: {name: ../a}}\n",
    "  server: {allowBind: ['1-2'], allowTargets: [10.0.0.0/8]}\n",
    "  sidecar: {name: shop}\n",
    "  gateway: {replicas: 1e3}\n",
    "  suspend: no\n",
    "  healthCheck: {interval: 5s}\n",
    "data: {a: AAE=}\n",
    "stringData: {a: hunter2}\n",
    "status: {}\n",
    "&a ",
    "*a",
    "<<: *a\n",
    "!!binary ",
    "? ",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "|\n",
    ">-\n",
    "'",
    "\"",
    "  ",
    "\n",
    "\t",
    "~",
    "\\u0000",
    "\u{feff}",
    "\u{202e}é",
];

fn run_time() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.5))
}

/// What a PortForward calls a field is no secret and is shown, whatever it says; of a Secret nothing is.
fn field_named(problem: &ManifestProblem) -> String {
    let of_ours = problem.place.object.as_ref().is_some_and(|object| object.starts_with("PortForward"));
    if of_ours { problem.problem.field.clone() } else { String::new() }
}

fn holds(text: &str) {
    let manifests = manifest::read("fuzz.yaml", text);
    for problem in &manifests.problems {
        let told = problem.to_string();
        assert_eq!(told.find(char::is_control), None, "{told:?}");
        assert!(!told.replace(&field_named(problem), "").contains("hunter2"), "{told}");
    }
    for forward in &manifests.port_forwards {
        let value = serde_json::to_value(forward).unwrap();
        assert_eq!(schema::check(&value), [], "{text:?}");
        let again = manifest::read("again.yaml", &yaml::to_string(forward).unwrap());
        assert_eq!(again.port_forwards.first(), Some(forward), "{:?}", again.problems);
    }
    assert!(!format!("{:?}", manifests.secrets).contains("hunter2"));
}

#[test]
fn bytes_are_read_or_refused() {
    check!(name = "manifest_bytes")
        .with_test_time(run_time())
        .for_each(|bytes: &[u8]| holds(&String::from_utf8_lossy(bytes)));
}

#[test]
fn pieces_are_read_or_refused() {
    check!(name = "manifest_pieces").with_test_time(run_time()).with_max_len(40).for_each(|bytes: &[u8]| {
        let text: String = bytes.iter().map(|byte| PIECES[usize::from(*byte) % PIECES.len()]).collect();
        holds(&text);
    });
}
