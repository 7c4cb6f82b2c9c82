//! The live table: objects, counters and events to lines of text that fit a screen. Pure.
//! Forwards come first, as `kubectl get pfw` shows them, then their nodes, then the latest events; what doesn't fit
//! is left out from the bottom of each part, and counted.

use fairlead_api::{AddressType, Node, NodeState, PortForward, PortForwardStatus, render::key_of};
use fairlead_config::HostPort;
use fairlead_engine::ForwardStats;
use k8s_openapi::jiff::Timestamp;

use crate::{clock, logging::Event};

/// What a table is made of.
pub(crate) struct Content<'a> {
    pub(crate) objects: Vec<&'a PortForward>,
    pub(crate) stats: &'a [ForwardStats],
    /// The latest last.
    pub(crate) events: Vec<Event>,
    /// The last line: what a person can do next.
    pub(crate) hint: &'a str,
}

/// Columns and lines of a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// Draws the table; at most `size.rows - 1` lines, each at most `size.columns` wide.
pub(crate) fn draw(content: &Content<'_>, size: Size, now: Timestamp) -> Vec<String> {
    // The last row of the screen stays free for the cursor; three are blank, one is the hint.
    let room = size.rows.saturating_sub(5);
    let forwards = columns(&forward_rows(content, now));
    let nodes = columns(&node_rows(content));
    let for_forwards = forwards.len().min(room.div_ceil(2).max(2));
    let for_nodes = nodes.len().min((room - for_forwards.min(room)) * 2 / 3);
    let for_events = room.saturating_sub(for_forwards + for_nodes);
    let mut lines = shortened(forwards, for_forwards);
    if for_nodes > 1 {
        lines.push(String::new());
        lines.extend(shortened(nodes, for_nodes));
    }
    let skipped = content.events.len().saturating_sub(for_events.saturating_sub(1));
    let events = columns(&event_rows(&content.events[skipped..], now));
    if events.len() > 1 {
        lines.push(String::new());
        lines.extend(events);
    }
    lines.push(String::new());
    lines.push(content.hint.to_owned());
    lines.truncate(size.rows.saturating_sub(1));
    lines.into_iter().map(|line| clipped(&line, size.columns)).collect()
}

fn forward_rows(content: &Content<'_>, now: Timestamp) -> Vec<Vec<String>> {
    let many = content.objects.iter().any(|object| key_of(object).namespace != "default");
    let mut rows = vec![row(["NAME", "SCHEME", "LISTEN", "NODES", "READY", "OPEN", "CLIENTS", "AGE"])];
    for object in &content.objects {
        let key = key_of(object);
        let nothing = PortForwardStatus::default();
        let status = object.status.as_ref().unwrap_or(&nothing);
        let effective = status.effective.clone().unwrap_or_default();
        let stats = content.stats.iter().find(|stats| stats.key == key);
        let count =
            |value: fn(&ForwardStats) -> u64| stats.map_or_else(|| "-".to_owned(), |stats| value(stats).to_string());
        let born = object.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        rows.push(vec![
            if many { key.to_string() } else { key.name },
            effective.scheme.unwrap_or_default(),
            listen(status, effective.listen.unwrap_or_default()),
            status.node_summary.clone().unwrap_or_default(),
            ready(status),
            count(|stats| stats.open),
            count(|stats| stats.accepted),
            clock::age(born, now),
        ]);
    }
    rows
}

/// Where clients reach it: for a listener at a far end that is what the far end says.
fn listen(status: &PortForwardStatus, wanted: String) -> String {
    let remote = status.addresses.iter().find(|address| address.type_ == AddressType::Remote);
    remote.map_or(wanted, |address| HostPort::new(address.host.clone(), address.port).to_string())
}

/// `True`, or `False` with its reason.
fn ready(status: &PortForwardStatus) -> String {
    match status.conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(condition) if condition.status == "True" => "True".to_owned(),
        Some(condition) => format!("{} ({})", condition.status, condition.reason),
        None => "Unknown".to_owned(),
    }
}

/// The dead first, since the last ones may find no room.
fn node_rows(content: &Content<'_>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let heading = row(["FORWARD", "NODE", "STATE", "CLIENTS", "LAST ERROR"]);
    for object in &content.objects {
        let key = key_of(object);
        let stats = content.stats.iter().find(|stats| stats.key == key);
        for node in object.status.iter().flat_map(|status| &status.nodes) {
            let cells = vec![
                key.name.clone(),
                named(node),
                state(node).to_owned(),
                stats.map_or_else(|| "-".to_owned(), |stats| connections(stats, node).to_string()),
                node.last_error.clone().unwrap_or_default(),
            ];
            rows.push((node.state != NodeState::Dead, cells));
        }
    }
    rows.sort_by_key(|(lives, _)| *lives);
    [heading].into_iter().chain(rows.into_iter().map(|(_, cells)| cells)).collect()
}

fn event_rows(events: &[Event], now: Timestamp) -> Vec<Vec<String>> {
    let row_of = |event: &Event| vec![clock::age(event.time, now), event.line.clone()];
    [row(["SINCE", "EVENT"])].into_iter().chain(events.iter().map(row_of)).collect()
}

/// A hop's node with the hop's number.
fn named(node: &Node) -> String {
    node.hop.map_or_else(|| node.address.clone(), |hop| format!("{} (hop {hop})", node.address))
}

fn connections(stats: &ForwardStats, of: &Node) -> u64 {
    let same = stats.nodes.iter().filter(|node| node.hop == of.hop && node.address.to_string() == of.address);
    same.map(|node| node.connections).sum()
}

fn state(node: &Node) -> &'static str {
    match node.state {
        NodeState::Unknown => "Unknown",
        NodeState::Alive => "Alive",
        NodeState::Dead => "Dead",
        NodeState::Degraded => "Degraded",
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Cells to lines, each column as wide as its widest cell, three spaces between them.
pub(crate) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// At most `room` lines; the last one tells how many are missing.
fn shortened(mut lines: Vec<String>, room: usize) -> Vec<String> {
    let all = lines.len();
    if all > room && room > 0 {
        lines.truncate(room - 1);
        lines.push(format!("… and {} more", all - lines.len()));
    }
    lines
}

/// What fits in the width, without anything that moves the cursor.
fn clipped(line: &str, columns: usize) -> String {
    let plain: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if plain.len() <= columns {
        return plain.into_iter().collect();
    }
    plain.into_iter().take(columns.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn object(name: &str, nodes: &[(&str, &str)]) -> PortForward {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(address, state)| serde_json::json!({"address": address, "role": "Target", "state": state, "fails": 0}))
            .collect();
        serde_json::from_value(serde_json::json!({
            "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward",
            "metadata": {"name": name, "creationTimestamp": "2026-11-23T10:00:00Z"},
            "spec": {"url": "tcp://:1/a:1"},
            "status": {
                "effective": {"scheme": "tcp", "listen": ":5432"}, "nodeSummary": "1/2", "nodes": nodes,
                "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-11-23T10:00:00Z"}],
            },
        }))
        .unwrap()
    }

    fn drawn(objects: &[PortForward], events: &[&str], size: Size) -> Vec<String> {
        let time = "2026-11-23T10:00:40Z".parse().unwrap();
        let events = events.iter().map(|event| Event { time, line: (*event).to_owned() }).collect();
        let content = Content { objects: objects.iter().collect(), stats: &[], events, hint: "Ctrl-C ends" };
        draw(&content, size, "2026-11-23T10:00:42Z".parse().unwrap())
    }

    #[test]
    fn forwards_nodes_and_events_stand_below_each_other() {
        let db = object("orders-db", &[("db1:5432", "Dead"), ("db2:5432", "Alive")]);
        let lines = drawn(&[db], &["WARN node is dead"], Size { columns: 100, rows: 24 });
        let want = [
            "NAME        SCHEME   LISTEN   NODES   READY   OPEN   CLIENTS   AGE",
            "orders-db   tcp      :5432    1/2     True    -      -         42s",
            "",
            "FORWARD     NODE       STATE   CLIENTS   LAST ERROR",
            "orders-db   db1:5432   Dead    -",
            "orders-db   db2:5432   Alive   -",
            "",
            "SINCE   EVENT",
            "2s      WARN node is dead",
            "",
            "Ctrl-C ends",
        ];
        assert_eq!(lines, want);
    }

    #[test]
    fn whatever_there_is_to_show_fits_the_screen() {
        let many: Vec<_> =
            (0..50).map(|n| object(&format!("forward-{n}"), &[("a.very.long.name.example:5432", "Alive")])).collect();
        let events = ["an event that is longer than the screen is wide\n\x1b[2J"; 30];
        for rows in [1, 2, 5, 10, 24, 60, 500] {
            for columns in [1, 20, 80, 300] {
                let lines = drawn(&many, &events, Size { columns, rows });
                assert!(lines.len() < rows.max(1), "{} lines on {rows} rows", lines.len());
                assert!(lines.iter().all(|line| line.chars().count() <= columns && !line.contains(['\n', '\x1b'])));
            }
        }
        let lines = drawn(&many, &events, Size { columns: 80, rows: 24 });
        assert!(lines.iter().any(|line| line.starts_with("… and ") && line.ends_with(" more")), "{lines:#?}");
        assert_eq!(lines.last().unwrap(), "Ctrl-C ends");
    }
}
