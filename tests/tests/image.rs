//! The image: the last stage of `deploy/Dockerfile`, built by buildah around the real programs. The stage before it,
//! which compiles them, needs a base image that no package registry has.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use fairlead_tests::{
    binary::{operator, program},
    golden,
    skip::{is_root_or_skip, skip},
};
use serde_json::Value;
use tempfile::TempDir;

const DOCKERFILE: &str = "deploy/Dockerfile";

/// The stage that makes the image, and the name of the one it takes the programs from.
fn last_stage() -> String {
    let text = golden::read(DOCKERFILE);
    let (_, stage) = text.rsplit_once("\nFROM ").expect("two stages");
    format!("FROM {stage}")
}

/// A built image in a directory of the test's own.
struct Image {
    config: Value,
    /// Path, then mode and owner as tar lists them.
    files: BTreeMap<String, String>,
}

fn buildah() -> Option<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|directory| directory.join("buildah").is_file()) {
        return is_root_or_skip("an image, without user namespaces").then_some(());
    }
    skip("no buildah; install it (Debian: apt-get install buildah)");
    None
}

fn build() -> Image {
    let dir = tempfile::tempdir().expect("a directory");
    let programs = dir.path().join("programs");
    fs::create_dir_all(programs.join("out")).expect("make a directory");
    for (name, file) in [("fairlead", program()), ("fairlead-operator", operator())] {
        fs::copy(file, programs.join("out").join(name)).expect("copy a program");
    }
    let stage = dir.path().join("Dockerfile");
    fs::write(&stage, last_stage()).expect("write the stage");
    let context = format!("build={}", programs.display());
    let arguments =
        ["bud", "--isolation", "chroot", "--timestamp", "0", "--tag", "fairlead:test", "--build-context", &context];
    run(&dir, &[&arguments, ["--file", &stage.to_string_lossy(), &programs.to_string_lossy()].as_slice()].concat());
    let layout = dir.path().join("layout");
    run(&dir, &["push", "fairlead:test", &format!("oci:{}:test", layout.display())]);
    Image::read(&layout)
}

impl Image {
    /// Reads an OCI layout.
    fn read(layout: &Path) -> Self {
        let blob = |digest: &Value| layout.join("blobs").join(digest.as_str().expect("a digest").replace(':', "/"));
        let json =
            |file: PathBuf| -> Value { serde_json::from_slice(&fs::read(&file).expect("read a blob")).expect("JSON") };
        let manifest = json(blob(&json(layout.join("index.json"))["manifests"][0]["digest"]));
        let layers = manifest["layers"].as_array().expect("layers");
        let files = layers.iter().flat_map(|layer| listed(&blob(&layer["digest"]))).collect();
        Self { config: json(blob(&manifest["config"]["digest"])), files }
    }
}

fn listed(layer: &Path) -> Vec<(String, String)> {
    let listed =
        said(Command::new("tar").args(["--list", "--verbose", "--numeric-owner", "--file"]).arg(layer).output());
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let rights = format!("{} {}", words.next().unwrap_or_default(), words.next().unwrap_or_default());
        (line.rsplit(' ').next().unwrap_or_default().to_owned(), rights)
    };
    listed.lines().map(entry).collect()
}

fn run(dir: &TempDir, arguments: &[&str]) -> String {
    let mut buildah = Command::new("buildah");
    buildah.args(["--storage-driver", "vfs"]);
    buildah.arg("--root").arg(dir.path().join("root")).arg("--runroot").arg(dir.path().join("run"));
    said(buildah.args(arguments).output())
}

fn said(output: std::io::Result<Output>) -> String {
    let output = output.expect("start a program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_image_holds_two_programs_and_nothing_else() {
    let Some(()) = buildah() else { return };
    let image = build();
    let wanted = ["fairlead", "fairlead-operator"].map(|name| (name.to_owned(), "-rwxr-xr-x 0/0".to_owned()));
    assert_eq!(image.files, BTreeMap::from(wanted));
    let config = &image.config["config"];
    assert_eq!(config["User"], "65532:65532", "a number, which runAsNonRoot can judge");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/fairlead"]));
    for absent in ["Cmd", "Shell", "ExposedPorts", "Volumes"] {
        assert_eq!(config[absent], Value::Null, "{absent}");
    }
    assert_eq!(config["Labels"]["org.opencontainers.image.licenses"], "Apache-2.0");
}

#[test]
fn the_programs_come_from_the_stage_that_compiles_them() {
    let text = golden::read(DOCKERFILE);
    let (first, _) = text.split_once("\nFROM scratch").expect("two stages");
    for what in [" AS build", "--locked", "--bin fairlead ", "--bin fairlead-operator ", "-unknown-linux-musl"] {
        assert!(first.contains(what), "the first stage lacks {what}");
    }
    assert!(last_stage().starts_with("FROM scratch\n"));
    assert!(last_stage().contains("COPY --from=build /out/fairlead /out/fairlead-operator /\n"));
}
