#![allow(clippy::unwrap_used)]

use super::*;

const DB: &str =
    "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {name: db}\nspec: {url: 'tcp://:5432/db1:5432'}\n";

fn told(text: &str) -> Vec<String> {
    read("forwards.yaml", text).problems.iter().map(ToString::to_string).collect()
}

fn names(manifests: &Manifests) -> Vec<&str> {
    manifests.port_forwards.iter().filter_map(|forward| forward.metadata.name.as_deref()).collect()
}

#[test]
fn several_documents_and_lists_are_read() {
    let web = DB.replace("name: db", "name: web, namespace: shop");
    let list = |items: &str| format!("apiVersion: v1\nkind: List\nitems:\n{items}");
    let item =
        "- {apiVersion: fairlead.dev/v1alpha1, kind: PortForward, metadata: {name: db}, spec: {url: 'tcp://:1/a:1'}}\n";
    let json = "{\n\t\"apiVersion\": \"fairlead.dev/v1alpha1\",\n\t\"kind\": \"PortForward\",\n\t\"metadata\": {\"name\": \"db\"},\n\t\"spec\": {\"url\": \"tcp://:1/a:1\"}\n}\n";
    for (text, want) in [
        (String::new(), vec![]),
        ("# nothing\n---\n# here\n---\n".to_owned(), vec![]),
        (DB.to_owned(), vec!["db"]),
        (format!("---\n{DB}---\n# between\n---\n{web}...\n"), vec!["db", "web"]),
        (list(item), vec!["db"]),
        (list("").replace("items:", "items: []"), vec![]),
        (json.to_owned(), vec!["db"]),
        (DB.replace('\n', "\r\n"), vec!["db"]),
        (format!("\u{feff}{DB}"), vec!["db"]),
        (format!("{DB}status: {{anything: [1]}}\n"), vec!["db"]),
        (DB.replace("spec: {", "spec: {strategy: null, targets: null, "), vec!["db"]),
    ] {
        let manifests = read("forwards.yaml", &text);
        assert_eq!(manifests.problems, [], "{text}");
        assert_eq!(names(&manifests), want, "{text}");
    }
}

#[test]
fn a_problem_says_where_it_is() {
    let other = |from: &str, to: &str| format!("{DB}---\n{}", DB.replace("name: db", "name: web").replace(from, to));
    let listed = "kind: List\nitems:\n- {kind: PortForward, apiVersion: fairlead.dev/v1alpha1,\n  metadata: {name: db}, spec: {url: tcp, listen: {port: 1,\n  x: 1}}}";
    let version = |said: &str| format!("apiVersion: \"{said}\" is unknown here; write fairlead.dev/v1alpha1");
    for (text, want) in [
        (other("metadata:", "suspend: true\nmetadata:"), "line 8 (PortForward \"web\"): suspend: unknown field; known here: spec, status".to_owned()),
        (other("url: '", "url: ' \n\n "), String::new()),
        (other("v1alpha1", "v1alpha2"), format!("line 6 (PortForward \"web\"): {}", version("fairlead.dev/v1alpha2"))),
        (other("fairlead.dev", "fairled.dev"), format!("line 6 (PortForward \"web\"): {}", version("fairled.dev/v1alpha1"))),
        (
            other("kind: PortForward", "kind: PortForwarder"),
            "line 7 (PortForwarder \"web\"): kind: \"PortForwarder\" is unknown here; write PortForward".to_owned(),
        ),
        (other("kind: PortForward\n", ""), "line 6: kind: required; write PortForward".to_owned()),
        (
            other("name: web", "name: db"),
            "line 8 (PortForward \"db\"): metadata.name: twice in namespace default, first in forwards.yaml, line 1; rename one of the two"
                .to_owned(),
        ),
        ("just words\n".to_owned(), "line 1: kind: required; write apiVersion: fairlead.dev/v1alpha1 and kind: PortForward".to_owned()),
        ("[1, 2]\n".to_owned(), "line 1: kind: required; write apiVersion: fairlead.dev/v1alpha1 and kind: PortForward".to_owned()),
        (
            listed.replace("url: tcp, ", "scheme: socks5, "),
            "line 5 (PortForward \"db\"): items[0].spec.listen.x: unknown field; known here: address, port".to_owned(),
        ),
    ] {
        let want: Vec<String> = if want.is_empty() { vec![] } else { vec![format!("forwards.yaml, {want}")] };
        assert_eq!(told(&text), want, "{text}");
    }
}

#[test]
fn what_is_no_yaml_names_the_line_and_spoils_no_other_document() {
    for (broken, line) in [
        ("kind: PortForward\nspec: {url: 'tcp", "line"),
        ("kind: PortForward\nkind: PortForward\n", "line 7"),
        ("a: [1, 2\n", "line"),
        ("a: b: c\n", "line 6"),
        ("a:\n\tb: 1\n", "line 7"),
        ("a: *nowhere\n", "line 6"),
        ("%&@!\u{1}", ""),
    ] {
        let manifests = read("forwards.yaml", &format!("{DB}---\n{broken}"));
        assert_eq!(names(&manifests), ["db"], "{broken}");
        let problem = manifests.problems[0].to_string();
        assert!(problem.starts_with("forwards.yaml: ") && problem.contains(line), "{broken:?}: {problem}");
    }
}

#[test]
fn a_manifest_cut_anywhere_is_read_or_refused_but_never_otherwise() {
    let whole = format!("{DB}---\n{}", DB.replace("name: db", "name: web"));
    for end in 0..whole.len() {
        let manifests = read("forwards.yaml", &whole[..end]);
        let (first_is_cut, second_is_cut) = (end < DB.len() - 2, end < whole.len() - 2);
        assert!(
            names(&manifests).len() <= 2 - usize::from(first_is_cut) - usize::from(second_is_cut && !first_is_cut),
            "{end}"
        );
    }
}

#[test]
fn secrets_and_config_maps_stand_in_for_the_cluster_s() {
    let manifests = read(
        "secrets.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: bastion, namespace: shop}\ntype: Opaque\ndata:\n  username: dXNl\n    cg==\n  \
         password: b2xk\nstringData: {password: hunter2}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: hosts}\ndata: {known_hosts: \"a b c\"}\n\
         binaryData: {ca.crt: AAE=}\n",
    );
    assert_eq!(manifests.problems, []);
    let secret = manifests.secret("shop", "bastion").unwrap();
    assert_eq!(
        (secret.data["username"].as_slice(), secret.data["password"].as_slice()),
        (&b"user"[..], &b"hunter2"[..])
    );
    let map = manifests.config_map("default", "hosts").unwrap();
    assert_eq!((map.data["known_hosts"].as_slice(), map.data["ca.crt"].as_slice()), (&b"a b c"[..], &[0, 1][..]));
    assert!(manifests.secret("default", "bastion").is_none());
    let shown = format!("{manifests:?}");
    assert!(shown.contains("***") && !shown.contains("hunter2") && !shown.contains("dXNl"), "{shown}");
}

#[test]
fn a_bad_secret_is_refused_without_showing_it() {
    let secret = |rest: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{rest}\n");
    for (rest, want) in [
        (
            "data: {password: hunter2!}",
            "data.password: is not in base64; encode it, or write plain text under the field for text",
        ),
        ("stringData: {password: 123456}", "stringData.password: is no string; write it in quotes"),
        (
            "stringData: {../password: hunter2}",
            "stringData.../password: is no key; write letters, digits, '-', '_' and '.'",
        ),
        ("stringData: hunter2", "stringData: is no map; write keys with their values"),
        ("stringdata: {password: hunter2}", "stringdata: unknown field; write stringData or data"),
        ("data: {password: [hunter2]}", "data.password: is no string; write it in quotes"),
    ] {
        assert_eq!(told(&secret(rest)), [format!("forwards.yaml, line 4 (Secret \"s\"): {want}")]);
    }
    assert_eq!(told("apiVersion: v1\nkind: Secret\nmetadata: {}").len(), 1);
}

#[test]
fn other_kinds_are_left_out_by_name() {
    let manifests = read(
        "all.yaml",
        &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\n---\n{DB}---\napiVersion: apps/v1\nkind: Deployment\n"
        ),
    );
    assert_eq!(manifests.skipped, [("Service".to_owned(), "web".to_owned()), ("Deployment".to_owned(), String::new())]);
    assert_eq!(names(&manifests), ["db"]);
    assert_eq!(manifests.problems, []);
}

#[test]
fn the_same_object_in_two_texts_is_a_problem() {
    let mut all = read("a.yaml", DB);
    all.merge(read("b.yaml", &DB.replace("name: db", "name: web")));
    assert_eq!(all.problems, []);
    all.merge(read("c.yaml", DB));
    let told: Vec<String> = all.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "c.yaml, line 1 (PortForward \"db\"): metadata.name: twice in namespace default, first in a.yaml, line 1; rename one of the two"
        ]
    );
}

#[test]
fn work_is_bounded_whatever_is_read() {
    let bomb = (1..10).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","))
    });
    assert!(told(&bomb)[0].contains("budget"), "{:?}", told(&bomb));
    assert_eq!(
        told(&"#".repeat(TEXT_LIMIT + 1)),
        ["forwards.yaml: 4194305 bytes are too many for a manifest; write at most 4194304"]
    );
    assert!(told(&"[".repeat(100_000)).len() == 1);
    assert_eq!(told(&"a: [\n---\n".repeat(1000)).len(), UNREADABLE_LIMIT + 1);
    let items = "- {kind: PortForward}\n".repeat(5_000);
    assert!(told(&format!("kind: List\nitems:\n{items}")).len() < PROBLEMS_LIMIT + 10);
    assert_eq!(told(&"%\n".repeat(1_000_000)).len(), 1);
}
