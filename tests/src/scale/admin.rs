//! The admin port of a simulated proxy: TLS with a required client certificate, `PUT /config`, `GET /report`, as
//! `fairlead_config::admin` has it. From an operator's connection to `simulated`.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use fairlead_config::admin::{CONFIG_PATH, KEEP_ALIVE, REPORT_PATH};
use futures::{Stream, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
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
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::simulated::Simulated;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Lets in whoever has a certificate of these authorities (PEM).
pub(super) fn acceptor(authorities: &str) -> Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(certificate.context("an authority's certificate")?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let own = rcgen::generate_simple_self_signed(["fairlead".to_owned()])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_client_cert_verifier(verifier);
    let mut config = config.with_single_cert(vec![own.cert.der().clone()], key)?;
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves at an address until the runtime ends.
pub(super) async fn serve(address: SocketAddr, acceptor: TlsAcceptor, proxy: Arc<Simulated>) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    tokio::spawn(async move {
        // An accept that fails is tried again by whoever dialled.
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, acceptor.clone(), Arc::clone(&proxy)));
            }
        }
    });
    Ok(())
}

/// What fails here, the operator notices and tells.
async fn converse(stream: TcpStream, acceptor: TlsAcceptor, proxy: Arc<Simulated>) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, Infallible>(answer(request, proxy).await) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, proxy: Arc<Simulated>) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::PUT, CONFIG_PATH) => push(request, &proxy).await,
        (&Method::GET, REPORT_PATH) => {
            let watches = request.uri().query() == Some("watch=true");
            if watches { Response::new(StreamBody::new(reports(proxy)).boxed_unsync()) } else { whole(line(&proxy)) }
        }
        _ => with_code(StatusCode::NOT_FOUND, whole(Bytes::new())),
    }
}

async fn push(request: Request<Incoming>, proxy: &Simulated) -> Response<Body> {
    let Ok(body) = request.into_body().collect().await else {
        return with_code(StatusCode::BAD_REQUEST, whole(Bytes::new()));
    };
    let (code, answer) = proxy.offer(&String::from_utf8_lossy(&body.to_bytes()));
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with_code(code, whole(serde_json::to_vec(&answer).unwrap_or_default().into()))
}

/// One report at once, one at every change, and an empty line when there is nothing to say.
fn reports(proxy: Arc<Simulated>) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let mut changes = proxy.changes();
    changes.mark_changed();
    stream::unfold((proxy, changes), async |(proxy, mut changes): (Arc<Simulated>, watch::Receiver<u64>)| {
        let said = match timeout(KEEP_ALIVE, changes.changed()).await {
            Ok(changed) => changed.ok().map(|()| line(&proxy))?,
            Err(_) => Bytes::from_static(b"\n"),
        };
        Some((Ok(Frame::data(said)), (proxy, changes)))
    })
}

fn line(proxy: &Simulated) -> Bytes {
    let mut line = serde_json::to_vec(&proxy.report()).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

fn whole(bytes: Bytes) -> Response<Body> {
    Response::new(Full::new(bytes).boxed_unsync())
}

fn with_code(code: StatusCode, mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = code;
    response
}
