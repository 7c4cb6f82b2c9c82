//! Keys made here, in the files of a Secret and beside each other; other forms are tried against sshd in `tests`.
#![allow(clippy::unwrap_used)]

use russh::keys::{
    Algorithm, EcdsaCurve, encode_pkcs8_pem, encode_pkcs8_pem_encrypted,
    ssh_key::{
        LineEnding,
        certificate::{Builder, CertType},
    },
};

use super::*;

type Named = (&'static str, String);

fn key() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()
}

fn openssh(key: &PrivateKey) -> String {
    key.to_openssh(LineEnding::LF).unwrap().to_string()
}

fn encrypted(key: &PrivateKey, passphrase: &str) -> String {
    openssh(&key.encrypt(&mut rand::rng(), passphrase).unwrap())
}

fn pem(key: &PrivateKey, passphrase: Option<&str>) -> String {
    let mut pem = Vec::new();
    match passphrase {
        None => encode_pkcs8_pem(key, &mut pem).unwrap(),
        Some(passphrase) => encode_pkcs8_pem_encrypted(key, passphrase.as_bytes(), 10, &mut pem).unwrap(),
    }
    String::from_utf8(pem).unwrap()
}

fn signed(key: &PrivateKey, kind: CertType) -> String {
    let mut builder = Builder::new_with_random_nonce(&mut rand::rng(), key.public_key(), 0, u64::MAX).unwrap();
    builder.cert_type(kind).unwrap();
    builder.valid_principal("ann").unwrap();
    builder.sign(&self::key()).unwrap().to_openssh().unwrap()
}

/// The login that a Secret with these keys makes.
fn of_secret(files: &[Named], username: Option<&str>) -> Result<SshLogin, String> {
    let secrets = Secrets::default();
    let file = |(name, text): &Named| (format!("memory:/s/bastion/{name}"), text.clone().into_bytes());
    secrets.replace(files.iter().map(file).collect());
    let credentials = HopCredentials {
        username: username.map(str::to_owned),
        directory: Some("memory:/s/bastion".to_owned()),
        ..HopCredentials::default()
    };
    LoginFiles::read(&credentials, &secrets)?.login()
}

#[test]
fn a_key_is_read_in_every_form() {
    let ecdsa = PrivateKey::random(&mut rand::rng(), Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 }).unwrap();
    for key in [key(), ecdsa] {
        let passphrase = || ("passphrase", "open sesame\n".to_owned());
        for files in [
            vec![("ssh-privatekey", openssh(&key))],
            vec![("ssh-privatekey", openssh(&key).replace('\n', "\r\n"))],
            vec![("ssh-privatekey", openssh(&key)), passphrase()],
            vec![("ssh-privatekey", encrypted(&key, "open sesame")), passphrase()],
            vec![("ssh-privatekey", encrypted(&key, "open sesame")), ("password", "open sesame".to_owned())],
            vec![("ssh-privatekey", pem(&key, None))],
            vec![("ssh-privatekey", pem(&key, None)), passphrase()],
            vec![("ssh-privatekey", pem(&key, Some("open sesame"))), passphrase()],
        ] {
            let login = of_secret(&files, Some("ann")).unwrap();
            assert_eq!(login.keys[0].key.public_key().key_data(), key.public_key().key_data());
            assert_eq!(login.user, "ann");
        }
    }
}

#[test]
fn a_certificate_has_to_be_a_users_and_of_the_key() {
    let (key, other) = (key(), key());
    let login =
        |certificate| of_secret(&[("ssh-privatekey", openssh(&key)), ("ssh-certificate", certificate)], Some("a"));
    assert!(login(signed(&key, CertType::User) + "\n").unwrap().keys[0].certificate.is_some());
    for (certificate, part) in [
        (signed(&other, CertType::User), "is for another key"),
        (signed(&key, CertType::Host), "is no user certificate"),
        ("ssh-ed25519 AAAA".to_owned(), "is no user certificate"),
    ] {
        let error = login(certificate).unwrap_err();
        assert!(error.contains("key \"ssh-certificate\"") && error.contains(part), "{error}");
    }
}

#[test]
fn what_is_missing_or_unfit_is_named_and_no_value_is() {
    let key = key();
    for (files, username, parts) in [
        (vec![], Some("ann"), ["Secret \"bastion\", key \"ssh-privatekey\": is not there", "or a password"]),
        (vec![("password", "hunter2".to_owned())], None, ["no user name", "\"username\""]),
        (vec![("ssh-privatekey", "hunter2".to_owned())], Some("ann"), ["\"ssh-privatekey\"", "is no private key"]),
        (
            vec![("ssh-privatekey", encrypted(&key, "hunter2"))],
            Some("ann"),
            ["its passphrase is missing", "\"passphrase\""],
        ),
        (
            vec![("ssh-privatekey", encrypted(&key, "x")), ("passphrase", "hunter2".to_owned())],
            Some("ann"),
            ["the passphrase does not fit", "\"passphrase\""],
        ),
    ] {
        let error = of_secret(&files, username).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_login_shows_its_user_alone() {
    let files = [("username", "ann\n".to_owned()), ("password", "hunter2\n".to_owned())];
    let login = of_secret(&files, Some("bob")).unwrap();
    assert_eq!(login.password.as_ref().map(Secret::expose), Some("hunter2"));
    assert_eq!(format!("{login:?}"), "SshLogin(ann ***)");
    assert_eq!(format!("{:?}", LoginFiles::default()), "LoginFiles(***)");
}

#[test]
fn key_files_bring_their_certificates_along() {
    let key = key();
    let secrets = Secrets::default();
    let files = [
        ("/k/one".to_owned(), openssh(&key).into_bytes()),
        ("/k/one-cert.pub".to_owned(), signed(&key, CertType::User).into_bytes()),
        ("/k/two".to_owned(), encrypted(&key, "open sesame").into_bytes()),
        ("/k/login".to_owned(), b"ann open sesame\n".to_vec()),
    ];
    secrets.replace(files.into_iter().collect());
    let credentials = HopCredentials {
        file: Some("/k/login".to_owned()),
        keys: vec!["/k/one".to_owned(), "/k/two".to_owned()],
        ..HopCredentials::default()
    };
    let login = LoginFiles::read(&credentials, &secrets).unwrap().login().unwrap();
    assert_eq!(login.keys.iter().map(|key| key.certificate.is_some()).collect::<Vec<_>>(), [true, false]);
    let gone = HopCredentials { keys: vec!["/k/gone".to_owned()], ..credentials };
    assert_eq!(LoginFiles::read(&gone, &secrets).unwrap_err(), "/k/gone: is not there");
}
