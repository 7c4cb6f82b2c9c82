//! One client of an SSH server, as `russh` hears it: who it is, what it asks for, and whether its login lets it. What
//! it may have is passed on as a `Wish`; a shell, a command or a file transfer is refused in words.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use fairlead_config::HostPort;
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Pty,
    keys::{Algorithm, Certificate, PublicKey},
    server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session as Ssh, VerifiedPublicKey},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
};

use super::{
    super::session::{Carrier, Session},
    listeners::Listeners,
    welcome::Welcome,
};
use crate::ssh::{Asker, CARRIER, Limits, Traffic};

/// What a client is told that wants more than ports, or more than what is carried.
const NO_SHELL: &str = "This server forwards ports and nothing else: use ssh -N with -L, -R or -D.\r\n";
const ONLY_CARRIES: &str = "This server carries a proxy's protocol and nothing else: use fairlead run with -F \
    socks5+ssh:// or what its scheme is.\r\n";

/// What a client may have.
pub(super) enum Wish {
    /// A channel to an address (direct-tcpip).
    Open { channel: Channel<Msg>, address: HostPort, reply: ChannelOpenHandle },
    /// A channel that is itself a client of the server's protocol.
    Converse { channel: Channel<Msg>, carrier: Arc<Carrier>, reply: ChannelOpenHandle },
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
    limits: Limits,
    /// Who has logged in; none where everybody may.
    user: Option<Arc<str>>,
    listeners: Listeners,
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
        let (limits, listeners) = (Limits::default(), Listeners::default());
        Self { session, local, welcome, traffic, wishes, passed: Some(passed), limits, user: None, listeners }
    }

    /// Whether ports are forwarded, and not another protocol carried.
    fn forwards(&self) -> bool {
        !self.session.running.server.is_over_ssh
    }

    fn asker<'a>(&self, user: &'a str) -> Asker<'a> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Asker { user, ip: self.session.peer.ip().to_canonical(), now }
    }

    fn limits_of(&self, user: &str, key: &PublicKey) -> Option<Limits> {
        self.welcome.logins.keys.as_ref()?.limits_of_key(key, self.asker(user))
    }

    /// Every method may be tried again, as often as a connection may try at all.
    fn reject(&self) -> Auth {
        Auth::Reject { proceed_with_methods: Some(self.welcome.logins.methods()), partial_success: false }
    }

    fn admit(&mut self, user: &str, limits: Option<Limits>) -> Auth {
        let Some(limits) = limits else { return self.reject() };
        (self.user, self.limits) = (Some(user.into()), limits);
        Auth::Accept
    }

    /// Says that there is no shell, and ends the channel.
    fn decline(&self, channel: ChannelId, ssh: &mut Ssh) -> Result<(), russh::Error> {
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
        Ok(if self.welcome.logins.is_open() { Auth::Accept } else { self.reject() })
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let users = self.welcome.logins.users.clone();
        let found = users.and_then(|users| users.find(user.as_bytes(), password.as_bytes()));
        Ok(self.admit(user, found.map(|_| Limits::default())))
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        let is_sha1 = matches!(offer.algorithm, Algorithm::Rsa { hash: None });
        let is_known = self.limits_of(user, offer.public_key).is_some();
        // A certificate is offered as the key in it; whose it is, is found out once it is signed for.
        let may_be_certified = self.welcome.logins.keys.as_ref().is_some_and(|keys| keys.has_authority());
        Ok(if !is_sha1 && (is_known || may_be_certified) { Auth::Accept } else { self.reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let limits = self.limits_of(user, key.public_key);
        Ok(self.admit(user, limits))
    }

    async fn auth_openssh_certificate(&mut self, user: &str, shown: &Certificate) -> Result<Auth, russh::Error> {
        let asker = self.asker(user);
        let limits = self.welcome.logins.keys.as_ref().and_then(|keys| keys.limits_of_certificate(shown, asker));
        Ok(self.admit(user, limits))
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
        match u16::try_from(port) {
            Ok(port) if port > 0 && self.forwards() && self.limits.may_open(host, port) => {
                let wish = Wish::Open { channel, address: HostPort::new(host, port), reply };
                // Nobody takes wishes any more when the session ends.
                let _ = self.wishes.send(wish).await;
            }
            Ok(_) | Err(_) => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
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
        } else if self.limits.forbid_all() {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        } else {
            let carrier = Carrier { user: self.user.clone(), limits: self.limits.clone(), local: self.local };
            // Nobody takes wishes any more when the session ends.
            let _ = self.wishes.send(Wish::Converse { channel, carrier: Arc::new(carrier), reply }).await;
        }
        Ok(())
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _ssh: &mut Ssh) -> Result<bool, russh::Error> {
        let Ok(number) = u16::try_from(*port) else { return Ok(false) };
        if !self.forwards() || !self.limits.may_listen(address, number) {
            return Ok(false);
        }
        match self.listeners.listen(address, number, &self.session, &self.wishes) {
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
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _ssh: &mut Ssh,
    ) -> Result<(), russh::Error> {
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
        ssh.channel_success(channel)
    }
}
