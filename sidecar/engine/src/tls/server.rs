//! TLS towards clients: the certificate that the plan names, read anew when its files change, or one made in memory,
//! which encrypts and proves nothing.

use std::sync::{Arc, Mutex, PoisonError};

use fairlead_config::ListenTls;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::NoServerSessionStorage,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::certificates;
use crate::{secrets::Secrets, stream::Stream};

/// What clients are shown, made once for each content of the files.
#[derive(Default)]
pub(crate) struct Certificate(Mutex<Option<(Files, Arc<ServerConfig>)>>);

/// What the files held; none where the certificate is our own.
type Files = Option<[Arc<[u8]>; 2]>;

/// Encrypts a client's stream.
pub(crate) async fn accept(stream: Stream, config: Arc<ServerConfig>) -> std::io::Result<TlsStream<Stream>> {
    TlsAcceptor::from(config).accept(stream).await
}

impl Certificate {
    /// The settings for the files as they are now. The error is one line that names a file.
    pub(crate) fn config(&self, tls: Option<&ListenTls>, secrets: &Secrets) -> Result<Arc<ServerConfig>, String> {
        let read = |path: &String| secrets.read(path).map_err(|error| format!("{path}: {error}"));
        let files = tls.map(|tls| Ok::<_, String>([read(&tls.certificate)?, read(&tls.key)?])).transpose()?;
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = made.as_ref().filter(|(of, _)| *of == files) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(make(&files)?);
        *made = Some((files, Arc::clone(&config)));
        Ok(config)
    }
}

fn make(files: &Files) -> Result<ServerConfig, String> {
    let (chain, key) = match files {
        Some([certificate, key]) => {
            let chain = certificates(certificate).map_err(|error| format!("tls.crt: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("tls.key: {error}"))?;
            (chain, key)
        }
        None => own()?,
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(|error| error.to_string())?;
    // Connections live long: tickets would cost each of them a write and help none.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// A certificate for nobody in particular, as GOST makes one.
fn own() -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let made = rcgen::generate_simple_self_signed(["fairlead".to_owned()]).map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(str::to_owned)?;
    Ok((vec![made.cert.der().clone()], key))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_our_own_is_made_once_and_a_missing_one_is_named() {
        let (certificate, secrets) = (Certificate::default(), Secrets::default());
        let first = certificate.config(None, &secrets).unwrap();
        assert!(Arc::ptr_eq(&first, &certificate.config(None, &secrets).unwrap()));
        let tls = ListenTls { certificate: "memory:/a/tls.crt".to_owned(), key: "memory:/a/tls.key".to_owned() };
        assert_eq!(certificate.config(Some(&tls), &secrets).unwrap_err(), "memory:/a/tls.crt: is not there");
        let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let files = [(tls.certificate.clone(), made.cert.pem()), (tls.key.clone(), made.signing_key.serialize_pem())];
        secrets.replace(files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect());
        assert!(!Arc::ptr_eq(&first, &certificate.config(Some(&tls), &secrets).unwrap()));
    }
}
