//! Who asks: single clients, a steady stream of new ones, thousands of idle ones, and one that closes half a connection.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, SocketAddrV4, TcpStream},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    bench::load::{half_close, paced},
    deadline::SOON,
};

pub use crate::bench::load::half_close::First;

/// Connects, says one byte and answers the letter that comes back.
pub fn ask(address: impl Into<SocketAddr>) -> io::Result<char> {
    let mut stream = dial(address)?;
    stream.write_all(b"?")?;
    letter(&mut stream)
}

/// Asks as many times, one after the other; a client that gets no answer shows as `-`.
pub fn ask_times(address: impl Into<SocketAddr>, times: usize) -> String {
    let address = address.into();
    (0..times).map(|_| ask(address).unwrap_or('-')).collect()
}

/// Connects; reads and writes that take long fail.
pub fn dial(address: impl Into<SocketAddr>) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address.into(), SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

/// Reads one letter.
pub fn letter(mut stream: impl Read) -> io::Result<char> {
    let mut letter = [0];
    stream.read_exact(&mut letter)?;
    Ok(char::from(letter[0]))
}

/// Says something and compares what comes back.
pub fn is_echoed(mut stream: &TcpStream, words: &str) -> bool {
    let mut answer = vec![0; words.len()];
    let said = stream.write_all(words.as_bytes()).and_then(|()| stream.read_exact(&mut answer));
    said.is_ok() && answer == words.as_bytes()
}

/// Whether the connection ends now or has ended: the peer closed it, or broke it.
pub fn has_ended(mut stream: &TcpStream) -> bool {
    !matches!(stream.read(&mut [0]), Ok(1..))
}

/// Clients that come at a steady rate whether earlier ones were answered or not; begun by [`Load::start`].
pub struct Load {
    thread: JoinHandle<anyhow::Result<Vec<paced::Attempt>>>,
}

/// How the clients of a [`Load`] fared.
#[derive(Debug, Clone, PartialEq)]
pub struct Fared {
    pub clients: usize,
    pub unanswered: usize,
    /// The time from a client's dial to its answer that 99 of 100 stay within.
    pub p99: Duration,
    pub slowest: Duration,
}

impl Load {
    /// Begins `rate` connections a second for `duration`.
    pub fn start(port: u16, rate: u32, duration: Duration) -> Self {
        let address = SocketAddrV4::new([127, 0, 0, 1].into(), port);
        Self { thread: std::thread::spawn(move || paced::run(address, rate, duration)) }
    }

    /// Waits for the last client.
    pub fn finish(self) -> Fared {
        let attempts = self.thread.join().expect("the load's thread panicked").expect("the load could be made");
        let mut latencies: Vec<Duration> = attempts.iter().filter_map(|a| Some(a.answered? - a.started)).collect();
        latencies.sort_unstable();
        let rank = (latencies.len() * 99).div_ceil(100).saturating_sub(1);
        Fared {
            clients: attempts.len(),
            unanswered: attempts.len() - latencies.len(),
            p99: latencies.get(rank).copied().unwrap_or_default(),
            slowest: latencies.last().copied().unwrap_or_default(),
        }
    }
}

/// Sends `size` bytes each way through a forward whose target `through` is told; the one who speaks first closes its
/// half before the other begins. Every byte is compared. `through` answers the port to dial.
pub fn half_close(size: u64, first: First, through: impl FnOnce(SocketAddr) -> u16) -> anyhow::Result<()> {
    let (listener, address) = half_close::listen()?;
    let port = through(address.into());
    half_close::run(SocketAddrV4::new([127, 0, 0, 1].into(), port), &listener, size, first)
}

/// Sends `size` bytes to a target that echoes, and reads them back at the same time; closes the sending half then, and
/// reads the end. Every byte is compared.
pub fn echo_both_ways(stream: &TcpStream, size: usize) {
    const PART: usize = 1 << 16;
    let part = |number: usize| -> Vec<u8> { (0..PART).map(|at| (number * 31 + at * 7 + at / 251) as u8).collect() };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = stream;
            (0..size / PART).for_each(|number| writer.write_all(&part(number)).expect("write"));
            writer.shutdown(Shutdown::Write).expect("close the sending half");
        });
        let (mut reader, mut got) = (stream, vec![0; PART]);
        for number in 0..size / PART {
            reader.read_exact(&mut got).expect("read");
            assert!(got == part(number), "part {number} came back changed");
        }
        assert_eq!(reader.read(&mut got).expect("the end"), 0);
    });
}

/// Opens `count` connections to a target that greets, and waits for each one's greeting.
pub fn open_many(port: u16, count: usize) -> io::Result<Vec<TcpStream>> {
    let begin = Instant::now();
    let open = |index: usize| -> io::Result<TcpStream> {
        let stream = dial(([127, 0, 0, 1], port)).and_then(|stream| letter(&stream).map(|_| stream));
        stream.map_err(|error| {
            io::Error::new(error.kind(), format!("connection {index} after {:?}: {error}", begin.elapsed()))
        })
    };
    (0..count).map(open).collect()
}

/// Closes the sending half and reads the rest.
pub fn finish(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    Ok(rest)
}

/// What an HTTP server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    pub code: u16,
    pub body: String,
}

/// Asks an HTTP server on this machine; for answers that aren't sent in chunks.
pub fn http(method: &str, port: u16, path: &str) -> io::Result<HttpAnswer> {
    let mut stream = dial(([127, 0, 0, 1], port))?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split_ascii_whitespace().nth(1).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP answer: {head}")))?;
    Ok(HttpAnswer { code, body: body.to_owned() })
}
