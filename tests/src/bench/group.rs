//! The groups of figures that one load yields together: whom they compare, and how often and how long they run.
use std::time::Duration;

use super::measure::Measure;
use super::peer::Peer;

/// What one load yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Bulk64,
    Bulk1,
    Connect,
    Request,
    Idle,
    UdpClient,
    UdpClients,
    UdpFlood,
    UdpMemory,
    Killed,
    Silent,
    SshBulk1,
    SshBulk16,
    SshConnect,
    HalfClose,
    Start,
    HopBulk,
    FastHopBulk,
    HopConnect,
    ServerBulk,
    ServerConnect,
}

impl Group {
    pub(crate) const ALL: [Self; 21] = [
        Self::Bulk64,
        Self::Bulk1,
        Self::Connect,
        Self::Request,
        Self::Idle,
        Self::UdpClient,
        Self::UdpClients,
        Self::UdpFlood,
        Self::UdpMemory,
        Self::Killed,
        Self::Silent,
        Self::SshBulk1,
        Self::SshBulk16,
        Self::SshConnect,
        Self::HalfClose,
        Self::Start,
        Self::HopBulk,
        Self::FastHopBulk,
        Self::HopConnect,
        Self::ServerBulk,
        Self::ServerConnect,
    ];

    /// The rows of the table of targets that it serves.
    pub(crate) fn rows(self) -> &'static [u8] {
        match self {
            Self::Bulk64 => &[1, 2],
            Self::Bulk1 => &[3],
            Self::Connect => &[4],
            Self::Request => &[5],
            Self::Idle => &[6],
            Self::UdpClient => &[7],
            Self::UdpClients => &[8],
            Self::UdpFlood => &[9],
            Self::UdpMemory => &[10],
            Self::Killed => &[11],
            Self::Silent => &[12],
            Self::SshBulk1 | Self::SshBulk16 | Self::SshConnect => &[14],
            Self::HalfClose => &[17],
            Self::Start => &[18],
            Self::HopBulk | Self::FastHopBulk | Self::HopConnect => &[19],
            Self::ServerBulk | Self::ServerConnect => &[20],
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Bulk64 => "bulk from target to client, 64 connections",
            Self::Bulk1 => "bulk from target to client, 1 connection",
            Self::Connect => "new connections, one byte echoed on each, 32 under way",
            Self::Request => "requests and responses of 64 bytes, 100 connections",
            Self::Idle => "idle connections",
            Self::UdpClient => "datagrams of 64 bytes and their echoes, 1 client with 64 under way",
            Self::UdpClients => "datagrams of 64 bytes and their echoes, 1,000 clients with 1 under way each",
            Self::UdpFlood => "datagrams of 64 bytes from 1 client, as fast as it can, no answers",
            Self::UdpMemory => "memory that 1,000 UDP clients take once they have been busy, and datagrams of any size",
            Self::Killed => "three targets, one killed (refuses) under 200 new connections/s; begun afterwards",
            Self::Silent => {
                "three targets, one leaves SYNs unanswered for 8 s under 200 new connections/s; begun meanwhile"
            }
            Self::SshBulk1 => "through sshd: bulk from target to client, 1 connection",
            Self::SshBulk16 => "through sshd: bulk from target to client, 16 connections",
            Self::SshConnect => "through sshd: new connections, one byte echoed on each, 32 under way",
            Self::HalfClose => "100 MB each way around a half-close, client first and target first",
            Self::Start => "one forward, nothing to do",
            Self::HopBulk => "through one socks5 hop (microsocks): bulk from target to client, 64 connections",
            Self::FastHopBulk => {
                "through one fast socks5 hop (fairlead, without TLS): bulk from target to client, 64 connections"
            }
            Self::HopConnect => {
                "through one socks5 hop (microsocks): new connections, one byte echoed on each, 32 under way"
            }
            Self::ServerBulk => "socks5 servers: bulk from target to client, 64 connections",
            Self::ServerConnect => "socks5 servers: new connections, one byte echoed on each, 32 under way",
        }
    }

    /// The title in a few words, for the table of targets.
    pub(crate) fn short_title(self) -> &'static str {
        match self {
            Self::Bulk64 => "bulk, 64 connections",
            Self::Bulk1 => "bulk, 1 connection",
            Self::Connect => "new connections",
            Self::Request => "64 B requests",
            Self::Idle => "idle connections",
            Self::UdpClient => "UDP, 1 client",
            Self::UdpClients => "UDP, 1,000 clients",
            Self::UdpFlood => "UDP flood",
            Self::UdpMemory => "UDP, memory and sizes",
            Self::Killed => "a target killed",
            Self::Silent => "a target blackholed",
            Self::SshBulk1 => "ssh, bulk, 1 connection",
            Self::SshBulk16 => "ssh, bulk, 16 connections",
            Self::SshConnect => "ssh, new connections",
            Self::HalfClose => "half-close",
            Self::Start => "whole program",
            Self::HopBulk => "socks5 hop, bulk",
            Self::FastHopBulk => "fast socks5 hop, bulk",
            Self::HopConnect => "socks5 hop, new connections",
            Self::ServerBulk => "socks5 server, bulk",
            Self::ServerConnect => "socks5 server, new connections",
        }
    }

    pub(crate) fn measures(self) -> &'static [Measure] {
        match self {
            Self::Bulk64
            | Self::Bulk1
            | Self::SshBulk1
            | Self::SshBulk16
            | Self::HopBulk
            | Self::FastHopBulk
            | Self::ServerBulk => &[Measure::BulkRate, Measure::BulkCpu],
            Self::Connect | Self::SshConnect | Self::HopConnect | Self::ServerConnect => {
                &[Measure::ConnectRate, Measure::ConnectCpu, Measure::ConnectP50, Measure::ConnectP99]
            }
            Self::Request => &[Measure::RequestRate, Measure::RequestCpu, Measure::RequestP99],
            Self::Idle => &[Measure::IdleMemory, Measure::IdleDescriptors, Measure::IdleCpu],
            Self::UdpClient | Self::UdpClients => &[Measure::RoundTripRate, Measure::RoundTripCpu, Measure::Lost],
            Self::UdpFlood => &[Measure::DeliveredRate, Measure::DeliveredCpu],
            Self::UdpMemory => &[Measure::DatagramMemory, Measure::Unaltered],
            Self::Killed => &[Measure::KilledShare, Measure::KilledP99],
            Self::Silent => &[Measure::SilentShare, Measure::SilentP99],
            Self::HalfClose => &[Measure::HalfClose],
            Self::Start => &[Measure::StartTime, Measure::IdleResident, Measure::ProgramSize],
        }
    }

    /// What is compared, and in the tables' order.
    pub(crate) fn peers(self) -> &'static [Peer] {
        use Peer::{Direct, Fairlead, Gost, Haproxy, HaproxyPipes, HaproxySplice, Microsocks, Nginx, OpenSsh, Socat};
        match self {
            Self::Bulk64 | Self::Bulk1 => &[Fairlead, HaproxySplice, HaproxyPipes, Haproxy, Nginx, Socat, Gost, Direct],
            Self::Connect | Self::Request => &[Fairlead, Haproxy, Nginx, Socat, Gost, Direct],
            Self::Idle | Self::Start => &[Fairlead, Haproxy, Nginx, Socat, Gost],
            Self::UdpClient | Self::UdpClients | Self::UdpFlood => &[Fairlead, Nginx, Socat, Gost, Direct],
            Self::UdpMemory => &[Fairlead, Nginx, Socat, Gost],
            Self::Killed | Self::Silent => &[Fairlead, Haproxy, Nginx, Gost],
            Self::HalfClose => &[Fairlead, HaproxySplice, HaproxyPipes, Haproxy, Nginx, Socat, Gost, Direct],
            Self::SshBulk1 | Self::SshBulk16 | Self::SshConnect => &[Fairlead, OpenSsh, Gost],
            Self::HopBulk | Self::FastHopBulk | Self::HopConnect => &[Fairlead, Gost, Direct],
            Self::ServerBulk | Self::ServerConnect => &[Fairlead, Microsocks, Gost, Direct],
        }
    }

    /// What the ratios of its table are to; none where it shows none.
    pub(crate) fn reference(self) -> Option<Peer> {
        match self {
            Self::Bulk64 | Self::Bulk1 => Some(Peer::HaproxySplice),
            Self::Connect | Self::Idle => Some(Peer::Haproxy),
            Self::Request | Self::UdpClient | Self::UdpClients | Self::UdpFlood | Self::UdpMemory => Some(Peer::Nginx),
            Self::SshBulk1 | Self::SshBulk16 | Self::SshConnect => Some(Peer::OpenSsh),
            Self::HopBulk | Self::FastHopBulk | Self::HopConnect => Some(Peer::Gost),
            Self::ServerBulk | Self::ServerConnect => Some(Peer::Microsocks),
            Self::Killed | Self::Silent | Self::HalfClose | Self::Start => None,
        }
    }
}

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Rounds of the groups whose figures are noisy and wanted most, rows 1 to 5.
    pub(crate) rounds: usize,
    /// Rounds of what is datagrams or goes through SSH and SOCKS5, rows 7 to 9, 14, 19 and 20, at most.
    pub(crate) few_rounds: usize,
    /// Rounds of rows 6, 11 and 12, at most.
    pub(crate) slow_rounds: usize,
    /// The window of bulk, connections, requests and datagrams, and the load before it.
    pub(crate) measure: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) idle_connections: usize,
}

impl Effort {
    pub(crate) fn quick() -> Self {
        Self {
            rounds: 3,
            few_rounds: 2,
            slow_rounds: 1,
            measure: Duration::from_millis(500),
            warm_up: Duration::from_millis(200),
            idle_connections: 4000,
        }
    }

    pub(crate) fn full() -> Self {
        Self {
            rounds: 5,
            few_rounds: 5,
            slow_rounds: 3,
            measure: Duration::from_secs(4),
            warm_up: Duration::from_millis(300),
            idle_connections: 7500,
        }
    }

    /// How often a group is measured.
    pub(crate) fn rounds(&self, group: Group) -> usize {
        match group {
            Group::Bulk64 | Group::Bulk1 | Group::Connect | Group::Request => self.rounds,
            Group::UdpClient
            | Group::UdpClients
            | Group::UdpFlood
            | Group::SshBulk1
            | Group::SshBulk16
            | Group::SshConnect
            | Group::HopBulk
            | Group::FastHopBulk
            | Group::HopConnect
            | Group::ServerBulk
            | Group::ServerConnect => self.few_rounds.min(self.rounds),
            Group::Idle | Group::Killed | Group::Silent => self.slow_rounds.min(self.rounds),
            Group::UdpMemory | Group::HalfClose | Group::Start => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_measures_ours_and_its_reference() {
        for group in Group::ALL {
            assert_eq!(group.peers().first(), Some(&Peer::Fairlead), "{group:?}");
            let reference = group.reference();
            assert!(reference.is_none_or(|peer| group.peers().contains(&peer)));
        }
    }
}
