//! The keys of one control plane: a CA, the API server's certificate, clients' certificates, and the key that signs
//! ServiceAccounts' tokens. Everything is made anew for each control plane and goes away with its directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// What the API server's certificate is for: loopback, and the names that client libraries use within a cluster.
const SERVER_NAMES: [&str; 4] = ["127.0.0.1", "localhost", "kubernetes.default.svc", "kubernetes"];

/// The files, in one directory.
pub(super) struct Pki {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate in PEM with its key.
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Pki {
    /// Makes the CA, the server's identity and the tokens' key.
    pub(super) fn new(directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).expect("make the directory of the keys");
        let key = KeyPair::generate().expect("a key");
        let mut params = named("fairlead-tests", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a CA");
        let pki = Self { directory, issuer: Issuer::new(params, key) };
        write(&pki.authority(), &certificate.pem());
        pki.server();
        let tokens = KeyPair::generate().expect("a key");
        write(&pki.tokens().key, &tokens.serialize_pem());
        write(&pki.tokens().certificate, &tokens.public_key_pem());
        pki
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// What signs the tokens of ServiceAccounts; the certificate is a mere public key.
    pub(super) fn tokens(&self) -> Identity {
        self.files("tokens")
    }

    /// The API server's own.
    pub(super) fn server(&self) -> Identity {
        let identity = self.files("server");
        if !identity.certificate.exists() {
            let names: Vec<String> = SERVER_NAMES.map(str::to_owned).into();
            let mut params = named("kube-apiserver", None);
            params.subject_alt_names = CertificateParams::new(names).expect("names").subject_alt_names;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            self.sign(params, &identity);
        }
        identity
    }

    /// A client's own, who is this user of the group that may do everything.
    pub(super) fn master(&self, file: &str, user: &str) -> Identity {
        let identity = self.files(file);
        let mut params = named(user, Some("system:masters"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &identity);
        identity
    }

    fn files(&self, name: &str) -> Identity {
        let file = |kind: &str| self.directory.join(format!("{name}.{kind}"));
        Identity { certificate: file("crt"), key: file("key") }
    }

    fn sign(&self, mut params: CertificateParams, identity: &Identity) {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        write(&identity.key, &key.serialize_pem());
        write(&identity.certificate, &certificate.pem());
    }
}

fn named(name: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("write a key or certificate");
}
