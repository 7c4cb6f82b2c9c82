//! OpenSSH's server, run as the user of the test with keys and a configuration of its own, on a free port of 127.0.0.1;
//! and the keys, certificates and agents that clients of it need.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    bench::tree,
    binary::{Fairlead, Launch},
    deadline::{SOON, await_condition},
    ports,
    skip::skip,
};

/// Where Debian puts it; it wants to be started by its whole path.
const SSHD: &str = "/usr/sbin/sshd";

/// A directory of keys that `ssh-keygen` makes.
pub struct Keys(TempDir);

/// A running sshd; dropping it kills it and its sessions.
pub struct Sshd {
    child: Option<Child>,
    config: PathBuf,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    pub keys: Keys,
}

/// A running ssh-agent; dropping it kills it.
pub struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Default for Keys {
    fn default() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }
}

impl Keys {
    /// The path of a file here.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a key with these arguments of `ssh-keygen`, and answers its public half.
    pub fn make(&self, name: &str, arguments: &[&str]) -> String {
        self.keygen(&[&["-q", "-C", name, "-f", &self.text_path(name)], arguments].concat());
        self.public(name)
    }

    /// Signs a key by another one, with these arguments of `ssh-keygen`.
    pub fn sign(&self, name: &str, authority: &str, arguments: &[&str]) {
        let (authority, public) = (self.text_path(authority), format!("{}.pub", self.text_path(name)));
        self.keygen(&[&["-q", "-s", &authority, "-I", name], arguments, &[&public]].concat());
    }

    /// Kind and key of the public half.
    pub fn public(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(&format!("{name}.pub"))).expect("a public key");
        text.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// What `ssh-keygen -l` calls the key's fingerprint.
    pub fn fingerprint(&self, name: &str) -> String {
        let shown = Command::new("ssh-keygen").arg("-lf").arg(self.path(&format!("{name}.pub"))).output();
        let shown = String::from_utf8(shown.expect("run ssh-keygen").stdout).expect("text");
        shown.split_ascii_whitespace().nth(1).expect("a fingerprint").to_owned()
    }

    /// Writes a file, and answers its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).expect("write a file");
        self.text_path(name)
    }

    /// The path of a file here, as text.
    pub fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    fn keygen(&self, arguments: &[&str]) {
        let made = Command::new("ssh-keygen").args(arguments).stdin(Stdio::null()).output().expect("run ssh-keygen");
        assert!(made.status.success(), "ssh-keygen {arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
    }
}

impl Sshd {
    /// Starts it with an ed25519 host key `host`, for the key `id`; none where the program is missing, which is said.
    pub fn start() -> Option<Self> {
        Self::with("")
    }

    /// Starts it with more lines of configuration, in which `DIR` is the directory of its keys.
    pub fn with(lines: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            skip("sshd is not installed (openssh-server)");
            return None;
        }
        // Root's sshd gives up its rights there; the package's service would make it.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").expect("a directory for sshd");
        }
        let keys = Keys::default();
        keys.make("host", &["-t", "ed25519", "-N", ""]);
        let id = keys.make("id", &["-t", "ed25519", "-N", ""]);
        keys.write("authorized_keys", &format!("{id}\n"));
        let port = ports::free();
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey DIR/host\nAuthorizedKeysFile DIR/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\nMaxStartups 1000\nLogLevel VERBOSE\n{lines}\n"
        );
        let config = keys.write("sshd_config", &text.replace("DIR", keys.0.path().to_str().expect("UTF-8")));
        let mut sshd = Self { child: None, config: config.into(), port, keys };
        sshd.restart();
        Some(sshd)
    }

    /// Starts it again, where it was.
    pub fn restart(&mut self) {
        self.kill();
        let log = File::options().create(true).append(true).open(self.keys.path("log")).expect("a log");
        let mut command = Command::new(SSHD);
        command.args(["-D", "-e", "-f"]).arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("start sshd"));
        await_condition("sshd to listen", SOON, || ports::listener_on(self.port).is_some());
    }

    /// Kills it and all its sessions at once; its port refuses from then on.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            child.wait().expect("wait for sshd");
        }
    }

    /// Stops it and its sessions where they stand: connections are accepted, and nothing is ever said.
    pub fn fall_silent(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a user log in by this key as well.
    pub fn authorize(&self, public: &str) {
        let present = fs::read_to_string(self.keys.path("authorized_keys")).expect("authorized keys");
        self.keys.write("authorized_keys", &format!("{present}{public}\n"));
    }

    /// Its line for a `known_hosts`, with this key of its own.
    pub fn known_as(&self, key: &str) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, self.keys.public(key))
    }

    /// A hop through it as the user of the test, with the key `id`, known by its host key.
    pub fn hop(&self) -> String {
        self.hop_by("id")
    }

    /// The same with another key.
    pub fn hop_by(&self, key: &str) -> String {
        let known = self.keys.write("known_hosts", &self.known_as("host"));
        format!("{}?ssh_key={}&ssh_known_hosts={known}", self.url(), self.keys.text_path(key))
    }

    /// A hop through it, without options.
    pub fn url(&self) -> String {
        format!("forward+ssh://{}@{}", user(), self.address())
    }

    /// Its address as a URL has it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.keys.path("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        // Each session has processes of its own, and a session and group too.
        for pid in tree::processes(child.id()).expect("its processes").into_iter().rev() {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
            // An error means that it has just ended.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Agent {
    /// Starts an agent that holds these keys.
    pub fn holding(keys: &Keys, names: &[&str]) -> Self {
        let socket = keys.path("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let agent = Self { child: command.spawn().expect("start ssh-agent"), socket };
        await_condition("the agent's socket", SOON, || agent.socket.exists());
        for name in names {
            let mut add = Command::new("ssh-add");
            add.arg("-q").arg(keys.path(name)).env("SSH_AUTH_SOCK", &agent.socket);
            assert!(add.status().expect("run ssh-add").success(), "ssh-add {name}");
        }
        agent
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who runs the test, and who may log in.
pub fn user() -> String {
    let id = Command::new("id").arg("-un").output().expect("run id");
    String::from_utf8(id.stdout).expect("text").trim().to_owned()
}

/// Runs a forward from a free port to `targets` through `hops`, and returns it with its port.
pub fn through(hops: &[&str], targets: &str) -> (Fairlead, u16) {
    let port = ports::free();
    let listen = format!("tcp://127.0.0.1:{port}/{targets}");
    let mut arguments = vec!["run", "-o", "json", "-L", &listen];
    arguments.extend(hops.iter().flat_map(|hop| ["-F", hop]));
    // None of what the tester's own ssh has.
    let fairlead = Launch::new(arguments).environment("HOME", "/nowhere").environment("SSH_AUTH_SOCK", "").start();
    fairlead.await_listening(port);
    (fairlead, port)
}

/// The node at this address, in an object.
pub fn node<'a>(object: &'a Value, address: &str) -> Option<&'a Value> {
    object.pointer("/status/nodes")?.as_array()?.iter().find(|node| node["address"] == address)
}

/// Whether the node at this address is dead, for an error with these words.
pub fn is_dead(object: &Value, address: &str, because: &str) -> bool {
    node(object, address).is_some_and(|node| {
        node["state"] == "Dead" && node["lastError"].as_str().is_some_and(|error| error.contains(because))
    })
}
