//! One HTTP/1.1 connection to a pod, from dialling to answers. Invariant: over all pods, at most so many handshakes are
//! under way at once, and each connection is made with the identity of its moment.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use fairlead_config::admin::HANDSHAKE_TIMEOUT;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::AbortOnDropHandle;

use super::{error::LinkError, lock, tls};
use crate::authority::Identity;

/// Handshakes under way at once, over all pods.
const HANDSHAKES_LIMIT: usize = 64;
/// How long a pod may take to accept a connection.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a pod may take to begin its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer's head, and of its body's chunk, that are held; the least that hyper takes.
const BUFFER_LIMIT: usize = 8 << 10;
/// Bytes of an answer that are read where a short one is expected.
const SHORT_ANSWER_LIMIT: usize = 16 << 10;

/// What every pod is dialled with.
pub(super) struct Dialler {
    identity: watch::Receiver<Arc<Identity>>,
    /// Made from the identity beside it.
    config: Mutex<Option<(Arc<Identity>, Arc<ClientConfig>)>>,
    handshakes: Semaphore,
}

/// A connection that answers one request at a time.
pub(super) struct Http {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    _connection: AbortOnDropHandle<()>,
}

impl Dialler {
    pub(super) fn new(identity: watch::Receiver<Arc<Identity>>) -> Self {
        Self { identity, config: Mutex::default(), handshakes: Semaphore::new(HANDSHAKES_LIMIT) }
    }

    /// A receiver that wakes when there is a new identity.
    pub(super) fn identity(&self) -> watch::Receiver<Arc<Identity>> {
        self.identity.clone()
    }

    /// Makes a connection.
    pub(super) async fn dial(&self, address: SocketAddr) -> Result<Http, LinkError> {
        let stream = self.handshake(address).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_LIMIT);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            // What went wrong is the answer to the request that was under way.
            let _ = connection.await;
        });
        Ok(Http { sender, address, _connection: AbortOnDropHandle::new(connection) })
    }

    async fn handshake(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>, LinkError> {
        let stream = timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| LinkError::DialTimeout(address, DIAL_TIMEOUT))?;
        let stream = stream.map_err(|error| LinkError::Dial(address, error))?;
        // What fails here fails again, and is told, in the handshake.
        let _ = stream.set_nodelay(true);
        // The semaphore is never closed. A pod that doesn't answer at all was waited for without a permit.
        let _permit = self.handshakes.acquire().await;
        let config = self.config().map_err(LinkError::Identity)?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = timeout(HANDSHAKE_TIMEOUT, TlsConnector::from(config).connect(name, stream)).await;
        let stream = stream.map_err(|_| LinkError::TlsTimeout(address, HANDSHAKE_TIMEOUT))?;
        stream.map_err(|error| LinkError::Tls(address, error))
    }

    fn config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let identity = Arc::clone(&self.identity.borrow());
        let mut made = lock(&self.config);
        if let Some((of, config)) = made.as_ref()
            && Arc::ptr_eq(of, &identity)
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(tls::client_config(&identity)?);
        *made = Some((identity, Arc::clone(&config)));
        Ok(config)
    }
}

impl Http {
    /// Asks, and waits for the head of the answer.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response<Incoming>, LinkError> {
        let Body { content_type, bytes } = body;
        let request = Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        let request = content_type.iter().fold(request, |request, kind| request.header(header::CONTENT_TYPE, *kind));
        // Method, path and headers are our own words.
        let Ok(request) = request.body(Full::new(bytes)) else { return Err(LinkError::Closed) };
        let answer = timeout(ANSWER_TIMEOUT, self.sender.send_request(request)).await;
        Ok(answer.map_err(|_| LinkError::AnswerTimeout(ANSWER_TIMEOUT))??)
    }

    /// Whether another request can be made, as far as we know.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Waits until a request can be made.
    pub(super) async fn ready(&mut self) -> Result<(), LinkError> {
        Ok(self.sender.ready().await?)
    }
}

/// What is sent with a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Body {
    pub(super) content_type: Option<&'static str>,
    pub(super) bytes: Bytes,
}

/// Reads a short answer whole.
pub(super) async fn short_answer(answer: Response<Incoming>) -> Result<Bytes, LinkError> {
    let code = answer.status().as_u16();
    let whole = timeout(ANSWER_TIMEOUT, Limited::new(answer.into_body(), SHORT_ANSWER_LIMIT).collect()).await;
    let whole = whole.map_err(|_| LinkError::AnswerTimeout(ANSWER_TIMEOUT))?;
    Ok(whole.map_err(|error| LinkError::Status(code, error.to_string()))?.to_bytes())
}
