//! Proxies of others to go through: real programs from packages, each on a free port and killed with its test.

use std::{
    fs,
    io::Write,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    deadline::{SOON, await_condition},
    ports,
    skip::skip,
};

/// A running proxy; dropping it kills it.
pub struct Proxy {
    child: Child,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    _files: Option<TempDir>,
}

impl Proxy {
    /// `microsocks`, which serves SOCKS5; none where the program is missing, which is said.
    pub fn microsocks(login: Option<(&str, &str)>) -> Option<Self> {
        let port = ports::free();
        let mut command = Command::new("microsocks");
        command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
        if let Some((user, password)) = login {
            command.args(["-u", user, "-P", password]);
        }
        Self::start(command, port, None)
    }

    /// `tinyproxy`, which serves CONNECT; none where the program is missing, which is said.
    pub fn tinyproxy(login: Option<(&str, &str)>) -> Option<Self> {
        let port = ports::free();
        let files = tempfile::tempdir().expect("a directory");
        let path = files.path().join("tinyproxy.conf");
        let mut config = fs::File::create(&path).expect("write a file");
        let login = login.map(|(user, password)| format!("BasicAuth {user} {password}\n")).unwrap_or_default();
        write!(config, "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\nLogLevel Critical\n{login}")
            .expect("write a file");
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(&path);
        Self::start(command, port, Some(files))
    }

    /// `ss-server` of shadowsocks-libev, for streams and datagrams; none where the program is missing, which is said.
    pub fn shadowsocks(method: &str, password: &str) -> Option<Self> {
        let port = ports::free();
        let mut command = Command::new("ss-server");
        command.args(["-s", "127.0.0.1", "-p", &port.to_string(), "-m", method, "-k", password, "-u"]);
        Self::start(command, port, None)
    }

    /// `danted`, which serves all of SOCKS5; none where the program is missing, which is said.
    pub fn dante() -> Option<Self> {
        let port = ports::free();
        let files = tempfile::tempdir().expect("a directory");
        let path = files.path().join("danted.conf");
        let rules = "clientmethod: none\nsocksmethod: none\nclient pass { from: 0/0 to: 0/0 }\nsocks pass { from: 0/0 to: 0/0 }\n";
        let text = format!("logoutput: /dev/null\ninternal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\n{rules}");
        fs::write(&path, text).expect("write a file");
        let mut command = Command::new("danted");
        command.arg("-f").arg(&path);
        Self::start(command, port, Some(files))
    }

    /// GOST with this `-L`, whose port is written `PORT`.
    pub fn gost(program: &std::path::Path, listen: &str) -> Self {
        let port = ports::free();
        let mut command = Command::new(program);
        command.args(["-L", &listen.replace("PORT", &port.to_string())]);
        Self::program(command, port)
    }

    /// Any program that listens on `port`, GOST for example.
    pub fn program(command: Command, port: u16) -> Self {
        Self::start(command, port, None).expect("start the program")
    }

    /// Its address as a URL has it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it at once; its port refuses from then on.
    pub fn kill(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn start(mut command: Command, port: u16, files: Option<TempDir>) -> Option<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(child) = child else {
            skip(&format!("{program} is not installed"));
            return None;
        };
        let proxy = Self { child, port, _files: files };
        await_condition("the proxy to listen", SOON, || ports::listener_on(port).is_some());
        Some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
    }
}
