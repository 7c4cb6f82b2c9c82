//! The benchmark: our forwarder beside others, in alternation, in one run, held against the targets we set ourselves.
//! A `Toolbox` starts forwarders, `load` works on them, `rows` reads figures off, `goal` judges them, `report` prints them.
//! CPU per unit of work is the figure to trust: throughput and tails belong to whatever shares the cores.
#![allow(clippy::disallowed_methods, reason = "a load runs for a span of time, and figures settle in another")]

mod forwarder;
mod goal;
mod group;
pub(crate) mod host;
pub(crate) mod load;
mod measure;
mod meter;
mod options;
mod peer;
mod poller;
mod report;
mod rows;
mod running;
mod samples;
mod smoke;
pub(crate) mod socket;
pub(crate) mod stats;
pub(crate) mod table;
mod target;
pub(crate) mod tree;

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit};

pub use options::Options;

use forwarder::Toolbox;
use group::{Effort, Group};
use peer::Peer;
use rows::Outcome;
use samples::Samples;
use table::Style;

/// Runs what the options ask for and prints the tables on stdout, progress on stderr.
pub fn run(options: &Options) -> Result<()> {
    let descriptors = raise_descriptor_limit()?;
    if options.smoke {
        for line in smoke::run()? {
            writeln!(stdout(), "{line}")?;
        }
        return Ok(());
    }
    let gost = std::env::var_os("GOST_BIN").map(PathBuf::from);
    let toolbox = Toolbox::new(options.fairlead.as_deref(), gost.as_deref())?;
    let mut effort = options.effort();
    // Each idle connection takes two descriptors of this process: client and target are both here.
    effort.idle_connections = effort.idle_connections.min(descriptors.saturating_sub(200) / 2);
    let begin = Instant::now();
    let facts = host::facts(&toolbox, options.isolated);
    let groups = options.groups();
    let mut run = Run::new(&toolbox, &effort)?;
    run.measure(&groups);
    let style = if options.markdown { Style::Markdown } else { Style::Plain };
    let text = report::report(&run.samples, &groups, &options.rows(), &facts, style);
    writeln!(stdout(), "{text}")?;
    progress(&format!("measured in {} s", begin.elapsed().as_secs()));
    Ok(())
}

/// A run under way.
struct Run<'a> {
    toolbox: &'a Toolbox,
    effort: &'a Effort,
    /// Where the random order of each round comes from.
    seed: u64,
    samples: Samples,
}

impl<'a> Run<'a> {
    fn new(toolbox: &'a Toolbox, effort: &'a Effort) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            toolbox,
            effort,
            seed: now.context("the clock stands before 1970")?.as_nanos() as u64,
            samples: Samples::default(),
        })
    }

    /// Goes through all groups in every round, so that slow minutes of the machine meet everybody.
    fn measure(&mut self, groups: &[Group]) {
        let rounds = groups.iter().map(|group| self.effort.rounds(*group)).max();
        for round in 0..rounds.unwrap_or(0) {
            for group in groups {
                if round < self.effort.rounds(*group) {
                    self.measure_group(*group, round);
                }
            }
        }
    }

    fn measure_group(&mut self, group: Group, round: usize) {
        let mut peers = group.peers().to_vec();
        let seed = self.seed.wrapping_add((round * 100) as u64 + group as u64);
        stats::shuffle(&mut peers, stats::scramble(seed));
        for peer in peers {
            let place = format!("round {}, {group:?}, {}", round + 1, peer.label());
            match self.measure_peer(group, peer) {
                Ok(outcome) => {
                    progress(&format!("{place}: {}", outcome.show()));
                    self.keep(group, round, peer, outcome);
                }
                Err(error) => {
                    progress(&format!("{place}: {error:#}"));
                    self.samples.explain(group, peer, format!("{error:#}"));
                }
            }
        }
    }

    fn measure_peer(&self, group: Group, peer: Peer) -> Result<Outcome> {
        if peer != Peer::Direct {
            self.toolbox.program(peer).map_err(anyhow::Error::msg)?;
        }
        rows::run(group, peer, self.toolbox, self.effort)
    }

    fn keep(&mut self, group: Group, round: usize, peer: Peer, outcome: Outcome) {
        for (measure, value) in outcome.values {
            self.samples.record(round, (group, peer), measure, value);
        }
        if let Some(remark) = outcome.remark {
            self.samples.explain(group, peer, remark);
        }
    }
}

/// Raises this process's limit as far as it may and answers it.
fn raise_descriptor_limit() -> Result<usize> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).context("raise the limit of descriptors")?;
    Ok(limit.maximum.unwrap_or(u64::MAX) as usize)
}

/// Tells the person who waits; a terminal that is gone is no reason to stop.
fn progress(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}
