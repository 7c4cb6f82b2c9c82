//! A way to a server that can get lost: connections are carried until it vanishes under them, as when a host dies or a
//! firewall forgets, and nobody at this end is told. Those that come later are carried again.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::{
    deadline::{SOON, await_condition},
    ports, silence,
};

/// How long nothing is said once every handshake is over.
const QUIET: Duration = Duration::from_secs(1);

/// The way to one server; it carries until the process ends.
pub struct Passage {
    /// Where it is entered, on 127.0.0.1.
    pub port: u16,
    listener: TcpListener,
    carried: Arc<Mutex<Vec<Carried>>>,
    heard_at: HeardAt,
}

type HeardAt = Arc<Mutex<Instant>>;

/// A connection and the server's half of it.
struct Carried {
    near: TcpStream,
    far: TcpStream,
    is_lost: Arc<AtomicBool>,
}

impl Passage {
    /// To a server on a port of 127.0.0.1.
    pub fn to(server: u16) -> Self {
        let (listener, address) = ports::listen();
        let carried = Arc::<Mutex<Vec<Carried>>>::default();
        let kept = listener.try_clone().expect("a descriptor");
        let heard_at = Arc::new(Mutex::new(Instant::now()));
        let (all, heard) = (Arc::clone(&carried), Arc::clone(&heard_at));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // A server that is away: the connection is closed.
                let Ok(far) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let carried = Carried { near, far, is_lost: Arc::default() };
                carried.begin(&heard);
                all.lock().expect("connections").push(carried);
            }
        });
        Self { port: address.port(), listener: kept, carried, heard_at }
    }

    /// Once nothing is said, takes every present connection away: the server sees an end, and the other side nothing
    /// ever again.
    pub fn vanish(&self) {
        await_condition("silence", SOON, || self.heard_at.lock().expect("a time").elapsed() > QUIET);
        let carried = self.carried.lock().expect("connections");
        carried.iter().for_each(Carried::lose);
        // What is under way would be sent again and again, and be a sign of life.
        await_condition("all to be acknowledged", SOON, || ports::is_all_acknowledged(self.port));
        carried.iter().for_each(Carried::cut_off);
    }

    /// Takes them away whatever is under way, and takes no others until it is back.
    pub fn close(&self) {
        silence::drop_syns(&self.listener).expect("a filter");
        let carried = self.carried.lock().expect("connections");
        carried.iter().for_each(Carried::lose);
        carried.iter().for_each(Carried::cut_off);
    }

    /// Takes connections again.
    pub fn open(&self) {
        silence::take_syns(&self.listener).expect("no filter");
    }
}

impl Carried {
    /// The server sees an end.
    fn lose(&self) {
        self.is_lost.store(true, SeqCst);
        let _ = self.far.shutdown(Shutdown::Both);
    }

    /// The other side sees nothing more.
    fn cut_off(&self) {
        silence::cut_off(&self.near).expect("a filter");
    }

    fn begin(&self, heard_at: &HeardAt) {
        for (from, to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            let (from, to) = (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor"));
            let (is_lost, heard_at) = (Arc::clone(&self.is_lost), Arc::clone(heard_at));
            std::thread::spawn(move || carry(from, to, &is_lost, &heard_at));
        }
    }
}

/// Carries one way to its end, unless that is because it is lost.
fn carry(mut from: TcpStream, mut to: TcpStream, is_lost: &AtomicBool, heard_at: &Mutex<Instant>) {
    let mut buffer = [0; 1 << 14];
    loop {
        let count = from.read(&mut buffer).unwrap_or_default();
        if is_lost.load(SeqCst) {
            return;
        }
        *heard_at.lock().expect("a time") = Instant::now();
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}
