//! Measures the operator at scale; `tests/scale` builds it and calls this.
use clap::Parser;
use fairlead_tests::scale::{self, Options};

fn main() -> anyhow::Result<()> {
    scale::print(&Options::parse())
}
