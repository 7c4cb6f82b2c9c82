//! Datagrams for a target in datagrams to a hop: behind SOCKS5's UDP header (RFC 1928 section 7), or sealed as Shadowsocks
//! does. Pure. Fragments are not put together again, as the RFC allows.

use fairlead_config::HostPort;

use super::{
    address::{self, AddressError},
    ss_cipher::Key,
};

/// How a datagram is wrapped, for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// The header.
    Socks5(Vec<u8>),
    /// The target's address, which is sealed with the data.
    Ss { key: Key, address: Vec<u8> },
}

impl Wrapping {
    /// For UDP ASSOCIATE.
    pub(crate) fn socks5(target: &HostPort) -> Result<Self, AddressError> {
        let mut header = vec![0; 3];
        address::encode(target, &mut header)?;
        Ok(Self::Socks5(header))
    }

    pub(crate) fn ss(key: Key, target: &HostPort) -> Result<Self, AddressError> {
        let mut address = Vec::new();
        address::encode(target, &mut address)?;
        Ok(Self::Ss { key, address })
    }

    /// The datagram for the hop; none if encrypting fails.
    pub(crate) fn wrap(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Socks5(header) => Some([header, datagram].concat()),
            Self::Ss { key, address } => key.seal_datagram(&[address, datagram].concat()).ok(),
        }
    }

    /// What a datagram of the hop holds, whoever sent it; none if it is no datagram for us.
    pub(crate) fn unwrap<'a>(&self, wrapped: &'a mut [u8]) -> Option<&'a [u8]> {
        let behind_address = |bytes: &'a [u8]| bytes.get(address::length(bytes).ok().flatten()?..);
        match self {
            Self::Socks5(_) => match wrapped {
                [_, _, 0, rest @ ..] => behind_address(rest),
                _ => None,
            },
            Self::Ss { key, .. } => behind_address(key.open_datagram(wrapped).ok()?),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::{super::ss_cipher::Method, *};

    #[test]
    fn a_socks5_datagram_is_what_the_rfc_says() {
        let wrapping = Wrapping::socks5(&HostPort::new("10.0.0.1", 53)).unwrap();
        assert_eq!(wrapping.wrap(b"ask").unwrap(), b"\x00\x00\x00\x01\x0a\x00\x00\x01\x00\x35ask");
        for (wrapped, want) in [
            (&b"\x00\x00\x00\x01\x0a\x00\x00\x01\x00\x35answer"[..], Some(&b"answer"[..])),
            (b"\x00\x00\x00\x03\x01a\x00\x35", Some(b"")),
            (b"\x00\x00\x01\x01\x0a\x00\x00\x01\x00\x35a fragment", None),
            (b"\x00\x00\x00\x01\x0a\x00", None),
            (b"\x00\x00\x00\x09", None),
            (b"", None),
        ] {
            assert_eq!(wrapping.unwrap(&mut wrapped.to_vec()), want, "{wrapped:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_wrapped_is_unwrapped(data in proptest::collection::vec(any::<u8>(), 0..2000), host in "[a-z.]{1,60}|::1|10\\.0\\.0\\.1") {
            let target = HostPort::new(host, 53);
            let ss = |method| Wrapping::ss(Key::new(method, "pass"), &target).unwrap();
            for wrapping in [Wrapping::socks5(&target).unwrap(), ss(Method::Aes256Gcm), ss(Method::Chacha20)] {
                let mut wrapped = wrapping.wrap(&data).unwrap();
                prop_assert_eq!(wrapping.unwrap(&mut wrapped), Some(&data[..]));
            }
        }

        #[test]
        fn noise_is_no_datagram_or_part_of_itself(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let target = HostPort::new("a", 53);
            let ss = |method| Wrapping::ss(Key::new(method, "pass"), &target).unwrap();
            for wrapping in [Wrapping::socks5(&target).unwrap(), ss(Method::Aes256Gcm), ss(Method::Chacha20)] {
                let mut bytes = noise.clone();
                prop_assert!(wrapping.unwrap(&mut bytes).is_none_or(|data| data.len() <= noise.len()));
            }
        }
    }
}
