//! The Helm chart as users render it: values in, manifests or helm's complaint out.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use fairlead_config::yaml;
use serde_json::Value;

use crate::{cluster, golden, skip::skip};

/// The release that all tests render, and the namespace it is rendered for.
pub const RELEASE: (&str, &str) = ("fairlead", "fairlead-system");
/// The oldest Kubernetes the chart is for.
const KUBERNETES: &str = "1.33.0";

/// The helm program.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
}

impl Helm {
    /// Finds it: the one `FAIRLEAD_HELM` names, else one on the search path, else the one `tests/cluster/build` made.
    /// None, after saying so, where there is none.
    pub fn find_or_skip() -> Option<Self> {
        let named = env::var_os("FAIRLEAD_HELM").map(PathBuf::from);
        let on_path = || search_path().map(|directory| directory.join("helm")).find(|file| file.is_file());
        let program = named.or_else(on_path).map_or_else(cluster::helm, Ok);
        program.map(|program| Self { program }).map_err(|reason| skip(&reason)).ok()
    }

    /// Renders the chart with these values on top of its own.
    pub fn template(&self, values: &Value) -> Result<String, String> {
        let (release, namespace) = RELEASE;
        let rendering = ["--namespace", namespace, "--kube-version", KUBERNETES];
        let output = self.run_with(values, &[&["template", release, &chart()], rendering.as_slice()].concat());
        said(output)
    }

    /// Renders the chart and reads what came of it.
    pub fn objects(&self, values: &Value) -> Vec<Value> {
        let text = self.template(values).unwrap_or_else(|error| panic!("{values}: {error}"));
        yaml::documents(&text).unwrap_or_else(|error| panic!("{values}: {error}:\n{text}"))
    }

    /// Judges the chart as its authors do.
    pub fn lint(&self, values: &Value) -> Result<String, String> {
        said(self.run_with(values, &["lint", &chart(), "--strict", "--kube-version", KUBERNETES]))
    }

    /// Runs helm against a cluster and answers what it printed; panics over a failure.
    pub fn run(&self, kubeconfig: &Path, values: &Value, arguments: &[&str]) -> String {
        let kubeconfig = kubeconfig.to_string_lossy();
        let output = self.run_with(values, &[arguments, &["--kubeconfig", &kubeconfig]].concat());
        said(output).unwrap_or_else(|error| panic!("helm {arguments:?}: {error}"))
    }

    /// Helm keeps what it remembers in a directory of this call's own.
    fn run_with(&self, values: &Value, arguments: &[&str]) -> Output {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("values.json");
        fs::write(&file, values.to_string()).expect("write the values");
        let mut command = Command::new(&self.program);
        command.args(arguments).env("HELM_CACHE_HOME", home.path()).env("HELM_CONFIG_HOME", home.path());
        if takes_values(arguments) {
            command.arg("--values").arg(&file);
        }
        command.env("HELM_DATA_HOME", home.path()).output().expect("run helm")
    }
}

/// The chart's directory.
pub fn chart() -> String {
    golden::file("charts/fairlead").to_string_lossy().into_owned()
}

fn takes_values(arguments: &[&str]) -> bool {
    arguments.first().is_some_and(|command| ["install", "lint", "template", "upgrade"].contains(command))
}

fn search_path() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn said(output: Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{}{}", text(&output.stdout), text(&output.stderr)))
    }
}
