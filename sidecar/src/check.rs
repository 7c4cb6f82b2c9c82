//! `fairlead check`: manifests to `ok` lines and problems, as strictly as a cluster; runs nothing.

use std::path::PathBuf;

use fairlead_api::{
    Effective, NodeRole,
    render::{NodeName, Place, Rendering, Verdict},
};

use crate::{
    args::CheckArgs,
    exit::Exit,
    manifests, output,
    source::{self, Origin},
};

/// Runs the command.
pub(crate) fn check(args: &CheckArgs) -> Exit {
    let (mut origins, mut problems) = (Vec::new(), Vec::new());
    for path in &args.manifests {
        match Origin::of(path) {
            Ok(origin) => origins.push(origin),
            Err(problem) => problems.push(problem),
        }
    }
    let snapshot = source::snapshot(&origins);
    let directories = origins.iter().filter_map(|origin| match origin {
        Origin::Directory(path) => Some(path),
        Origin::File(_) | Origin::Once(_) => None,
    });
    let directories: Vec<_> = directories.map(PathBuf::as_path).collect();
    let reading = manifests::first(&snapshot, &directories, Place::Gateway);
    problems.extend(reading.problems.iter().cloned());
    reading.skipped.iter().for_each(|skipped| output::note(skipped));
    reading.warnings.iter().for_each(|warning| output::warning(warning));
    lines(&reading.wanted.rendering).iter().for_each(|line| output::line(line));
    problems.iter().for_each(|problem| output::error(problem));
    if problems.is_empty() { Exit::Done } else { Exit::Failed }
}

/// One line per PortForward that is all right.
fn lines(rendering: &Rendering) -> Vec<String> {
    let accepted = rendering.verdicts.iter().filter_map(|(key, verdict)| match verdict {
        Verdict::Accepted { effective, nodes, .. } => Some(format!("ok  {key}: {}", summary(effective, nodes))),
        Verdict::Suspended { .. } => Some(format!("ok  {key}: suspended, runs nowhere")),
        Verdict::Refused { .. } => None,
    });
    accepted.collect()
}

/// As `tcp :5432 → db1:5432, db2:5432 (fifo)`.
fn summary(effective: &Effective, nodes: &[NodeName]) -> String {
    let said = |value: &Option<String>| value.clone().unwrap_or_default();
    let Some(strategy) = &effective.strategy else {
        let (scheme, listen) = (said(&effective.scheme), said(&effective.listen));
        return format!("{scheme} {listen} → {}wherever its clients want", hops(nodes));
    };
    let targets: Vec<&str> =
        nodes.iter().filter(|node| node.role == NodeRole::Target).map(|node| node.address.as_str()).collect();
    format!(
        "{} {} → {}{} ({})",
        said(&effective.scheme),
        said(&effective.listen),
        hops(nodes),
        targets.join(", "),
        strategy
    )
}

/// As `a:1080|b:1080 → ` for each hop, with its nodes.
fn hops(nodes: &[NodeName]) -> String {
    let groups = nodes.chunk_by(|one, next| one.hop == next.hop).filter(|group| group[0].hop.is_some());
    let names = groups.map(|group| group.iter().map(|node| node.address.as_str()).collect::<Vec<_>>().join("|"));
    names.map(|names| format!("{names} → ")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {name: db, namespace: shop}\n\
        spec: {url: 'tcp://:5432/db1:5432,db2:5432?strategy=fifo'}\n";

    #[test]
    fn a_good_forward_is_summed_up_in_a_line() {
        let text = source::Text { name: "a".to_owned(), text: GOOD.to_owned(), of_directory: None };
        let reading = manifests::read(&[text], Place::Gateway);
        assert_eq!(lines(&reading.wanted.rendering), ["ok  shop/db: tcp :5432 → db1:5432, db2:5432 (fifo)"]);
    }

    #[test]
    fn a_server_goes_wherever_its_clients_want() {
        let text = GOOD.replace("tcp://:5432/db1:5432,db2:5432?strategy=fifo", "socks5://:1080?anonymous=true");
        let text = source::Text { name: "a".to_owned(), text, of_directory: None };
        let reading = manifests::read(&[text], Place::Gateway);
        assert_eq!(lines(&reading.wanted.rendering), ["ok  shop/db: socks5 :1080 → wherever its clients want"]);
    }

    #[test]
    fn one_bad_file_fails_the_check() {
        let directory = tempfile::tempdir().unwrap();
        let (good, bad) = (directory.path().join("good.yaml"), directory.path().join("bad.yaml"));
        fs::write(&good, GOOD).unwrap();
        fs::write(&bad, GOOD.replace("spec", "speck")).unwrap();
        let missing = directory.path().join("missing.yaml");
        for (files, exit) in [
            (vec![good.clone()], Exit::Done),
            (vec![bad], Exit::Failed),
            (vec![good, missing], Exit::Failed),
            (vec![directory.path().to_owned()], Exit::Failed),
        ] {
            assert_eq!(check(&CheckArgs { manifests: files }), exit);
        }
    }
}
