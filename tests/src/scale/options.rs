//! The command line of `fairlead-scale`, which `tests/scale` passes on.

use std::time::Duration;

use clap::Parser;

/// Measures the operator: real, as its own ServiceAccount, on a real API server, with simulated proxies that speak the
/// real protocol. The whole takes about a quarter of an hour; smaller numbers take less.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tests/scale",
    after_help = "Examples:\n  tests/scale\n  tests/scale --forwards 200 --proxies 20 --seconds 20 --rest 10"
)]
pub struct Options {
    /// PortForwards in all
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub forwards: u32,
    /// Gateways that share them, each with one simulated proxy
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub proxies: u32,
    /// For how many seconds nodes die and come back
    #[arg(long, value_name = "N", default_value_t = 180)]
    pub seconds: u64,
    /// After how many seconds each proxy has one more node to tell of
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,
    /// For how many seconds nothing happens and nothing may be written
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub rest: u64,
}

impl Options {
    /// How long nodes change.
    pub(super) fn changing(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The time between two changes of one proxy.
    pub(super) fn period(&self) -> Duration {
        Duration::from_secs(self.every)
    }

    /// How long nothing happens.
    pub(super) fn resting(&self) -> Duration {
        Duration::from_secs(self.rest)
    }

    /// Within what time the whole must be ready: a status a twentieth of a second, at worst three for each object.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(120) + Duration::from_millis(250) * self.forwards
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_whole_is_what_is_measured_unless_said_otherwise() {
        let read = |line: &str| Options::try_parse_from(line.split(' '));
        let whole = read("scale").unwrap();
        assert_eq!((whole.forwards, whole.proxies, whole.every), (5000, 500, 30));
        let small = read("scale --forwards 200 --proxies 20 --seconds 20").unwrap();
        assert_eq!((small.forwards, small.proxies, small.changing()), (200, 20, Duration::from_secs(20)));
        assert!(read("scale --proxies 0").is_err());
    }
}
