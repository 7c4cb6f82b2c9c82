//! What a server may do with a session of ours: show its key, carry the channels we asked for, and hand over peers of
//! the ports that it holds for us. Every other channel that a server would open by itself is refused.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use fairlead_config::HostPort;
use russh::{
    Channel, ChannelId, ChannelOpenFailure,
    client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session},
    keys::PublicKeyOrCertificate,
};
use tokio::runtime::Handle;

use super::{caller::Caller, channel::ChannelStream, listening::Ports, papers::Papers, traffic::Traffic};
use crate::{dial::DialCause, group::Chosen};

/// Hears what the server says.
pub(super) struct Watch {
    pub(super) node: Arc<HostPort>,
    pub(super) papers: Arc<Papers>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) users: Arc<Users>,
    pub(super) ports: Arc<Ports>,
}

/// Who is told when the server falls silent: the node, in every group that it serves.
#[derive(Debug, Default)]
pub(super) struct Users(Mutex<Vec<(Chosen, u32)>>);

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    HostKey(String),
    #[error(transparent)]
    Ssh(#[from] russh::Error),
}

impl Users {
    /// Adds a node as it was chosen in a hop, once for each group.
    pub(super) fn add(&self, chosen: Chosen, hop: u32) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !users.iter().any(|(user, _)| user.is_of_the_group_of(&chosen)) {
            users.push((chosen, hop));
        }
    }

    fn tell(&self, cause: &DialCause) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (chosen, hop) in users.drain(..) {
            chosen.failed(hop, cause.clone());
        }
    }
}

impl Failure {
    /// The same for whoever dialled.
    pub(super) fn cause(self) -> DialCause {
        match self {
            Self::HostKey(line) => DialCause::HostKey(line),
            Self::Ssh(russh::Error::IO(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => ended(),
            Self::Ssh(russh::Error::Disconnect | russh::Error::HUP) => ended(),
            Self::Ssh(russh::Error::Version) => {
                DialCause::Handshake("ssh: the server speaks another protocol".to_owned())
            }
            Self::Ssh(error @ russh::Error::NoCommonAlgo { .. }) => DialCause::Handshake(format!("ssh: {error}")),
            Self::Ssh(error) => DialCause::Handshake(format!("ssh: {error}")),
        }
    }
}

impl Handler for Watch {
    type Error = Failure;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let verdict = self.papers.trust.judge(&self.node.host, self.node.port, shown, now);
        verdict.refusal().map_or(Ok(true), |line| Err(Failure::HostKey(line)))
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut Session,
    ) -> Result<(), Failure> {
        self.traffic.note_heard();
        self.traffic.flow(id);
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _id: ChannelId,
        _reason: ChannelOpenFailure,
        _description: &str,
        _language: &str,
        _session: &mut Session,
    ) -> Result<(), Failure> {
        self.traffic.note_heard();
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), Failure> {
        self.traffic.received(id, data.len()).await;
        Ok(())
    }

    async fn extended_data(
        &mut self,
        id: ChannelId,
        _kind: u32,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Failure> {
        self.traffic.received(id, data.len()).await;
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failure>) -> Result<(), Failure> {
        self.ports.close();
        match reason {
            DisconnectReason::Error(Failure::Ssh(russh::Error::KeepaliveTimeout)) => {
                self.users.tell(&DialCause::Other("ssh: the server no longer answers".to_owned()));
            }
            DisconnectReason::Error(error) => {
                tracing::debug!(node = %self.node, %error, "ssh session ended");
            }
            DisconnectReason::ReceivedDisconnect(said) => {
                tracing::debug!(node = %self.node, said = said.message, "ssh session ended by the server");
            }
        }
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _address: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        answer: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Failure> {
        match self.ports.room(port) {
            Ok(room) => {
                let (granter, traffic) = (session.window_granter(), Arc::clone(&self.traffic));
                let stream = ChannelStream::new(channel, granter, traffic, Handle::current());
                room.send(Caller::new(stream, answer));
            }
            Err(why) => answer.reject(why).await,
        }
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator: &str,
        _originator_port: u32,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Failure> {
        Ok(())
    }
}

fn ended() -> DialCause {
    DialCause::Handshake("ssh: the server closed the connection in the handshake".to_owned())
}
