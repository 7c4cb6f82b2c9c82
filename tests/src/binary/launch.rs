//! How to start the program: built once per test process so that it is never stale, and given what a test wants it
//! to find around it. The kernel ends it when its parent dies.

use std::{
    ffi::OsString,
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Fairlead, Finished, output::Output};
use crate::deadline::SOON;

/// The user that has no rights.
const NOBODY: u32 = 65534;

/// Puts the file `$1` in the place of /etc/hosts, in a mount namespace, and becomes the rest of the words.
const OWN_HOSTS: &str = r#"mount --bind "$1" /etc/hosts && shift && exec setpriv --pdeathsig KILL -- "$@""#;

/// Lays the directory `$1` over /etc, in a mount namespace, and becomes the rest of the words.
const OWN_ETC: &str =
    r#"mount -t overlay overlay -o "lowerdir=$1:/etc" /etc && shift && exec setpriv --pdeathsig KILL -- "$@""#;

/// The program file: the one `FAIRLEAD_BIN` names, else the one cargo makes of the present sources.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var_os("FAIRLEAD_BIN").map_or_else(|| build("fairlead"), PathBuf::from))
}

/// The operator's program file: the one `FAIRLEAD_OPERATOR_BIN` names, else the one cargo makes of the present sources.
pub fn operator() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let named = || std::env::var_os("FAIRLEAD_OPERATOR_BIN").map(PathBuf::from);
    PROGRAM.get_or_init(|| named().unwrap_or_else(|| build("fairlead-operator")))
}

/// Builds the program of a package, which has the package's name.
fn build(package: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--package", package, "--bin", package, "--locked"]);
    cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let built = cargo.stderr(Stdio::inherit()).output().expect("start cargo");
    assert!(built.status.success(), "cargo could not build {package}");
    let messages = String::from_utf8_lossy(&built.stdout);
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = artifacts.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    program.expect("cargo names the program it built")
}

/// How to start the program.
#[derive(Default)]
pub struct Launch {
    /// Another program than `fairlead`.
    program: Option<PathBuf>,
    arguments: Vec<OsString>,
    input: Option<String>,
    environment: Vec<(&'static str, OsString)>,
    /// As prlimit(1) takes it.
    descriptors: Option<String>,
    /// What to do in a mount namespace, and with which file or directory.
    mount: Option<(&'static str, PathBuf)>,
    nobody: bool,
    terminal: bool,
    unread: bool,
}

impl Launch {
    /// With these arguments.
    pub fn new<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self { arguments: arguments.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Starts this program instead of `fairlead`.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// Writes this to its standard input, and closes that.
    pub fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// Sets a variable of its environment.
    pub fn environment(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Lets it have this many descriptors and no more, from its start.
    pub fn descriptors(mut self, limit: u64) -> Self {
        self.descriptors = Some(format!("{limit}:{limit}"));
        self
    }

    /// Starts it with this soft limit of descriptors, which it may raise.
    pub fn soft_descriptors(mut self, limit: u64) -> Self {
        self.descriptors = Some(format!("{limit}:"));
        self
    }

    /// Lets it read this file where others read /etc/hosts, so that `localhost` can be an address of its own.
    pub fn hosts(mut self, file: &Path) -> Self {
        self.mount = Some((OWN_HOSTS, file.to_owned()));
        self
    }

    /// Lets it find what is in this directory under /etc, before what others find there.
    pub fn etc(mut self, directory: &Path) -> Self {
        self.mount = Some((OWN_ETC, directory.to_owned()));
        self
    }

    /// Runs it as a user without rights; only root can.
    pub fn as_nobody(mut self) -> Self {
        self.nobody = true;
        self
    }

    /// Runs it on a terminal of its own, by script(1); what it prints there counts as standard output.
    pub fn on_a_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Gives it a standard output that nobody reads any more.
    pub fn without_reader(mut self) -> Self {
        self.unread = true;
        self
    }

    /// Starts it.
    pub fn start(self) -> Fairlead {
        let copy = self.nobody.then(copy_for_anyone);
        let mut command = self.command(copy.as_ref());
        let mut child = command.spawn().expect("start fairlead");
        if let (Some(text), Some(mut stdin)) = (self.input, child.stdin.take()) {
            // A program that ends without reading is judged by what it printed.
            let _ = stdin.write_all(text.as_bytes());
        }
        let stdout = child.stdout.take().map(Output::collect).unwrap_or_default();
        let stderr = child.stderr.take().map(Output::collect).unwrap_or_default();
        Fairlead { child, stdout, stderr, _copy: copy }
    }

    /// Starts it and waits for its end, which must come by itself.
    pub fn finish(self) -> Finished {
        let mut fairlead = self.start();
        let code = fairlead.await_exit(SOON);
        Finished { code, stdout: fairlead.stdout.whole(), stderr: fairlead.stderr.whole() }
    }

    fn command(&self, copy: Option<&TempDir>) -> Command {
        let original = || self.program.clone().unwrap_or_else(|| program().to_owned());
        let words = self.words(copy.map_or_else(original, |dir| dir.path().join("fairlead")));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_remove("RUST_LOG").envs(self.environment.iter().cloned());
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(if self.unread { nobody_reads() } else { Stdio::piped() }).stderr(Stdio::piped());
        if self.nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// The program with its arguments, behind the tools that prepare it and then become it.
    fn words(&self, program: PathBuf) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if has("setpriv") {
            words.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(Into::into));
        }
        if let Some(limits) = &self.descriptors {
            words.extend(["prlimit".into(), format!("--nofile={limits}").into(), "--".into()]);
        }
        if let Some((script, path)) = &self.mount {
            let rights: &[&str] =
                if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
            words.extend(["unshare", "--mount"].iter().chain(rights).map(Into::into));
            words.extend(["sh", "-c", script, "sh"].map(Into::into));
            words.push(path.into());
        }
        let whole = std::iter::once(program.into()).chain(self.arguments.iter().cloned());
        if self.terminal {
            let quoted: Vec<String> = whole.map(|word| format!("'{}'", word.to_string_lossy())).collect();
            words.extend(["script", "--quiet", "--return", "--command"].map(Into::into));
            words.extend([quoted.join(" ").into(), "/dev/null".into()]);
        } else {
            words.extend(whole);
        }
        words
    }
}

fn nobody_reads() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
}

/// The directory the program was built in may be closed to other users.
fn copy_for_anyone() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = || fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path(), open()).expect("open the directory to everybody");
    fs::copy(program(), dir.path().join("fairlead")).expect("copy the program");
    fs::set_permissions(dir.path().join("fairlead"), open()).expect("let everybody run it");
    dir
}
