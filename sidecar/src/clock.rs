//! The time of day, for statuses, log lines and ages: whole milliseconds since 1970, in UTC.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use k8s_openapi::jiff::Timestamp;
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

/// What time it is.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis())
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or_default()
}

/// A revision for a configuration made now: the time in milliseconds.
pub(crate) fn revision() -> u64 {
    u64::try_from(now().as_millisecond()).unwrap_or_default()
}

/// How long ago `then` was, as `kubectl` says it: `42s`, `5m12s`, `3h7m`, `2d4h`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_second() - then.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0..2) => format!("{seconds}s"),
        (0, 0, 0..10) => two(minutes, "m", seconds % 60, "s"),
        (0, 0..3, _) => format!("{minutes}m"),
        (0, 0..10, _) => two(hours, "h", minutes % 60, "m"),
        (0..2, _, _) => format!("{hours}h"),
        (0..8, _, _) => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

/// Stamps log lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp;

impl FormatTime for Stamp {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:.3}", now())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectls() {
        for (seconds, want) in [
            (-5, "0s"),
            (42, "42s"),
            (119, "119s"),
            (312, "5m12s"),
            (600, "10m"),
            (7200, "120m"),
            (11_220, "3h7m"),
            (43_200, "12h"),
            (187_200, "2d4h"),
            (864_000, "10d"),
        ] {
            let then = Timestamp::from_second(1_000_000).unwrap();
            assert_eq!(age(then, Timestamp::from_second(1_000_000 + seconds).unwrap()), want);
        }
    }

    #[test]
    fn a_log_stamp_is_a_time_in_utc_with_milliseconds() {
        let mut text = String::new();
        Stamp.format_time(&mut Writer::new(&mut text)).unwrap();
        assert!(text.ends_with('Z') && text.len() == "2026-11-23T10:11:12.123Z".len(), "{text}");
    }
}
