//! `kubectl` and other command line clients, as an administrator would use them.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use super::ControlPlane;
use crate::binary::Finished;

impl ControlPlane {
    /// Runs kubectl with these arguments.
    pub fn kubectl(&self, arguments: &[&str]) -> Finished {
        self.kubectl_with("", arguments)
    }

    /// Runs kubectl with this text on its standard input, for `-f -`.
    pub fn kubectl_with(&self, input: &str, arguments: &[&str]) -> Finished {
        self.command(&self.programs.kubectl, input, arguments)
    }

    /// Runs a client program that takes its cluster from KUBECONFIG, such as helm; it keeps nothing in the user's home.
    pub fn command(&self, program: &Path, input: &str, arguments: &[&str]) -> Finished {
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", self.kubeconfig_admin()).env("HOME", self.directory());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        let mut stdin = child.stdin.take().expect("its standard input");
        let input = input.to_owned();
        // A program that ends without reading is judged by what it printed.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("its output");
        writer.join().expect("write its input");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}
