//! A tiny round of every load straight at its target: proves in seconds that the benchmark starts and can fail.
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::load::half_close::First;
use super::load::{Window, bulk, connect, half_close, idle, paced, request};
use super::meter::CpuMeter;
use super::target::{Echo, Source};

const WINDOW: Window = Window { warm_up: Duration::from_millis(20), measure: Duration::from_millis(100) };

/// Runs every load once and answers a line for each.
pub(crate) fn run() -> Result<Vec<String>> {
    Ok(vec![
        bulk_load().context("bulk")?,
        connect_load().context("new connections")?,
        request_load().context("requests")?,
        idle_load().context("idle connections")?,
        failing_target().context("a failing target")?,
        half_closed().context("half-close")?,
    ])
}

fn bulk_load() -> Result<String> {
    let target = Source::start()?;
    let figures = bulk::run(target.address(), 4, WINDOW, &CpuMeter::Direct)?;
    ensure!(figures.units > 0, "no byte arrived");
    Ok(format!("bulk: {:.2} GB/s", figures.rate() / 1e9))
}

fn connect_load() -> Result<String> {
    let target = Echo::start()?;
    let figures = connect::run(target.address(), WINDOW, &CpuMeter::Direct)?;
    ensure!(figures.latency(0.99).is_some(), "no connection was answered");
    Ok(format!("new connections: {:.0}/s", figures.rate()))
}

fn request_load() -> Result<String> {
    let target = Echo::start()?;
    let figures = request::run(target.address(), 10, WINDOW, &CpuMeter::Direct)?;
    ensure!(figures.latency(0.99).is_some(), "no request was answered");
    Ok(format!("requests: {:.0}/s", figures.rate()))
}

fn idle_load() -> Result<String> {
    let target = Echo::start()?;
    let open = idle::establish(target.address(), 50)?;
    Ok(format!("idle connections: {}", open.len()))
}

fn failing_target() -> Result<String> {
    let target = Echo::start()?;
    let attempts = paced::run(target.address(), 100, Duration::from_millis(100))?;
    let answered = attempts.iter().filter(|a| a.answered.is_some()).count();
    ensure!(answered == attempts.len(), "{answered} of {} answered", attempts.len());
    target.fall_silent()?;
    Ok(format!("a failing target: {answered} answered, then silence"))
}

fn half_closed() -> Result<String> {
    let (listener, address) = half_close::listen()?;
    for first in [First::Client, First::Target] {
        half_close::run(address, &listener, 1_000_000, first)?;
    }
    Ok("half-close: every byte arrived, both ways round".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn every_load_runs_without_a_forwarder() {
        assert_eq!(super::run().unwrap().len(), 6);
    }
}
