#![allow(clippy::unwrap_used)]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use fairlead_config::admin::SILENCE_LIMIT;
use tokio::sync::watch;

use self::fake::{Fake, Mood, until};
use super::*;
use crate::{
    authority::{self, AuthorityTimes, Decision},
    names::ProxyKind,
};

mod fake;
mod trouble;

type Secret = BTreeMap<String, k8s_openapi::ByteString>;

/// The operator's side: its Secret, who it is, and its proxies.
struct Scene {
    secret: Option<Secret>,
    identity: watch::Sender<Arc<Identity>>,
    proxies: Proxies,
    changes: Changes,
}

impl Scene {
    fn new() -> Self {
        let (secret, identity) = step(None);
        let identity = watch::Sender::new(Arc::new(identity));
        let (proxies, changes) = Proxies::start(identity.subscribe());
        Self { secret, identity, proxies, changes }
    }

    fn bundle(&self) -> String {
        self.identity.borrow().ca_bundle.clone()
    }

    async fn fake(&self, mood: Mood) -> Fake {
        Fake::start(&self.bundle(), mood).await
    }

    /// Goes to the next step of the authority's life: one more is published, or the published one signs.
    fn rotate(&mut self) {
        let (secret, identity) = step(self.secret.take());
        self.secret = secret;
        self.identity.send_replace(Arc::new(identity));
    }

    fn assign(&self, fakes: &[&Fake], revision: u64) {
        self.proxies.assign(id("a"), assignment(fakes, revision));
    }

    fn link(&self, index: usize) -> Link {
        self.proxies.observe(&id("a")).into_iter().nth(index).unwrap().link
    }

    fn is_connected(&self, index: usize) -> bool {
        matches!(self.link(index), Link::Connected { .. })
    }

    async fn error(&self, index: usize) -> String {
        let mut error = String::new();
        until("a lost pod", || match self.link(index) {
            Link::Lost { error: text, .. } => {
                error = text;
                true
            }
            Link::Dialling { .. } | Link::Connected { .. } => false,
        })
        .await;
        error
    }
}

/// An authority that changes at every look.
fn step(secret: Option<Secret>) -> (Option<Secret>, Identity) {
    let usual = AuthorityTimes::default();
    let times = AuthorityTimes { renew_before: usual.lifetime, publish_ahead: Duration::ZERO, ..usual };
    match authority::next(secret.as_ref(), SystemTime::now(), &times).unwrap() {
        Decision::Keep { identity, .. } => (secret, identity),
        Decision::Write { data, identity, .. } => (Some(data), identity),
    }
}

fn id(name: &str) -> ProxyId {
    ProxyId { namespace: "shop".to_owned(), kind: ProxyKind::Own(name.to_owned()) }
}

fn pod(uid: usize, address: SocketAddr) -> ProxyPod {
    ProxyPod { uid: format!("{uid:04}"), name: format!("pod-{uid}"), address }
}

fn assignment(fakes: &[&Fake], revision: u64) -> Assignment {
    let pods = fakes.iter().enumerate().map(|(uid, fake)| pod(uid, fake.address)).collect();
    Assignment { pods, document: format!("version: 1\nrevision: {revision}\nforwards: []\n").into(), revision }
}

#[tokio::test]
async fn a_document_goes_out_at_once_and_reports_come_in_as_they_change() {
    let mut scene = Scene::new();
    let fake = scene.fake(Mood::Good).await;
    scene.assign(&[&fake], 7);
    assert!(matches!(scene.link(0), Link::Dialling { .. }));
    assert_eq!(scene.changes.next().await, id("a"));
    until("the document", || fake.revision() == 7).await;
    until("its report", || matches!(scene.link(0), Link::Connected { report, .. } if report.revision == 7)).await;
    for revision in 8..20 {
        scene.assign(&[&fake], revision);
        scene.assign(&[&fake], revision);
        until("the next document", || fake.revision() == revision).await;
    }
    assert_eq!(fake.pushes(), (7..20).collect::<Vec<_>>());
    assert_eq!(fake.handshakes(), 2, "one connection for reports, one for pushes, both kept");
}

#[tokio::test]
async fn what_a_pod_runs_already_or_has_newer_is_not_pushed() {
    let scene = Scene::new();
    let fake = scene.fake(Mood::Good).await;
    fake.shared.report.send_modify(|report| report.revision = 9);
    scene.assign(&[&fake], 9);
    until("a report", || scene.is_connected(0)).await;
    scene.assign(&[&fake], 8);
    scene.assign(&[&fake], 10);
    until("the newer document", || fake.revision() == 10).await;
    assert_eq!(fake.pushes(), [10]);
}

#[tokio::test]
async fn while_a_push_is_under_way_only_the_newest_of_what_is_assigned_waits() {
    let scene = Scene::new();
    let fake = scene.fake(Mood::Good).await;
    fake.shared.open.send_replace(false);
    scene.assign(&[&fake], 1);
    until("a push under way", || fake.handshakes() == 2).await;
    for revision in 2..50 {
        scene.assign(&[&fake], revision);
        tokio::task::yield_now().await;
    }
    fake.shared.open.send_replace(true);
    until("the newest", || fake.revision() == 49).await;
    assert!(fake.pushes().len() <= 2, "{:?}", fake.pushes());
}

#[tokio::test]
async fn pods_that_stay_keep_their_connection_and_others_come_and_go() {
    let scene = Scene::new();
    let (a, b, c) = (scene.fake(Mood::Good).await, scene.fake(Mood::Good).await, scene.fake(Mood::Good).await);
    scene.assign(&[&a, &b], 1);
    until("both pods", || a.revision() == 1 && b.revision() == 1).await;
    scene.assign(&[&a, &c], 1);
    until("the pod at its new address", || c.revision() == 1).await;
    until("the former connections' end", || b.shared.report.receiver_count() == 0).await;
    assert_eq!(a.handshakes(), 2);
    assert_eq!(scene.proxies.observe(&id("a")).len(), 2);
    scene.proxies.forget(&id("a"));
    assert!(scene.proxies.observe(&id("a")).is_empty());
    until("every connection's end", || a.shared.report.receiver_count() + c.shared.report.receiver_count() == 0).await;
}

#[tokio::test]
async fn a_proxy_that_restarts_is_found_again_and_gets_the_document_again() {
    let scene = Scene::new();
    let mut fake = scene.fake(Mood::Good).await;
    scene.assign(&[&fake], 3);
    until("the document", || fake.revision() == 3).await;
    until("its report", || matches!(scene.link(0), Link::Connected { report, .. } if report.revision == 3)).await;
    fake.stop().await;
    let error = scene.error(0).await;
    assert_eq!(error, "closed the connection");
    assert!(matches!(scene.link(0), Link::Lost { report: Some(last), .. } if last.revision == 3));
    fake.restart();
    assert_eq!(fake.revision(), 0);
    until("the document again", || fake.revision() == 3).await;
    until("its report", || scene.is_connected(0)).await;
}

#[tokio::test]
async fn a_rotation_under_load_loses_no_push() {
    let mut scene = Scene::new();
    let mut fakes = Vec::new();
    for _ in 0..4 {
        fakes.push(scene.fake(Mood::Good).await);
    }
    let mut authorities = vec![scene.bundle()];
    for revision in 1..=40 {
        scene.assign(&fakes.iter().collect::<Vec<_>>(), revision);
        if revision % 4 == 0 {
            scene.rotate();
            // As the kubelet does, a proxy hears of a bundle some time after it was published.
            fakes.iter().for_each(|fake| fake.trust(&scene.bundle()));
            authorities.push(scene.bundle());
        }
        if revision % 5 == 0 {
            // Every connection has to be made anew, with the certificate of the moment.
            for fake in &mut fakes {
                fake.stop().await;
                fake.restart();
                scene.proxies.hurry(&id("a"));
            }
        }
        until("every proxy at this revision", || fakes.iter().all(|fake| fake.revision() == revision)).await;
    }
    authorities.dedup();
    assert_eq!(authorities.len(), 11, "the authority went on changing");
}

#[tokio::test]
async fn dropping_the_proxies_closes_every_connection() {
    let scene = Scene::new();
    let fake = scene.fake(Mood::Good).await;
    scene.assign(&[&fake], 1);
    until("the document", || fake.revision() == 1).await;
    drop(scene.proxies);
    until("the connections' end", || fake.shared.report.receiver_count() == 0).await;
}
