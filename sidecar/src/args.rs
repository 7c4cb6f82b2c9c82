//! Flags as typed, with help that teaches by example. What they mean together is decided by `RunArgs::input`.
//! Nothing typed is printed back whole: an argument may hold a password, or 100 kB of noise.

use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use fairlead_config::{HostPort, defaults, duration};

use crate::help;

/// Forwards TCP and UDP ports to targets, of which only the live ones get clients.
#[derive(Debug, Parser)]
#[command(name = "fairlead", version, long_about = help::ABOUT, after_help = help::TOP, max_term_width = 100, subcommand_value_name = "COMMAND")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How log lines look; RUST_LOG says which are wanted (error, warn, info, debug)
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run forwards: from manifests, watched for changes, or from URLs with -L
    Run(RunArgs),
    /// Check manifests as strictly as a cluster would, without running them
    Check(CheckArgs),
    /// Turn a GOST command line into manifests
    Convert(ConvertArgs),
    /// See it work: two targets, one forward, and what to type
    Demo(DemoArgs),
    /// Run what an operator rendered, as pods do
    Proxy(ProxyArgs),
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions { shell: Shell },
}

#[derive(Debug, Args)]
#[command(after_help = help::RUN)]
pub(crate) struct RunArgs {
    /// Manifests: files, directories (*.yaml, *.yml, *.json), or - for standard input
    #[arg(value_name = "FILE|DIR|-")]
    pub(crate) manifests: Vec<PathBuf>,
    /// What to forward, as in GOST: SCHEME://[LISTEN]:PORT/TARGET,TARGET…?OPTION=VALUE&…
    #[arg(short = 'L', value_name = "URL")]
    pub(crate) listen: Vec<String>,
    /// A hop to go through, as in GOST; several make a chain, the first one first
    #[arg(short = 'F', value_name = "URL")]
    pub(crate) forward: Vec<String>,
    /// What to print: a table (on a terminal), log lines, or a JSON line per change with the whole object and its status
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// Serve /livez, /readyz and /metrics here, as 127.0.0.1:19444 or :19444 [default: off]
    #[arg(long, value_name = "HOST:PORT", value_parser = listening_address)]
    pub(crate) metrics_addr: Option<HostPort>,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// How long connections may go on after the end was asked for, or after their forward was removed
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) drain_timeout: Duration,
    /// Threads that serve connections [default: one per core]
    #[arg(long, value_name = "COUNT")]
    pub(crate) workers: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
#[command(after_help = help::CHECK)]
pub(crate) struct CheckArgs {
    /// Manifests: files, directories (*.yaml, *.yml, *.json), or - for standard input
    #[arg(value_name = "FILE|DIR|-", required = true)]
    pub(crate) manifests: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = help::CONVERT)]
pub(crate) struct ConvertArgs {
    /// What GOST's -L says
    #[arg(short = 'L', value_name = "URL", required_unless_present = "command")]
    pub(crate) listen: Vec<String>,
    /// What GOST's -F says; several make a chain
    #[arg(short = 'F', value_name = "URL")]
    pub(crate) forward: Vec<String>,
    /// Behind --: a gost or an ssh command line, as in -- ssh -L 5432:db.internal:5432 user@bastion
    #[arg(value_name = "COMMAND …", last = true, conflicts_with_all = ["listen", "forward"])]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = help::DEMO)]
pub(crate) struct DemoArgs {}

#[derive(Debug, Args)]
#[command(after_help = help::PROXY)]
pub(crate) struct ProxyArgs {
    /// The rendered configuration; may be written later, and is watched for changes
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Serve /livez, /readyz and /metrics here; :19444 is every address
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:19444", value_parser = listening_address)]
    pub(crate) metrics_addr: HostPort,
    /// Take configurations and give reports here, as 127.0.0.1:19443 or :19443, over TLS [default: off]
    #[arg(long, value_name = "HOST:PORT", value_parser = listening_address, requires = "admin_ca")]
    pub(crate) admin_addr: Option<HostPort>,
    /// Certificates (PEM) of which one must have signed the operator's; may be written later, and is watched for changes
    #[arg(long, value_name = "FILE", requires = "admin_addr")]
    pub(crate) admin_ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// A live table, on a terminal only
    Table,
    /// Log lines on standard error
    Log,
    /// JSON lines on standard output, log lines on standard error
    Json,
}

/// Where `run` takes its forwards from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RunInput {
    Manifests(Vec<PathBuf>),
    CommandLine { listen: Vec<String>, forward: Vec<String> },
}

impl RunArgs {
    /// Decides where forwards come from; the error says what to write instead.
    pub(crate) fn input(&self) -> Result<RunInput, String> {
        let (manifests, listen, forward) = (&self.manifests, &self.listen, &self.forward);
        if manifests.iter().any(|path| path.to_string_lossy().contains("://")) {
            return Err("a URL stands where a file was expected; write -L before it".to_owned());
        }
        match (manifests.is_empty(), listen.is_empty(), forward.is_empty()) {
            (false, true, true) => Ok(RunInput::Manifests(manifests.clone())),
            (true, false, _) => Ok(RunInput::CommandLine { listen: listen.clone(), forward: forward.clone() }),
            (false, false, _) => {
                Err("manifests and -L can't be mixed; write one of them (fairlead convert makes a manifest of -L)".to_owned())
            }
            (false, true, false) => Err("-F goes with -L; in a manifest write the hop into spec.chain".to_owned()),
            (true, true, false) => Err("-F says the way, but nothing says what to forward; add -L tcp://:8080/10.0.0.1:80".to_owned()),
            (true, true, true) => {
                Err("nothing to run; write manifests (fairlead run forwards.yaml) or a URL (fairlead run -L tcp://:8080/10.0.0.1:80)".to_owned())
            }
        }
    }
}

/// Reads the command line; the error is a text for standard error (exit code 2) or, `Ok`, for standard output.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Cli, Result<String, String>> {
    let typed: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    Cli::try_parse_from(args).map_err(|error| {
        let text = error.render().to_string();
        if !error.use_stderr() {
            return Ok(text);
        }
        let tip = if lacks_run(&typed) {
            "\ntip: GOST's flags go with run, as in: fairlead run -L tcp://:8080/10.0.0.1:80\n"
        } else {
            ""
        };
        Err(presentable(&text, &typed) + tip)
    })
}

/// The completion script for a shell.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fairlead", &mut script);
    script
}

/// Whether somebody typed what a GOST user would.
fn lacks_run(typed: &[String]) -> bool {
    typed.first().is_some_and(|first| first.contains("://") || ["-L", "-F"].iter().any(|flag| first.starts_with(flag)))
}

/// Takes out of a message what might hold a password, and what is long.
fn presentable(message: &str, typed: &[String]) -> String {
    let suspicious = typed.iter().filter(|arg| arg.contains("://") || arg.contains('@') || arg.chars().count() > 80);
    suspicious.fold(message.to_owned(), |text, arg| text.replace(arg.as_str(), "…"))
}

fn time(text: &str) -> Result<Duration, String> {
    duration::parse_or_seconds(text).map_err(|error| error.to_string())
}

fn listening_address(text: &str) -> Result<HostPort, String> {
    HostPort::parse_allowing_port_zero(text).map_err(|error| error.to_string())
}

impl EngineArgs {
    /// As when no flag is given.
    pub(crate) fn usual() -> Self {
        Self { drain_timeout: defaults::DRAIN_TIMEOUT, workers: None }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> RunArgs {
        let all = ["fairlead", "run"].iter().chain(args).map(OsString::from).collect();
        let Command::Run(run) = parse(all).unwrap().command else { panic!("another command") };
        run
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn forwards_come_from_manifests_or_from_urls_and_never_from_both() {
        let input = |args: &[&str]| run(args).input();
        assert_eq!(input(&["a.yaml", "-"]), Ok(RunInput::Manifests(vec!["a.yaml".into(), "-".into()])));
        let (listen, forward) = (vec!["tcp://:1/a:1".to_owned()], vec!["socks5://b:2".to_owned()]);
        assert_eq!(input(&["-L=tcp://:1/a:1", "-F", "socks5://b:2"]), Ok(RunInput::CommandLine { listen, forward }));
        for (args, says) in [
            (&["a.yaml", "-L", "tcp://:1/a:1"][..], "can't be mixed"),
            (&["a.yaml", "-F", "socks5://b:2"], "spec.chain"),
            (&["-F", "socks5://b:2"], "add -L"),
            (&[], "nothing to run"),
            (&["tcp://u:secret@:1/a:1"], "write -L before it"),
        ] {
            let error = input(args).unwrap_err();
            assert!(error.contains(says) && !error.contains("secret"), "{args:?}: {error}");
        }
    }

    #[test]
    fn a_complaint_about_flags_repeats_no_password_and_no_noise() {
        let noise = "x".repeat(100_000);
        for args in [
            vec!["fairlead", "tcp://u:secret@h:1"],
            vec!["fairlead", "check", "--u:secret@h"],
            vec!["fairlead", &noise],
        ] {
            let text = parse(args.iter().map(OsString::from).collect()).unwrap_err().unwrap_err();
            assert!(!text.contains("secret") && text.len() < 1000, "{text}");
        }
    }

    #[test]
    fn a_gost_command_line_is_told_where_it_belongs() {
        for args in [["-L=tcp://:1/a:1"], ["tcp://:1/a:1"]] {
            let args = ["fairlead"].iter().chain(&args).map(OsString::from).collect();
            assert!(parse(args).unwrap_err().unwrap_err().contains("fairlead run -L"));
        }
    }

    #[test]
    fn times_are_written_as_in_urls() {
        assert_eq!(run(&["--drain-timeout", "1m30s", "a"]).engine.drain_timeout, Duration::from_secs(90));
        assert_eq!(run(&["--drain-timeout", "5", "a"]).engine.drain_timeout, Duration::from_secs(5));
        let bad = parse(["fairlead", "run", "--drain-timeout", "soon", "a"].iter().map(OsString::from).collect());
        assert!(bad.unwrap_err().unwrap_err().contains("write 30s"));
    }

    #[test]
    fn every_shell_gets_a_completion_script() {
        for shell in Shell::value_variants() {
            assert!(!completions(*shell).is_empty(), "{shell}");
        }
    }
}
