//! TLS towards a hop: a client's settings from what the plan says and the files hold, and the handshake.
//! Verified against the system's authorities or a hop's own, unless the plan says that nothing is.

pub(crate) mod server;

use std::sync::{Arc, Mutex, PoisonError};

use fairlead_config::HopTls;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{dial::DialCause, secrets::Secrets, stream::Stream};

/// What a hop is shown and verified by, made once for each content of its files.
#[derive(Default)]
pub(crate) struct Settings(Mutex<Option<(Files, Arc<ClientConfig>)>>);

/// What the files held when the settings were made.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    ca: Option<Arc<[u8]>>,
    certificate: Option<Arc<[u8]>>,
    key: Option<Arc<[u8]>>,
}

/// Encrypts a stream to a hop that is called `host`.
pub(crate) async fn connect(
    stream: Stream,
    host: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<Stream>, DialCause> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| DialCause::Handshake(format!("tls: {host:?} is no name a certificate could have")))?;
    let handshake = TlsConnector::from(config).connect(name, stream).await;
    handshake.map_err(|error| DialCause::Handshake(format!("tls: {error}")))
}

impl Settings {
    /// The settings for the files as they are now; `verify` where the plan says nothing about it.
    pub(crate) fn config(&self, tls: &HopTls, verify: bool, secrets: &Secrets) -> Result<Arc<ClientConfig>, DialCause> {
        let files = Files::read(tls, secrets)?;
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = made.as_ref().filter(|(of, _)| *of == files) {
            return Ok(Arc::clone(config));
        }
        let config = make(&files, tls.verify.unwrap_or(verify)).map_err(DialCause::Credentials)?;
        let config = Arc::new(config);
        *made = Some((files, Arc::clone(&config)));
        Ok(config)
    }
}

impl Files {
    fn read(tls: &HopTls, secrets: &Secrets) -> Result<Self, DialCause> {
        let read = |path: &Option<String>| {
            let content = path.as_ref().map(|path| secrets.read(path).map_err(|error| format!("{path}: {error}")));
            content.transpose().map_err(DialCause::Credentials)
        };
        Ok(Self { ca: read(&tls.ca)?, certificate: read(&tls.certificate)?, key: read(&tls.key)? })
    }
}

fn make(files: &Files, verify: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = if verify {
        builder.with_root_certificates(authorities(files.ca.as_deref())?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    };
    match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate).map_err(|error| format!("our certificate: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("our certificate's key: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("our certificate: {error}"))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn authorities(ca: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = match ca {
        Some(ca) => certificates(ca).map_err(|error| format!("the authorities to trust: {error}"))?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err("there is no authority to trust; name one as the hop's tls.ca".to_owned());
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// Takes any certificate, for hops that encrypt and can't prove who they are.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
