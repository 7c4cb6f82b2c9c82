//! The command line of `fairlead-bench`, which `tests/bench` passes on.
use std::path::PathBuf;

use clap::Parser;

use super::group::{Effort, Group};

/// Measures fairlead beside haproxy, nginx, socat, microsocks, OpenSSH and (with GOST_BIN set) GOST, and holds it against its targets.
/// All rows take about half an hour, with --quick under five minutes.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tests/bench",
    after_help = "Examples:\n  tests/bench --quick\n  tests/bench --rows 1,2,3 --rounds 9\n  GOST_BIN=/usr/local/bin/gost tests/bench --markdown >BENCHMARKS.md"
)]
pub struct Options {
    /// Short windows and few rounds: under five minutes in all
    #[arg(long)]
    quick: bool,
    /// Rows to measure, of 1 to 12, 14 and 17 to 20; all of them by default
    #[arg(long, value_delimiter = ',', value_name = "ROWS", value_parser = parse_row)]
    rows: Vec<u8>,
    /// Rounds of rows 1 to 5; the others take as many or fewer [default: 5, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,
    /// The program to measure instead of building target/release/fairlead
    #[arg(long, value_name = "PATH")]
    pub(crate) fairlead: Option<PathBuf>,
    /// Print Markdown
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Only prove, without any forwarder, that each load runs (under 3 s)
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Set by tests/bench inside a network namespace of its own
    #[arg(long, hide = true)]
    pub(crate) isolated: bool,
}

impl Options {
    /// The rows to report on.
    pub(crate) fn rows(&self) -> Vec<u8> {
        if self.rows.is_empty() { known_rows().collect() } else { self.rows.clone() }
    }

    /// The groups that yield those rows.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let rows = self.rows();
        let wanted = |group: &Group| group.rows().iter().any(|row| rows.contains(row));
        Group::ALL.into_iter().filter(wanted).collect()
    }

    /// How much to measure.
    pub(crate) fn effort(&self) -> Effort {
        let effort = if self.quick { Effort::quick() } else { Effort::full() };
        Effort { rounds: self.rounds.map_or(effort.rounds, usize::from), ..effort }
    }
}

fn known_rows() -> impl Iterator<Item = u8> {
    Group::ALL.into_iter().flat_map(|group| group.rows().iter().copied())
}

fn parse_row(text: &str) -> Result<u8, String> {
    let row = text.trim().parse().ok();
    row.filter(|row| known_rows().any(|known| known == *row)).ok_or_else(|| {
        let known: Vec<String> = known_rows().map(|row| row.to_string()).collect();
        format!("not a row that is measured here: write some of {}", known.join(","))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        let words = std::iter::once("bench").chain(line.split_ascii_whitespace());
        Options::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_choose_groups_and_rounds_override_the_effort() {
        let chosen = options("--quick --rows 2,1,5 --rounds 2").unwrap();
        assert_eq!(chosen.groups(), [Group::Bulk64, Group::Request]);
        let effort = chosen.effort();
        assert_eq!((effort.rounds, effort.idle_connections), (2, 4000));
        assert_eq!(options("").unwrap().groups(), Group::ALL);
    }

    #[test]
    fn an_unknown_row_is_refused_with_the_known_ones() {
        let error = options("--rows 1,13").unwrap_err();
        assert!(error.contains("write some of 1,2,3"), "{error}");
        assert!(options("--rounds 0").is_err());
    }
}
