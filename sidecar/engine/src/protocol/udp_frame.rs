//! GOST's frames of datagrams in a stream, behind SOCKS5's command 0xF3 and in its Shadowsocks tunnels: SOCKS5's UDP
//! header (RFC 1928 section 7) with the length of the data in the reserved bytes. Pure; both sides.
//! Invariants: a written frame is never empty, which would stall a peer for good, nor larger than a GOST peer survives.

use std::ops::Range;

use fairlead_config::HostPort;

use super::address::{self, AddressError};

/// What a GOST peer reads at most, header and data together.
pub(crate) const FRAME_LIMIT: usize = 16_384;
/// Bytes before the address: length and fragment number.
const FIXED: usize = 3;

/// Why a datagram has no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unframed {
    Empty,
    TooBig,
}

/// A frame that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where the address is, type and port included.
    pub(crate) address: Range<usize>,
    /// Where the data is; its end is the frame's.
    pub(crate) data: Range<usize>,
}

/// Appends a frame; `address` is as [`address::encode`] writes it.
pub(crate) fn encode(address: &[u8], datagram: &[u8], out: &mut Vec<u8>) -> Result<(), Unframed> {
    let length = u16::try_from(datagram.len()).map_err(|_| Unframed::TooBig)?;
    if datagram.is_empty() {
        return Err(Unframed::Empty);
    }
    if FIXED + address.len() + datagram.len() > FRAME_LIMIT {
        return Err(Unframed::TooBig);
    }
    out.extend(length.to_be_bytes());
    out.push(0);
    out.extend_from_slice(address);
    out.extend_from_slice(datagram);
    Ok(())
}

/// Finds the frame that `bytes` begin with; none while it is not whole. Frames of any size are read, empty ones too.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Frame>, AddressError> {
    let Some((head, rest)) = bytes.split_at_checked(FIXED) else { return Ok(None) };
    let Some(length) = address::length(rest)? else { return Ok(None) };
    let data = FIXED + length;
    let end = data + usize::from(u16::from_be_bytes([head[0], head[1]]));
    Ok((bytes.len() >= end).then_some(Frame { address: FIXED..data, data: data..end }))
}

/// The address in a frame.
pub(crate) fn peer(address: &[u8]) -> Result<HostPort, AddressError> {
    address::decode(address)?.map(|(peer, _)| peer).ok_or(AddressError::Name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V4: &[u8] = b"\x01\x7f\x00\x00\x01\x52\x13";

    #[test]
    fn frames_are_what_gost_exchanges() {
        let mut bytes = Vec::new();
        encode(V4, b"ping1", &mut bytes).unwrap();
        assert_eq!(bytes, b"\x00\x05\x00\x01\x7f\x00\x00\x01\x52\x13ping1");
        encode(V4, b"ping-two", &mut bytes).unwrap();
        let first = decode(&bytes).unwrap().unwrap();
        assert_eq!(&bytes[first.data.clone()], b"ping1");
        assert_eq!(peer(&bytes[first.address]).unwrap(), HostPort::new("127.0.0.1", 21_011));
        let rest = &bytes[first.data.end..];
        assert_eq!(&rest[decode(rest).unwrap().unwrap().data], b"ping-two");
    }

    #[test]
    fn what_would_stall_or_end_a_gost_peer_is_never_written() {
        let v6 = [b"\x04".as_slice(), &[0; 18]].concat();
        for (address, most) in [(V4, 16_374), (&v6[..], 16_362)] {
            let mut out = Vec::new();
            assert_eq!(encode(address, b"", &mut out), Err(Unframed::Empty));
            assert_eq!(encode(address, &vec![0; most + 1], &mut out), Err(Unframed::TooBig));
            assert_eq!(encode(address, &vec![0; 65_507], &mut out), Err(Unframed::TooBig));
            assert!(out.is_empty());
            assert_eq!(encode(address, &vec![0; most], &mut out), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn frames_read_back_one_by_one_however_they_arrive(
            datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..5), cut in 0..700_usize,
        ) {
            let mut bytes = Vec::new();
            for datagram in &datagrams {
                encode(V4, datagram, &mut bytes).unwrap();
            }
            let (mut read, mut rest) = (Vec::new(), &bytes[..cut.min(bytes.len())]);
            while let Some(frame) = decode(rest).unwrap() {
                read.push(rest[frame.data.clone()].to_vec());
                rest = &rest[frame.data.end..];
            }
            prop_assert_eq!(&datagrams[..read.len()], &read[..]);
            prop_assert!(cut < bytes.len() || read.len() == datagrams.len());
        }

        #[test]
        fn noise_is_an_error_or_a_frame_within_it(noise in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(Some(frame)) = decode(&noise) {
                prop_assert!(frame.data.end <= noise.len());
                let _ = peer(&noise[frame.address]);
            }
        }
    }
}
