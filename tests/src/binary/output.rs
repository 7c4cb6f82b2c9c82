//! The lines a program prints, each with the time it came, collected by a thread until the program closes its end.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

/// One line, without its end.
#[derive(Debug, Clone)]
pub struct Line {
    pub came: Instant,
    pub text: String,
}

impl Line {
    /// The JSON object it is. Panics if it is none.
    pub fn object(&self) -> Value {
        let value: Option<Value> = serde_json::from_str(&self.text).ok();
        value.filter(Value::is_object).unwrap_or_else(|| panic!("not a JSON object: {}", self.text))
    }
}

/// One stream of a program; by default one that nobody collects.
#[derive(Default)]
pub(super) struct Output {
    collected: Arc<(Mutex<Collected>, Condvar)>,
}

#[derive(Default)]
struct Collected {
    lines: Vec<Line>,
    ended: bool,
}

impl Output {
    pub(super) fn collect(stream: impl Read + Send + 'static) -> Self {
        let collected = Arc::<(Mutex<Collected>, Condvar)>::default();
        let output = Self { collected: Arc::clone(&collected) };
        std::thread::spawn(move || {
            let (state, changed) = &*collected;
            for text in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&text).into_owned();
                lock(state).lines.push(Line { came: Instant::now(), text });
                changed.notify_all();
            }
            lock(state).ended = true;
            changed.notify_all();
        });
        output
    }

    /// The lines from the mark on.
    pub(super) fn lines(&self, mark: usize) -> Vec<Line> {
        lock(&self.collected.0).lines.iter().skip(mark).cloned().collect()
    }

    pub(super) fn whole(&self) -> String {
        self.lines(0).into_iter().map(|line| line.text + "\n").collect()
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.collected.0).ended
    }

    /// Waits for a line that is as wanted; none if the time or the stream ends first.
    pub(super) fn await_line(&self, mark: usize, limit: Duration, wanted: impl Fn(&Line) -> bool) -> Option<Line> {
        let (end, mut next) = (Instant::now() + limit, mark);
        let mut state = lock(&self.collected.0);
        loop {
            let new = state.lines.get(next..).unwrap_or_default();
            if let Some(found) = new.iter().find(|line| wanted(line)) {
                return Some(found.clone());
            }
            next = next.max(state.lines.len());
            let left = end.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self.collected.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the program has closed the stream, so that everything it printed is here.
    pub(super) fn await_end(&self) {
        let state = lock(&self.collected.0);
        let waited = self.collected.1.wait_timeout_while(state, Duration::from_secs(5), |state| !state.ended);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

fn lock(state: &Mutex<Collected>) -> MutexGuard<'_, Collected> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_behind_the_mark_and_waiting_ends_with_the_stream() {
        let output = Output::collect(&b"one\ntwo\none more"[..]);
        output.await_end();
        let find = |mark, text: &str| {
            output.await_line(mark, Duration::from_secs(9), |line| line.text.contains(text)).map(|line| line.text)
        };
        assert_eq!(find(0, "one").as_deref(), Some("one"));
        assert_eq!(find(1, "one").as_deref(), Some("one more"));
        assert_eq!(find(0, "three"), None);
    }
}
