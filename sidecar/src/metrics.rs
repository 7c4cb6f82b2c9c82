//! The engine's counters as Prometheus reads them (OpenMetrics text). Pure.
//! Label sets are bounded by the configuration's limits: forwards per proxy, targets per forward, reasons of failure.
//! Invariant: no two lines have the same name and labels, though a target may stand twice in a list.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use fairlead_config::{ForwardState, NodeState, Report};
use fairlead_engine::{DIAL_SECONDS, DatagramStats, DialCause, ForwardStats, NodeStats};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

/// The content type of [`text()`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Encoded = Result<(), fmt::Error>;
/// Name, help, value.
type Counter = (&'static str, &'static str, fn(&ForwardStats) -> u64);

/// Writes every metric.
pub(crate) fn text(report: Report, stats: &[ForwardStats]) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { report, forwards: stats.to_vec(), nodes: merged(stats) }));
    let mut encoded = String::new();
    text::encode(&mut encoded, &registry)?;
    Ok(encoded)
}

/// Everything as it stands at one scrape.
#[derive(Debug)]
struct Scrape {
    report: Report,
    forwards: Vec<ForwardStats>,
    nodes: BTreeMap<NodeLabels, NodeStats>,
}

type ForwardLabels = [(&'static str, String); 2];
/// A target has no label `hop`.
type NodeLabels = Vec<(&'static str, String)>;

fn forward_labels(key: &fairlead_config::ForwardKey) -> ForwardLabels {
    [("namespace", key.namespace.clone()), ("forward", key.name.clone())]
}

/// The nodes by label; one that stands in a list twice counts once, with the sum of both.
fn merged(stats: &[ForwardStats]) -> BTreeMap<NodeLabels, NodeStats> {
    let mut merged: BTreeMap<NodeLabels, NodeStats> = BTreeMap::new();
    for (forward, node) in stats.iter().flat_map(|forward| forward.nodes.iter().map(move |node| (forward, node))) {
        let [namespace, name] = forward_labels(&forward.key);
        let mut labels = vec![namespace, name, ("node", node.address.to_string())];
        labels.extend(node.hop.map(|hop| ("hop", hop.to_string())));
        match merged.get_mut(&labels) {
            Some(sum) => add(sum, node),
            None => drop(merged.insert(labels, node.clone())),
        }
    }
    merged
}

fn add(sum: &mut NodeStats, other: &NodeStats) {
    sum.connections += other.connections;
    sum.dial_times.sum += other.dial_times.sum;
    sum.dial_times.buckets.iter_mut().zip(&other.dial_times.buckets).for_each(|(a, b)| *a += b);
    sum.failures.iter_mut().zip(&other.failures).for_each(|(a, b)| *a += b);
    if sum.state == NodeState::Unknown || other.state == NodeState::Alive {
        sum.state = other.state;
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Encoded {
        self.whole(&mut encoder)?;
        self.forwards(&mut encoder)?;
        self.bytes(&mut encoder)?;
        self.datagrams(&mut encoder)?;
        self.nodes(&mut encoder)?;
        self.backlogs(&mut encoder)?;
        self.failures(&mut encoder)
    }
}

impl Scrape {
    fn whole(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let mut build = encoder.encode_descriptor("fairlead_build", "What runs here", None, MetricType::Info)?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let mut revision = encoder.encode_descriptor(
            "fairlead_config_revision",
            "Revision of the configuration in force, 0 before the first",
            None,
            MetricType::Gauge,
        )?;
        revision.encode_gauge(&i64::try_from(self.report.revision).unwrap_or(i64::MAX))?;
        let help = "Whether the forward listens (1) or is refused or failed (0)";
        let mut listening = encoder.encode_descriptor("fairlead_forward_listening", help, None, MetricType::Gauge)?;
        for (labels, up) in self.listening() {
            listening.encode_family(&labels)?.encode_gauge(&i64::from(up))?;
        }
        let help = "Set (1) while the forward stands by, since another one holds the far end's port";
        let mut standby = encoder.encode_descriptor("fairlead_forward_standby", help, None, MetricType::Gauge)?;
        let stands_by = self.report.forwards.iter().filter(|forward| forward.state == ForwardState::Standby);
        for labels in stands_by.map(|forward| forward_labels(&forward.key)).collect::<BTreeSet<_>>() {
            standby.encode_family(&labels)?.encode_gauge(&1_i64)?;
        }
        Ok(())
    }

    fn listening(&self) -> BTreeMap<ForwardLabels, bool> {
        let states =
            self.report.forwards.iter().map(|forward| (&forward.key, forward.state == ForwardState::Listening));
        let mut merged = BTreeMap::new();
        for (key, up) in states {
            *merged.entry(forward_labels(key)).or_insert(false) |= up;
        }
        merged
    }

    fn forwards(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let mut open = encoder.encode_descriptor(
            "fairlead_connections_open",
            "Connections (udp: associations) open now",
            None,
            MetricType::Gauge,
        )?;
        for forward in &self.forwards {
            let count = i64::try_from(forward.open).unwrap_or(i64::MAX);
            open.encode_family(&forward_labels(&forward.key))?.encode_gauge(&count)?;
        }
        let counters: [Counter; 5] = [
            ("fairlead_connections", "Connections accepted (udp: associations begun)", |stats| stats.accepted),
            ("fairlead_unserved", "Clients that no node answered", |stats| stats.unserved),
            ("fairlead_passed_on", "Clients served by another node than the first one chosen", |stats| stats.passed_on),
            ("fairlead_hedged", "Second dials begun because a node was silent", |stats| stats.hedged),
            ("fairlead_copy_errors", "Connections whose copying ended by an error", |stats| stats.copy_errors),
        ];
        for (name, help, value) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for forward in &self.forwards {
                count(&mut family, &forward_labels(&forward.key), value(forward))?;
            }
        }
        Ok(())
    }

    fn bytes(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let mut family = encoder.encode_descriptor(
            "fairlead_bytes",
            "Bytes sent to nodes and to clients",
            None,
            MetricType::Counter,
        )?;
        for forward in &self.forwards {
            for (direction, value) in [("upstream", forward.bytes_to_upstream), ("client", forward.bytes_to_client)] {
                let [namespace, name] = forward_labels(&forward.key);
                count(&mut family, &[namespace, name, ("direction", direction.to_owned())], value)?;
            }
        }
        Ok(())
    }

    fn datagrams(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let of_datagrams = || self.forwards.iter().filter_map(|forward| Some((forward, forward.datagrams.as_ref()?)));
        let help = "Datagrams sent to nodes and to clients";
        let mut sent = encoder.encode_descriptor("fairlead_datagrams", help, None, MetricType::Counter)?;
        for (forward, datagrams) in of_datagrams() {
            for (direction, value) in [("upstream", datagrams.to_upstream), ("client", datagrams.to_client)] {
                let [namespace, name] = forward_labels(&forward.key);
                count(&mut sent, &[namespace, name, ("direction", direction.to_owned())], value)?;
            }
        }
        let help = "Datagrams that could not be sent on at once";
        let mut dropped = encoder.encode_descriptor("fairlead_datagrams_dropped", help, None, MetricType::Counter)?;
        for (forward, datagrams) in of_datagrams() {
            for (reason, value) in DatagramStats::REASONS.into_iter().zip(datagrams.dropped) {
                let [namespace, name] = forward_labels(&forward.key);
                count(&mut dropped, &[namespace, name, ("reason", reason.to_owned())], value)?;
            }
        }
        Ok(())
    }

    fn nodes(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let help = "Whether the node is alive (1) or dead (0); absent before it was dialled";
        let mut alive = encoder.encode_descriptor("fairlead_node_alive", help, None, MetricType::Gauge)?;
        for (labels, node) in &self.nodes {
            match node.state {
                NodeState::Alive => alive.encode_family(labels)?.encode_gauge(&1)?,
                NodeState::Dead => alive.encode_family(labels)?.encode_gauge(&0)?,
                NodeState::Unknown => {}
            }
        }
        let mut clients = encoder.encode_descriptor(
            "fairlead_node_connections",
            "Clients connected to the node",
            None,
            MetricType::Counter,
        )?;
        for (labels, node) in &self.nodes {
            count(&mut clients, labels, node.connections)?;
        }
        let help = "Times of the dials that were answered, in seconds";
        let mut times = encoder.encode_descriptor("fairlead_dial_seconds", help, None, MetricType::Histogram)?;
        for (labels, node) in &self.nodes {
            let bounds = DIAL_SECONDS.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(node.dial_times.buckets.iter().copied()).collect();
            let total = buckets.iter().map(|(_, count)| count).sum();
            times.encode_family(labels)?.encode_histogram::<NoLabelSet>(node.dial_times.sum, total, &buckets, None)?;
        }
        Ok(())
    }

    fn backlogs(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let help = "Bytes in SSH sessions to the node that clients have not read yet";
        let mut family = encoder.encode_descriptor("fairlead_ssh_backlog_bytes", help, None, MetricType::Gauge)?;
        for (labels, node) in &self.nodes {
            if let Some(backlog) = node.backlog {
                family.encode_family(labels)?.encode_gauge(&i64::try_from(backlog).unwrap_or(i64::MAX))?;
            }
        }
        Ok(())
    }

    fn failures(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let mut family =
            encoder.encode_descriptor("fairlead_dial_failures", "Dials that failed", None, MetricType::Counter)?;
        for (labels, node) in &self.nodes {
            for (reason, failures) in DialCause::REASONS.into_iter().zip(node.failures) {
                let labels = [labels.as_slice(), &[("reason", reason.to_owned())]].concat();
                count(&mut family, &labels, failures)?;
            }
        }
        Ok(())
    }
}

fn count(family: &mut MetricEncoder, labels: &impl EncodeLabelSet, value: u64) -> Encoded {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
