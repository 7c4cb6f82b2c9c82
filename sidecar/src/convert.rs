//! `fairlead convert`: a GOST or ssh command line to manifests on standard output, warnings on standard error.

use fairlead_api::convert;

use crate::{args::ConvertArgs, exit::Exit, output};

/// Runs the command.
pub(crate) fn convert(args: &ConvertArgs) -> Exit {
    let converted = match args.command.split_first() {
        None => convert::convert(&args.listen, &args.forward),
        Some((program, arguments)) if is_ssh(program) => of_ssh(arguments),
        Some((program, _)) => Err(vec![format!("{program:?} is no command that can be converted; write ssh")]),
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

fn is_ssh(program: &str) -> bool {
    program == "ssh" || program.ends_with("/ssh")
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
mod tests {
    use super::*;

    #[test]
    fn documents_are_separated_and_end_with_a_line_break() {
        assert_eq!(joined(&["a: 1\n".to_owned(), "b: 2".to_owned()]), "a: 1\n---\nb: 2\n");
        assert_eq!(joined(&[]), "");
    }
}
