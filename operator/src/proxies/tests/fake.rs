//! A proxy's admin port as far as the operator sees it: real TLS and HTTP on loopback, nothing behind it.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use fairlead_config::{
    ReadConfig, Report,
    admin::{CONFIG_PATH, PushAnswer, REPORT_PATH},
};
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::super::lock;

/// How the fake answers whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// As a proxy does, without keep-alive.
    Good,
    /// With these bytes and then nothing.
    Says(&'static [u8]),
    /// With a line that never ends.
    Endless,
    /// With this many reports at once.
    Hasty(u64),
    /// Not at all: 404.
    Missing,
}

pub(super) struct Fake {
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    server: Option<AbortOnDropHandle<()>>,
}

pub(super) struct Shared {
    pub(super) report: watch::Sender<Report>,
    pub(super) pushes: Mutex<Vec<u64>>,
    pub(super) handshakes: AtomicUsize,
    /// Pushes are answered while this is true.
    pub(super) open: watch::Sender<bool>,
    trusted: Mutex<Arc<ServerConfig>>,
    mood: Mood,
}

impl Fake {
    /// A proxy on a port of its own that trusts the bundle.
    pub(super) async fn start(bundle: &str, mood: Mood) -> Self {
        let shared = Shared {
            report: watch::Sender::new(Report { version: 1, ..Report::default() }),
            pushes: Mutex::default(),
            handshakes: AtomicUsize::new(0),
            open: watch::Sender::new(true),
            trusted: Mutex::new(server_config(bundle)),
            mood,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut fake = Self { address: listener.local_addr().unwrap(), shared: Arc::new(shared), server: None };
        fake.serve(listener);
        fake
    }

    /// Closes the port and every connection.
    pub(super) async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }

    /// Listens at the same address again, as a process that knows nothing.
    pub(super) fn restart(&mut self) {
        self.shared.report.send_replace(Report { version: 1, ..Report::default() });
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.serve(socket.listen(64).unwrap());
    }

    /// Changes who may connect from now on.
    pub(super) fn trust(&self, bundle: &str) {
        *lock(&self.shared.trusted) = server_config(bundle);
    }

    pub(super) fn pushes(&self) -> Vec<u64> {
        lock(&self.shared.pushes).clone()
    }

    pub(super) fn revision(&self) -> u64 {
        self.shared.report.borrow().revision
    }

    pub(super) fn handshakes(&self) -> usize {
        self.shared.handshakes.load(SeqCst)
    }

    fn serve(&mut self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        self.server = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, shared) = (TlsAcceptor::from(Arc::clone(&lock(&shared.trusted))), Arc::clone(&shared));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    shared.handshakes.fetch_add(1, SeqCst);
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        })));
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let answer = match (request.method(), request.uri().path()) {
        (&Method::PUT, CONFIG_PATH) => take(&shared, request).await,
        (&Method::GET, REPORT_PATH) => watched(&shared),
        _ => whole(404, "nothing here\n"),
    };
    Ok(answer)
}

async fn take(shared: &Shared, request: Request<Incoming>) -> Answer {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let _ = shared.open.subscribe().wait_for(|open| *open).await;
    let running = shared.report.borrow().revision;
    let say = |code, revision, message: Option<&str>| {
        let answer = PushAnswer { revision: Some(revision), message: message.map(str::to_owned) };
        whole(code, &serde_json::to_string(&answer).unwrap())
    };
    let Ok(config) = ReadConfig::parse(str::from_utf8(&body).unwrap()) else {
        return say(400, running, Some("no such\nlanguage"));
    };
    lock(&shared.pushes).push(config.revision);
    if config.revision < running {
        return say(409, running, Some("older"));
    }
    shared.report.send_modify(|report| report.revision = config.revision);
    say(200, config.revision, None)
}

fn watched(shared: &Shared) -> Answer {
    let line = |report: &Report| Bytes::from(serde_json::to_string(report).unwrap() + "\n");
    let frames = match shared.mood {
        Mood::Missing => return whole(404, "no \u{1b} report\nhere"),
        Mood::Good => {
            let reports = stream::unfold((shared.report.subscribe(), true), move |(mut report, first)| async move {
                if !first {
                    report.changed().await.ok()?;
                }
                let line = line(&report.borrow_and_update());
                Some((line, (report, false)))
            });
            reports.boxed()
        }
        Mood::Says(bytes) => stream::iter([Bytes::from_static(bytes)]).chain(stream::pending()).boxed(),
        Mood::Endless => stream::repeat(Bytes::from(vec![b' '; 8192])).boxed(),
        Mood::Hasty(count) => {
            let report = move |revision| line(&Report { version: 1, revision, forwards: Vec::new() });
            stream::iter((1..=count).map(report)).chain(stream::pending()).boxed()
        }
    };
    let body = StreamBody::new(frames.map(|bytes| Ok(Frame::data(bytes))));
    Response::new(body.boxed_unsync())
}

fn whole(code: u16, text: &str) -> Answer {
    Response::builder().status(code).body(Full::new(Bytes::from(text.to_owned())).boxed_unsync()).unwrap()
}

fn server_config(bundle: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle.as_bytes()).map(Result::unwrap));
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
    let own = rcgen::generate_simple_self_signed(["proxy".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier);
    Arc::new(config.with_single_cert(vec![own.cert.der().clone()], key).unwrap())
}

/// Waits until something is true, which it must become soon, whatever the runtime's clock says.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20), "waited in vain for this: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
