//! Connections that send nothing after the lease's local time: from a leader's writes to the API server's socket. A
//! request that is begun in time may still be on its way through this process when that stands still, and would be sent
//! when it goes on. Invariant: the clock is looked at right before the socket is given anything.

use std::{
    future::Future,
    io::{self, Error, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::{
    Uri,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::TokioExecutor,
};
use kube::{Client, Config, client::ConfigExt};
use tokio::{sync::watch, time::Instant};
use tower::{BoxError, Service, ServiceBuilder};

use super::{Leader, Standing};

impl Leader {
    /// Makes a client for writes: none of them leaves this process after the last moment at which one may be under way.
    pub fn client(&self, config: Config) -> kube::Result<Client> {
        let mut http = HttpConnector::new();
        // The URL says https; TLS comes on top.
        http.enforce_http(false);
        let connector = Gated { inner: http, gate: self.gate() };
        let connector = config.rustls_https_connector_with_connector(connector)?;
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(legacy::Client::builder(TokioExecutor::new()).build(connector));
        Ok(Client::new(service, config.default_namespace))
    }

    pub(super) fn gate(&self) -> Gate {
        Gate { standing: self.standing.clone() }
    }
}

/// Knows until when something may be sent.
#[derive(Clone)]
pub(super) struct Gate {
    standing: watch::Receiver<Standing>,
}

impl Gate {
    fn check(&self) -> io::Result<()> {
        let until = self.standing.borrow().write_until;
        match until.filter(|until| Instant::now() < *until) {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::ConnectionAborted, "the lease has run out: nothing is sent any more")),
        }
    }
}

/// What dials, or a connection, behind a gate.
#[derive(Clone)]
pub(super) struct Gated<T> {
    pub(super) inner: T,
    pub(super) gate: Gate,
}

impl<D> Service<Uri> for Gated<D>
where
    D: Service<Uri>,
    D::Future: Send + 'static,
{
    type Response = Gated<D::Response>;
    type Error = D::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, D::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), D::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let (dialling, gate) = (self.inner.call(address), self.gate.clone());
        Box::pin(async move { Ok(Gated { inner: dialling.await?, gate }) })
    }
}

impl<S: Connection> Connection for Gated<S> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

impl<S: Read + Unpin> Read for Gated<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl<S: Write + Unpin> Write for Gated<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.gate.check()?;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.gate.check()?;
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
