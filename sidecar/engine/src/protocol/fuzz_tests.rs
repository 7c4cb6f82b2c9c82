//! Bytes of peers that may be anybody, through every decoder: an error or a value that is written back as it was read,
//! and never a panic nor more than was sent.
#![allow(clippy::unwrap_used)]

use bolero::check;
use fairlead_config::HostPort;
use futures::FutureExt;
use tokio::io::AsyncReadExt;

use super::{
    address,
    relay::{self, Request},
    ss::SsStream,
    ss_cipher::{Key, Method},
    udp_frame,
    wrapping::Wrapping,
};
use crate::testing::fuzz_time;

#[test]
fn addresses_and_frames_of_anybody_are_read_as_they_would_be_written() {
    check!(name = "address_and_frame_bytes").with_test_time(fuzz_time()).for_each(|bytes: &[u8]| {
        if let Ok(Some((read, length))) = address::decode(bytes) {
            let mut again = Vec::new();
            // A name that is an IP address is written as one.
            if address::encode(&read, &mut again).is_ok() && bytes[0] == again[0] {
                assert_eq!(&bytes[..length], again);
            }
        }
        if let Ok(Some(frame)) = udp_frame::decode(bytes) {
            let (data, end) = (frame.data.clone(), frame.data.end);
            let mut again = Vec::new();
            let written = udp_frame::encode(&bytes[frame.address], &bytes[data], &mut again);
            // The fragment number is not looked at.
            assert!(written.is_err() || (again[..2] == bytes[..2] && again[3..] == bytes[3..end]));
        }
        if let Some((datagram, length)) = relay::decode_datagram(bytes) {
            let mut again = Vec::new();
            assert!(relay::encode_datagram(datagram, &mut again) && again == bytes[..length]);
        }
    });
}

#[test]
fn relay_requests_of_anybody_read_back_equal() {
    check!(name = "relay_request_bytes").with_test_time(fuzz_time()).for_each(|bytes: &[u8]| {
        // More often a request than bytes by chance are.
        let framed = [&[1, bytes.first().copied().unwrap_or_default() & 0x81, 0, bytes.len() as u8], bytes].concat();
        for mut input in [bytes, &framed[..]] {
            let Some(Ok(read)) = Request::read(&mut input).now_or_never() else { continue };
            let Ok(written) = read.encode() else { continue };
            assert_eq!(Request::read(&mut &written[..]).now_or_never().unwrap().unwrap(), read);
        }
    });
}

#[test]
fn nothing_of_anybody_without_the_key_is_read() {
    let target = HostPort::new("a", 53);
    check!(name = "shadowsocks_bytes").with_test_time(fuzz_time()).for_each(|bytes: &[u8]| {
        for method in [Method::Aes128Gcm, Method::Aes256Gcm, Method::Chacha20Poly1305, Method::Chacha20] {
            let key = Key::new(method, "pass");
            let mut wrapped = bytes.to_vec();
            let unwrapped = Wrapping::ss(key.clone(), &target).unwrap().unwrap(&mut wrapped).map(<[u8]>::len);
            let mut read = Vec::new();
            let _ = SsStream::new(bytes, key).read_to_end(&mut read).now_or_never().unwrap();
            let most = if method.is_aead() { 0 } else { bytes.len() };
            assert!(read.len() <= most && unwrapped.is_none_or(|length| length <= most));
        }
    });
}
