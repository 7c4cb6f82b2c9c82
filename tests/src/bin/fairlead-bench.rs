//! Runs the benchmark; `tests/bench` prepares the machine and calls it.
use clap::Parser;
use fairlead_tests::bench::{self, Options};

fn main() -> anyhow::Result<()> {
    bench::run(&Options::parse())
}
