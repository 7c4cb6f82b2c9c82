//! Turns a run's samples into the text that is printed: the goals with their verdicts, then every figure.
use super::goal::{GOALS, Goal, Verdict};
use super::group::Group;
use super::measure::Measure;
use super::peer::Peer;
use super::samples::Samples;
use super::table::{Style, Table};

const NOTHING: &str = "–";

/// The whole report on the groups that were measured.
pub(crate) fn report(
    samples: &Samples,
    groups: &[Group],
    rows: &[u8],
    facts: &[(String, String)],
    style: Style,
) -> String {
    let mut text = style.heading("The run");
    for (name, value) in facts {
        text += &format!("- {name}: {value}\n");
    }
    text += &style.heading("Targets");
    text += &goals_table(samples, rows, style).print(style);
    for group in groups {
        text += &style.heading(&group_heading(*group));
        text += &group_table(samples, *group).print(style);
        text += &reasons(samples, *group);
    }
    text
}

fn group_heading(group: Group) -> String {
    let rows: Vec<String> = group.rows().iter().map(ToString::to_string).collect();
    let noun = if rows.len() > 1 { "Rows" } else { "Row" };
    format!("{noun} {}: {}", rows.join(", "), group.title())
}

fn goals_table(samples: &Samples, rows: &[u8], style: Style) -> Table {
    let header = ["row", "what", "figure", "target", "ours", "ratio", "verdict"];
    let mut table = Table::new(header.map(str::to_owned).into());
    for goal in GOALS.iter().filter(|goal| rows.contains(&goal.row)) {
        table.row(goal_row(samples, goal, style));
    }
    table
}

fn goal_row(samples: &Samples, goal: &Goal, style: Style) -> Vec<String> {
    let judgement = goal.judge(samples);
    let ours = judgement.ours.map(|ours| goal.measure.show(ours));
    let ratio = judgement.ratio.map(|(ratio, peer)| format!("{ratio:.2}x {}", peer.label()));
    let verdict = match judgement.verdict {
        Verdict::Met => "met".to_owned(),
        Verdict::NotMet => style.strong("not met"),
        Verdict::NotMeasured(reason) => reason,
    };
    vec![
        goal.row.to_string(),
        goal.group.short_title().to_owned(),
        goal.measure.heading().to_owned(),
        goal.words(),
        ours.unwrap_or_else(|| NOTHING.to_owned()),
        ratio.unwrap_or_else(|| NOTHING.to_owned()),
        verdict,
    ]
}

fn group_table(samples: &Samples, group: Group) -> Table {
    let mut header = vec!["forwarder".to_owned()];
    for measure in group.measures() {
        header.push(measure.heading().to_owned());
        if ratio_reference(group, *measure).is_some() {
            header.push("ratio".to_owned());
        }
    }
    let mut table = Table::new(header);
    for peer in group.peers() {
        table.row(peer_row(samples, group, *peer));
    }
    table
}

fn ratio_reference(group: Group, measure: Measure) -> Option<Peer> {
    group.reference().filter(|_| measure.has_ratio())
}

fn peer_row(samples: &Samples, group: Group, peer: Peer) -> Vec<String> {
    let mut cells = vec![peer.label().to_owned()];
    for measure in group.measures() {
        let value = samples.median(group, peer, *measure);
        cells.push(value.map_or(NOTHING.to_owned(), |value| measure.show(value)));
        if let Some(reference) = ratio_reference(group, *measure) {
            let ratio = samples.ratio(group, (peer, reference), *measure);
            cells.push(ratio.map_or(NOTHING.to_owned(), |ratio| format!("{ratio:.2}x")));
        }
    }
    cells
}

fn reasons(samples: &Samples, group: Group) -> String {
    let lines: String = group
        .peers()
        .iter()
        .filter_map(|peer| Some((peer, samples.reason(group, *peer)?)))
        .map(|(peer, reason)| format!("- {}: {reason}\n", peer.label()))
        .collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_verdicts_figures_and_what_is_missing() {
        let mut samples = Samples::default();
        samples.record(0, (Group::Bulk64, Peer::Fairlead), Measure::BulkCpu, 0.15);
        samples.record(0, (Group::Bulk64, Peer::HaproxySplice), Measure::BulkCpu, 0.3);
        samples.explain(Group::Bulk64, Peer::Gost, "not measured: no GOST".to_owned());
        let facts = [("cores".to_owned(), "2".to_owned())];
        let text = report(&samples, &[Group::Bulk64], &[1, 2], &facts, Style::Markdown);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let text = words.join(" ");
        for expected in [
            "- cores: 2 ",
            "| ≤ 0.50x haproxy splice | 0.150 | 0.50x haproxy splice | met |",
            "| not measured: no GOST |",
            "## Rows 1, 2: bulk from target to client, 64 connections",
            "- GOST: not measured: no GOST",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
        assert!(!text.contains("| 3 |"), "{text}");
    }
}
