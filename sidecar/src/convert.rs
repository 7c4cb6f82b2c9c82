//! `fairlead convert`: a GOST or ssh command line to manifests on standard output, warnings on standard error.

use clap::Parser;
use fairlead_api::convert;

use crate::{args::ConvertArgs, exit::Exit, output};

/// What is read of a `gost` command line.
#[derive(Debug, Parser)]
#[command(name = "gost", disable_help_flag = true)]
struct GostLine {
    #[arg(short = 'L')]
    listen: Vec<String>,
    #[arg(short = 'F')]
    forward: Vec<String>,
    /// Logs more; says nothing of what is forwarded.
    #[arg(short = 'D')]
    _debug: bool,
}

/// Runs the command.
pub(crate) fn convert(args: &ConvertArgs) -> Exit {
    let converted = match args.command.split_first() {
        None => convert::convert(&args.listen, &args.forward),
        Some((program, arguments)) if is(program, "ssh") => of_ssh(arguments),
        Some((program, arguments)) if is(program, "gost") => of_gost(arguments),
        Some((flag, _)) if flag.starts_with('-') => of_gost(&args.command),
        Some((program, _)) => Err(vec![format!("{program:?} is no command that can be converted; write gost or ssh")]),
    };
    match converted {
        Ok(conversion) => {
            conversion.warnings.iter().for_each(|warning| output::warning(warning));
            output::print(joined(&conversion.documents));
            Exit::Done
        }
        Err(problems) => {
            problems.iter().for_each(|problem| output::error(problem));
            Exit::Invalid
        }
    }
}

fn is(program: &str, name: &str) -> bool {
    program.rsplit('/').next() == Some(name)
}

fn of_gost(arguments: &[String]) -> Result<convert::Conversion, Vec<String>> {
    let words = std::iter::once("gost").chain(arguments.iter().map(String::as_str));
    let line = GostLine::try_parse_from(words).map_err(|error| {
        let error = error.to_string();
        let what = error.lines().next().unwrap_or_default();
        vec![format!(
            "gost: {}; of its flags -L and -F are converted",
            what.trim_start_matches("error: ").trim_end_matches(':')
        )]
    })?;
    if line.listen.is_empty() {
        return Err(vec!["gost: there is no -L; write what to forward, as in -L tcp://:5432/db:5432".to_owned()]);
    }
    convert::convert(&line.listen, &line.forward)
}

fn of_ssh(arguments: &[String]) -> Result<convert::Conversion, Vec<String>> {
    let flags = convert::ssh(arguments)?;
    let mut conversion = convert::convert(&flags.listen, &flags.forward)?;
    conversion.warnings.splice(0..0, flags.warnings);
    Ok(conversion)
}

/// Documents to one text.
fn joined(documents: &[String]) -> String {
    let documents: Vec<String> = documents.iter().map(|document| format!("{}\n", document.trim_end())).collect();
    documents.join("---\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_gost_command_line_is_read_as_its_flags_are() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let flags =
            convert::convert(&["tcp://:1/h:2".to_owned()], &["socks5://p:1080".to_owned()]).map(|it| it.documents);
        for line in ["-L tcp://:1/h:2 -F socks5://p:1080", "-D -L=tcp://:1/h:2 -F=socks5://p:1080"] {
            assert_eq!(of_gost(&words(line)).map(|it| it.documents), flags, "{line}");
        }
        for (line, says) in [("-C gost.json", "unexpected argument '-C'"), ("-F socks5://p:1080", "there is no -L")] {
            let problems = of_gost(&words(line)).map(|it| it.documents).unwrap_err();
            assert!(problems[0].contains(says), "{problems:?}");
        }
        assert!(is("/usr/bin/ssh", "ssh") && !is("sshd", "ssh"));
    }

    #[test]
    fn documents_are_separated_and_end_with_a_line_break() {
        assert_eq!(joined(&["a: 1\n".to_owned(), "b: 2".to_owned()]), "a: 1\n---\nb: 2\n");
        assert_eq!(joined(&[]), "");
    }
}
