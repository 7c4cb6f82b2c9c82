//! The operator's side of a proxy's admin port: authorities, the certificates they sign, and HTTP over TLS by hand, so
//! that a test can also do what no operator does.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use fairlead_config::{
    Report,
    admin::{CONFIG_PATH, PushAnswer, REPORT_WATCH_PATH},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};

use crate::{clients, clients::HttpAnswer, deadline::SOON};

/// An authority that proxies may trust.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Somebody with a certificate, or with none.
#[derive(Clone)]
pub struct Operator(Arc<ClientConfig>);

/// A connection to an admin port, over which one request follows the other.
pub struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    address: SocketAddr,
}

/// The reports that come over a connection.
pub struct Reports(Connection);

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    Expired,
    /// It is for servers only.
    ForServers,
}

impl Authority {
    /// Makes an authority.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// An operator with a certificate of this authority.
    pub fn operator(&self, flaw: Flaw) -> Operator {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "operator");
        params.extended_key_usages = match flaw {
            Flaw::None | Flaw::Expired => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Flaw::ForServers => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        if flaw == Flaw::Expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate").der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Operator::with(Some((certificate, key)))
    }
}

impl Operator {
    /// Somebody who shows no certificate.
    pub fn anonymous() -> Self {
        Self::with(None)
    }

    fn with(identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let anyone = Arc::new(Anyone(Arc::clone(&provider)));
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("TLS versions").dangerous().with_custom_certificate_verifier(anyone);
        let config = match identity {
            Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key).expect("a usable key"),
            None => config.with_no_client_auth(),
        };
        Self(Arc::new(config))
    }

    /// Connects to a port of 127.0.0.1 and does the handshake, which with TLS 1.3 says nothing about our certificate.
    pub fn connect(&self, port: u16) -> io::Result<Connection> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let tcp = clients::dial(address)?;
        let name = ServerName::IpAddress(address.ip().into());
        let tls = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, tcp);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Connection { stream: BufReader::new(stream), address })
    }

    /// Pushes a document over a connection of its own.
    pub fn push(&self, port: u16, document: &str) -> io::Result<HttpAnswer> {
        self.connect(port)?.push(document)
    }
}

impl Connection {
    /// Asks and reads the whole answer, which must have a length.
    pub fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<HttpAnswer> {
        self.send(method, path, body)?;
        let (code, length) = self.head()?;
        let mut answer = vec![0; length.ok_or_else(|| io::Error::other("an answer without a length"))?];
        self.stream.read_exact(&mut answer)?;
        Ok(HttpAnswer { code, body: String::from_utf8_lossy(&answer).into_owned() })
    }

    /// Pushes a document.
    pub fn push(&mut self, document: &str) -> io::Result<HttpAnswer> {
        self.ask("PUT", CONFIG_PATH, document.as_bytes())
    }

    /// Asks for reports.
    pub fn watch(mut self) -> io::Result<Reports> {
        self.send("GET", REPORT_WATCH_PATH, b"")?;
        match self.head()? {
            (200, None) => Ok(Reports(self)),
            other => Err(io::Error::other(format!("no stream of reports: {other:?}"))),
        }
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<()> {
        let (host, length) = (self.address, body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n");
        let stream = self.stream.get_mut();
        // Whoever is refused early is answered all the same.
        let _ = stream.write_all(&[head.as_bytes(), body].concat()).and_then(|()| stream.flush());
        Ok(())
    }

    /// Reads an answer's head: its code, and its length if it says one.
    fn head(&mut self) -> io::Result<(u16, Option<usize>)> {
        let status = self.line()?;
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code = code.ok_or_else(|| io::Error::other(format!("no HTTP answer: {status:?}")))?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok((code, length));
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Reports {
    /// Reads the next report. One is a chunk (RFC 9112, 7.1), and lines that keep the connection alive are chunks too.
    pub fn next_report(&mut self) -> io::Result<Report> {
        loop {
            let size = self.0.line()?;
            let size = usize::from_str_radix(&size, 16).map_err(|_| io::Error::other(format!("no chunk: {size:?}")))?;
            let mut chunk = vec![0; size + 2];
            self.0.stream.read_exact(&mut chunk)?;
            let line = chunk.trim_ascii();
            if !line.is_empty() {
                return serde_json::from_slice(line).map_err(io::Error::other);
            }
        }
    }

    /// Reads until a report is as wanted. Panics when the connection ends, or none comes in time.
    pub fn await_report(&mut self, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        loop {
            let report = self.next_report().unwrap_or_else(|error| panic!("no report with {what}: {error}"));
            if wanted(&report) {
                return report;
            }
        }
    }

    /// Whether the peer ends the connection within the time.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let set = |limit| self.0.stream.get_ref().sock.set_read_timeout(Some(limit)).expect("a time limit");
        set(limit);
        let ended = loop {
            match self.next_report() {
                Ok(_) => {}
                Err(error) => break !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        };
        self.0.stream.get_ref().sock.set_read_timeout(Some(SOON)).expect("a time limit");
        ended
    }
}

/// Reads what a push was answered.
pub fn push_answer(answer: &HttpAnswer) -> PushAnswer {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("no answer to a push: {error}: {answer:?}"))
}

/// Takes any server for the right one: proxies make their certificates themselves.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
