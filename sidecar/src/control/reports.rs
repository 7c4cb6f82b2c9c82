//! The stream of reports to one operator: the present one at once, then one for every change of what it says.
//! At most four a second, and an empty line when there was nothing to say for long.

use std::sync::Arc;

use axum::body::Bytes;
use fairlead_config::admin::{KEEP_ALIVE, REPORT_COALESCE, REPORT_GAP};
use fairlead_engine::Engine;
use futures::{Stream, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::fit;

/// What one operator was told.
struct Reports {
    engine: Arc<Engine>,
    changes: watch::Receiver<u64>,
    /// The last report, with its time.
    told: Option<(Bytes, Instant)>,
    /// When anything was sent last.
    sent: Instant,
}

/// The lines to send. The stream ends only with the engine.
pub(super) fn stream(engine: Arc<Engine>) -> impl Stream<Item = Result<Bytes, serde_json::Error>> {
    let changes = engine.changes();
    let reports = Reports { engine, changes, told: None, sent: Instant::now() };
    stream::unfold(reports, async |mut reports| Some((reports.next().await?, reports)))
}

impl Reports {
    async fn next(&mut self) -> Option<Result<Bytes, serde_json::Error>> {
        loop {
            if let Some((_, told_at)) = self.told {
                tokio::select! {
                    changed = self.changes.changed() => changed.ok()?,
                    () = sleep_until(self.sent + KEEP_ALIVE) => {
                        self.sent = Instant::now();
                        return Some(Ok(Bytes::from_static(b"\n")));
                    }
                }
                sleep_until((told_at + REPORT_GAP).max(Instant::now() + REPORT_COALESCE)).await;
            }
            self.changes.mark_unchanged();
            let line = match fit::line(self.engine.report()) {
                Ok(line) => Bytes::from(line),
                Err(error) => return Some(Err(error)),
            };
            if self.told.as_ref().is_some_and(|(told, _)| *told == line) {
                continue;
            }
            self.sent = Instant::now();
            self.told = Some((line.clone(), self.sent));
            return Some(Ok(line));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;

    use fairlead_config::Report;
    use futures::StreamExt;
    use tokio::time::timeout;

    use super::*;
    use crate::intake::tests::{document, intake};

    fn revision(line: &Bytes) -> u64 {
        serde_json::from_slice::<Report>(line).unwrap().revision
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_report_comes_at_once_and_changes_close_together_as_one() {
        let (intake, engine) = intake();
        let mut lines = pin!(stream(engine));
        assert_eq!(revision(&lines.next().await.unwrap().unwrap()), 0);
        let begin = Instant::now();
        for revision in 1..=3 {
            intake.offer(&document(revision), "test");
        }
        assert_eq!(revision(&lines.next().await.unwrap().unwrap()), 3);
        assert!(begin.elapsed() >= REPORT_GAP && begin.elapsed() <= REPORT_GAP + REPORT_COALESCE);
        assert!(timeout(KEEP_ALIVE / 2, lines.next()).await.is_err(), "nothing more to say");
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_at_most_four_reports_a_second_and_the_last_one_is_the_newest() {
        let (intake, engine) = intake();
        let mut lines = pin!(stream(engine));
        let (begin, mut count, mut last) = (Instant::now(), 0, 0);
        for revision in 1..200 {
            intake.offer(&document(revision), "test");
            tokio::time::advance(std::time::Duration::from_millis(10)).await;
            while let Ok(Some(Ok(line))) = timeout(std::time::Duration::ZERO, lines.next()).await {
                (count, last) = (count + 1, self::revision(&line));
            }
        }
        assert!((4..=8).contains(&count), "{count} in {:?}", begin.elapsed());
        while last < 199 {
            last = self::revision(&lines.next().await.unwrap().unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_with_nothing_to_hear_gets_an_empty_line_every_15_seconds() {
        let (_intake, engine) = intake();
        let mut lines = pin!(stream(engine));
        lines.next().await.unwrap().unwrap();
        for _ in 0..3 {
            let begin = Instant::now();
            assert_eq!(lines.next().await.unwrap().unwrap(), "\n");
            assert_eq!(begin.elapsed(), KEEP_ALIVE);
        }
    }
}
