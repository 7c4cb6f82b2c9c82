//! Fuzzes the duration parser as an ordinary test, as `fuzz_url` does for URLs: what parses prints back equal.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bolero::check;
use fairlead_config::duration;

#[rustfmt::skip]
const PIECES: [&str; 32] = [
    "0", "1", "5", "9", "30", "500", "999999", "1000000", "18446744073709551615", "18446744073709551616", "00", ".",
    ".", "-", "+", "h", "h", "m", "m", "s", "s", "ms", "us", "ns", "µs", "μs", "d", " ", "e", "\u{0}", "é",
    "000000001",
];

fn run_time() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.5))
}

fn holds(text: &str) {
    for read in [duration::parse(text), duration::parse_or_seconds(text)] {
        match read {
            Ok(read) => {
                assert!(read <= duration::MAX, "{text:?}");
                assert_eq!(duration::parse(&duration::format(read)), Ok(read), "{text:?}");
            }
            Err(error) => assert!(error.to_string().contains("write"), "{text:?}"),
        }
    }
}

#[test]
fn bytes_are_a_duration_or_refused() {
    check!(name = "duration_bytes")
        .with_test_time(run_time())
        .for_each(|bytes: &[u8]| holds(&String::from_utf8_lossy(bytes)));
}

#[test]
fn pieces_are_a_duration_or_refused() {
    check!(name = "duration_pieces").with_test_time(run_time()).with_max_len(24).for_each(|bytes: &[u8]| {
        let text: String = bytes.iter().map(|byte| PIECES[usize::from(*byte) % PIECES.len()]).collect();
        holds(&text);
    });
}
