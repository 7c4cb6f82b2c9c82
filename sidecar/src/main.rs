//! The command `fairlead`: flags to a command, a command to an exit code.
//!
//! `args` is what was typed. `run` goes from `source` (files) and `manifests` (what they say) to the engine, with
//! `reload` and `watch` for changes, `service` in the middle and `view` (log, JSON lines or table) for people. `proxy`
//! is what pods run: configurations come from a file or by `control`, its operator's port, to `intake`; `admin` and
//! `metrics` are its plain port. Only `output` and `terminal` print.

mod admin;
mod args;
mod board;
mod check;
mod clock;
mod control;
mod convert;
mod demo;
mod events;
mod exit;
mod help;
mod intake;
mod limits;
mod logging;
mod manifests;
mod metrics;
mod output;
mod own_host_key;
mod own_ssh;
mod proxy;
mod reload;
mod run;
mod service;
mod signals;
mod source;
mod table;
mod terminal;
mod view;
mod watch;

use std::process::ExitCode;

use args::{Cli, Command};
use exit::Exit;

fn main() -> ExitCode {
    let cli = match args::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(Ok(help)) => {
            output::print(help);
            return Exit::Done.into();
        }
        Err(Err(complaint)) => {
            output::complaint(&complaint);
            return Exit::Invalid.into();
        }
    };
    let exit = execute(cli).unwrap_or_else(|error| {
        output::error(&format!("{error:#}"));
        Exit::Failed
    });
    exit.into()
}

fn execute(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Run(args) => block_on(run::run(args, cli.log_format)),
        Command::Proxy(args) => block_on(proxy::proxy(args, cli.log_format)),
        Command::Demo(_) => block_on(demo::demo(cli.log_format)),
        Command::Check(args) => Ok(check::check(&args)),
        Command::Convert(args) => Ok(convert::convert(&args)),
        Command::Completions { shell } => {
            output::print(args::completions(shell));
            Ok(Exit::Done)
        }
    }
}

/// Control runs on this thread alone; connections have threads of their own.
fn block_on(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
