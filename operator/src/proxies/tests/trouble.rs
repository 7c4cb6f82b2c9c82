//! Pods that don't answer as they should: each is lost with a line that says why, and disturbs no other.

use super::*;

#[tokio::test]
async fn a_pod_that_answers_garbage_is_lost_in_one_line_and_its_neighbours_go_on() {
    let scene = Scene::new();
    let good = scene.fake(Mood::Good).await;
    let deep: &[u8] = &[b'['; 4000];
    let moods = [
        (Mood::Says(b"nonsense\n"), "no report"),
        (Mood::Says(b"{}\n"), "no report"),
        (Mood::Says(b"\xff\xfe\n"), "no report"),
        (Mood::Says(Box::leak([deep, b"\n"].concat().into_boxed_slice())), "no report"),
        (Mood::Endless, "more than 1024 KiB"),
        (Mood::Missing, "answered 404: no \u{fffd} report here"),
    ];
    let mut fakes = Vec::new();
    for (mood, _) in &moods {
        fakes.push(scene.fake(*mood).await);
    }
    let all: Vec<&Fake> = [&good].into_iter().chain(&fakes).collect();
    scene.assign(&all, 1);
    for (index, (mood, says)) in moods.iter().enumerate() {
        let error = scene.error(index + 1).await;
        assert!(error.contains(says) && !error.contains('\n') && error.len() < 1500, "{mood:?}: {error}");
    }
    for revision in 2..10 {
        scene.assign(&all, revision);
        until("the good pod's revision", || good.revision() == revision).await;
    }
    assert_eq!(good.handshakes(), 2);
}

#[tokio::test]
async fn nobody_at_the_address_and_one_who_speaks_no_tls_are_told_apart() {
    let scene = Scene::new();
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_address = plain.local_addr().unwrap();
    let gone = { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = plain.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let pods = vec![pod(0, gone), pod(1, plain_address)];
    scene.proxies.assign(id("a"), Assignment { pods, document: "".into(), revision: 1 });
    let error = scene.error(0).await;
    assert!(error.contains(&format!("dial {gone}")) && error.contains("refused"), "{error}");
    let error = scene.error(1).await;
    assert!(error.contains(&format!("{plain_address}: TLS handshake")), "{error}");
}

#[tokio::test]
async fn a_proxy_that_does_not_know_our_authority_says_so_and_a_new_identity_is_tried_at_once() {
    let mut scene = Scene::new();
    let other = Scene::new();
    let fake = other.fake(Mood::Good).await;
    scene.assign(&[&fake], 1);
    let error = scene.error(0).await;
    assert!(error.contains("refused the operator's certificate"), "{error}");
    fake.trust(&scene.bundle());
    scene.rotate();
    until("the document", || fake.revision() == 1).await;
}

#[tokio::test]
async fn a_document_that_a_pod_refuses_is_pushed_once_and_the_pod_says_why() {
    let scene = Scene::new();
    let fake = scene.fake(Mood::Good).await;
    let pods = vec![pod(0, fake.address)];
    scene.proxies.assign(id("a"), Assignment { pods, document: "no: [".into(), revision: 5 });
    let mut said = None;
    until("the refusal", || {
        said = scene.proxies.observe(&id("a"))[0].push_error.clone();
        said.is_some()
    })
    .await;
    assert_eq!(said.unwrap(), "refused revision 5: no such language");
    assert!(scene.is_connected(0));
    scene.assign(&[&fake], 6);
    until("the next document", || fake.revision() == 6).await;
    until("no complaint", || scene.proxies.observe(&id("a"))[0].push_error.is_none()).await;
}

#[tokio::test]
async fn a_pod_that_says_nothing_for_45_seconds_is_lost() {
    let scene = Scene::new();
    let fake = scene.fake(Mood::Good).await;
    let begin = tokio::time::Instant::now();
    scene.assign(&[&fake], 0);
    until("a report", || scene.is_connected(0)).await;
    tokio::time::pause();
    let error = scene.error(0).await;
    assert!(error.contains("said nothing for 45s"), "{error}");
    assert!(begin.elapsed() >= SILENCE_LIMIT);
}

#[tokio::test]
async fn reports_that_come_too_often_are_read_more_slowly() {
    let scene = Scene::new();
    let fake = scene.fake(Mood::Hasty(12)).await;
    scene.assign(&[&fake], 0);
    until("the first report", || scene.is_connected(0)).await;
    let begin = Instant::now();
    until("the last report", || matches!(scene.link(0), Link::Connected { report, .. } if report.revision == 12)).await;
    assert!(begin.elapsed() > Duration::from_millis(1100), "{:?}", begin.elapsed());
}

/// Both ends are in this process, so that the operator's own share is less than what is seen here.
#[tokio::test]
#[allow(clippy::print_stdout, reason = "the figure is what one runs this for")]
async fn two_hundred_proxies_need_little_memory() {
    let scene = Scene::new();
    let mut fakes = Vec::new();
    for _ in 0..200 {
        fakes.push(scene.fake(Mood::Good).await);
    }
    let before = resident();
    let begin = Instant::now();
    for revision in 1..=2 {
        for (index, fake) in fakes.iter().enumerate() {
            scene.proxies.assign(id(&index.to_string()), assignment(&[fake], revision));
        }
        until("every proxy", || fakes.iter().all(|fake| fake.revision() == revision)).await;
    }
    let (grown, time) = (resident().saturating_sub(before), begin.elapsed());
    let handshakes: usize = fakes.iter().map(Fake::handshakes).sum();
    assert_eq!(handshakes, 400);
    println!("200 proxies, both ends, 400 TLS connections: {} KiB each, {time:?}", grown / 200 / 1024);
    assert!(grown < 64 << 20, "{grown} bytes");
}

/// Resident memory of this process in bytes, by proc_pid_statm(5).
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
