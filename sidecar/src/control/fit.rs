//! Writes a report as one line that the operator takes: at most 1 MiB. What has to go goes in this order: words,
//! then nodes, the dead ones last. Which forwards run is always said. Pure.

use fairlead_config::{NodeState, Report, admin::REPORT_LINE_LIMIT};

/// Characters of a message that are kept where space is short.
const SHORT: usize = 120;
/// How many nodes of each forward are tried, one after the other, until the line fits.
const NODES: [usize; 7] = [64, 32, 16, 8, 4, 1, 0];

/// The report as JSON with its line end.
pub(super) fn line(report: Report) -> serde_json::Result<Vec<u8>> {
    within(report, REPORT_LINE_LIMIT)
}

fn within(mut report: Report, limit: usize) -> serde_json::Result<Vec<u8>> {
    let mut line = encode(&report)?;
    if line.len() > limit {
        shorten(&mut report);
        line = encode(&report)?;
    }
    for most in NODES {
        if line.len() <= limit {
            break;
        }
        leave_out(&mut report, most);
        line = encode(&report)?;
    }
    Ok(line)
}

fn encode(report: &Report) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    Ok(line)
}

fn shorten(report: &mut Report) {
    for forward in &mut report.forwards {
        let errors = forward.nodes.iter_mut().map(|node| &mut node.last_error);
        for text in errors.chain([&mut forward.message]).flatten() {
            if let Some((end, _)) = text.char_indices().nth(SHORT) {
                text.truncate(end);
                text.push('…');
            }
        }
    }
}

/// Keeps so many nodes of each forward, the dead ones first, and says so where nothing else has to be said.
fn leave_out(report: &mut Report, most: usize) {
    for forward in &mut report.forwards {
        if forward.nodes.len() > most {
            forward.nodes.sort_by_key(|node| node.state != NodeState::Dead);
            forward.nodes.truncate(most);
            forward.message.get_or_insert_with(|| "the report is too large: nodes were left out of it".to_owned());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fairlead_config::{ForwardKey, ForwardReport, ForwardState, NodeReport, NodeRole};

    use super::*;

    fn report(forwards: usize, nodes: usize, error: &str) -> Report {
        let node = |index| NodeReport {
            address: format!("node-{index}.example:5432"),
            role: NodeRole::Target,
            hop: None,
            state: if index % 4 == 3 { NodeState::Dead } else { NodeState::Alive },
            fails: 0,
            last_error: Some(error.to_owned()),
            since: 1,
        };
        let forward = |index| ForwardReport {
            key: ForwardKey::local("shop", format!("db-{index}")),
            digest: format!("digest-{index}"),
            state: ForwardState::Listening,
            listening: None,
            bound: None,
            reason: None,
            message: None,
            nodes: (0..nodes).map(node).collect(),
        };
        Report { version: 1, revision: 9, forwards: (0..forwards).map(forward).collect() }
    }

    #[test]
    fn a_report_that_fits_is_written_as_it_is() {
        let report = report(3, 3, "refused");
        let line = line(report.clone()).unwrap();
        assert_eq!(line.last(), Some(&b'\n'));
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(serde_json::from_slice::<Report>(&line).unwrap(), report);
    }

    #[test]
    fn the_largest_configuration_gives_a_line_within_the_limit_that_names_every_forward() {
        let line = line(report(500, 64, &"refused ".repeat(100))).unwrap();
        assert!(line.len() <= REPORT_LINE_LIMIT, "{}", line.len());
        let read: Report = serde_json::from_slice(&line).unwrap();
        assert_eq!(read.forwards.len(), 500);
        assert!(read.forwards.iter().enumerate().all(|(index, forward)| forward.digest == format!("digest-{index}")));
    }

    #[test]
    fn words_go_first_then_living_nodes_and_the_dead_stay_longest() {
        let whole = encode(&report(1, 40, &"é".repeat(1000))).unwrap().len();
        let read = |limit| {
            serde_json::from_slice::<Report>(&within(report(1, 40, &"é".repeat(1000)), limit).unwrap()).unwrap()
        };
        let words = &read(whole - 1).forwards[0];
        assert_eq!((words.nodes.len(), words.message.as_deref()), (40, None));
        assert_eq!(words.nodes[0].last_error.as_ref().unwrap().chars().count(), SHORT + 1);
        let few = &read(4_000).forwards[0];
        assert!(few.nodes.len() <= 8 && few.nodes.iter().all(|node| node.state == NodeState::Dead), "{few:?}");
        assert!(few.message.as_ref().unwrap().contains("left out"));
    }
}
