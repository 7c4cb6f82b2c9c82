//! The operator with a few hundred PortForwards: the whole measurement in small, and what must be true at any size.

use clap::Parser;
use fairlead_tests::scale::{self, Options};

#[test]
fn the_measurement_ends_and_finds_every_change_and_no_idle_write() {
    let options = Options::parse_from([
        "scale",
        "--forwards",
        "60",
        "--proxies",
        "12",
        // A change has this long to be told before the next one.
        "--every",
        "10",
        "--seconds",
        "20",
        "--rest",
        "3",
    ]);
    let Some(outcome) = scale::run(&options).expect("a measurement") else { return };
    let text = outcome.print(&options);
    assert_eq!(outcome.turns, 24, "{text}");
    assert_eq!((outcome.missed, outcome.latencies.len()), (0, outcome.turns), "{text}");
    assert_eq!(outcome.rest.all_writes(), 0, "{text}");
    assert_eq!(outcome.restart.all_writes(), 0, "{text}");
    assert!(outcome.changing.all_writes() >= outcome.turns, "{text}");
    assert!(outcome.changing.all_writes() <= outcome.turns * 2, "{text}");
    assert_eq!(outcome.forbidden, Vec::<String>::new());
}
