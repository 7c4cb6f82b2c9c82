//! Shadowsocks' ciphers (shadowsocks.org: AEAD ciphers, stream ciphers): a method by name, a key from a password, and one
//! direction of a stream or one datagram sealed and opened. No I/O; both sides.
//! Invariants: no nonce is used twice with one key, since each stream and each datagram has a salt of its own; and keys
//! are in no `Debug`.

use std::fmt;

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{self, HKDF_SHA1_FOR_LEGACY_USE_ONLY, KeyType, Salt},
    rand,
};
use chacha20::{
    ChaCha20Legacy,
    cipher::{KeyIvInit, StreamCipher},
};
use md5::{Digest, Md5};

use crate::secrets::Login;

/// Bytes that an AEAD adds.
pub(crate) const TAG: usize = 16;
const KEY: usize = 32;
const SUBKEY: &[u8] = b"ss-subkey";

/// How bytes are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
    /// The original ChaCha20 with a nonce of 8 bytes: nothing notices changed bytes.
    Chacha20,
}

/// Each method's names; GOST knows the AEADs in any case, and by both names.
const NAMES: [(&str, Method); 7] = [
    ("aes-128-gcm", Method::Aes128Gcm),
    ("aes-256-gcm", Method::Aes256Gcm),
    ("chacha20-ietf-poly1305", Method::Chacha20Poly1305),
    ("chacha20", Method::Chacha20),
    ("aead_aes_128_gcm", Method::Aes128Gcm),
    ("aead_aes_256_gcm", Method::Aes256Gcm),
    ("aead_chacha20_poly1305", Method::Chacha20Poly1305),
];

/// What both sides share.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    method: Method,
    bytes: [u8; KEY],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, ***)", self.method)
    }
}

/// One direction of a stream, or one datagram.
pub(crate) enum Cipher {
    Aead { key: Box<LessSafeKey>, nonce: [u8; NONCE_LEN] },
    Legacy(Box<ChaCha20Legacy>),
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Method {
    /// The method of this name, in upper or lower case.
    pub(crate) fn of(name: &str) -> Option<Self> {
        NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, method)| method)
    }

    /// Bytes of a key.
    fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::Chacha20Poly1305 | Self::Chacha20 => 32,
        }
    }

    /// Bytes before the first encrypted one.
    pub(crate) fn salt_length(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::Chacha20Poly1305 => 32,
            Self::Chacha20 => 8,
        }
    }

    /// Whether the bytes are in sealed chunks.
    pub(crate) fn is_aead(self) -> bool {
        self.algorithm().is_some()
    }

    fn algorithm(self) -> Option<&'static aead::Algorithm> {
        match self {
            Self::Aes128Gcm => Some(&aead::AES_128_GCM),
            Self::Aes256Gcm => Some(&aead::AES_256_GCM),
            Self::Chacha20Poly1305 => Some(&aead::CHACHA20_POLY1305),
            Self::Chacha20 => None,
        }
    }
}

impl Key {
    /// The key of a login, whose user is the method. The error is one line without the password.
    pub(crate) fn of(login: &Login) -> Result<Self, String> {
        let method = Method::of(&login.user).ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().take(4).map(|(name, _)| *name).collect();
            format!("ss: cipher {:?} is not known; write one of {} as the user", login.user, known.join(", "))
        })?;
        if login.password.expose().is_empty() {
            return Err("ss: the password is empty; both sides need the same one".to_owned());
        }
        Ok(Self::new(method, login.password.expose()))
    }

    /// OpenSSL's EVP_BytesToKey with MD5, one round and no salt.
    pub(crate) fn new(method: Method, password: &str) -> Self {
        let mut bytes = [0; KEY];
        let first = Md5::digest(password.as_bytes());
        let second = Md5::new().chain_update(first).chain_update(password.as_bytes()).finalize();
        bytes[..16].copy_from_slice(&first);
        bytes[16..].copy_from_slice(&second);
        Self { method, bytes }
    }

    pub(crate) fn method(&self) -> Method {
        self.method
    }

    /// A salt that was never used, and the cipher that goes with it.
    pub(crate) fn fresh(&self) -> Result<(Vec<u8>, Cipher), Unspecified> {
        let mut salt = vec![0; self.method.salt_length()];
        rand::fill(&mut salt)?;
        let cipher = self.cipher(&salt)?;
        Ok((salt, cipher))
    }

    /// The cipher of what follows a salt.
    pub(crate) fn cipher(&self, salt: &[u8]) -> Result<Cipher, Unspecified> {
        let key = &self.bytes[..self.method.key_length()];
        let Some(algorithm) = self.method.algorithm() else {
            let cipher = ChaCha20Legacy::new_from_slices(key, salt).map_err(|_| Unspecified)?;
            return Ok(Cipher::Legacy(Box::new(cipher)));
        };
        let mut subkey = [0; KEY];
        let subkey = &mut subkey[..key.len()];
        let prk: hkdf::Prk = Salt::new(HKDF_SHA1_FOR_LEGACY_USE_ONLY, salt).extract(key);
        prk.expand(&[SUBKEY], Length(key.len()))?.fill(subkey)?;
        let key = Box::new(LessSafeKey::new(UnboundKey::new(algorithm, subkey)?));
        Ok(Cipher::Aead { key, nonce: [0; NONCE_LEN] })
    }

    /// Encrypts a datagram under a salt of its own.
    pub(crate) fn seal_datagram(&self, plain: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (mut sealed, mut cipher) = self.fresh()?;
        cipher.seal(plain, &mut sealed)?;
        Ok(sealed)
    }

    /// Decrypts a datagram in place.
    pub(crate) fn open_datagram<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a [u8], Unspecified> {
        let (salt, rest) = sealed.split_at_mut_checked(self.method.salt_length()).ok_or(Unspecified)?;
        self.cipher(salt)?.open(rest)
    }
}

impl Cipher {
    /// Appends the encrypted bytes.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Unspecified> {
        let start = out.len();
        out.extend_from_slice(plain);
        match self {
            Self::Legacy(cipher) => cipher.try_apply_keystream(&mut out[start..]).map_err(|_| Unspecified),
            Self::Aead { key, nonce } => {
                let tag = key.seal_in_place_separate_tag(next(nonce), Aad::empty(), &mut out[start..])?;
                out.extend_from_slice(tag.as_ref());
                Ok(())
            }
        }
    }

    /// Decrypts in place. The error is of bytes that the other side of this key has not sent.
    pub(crate) fn open<'a>(&mut self, sealed: &'a mut [u8]) -> Result<&'a [u8], Unspecified> {
        match self {
            Self::Legacy(cipher) => {
                cipher.try_apply_keystream(sealed).map_err(|_| Unspecified)?;
                Ok(sealed)
            }
            Self::Aead { key, nonce } => {
                let plain = key.open_in_place(next(nonce), Aad::empty(), sealed)?;
                Ok(plain)
            }
        }
    }
}

/// The nonce, and one more for the next time: a number, its lowest byte first.
fn next(nonce: &mut [u8; NONCE_LEN]) -> Nonce {
    let used = Nonce::assume_unique_for_key(*nonce);
    for byte in nonce {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    used
}

#[cfg(test)]
#[path = "ss_cipher_tests.rs"]
mod tests;
