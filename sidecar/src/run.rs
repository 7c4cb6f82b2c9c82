//! `fairlead run`: from manifests or URLs to running forwards, until a signal comes. Everything has to be right at
//! the start; afterwards, what is wrong changes nothing of what runs.

use std::{path::PathBuf, sync::Arc};

use fairlead_api::{convert, render::Place};

use crate::{
    admin::{self, Admin},
    args::{LogFormat, RunArgs, RunInput},
    exit::Exit,
    manifests::{self, Wanted},
    output,
    reload::Reloader,
    service::{self, Service, StartError},
    signals::Signals,
    source::Origin,
    view,
};

/// What to run at first, and where later versions of it come from.
struct Start {
    wanted: Wanted,
    /// None for URLs, which can't change.
    reloader: Option<Reloader>,
}

/// Runs the command.
pub(crate) async fn run(args: RunArgs, log_format: LogFormat) -> anyhow::Result<Exit> {
    let input = match args.input() {
        Ok(input) => input,
        Err(problem) => return Ok(invalid(&[problem])),
    };
    let start = match input {
        RunInput::Manifests(paths) => from_manifests(&paths),
        RunInput::CommandLine { listen, forward } => from_urls(&listen, &forward),
    };
    let start = match start {
        Ok(start) => start,
        Err(problems) => return Ok(invalid(&problems)),
    };
    let chosen = match view::choose(args.output, log_format) {
        Ok(chosen) => chosen,
        Err(problem) => return Ok(invalid(&[problem])),
    };
    let mut signals = Signals::new()?;
    let engine = Arc::new(service::start_engine(&args.engine)?);
    if let Err(error) = service::listen(&engine, &start.wanted) {
        return Ok(failed(&error));
    }
    if let Some(address) = &args.metrics_addr {
        let admin = Admin::new(Arc::clone(&engine));
        admin.set_ready();
        admin::serve(address, admin)?;
    }
    let view = chosen.begin(usize::MAX, "Ctrl-C ends.")?;
    let mut service = Service::new(engine, &start.wanted, view);
    let mut reloader = start.reloader;
    let next = async || match &mut reloader {
        Some(reloader) => reloader.next().await,
        None => std::future::pending().await,
    };
    let ending = service.serve(next, &mut signals).await;
    service.end(ending, &mut signals).await;
    Ok(Exit::Done)
}

/// Says why nothing runs. Standard error gets one line per problem.
pub(crate) fn failed(error: &StartError) -> Exit {
    match error {
        StartError::Refused(problems) => invalid(problems),
        StartError::NotListening(problems) => {
            problems.iter().for_each(|problem| output::error(problem));
            Exit::Failed
        }
    }
}

fn invalid(problems: &[String]) -> Exit {
    problems.iter().for_each(|problem| output::error(problem));
    Exit::Invalid
}

fn from_urls(listen: &[String], forward: &[String]) -> Result<Start, Vec<String>> {
    let command_line = convert::command_line(listen, forward)?;
    let files = manifests::files(&command_line.secrets, &[], Place::CommandLine).collect();
    let (wanted, problems) = manifests::wanted(command_line.objects, Place::CommandLine);
    let wanted = Wanted { files, ..wanted };
    if !problems.is_empty() {
        return Err(problems);
    }
    let warnings = manifests::warnings(&wanted.rendering);
    command_line.warnings.iter().chain(&warnings).for_each(|warning| output::warning(warning));
    Ok(Start { wanted, reloader: None })
}

fn from_manifests(paths: &[PathBuf]) -> Result<Start, Vec<String>> {
    let (mut origins, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        match Origin::of(path) {
            Ok(origin) => origins.push(origin),
            Err(problem) => problems.push(problem),
        }
    }
    let mut reloader = Reloader::new(origins);
    let reading = reloader.first();
    problems.extend(reading.problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    reading.skipped.iter().for_each(|skipped| output::note(skipped));
    reading.warnings.iter().for_each(|warning| output::warning(warning));
    Ok(Start { wanted: reading.wanted, reloader: Some(reloader) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_bad_url_and_every_bad_file_is_named() {
        let urls = ["tcp://:0/a:1", "nonsense", "tcp://:1/a"].map(str::to_owned);
        let problems = from_urls(&urls, &[]).err().unwrap();
        assert_eq!(problems.len(), 3, "{problems:#?}");
        let missing = ["/not/there/a.yaml", "/not/there/b.yaml"].map(|path| Path::new(path).to_owned());
        let problems = from_manifests(&missing).err().unwrap();
        assert_eq!(problems.len(), 2, "{problems:#?}");
    }

    #[test]
    fn noise_for_a_url_is_one_short_line() {
        for noise in ["x".repeat(100_000), format!("tcp://{}", "\u{1b}[2J@/?&=,:".repeat(9_000))] {
            let problems = from_urls(&[noise], &[]).err().unwrap();
            assert!(problems.iter().all(|problem| problem.len() < 500), "{problems:#?}");
        }
    }
}
