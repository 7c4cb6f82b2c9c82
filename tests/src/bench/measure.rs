//! What is measured: the single figures, their units and how they are shown. A group of loads (`group`) yields several.

/// One figure, always in the unit of its heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    BulkRate,
    BulkCpu,
    ConnectRate,
    ConnectCpu,
    ConnectP50,
    ConnectP99,
    RequestRate,
    RequestCpu,
    RequestP99,
    IdleMemory,
    IdleDescriptors,
    IdleCpu,
    /// Datagrams answered by the target.
    RoundTripRate,
    RoundTripCpu,
    /// The share of datagrams that were never answered.
    Lost,
    DeliveredRate,
    DeliveredCpu,
    DatagramMemory,
    Unaltered,
    KilledShare,
    KilledP99,
    SilentShare,
    SilentP99,
    HalfClose,
    StartTime,
    IdleResident,
    ProgramSize,
}

impl Measure {
    /// The column's heading, with the unit.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::BulkRate => "GB/s",
            Self::BulkCpu => "CPU s/GB",
            Self::ConnectRate => "connections/s",
            Self::ConnectCpu => "CPU µs/connection",
            Self::ConnectP50 => "p50 ms",
            Self::ConnectP99 | Self::RequestP99 => "p99 ms",
            Self::KilledP99 | Self::SilentP99 => "p99 ms (3000: no answer)",
            Self::RequestRate => "requests/s",
            Self::RequestCpu => "CPU µs/request",
            Self::IdleMemory => "KiB/connection",
            Self::IdleDescriptors => "fds/connection",
            Self::IdleCpu => "CPU ms per s",
            Self::RoundTripRate => "round trips/s",
            Self::RoundTripCpu => "CPU µs/round trip",
            Self::Lost => "lost, %",
            Self::DeliveredRate => "delivered/s",
            Self::DeliveredCpu => "CPU µs/delivered",
            Self::DatagramMemory => "MiB",
            Self::Unaltered => "0 to 65,507 B, every byte compared",
            Self::KilledShare => "answered",
            Self::SilentShare => "answered within 1 s",
            Self::HalfClose => "half-close, every byte compared",
            Self::StartTime => "start to listening, ms",
            Self::IdleResident => "RSS at rest, MiB",
            Self::ProgramSize => "program file, MB",
        }
    }

    /// A value as the tables show it.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::ConnectRate
            | Self::RequestRate
            | Self::RoundTripRate
            | Self::DeliveredRate
            | Self::KilledP99
            | Self::SilentP99 => format!("{value:.0}"),
            // A share is never rounded up: 1.000 means all.
            Self::KilledShare | Self::SilentShare => format!("{:.3}", (value * 1e3).floor() / 1e3),
            // Nor is a loss ever rounded down: 0.000 means none.
            Self::Lost => format!("{:.3}", (value * 1e3).ceil() / 1e3),
            Self::BulkCpu => format!("{value:.3}"),
            Self::HalfClose | Self::Unaltered if value >= 1.0 => "pass".to_owned(),
            Self::HalfClose | Self::Unaltered => "fail".to_owned(),
            Self::StartTime | Self::ConnectCpu | Self::IdleResident | Self::ProgramSize => {
                format!("{value:.1}")
            }
            Self::BulkRate
            | Self::ConnectP50
            | Self::ConnectP99
            | Self::RequestCpu
            | Self::RequestP99
            | Self::IdleMemory
            | Self::IdleDescriptors
            | Self::IdleCpu
            | Self::RoundTripCpu
            | Self::DeliveredCpu
            | Self::DatagramMemory => format!("{value:.2}"),
        }
    }

    /// Whether a quotient of two values means anything.
    pub(crate) fn has_ratio(self) -> bool {
        !matches!(
            self,
            Self::IdleDescriptors
                | Self::IdleCpu
                | Self::Lost
                | Self::Unaltered
                | Self::KilledShare
                | Self::KilledP99
                | Self::SilentShare
                | Self::SilentP99
                | Self::HalfClose
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_the_precision_that_means_something() {
        let cases = [
            (Measure::BulkRate, 2.1349, "2.13"),
            (Measure::BulkCpu, 0.3184, "0.318"),
            (Measure::ConnectRate, 19_812.4, "19812"),
            (Measure::KilledShare, 0.9996, "0.999"),
            (Measure::KilledShare, 1.0, "1.000"),
            (Measure::Lost, 0.000_01, "0.001"),
            (Measure::Lost, 0.0, "0.000"),
            (Measure::HalfClose, 1.0, "pass"),
            (Measure::Unaltered, 0.0, "fail"),
        ];
        for (measure, value, expected) in cases {
            assert_eq!(measure.show(value), expected, "{measure:?}");
        }
    }
}
