//! Commands that need no cluster: `crd` and `inject`. From files or standard input to standard output; nothing is
//! written unless all of it can be.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use fairlead_config::yaml;

use crate::{
    inject::{self, InOrder, Order},
    settings::Settings,
};

/// The image where neither `--image` nor `--settings` says one.
pub const IMAGE: &str = concat!("ghcr.io/fairlead/fairlead:", env!("CARGO_PKG_VERSION"));

/// The largest input of `inject` in bytes.
const INPUT_LIMIT: u64 = 32 << 20;

const INJECT_HELP: &str = "\
Pod templates of Pods, Deployments, StatefulSets, DaemonSets, Jobs and CronJobs, also inside Lists, get the container
\"fairlead\" as a native sidecar if they carry the label fairlead.dev/sidecar: NAME; it runs the PortForwards of its
namespace that say spec.sidecar.name: NAME. --sidecar sets the label where it is missing. Other documents pass through.
Doing it twice changes nothing, and a newer version replaces the sidecar of an older one.

Secrets and ConfigMaps that a PortForward names are mounted only if the PortForward is among the documents.
Comments are not kept.

Examples:
  fairlead-operator inject --sidecar shop deployment.yaml | kubectl apply -f -
  kustomize build overlays/live | fairlead-operator inject - > live.yaml";

/// Flags of `inject`.
#[derive(Debug, Clone, Args)]
#[command(after_help = INJECT_HELP)]
pub struct InjectArgs {
    /// Manifests with pods or what makes pods; - is standard input
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// The sidecar of pod templates without the label fairlead.dev/sidecar
    #[arg(long, value_name = "NAME")]
    pub sidecar: Option<String>,
    /// The sidecar's image
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    pub image: String,
    /// The installation's settings: image, resources, drain time-out
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub settings: Option<PathBuf>,
}

/// Prints the CustomResourceDefinition as YAML.
pub fn crd(out: &mut impl Write) -> anyhow::Result<()> {
    out.write_all(fairlead_api::crd_yaml()?.as_bytes())?;
    Ok(())
}

/// Prints manifests with their sidecars to `out`, and what a person should know to `notes`.
pub fn inject(
    args: &InjectArgs,
    input: &mut impl Read,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> anyhow::Result<()> {
    let settings = match &args.settings {
        Some(path) => Settings::load(path)?,
        None => Settings::of_image(&args.image),
    };
    let text = text_of(&args.file, input)?;
    let name = if is_standard_input(&args.file) { "standard input".into() } else { args.file.display().to_string() };
    let documents = yaml::documents(&text).with_context(|| name.clone())?;
    if documents.is_empty() {
        bail!("{name}: no document; write manifests of pods or of what makes pods");
    }
    let orders: Vec<Order> = yaml::documents_as(&text).with_context(|| name)?;
    let orders: Vec<Order> = orders.into_iter().filter(|order| *order != Order::Nothing).collect();
    let injection = inject::inject(documents, args.sidecar.as_deref(), &settings)?;
    let in_order = injection.documents.iter().zip(&orders).map(|(value, order)| InOrder { value, order });
    let written = in_order.map(|document| yaml::to_string(&document)).collect::<Result<Vec<_>, _>>()?;
    for note in &injection.notes {
        writeln!(notes, "{note}")?;
    }
    out.write_all(written.join("---\n").as_bytes())?;
    Ok(())
}

fn text_of(path: &Path, input: &mut impl Read) -> anyhow::Result<String> {
    if is_standard_input(path) {
        return limited(input).context("standard input");
    }
    let mut file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    limited(&mut file).with_context(|| path.display().to_string())
}

fn limited(input: &mut impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    input.take(INPUT_LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > INPUT_LIMIT {
        bail!("more than {INPUT_LIMIT} bytes; write fewer documents at a time");
    }
    Ok(text)
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {fairlead.dev/sidecar: shop}}
spec:
  containers: [{name: web, image: web}]
  volumes: [{name: keys, secret: {secretName: keys, defaultMode: 0400}}]
---
kind: ConfigMap
apiVersion: v1
metadata: {name: c, annotations: {old: 'yes', number: '012', time: '12:30:45', exponent: '1e3'}}
";

    /// What goes to standard output and to standard error.
    fn run(args: &[&str], input: &str) -> anyhow::Result<(String, String)> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: InjectArgs,
        }
        let line = <Line as clap::Parser>::try_parse_from(["inject"].iter().chain(args))?;
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        inject(&line.args, &mut input.as_bytes(), &mut out, &mut notes)?;
        Ok((String::from_utf8(out)?, String::from_utf8(notes)?))
    }

    #[test]
    fn the_crd_is_printed_as_it_is_shipped() {
        let mut out = Vec::new();
        crd(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), fairlead_api::crd_yaml().unwrap());
    }

    #[test]
    fn sidecars_have_the_image_of_this_version_unless_one_is_said() {
        let (out, notes) = run(&["-"], POD).unwrap();
        assert!(out.contains(&format!("image: {IMAGE}")) && notes.is_empty(), "{out}\n{notes}");
        assert!(run(&["-", "--image", "mine:1"], POD).unwrap().0.contains("image: mine:1"));
        let settings = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(settings.path(), "image: set:2\ndrainTimeout: 7s").unwrap();
        let (out, _) = run(&["-", "--settings", settings.path().to_str().unwrap()], POD).unwrap();
        assert!(out.contains("image: set:2") && out.contains("- 7s"), "{out}");
    }

    #[test]
    fn the_output_is_read_as_the_input_was_and_is_the_same_when_it_is_put_in_again() {
        let (once, _) = run(&["-"], POD).unwrap();
        assert_eq!(run(&["-"], &once).unwrap().0, once);
        let read = yaml::documents(&once).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1], yaml::documents(POD).unwrap()[1]);
    }

    #[test]
    fn fields_stay_in_the_order_in_which_they_were_written() {
        let input = "\
kind: Pod
metadata:
  name: web
  labels:
    z: one
    fairlead.dev/sidecar: shop
    a: two
spec:
  restartPolicy: Always
  initContainers:
  - name: first
    image: first
    args:
    - x
  containers:
  - image: web
    name: web
apiVersion: v1
---
# nothing
---
kind: List
apiVersion: v1
items:
- kind: Z
  data: 1
- data: 2
  kind: A
";
        let (out, _) = run(&["-"], input).unwrap();
        let lines: Vec<&str> = out.lines().collect();
        let mut rest = lines.iter();
        let wanted = input.lines().filter(|line| !line.starts_with(['#', '-']) || line.starts_with("- "));
        for line in wanted {
            assert!(rest.any(|found| *found == line), "{line:?} is not where it was:\n{out}");
        }
        assert_eq!(run(&["-"], &out).unwrap().0, out);
    }

    #[test]
    fn numbers_are_read_as_kubectl_reads_them() {
        let (once, _) = run(&["-"], POD).unwrap();
        assert!(once.contains("defaultMode: 256"), "0400 is octal: {once}");
    }

    #[test]
    fn what_a_person_should_know_goes_to_standard_error() {
        let bare = "apiVersion: v1\nkind: Pod\nmetadata: {name: bare}\nspec: {containers: []}\n";
        let (out, notes) = run(&["-"], bare).unwrap();
        assert!(!out.contains("fairlead") && notes.contains("Pod bare: left as it is; write --sidecar"), "{notes}");
        assert!(run(&["-", "--sidecar", "shop"], bare).unwrap().0.contains("fairlead.dev/sidecar: shop"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (args, input, says) in [
            (&["-"][..], "", "standard input: no document"),
            (&["-"], "a: [", "standard input"),
            (&["/nowhere/pod.yaml"], "", "/nowhere/pod.yaml"),
            (&["-", "--sidecar", "Shop"], POD, ""),
            (&["-", "--image", "a", "--settings", "b"], POD, "--settings"),
            (&["-", "--settings", "/nowhere/settings.yaml"], POD, "/nowhere/settings.yaml"),
            (&["-"], "apiVersion: v1\nkind: Pod\nmetadata: {labels: {fairlead.dev/sidecar: A}}\nspec: {}", "\"A\""),
        ] {
            match run(args, input) {
                Err(error) => assert!(format!("{error:#}").contains(says), "{args:?}: {error:#}"),
                // The label counts.
                Ok((_, notes)) => assert!(says.is_empty() && notes.contains("not --sidecar Shop"), "{args:?}: {notes}"),
            }
        }
    }
}
