//! `ssh -L … -R … user@host` as the flags it would be here. What forwards no port is left out with a note.

use fairlead_config::HostPort;

/// `-L` and `-F` flags, and what a person should know.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SshFlags {
    pub listen: Vec<String>,
    pub forward: Vec<String>,
    pub warnings: Vec<String>,
}

/// Letters of ssh's options that take a value.
const WITH_VALUE: &str = "BbcDEeFIiJLlmOopPQRSWw";
/// Options that change nothing about forwards.
const IDLE: &str = "NfTtnqvaxXYACk46yGMs";
/// The same, of `-o`.
const IDLE_WORDS: [&str; 7] = [
    "batchmode",
    "exitonforwardfailure",
    "serveralivecountmax",
    "connecttimeout",
    "loglevel",
    "requesttty",
    "compression",
];

/// What was said of the server.
#[derive(Default)]
struct Server {
    host: Option<String>,
    user: Option<String>,
    port: Option<u16>,
    key: Option<String>,
    known_hosts: Option<String>,
    jumps: Vec<String>,
    keep_alive: Option<String>,
    trusts_anybody: bool,
}

/// Reads the arguments of an `ssh` command, without the word `ssh`. The error holds every problem.
pub fn ssh(arguments: &[String]) -> Result<SshFlags, Vec<String>> {
    let (mut flags, mut server, mut problems) = (SshFlags::default(), Server::default(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            if server.host.is_some() {
                flags.warnings.push("ssh: a command runs nothing here; it is left out".to_owned());
                break;
            }
            server.name(argument);
            continue;
        };
        let at = letters.find(|letter| WITH_VALUE.contains(letter));
        let (idle, valued) = letters.split_at(at.unwrap_or(letters.len()));
        for letter in idle.chars().filter(|letter| !IDLE.contains(*letter)) {
            flags.warnings.push(format!("ssh -{letter}: has no counterpart here; it is left out"));
        }
        let Some(letter) = valued.chars().next() else { continue };
        let value = match &valued[1..] {
            "" => rest.next().map(String::as_str).unwrap_or_default(),
            value => value,
        };
        if let Err(problem) = option(letter, value, &mut server, &mut flags) {
            problems.push(format!("ssh -{letter} {value}: {problem}"));
        }
    }
    if flags.listen.is_empty() && problems.is_empty() {
        problems.push("ssh: write at least one -L or -R, as in -L 5432:db.internal:5432".to_owned());
    }
    match server.hops() {
        Ok(hops) => flags.forward = hops,
        Err(problem) => problems.push(problem),
    }
    if problems.is_empty() { Ok(flags) } else { Err(problems) }
}

fn option(letter: char, value: &str, server: &mut Server, flags: &mut SshFlags) -> Result<(), String> {
    match letter {
        'L' => flags.listen.push(forward("tcp", "", value)?),
        'R' => flags.listen.push(forward("rtcp", "localhost", value)?),
        'D' => return Err("a SOCKS server is -L socks5://… behind -F forward+ssh://…; write those".to_owned()),
        'p' => server.port = Some(port(value)?),
        'l' => server.user = Some(value.to_owned()),
        'i' => server.key = Some(value.to_owned()),
        'J' => server.jumps = value.split(',').map(str::to_owned).collect(),
        'o' => word(value, server, flags)?,
        _ => flags.warnings.push(format!("ssh -{letter} {value}: has no counterpart here; it is left out")),
    }
    Ok(())
}

fn word(text: &str, server: &mut Server, flags: &mut SshFlags) -> Result<(), String> {
    let (name, value) = text.split_once(['=', ' ']).ok_or("write name=value")?;
    let value = value.trim();
    match name.trim().to_ascii_lowercase().as_str() {
        "port" => server.port = Some(port(value)?),
        "user" => server.user = Some(value.to_owned()),
        "hostname" => server.host = Some(value.to_owned()),
        "identityfile" => server.key = Some(value.to_owned()),
        "userknownhostsfile" if value != "/dev/null" => server.known_hosts = Some(value.to_owned()),
        "userknownhostsfile" => {}
        "stricthostkeychecking" => server.trusts_anybody = matches!(value, "no" | "off"),
        "serveraliveinterval" => server.keep_alive = Some(value.to_owned()),
        "proxyjump" => server.jumps = value.split(',').map(str::to_owned).collect(),
        "localforward" => flags.listen.push(forward("tcp", "", &value.replace(' ', ":"))?),
        "remoteforward" => flags.listen.push(forward("rtcp", "localhost", &value.replace(' ', ":"))?),
        other if IDLE_WORDS.contains(&other) => {}
        _ => flags.warnings.push(format!("ssh -o {text}: has no counterpart here; it is left out")),
    }
    Ok(())
}

/// `[bind:]port:host:hostport`; ssh's default is loopback, which is where a laptop and a sidecar listen anyhow.
fn forward(scheme: &str, default: &str, text: &str) -> Result<String, String> {
    let advice = || "write [bind_address:]port:host:hostport".to_owned();
    let parts = parts(text);
    let (bind, listen, host, target) = match parts.as_slice() {
        [listen, host, target] => (default, listen, host, target),
        [bind, listen, host, target] => (if bind == "*" { "" } else { bind.as_str() }, listen, host, target),
        _ => return Err(advice()),
    };
    let listen = listen.parse().map_err(|_| advice())?;
    let (listen, target) = (HostPort::new(bind, listen), HostPort::new(host.as_str(), port(target)?));
    Ok(format!("{scheme}://{listen}/{target}"))
}

/// Cuts at colons, but for those in brackets, which go.
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_u32);
    for letter in text.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().into_iter().for_each(|part| part.push(letter)),
        }
    }
    parts
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("{text:?} is no port; write 1 to 65535"))
}

impl Server {
    /// `[user@]host`, or `ssh://[user@]host[:port]`.
    fn name(&mut self, text: &str) {
        let (user, host, port) = destination(text);
        self.host = Some(host);
        self.user = user.or_else(|| self.user.take());
        self.port = port.or(self.port);
    }

    /// The jumps, then the server itself.
    fn hops(&self) -> Result<Vec<String>, String> {
        let host = self.host.as_ref().ok_or("ssh: the server is missing; write user@host")?;
        let mut hops = Vec::new();
        for jump in &self.jumps {
            let (user, host, port) = destination(jump);
            hops.push(self.hop(user.as_deref(), &host, port));
        }
        hops.push(self.hop(self.user.as_deref(), host, self.port));
        Ok(hops)
    }

    fn hop(&self, user: Option<&str>, host: &str, port: Option<u16>) -> String {
        let user = user.map(|user| format!("{}@", percent(user))).unwrap_or_default();
        let address = HostPort::new(host, port.unwrap_or(22));
        let known_hosts = self.known_hosts.as_deref().unwrap_or("~/.ssh/known_hosts");
        let options = [
            self.key.as_ref().map(|key| format!("ssh_key={}", percent(key))),
            (!self.trusts_anybody).then(|| format!("ssh_known_hosts={}", percent(known_hosts))),
            self.trusts_anybody.then(|| "secure=false".to_owned()),
            self.keep_alive.as_ref().map(|seconds| format!("ping={}", percent(seconds))),
        ];
        let options: Vec<_> = options.into_iter().flatten().collect();
        format!("forward+ssh://{user}{address}?{}", options.join("&"))
    }
}

fn destination(text: &str) -> (Option<String>, String, Option<u16>) {
    let text = text.strip_prefix("ssh://").unwrap_or(text);
    let (user, address) = text.rsplit_once('@').map_or((None, text), |(user, host)| (Some(user.to_owned()), host));
    match parts(address).as_slice() {
        [host, port] if port.parse::<u16>().is_ok() => (user, host.clone(), port.parse().ok()),
        [host] => (user, host.clone(), None),
        _ => (user, address.to_owned(), None),
    }
}

/// Escapes what a URL would read as its own.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let escaped = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escaped).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(command: &str) -> Result<SshFlags, Vec<String>> {
        ssh(&command.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_becomes_the_flags_it_would_be_here() {
        const KNOWN: &str = "ssh_known_hosts=~/.ssh/known_hosts";
        for (command, listen, forward) in [
            (
                "-N -L 5432:db.internal:5432 ann@bastion",
                vec!["tcp://:5432/db.internal:5432"],
                vec![format!("forward+ssh://ann@bastion:22?{KNOWN}")],
            ),
            (
                "-fNT -p2222 -i /k -L 127.0.0.1:1:a:2 -R 8080:localhost:80 bastion -l bob",
                vec!["tcp://127.0.0.1:1/a:2", "rtcp://localhost:8080/localhost:80"],
                vec![format!("forward+ssh://bob@bastion:2222?ssh_key=/k&{KNOWN}")],
            ),
            (
                "-J ann@jump:2200,two -L *:1:[::1]:2 -o StrictHostKeyChecking=no -o ServerAliveInterval=15 ssh://c@d:23",
                vec!["tcp://:1/[::1]:2"],
                vec![
                    "forward+ssh://ann@jump:2200?secure=false&ping=15".to_owned(),
                    "forward+ssh://two:22?secure=false&ping=15".to_owned(),
                    "forward+ssh://c@d:23?secure=false&ping=15".to_owned(),
                ],
            ),
            (
                "-R 0.0.0.0:0:a:2 -o UserKnownHostsFile=/h host",
                vec!["rtcp://0.0.0.0:0/a:2"],
                vec!["forward+ssh://host:22?ssh_known_hosts=/h".to_owned()],
            ),
        ] {
            let flags = of(command).unwrap();
            assert_eq!(
                (flags.listen, flags.forward),
                (listen.iter().map(|&url| url.to_owned()).collect(), forward),
                "{command}"
            );
            assert_eq!(flags.warnings, Vec::<String>::new(), "{command}");
        }
    }

    #[test]
    fn what_has_no_counterpart_is_noted_and_what_is_wrong_refused() {
        assert_eq!(of("-g -L 1:a:2 -F /c host uptime").unwrap().warnings.len(), 3);
        for (command, part) in [
            ("host", "at least one -L or -R"),
            ("-L 1:a:2", "the server is missing"),
            ("-D 1080 host", "-L socks5://"),
            ("-L a:2 host", "port:host:hostport"),
            ("-L 1:a:0 host", "\"0\" is no port"),
            ("-p x -L 1:a:2 host", "\"x\" is no port"),
        ] {
            let problems = of(command).unwrap_err().join("; ");
            assert!(problems.contains(part), "{command}: {problems}");
        }
    }
}
