//! The operator at scale: the real program as its own ServiceAccount on a real API server without controllers, with
//! simulated proxies in this process that speak the real protocol over TLS. `workload` is what users write, `fleet` runs
//! a simulated proxy for each Deployment, `observer` watches statuses, `meter` reads off what the operator takes.

mod admin;
mod fleet;
mod meter;
mod observer;
mod options;
mod outcome;
mod scrape;
mod simulated;
mod workload;

use std::{
    fs,
    io::{Write, stderr, stdout},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::time::{sleep, sleep_until, timeout};

pub use meter::Phase;
pub use options::Options;
pub use outcome::Outcome;

use crate::{
    bench::stats,
    cluster::{ControlPlane, block_on},
    deadline::SOON,
    operator::{Operator, forbidden},
};
use fleet::Fleet;
use meter::Meter;
use observer::Observer;

/// Nothing is written any more when nothing was for so long.
const QUIET: Duration = Duration::from_secs(12);
/// How long statuses may take to follow the last change.
const STRAGGLERS: Duration = Duration::from_secs(20);

/// Runs it and prints Markdown on stdout, progress on stderr.
pub fn print(options: &Options) -> Result<()> {
    let outcome = run(options)?.context("there is no control plane here")?;
    writeln!(stdout(), "{}", outcome.print(options))?;
    Ok(())
}

/// Runs it; none, after saying so, where no control plane can run.
pub fn run(options: &Options) -> Result<Option<Outcome>> {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let Some(cluster) = ControlPlane::start_without_controllers() else { return Ok(None) };
    let mut operator = Operator::start(&cluster);
    let run = Run::start(&cluster, options)?;
    let meter = Meter::new(&cluster, &mut operator);
    let (building, created, all_ready) = run.build(&meter)?;
    let rest = run.rest(&meter)?;
    let (changing, turns) = run.change(&meter)?;
    let written = meter.written();
    let seen = run.observer.turns();
    let facts = vec![
        ("Kubernetes", block_on(cluster.client().apiserver_version())?.git_version),
        ("load of the machine before", load.split(' ').take(3).collect::<Vec<_>>().join(" ")),
        ("method", METHOD.to_owned()),
    ];
    operator.process().terminate();
    operator.process().await_exit(SOON);
    let (restart, all_heard) = run.restart(written)?;
    Ok(Some(Outcome {
        facts,
        created,
        building,
        all_ready,
        rest,
        changing,
        turns,
        latencies: seen.latencies,
        missed: seen.overtaken + seen.open,
        restart,
        all_heard,
        forbidden: forbidden(&cluster),
    }))
}

const METHOD: &str = "operator, API server, etcd and the simulated proxies share the cores; proxies speak the real protocol \
                      over TLS from addresses of their own; no controllers run, Pods are written by the benchmark; latency is \
                      from a simulated report to the status that a watch of the benchmark's shows; API writes are those in \
                      the audit log, without the Lease's";

/// A cluster with everything but the operator.
struct Run<'a> {
    cluster: &'a ControlPlane,
    options: &'a Options,
    fleet: Arc<Fleet>,
    observer: Arc<Observer>,
}

impl<'a> Run<'a> {
    fn start(cluster: &'a ControlPlane, options: &'a Options) -> Result<Self> {
        block_on(async {
            workload::make_namespaces(&cluster.client(), options).await?;
            let (fleet, observer) = (Fleet::start(cluster.client()), Observer::start(cluster.client()));
            Ok(Self { cluster, options, fleet, observer })
        })
    }

    /// Creates everything and waits until it is ready and quiet. Answers how long creating took, and all.
    fn build(&self, meter: &Meter<'_>) -> Result<(Phase, Duration, Duration)> {
        let (begun, begin) = (meter.begin()?, Instant::now());
        block_on(workload::create(&self.cluster.client(), self.options))?;
        let created = begin.elapsed();
        progress(&format!("created {} PortForwards in {created:.1?}", self.options.forwards));
        block_on(self.all_ready(begin))?;
        let all_ready = begin.elapsed();
        progress(&format!("all are Ready after {all_ready:.1?}"));
        self.await_quiet(meter)?;
        let phase = meter.end(&begun)?;
        progress(&format!("creation: {phase:?}"));
        Ok((phase, created, all_ready))
    }

    async fn all_ready(&self, begin: Instant) -> Result<()> {
        let limit = self.options.patience();
        let mut told = Instant::now();
        while begin.elapsed() < limit {
            tokio::select! {
                () = self.observer.await_ready(self.options.forwards as usize) => return Ok(()),
                error = self.fleet.failed() => return Err(error),
                () = sleep(Duration::from_secs(1)) => {}
            }
            if told.elapsed() > Duration::from_secs(15) {
                told = Instant::now();
                progress(&format!("{:.0?}: {} are Ready", begin.elapsed(), self.observer.ready()));
            }
        }
        bail!("only {} of {} are Ready after {limit:?}", self.observer.ready(), self.options.forwards)
    }

    fn await_quiet(&self, meter: &Meter<'_>) -> Result<()> {
        let (begin, mut written, mut since) = (Instant::now(), meter.written(), Instant::now());
        while since.elapsed() < QUIET {
            block_on(async { sleep(Duration::from_secs(1)).await });
            let now = meter.written();
            if now != written {
                (written, since) = (now, Instant::now());
            }
            if begin.elapsed() > self.options.patience() {
                bail!("the operator goes on writing");
            }
        }
        Ok(())
    }

    fn rest(&self, meter: &Meter<'_>) -> Result<Phase> {
        let begun = meter.begin()?;
        block_on(async { sleep(self.options.resting()).await });
        let phase = meter.end(&begun)?;
        progress(&format!("rest: {phase:?}"));
        Ok(phase)
    }

    /// Lets every proxy turn one node in each period, at a moment of its own. Answers how many turned.
    fn change(&self, meter: &Meter<'_>) -> Result<(Phase, usize)> {
        let begun = meter.begin()?;
        let turns = block_on(async {
            let turns = self.turn_nodes().await;
            // What is open then is told in the outcome.
            let _ = timeout(STRAGGLERS, async {
                while self.observer.open() > 0 {
                    sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
            turns
        });
        let phase = meter.end(&begun)?;
        progress(&format!("{turns} changes: {phase:?}"));
        Ok((phase, turns))
    }

    async fn turn_nodes(&self) -> usize {
        let period = self.options.period();
        let share = |index: usize| (stats::scramble(index as u64) % 1000) as u32;
        let mut order: Vec<_> =
            self.fleet.proxies().into_iter().enumerate().map(|(i, proxy)| (period * share(i) / 1000, proxy)).collect();
        order.sort_by_key(|(offset, _)| *offset);
        let (begin, mut turns, mut round) = (Instant::now(), 0, 0);
        while period * round < self.options.changing() {
            for (offset, proxy) in &order {
                let moment = period * round + *offset;
                if moment >= self.options.changing() {
                    break;
                }
                sleep_until((begin + moment).into()).await;
                proxy.turn(|turn| self.observer.expect(turn));
                turns += 1;
            }
            round += 1;
        }
        turns
    }

    /// Starts an operator on what is there, after so many writes of the one before. Answers how long it took until it heard every proxy.
    fn restart(&self, written: usize) -> Result<(Phase, Duration)> {
        let all = self.fleet.proxies().len();
        block_on(self.await_heard(0))?;
        let begin = Instant::now();
        let mut operator = Operator::start_installed(self.cluster, &[]);
        block_on(self.await_heard(all))?;
        let all_heard = begin.elapsed();
        progress(&format!("a new leader hears every proxy after {all_heard:.1?}"));
        let meter = Meter::new(self.cluster, &mut operator);
        block_on(async { sleep(QUIET).await });
        let phase = meter.end(&Meter::newborn(begin, written))?;
        progress(&format!("a new leader: {phase:?}"));
        Ok((phase, all_heard))
    }

    async fn await_heard(&self, count: usize) -> Result<()> {
        let heard = timeout(self.options.patience(), async {
            while self.fleet.heard() != count {
                sleep(Duration::from_millis(20)).await;
            }
        });
        heard.await.with_context(|| format!("{} proxies are heard, not {count}", self.fleet.heard()))
    }
}

/// Tells the person who waits; a terminal that is gone is no reason to stop.
fn progress(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}
