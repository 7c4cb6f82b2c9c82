//! Pushes documents to one pod while its reports come in on another connection. Only the newest document is worth
//! anything: what was assigned while a push was under way is pushed next, and whatever came between is skipped.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use fairlead_config::admin::{CONFIG_CONTENT_TYPE, CONFIG_PATH, IDLE_LIMIT, PushAnswer};
use hyper::{Method, StatusCode, body::Bytes};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Document,
    backoff::Backoff,
    error::{LinkError, one_line},
    http::{self, Body, Dialler, Http},
};

/// How long a connection is kept for the next push: changes come in bursts, and thousands of idle ones are memory for
/// nothing. The proxy would close it later.
const KEPT: Duration = Duration::from_secs(30);
const _: () = assert!(KEPT.as_secs() < IDLE_LIMIT.as_secs());

/// The pushes to one pod during one connection of its reports.
pub(super) struct Pusher<'a> {
    pub(super) dialler: &'a Dialler,
    pub(super) address: SocketAddr,
    pub(super) document: watch::Receiver<Document>,
    /// The revision that the pod says it runs.
    pub(super) reported: watch::Receiver<u64>,
    /// Told after every push: why it failed, or that it didn't.
    pub(super) told: &'a (dyn Fn(Option<String>) + Send + Sync),
}

/// What a pod did with a document.
enum Pushed {
    /// It runs this revision: ours, or a later one.
    Runs(u64),
    /// It will not take this document, however often it comes.
    Refused(String),
}

impl Pusher<'_> {
    pub(super) async fn run(mut self) -> Infallible {
        let (mut kept, mut backoff) = (None, Backoff::default());
        // The last revision about which nothing more is to be done.
        let mut settled = 0;
        loop {
            let document = self.document.borrow_and_update().clone();
            settled = settled.max(*self.reported.borrow_and_update());
            if document.revision <= settled {
                self.news(&mut kept).await;
                continue;
            }
            match self.push(&mut kept, &document).await {
                Ok(Pushed::Runs(revision)) => {
                    settled = revision.max(document.revision);
                    backoff.reset();
                    (self.told)(None);
                }
                Ok(Pushed::Refused(why)) => {
                    settled = document.revision;
                    (self.told)(Some(why));
                }
                Err(error) => {
                    kept = None;
                    (self.told)(Some(error.line()));
                    sleep(backoff.next(rand::random())).await;
                }
            }
        }
    }

    /// Waits until there may be something to push; a connection that is idle for long is closed.
    async fn news(&mut self, kept: &mut Option<Http>) {
        let changed = async {
            tokio::select! {
                changed = self.document.changed() => changed,
                changed = self.reported.changed() => changed,
            }
        };
        match timeout(KEPT, changed).await {
            Ok(Ok(())) => {}
            // Nobody assigns any more; the task will be ended.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => *kept = None,
        }
    }

    /// Pushes over the connection that was kept, else over a new one.
    async fn push(&self, kept: &mut Option<Http>, document: &Document) -> Result<Pushed, LinkError> {
        if let Some(mut http) = kept.take().filter(Http::is_open)
            && let Ok(pushed) = put(&mut http, document).await
        {
            *kept = Some(http);
            return Ok(pushed);
        }
        // A connection that was kept may have been closed just now, and a document may come twice.
        let mut http = self.dialler.dial(self.address).await?;
        let pushed = put(&mut http, document).await?;
        *kept = Some(http);
        Ok(pushed)
    }
}

async fn put(http: &mut Http, document: &Document) -> Result<Pushed, LinkError> {
    http.ready().await?;
    let bytes = Bytes::from_owner(Text(Arc::clone(&document.text)));
    let body = Body { content_type: Some(CONFIG_CONTENT_TYPE), bytes };
    let answer = http.ask(Method::PUT, CONFIG_PATH, body).await?;
    let code = answer.status();
    let text = http::short_answer(answer).await?;
    let said: Option<PushAnswer> = serde_json::from_slice(&text).ok();
    let runs = said.as_ref().and_then(|said| said.revision);
    let message =
        || said.clone().and_then(|said| said.message).unwrap_or_else(|| one_line(&String::from_utf8_lossy(&text)));
    match (code, runs) {
        (StatusCode::OK | StatusCode::CONFLICT, Some(revision)) => Ok(Pushed::Runs(revision)),
        (StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE, _) => {
            Ok(Pushed::Refused(one_line(&format!("refused revision {}: {}", document.revision, message()))))
        }
        _ => Err(LinkError::Status(code.as_u16(), message())),
    }
}

/// A document that many connections send from one place.
struct Text(Arc<str>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
