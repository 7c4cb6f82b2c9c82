//! Shadowsocks' ciphers against known answers, and against themselves.
#![allow(clippy::unwrap_used)]

use fairlead_config::url::Secret;
use proptest::prelude::*;

use super::*;

const METHODS: [Method; 4] = [Method::Aes128Gcm, Method::Aes256Gcm, Method::Chacha20Poly1305, Method::Chacha20];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_password_becomes_the_key_that_openssl_makes() {
    let key = Key::new(Method::Aes256Gcm, "foobar!");
    // printf 'foobar!' | md5sum, and the MD5 of that and the password.
    let [first, second] = [&key.bytes[..16], &key.bytes[16..]].map(hex);
    assert_eq!(first, MD5_OF_FOOBAR);
    assert_eq!(second, MD5_OF_BOTH);
    assert_eq!(format!("{key:?}"), "Key(Aes256Gcm, ***)");
}

const MD5_OF_FOOBAR: &str = "bbc3d52fe5b7b31d6063b1de09b98c80";
const MD5_OF_BOTH: &str = "5303596b18237547f85fa21db11eba62";

/// Made with Python's hashlib, hmac and cryptography: password "pass", the salt is 0, 1, 2 and so on.
const SEALED: [(Method, &str); 3] = [
    (Method::Aes128Gcm, "f1e9ce889ba076969f4e92822d6adbb6cf92bffade8d2a1430f6a44b9c7d82889b4b660897f325c13b541f"),
    (Method::Aes256Gcm, "7fedcb3f2fc0e86a85c1813f6ced194bb3a1368588e2532622463ed09c9f034b5028e4f0a0256c2a1b8d3a"),
    (
        Method::Chacha20Poly1305,
        "5f6d4ef1a878a2ca082c3298dd75c5fa63fb7a29a1b5ac8ae204cee4986340981f2e1cdbd54208381db24b",
    ),
];

#[test]
fn sealed_bytes_are_those_of_other_implementations() {
    for (method, want) in SEALED {
        let salt: Vec<u8> = (0..method.salt_length() as u8).collect();
        let mut cipher = Key::new(method, "pass").cipher(&salt).unwrap();
        let mut out = Vec::new();
        cipher.seal(b"first", &mut out).unwrap();
        cipher.seal(b"second", &mut out).unwrap();
        assert_eq!(hex(&out), want, "{method:?}");
    }
}

#[test]
fn the_legacy_cipher_is_the_original_chacha20() {
    // The first test vector of draft-agl-tls-chacha20poly1305-04 section 7: key and nonce of zeros.
    let mut zeros = ChaCha20Legacy::new_from_slices(&[0; 32], &[0; 8]).unwrap();
    let mut stream = [0; 16];
    zeros.apply_keystream(&mut stream);
    assert_eq!(hex(&stream), "76b8e0ada0f13d90405d6ae55386bd28");
}

#[test]
fn methods_are_known_by_gosts_names_in_any_case() {
    for (name, want) in [
        ("chacha20", Some(Method::Chacha20)),
        ("CHACHA20-IETF-POLY1305", Some(Method::Chacha20Poly1305)),
        ("AEAD_CHACHA20_POLY1305", Some(Method::Chacha20Poly1305)),
        ("AES-128-GCM", Some(Method::Aes128Gcm)),
        ("aead_aes_256_gcm", Some(Method::Aes256Gcm)),
        ("aes-256-cfb", None),
        ("", None),
    ] {
        assert_eq!(Method::of(name), want, "{name}");
    }
    let login = |user: &str, password: &str| Login { user: user.to_owned(), password: Secret::new(password) };
    let error = Key::of(&login("rc4-md5", "hunter2")).unwrap_err();
    assert!(error.contains("\"rc4-md5\"") && error.contains("aes-128-gcm") && !error.contains("hunter2"), "{error}");
    assert!(Key::of(&login("chacha20", "")).unwrap_err().contains("password is empty"));
}

#[test]
fn a_nonce_counts_from_its_lowest_byte() {
    let mut nonce = [0; NONCE_LEN];
    for _ in 0..0x1_0002 {
        next(&mut nonce);
    }
    assert_eq!(nonce[..4], [2, 0, 1, 0]);
}

proptest! {
    #[test]
    fn datagrams_of_every_method_open_as_they_were(plain in proptest::collection::vec(any::<u8>(), 0..2000)) {
        for method in METHODS {
            let key = Key::new(method, "pass");
            let mut sealed = key.seal_datagram(&plain).unwrap();
            prop_assert_ne!(&key.seal_datagram(&plain).unwrap(), &sealed, "a salt of its own");
            prop_assert_eq!(key.open_datagram(&mut sealed).unwrap(), &plain[..]);
        }
    }

    #[test]
    fn changed_bytes_and_other_keys_are_noticed(plain in proptest::collection::vec(any::<u8>(), 0..100), at: proptest::sample::Index) {
        for method in METHODS.into_iter().filter(|method| method.is_aead()) {
            let key = Key::new(method, "pass");
            let sealed = key.seal_datagram(&plain).unwrap();
            let mut changed = sealed.clone();
            changed[at.index(sealed.len())] ^= 1;
            prop_assert!(key.open_datagram(&mut changed).is_err());
            prop_assert!(Key::new(method, "other").open_datagram(&mut sealed.clone()).is_err());
        }
    }

    #[test]
    fn noise_is_an_error_and_never_a_panic(mut noise in proptest::collection::vec(any::<u8>(), 0..100)) {
        for method in METHODS {
            let _ = Key::new(method, "pass").open_datagram(&mut noise);
        }
    }
}
