//! A forward said as one URL, to what the proxy runs.

use fairlead_config::{
    Forward, ForwardKey, Protocol, Scheme, SchemeError, Support,
    url::{NodeUrl, Role, UrlError, UrlErrors, UrlOption},
};

use super::{problems::Problems, server};
use crate::render::AcceptedReason;

/// Where the URL stands.
pub(super) const FIELD: &str = "spec.url";

/// Reads `spec.url`; key and digest are still empty.
pub(super) fn read(
    text: &str,
    has_chain: bool,
    warnings: &mut Vec<String>,
    problems: &mut Problems,
) -> Option<Forward> {
    let url = match NodeUrl::parse(text, Role::Listen) {
        Ok(url) => url,
        Err(errors) => {
            complain(FIELD, errors, problems);
            return None;
        }
    };
    warnings.extend(url.warnings());
    let scheme = supported(FIELD, url.scheme(), problems)?;
    if url.targets().is_empty() && !has_chain && url.scheme().needs_targets(None) {
        let message = format!(
            "scheme \"{scheme}\" needs a target: write it behind the '/', as in {scheme}://:5432/db.example:5432"
        );
        problems.add(AcceptedReason::InvalidURL, FIELD, message);
        return None;
    }
    Some(forward(&url, &scheme))
}

/// Adds everything that is wrong with the URL in `field`.
pub(super) fn complain(field: &str, errors: UrlErrors, problems: &mut Problems) {
    let is_known = problems.is_known(field);
    for error in errors {
        // The schema has said these already, in characters instead of bytes.
        if is_known && matches!(error, UrlError::Empty | UrlError::TooLong { .. }) {
            continue;
        }
        let is_unknown_word = matches!(
            &error,
            UrlError::Scheme(
                SchemeError::UnknownWord { .. }
                    | SchemeError::UnknownProtocol { .. }
                    | SchemeError::UnknownTransport { .. }
            )
        );
        let reason = if is_unknown_word { AcceptedReason::UnsupportedValue } else { AcceptedReason::InvalidURL };
        problems.add(reason, field, error);
    }
}

/// Returns the word a proxy knows the scheme by, if this version serves it.
pub(super) fn supported(field: &str, scheme: Scheme, problems: &mut Problems) -> Option<String> {
    if let Err(error) = scheme.check_support() {
        problems.add(AcceptedReason::UnsupportedValue, field, error);
    }
    // However it was written: tcp+tcp is the same.
    match scheme.support() {
        Support::Built => {
            let word = WORDS.into_iter().find(|(known, _)| *known == scheme.protocol()).map(|(_, word)| word);
            word.map(|word| with_transport(word, scheme))
        }
        Support::NotBuiltYet | Support::OutOfScope => None,
    }
}

/// The word of a protocol, with what carries it.
pub(super) fn with_transport(word: &str, scheme: Scheme) -> String {
    if scheme.is_over_ssh() { format!("{word}+ssh") } else { word.to_owned() }
}

/// The word of the protocol alone, whatever carries it.
pub(super) fn protocol_word(word: &str) -> &str {
    match word.parse::<Scheme>() {
        Ok(scheme) if scheme.is_over_ssh() => word.trim_end_matches("+ssh"),
        Ok(_) | Err(_) => word,
    }
}

/// What each protocol of a listener is called in a configuration.
const WORDS: [(Protocol, &str); 14] = [
    (Protocol::Tcp, "tcp"),
    (Protocol::Udp, "udp"),
    (Protocol::Rtcp, "rtcp"),
    (Protocol::Rudp, "rudp"),
    (Protocol::Auto, "auto"),
    (Protocol::Http, "http"),
    (Protocol::Relay, "relay"),
    (Protocol::Sni, "sni"),
    (Protocol::Socks4, "socks4"),
    (Protocol::Socks4a, "socks4a"),
    (Protocol::Socks5, "socks5"),
    (Protocol::Ss, "ss"),
    (Protocol::Ssu, "ssu"),
    (Protocol::Forward, "forward+ssh"),
];

fn forward(url: &NodeUrl, scheme: &str) -> Forward {
    let options = url.options();
    Forward {
        key: ForwardKey::local("", ""),
        digest: String::new(),
        scheme: scheme.to_owned(),
        listen: url.address().clone(),
        targets: url.targets().to_vec(),
        strategy: options.strategy(),
        max_fails: options.max_fails(),
        fail_timeout: options.duration(UrlOption::FailTimeout),
        ttl: options.duration(UrlOption::Ttl),
        dial_timeout: options.duration(UrlOption::Timeout),
        hedge_delay: options.duration(UrlOption::HedgeDelay),
        idle_timeout: options.duration(UrlOption::IdleTimeout),
        max_connections: options.count(UrlOption::MaxConnections),
        health_check: options.health_check(),
        chain: Vec::new(),
        server: server::of_url(url),
        tls: server::tls_of_url(url),
    }
}
