//! PortForward manifests as users write them, and files that change as users and kubelets change them.

use std::{fmt, fs, net::SocketAddr, os::unix::fs::symlink, path::Path};

/// A manifest of a TCP forward in the making.
#[derive(Debug, Clone)]
pub struct Manifest {
    name: String,
    port: u16,
    targets: Vec<SocketAddr>,
    lines: Vec<String>,
}

impl Manifest {
    /// A forward from this port of 127.0.0.1.
    pub fn new(name: &str, port: u16) -> Self {
        Self { name: name.to_owned(), port, targets: Vec::new(), lines: Vec::new() }
    }

    /// Adds a target.
    pub fn to(mut self, target: SocketAddr) -> Self {
        self.targets.push(target);
        self
    }

    /// Adds a line to the spec, `strategy: fifo` for example.
    pub fn with(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "---\napiVersion: fairlead.dev/v1alpha1\nkind: PortForward")?;
        writeln!(f, "metadata: {{name: {}}}\nspec:\n  scheme: tcp", self.name)?;
        writeln!(f, "  listen: {{address: 127.0.0.1, port: {}}}", self.port)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "  targets:")?;
        let mut targets = self.targets.iter();
        targets.try_for_each(|target| writeln!(f, "  - {{host: {}, port: {}}}", target.ip(), target.port()))
    }
}

/// Puts a file in the place of another at once, as editors and `kubectl` users do.
pub fn replace(path: &Path, text: impl fmt::Display) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text.to_string()).expect("write a file");
    fs::rename(&fresh, path).expect("put the file in its place");
}

/// Changes a file in place: empty, then half, then whole, as a plain copy does.
pub fn overwrite(path: &Path, text: impl fmt::Display) {
    fs::write(path, text.to_string()).expect("write a file");
}

/// Lays out a directory as the kubelet does with a ConfigMap: the file is a link into `..data`, which is a link to
/// a directory of its own per version and changes in one rename.
pub fn swap_as_kubelet(dir: &Path, file: &str, version: u32, text: &str) {
    let data = format!("..version_{version}");
    fs::create_dir(dir.join(&data)).expect("make the version's directory");
    fs::write(dir.join(&data).join(file), text).expect("write the file");
    symlink(&data, dir.join("..data_tmp")).expect("link the version");
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).expect("swap the versions");
    if !dir.join(file).exists() {
        symlink(Path::new("..data").join(file), dir.join(file)).expect("link the file");
    }
}
