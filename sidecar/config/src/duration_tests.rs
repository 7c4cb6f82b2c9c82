//! Tables and properties of `duration`: what is read, what is refused with which words, what is written.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{MAX, format, parse, parse_or_seconds};

#[test]
fn go_durations_are_read_as_go_reads_them() {
    for (text, nanos) in [
        ("0", 0),
        ("0s", 0),
        ("60s", 60_000_000_000),
        ("1m30s", 90_000_000_000),
        ("500ms", 500_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("2h", 7_200_000_000_000),
        ("1s1s", 2_000_000_000),
        ("7us", 7_000),
        ("7µs", 7_000),
        ("7μs", 7_000),
        ("9ns", 9),
        ("0.0000000000000000000000001s", 0),
        ("999999h", 3_599_996_400_000_000_000),
    ] {
        assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
    }
}

#[test]
fn what_is_no_duration_is_refused_with_what_to_write() {
    for (text, message) in [
        ("", "a duration is empty: write 30s, 500ms or 1m30s"),
        ("-5s", "duration \"-5s\" is negative: write 30s, 500ms or 1m30s"),
        ("30", "duration \"30\" has no unit: write 30s for seconds or 30ms for milliseconds"),
        ("3x", "duration \"3x\" has the unknown unit \"x\": write h, m, s or ms, as in 30s, 500ms or 1m30s"),
        ("1d", "duration \"1d\" has the unknown unit \"d\": write h, m, s or ms, as in 30s, 500ms or 1m30s"),
        ("1m30", "\"1m30\" is no duration: write 30s, 500ms or 1m30s"),
        ("soon", "\"soon\" is no duration: write 30s, 500ms or 1m30s"),
        (".s", "\".s\" is no duration: write 30s, 500ms or 1m30s"),
        ("1000000h", "duration \"1000000h\" is too long: write at most 999999h"),
        ("99999999999999999999s", "duration \"99999999999999999999s\" is too long: write at most 999999h"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn an_option_may_also_count_plain_seconds() {
    for (text, want) in [("60", 60), ("0", 0), ("007", 7), ("1m30s", 90)] {
        assert_eq!(parse_or_seconds(text), Ok(Duration::from_secs(want)), "{text}");
    }
    for text in ["-1", "", "1.5", "3599996401", "99999999999999999999999999"] {
        assert!(parse_or_seconds(text).is_err(), "{text}");
    }
}

#[test]
fn durations_are_written_in_the_words_people_use() {
    for (millis, want) in [
        (0, "0s"),
        (500, "500ms"),
        (1_500, "1s500ms"),
        (60_000, "60s"),
        (90_000, "90s"),
        (120_000, "120s"),
        (125_000, "2m5s"),
        (150_000, "2m30s"),
        (3_600_000, "1h"),
        (5_400_001, "1h30m1ms"),
    ] {
        assert_eq!(format(Duration::from_millis(millis)), want);
    }
    assert_eq!(format(Duration::from_nanos(1_500)), "1us500ns");
    assert_eq!(format(MAX), "999999h");
}

#[test]
fn durations_travel_through_serde_as_text() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Fields {
        #[serde(with = "super::plain")]
        required: Duration,
        #[serde(default, with = "super::option", skip_serializing_if = "Option::is_none")]
        optional: Option<Duration>,
    }
    for (text, fields) in [
        (r#"{"required":"90s"}"#, Fields { required: Duration::from_secs(90), optional: None }),
        (
            r#"{"required":"1h","optional":"5ms"}"#,
            Fields { required: Duration::from_secs(3600), optional: Some(Duration::from_millis(5)) },
        ),
    ] {
        assert_eq!(serde_json::from_str::<Fields>(text).unwrap(), fields);
        assert_eq!(serde_json::to_string(&fields).unwrap(), text);
    }
    assert!(serde_json::from_str::<Fields>(r#"{"required":"-1s"}"#).unwrap_err().to_string().contains("write 30s"));
}

/// Whether the CRD's pattern `^([0-9]{1,6}(h|m|s|ms)){1,4}$` holds, spelled out by hand.
fn fits_the_crd(text: &str) -> bool {
    let (mut rest, mut terms) = (text, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest = &rest[digits..];
        let Some(unit) = ["ms", "h", "m", "s"].into_iter().find(|unit| rest.starts_with(unit)) else { return false };
        rest = &rest[unit.len()..];
        terms += 1;
        if !(1..=6).contains(&digits) {
            return false;
        }
    }
    (1..=4).contains(&terms)
}

proptest! {
    #[test]
    fn every_duration_round_trips(nanos in 0..=3_599_996_400_000_000_000_u64) {
        let duration = Duration::from_nanos(nanos);
        prop_assert_eq!(parse(&format(duration)), Ok(duration));
    }

    #[test]
    fn whole_milliseconds_fit_the_crd_pattern(millis in prop_oneof![0..200_000_u64, 0..=3_599_996_400_000_u64]) {
        let text = format(Duration::from_millis(millis));
        prop_assert!(fits_the_crd(&text), "{}", text);
        prop_assert_eq!(parse(&text), Ok(Duration::from_millis(millis)));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[0-9.hmsunµ-]{0,40}|\\PC{0,40}") {
        if let Ok(duration) = parse_or_seconds(&text) {
            prop_assert!(duration <= MAX);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
