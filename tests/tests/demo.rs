//! `fairlead demo`: it runs, it serves, and what it tells the reader to type does what it says.

use fairlead_tests::{
    binary::Fairlead,
    clients::{HttpAnswer, http},
    deadline::{SOON, await_condition, await_some},
};

/// What the demo printed for people to type, as method and URL; `curl URL` and `curl -X POST URL`.
fn commands(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("curl "));
    let command = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let url = words.iter().find(|word| word.starts_with("http://")).copied().unwrap_or_default();
        let method = if words.starts_with(&["-X", "POST"]) { "POST" } else { "GET" };
        (method.to_owned(), url.to_owned())
    };
    lines.map(command).collect()
}

fn what_to_type(demo: &Fairlead) -> Vec<(String, String)> {
    await_some("what to type", SOON, || Some(commands(&demo.printed())).filter(|all| all.len() >= 3))
}

fn request((method, url): &(String, String)) -> HttpAnswer {
    let address = url.strip_prefix("http://127.0.0.1:").unwrap_or_else(|| panic!("not on loopback: {url}"));
    let (port, path) = address.split_once('/').unwrap_or((address, ""));
    http(method, port.parse().expect("a port"), &format!("/{path}")).expect("an answer")
}

#[test]
fn a_reader_who_types_what_it_says_sees_a_target_die_and_come_back() {
    let mut demo = Fairlead::run(&["demo"]);
    let commands = what_to_type(&demo);
    let find = |part: &str| commands.iter().find(|command| command.1.contains(part)).expect(part);
    let (ask, stop, start) = (&commands[0], find("/stop"), find("/start"));

    let both: Vec<String> = (0..4).map(|_| request(ask).body).collect();
    assert!(both.iter().any(|body| body.contains("one")) && both.iter().any(|body| body.contains("two")), "{both:?}");

    assert_eq!(request(stop).code, 200);
    for _ in 0..6 {
        let answer = request(ask);
        assert!(answer.code == 200 && answer.body.contains("two"), "{answer:?}");
    }
    demo.await_log("dead");

    assert_eq!(request(start).code, 200);
    await_condition("the target to take turns again", SOON, || request(ask).body.contains("one"));
    demo.terminate();
    assert_eq!(demo.await_exit(SOON), 0, "{}", demo.printed());
}

/// The demo's usual ports may be taken, by another demo for example.
#[test]
fn a_second_demo_runs_beside_the_first() {
    let first = Fairlead::run(&["demo"]);
    let mut asks = vec![what_to_type(&first)[0].clone()];
    let second = Fairlead::run(&["demo"]);
    asks.push(what_to_type(&second)[0].clone());
    assert_ne!(asks[0], asks[1]);
    asks.iter().for_each(|ask| assert_eq!(request(ask).code, 200, "{ask:?}"));
}
