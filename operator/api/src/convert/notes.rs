//! What a person who converts a command line should know: where the manifest differs from GOST, and what is left to do.

use fairlead_config::{
    Support,
    url::{NodeUrl, OPTIONS, Role, Use},
};

/// Warnings, each about one flag; no line stands twice.
#[derive(Default)]
pub(super) struct Notes {
    flag: String,
    lines: Vec<String>,
}

impl Notes {
    /// Names the flag that the next notes are about.
    pub(super) fn about(&mut self, flag: String) {
        self.flag = flag;
    }

    pub(super) fn add(&mut self, note: impl AsRef<str>) {
        let line = format!("{}: {}", self.flag, note.as_ref());
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    pub(super) fn lines(self) -> Vec<String> {
        self.lines
    }

    /// Names the options that the manifest leaves out.
    pub(super) fn options_left_out(&mut self, url: &NodeUrl) {
        for row in OPTIONS.iter().filter(|row| url.options().contains(row.option)) {
            match row.usage(url.role()) {
                Use::NoEffect(reason) => {
                    self.add(format!("option \"{}\" has no effect and is left out: {reason}", row.name));
                }
                Use::NoField => {
                    self.add(format!("option \"{}\" has no field in a PortForward yet and is left out", row.name));
                }
                Use::Field(_) | Use::Refused(_) | Use::Elsewhere => {}
            }
        }
    }

    /// Says what this version can't run yet.
    pub(super) fn support(&mut self, url: &NodeUrl) {
        match url.role() {
            Role::Hop if url.scheme().hop_support() == Support::NotBuiltYet => {
                self.add(format!(
                    "scheme \"{}\" of a hop is not built yet; the manifest is for a version that has it",
                    url.scheme()
                ));
            }
            Role::Listen if url.scheme().support() == Support::NotBuiltYet => {
                self.add(format!(
                    "scheme \"{}\" is not built yet; the manifest is for a version that has it",
                    url.scheme()
                ));
            }
            Role::Listen | Role::Hop => {}
        }
    }

    /// Asks for a file to be put where the manifest looks for it.
    pub(super) fn file(&mut self, option: &str, file: &str, object: &str, key: &str) {
        self.add(format!("{option}={file}: put the file's content into {object} under the key {key}"));
    }
}

/// Says so if the scheme will never be served.
pub(super) fn out_of_scope(url: &NodeUrl) -> Option<String> {
    let support = match url.role() {
        Role::Listen => url.scheme().support(),
        Role::Hop => url.scheme().hop_support(),
    };
    match support {
        Support::OutOfScope => url.scheme().check_support().err().map(|error| error.to_string()),
        Support::Built | Support::NotBuiltYet => None,
    }
}
