//! A tiny round of every load straight at its target: proves in seconds that the benchmark starts and can fail.
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::load::entrance::Entrance;
use super::load::half_close::First;
use super::load::{Window, bulk, connect, datagrams, flood, half_close, idle, paced, request, sizes};
use super::meter::CpuMeter;
use super::socket;
use super::target::{DatagramEcho, Echo, Source};

const WINDOW: Window = Window { warm_up: Duration::from_millis(20), measure: Duration::from_millis(100) };

/// Runs every load once and answers a line for each.
pub(crate) fn run() -> Result<Vec<String>> {
    Ok(vec![
        bulk_load().context("bulk")?,
        connect_load().context("new connections")?,
        request_load().context("requests")?,
        idle_load().context("idle connections")?,
        datagram_load().context("datagrams")?,
        flood_load().context("a flood of datagrams")?,
        socks5_load().context("socks5 clients")?,
        failing_target().context("a failing target")?,
        half_closed().context("half-close")?,
    ])
}

fn bulk_load() -> Result<String> {
    let target = Source::start()?;
    let figures = bulk::run(&Entrance::plain(target.address()), 4, WINDOW, &CpuMeter::Direct)?;
    ensure!(figures.units > 0, "no byte arrived");
    Ok(format!("bulk: {:.2} GB/s", figures.rate() / 1e9))
}

fn connect_load() -> Result<String> {
    let target = Echo::start()?;
    let figures = connect::run(&Entrance::plain(target.address()), WINDOW, &CpuMeter::Direct)?;
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

fn datagram_load() -> Result<String> {
    let target = DatagramEcho::start()?;
    let clients = datagrams::open(target.address(), 50)?;
    let exchange = datagrams::run(&clients, 2, WINDOW, &CpuMeter::Direct)?;
    ensure!(exchange.lost == 0, "{} of {} lost without a forwarder", exchange.lost, exchange.sent);
    let altered = sizes::altered(target.address())?;
    ensure!(altered.is_empty(), "altered without a forwarder: {altered:?} B");
    Ok(format!("datagrams: {:.0} round trips/s, of any size", exchange.figures.rate()))
}

fn flood_load() -> Result<String> {
    let (target, address) = socket::bind_datagrams()?;
    let figures = flood::run(address, &target, WINDOW, &CpuMeter::Direct)?;
    ensure!(figures.units > 0, "no datagram arrived");
    Ok(format!("a flood of datagrams: {:.0}/s delivered", figures.rate()))
}

fn socks5_load() -> Result<String> {
    let target = Echo::start()?;
    // An echo is no server: a client must mind what it hears.
    let entrance = Entrance::socks5(target.address(), target.address());
    ensure!(connect::run(&entrance, WINDOW, &CpuMeter::Direct).is_err(), "an echo passed for a socks5 server");
    let (listener, address) = half_close::listen()?;
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve_socks5(&listener));
        let mut client = Entrance::socks5(address, target.address()).with_echo().open()?;
        client.shutdown(Shutdown::Write)?;
        let rest = client.read(&mut [0; 1])?;
        ensure!(rest == 0, "something came after the echo");
        server.join().map_err(|_| anyhow!("the server panicked"))?
    })?;
    Ok("socks5 clients: one served, and an echo found out".to_owned())
}

/// A server that grants its first client whatever it wants, and is the target itself.
fn serve_socks5(listener: &TcpListener) -> Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.read_exact(&mut [0; 3])?;
    stream.write_all(&[5, 0])?;
    stream.read_exact(&mut [0; 10])?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(stream.write_all(&byte)?)
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
        assert_eq!(super::run().unwrap().len(), 9);
    }
}
