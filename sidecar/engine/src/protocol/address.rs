//! Addresses as SOCKS5 writes them (RFC 1928 section 5): a type, an IP address or a name, a port. The same bytes stand
//! in relay's features, in Shadowsocks requests and in front of datagrams. Pure.

use std::net::{IpAddr, SocketAddr};

use fairlead_config::HostPort;

/// The longest name in bytes.
pub(crate) const LONGEST_NAME: usize = 255;
/// The longest address in bytes, its type and its port included.
pub(crate) const LONGEST: usize = LONGEST_NAME + 4;

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Why bytes are no address, or an address can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("a name has {0} bytes, and at most {LONGEST_NAME} can be carried")]
    NameTooLong(usize),
    #[error("an address has type {0}")]
    Type(u8),
    #[error("a name is no text")]
    Name,
}

/// Writes an address; one that is an IP address goes as such, and not as text.
pub(crate) fn encode(address: &HostPort, out: &mut Vec<u8>) -> Result<(), AddressError> {
    if let Ok(ip) = address.host.parse() {
        encode_ip(SocketAddr::new(ip, address.port), out);
        return Ok(());
    }
    let too_long = |_| AddressError::NameTooLong(address.host.len());
    let length = u8::try_from(address.host.len()).map_err(too_long)?;
    out.extend([NAME, length]);
    out.extend_from_slice(address.host.as_bytes());
    out.extend(address.port.to_be_bytes());
    Ok(())
}

/// Writes a socket's address; IPv4 within IPv6 is IPv4 again.
pub(crate) fn encode_ip(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            out.push(IPV4);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(IPV6);
            out.extend(ip.octets());
        }
    }
    out.extend(address.port().to_be_bytes());
}

/// How many bytes the address that `bytes` begin with has; none while too few of them are there to tell.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, AddressError> {
    match bytes {
        [] => Ok(None),
        [IPV4, ..] => Ok(Some(1 + 4 + 2)),
        [IPV6, ..] => Ok(Some(1 + 16 + 2)),
        [NAME] => Ok(None),
        [NAME, length, ..] => Ok(Some(2 + usize::from(*length) + 2)),
        [other, ..] => Err(AddressError::Type(*other)),
    }
}

/// Reads the address that `bytes` begin with, and its length; none while it is not whole.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(HostPort, usize)>, AddressError> {
    let Some(length) = length(bytes)?.filter(|length| *length <= bytes.len()) else { return Ok(None) };
    let (host, port) = bytes[..length].split_at(length - 2);
    let port = u16::from_be_bytes([port[0], port[1]]);
    let host = match host[0] {
        IPV4 => octets::<4>(&host[1..]).map(|octets| IpAddr::from(octets).to_string()),
        IPV6 => octets::<16>(&host[1..]).map(|octets| IpAddr::from(octets).to_canonical().to_string()),
        _ => std::str::from_utf8(&host[2..]).ok().map(str::to_owned),
    };
    Ok(Some((HostPort::new(host.ok_or(AddressError::Name)?, port), length)))
}

fn octets<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_names_are_written_as_what_they_are() {
        for (host, want) in [
            ("10.0.0.1", b"\x01\x0a\x00\x00\x01\x00\x50".to_vec()),
            ("a.example", b"\x03\x09a.example\x00\x50".to_vec()),
            ("::1", [b"\x04".as_slice(), &[0; 15], b"\x01\x00\x50"].concat()),
            ("::ffff:10.0.0.1", b"\x01\x0a\x00\x00\x01\x00\x50".to_vec()),
        ] {
            let mut bytes = Vec::new();
            encode(&HostPort::new(host, 80), &mut bytes).unwrap();
            assert_eq!(bytes, want);
        }
        assert!(encode(&HostPort::new("a".repeat(256), 80), &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_nothing_behind_it_is_touched(
            host in prop_oneof![
                "[a-z0-9.-]{0,255}",
                any::<[u8; 4]>().prop_map(|ip| IpAddr::from(ip).to_string()),
                any::<[u8; 16]>().prop_map(|ip| IpAddr::from(ip).to_canonical().to_string()),
            ],
            port: u16,
            rest in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            let address = HostPort::new(host, port);
            encode(&address, &mut bytes).unwrap();
            let whole = bytes.len();
            prop_assert!(whole <= LONGEST);
            for part in 0..whole {
                prop_assert_eq!(decode(&bytes[..part]), Ok(None));
            }
            bytes.extend(rest);
            prop_assert_eq!(length(&bytes), Ok(Some(whole)));
            prop_assert_eq!(decode(&bytes), Ok(Some((address, whole))));
        }

        #[test]
        fn noise_is_an_error_and_never_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((_, length))) = decode(&noise) {
                prop_assert!(length <= noise.len());
            }
        }
    }
}
