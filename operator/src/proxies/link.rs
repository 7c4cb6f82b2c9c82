//! The life of one pod as the leader sees it: dial, take the full report, go on taking reports and push what is newer
//! than they say, until the connection breaks; wait a little; again. What is known goes to `Known` and `Changes`.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fairlead_config::{
    Report,
    admin::{REPORT_GAP, REPORT_LINE_LIMIT, REPORT_WATCH_PATH, SILENCE_LIMIT},
};
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::{Method, StatusCode, body::Incoming};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, sleep_until, timeout_at},
};

use super::{
    Document, Known, Link,
    backoff::Backoff,
    changes,
    error::{LinkError, one_line},
    http::{self, Body, Dialler},
    lines::{Lines, TooLong},
    lock,
    push::Pusher,
};
use crate::names::ProxyId;

/// A pod that keeps to its limits is never behind: it is read a little faster than it may speak, and a few reports that
/// come in close together are read at once.
const READ_GAP: Duration = Duration::from_millis(200);
const READ_AT_ONCE: Duration = Duration::from_millis(800);
const _: () = assert!(READ_GAP.as_millis() < REPORT_GAP.as_millis());

/// A connection that held for so long was a success; the next dial comes soon.
const HELD: Duration = Duration::from_secs(10);

/// Everything one pod's task has.
pub(super) struct Life {
    pub(super) dialler: Arc<Dialler>,
    pub(super) address: SocketAddr,
    pub(super) document: watch::Receiver<Document>,
    pub(super) hurry: Arc<Notify>,
    pub(super) known: Arc<Mutex<Known>>,
    pub(super) changes: changes::Sender,
    pub(super) id: ProxyId,
}

impl Life {
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        let mut identity = self.dialler.identity();
        loop {
            identity.mark_unchanged();
            let error = match self.connect().await {
                Ok(mut reports) => {
                    let begin = Instant::now();
                    let error = self.converse(&mut reports).await;
                    if begin.elapsed() >= HELD {
                        backoff.reset();
                    }
                    // What was new while it was connected is no news about the present loss.
                    let _ = self.hurry.notified().now_or_never();
                    error
                }
                Err(error) => error,
            };
            self.lost(&error);
            let new_identity = async {
                if identity.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = sleep(backoff.next(rand::random())) => {}
                () = self.hurry.notified() => {}
                () = new_identity => {}
            }
        }
    }

    async fn connect(&self) -> Result<Reports, LinkError> {
        let mut http = self.dialler.dial(self.address).await?;
        let answer = http.ask(Method::GET, REPORT_WATCH_PATH, Body::default()).await?;
        if answer.status() != StatusCode::OK {
            let code = answer.status().as_u16();
            let text = http::short_answer(answer).await?;
            return Err(LinkError::Status(code, one_line(&String::from_utf8_lossy(&text))));
        }
        Ok(Reports::new(answer.into_body(), http))
    }

    /// Takes reports and pushes documents until that ends.
    async fn converse(&self, reports: &mut Reports) -> LinkError {
        let first = match reports.next().await {
            Ok(report) => report,
            Err(error) => return error,
        };
        let (running, reported) = watch::channel(first.revision);
        self.reported(first, true);
        let told = |problem| self.pushed(problem);
        let (dialler, document) = (&*self.dialler, self.document.clone());
        let pusher = Pusher { dialler, address: self.address, document, reported, told: &told };
        let listening = async {
            loop {
                match reports.next().await {
                    Ok(report) => {
                        running.send_replace(report.revision);
                        self.reported(report, false);
                    }
                    Err(error) => return error,
                }
            }
        };
        tokio::select! {
            error = listening => error,
            never = pusher.run() => match never {},
        }
    }

    fn reported(&self, report: Report, first: bool) {
        let mut known = lock(&self.known);
        let since = match &known.link {
            Link::Connected { report: present, .. } if !first && **present == report => return,
            Link::Connected { since, .. } if !first => *since,
            Link::Connected { .. } | Link::Dialling { .. } | Link::Lost { .. } => Instant::now(),
        };
        known.link = Link::Connected { report: Arc::new(report), since };
        drop(known);
        self.changes.tell(&self.id);
    }

    fn pushed(&self, problem: Option<String>) {
        let mut known = lock(&self.known);
        if known.push_error != problem {
            known.push_error = problem;
            drop(known);
            self.changes.tell(&self.id);
        }
    }

    fn lost(&self, error: &LinkError) {
        let now = Instant::now();
        // It was lost when it fell silent, not when that was noticed.
        let at = if let LinkError::Silent(silent) = error { now.checked_sub(*silent).unwrap_or(now) } else { now };
        let error = error.line();
        let mut known = lock(&self.known);
        let (since, report) = match &known.link {
            Link::Lost { error: present, .. } if *present == error => return,
            Link::Lost { since, report, .. } => (*since, report.clone()),
            Link::Connected { report, .. } => (at, Some(Arc::clone(report))),
            Link::Dialling { .. } => (at, None),
        };
        *known = Known { link: Link::Lost { error, since, report }, push_error: None };
        drop(known);
        self.changes.tell(&self.id);
    }
}

/// The reports that come in over one connection.
struct Reports {
    body: Incoming,
    lines: Lines,
    /// When the next report would be due if they came evenly, as often as they are read.
    due: tokio::time::Instant,
    /// When it is lost, if no line comes.
    silent_until: tokio::time::Instant,
    /// The connection, which is closed with the reports.
    _http: http::Http,
}

impl Reports {
    fn new(body: Incoming, http: http::Http) -> Self {
        let now = tokio::time::Instant::now();
        let lines = Lines::new(REPORT_LINE_LIMIT);
        Self { body, lines, due: now, silent_until: now + SILENCE_LIMIT, _http: http }
    }

    /// Waits for the next one. A pod that says more than it may is read more slowly.
    async fn next(&mut self) -> Result<Report, LinkError> {
        loop {
            while let Some(line) = self.lines.take().map_err(|TooLong| LinkError::TooLong)? {
                self.silent_until = tokio::time::Instant::now() + SILENCE_LIMIT;
                self.pace().await;
                if line.is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map_err(LinkError::NoReport);
            }
            match timeout_at(self.silent_until, self.body.frame()).await {
                Ok(Some(frame)) => {
                    if let Some(bytes) = frame?.data_ref() {
                        self.lines.push(bytes);
                    }
                }
                Ok(None) => return Err(LinkError::Closed),
                Err(_) => return Err(LinkError::Silent(SILENCE_LIMIT)),
            }
        }
    }

    async fn pace(&mut self) {
        sleep_until(self.due.checked_sub(READ_AT_ONCE).unwrap_or(self.due)).await;
        self.due = self.due.max(tokio::time::Instant::now()) + READ_GAP;
    }
}
