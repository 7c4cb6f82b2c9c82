//! What an operator may ask: `PUT /config` goes to `intake`, `GET /report` comes from the engine. Anything else is
//! 404 or 405.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use fairlead_config::admin::{self, PushAnswer};
use fairlead_engine::Engine;
use tokio::time::timeout;

use super::{fit, reports};
use crate::intake::{Intake, Outcome};

/// How long a pushed document may take to come in whole.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Control {
    intake: Arc<Intake>,
    engine: Arc<Engine>,
}

pub(super) fn router(intake: Arc<Intake>, engine: Arc<Engine>) -> Router {
    Router::new()
        .route(admin::CONFIG_PATH, put(push))
        .route(admin::REPORT_PATH, get(report))
        .layer(DefaultBodyLimit::max(admin::CONFIG_BODY_LIMIT))
        .with_state(Control { intake, engine })
}

async fn push(State(control): State<Control>, request: Request) -> Response {
    let (code, message) = match timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(document)) => take(&control.intake, &document),
        Ok(Err(rejection)) => (rejection.status(), Some(refusal(rejection.status(), &rejection.body_text()))),
        Err(_) => {
            (StatusCode::REQUEST_TIMEOUT, Some(format!("the document was not here whole after {BODY_TIMEOUT:?}")))
        }
    };
    if let Some(message) = &message {
        tracing::warn!(code = code.as_u16(), "did not take a pushed configuration: {message}");
    }
    let answer = PushAnswer { revision: control.intake.revision(), message };
    let Ok(text) = serde_json::to_string(&answer) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    (code, [(header::CONTENT_TYPE, "application/json")], text + "\n").into_response()
}

fn refusal(code: StatusCode, rejection: &str) -> String {
    if code == StatusCode::PAYLOAD_TOO_LARGE {
        return format!("the document is larger than {} KiB", admin::CONFIG_BODY_LIMIT >> 10);
    }
    rejection.to_owned()
}

/// Offers a document; the message says why it is not in force.
fn take(intake: &Intake, document: &[u8]) -> (StatusCode, Option<String>) {
    let Ok(text) = str::from_utf8(document) else {
        return (StatusCode::BAD_REQUEST, Some("configuration: not text in UTF-8".to_owned()));
    };
    match intake.offer(text, "push") {
        Outcome::Running { .. } | Outcome::Present { .. } => (StatusCode::OK, None),
        Outcome::Old { offered, running } => {
            (StatusCode::CONFLICT, Some(format!("revision {offered} is older than revision {running}, which runs")))
        }
        Outcome::Broken { problem, .. } => (StatusCode::BAD_REQUEST, Some(problem)),
        Outcome::Ending => (StatusCode::SERVICE_UNAVAILABLE, Some("this proxy is ending".to_owned())),
    }
}

async fn report(State(control): State<Control>, uri: Uri) -> Response {
    let watches = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
    let body = if watches {
        Body::from_stream(reports::stream(control.engine))
    } else {
        match fit::line(control.engine.report()) {
            Ok(line) => Body::from(line),
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    };
    ([(header::CONTENT_TYPE, admin::REPORTS_CONTENT_TYPE)], body).into_response()
}
