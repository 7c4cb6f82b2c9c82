//! Certificates as they are made and judged: ECDSA P-256, X.509 as RFC 5280 says, times in whole seconds.
//! Invariant: what `issue` hands out has been verified as a proxy will verify it.

use std::{
    ops::{Add, Sub},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};

use super::AuthorityError;

/// Certificates are valid this long before they are made, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// A moment in whole seconds of Unix time, which is all a certificate can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Seconds(u64);

/// What is signed: an authority by itself, or a client by its authority.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Makes an authority.
pub(super) fn authority(name: &str, at: Seconds, expires: Seconds) -> Result<Made, AuthorityError> {
    let key = KeyPair::generate()?;
    let certificate = authority_params(name, at, expires).self_signed(&key)?.pem();
    Ok(Made { certificate, key: key.serialize_pem() })
}

/// Makes a client certificate, signed by the authority of that name, key and certificate.
pub(super) fn issue((name, authority): (&str, &Made), at: Seconds, expires: Seconds) -> Result<Made, AuthorityError> {
    let params = authority_params(name, at, expires);
    let issuer = Issuer::from_params(&params, KeyPair::from_pem(&authority.key)?);
    let mut params = params_for("fairlead operator", at, expires);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let made = Made { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() };
    if !is_good(&made, &authority.certificate, at) {
        return Err(AuthorityError::Inconsistent("its key signs for another authority"));
    }
    Ok(made)
}

/// Whether a proxy that trusts `authority` lets this client in at this time.
pub(super) fn is_good(client: &Made, authority: &str, at: Seconds) -> bool {
    let (Ok((chain, key)), Some(anchor)) = (parse(client), certificate(authority)) else { return false };
    let mut roots = RootCertStore::empty();
    let verifier =
        roots.add(anchor).is_ok().then(|| WebPkiClientVerifier::builder_with_provider(roots.into(), provider()));
    let Some(Ok(verifier)) = verifier.map(|builder| builder.build()) else { return false };
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.0));
    let trusted = chain.first().is_some_and(|leaf| verifier.verify_client_cert(leaf, &[], at).is_ok());
    trusted && CertifiedKey::from_der(chain, key, &provider()).is_ok()
}

/// Reads a certificate and its key.
pub(super) fn parse(made: &Made) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
    let certificate =
        certificate(&made.certificate).ok_or(AuthorityError::Inconsistent("its certificate is no PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes());
    Ok((vec![certificate], key.map_err(|_| AuthorityError::Inconsistent("its key is no PEM"))?))
}

/// Whether a text is the certificate of an authority.
pub(super) fn is_authority(pem: &str) -> bool {
    certificate(pem).is_some_and(|certificate| RootCertStore::empty().add(certificate).is_ok())
}

fn certificate(pem: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

fn authority_params(name: &str, at: Seconds, expires: Seconds) -> CertificateParams {
    let mut params = params_for(name, at, expires);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn params_for(name: &str, at: Seconds, expires: Seconds) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (at - BACKDATED).time().into();
    params.not_after = expires.time().into();
    params
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Seconds {
    pub(super) fn of(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    pub(super) fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0)
    }

    /// The middle between two moments.
    pub(super) fn middle(self, later: Self) -> Self {
        Self(self.0 + later.0.saturating_sub(self.0) / 2)
    }
}

impl Add<Duration> for Seconds {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_secs()).min(Self::LIMIT))
    }
}

impl Sub<Duration> for Seconds {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time.as_secs()))
    }
}

impl Seconds {
    /// The year 9000; X.509 ends with 9999.
    const LIMIT: u64 = 221_845_392_000;
}
