//! Which target a client gets, as the seed says: round, random, fifo.

use std::{collections::BTreeMap, net::SocketAddr};

use fairlead_tests::{binary::Fairlead, clients::ask_times, ports, targets::Target};

fn three_targets() -> [Target; 3] {
    ['A', 'B', 'C'].map(Target::letter)
}

fn forward_to(targets: &[Target], options: &str) -> (Fairlead, SocketAddr) {
    let port = ports::free();
    let addresses: Vec<String> = targets.iter().map(|target| target.address().to_string()).collect();
    let url = format!("tcp://127.0.0.1:{port}/{}?{options}", addresses.join(","));
    let fairlead = Fairlead::run(&["run", "-L", &url]);
    fairlead.await_listening(port);
    (fairlead, ([127, 0, 0, 1], port).into())
}

#[test]
fn round_gives_every_client_the_next_target() {
    let targets = three_targets();
    for options in ["strategy=round", ""] {
        let (_fairlead, address) = forward_to(&targets, options);
        assert_eq!(ask_times(address, 12), "ABCABCABCABC", "{options:?}");
    }
}

#[test]
fn round_leaves_a_dead_target_out_and_keeps_the_order_of_the_others() {
    let mut targets = three_targets();
    targets[1].kill();
    let (_fairlead, address) = forward_to(&targets, "strategy=round");
    let answers = ask_times(address, 12);
    assert!(!answers.contains(['B', '-']), "{answers}");
    let later = &answers[2..];
    assert!(later == "ACACACACAC" || later == "CACACACACA", "{answers}");
}

#[test]
fn fifo_prefers_the_first_live_target() {
    let mut targets = three_targets();
    let (_fairlead, address) = forward_to(&targets, "strategy=fifo&fail_timeout=10m");
    assert_eq!(ask_times(address, 5), "AAAAA");
    targets[0].kill();
    assert_eq!(ask_times(address, 5), "BBBBB");
    targets[1].kill();
    assert_eq!(ask_times(address, 5), "CCCCC");
}

/// Chi-square with two degrees of freedom: a uniform choice exceeds 30 once in three million runs.
#[test]
fn random_is_uniform_and_no_rotation() {
    let targets = three_targets();
    let (_fairlead, address) = forward_to(&targets, "strategy=random");
    let answers = ask_times(address, 600);
    let mut counts = BTreeMap::from([('A', 0), ('B', 0), ('C', 0)]);
    answers.chars().for_each(|letter| *counts.entry(letter).or_default() += 1);
    assert_eq!(counts.len(), 3, "{counts:?}");
    let chi_square: f64 = counts.values().map(|count| f64::from(count - 200).powi(2) / 200.0).sum();
    assert!(chi_square < 30.0, "{counts:?}");
    let repeated = answers.as_bytes().windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!((120..280).contains(&repeated), "{repeated} of 599 clients got the target of the one before");
}

#[test]
fn targets_of_the_path_come_before_those_of_ip() {
    let targets = three_targets();
    let port = ports::free();
    let [a, b, c] = [0, 1, 2].map(|index: usize| targets[index].address());
    let url = format!("tcp://127.0.0.1:{port}/{a}?ip={b},{c}&strategy=round");
    let fairlead = Fairlead::run(&["run", "-L", &url]);
    fairlead.await_listening(port);
    assert_eq!(ask_times(([127, 0, 0, 1], port), 6), "ABCABC");
}
