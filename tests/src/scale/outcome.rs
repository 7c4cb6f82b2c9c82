//! What a run came to, and how it is printed: the figures that were aimed at first, then every phase.

use std::time::Duration;

use super::{Options, meter::Phase};
use crate::bench::{
    host,
    table::{Style, Table},
};

/// The most memory and latency that we set ourselves.
const MEMORY_AIM: u64 = 128 << 20;
const LATENCY_AIM: Duration = Duration::from_secs(1);

/// One run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Name and value of what a reader has to know.
    pub facts: Vec<(&'static str, String)>,
    /// How long it took to create every PortForward.
    pub created: Duration,
    /// From nothing until every PortForward is Ready and nothing is written any more.
    pub building: Phase,
    /// From the first PortForward until the last one was Ready.
    pub all_ready: Duration,
    /// Nothing happens.
    pub rest: Phase,
    /// Nodes die and come back.
    pub changing: Phase,
    /// How many did so.
    pub turns: usize,
    /// From a proxy's report to the status that a watch shows, ascending.
    pub latencies: Vec<Duration>,
    /// Turns that no status ever showed, or only after the next one.
    pub missed: usize,
    /// The operator is started anew.
    pub restart: Phase,
    /// From its start until it hears every proxy.
    pub all_heard: Duration,
    /// Requests that were refused for want of rights.
    pub forbidden: Vec<String>,
}

impl Outcome {
    /// The latency that the share `p` (0 to 1) stays within; none of none.
    pub fn latency(&self, p: f64) -> Option<Duration> {
        let rank = (self.latencies.len() as f64 * p).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).copied()
    }

    /// The whole as Markdown.
    pub fn print(&self, options: &Options) -> String {
        let Options { forwards, proxies, .. } = options;
        let title = format!("The operator with {forwards} PortForwards on {proxies} proxies");
        let mut text = Style::Markdown.heading(&title);
        text += &format!("- machine: {}\n", host::machine());
        for (name, value) in &self.facts {
            text += &format!("- {name}: {value}\n");
        }
        text += "\n";
        text += &self.figures().print(Style::Markdown);
        text += "\n";
        text += &self.phases().print(Style::Markdown);
        text
    }

    fn figures(&self) -> Table {
        let mut table = Table::new(["figure", "aim", "value", "verdict"].map(str::to_owned).into());
        let mut row = |figure: &str, aim: &str, value: String, met: Option<bool>| {
            let verdict = match met {
                None => "–".to_owned(),
                Some(true) => "met".to_owned(),
                Some(false) => Style::Markdown.strong("not met"),
            };
            table.row(vec![figure.to_owned(), aim.to_owned(), value, verdict]);
        };
        let (p50, p99) = (self.latency(0.5), self.latency(0.99));
        row("all PortForwards Ready after", "–", seconds(self.all_ready), None);
        row("(creating them took)", "–", seconds(self.created), None);
        let most = [&self.building, &self.rest, &self.changing].map(|phase| phase.peak).into_iter().max().unwrap_or(0);
        row("memory at its peak", "–", mib(most), None);
        let resident = self.rest.resident.max(self.changing.resident);
        row("memory, steady", "≤ 128 MiB", mib(resident), Some(resident <= MEMORY_AIM));
        row(
            "memory of a newly started leader",
            "≤ 128 MiB",
            mib(self.restart.resident),
            Some(self.restart.resident <= MEMORY_AIM),
        );
        row("status latency p50", "–", p50.map_or_else(nothing, millis), None);
        row(
            "status latency p99",
            "≤ 1 s",
            p99.map_or_else(nothing, millis),
            Some(p99.is_some_and(|p99| p99 <= LATENCY_AIM)),
        );
        row("status latency, longest", "–", self.latencies.last().copied().map_or_else(nothing, millis), None);
        row("changes that no status showed", "0", self.missed.to_string(), Some(self.missed == 0));
        let each = self.changing.all_writes() as f64 / self.turns.max(1) as f64;
        row("API writes per change (status and Event)", "≤ 2", format!("{each:.2}"), Some(each <= 2.0));
        let idle = self.rest.all_writes();
        row("API writes at rest", "0", idle.to_string(), Some(idle == 0));
        let again = self.restart.all_writes();
        row("API writes of a new leader", "0", again.to_string(), Some(again == 0));
        row("a new leader hears every proxy after", "–", seconds(self.all_heard), None);
        table
    }

    fn phases(&self) -> Table {
        let header = ["phase", "s", "memory", "peak", "CPU", "reconciles", "mean", "p99 within", "API writes"];
        let mut table = Table::new(header.map(str::to_owned).into());
        let changes = format!("{} changes", self.turns);
        let all = [
            ("creation", &self.building),
            ("rest", &self.rest),
            (changes.as_str(), &self.changing),
            ("a new leader", &self.restart),
        ];
        for (name, phase) in all {
            let writes: Vec<String> = phase.writes.iter().map(|(what, count)| format!("{count} {what}")).collect();
            let share = 100.0 * phase.cpu.as_secs_f64() / phase.lasted.as_secs_f64();
            table.row(vec![
                name.to_owned(),
                format!("{:.0}", phase.lasted.as_secs_f64()),
                mib(phase.resident),
                mib(phase.peak),
                format!("{share:.1} %"),
                phase.reconciles.count.to_string(),
                phase.reconciles.mean().map_or_else(nothing, millis),
                phase.reconciles.p99_within().map_or_else(nothing, millis),
                if writes.is_empty() { "none".to_owned() } else { writes.join(", ") },
            ]);
        }
        table
    }
}

fn nothing() -> String {
    "–".to_owned()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
