#![allow(clippy::unwrap_used)]

use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

type Data = BTreeMap<String, ByteString>;

fn times() -> AuthorityTimes {
    AuthorityTimes::default()
}

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A Secret that is kept as the decisions say.
struct Kept {
    times: AuthorityTimes,
    data: Option<Data>,
    identity: Option<Identity>,
    due: SystemTime,
    writes: usize,
}

impl Kept {
    fn new() -> Self {
        Self { times: times(), data: None, identity: None, due: start(), writes: 0 }
    }

    fn at(&mut self, now: SystemTime) -> &Identity {
        let (identity, due) = match next(self.data.as_ref(), now, &self.times).unwrap() {
            Decision::Keep { identity, due } => (identity, due),
            Decision::Write { data, identity, due } => {
                self.data = Some(data);
                self.writes += 1;
                (identity, due)
            }
        };
        self.due = due;
        self.identity.insert(identity)
    }

    fn record(&self) -> serde_json::Value {
        serde_json::from_slice(&self.data.as_ref().unwrap()[RECORD_KEY].0).unwrap()
    }
}

fn bundle(identity: &Identity) -> Vec<String> {
    let end = "-----END CERTIFICATE-----";
    let parts = identity.ca_bundle.split_inclusive(end).filter(|part| part.contains(end));
    parts.map(|part| part.trim().to_owned()).collect()
}

/// The authority of the bundle that signed the identity's certificate, which has to be valid.
fn signer(identity: &Identity, kept: &Kept, now: SystemTime) -> String {
    let leaf = &kept.record()["leaf"];
    let text = |key: &str| leaf[key].as_str().unwrap().to_owned();
    let leaf = certificate::Made { certificate: text("certificate"), key: text("key") };
    assert_eq!(certificate::parse(&leaf).unwrap().0, identity.chain);
    let signed = |authority: &String| certificate::is_good(&leaf, authority, Seconds::of(now));
    bundle(identity).into_iter().find(signed).expect("an authority of the bundle signed it, and it is valid")
}

#[test]
fn what_was_written_is_kept_and_written_once() {
    let mut kept = Kept::new();
    let first = kept.at(start()).clone();
    assert_eq!(bundle(&first).len(), 1);
    for hours in 0..100 {
        assert_eq!(kept.at(start() + hours * HOUR), &first);
    }
    assert_eq!(kept.writes, 1);
}

#[test]
fn the_decision_says_when_to_look_again_and_never_in_the_past() {
    let times = AuthorityTimes { lifetime: 24 * DAY, renew_before: 8 * DAY, leaf_lifetime: 4 * DAY, ..times() };
    let mut kept = Kept { times, ..Kept::new() };
    let mut now = start();
    while now < start() + 30 * DAY {
        kept.at(now);
        assert!(kept.due > now && kept.due <= now + HOUR, "{:?}", kept.due.duration_since(now));
        now = kept.due;
    }
    // Certificates for 4 days are renewed at 2; beyond that there is a new authority, and one that retires.
    assert!((15..22).contains(&kept.writes), "{}", kept.writes);
}

#[test]
fn a_rotation_publishes_waits_signs_and_forgets_in_that_order() {
    let mut kept = Kept::new();
    let first = bundle(kept.at(start()))[0].clone();
    let publish = start() + times().lifetime - times().renew_before;
    let before = publish - HOUR;
    assert_eq!(bundle(kept.at(before)), std::slice::from_ref(&first));

    let published = bundle(kept.at(publish));
    assert_eq!((published.len(), &published[0]), (2, &first));
    let early = publish + times().publish_ahead - Duration::from_secs(1);
    let identity = kept.at(early).clone();
    assert_eq!(signer(&identity, &kept, early), first);

    let late = publish + times().publish_ahead;
    let identity = kept.at(late).clone();
    assert_eq!(signer(&identity, &kept, late), published[1]);
    assert_eq!(bundle(&identity), [published[1].clone(), first]);

    let last = publish + times().leaf_lifetime + HOUR;
    assert_eq!(bundle(kept.at(last)), [published[1].clone()], "what the first one signed has expired");
}

#[test]
fn garbage_is_made_anew_and_what_fits_is_kept() {
    let mut kept = Kept::new();
    let first = kept.at(start()).clone();
    let good = kept.data.clone().unwrap();
    let (_, other) = {
        let mut other = Kept::new();
        (other.at(start()).clone(), other.record())
    };
    let edited = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut record = kept.record();
        edit(&mut record);
        let mut data = good.clone();
        data.insert(RECORD_KEY.to_owned(), ByteString(record.to_string().into_bytes()));
        data
    };
    let text = |text: &str| Data::from([(RECORD_KEY.to_owned(), ByteString(text.as_bytes().to_vec()))]);
    for (what, data, new_authority) in [
        ("nothing", Data::new(), true),
        ("no JSON", text("\u{0}ff"), true),
        ("an empty record", text("{}"), true),
        ("another version", edited(&|record| record["version"] = 2.into()), true),
        ("a certificate that is none", edited(&|record| record["current"]["certificate"] = "x".into()), true),
        ("a leaf that is none", edited(&|record| record["leaf"]["certificate"] = "x".into()), false),
        ("another key for the leaf", edited(&|record| record["leaf"]["key"] = other["leaf"]["key"].clone()), false),
        ("another's leaf", edited(&|record| record["leaf"] = other["leaf"].clone()), false),
        (
            "another key for the authority, and no leaf",
            edited(&|record| {
                record["current"]["key"] = other["current"]["key"].clone();
                record["leaf"]["certificate"] = "x".into();
            }),
            true,
        ),
        ("no bundle for people", Data::from([(RECORD_KEY.to_owned(), good[RECORD_KEY].clone())]), false),
    ] {
        let mut kept = Kept { data: Some(data), ..Kept::new() };
        let identity = kept.at(start() + HOUR).clone();
        assert_eq!(kept.writes, 1, "{what}");
        assert_eq!(identity.ca_bundle != first.ca_bundle, new_authority, "{what}");
        signer(&identity, &kept, start() + HOUR);
        kept.at(start() + 2 * HOUR);
        assert_eq!(kept.writes, 1, "{what}: kept from then on");
    }
}

#[test]
fn after_years_without_an_operator_it_begins_anew() {
    let mut kept = Kept::new();
    let first = kept.at(start()).clone();
    let now = start() + 10 * times().lifetime;
    let identity = kept.at(now).clone();
    assert!(!bundle(&identity).contains(&bundle(&first)[0]));
    signer(&identity, &kept, now);
}

#[test]
fn a_clock_that_was_set_back_gets_a_certificate_that_is_valid_now() {
    let mut kept = Kept::new();
    let first = kept.at(start()).clone();
    let back = start() - 10 * DAY;
    let identity = kept.at(back).clone();
    assert_eq!(identity.ca_bundle, first.ca_bundle);
    signer(&identity, &kept, back);
}

#[test]
fn nothing_secret_is_shown() {
    let mut kept = Kept::new();
    let shown = format!("{:?}", kept.at(start()));
    assert!(shown.contains("***") && shown.len() < 100, "{shown}");
    let shown = format!("{:?}", next(None, start(), &times()).unwrap());
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// However irregularly it is looked at, as long as nobody sleeps through a whole renewal.
    #[test]
    fn at_every_instant_the_certificate_is_valid_and_its_signer_was_published_in_time(
        steps in prop::collection::vec((0_u64..15 * 86_400, any::<bool>()), 80)
    ) {
        let (mut kept, mut now) = (Kept::new(), start());
        let mut seen: BTreeMap<String, SystemTime> = BTreeMap::new();
        for (seconds, punctual) in steps {
            let other = next(kept.data.as_ref(), now, &times()).unwrap();
            let before = kept.data.clone();
            let identity = kept.at(now).clone();
            match other {
                Decision::Keep { identity: same, .. } => prop_assert!(same == identity && before == kept.data),
                Decision::Write { identity: other, .. } => {
                    prop_assert!(before != kept.data);
                    prop_assert_eq!(bundle(&other).len(), bundle(&identity).len());
                    // The one that comes late with its write looks again, and takes what the other wrote.
                    let again = next(kept.data.as_ref(), now, &times()).unwrap();
                    let keeps = matches!(again, Decision::Keep { identity: same, .. } if same == identity);
                    prop_assert!(keeps);
                }
            }
            for authority in bundle(&identity) {
                seen.entry(authority).or_insert(now);
            }
            let published = seen[&signer(&identity, &kept, now)];
            prop_assert!(published == start() || published + times().publish_ahead <= now);
            prop_assert!(bundle(&identity).len() <= 3);
            now = if punctual { kept.due } else { now + Duration::from_secs(seconds) };
        }
    }
}

#[test]
fn times_that_keep_no_authority_going_are_refused_with_what_would_do() {
    let secs = Duration::from_secs;
    for (lifetime, publish_ahead, least) in
        [(secs(35), secs(1), "36s"), (4 * HOUR - secs(1), HOUR, "4h"), (HOUR, Duration::MAX, "")]
    {
        let error = AuthorityTimes::of(lifetime, publish_ahead).unwrap_err().to_string();
        assert!(error.contains(&format!("at least {least}")), "{error}");
    }
    for (lifetime, publish_ahead) in [(secs(36), secs(9)), (secs(36), Duration::ZERO), (365 * DAY, HOUR)] {
        let times = AuthorityTimes::of(lifetime, publish_ahead).unwrap();
        assert!(times.renew_before >= publish_ahead * 2 && times.renew_before * 2 <= lifetime, "{times:?}");
        assert!(times.leaf_lifetime >= secs(3), "{times:?}");
    }
}
