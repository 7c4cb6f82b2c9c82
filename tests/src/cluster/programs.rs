//! The programs of a control plane, found where `tests/cluster/build` puts them. What is missing is named, with the
//! command that mends it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Where each program is.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) etcd: PathBuf,
    pub(super) api_server: PathBuf,
    pub(super) controller_manager: PathBuf,
    pub(super) kubectl: PathBuf,
}

impl Programs {
    /// Finds them; the error says what to do.
    pub(super) fn find() -> Result<Self, String> {
        let setpriv = on_search_path("setpriv");
        setpriv.ok_or("no setpriv, which lets no server outlive its test; install util-linux")?;
        let built = built()?;
        let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let server = |name: &str| {
            let places = assets.iter().chain([&built]).map(|place| place.join(name));
            places.into_iter().find(|file| file.is_file()).ok_or_else(|| missing(name, &built))
        };
        Ok(Self {
            etcd: server("etcd")?,
            api_server: server("kube-apiserver")?,
            controller_manager: file_in(&built, "kube-controller-manager")?,
            kubectl: on_search_path("kubectl").map_or_else(|| file_in(&built, "kubectl"), Ok)?,
        })
    }
}

/// Finds helm; the error says what to do.
pub fn helm() -> Result<PathBuf, String> {
    file_in(&built()?, "helm")
}

fn file_in(directory: &Path, name: &str) -> Result<PathBuf, String> {
    let file = directory.join(name);
    if file.is_file() { Ok(file) } else { Err(missing(name, directory)) }
}

fn missing(name: &str, directory: &Path) -> String {
    format!("no {name} in {}; run tests/cluster/build", directory.display())
}

/// The directory that `tests/cluster/build` fills.
fn built() -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/build");
    let told = Command::new(&script).arg("--where").output();
    let told = told.map_err(|error| format!("{}: {error}", script.display()))?;
    let directory = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    if told.status.success() && !directory.is_empty() {
        Ok(directory.into())
    } else {
        Err(format!("{} --where: {}", script.display(), String::from_utf8_lossy(&told.stderr).trim()))
    }
}

fn on_search_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}
