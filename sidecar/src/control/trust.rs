//! Who may come in: the certificates in a file, which the kubelet swaps, and the TLS configuration made of them.
//! Without a good file nobody may; with a broken one, those of the last good one. Connections made stay.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::{source, watch::Watch};

/// The present answer to the question who may come in.
pub(crate) struct Trust {
    path: PathBuf,
    provider: Arc<CryptoProvider>,
    /// Self-signed and in no file: the operator knows us by our address.
    own: Arc<SingleCertAndKey>,
    present: ArcSwap<Result<Arc<ServerConfig>, String>>,
}

impl Trust {
    pub(crate) fn new(path: PathBuf) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let own = Arc::new(own_certificate(&provider)?);
        let nobody = Err(format!("nobody may connect yet: waiting for {}", path.display()));
        Ok(Self { path, provider, own, present: ArcSwap::from_pointee(nobody) })
    }

    /// The configuration for a handshake that begins now; the error says why nobody may connect.
    pub(crate) fn present(&self) -> Result<Arc<ServerConfig>, String> {
        self.present.load().as_ref().clone()
    }

    /// Follows the file for ever.
    pub(crate) async fn follow(self: Arc<Self>) {
        let (mut watch, mut seen) = (Watch::new(), None);
        loop {
            watch.arm(&source::directories_of(&self.path));
            let found = source::read_text(&self.path);
            if seen.as_ref() != Some(&found) {
                self.take(found.as_deref());
                seen = Some(found);
            }
            watch.changed().await;
        }
    }

    fn take(&self, found: Result<&str, &String>) {
        let made = found
            .map_err(Clone::clone)
            .and_then(|text| self.configuration(text).map_err(|problem| format!("{}: {problem}", self.path.display())));
        match made {
            Ok((config, certificates)) => {
                tracing::info!(file = %self.path.display(), certificates, "operators with a certificate of these may connect");
                self.present.store(Arc::new(Ok(Arc::new(config))));
            }
            Err(problem) if self.present.load().is_ok() => {
                tracing::error!("{problem}; the certificates before stay in force");
            }
            Err(problem) => {
                tracing::warn!("no operator may connect yet: {problem}; waiting for it");
                self.present.store(Arc::new(Err(format!("nobody may connect yet: {problem}"))));
            }
        }
    }

    /// Makes the configuration, and counts the certificates that are trusted.
    fn configuration(&self, text: &str) -> Result<(ServerConfig, usize), String> {
        let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| format!("not PEM: {error}"))?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err("holds no certificate (PEM) of an authority".to_owned());
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider)).build();
        let verifier = verifier.map_err(|error| error.to_string())?;
        let config =
            ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?.with_client_cert_verifier(verifier);
        let mut config = config.with_cert_resolver(Arc::clone(&self.own) as _);
        // A resumed session would not be verified anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok((config, added))
    }
}

fn own_certificate(provider: &CryptoProvider) -> anyhow::Result<SingleCertAndKey> {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["fairlead".to_owned()])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let key = CertifiedKey::from_der(vec![cert.der().clone()], key, provider)?;
    Ok(SingleCertAndKey::from(key))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn authority() -> String {
        rcgen::generate_simple_self_signed(["an authority".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn nobody_may_connect_before_there_is_an_authority_and_a_broken_file_keeps_the_one_before() {
        let trust = Trust::new("/c/ca.crt".into()).unwrap();
        assert!(trust.present().unwrap_err().contains("waiting for /c/ca.crt"));
        for broken in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            trust.take(Ok(broken));
            assert!(trust.present().unwrap_err().contains("/c/ca.crt: holds no certificate"), "{broken}");
        }
        trust.take(Err(&"/c/ca.crt: no such file".to_owned()));
        assert!(trust.present().unwrap_err().contains("no such file"));

        trust.take(Ok(&authority()));
        let first = trust.present().unwrap();
        trust.take(Ok("nonsense"));
        assert!(Arc::ptr_eq(&first, &trust.present().unwrap()));
        trust.take(Ok(&(authority() + &authority())));
        assert!(!Arc::ptr_eq(&first, &trust.present().unwrap()));
    }
}
