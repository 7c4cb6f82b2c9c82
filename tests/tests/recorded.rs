//! Operator and proxy are of different ages: what each released version wrote is kept in `recorded/` and read here.
//! A file stays as it was written; a new version of a format adds one.

use std::{fs, path::PathBuf};

use fairlead_config::{
    CONFIG_VERSION, Forward, ForwardState, Hop, HopCredentials, HopSocks5, HopSsh, HopTls, NodeState, REPORT_VERSION,
    ReadConfig, RefusedReason, Report, Server, ServerUsers, yaml,
};

fn recorded(prefix: &str) -> Vec<(String, String)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recorded");
    let entries = fs::read_dir(dir).expect("the recorded documents");
    let files = entries.map(|entry| entry.expect("a recorded document").path());
    let mut documents: Vec<(String, String)> = files
        .map(|file| (file.file_name().unwrap_or_default().to_string_lossy().into_owned(), file))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, file)| (name, fs::read_to_string(file).expect("a readable document")))
        .collect();
    documents.sort();
    documents
}

fn document(name: &str) -> String {
    let mut all = recorded(name);
    assert_eq!(all.len(), 1, "recorded/{name} is missing: record what this version writes");
    all.remove(0).1
}

#[test]
fn the_present_formats_are_recorded() {
    let config = ReadConfig::parse(&document(&format!("config-v{CONFIG_VERSION}.yaml"))).expect("a configuration");
    assert_eq!(config.version, CONFIG_VERSION);
    let report: Report = yaml::from_str(&document(&format!("report-v{REPORT_VERSION}.yaml"))).expect("a report");
    assert_eq!(report.version, REPORT_VERSION);
}

#[test]
fn every_recorded_configuration_is_read_whole() {
    for (name, text) in recorded("config-v") {
        let config = ReadConfig::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(config.refused, [], "{name}");
        assert!(!config.forwards.is_empty() && config.revision > 0, "{name}");
    }
}

#[test]
fn every_recorded_report_is_read_whole() {
    for (name, text) in recorded("report-v") {
        let report: Report = yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!report.forwards.is_empty(), "{name}");
        let known = report.forwards.iter().all(|forward| forward.state != ForwardState::Unknown);
        assert!(known, "{name}: a state of that version is no longer understood");
    }
}

/// A field that the present version writes and the record lacks would go unread by the tests above.
#[test]
fn the_recorded_configuration_says_every_field_there_is() {
    let config = ReadConfig::parse(&document("config-v1.yaml")).expect("a configuration");
    let full = config.forwards.iter().find(|forward| forward.key.name == "everything").expect("the full forward");
    let Forward { strategy, max_fails, fail_timeout, ttl, dial_timeout, hedge_delay, .. } = full;
    assert!(strategy.is_some() && max_fails.is_some() && fail_timeout.is_some() && ttl.is_some());
    assert!(dial_timeout.is_some() && hedge_delay.is_some() && full.idle_timeout.is_some());
    assert!(full.max_connections.is_some() && full.health_check.as_ref().is_some_and(|check| check.timeout.is_some()));
}

fn forward(name: &str, document_name: &str) -> Forward {
    let config = ReadConfig::parse(&document(document_name)).expect("a configuration");
    config.forwards.into_iter().find(|forward| forward.key.name == name).expect("the forward")
}

/// Without `..`: a new field is recorded here, or this doesn't compile.
#[test]
fn the_recorded_hop_says_every_field_there_is() {
    let mut forward = forward("webhooks", "config-v1-far-ends.yaml");
    let Hop { scheme, nodes, strategy, max_fails, fail_timeout, dial_timeout, socks5, credentials, tls, ssh } =
        forward.chain.remove(0);
    assert!(forward.is_remote() && scheme == "socks5" && nodes.len() == 2);
    assert!(strategy.is_some() && max_fails.is_some() && fail_timeout.is_some() && dial_timeout.is_some());
    let HopSocks5 { no_tls, mbind, udp_associate } = socks5.expect("options of SOCKS5");
    assert!(no_tls && mbind && udp_associate);
    let HopCredentials { username, directory, file, keys, agent } = credentials.expect("credentials");
    assert!([username, directory, file, agent].iter().all(Option::is_some) && !keys.is_empty());
    let HopTls { verify, server_name, ca, certificate, key } = tls.expect("what is verified");
    assert!(verify.is_some() && [server_name, ca, certificate, key].iter().all(Option::is_some));
    let HopSsh { host_keys, known_hosts, insecure_ignore_host_key, keep_alive } = ssh.expect("options of SSH");
    assert!(!host_keys.is_empty() && !known_hosts.is_empty() && insecure_ignore_host_key && keep_alive.is_some());
}

#[test]
fn the_recorded_server_says_every_field_there_is() {
    let forward = forward("everything", "config-v1-servers.yaml");
    let Server { users, allow_targets, allow_bind, anonymous, host_key } = forward.server.expect("a server");
    assert!(!allow_targets.is_empty() && !allow_bind.is_empty() && anonymous && host_key.is_some());
    let ServerUsers { directory, file, authorized_keys } = users.expect("users");
    assert!([directory, file, authorized_keys].iter().all(Option::is_some));
    assert!(forward.tls.is_some_and(|tls| !tls.certificate.is_empty() && !tls.key.is_empty()));
}

#[test]
fn recorded_reports_say_where_far_ends_listen_and_who_stands_by() {
    let report: Report = yaml::from_str(&document("report-v1-far-ends.yaml")).expect("a report");
    let bound: Vec<String> = report.forwards.iter().filter_map(|f| Some(f.bound.as_ref()?.to_string())).collect();
    assert_eq!(bound, ["bastion.example.net:8443", "edge.example.net:41873"]);
    let states: Vec<ForwardState> = report.forwards.iter().map(|forward| forward.state).collect();
    use ForwardState::{Failed, Listening, Standby};
    assert_eq!(states, [Listening, Listening, Standby, Failed, Failed, Listening]);
    assert_eq!(report.forwards[1].nodes[1].hop, Some(2));
}

#[test]
fn a_newer_configuration_is_read_but_for_the_forwards_it_is_too_new_for() {
    let config = ReadConfig::parse(&document("config-newer.yaml")).expect("a configuration");
    let names: Vec<&str> = config.forwards.iter().map(|forward| forward.key.name.as_str()).collect();
    assert_eq!(names, ["plain"]);
    let refused: Vec<(&str, &str)> =
        config.refused.iter().map(|refused| (refused.key.name.as_str(), refused.digest.as_str())).collect();
    assert_eq!(refused, [("with-a-new-field", "n1"), ("with-a-new-strategy", "n2"), ("with-a-new-check", "n3")]);
    assert!(config.refused.iter().all(|refused| refused.reason == RefusedReason::ProxyTooOld), "{:?}", config.refused);
}

#[test]
fn a_newer_report_is_read_with_its_unknown_states() {
    let report: Report = yaml::from_str(&document("report-newer.yaml")).expect("a report");
    assert_eq!(report.forwards[0].state, ForwardState::Unknown);
    assert_eq!(report.forwards[0].nodes[0].state, NodeState::Unknown);
    assert_eq!(report.forwards[1].state, ForwardState::Listening);
}
