//! Shadowsocks streams over pipes: whatever is written in whatever pieces arrives, and foreign bytes don't.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{super::ss_cipher::Method, *};

const METHODS: [Method; 4] = [Method::Aes128Gcm, Method::Aes256Gcm, Method::Chacha20Poly1305, Method::Chacha20];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Sends `pieces` through a pipe of `room` bytes, each way at once, and returns what arrived.
async fn carried(method: Method, pieces: &[Vec<u8>], room: usize) -> [Vec<u8>; 2] {
    let key = Key::new(method, "pass");
    let (ours, theirs) = duplex(room);
    let side = |end| {
        let (mut stream, pieces) = (SsStream::new(end, key.clone()), pieces.to_vec());
        async move {
            let (mut read, mut write) = tokio::io::split(&mut stream);
            let writing = async {
                for piece in &pieces {
                    write.write_all(piece).await.unwrap();
                    write.flush().await.unwrap();
                }
                write.shutdown().await.unwrap();
            };
            let mut all = Vec::new();
            let (read, ()) = tokio::join!(read.read_to_end(&mut all), writing);
            read.unwrap();
            all
        }
    };
    let (one, other) = tokio::join!(side(ours), side(theirs));
    [one, other]
}

#[tokio::test]
async fn a_first_write_is_a_salt_and_sealed_chunks_of_at_most_16383_bytes() {
    for (method, want) in [
        (Method::Aes128Gcm, 16 + LENGTH + CHUNK + TAG + LENGTH + 1 + TAG),
        (Method::Chacha20Poly1305, 32 + LENGTH + CHUNK + TAG + LENGTH + 1 + TAG),
        (Method::Chacha20, 8 + CHUNK + 1),
    ] {
        let mut stream = SsStream::new(Vec::new(), Key::new(method, "pass"));
        stream.write_all(&vec![7; CHUNK + 1]).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.inner.len(), want, "{method:?}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_within_a_chunk_was_cut_off() {
    let mut sealed = SsStream::new(Vec::new(), Key::new(Method::Aes128Gcm, "pass"));
    sealed.write_all(b"hello").await.unwrap();
    sealed.flush().await.unwrap();
    let whole = sealed.inner;
    for (length, is_clean) in [(0, true), (5, false), (16, true), (30, false), (34, false), (whole.len(), true)] {
        let mut stream = SsStream::new(&whole[..length], Key::new(Method::Aes128Gcm, "pass"));
        let ended = stream.read_to_end(&mut Vec::new()).await;
        assert_eq!(ended.map_err(|error| error.kind()).is_ok(), is_clean, "{length} bytes");
    }
}

#[tokio::test]
async fn another_password_is_an_error_that_says_so() {
    let mut sealed = SsStream::new(Vec::new(), Key::new(Method::Aes256Gcm, "pass"));
    sealed.write_all(b"hello").await.unwrap();
    sealed.flush().await.unwrap();
    let mut stream = SsStream::new(&sealed.inner[..], Key::new(Method::Aes256Gcm, "other"));
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("another password"), "{error}");
}

#[tokio::test]
async fn what_a_client_said_is_taken_once_and_salts_of_others_are_not_remembered() {
    for (method, is_taken_again) in METHODS.into_iter().zip([false, false, false, true]) {
        let known = Arc::<Salts>::default();
        let key = Key::new(method, "pass");
        let mut sealed = SsStream::new(Vec::new(), key.clone());
        sealed.write_all(b"hello").await.unwrap();
        sealed.flush().await.unwrap();
        let whole = sealed.into_inner();
        let read = async |bytes: &[u8]| {
            let mut read = Vec::new();
            let mut stream = SsStream::of_client(bytes, key.clone(), Arc::clone(&known));
            let ended = stream.read_to_end(&mut read).await;
            (ended.map_err(|error| error.to_string()).err(), read)
        };
        let mut forged = whole.clone();
        forged[method.salt_length()] ^= 1;
        if method.is_aead() {
            assert!(read(&forged).await.0.unwrap().contains("another password"), "{method:?}");
        }
        assert_eq!(read(&whole).await, (None, b"hello".to_vec()), "{method:?}");
        let (error, again) = read(&whole).await;
        assert_eq!(error.is_none(), is_taken_again, "{method:?}: {error:?}");
        assert_eq!(again == b"hello", is_taken_again, "{method:?}");
        assert!(error.is_none_or(|error| error.contains("repeats")), "{method:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_arrives_each_way_whatever_the_pieces(
        sizes in proptest::collection::vec(prop_oneof![0..40_usize, 16_000..40_000_usize], 0..4),
        room in prop_oneof![Just(1_usize), 2..100_usize, 1000..70_000_usize],
    ) {
        let pieces: Vec<Vec<u8>> = sizes.iter().map(|size| (0..*size).map(|index| (index % 251) as u8).collect()).collect();
        let all = pieces.concat();
        for method in METHODS {
            // Byte by byte takes its time.
            let room = if all.len() > 1000 { room.max(1000) } else { room };
            let [one, other] = runtime().block_on(carried(method, &pieces, room));
            prop_assert!(one == all && other == all, "{method:?} of {} bytes", all.len());
        }
    }

    #[test]
    fn noise_is_an_error_and_never_a_byte(noise in proptest::collection::vec(any::<u8>(), 33..200)) {
        for method in METHODS.into_iter().filter(|method| method.is_aead()) {
            let mut stream = SsStream::new(&noise[..], Key::new(method, "pass"));
            let mut read = Vec::new();
            prop_assert!(runtime().block_on(stream.read_to_end(&mut read)).is_err());
            prop_assert!(read.is_empty());
        }
    }
}
