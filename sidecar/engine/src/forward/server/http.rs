//! An HTTP client of a server: CONNECT (RFC 9110 section 9.3.6), or requests in absolute form (RFC 9112 section 3.2.2),
//! each forwarded over a connection of its own. Logins are Basic (RFC 7617).
//! Invariant: what is between the client and us (its login, above all) is never sent on.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use fairlead_config::{HostPort, defaults, url::Credentials};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{io::AsyncWriteExt, sync::Notify};
use tokio_util::task::AbortOnDropHandle;

use super::{
    counted::Counted,
    session::{Refusal, Session},
};
use crate::{dial::DialCause, protocol::ClientFault, stream::Stream};

/// The longest head of a request in bytes, and the most fields in it.
const HEAD_LIMIT: usize = 64 << 10;
const FIELDS_LIMIT: usize = 128;
/// What is said of one connection and not of the message on it (RFC 9110 section 7.6.1).
const OF_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// What one client's requests leave behind for its session.
#[derive(Default)]
struct Left {
    /// A request was heard.
    heard: Notify,
    /// The client's stream is the upstream's from now on.
    connected: Mutex<Option<(Stream, OnUpgrade)>>,
}

/// Serves a client from its first byte on.
pub(super) async fn serve(session: &Session, client: Stream) -> Result<(), ClientFault> {
    let left = Arc::<Left>::default();
    // Boxed: an established connection then keeps only what copying needs.
    Box::pin(requests(session, client, &left)).await?;
    let connected = left.connected.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((mut upstream, upgrade)) = connected else { return Ok(()) };
    let upgraded = upgrade.await.map_err(|_| ClientFault::Garbage("leaves before it is connected"))?;
    let parts = upgraded.downcast::<TokioIo<Stream>>().map_err(|_| ClientFault::Garbage("is not what it was"))?;
    if !parts.read_buf.is_empty() {
        upstream.write_all(&parts.read_buf).await?;
    }
    session.copy(parts.io.into_inner(), upstream).await;
    Ok(())
}

/// Answers requests until the client leaves or is connected.
async fn requests(session: &Session, client: Stream, left: &Arc<Left>) -> Result<(), ClientFault> {
    let service = service_fn(|request| {
        left.heard.notify_one();
        let (session, left) = (session.clone(), Arc::clone(left));
        async move { Ok::<_, Infallible>(answer(&session, request, &left).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(defaults::HANDSHAKE_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .max_header_size(HEAD_LIMIT)
        .max_headers(FIELDS_LIMIT)
        .half_close(true)
        .serve_connection(TokioIo::new(client), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = |ended: hyper::Result<()>| ended.map_err(|error| ClientFault::Upstream(format!("http: {error}")));
    let mut place = session.enter();
    tokio::select! {
        over = &mut connection => return ended(over),
        () = left.heard.notified() => drop(place),
        () = place.lost() => return Err(ClientFault::TooSlow("the client made way for others while it said nothing")),
    }
    ended(connection.await)
}

async fn answer(session: &Session, mut request: Request<Incoming>, left: &Left) -> Response<Body> {
    if let Err(refused) = logged_in(session, request.headers()).await {
        return refused;
    }
    let Some(address) = target(request.method(), request.uri()) else {
        return short(StatusCode::BAD_REQUEST, "this is a proxy: ask for http://HOST/PATH, or CONNECT to HOST:PORT");
    };
    let upstream = match session.connect(&address).await {
        Ok(upstream) => upstream,
        Err(refusal) => {
            let status = status(&refusal);
            let fault = refusal.fault(&address);
            tracing::debug!(forward = %session.shared.key, peer = %session.peer, %fault, "request not served");
            return short(status, &fault.to_string());
        }
    };
    if request.method() != Method::CONNECT {
        return forward(request, Counted::new(upstream, session.clone())).await;
    }
    let upgrade = hyper::upgrade::on(&mut request);
    *left.connected.lock().unwrap_or_else(PoisonError::into_inner) = Some((upstream, upgrade));
    Response::new(empty())
}

/// Whether the client may ask for anything; otherwise the answer it gets.
async fn logged_in(session: &Session, headers: &HeaderMap) -> Result<(), Response<Body>> {
    if !session.has_users() {
        return Ok(());
    }
    let given = headers.get(header::PROXY_AUTHORIZATION).and_then(login);
    let known = match &given {
        Some(Credentials { user, password }) => {
            let password = password.as_ref().map(|password| password.expose()).unwrap_or_default();
            session.user(user.as_bytes(), password.as_bytes()).await.map(drop)
        }
        None => Err(ClientFault::Login),
    };
    match known {
        Ok(()) => Ok(()),
        Err(ClientFault::Credentials(_)) => {
            Err(short(StatusCode::SERVICE_UNAVAILABLE, "the proxy's users are not known"))
        }
        Err(_) => {
            let mut refused = short(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "the proxy asks who you are");
            let asks = HeaderValue::from_static("Basic realm=\"fairlead\"");
            refused.headers_mut().insert(header::PROXY_AUTHENTICATE, asks);
            Err(refused)
        }
    }
}

/// The login of a request; none where it is of another scheme, or noise.
fn login(value: &HeaderValue) -> Option<Credentials> {
    let (scheme, pair) = value.to_str().ok()?.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    is_basic.then(|| Credentials::of_auth(pair.trim()).ok()).flatten()
}

/// Where a request wants to go; none where it says nothing that a proxy goes by.
fn target(method: &Method, uri: &Uri) -> Option<HostPort> {
    let host = uri.host()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    fairlead_config::check_host(host).ok()?;
    match (method == Method::CONNECT, uri.scheme_str(), uri.port_u16()) {
        (true, None, Some(port)) => Some(HostPort::new(host, port)),
        (false, Some("http"), port) => Some(HostPort::new(host, port.unwrap_or(80))),
        _ => None,
    }
}

/// Sends a request on, over a connection that is for it alone.
async fn forward(mut request: Request<Incoming>, upstream: Counted) -> Response<Body> {
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = if path.starts_with('/') { path.parse() } else { format!("/{path}").parse() };
    let (Ok(uri), Ok(host)) = (uri, HeaderValue::from_str(authority.rsplit('@').next().unwrap_or_default())) else {
        return short(StatusCode::BAD_REQUEST, "the target is not understood");
    };
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    clean(request.headers_mut());
    request.headers_mut().insert(header::HOST, host);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    let failed = |error: hyper::Error| short(StatusCode::BAD_GATEWAY, &format!("the target answers no HTTP: {error}"));
    let (mut sender, connection) = match hyper::client::conn::http1::handshake(TokioIo::new(upstream)).await {
        Ok(ready) => ready,
        Err(error) => return failed(error),
    };
    let driver = AbortOnDropHandle::new(tokio::spawn(connection));
    match sender.send_request(request).await {
        Ok(mut response) => {
            clean(response.headers_mut());
            // The connection is needed until the body is over.
            response.map(|body| body.map_frame(move |frame| (frame, &driver).0).boxed_unsync())
        }
        Err(error) => failed(error),
    }
}

/// Takes out what is about the connection it came on, and says that a proxy was passed.
fn clean(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed.iter().chain(&OF_CONNECTION) {
        headers.remove(name);
    }
    headers.append(header::VIA, HeaderValue::from_static("1.1 fairlead"));
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NotAllowed => StatusCode::FORBIDDEN,
        Refusal::Failed(DialCause::Timeout(_)) => StatusCode::GATEWAY_TIMEOUT,
        Refusal::Failed(DialCause::NoSourcePort | DialCause::Shortage(_) | DialCause::Credentials(_)) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Refusal::Failed(
            DialCause::Refused
            | DialCause::Resolve(_)
            | DialCause::Unreachable(_)
            | DialCause::Other(_)
            | DialCause::Handshake(_)
            | DialCause::Login(_)
            | DialCause::HostKey(_)
            | DialCause::Rejected(_),
        ) => StatusCode::BAD_GATEWAY,
    }
}

fn short(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("fairlead: {text}\n"))).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
