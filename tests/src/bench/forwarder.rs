//! Starts forwarders and ends them: one process group and, where possible, one control group each.
//! Whatever was started is killed when its value is dropped, and by the kernel should this process die first.
use std::fs::{self, File};
use std::net::SocketAddrV4;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::meter::{ControlGroup, CpuMeter};
use super::peer::{NOBODY, Peer, Route, Way};
use super::running::Running;
use super::socket;

/// Descriptors a forwarder may have, as in a pod with a modest limit.
const NOFILE: u32 = 20_000;

/// Where the programs are, and a directory for what they read and write.
pub(crate) struct Toolbox {
    dir: TempDir,
    root: bool,
    fairlead: Option<PathBuf>,
    gost: Option<PathBuf>,
}

impl Toolbox {
    /// Copies the two programs that have no package to where any user may run them.
    pub(crate) fn new(fairlead: Option<&Path>, gost: Option<&Path>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("fairlead-bench-").tempdir().context("make a temporary directory")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let install = |from: Option<&Path>, name: &str| -> Result<Option<PathBuf>> {
            let Some(from) = from else { return Ok(None) };
            let to = dir.path().join(name);
            fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
            Ok(Some(to))
        };
        Ok(Self {
            fairlead: install(fairlead, "fairlead")?,
            gost: install(gost, "gost")?,
            root: rustix::process::geteuid().is_root(),
            dir,
        })
    }

    /// Writes a file that only the forwarders' user may read.
    pub(crate) fn entrust(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.path().join(name);
        fs::write(&path, text).with_context(|| format!("write {name}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if self.root {
            chown(&path, Some(NOBODY), Some(NOBODY)).with_context(|| format!("give {name} away"))?;
        }
        Ok(())
    }

    /// Whether users can be changed.
    pub(crate) fn root(&self) -> bool {
        self.root
    }

    /// The program file of a forwarder, or why it is not measured.
    pub(crate) fn program(&self, peer: Peer) -> Result<PathBuf, String> {
        let absent = |reason: &str| Err(format!("not measured: {reason}"));
        if let Some(name) = peer.program() {
            return find(name).map_or_else(|| absent(&format!("{name} is not installed")), Ok);
        }
        let (own, reason) = if peer == Peer::Gost {
            (&self.gost, "GOST_BIN is not set")
        } else {
            (&self.fairlead, "no fairlead program was given (--fairlead)")
        };
        own.clone().map_or_else(|| absent(reason), Ok)
    }

    /// Whether a control group can be made to read a forwarder's CPU from.
    pub(crate) fn has_control_groups(&self) -> bool {
        ControlGroup::create(&self.group_name(0)).is_some()
    }

    /// Starts a forwarder of streams to the targets, as [`Self::start_way`] does.
    pub(crate) fn start(&self, peer: Peer, targets: &[SocketAddrV4]) -> Result<Forwarder> {
        self.start_way(peer, Way::Tcp, targets)
    }

    /// Starts a forwarder and waits until it listens; for [`Peer::Direct`] there is nothing to start.
    pub(crate) fn start_way(&self, peer: Peer, way: Way, targets: &[SocketAddrV4]) -> Result<Forwarder> {
        if peer == Peer::Direct {
            return Ok(Forwarder::direct(targets[0]));
        }
        let route = route(way, targets)?;
        let group = ControlGroup::create(&self.group_name(route.listen.port()));
        let mut command = self.wrapped(peer, group.as_ref())?;
        let running = self.spawn(peer, &route, &mut command)?;
        Ok(Forwarder {
            address: route.listen,
            meter: group.map_or(CpuMeter::Tree(running.id()), CpuMeter::ControlGroup),
            running: Some(running),
        })
    }

    /// Starts a forwarder without anything around it and answers how long it took to listen.
    pub(crate) fn start_timed(&self, peer: Peer, targets: &[SocketAddrV4]) -> Result<(Forwarder, Duration)> {
        let route = route(Way::Tcp, targets)?;
        let program = self.program(peer).map_err(anyhow::Error::msg)?;
        let mut command = Command::new(program);
        if self.root && !peer.changes_user_itself() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let begin = Instant::now();
        let running = self.spawn(peer, &route, &mut command)?;
        let forwarder =
            Forwarder { address: route.listen, meter: CpuMeter::Tree(running.id()), running: Some(running) };
        Ok((forwarder, begin.elapsed()))
    }

    fn group_name(&self, port: u16) -> String {
        let run = self.dir.path().file_name().unwrap_or_default();
        format!("{}-{port}", run.to_string_lossy())
    }

    /// The command up to and including the program: joins the group, limits descriptors, changes the user.
    fn wrapped(&self, peer: Peer, group: Option<&ControlGroup>) -> Result<Command> {
        let mut command = Command::new("sh");
        let join = "if [ -n \"$0\" ]; then echo $$ >\"$0\"; fi; exec \"$@\"";
        let members = group.map(ControlGroup::members).unwrap_or_default();
        command.arg("-c").arg(join).arg(members);
        command.args(["prlimit", &format!("--nofile={NOFILE}:{NOFILE}")]);
        command.args(["setpriv", "--pdeathsig", "KILL"]);
        if self.root && !peer.changes_user_itself() {
            let (user, own_group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
            command.args([&user, &own_group, "--clear-groups"]);
        }
        command.arg(self.program(peer).map_err(anyhow::Error::msg)?);
        Ok(command)
    }

    fn spawn(&self, peer: Peer, route: &Route, command: &mut Command) -> Result<Running> {
        let dir = self.dir.path();
        if let Some((name, text)) = peer.config(route, self.root) {
            fs::write(dir.join(name), text).with_context(|| format!("write {name}"))?;
        }
        let log = dir.join(format!("{}.log", route.listen.port()));
        let output = File::create(&log)?;
        let child = command
            .args(peer.arguments(route, dir))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", peer.label()))?;
        let mut running = Running { child, log };
        running.listens(route.listen.port(), &route.way).with_context(|| peer.label())?;
        Ok(running)
    }
}

fn route(way: Way, targets: &[SocketAddrV4]) -> Result<Route> {
    Ok(Route { way, listen: socket::free_address()?, targets: targets.to_vec() })
}

/// Finds a program on the search path, or where daemons are that users have not on theirs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// A forwarder that listens, or the target itself.
pub(crate) struct Forwarder {
    /// Where clients connect.
    pub(crate) address: SocketAddrV4,
    // Before the meter, whose control group can only be removed once the processes are gone.
    running: Option<Running>,
    pub(crate) meter: CpuMeter,
}

impl Forwarder {
    fn direct(target: SocketAddrV4) -> Self {
        Self { address: target, running: None, meter: CpuMeter::Direct }
    }

    /// The id of its first process; none for [`Peer::Direct`].
    pub(crate) fn id(&self) -> Option<u32> {
        self.running.as_ref().map(Running::id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_program_that_ends_at_once_is_reported_with_its_last_words() {
        let mut toolbox = Toolbox::new(None, None).unwrap();
        // It takes "run" for a file's name and complains.
        toolbox.fairlead = find("ls");
        let target = "127.0.0.1:1".parse().unwrap();
        let error = toolbox.start(Peer::Fairlead, &[target]).err().unwrap();
        let text = format!("{error:#}");
        assert!(text.contains("ended before it listened"), "{text}");
        assert!(text.contains("'run'"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_not_measured_and_says_why() {
        let toolbox = Toolbox::new(None, None).unwrap();
        let reason = toolbox.program(Peer::Gost).unwrap_err();
        assert_eq!(reason, "not measured: GOST_BIN is not set");
    }
}
