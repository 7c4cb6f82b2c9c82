//! One client of an SSH server, as `russh` hears it: who it is, what it asks for, and whether its login lets it. What
//! it may have is passed on as a `Wish`; a shell, a command or a file transfer is refused in words. Invariant: what is
//! asked for is judged by the plan and the logins of that moment, and not by those that the session began with.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use fairlead_config::{HostPort, url::Secret};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Pty, Sig,
    keys::{Algorithm, Certificate},
    server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session as Ssh, VerifiedPublicKey},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
};

use super::{
    super::{
        handshakes::Handshakes,
        session::{Carrier, Session},
    },
    listeners::Listeners,
    proof::Proof,
    welcome::Welcome,
};
use crate::{
    secrets::Login,
    ssh::{CARRIER, Limits, Traffic},
};

/// Channels for a shell that one client may open in all, only to hear that there is none.
const SHELLS_LIMIT: usize = 64;

/// What a client is told that wants more than ports, or more than what is carried.
const NO_SHELL: &str = "This server forwards ports and nothing else: use ssh -N with -L, -R or -D.\r\n";
const ONLY_CARRIES: &str = "This server carries a proxy's protocol and nothing else: use fairlead run with -F \
    socks5+ssh:// or what its scheme is.\r\n";

/// What a client may have.
pub(super) enum Wish {
    /// A channel to an address (direct-tcpip).
    Open { session: Session, channel: Channel<Msg>, address: HostPort, reply: ChannelOpenHandle },
    /// A channel that is itself a client of the server's protocol.
    Converse { session: Session, channel: Channel<Msg>, reply: ChannelOpenHandle },
    /// Somebody came to where the client listens, in the client's own words (forwarded-tcpip).
    Carry { peer: TcpStream, address: String, port: u16 },
}

/// The client.
pub(super) struct Guest {
    session: Session,
    /// The address of this host that it reached.
    local: IpAddr,
    welcome: Arc<Welcome>,
    traffic: Arc<Traffic>,
    wishes: mpsc::Sender<Wish>,
    /// Told once the client is logged in.
    passed: Option<oneshot::Sender<()>>,
    /// None until it is logged in.
    proof: Option<Proof>,
    listeners: Listeners,
    shells: BTreeSet<ChannelId>,
    /// Places of what is carried.
    handshakes: Arc<Handshakes>,
}

impl Guest {
    pub(super) fn new(
        session: Session,
        local: IpAddr,
        welcome: Arc<Welcome>,
        traffic: Arc<Traffic>,
        wishes: mpsc::Sender<Wish>,
        passed: oneshot::Sender<()>,
    ) -> Self {
        let (listeners, shells, handshakes) = (Listeners::default(), BTreeSet::new(), Arc::default());
        let passed = Some(passed);
        Self { session, local, welcome, traffic, wishes, passed, proof: None, listeners, shells, handshakes }
    }

    /// Whether ports are forwarded, and not another protocol carried.
    fn forwards(&self) -> bool {
        !self.session.running.server.is_over_ssh
    }

    fn ip(&self) -> IpAddr {
        self.session.peer.ip().to_canonical()
    }

    fn is_login(&self, proof: &Proof) -> bool {
        proof.limits(&self.welcome.logins, self.ip()).is_some()
    }

    /// What it may have now, and by which plan; none: nothing any more.
    fn rights(&self) -> Option<(Session, Limits)> {
        let session = self.session.by_now()?;
        let welcome = session.shared.welcome(&session.running.server).ok()?;
        let limits = self.proof.as_ref()?.limits(&welcome.logins, self.ip())?;
        Some((session, limits))
    }

    /// Channels that carry something are asked for nothing: requests would wait in them uncounted.
    fn only_of_shell(&self, channel: ChannelId) -> Result<(), russh::Error> {
        if self.shells.contains(&channel) { Ok(()) } else { Err(russh::Error::Inconsistent) }
    }

    /// Every method may be tried again, as often as a connection may try at all.
    fn reject(&self) -> Auth {
        Auth::Reject { proceed_with_methods: Some(self.welcome.logins.methods()), partial_success: false }
    }

    fn judge(&mut self, proof: Proof) -> Auth {
        if !self.is_login(&proof) {
            return self.reject();
        }
        self.proof = Some(proof);
        Auth::Accept
    }

    /// Says that there is no shell, and ends the channel.
    fn decline(&self, channel: ChannelId, ssh: &mut Ssh) -> Result<(), russh::Error> {
        self.only_of_shell(channel)?;
        let words = if self.forwards() { NO_SHELL } else { ONLY_CARRIES };
        ssh.channel_success(channel)?;
        ssh.extended_data(channel, 1, words.as_bytes())?;
        ssh.exit_status_request(channel, 1)?;
        ssh.eof(channel)?;
        ssh.close(channel)
    }
}

impl Handler for Guest {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, russh::Error> {
        Ok(self.judge(Proof::Nothing))
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        Ok(self.judge(Proof::Password(Login { user: user.to_owned(), password: Secret::new(password) })))
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        let is_sha1 = matches!(offer.algorithm, Algorithm::Rsa { hash: None });
        let is_known = self.is_login(&Proof::Key { user: user.to_owned(), key: offer.public_key.clone() });
        // A certificate is offered as the key in it; whose it is, is found out once it is signed for.
        let may_be_certified = self.welcome.logins.keys.as_ref().is_some_and(|keys| keys.has_authority());
        Ok(if !is_sha1 && (is_known || may_be_certified) { Auth::Accept } else { self.reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(self.judge(Proof::Key { user: user.to_owned(), key: key.public_key.clone() }))
    }

    async fn auth_openssh_certificate(&mut self, user: &str, shown: &Certificate) -> Result<Auth, russh::Error> {
        Ok(self.judge(Proof::Certificate { user: user.to_owned(), shown: Box::new(shown.clone()) }))
    }

    async fn auth_succeeded(&mut self, _ssh: &mut Ssh) -> Result<(), russh::Error> {
        // Nobody listens when the client took too long, and then the session ends anyway.
        let _ = self.passed.take().map(|passed| passed.send(()));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _ssh: &mut Ssh,
    ) -> Result<(), russh::Error> {
        if !self.forwards() {
            reply.reject(ChannelOpenFailure::UnknownChannelType).await;
            return Ok(());
        }
        match (u16::try_from(port), self.rights()) {
            (Ok(port), Some((session, limits))) if port > 0 && limits.may_open(host, port) => {
                let wish = Wish::Open { session, channel, address: HostPort::new(host, port), reply };
                // Nobody takes wishes any more when the session ends.
                let _ = self.wishes.send(wish).await;
            }
            _ => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
        Ok(())
    }

    async fn channel_open_unknown(
        &mut self,
        channel: Channel<Msg>,
        typ: &str,
        reply: ChannelOpenHandle,
        _ssh: &mut Ssh,
    ) -> Result<(), russh::Error> {
        if self.forwards() || typ != CARRIER {
            reply.reject(ChannelOpenFailure::UnknownChannelType).await;
            return Ok(());
        }
        let Some((session, limits)) = self.rights().filter(|(_, limits)| !limits.forbid_all()) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let owner = self.proof.as_ref().and_then(Proof::owner);
        let carrier = Carrier { owner, limits, local: self.local, handshakes: Arc::clone(&self.handshakes) };
        let session = session.carried_by(carrier.into());
        // Nobody takes wishes any more when the session ends.
        let _ = self.wishes.send(Wish::Converse { session, channel, reply }).await;
        Ok(())
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _ssh: &mut Ssh) -> Result<bool, russh::Error> {
        let Ok(number) = u16::try_from(*port) else { return Ok(false) };
        let rights = self.rights().filter(|(_, limits)| self.forwards() && limits.may_listen(address, number));
        let Some((session, _)) = rights else { return Ok(false) };
        match self.listeners.listen(address, number, &session, &self.wishes) {
            Ok(bound) => {
                *port = bound.into();
                Ok(true)
            }
            Err(fault) => {
                let peer = self.session.peer;
                tracing::debug!(%peer, address, port = number, %fault, "an ssh client may not listen");
                Ok(false)
            }
        }
    }

    async fn cancel_tcpip_forward(&mut self, address: &str, port: u32, _ssh: &mut Ssh) -> Result<bool, russh::Error> {
        Ok(u16::try_from(port).is_ok_and(|port| self.listeners.cancel(address, port)))
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _ssh: &mut Ssh) -> Result<(), russh::Error> {
        self.traffic.received(id, data.len()).await;
        Ok(())
    }

    async fn extended_data(
        &mut self,
        id: ChannelId,
        _kind: u32,
        data: &[u8],
        _ssh: &mut Ssh,
    ) -> Result<(), russh::Error> {
        self.traffic.received(id, data.len()).await;
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _ssh: &mut Ssh,
    ) -> Result<(), russh::Error> {
        self.traffic.flow(id);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _ssh: &mut Ssh,
    ) -> Result<(), russh::Error> {
        if self.shells.len() >= SHELLS_LIMIT {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.shells.insert(channel.id());
        reply.accept().await;
        Ok(())
    }

    async fn shell_request(&mut self, channel: ChannelId, ssh: &mut Ssh) -> Result<(), russh::Error> {
        self.decline(channel, ssh)
    }

    async fn exec_request(&mut self, channel: ChannelId, _command: &[u8], ssh: &mut Ssh) -> Result<(), russh::Error> {
        self.decline(channel, ssh)
    }

    async fn subsystem_request(&mut self, channel: ChannelId, _name: &str, ssh: &mut Ssh) -> Result<(), russh::Error> {
        self.decline(channel, ssh)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        ssh: &mut Ssh,
    ) -> Result<(), russh::Error> {
        self.only_of_shell(channel)?;
        ssh.channel_success(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _is_single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        _ssh: &mut Ssh,
    ) -> Result<(), russh::Error> {
        self.only_of_shell(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        _ssh: &mut Ssh,
    ) -> Result<(), russh::Error> {
        self.only_of_shell(channel)
    }

    async fn agent_request(&mut self, channel: ChannelId, _ssh: &mut Ssh) -> Result<bool, russh::Error> {
        self.only_of_shell(channel).map(|()| false)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _ssh: &mut Ssh,
    ) -> Result<(), russh::Error> {
        self.only_of_shell(channel)
    }

    async fn signal(&mut self, channel: ChannelId, _signal: Sig, _ssh: &mut Ssh) -> Result<(), russh::Error> {
        self.only_of_shell(channel)
    }
}
