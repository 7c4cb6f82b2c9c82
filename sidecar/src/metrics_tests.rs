//! The text of a scrape, for a forward with a target that stands twice.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use fairlead_config::{ForwardKey, HostPort};
use fairlead_engine::HistogramView;

use super::*;

fn node(state: NodeState) -> NodeStats {
    let mut buckets = vec![0; DIAL_SECONDS.len() + 1];
    buckets[0] = 2;
    buckets[DIAL_SECONDS.len()] = 1;
    NodeStats {
        hop: None,
        address: HostPort::new("10.0.0.1", 80),
        state,
        connections: 3,
        failures: std::array::from_fn(|reason| u64::from(reason == 0)),
        dial_times: HistogramView { buckets, sum: 7.5 },
        backlog: None,
    }
}

fn scrape(name: &str) -> String {
    let key = ForwardKey::local("shop", name);
    let forward = ForwardStats {
        key: key.clone(),
        accepted: 5,
        open: 2,
        unserved: 1,
        passed_on: 1,
        hedged: 4,
        copy_errors: 0,
        bytes_to_upstream: 100,
        bytes_to_client: 200,
        datagrams: Some(DatagramStats { to_upstream: 7, to_client: 8, dropped: [0, 0, 0, 9, 0, 0] }),
        nodes: vec![node(NodeState::Dead), node(NodeState::Alive)],
    };
    let report = serde_json::json!({"version": 1, "revision": 9, "forwards": [
        {"key": key, "digest": "", "state": "Listening"},
        {"key": ForwardKey::local("shop", "bad"), "digest": "", "state": "Refused"},
        {"key": ForwardKey::local("shop", "far"), "digest": "", "state": "Standby"},
    ]});
    text(serde_json::from_value(report).unwrap(), &[forward]).unwrap()
}

#[test]
fn every_counter_is_there_with_its_labels() {
    let text = scrape("db");
    for line in [
        r#"fairlead_config_revision 9"#,
        r#"fairlead_forward_listening{namespace="shop",forward="db"} 1"#,
        r#"fairlead_forward_listening{namespace="shop",forward="bad"} 0"#,
        r#"fairlead_forward_listening{namespace="shop",forward="far"} 0"#,
        r#"fairlead_forward_standby{namespace="shop",forward="far"} 1"#,
        r#"fairlead_connections_total{namespace="shop",forward="db"} 5"#,
        r#"fairlead_connections_open{namespace="shop",forward="db"} 2"#,
        r#"fairlead_bytes_total{namespace="shop",forward="db",direction="upstream"} 100"#,
        r#"fairlead_bytes_total{namespace="shop",forward="db",direction="client"} 200"#,
        r#"fairlead_datagrams_total{namespace="shop",forward="db",direction="upstream"} 7"#,
        r#"fairlead_datagrams_total{namespace="shop",forward="db",direction="client"} 8"#,
        r#"fairlead_datagrams_dropped_total{namespace="shop",forward="db",reason="buffer_full"} 9"#,
        r#"fairlead_unserved_total{namespace="shop",forward="db"} 1"#,
        r#"fairlead_passed_on_total{namespace="shop",forward="db"} 1"#,
        r#"fairlead_hedged_total{namespace="shop",forward="db"} 4"#,
        r#"fairlead_copy_errors_total{namespace="shop",forward="db"} 0"#,
        r#"fairlead_node_alive{namespace="shop",forward="db",node="10.0.0.1:80"} 1"#,
        r#"fairlead_node_connections_total{namespace="shop",forward="db",node="10.0.0.1:80"} 6"#,
        r#"fairlead_dial_failures_total{namespace="shop",forward="db",node="10.0.0.1:80",reason="refused"} 2"#,
        r#"fairlead_dial_seconds_sum{namespace="shop",forward="db",node="10.0.0.1:80"} 15.0"#,
        r#"fairlead_dial_seconds_count{namespace="shop",forward="db",node="10.0.0.1:80"} 6"#,
        r#"fairlead_dial_seconds_bucket{le="0.0005",namespace="shop",forward="db",node="10.0.0.1:80"} 4"#,
        r#"fairlead_dial_seconds_bucket{le="+Inf",namespace="shop",forward="db",node="10.0.0.1:80"} 6"#,
        "# TYPE fairlead_dial_seconds histogram",
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn no_series_stands_twice() {
    let text = scrape("db");
    let series: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')).collect();
    let different: BTreeSet<_> = series.iter().map(|(name, _)| name).collect();
    assert_eq!(series.len(), different.len(), "{text}");
}

#[test]
fn a_label_can_not_break_out_of_its_quotes() {
    assert!(scrape("a\"\n} 1").contains(r#"forward="a\"\n} 1""#));
}
