//! Hops that ask for a login: read when they are dialled, missing, or in a directory that is not there yet.

use std::fs;

use super::*;

#[tokio::test]
async fn a_login_is_read_when_a_hop_is_dialled_and_a_wrong_one_marks_the_hop() {
    let (target, proxy) = (Peer::target(b'A').await, Peer::proxy(Does::ServeAnn).await);
    let bench = Bench::new(&[with_login(&proxy.address)], &[&target.address]);
    bench.engine.set_secrets(login("ann", "wrong!"));
    assert_eq!(bench.ask().await, None);
    assert_eq!(bench.states(), "1x 0-");
    assert!(bench.error_of(0).contains("refuses the user or the password"), "{}", bench.error_of(0));
    bench.engine.set_secrets(login("ann", "secret"));
    assert_eq!(bench.ask().await, Some('A'), "the new password is used at once");
    assert_eq!(bench.states(), "1+ 0+");
}

#[tokio::test]
async fn a_missing_secret_marks_nobody_and_is_said_until_it_is_there() {
    let (target, proxy) = (Peer::target(b'A').await, Peer::proxy(Does::ServeAnn).await);
    let bench = Bench::new(&[with_login(&proxy.address)], &[&target.address]);
    let report = || bench.engine.report().forwards.remove(0);
    assert_eq!((report().state, report().reason.as_deref()), (ForwardState::Failed, Some("CredentialsMissing")));
    let message = report().message.unwrap();
    assert!(message.starts_with("hop 1: Secret \"bastion\""), "{message}");
    assert_eq!(bench.ask().await, None);
    assert_eq!(bench.states(), "1- 0-");
    bench.engine.set_secrets(login("ann", "secret"));
    await_that("it is found", || report().state == ForwardState::Listening).await;
    assert_eq!(bench.ask().await, Some('A'));
}

#[tokio::test]
async fn a_forward_goes_on_as_it_was_until_the_directory_that_it_names_anew_is_there() {
    let (target, proxy) = (Peer::target(b'A').await, Peer::proxy(Does::ServeAnn).await);
    let root = std::env::temp_dir().join(format!("fairlead-mounts-{}", std::process::id()));
    let in_directory = |name: &str| {
        let mut hop = with_login(&proxy.address);
        hop["credentials"] = json!({"directory": root.join(name)});
        hop
    };
    let mount = |name: &str| {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join("username"), "ann").unwrap();
        fs::write(root.join(name).join("password"), "secret").unwrap();
    };
    mount("one");
    let bench = Bench::new(&[in_directory("one")], &[&target.address]);
    let report = || bench.engine.report().forwards.remove(0);
    assert_eq!(bench.ask().await, Some('A'));
    let before = report();

    bench.apply(&[in_directory("two")], &[&target.address]);
    assert_eq!(bench.ask().await, Some('A'), "nobody is refused");
    let kept = report();
    assert_eq!((kept.state, kept.digest), (ForwardState::Listening, before.digest), "nor is the new version claimed");
    assert_eq!(kept.reason.as_deref(), Some("CredentialsMissing"));
    assert!(kept.message.unwrap().contains("two is not mounted here; it goes on as it was"));

    // What it goes on with is what may be missing, too.
    fs::remove_file(root.join("one").join("password")).unwrap();
    await_that("the lack is said", || report().state == ForwardState::Failed).await;
    mount("two");
    await_that("it goes over", || report().state == ForwardState::Listening && report().reason.is_none()).await;
    assert_eq!(bench.ask().await, Some('A'));

    // Gone is another thing than never there: it is the present version that lacks it.
    fs::remove_file(root.join("two").join("password")).unwrap();
    await_that("the lack is said", || report().state == ForwardState::Failed).await;
    bench.apply(&[in_directory("three")], &[&target.address]);
    assert_eq!(report().message.unwrap(), "hop 1: Secret \"three\", key \"username\": is not there");
    fs::remove_dir_all(root).unwrap();
}
