//! The manifests to copy: each is one that an API server takes, and `fairlead check` says what this version does of it.

use std::{collections::BTreeSet, fs};

use fairlead_api::{
    manifest,
    render::{AcceptedReason, Place, Verdict, render},
    schema,
};
use fairlead_config::yaml;
use fairlead_tests::{binary::finish, golden};

/// Each example, and what this version can't do of it yet, by the field that it names.
const EXAMPLES: [(&str, &[&str]); 7] = [
    ("bastion-database.yaml", &[]),
    ("dns-over-udp.yaml", &[]),
    ("dns-through-proxies.yaml", &[]),
    ("expose-service-remotely.yaml", &[]),
    ("failover-pair.yaml", &[]),
    ("quickstart.yaml", &[]),
    ("socks5-server.yaml", &[]),
];

fn path(name: &str) -> String {
    format!("deploy/examples/{name}")
}

#[test]
fn every_example_is_listed() {
    let files = fs::read_dir(golden::file("deploy/examples")).expect("the examples");
    let files: BTreeSet<String> =
        files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(files, EXAMPLES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn every_example_has_the_shape_that_the_crd_asks_for() {
    for (name, _) in EXAMPLES {
        for document in yaml::documents(&golden::read(&path(name))).expect("YAML") {
            assert_eq!(schema::check(&document), [], "{name}");
        }
    }
}

#[test]
fn an_example_is_accepted_or_waits_for_a_scheme_that_is_not_built_yet() {
    for (name, missing) in EXAMPLES {
        let read = manifest::read(name, &golden::read(&path(name)));
        assert!(read.problems.is_empty(), "{name}: {:?}", read.problems);
        for (_, verdict) in render(&read.port_forwards, Place::Gateway).verdicts {
            match verdict {
                Verdict::Accepted { .. } => assert!(missing.is_empty(), "{name} is built: strike it off the list"),
                Verdict::Refused { reason, message } => {
                    assert_eq!(reason, AcceptedReason::UnsupportedValue, "{name}: {message}");
                    assert!(!missing.is_empty(), "{name}: {message}");
                    assert!(missing.iter().all(|text| message.contains(text)), "{name}: {message}");
                }
                Verdict::Suspended { .. } => panic!("{name} is suspended"),
            }
        }
    }
}

#[test]
fn fairlead_check_says_the_same() {
    for (name, missing) in EXAMPLES {
        let file = golden::file(&path(name));
        let check = finish(&["check", file.to_str().expect("UTF-8")]);
        assert_eq!(check.code == 0, missing.is_empty(), "{name}: {check:?}");
        let said = format!("{}{}", check.stdout, check.stderr);
        assert!(missing.iter().all(|text| said.contains(text)), "{name}: {said}");
    }
}
