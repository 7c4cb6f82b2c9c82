//! `fairlead demo`: two small web servers, and the quickstart manifest run against them, all on loopback. Tells what
//! to type to stop a target and to see it come back.

mod control;
mod target;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use fairlead_api::{PortForward, Target as TargetSpec, manifest, render::Place};

use crate::{
    args::{EngineArgs, LogFormat},
    exit::Exit,
    manifests, output,
    service::{self, Service},
    signals::Signals,
    terminal,
    view::{self, Chosen},
};
use control::Targets;
use target::Target;

const QUICKSTART: &str = include_str!("../../deploy/examples/quickstart.yaml");
const NAMES: [&str; 2] = ["one", "two"];
const CONTROL_PORT: u16 = 8090;
/// So many that the text above the table stays in sight.
const EVENTS: usize = 5;

/// Runs the command.
pub(crate) async fn demo(log_format: LogFormat) -> anyhow::Result<Exit> {
    let mut object = quickstart()?;
    let (control, control_address) = listener(CONTROL_PORT)?;
    if control_address.port() != CONTROL_PORT {
        use_any_ports(&mut object);
    }
    let targets = Arc::new(start_targets(&mut object)?);
    let listen = free_listener(&mut object)?;
    control::serve(control, Arc::clone(&targets))?;
    let (wanted, problems) = manifests::wanted(vec![object], Place::Laptop);
    if let Some(problem) = problems.first() {
        return Err(anyhow!("quickstart.yaml: {problem}"));
    }
    let chosen = view::choose(None, log_format).map_err(anyhow::Error::msg)?;
    let mut signals = Signals::new()?;
    let engine = Arc::new(service::start_engine(&EngineArgs::usual())?);
    if let Err(error) = service::listen(&engine, &wanted) {
        return Ok(crate::run::failed(&error));
    }
    let has_keys = matches!(chosen, Chosen::Table(_));
    output::print(text(listen, &targets.addresses(), control_address, has_keys));
    let view = chosen.begin(EVENTS, "1, 2: stop or start a target. Ctrl-C ends.")?;
    let mut keys = has_keys.then(terminal::keys);
    let mut service = Service::new(engine, &wanted, view);
    let next = async || loop {
        let key = match &mut keys {
            Some(keys) => keys.recv().await,
            None => None,
        };
        match key {
            Some(key) => targets.key(key),
            None => std::future::pending().await,
        }
    };
    let ending = service.serve(next, &mut signals).await;
    service.end(ending, &mut signals).await;
    Ok(Exit::Done)
}

fn quickstart() -> anyhow::Result<PortForward> {
    let mut manifests = manifest::read("quickstart.yaml", QUICKSTART);
    if let Some(problem) = manifests.problems.first() {
        return Err(anyhow!("{problem}"));
    }
    manifests.port_forwards.pop().context("quickstart.yaml holds no PortForward")
}

/// Another demo has the usual ports, those of its stopped targets as well.
fn use_any_ports(object: &mut PortForward) {
    object.spec.listen.iter_mut().for_each(|listen| listen.port = 0);
    object.spec.targets.iter_mut().for_each(|target| target.port = None);
}

/// Starts a web server for each target of the manifest, where it says or, if that port is taken, elsewhere; the
/// object is changed accordingly.
fn start_targets(object: &mut PortForward) -> anyhow::Result<Targets> {
    let mut targets = Vec::new();
    for (name, spec) in NAMES.into_iter().zip(&mut object.spec.targets) {
        let (listener, address) = listener(spec.port.unwrap_or_default())?;
        *spec = TargetSpec { host: Some(address.ip().to_string()), port: Some(address.port()), service: None };
        targets.push(Arc::new(Target::start(name, listener)?));
    }
    Ok(Targets::new(targets))
}

/// Makes sure that the forward's own port is free, or gives it another.
fn free_listener(object: &mut PortForward) -> anyhow::Result<SocketAddr> {
    let listen = object.spec.listen.get_or_insert_default();
    let (_, address) = listener(listen.port)?;
    (listen.address, listen.port) = (Some(address.ip().to_string()), address.port());
    Ok(address)
}

/// Listens on a port of this machine, or on any other when it is taken.
fn listener(port: u16) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = bind(port).or_else(|_| bind(0)).context("listen on 127.0.0.1")?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn text(listen: SocketAddr, targets: &[(&str, SocketAddr)], control: SocketAddr, has_keys: bool) -> String {
    let steps = [
        (format!("curl http://{listen}"), "repeat it: they take turns"),
        (format!("curl -X POST http://{control}/one/stop"), "one dies, two serves everybody"),
        (format!("curl -X POST http://{control}/one/start"), "one is back within seconds"),
    ];
    let width = steps.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    let steps: String = steps.iter().map(|(command, what)| format!("  {command:width$}   {what}\n")).collect();
    let places: String =
        targets.iter().map(|(name, address)| format!("  target {name}   http://{address}\n")).collect();
    format!(
        "One forward and its two targets, as deploy/examples/quickstart.yaml says:\n\n\
         \x20 forward      http://{listen}\n{places}\n\
         Now type, in another terminal:\n\n{steps}\n\
         {}",
        if has_keys { "" } else { "Ctrl-C (or SIGTERM) ends the demo.\n" }
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_quickstart_is_a_good_manifest_with_a_target_for_each_server() {
        let object = quickstart().unwrap();
        assert_eq!(object.spec.targets.len(), NAMES.len());
        assert_eq!(manifests::wanted(vec![object], Place::Laptop).1, Vec::<String>::new());
    }

    #[test]
    fn the_text_shows_commands_that_can_be_pasted() {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = text(address(1), &[("one", address(2)), ("two", address(3))], address(4), false);
        for part in ["curl http://127.0.0.1:1 ", "http://127.0.0.1:2", "POST http://127.0.0.1:4/one/stop", "/one/start"]
        {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("press"));
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_replaced() {
        let (taken, address) = listener(0).unwrap();
        let (_, other) = listener(address.port()).unwrap();
        assert_ne!(address.port(), other.port());
        drop(taken);
    }
}
