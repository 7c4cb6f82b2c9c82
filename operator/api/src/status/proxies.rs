//! How many proxies run an object, from their reports to `status.proxies` and the condition `Programmed`.
//! Invariant: once True for a generation, Programmed stays so while at least one proxy serves the object.

use fairlead_config::{ForwardReport, ForwardState, RefusedReason};

use super::{
    Observed,
    conditions::{Finding, Truth},
};
use crate::{PortForward, Proxies, render::Verdict};

/// The connected proxies by what they make of the object.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    desired: u32,
    ready: u32,
    connected: u32,
    /// Listening with the present rendering.
    programmed: u32,
    standby: u32,
    /// Listening, with whichever rendering.
    serving: u32,
    /// Reason and message of each that can't run the present rendering, sorted.
    troubles: Vec<(String, String)>,
    /// What those that stand by were told by the far end; the first one in order.
    told: Option<String>,
}

impl Tally {
    pub(super) fn of(verdict: &Verdict, observed: &Observed<'_>, reports: &[&ForwardReport]) -> Self {
        let connected = u32::try_from(observed.reports.len()).unwrap_or(u32::MAX);
        let mut tally = Self { desired: observed.desired, ready: observed.ready, connected, ..Self::default() };
        let digest = match verdict {
            Verdict::Accepted { digest, .. } => digest,
            Verdict::Suspended { .. } | Verdict::Refused { .. } => return tally,
        };
        for report in reports {
            tally.count(report, digest);
        }
        tally.troubles.sort();
        tally
    }

    pub(super) fn proxies(&self, observed: &Observed<'_>) -> Proxies {
        Proxies {
            desired: observed.desired,
            connected: self.connected,
            programmed: self.programmed,
            standby: self.standby,
        }
    }

    fn count(&mut self, report: &ForwardReport, digest: &str) {
        // A proxy that can't read a forward may not even find its digest.
        let is_present = report.digest == digest || (report.digest.is_empty() && report.state == ForwardState::Refused);
        self.serving += u32::from(report.state == ForwardState::Listening);
        if !is_present {
            // It goes on with the last rendering that it could run, and says of the present one why it can't.
            self.troubles.extend(refuses_the_present(report).then(|| trouble(report)));
            return;
        }
        match report.state {
            ForwardState::Listening => self.programmed += 1,
            ForwardState::Standby => {
                self.standby += 1;
                self.told = self.told.take().into_iter().chain(report.message.clone()).min();
            }
            ForwardState::Failed | ForwardState::Refused => self.troubles.push(trouble(report)),
            ForwardState::Unknown => {}
        }
    }

    fn everyone_runs_it(&self, stands_by: bool) -> bool {
        let settled = self.programmed + if stands_by { self.standby } else { 0 };
        self.programmed > 0 && settled >= self.ready.max(self.connected)
    }
}

/// Whether the proxies run the present generation.
pub(super) fn programmed(object: &PortForward, verdict: &Verdict, observed: &Observed<'_>, tally: &Tally) -> Finding {
    let effective = match verdict {
        Verdict::Accepted { effective, .. } => effective,
        Verdict::Suspended { .. } => {
            let message = "suspended: no proxy runs it; set suspend to false to resume";
            return Finding::new(Truth::True, "Suspended", message);
        }
        Verdict::Refused { reason, .. } => {
            let message = format!("no proxy runs it, since it is not accepted ({reason})");
            return Finding::new(Truth::False, "Pending", message);
        }
    };
    if let Some(finding) = without_proxies(object, observed, tally) {
        return finding;
    }
    let scheme = effective.scheme.as_deref().unwrap_or_default();
    let is_remote = scheme.starts_with("rtcp") || scheme.starts_with("rudp");
    let goes_on = tally.serving > 0 && was_programmed(object);
    if tally.everyone_runs_it(is_remote) || goes_on {
        let listen = effective.listen.as_deref().unwrap_or_default();
        return Finding::new(Truth::True, "Programmed", format!("listening on {listen}"));
    }
    match observed.unreachable {
        Some(why) if tally.troubles.is_empty() && tally.ready > tally.connected => {
            Finding::new(Truth::Unknown, "ProxyUnreachable", why)
        }
        Some(_) | None => not_yet(tally, is_remote),
    }
}

fn without_proxies(object: &PortForward, observed: &Observed<'_>, tally: &Tally) -> Option<Finding> {
    if tally.connected > 0 {
        return None;
    }
    match (&object.spec.sidecar, observed.unreachable, observed.missing) {
        (Some(sidecar), _, _) if tally.desired == 0 => {
            let message =
                format!("no pod is labelled fairlead.dev/sidecar={}; it runs as soon as there is one", sidecar.name);
            Some(Finding::new(Truth::True, "NoPods", message))
        }
        (_, Some(why), _) if tally.ready > 0 => Some(Finding::new(Truth::Unknown, "ProxyUnreachable", why)),
        (_, _, Some(why)) => Some(Finding::new(Truth::False, "NoProxies", why)),
        (_, _, None) => Some(Finding::new(Truth::False, "NoProxies", "no proxy is ready to run it")),
    }
}

fn not_yet(tally: &Tally, is_remote: bool) -> Finding {
    let Tally { connected, programmed, .. } = *tally;
    let all = tally.ready.max(connected);
    let share = format!("{programmed} of {all} proxies run this generation");
    match tally.troubles.first() {
        Some((_, message)) if programmed > 0 => {
            Finding::new(Truth::False, "PartiallyProgrammed", format!("{share}; another one: {message}"))
        }
        Some((reason, message)) => Finding::new(Truth::False, reason, message),
        None if programmed > 0 => Finding::new(Truth::False, "PartiallyProgrammed", share),
        None if is_remote && tally.standby > 0 && tally.standby >= all => {
            let told = tally.told.as_deref().map(|told| format!(" ({told})")).unwrap_or_default();
            let message =
                format!("every proxy stands by: somebody else holds the far end's port, or it may not be had{told}");
            Finding::new(Truth::False, "BindRefused", message)
        }
        None => Finding::new(Truth::False, "Pending", share),
    }
}

/// Files have no generation; there, one proxy answers for itself.
fn was_programmed(object: &PortForward) -> bool {
    let generation = object.metadata.generation;
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    generation.is_some()
        && conditions.iter().any(|c| {
            (c.type_.as_str(), c.status.as_str(), c.reason.as_str()) == ("Programmed", "True", "Programmed")
                && c.observed_generation == generation
        })
}

/// Reason and message of a proxy that can't run the object; a reason that no condition could carry is `ListenFailed`.
fn trouble(report: &ForwardReport) -> (String, String) {
    let reason = report.reason.clone().filter(|reason| is_reason(reason)).unwrap_or_else(|| "ListenFailed".to_owned());
    let message = report.message.clone().unwrap_or_else(|| "the proxy doesn't say why".to_owned());
    (reason, message)
}

/// Whether a proxy that runs an earlier rendering has seen the present one.
fn refuses_the_present(report: &ForwardReport) -> bool {
    let goes_on = [ForwardState::Listening, ForwardState::Standby].contains(&report.state);
    report.reason.as_deref().is_some_and(|reason| goes_on || reason == RefusedReason::ProxyTooOld.as_str())
}

fn is_reason(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
}
