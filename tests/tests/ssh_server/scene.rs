//! One SSH server of ours with its files, and the clients that come to it, each killed with its test.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use fairlead_tests::{
    binary::Fairlead,
    deadline::{SOON, await_condition, await_some},
    ports,
};
use tempfile::TempDir;

/// A running server.
pub(crate) struct Scene {
    pub(crate) files: Files,
    pub(crate) port: u16,
    fairlead: Fairlead,
}

/// Keys and lists of them.
pub(crate) struct Files(TempDir);

/// A client; dropped, it is killed.
pub(crate) struct Guest {
    child: Child,
    log: std::path::PathBuf,
}

impl Scene {
    /// Makes files, which `make` says the options of, and starts a server that uses them.
    pub(crate) fn new(make: impl FnOnce(&Files) -> Vec<&'static str>) -> Self {
        let files = Files(tempfile::tempdir().expect("a directory"));
        files.key("host");
        files.key("id");
        files.key("other");
        let options = make(&files);
        let port = ports::free();
        let file = |option: &&str| match option.split_once('=') {
            Some((name @ ("ssh_authorized_keys" | "secrets"), file)) => format!("&{name}={}", files.path(file)),
            _ => format!("&{option}"),
        };
        let options: String = options.iter().map(file).collect();
        let url = format!("forward+ssh://127.0.0.1:{port}?ssh_key={}{options}", files.path("host"));
        let fairlead = Fairlead::run(&["run", "-L", &url]);
        fairlead.await_listening(port);
        let host = fs::read_to_string(files.path("host.pub")).expect("the host key");
        files.write("known_hosts", &format!("[127.0.0.1]:{port} {host}"));
        Self { files, port, fairlead }
    }

    /// A server with an `authorized_keys` of one line, made of the client's public key.
    pub(crate) fn with_keys(line: impl FnOnce(&str) -> String) -> Self {
        Self::new(|files| {
            files.write("authorized_keys", &line(&files.key("id")));
            vec!["ssh_authorized_keys=authorized_keys"]
        })
    }

    /// The same with an option more.
    pub(crate) fn with_options(option: &'static str, line: impl FnOnce(&str) -> String) -> Self {
        Self::new(|files| {
            files.write("authorized_keys", &line(&files.key("id")));
            vec!["ssh_authorized_keys=authorized_keys", option]
        })
    }

    /// What the server keeps in memory, in bytes.
    pub(crate) fn resident_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.fairlead.pid())).expect("a running server");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.expect("a figure") << 10
    }

    /// It as a hop of ours, with the right key.
    pub(crate) fn hop(&self) -> String {
        let (key, known) = (self.files.path("id"), self.files.path("known_hosts"));
        format!("forward+ssh://somebody@127.0.0.1:{}?ssh_key={key}&ssh_known_hosts={known}", self.port)
    }

    /// OpenSSH's client with the right key.
    pub(crate) fn ssh(&self, arguments: &[&str]) -> Guest {
        let mut all = vec!["-i".to_owned(), "id".to_owned()];
        all.extend(arguments.iter().map(ToString::to_string));
        self.ssh_as(&all)
    }

    /// OpenSSH's client. `-i` names a key of the scene, and `password:…` is what it answers when asked for one.
    pub(crate) fn ssh_as(&self, arguments: &[String]) -> Guest {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-v", "-p", &self.port.to_string()]);
        for option in ["IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null"] {
            command.args(["-o", option]);
        }
        command.args(["-o", &format!("UserKnownHostsFile={}", self.files.path("known_hosts"))]);
        let (mut password, mut words, mut is_key) = (None, Vec::new(), false);
        for argument in arguments {
            match argument.strip_prefix("password:") {
                Some(text) => password = Some(text),
                None if is_key => _ = command.arg(self.files.path(argument)),
                // What follows the host is the command.
                None if argument.starts_with('-') || !words.is_empty() || is_value(arguments, argument) => {
                    _ = command.arg(argument)
                }
                None => words.push(argument.clone()),
            }
            is_key = argument == "-i";
        }
        match password {
            Some(password) => {
                self.files.write("askpass", &format!("#!/bin/sh\necho '{password}'\n"));
                self.files.make_executable("askpass");
                command.env("SSH_ASKPASS", self.files.path("askpass")).env("SSH_ASKPASS_REQUIRE", "force");
                command.args(["-o", "NumberOfPasswordPrompts=1", "-o", "PreferredAuthentications=password"]);
            }
            None => _ = command.args(["-o", "BatchMode=yes"]),
        }
        command.arg("127.0.0.1").args(words);
        Guest::start(command, &self.files.path("ssh.log"))
    }

    /// Dropbear's client with the right key.
    pub(crate) fn dropbear(&self, arguments: &[&str]) -> Guest {
        let key = self.files.path("id.dropbear");
        let converted =
            Command::new("dropbearconvert").args(["openssh", "dropbear", &self.files.path("id"), &key]).output();
        assert!(converted.is_ok_and(|converted| converted.status.success()), "dropbearconvert failed");
        let mut command = Command::new("dbclient");
        command.env("HOME", self.files.path("")).args(["-y", "-y", "-i", &key, "-p", &self.port.to_string()]);
        command.args(arguments).arg("somebody@127.0.0.1");
        Guest::start(command, &self.files.path("dbclient.log"))
    }
}

/// Whether an argument belongs to the option before it.
fn is_value(arguments: &[String], argument: &String) -> bool {
    let takes_value = ["-L", "-R", "-D", "-l", "-o", "-i", "-s"];
    let at = arguments.iter().position(|other| std::ptr::eq(other, argument));
    let before = at.and_then(|at| arguments.get(at.checked_sub(1)?));
    before.is_some_and(|before| takes_value.contains(&before.as_str()) && before != "-s")
}

impl Files {
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("write a file");
    }

    pub(crate) fn make_executable(&self, name: &str) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o700)).expect("an executable file");
    }

    /// Makes a key pair, or finds it; the public half is returned.
    pub(crate) fn key(&self, name: &str) -> String {
        let path = self.path(name);
        if !Path::new(&path).exists() {
            keygen(&["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &path]);
        }
        fs::read_to_string(format!("{path}.pub")).expect("a public key").trim().to_owned()
    }

    /// An authority says that a key is `user`'s.
    pub(crate) fn certify(&self, authority: &str, key: &str, user: &str) {
        keygen(&["-q", "-s", &self.path(authority), "-I", key, "-n", user, &self.path(&format!("{key}.pub"))]);
    }
}

/// The keys that a server shows, without the names it is asked by.
pub(crate) fn host_keys(port: u16) -> String {
    let shown = Command::new("ssh-keyscan").args(["-t", "ed25519", "-p", &port.to_string(), "127.0.0.1"]).output();
    let shown = String::from_utf8_lossy(&shown.expect("ssh-keyscan").stdout).into_owned();
    shown.lines().filter_map(|line| line.split_once(' ')).map(|(_, key)| key.to_owned()).collect()
}

fn keygen(arguments: &[&str]) {
    let made = Command::new("ssh-keygen").args(arguments).output().expect("ssh-keygen");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Guest {
    fn start(mut command: Command, log: &str) -> Self {
        let log = std::path::PathBuf::from(format!("{log}.{}", ports::free()));
        let output = fs::File::create(&log).expect("a file");
        let errors = output.try_clone().expect("the same file");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")), log }
    }

    /// Everything that it printed.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until somebody listens, the client or the server for it.
    pub(crate) fn await_listening(&self, port: u16) {
        let told = || panic!("the client ended:\n{}", self.said());
        await_condition("a forward to listen", SOON, || {
            ports::listener_on(port).is_some() || (self.said().contains("Permission denied (") && told())
        });
    }

    /// The word after these in what it prints.
    pub(crate) fn await_word(&self, after: &str) -> String {
        await_some(after, SOON, || {
            let said = self.said();
            let rest = &said[said.find(after)? + after.len()..];
            rest.split_once(char::is_whitespace).map(|(word, _)| word.to_owned())
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        let path = format!("/proc/{}/stat", self.child.id());
        fs::read_to_string(path).is_ok_and(|stat| stat.contains(") Z "))
    }

    pub(crate) fn await_exit(&mut self) -> i32 {
        await_some("the client to end", SOON, || self.child.try_wait().ok().flatten()).code().unwrap_or(-1)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
