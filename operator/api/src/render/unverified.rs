//! What a forward's hops leave unverified, for people who read the status: SOCKS5's own TLS is offered whenever the
//! server has it, and is verified only where something says by what.

use fairlead_config::{Forward, Hop};

/// One line about the hops whose certificate nobody checks; none where each is checked or none is shown.
pub(super) fn hops(forward: &Forward) -> Option<String> {
    let numbers = forward.chain.iter().zip(1..).filter(|(hop, _)| is_unverified(hop));
    let numbers: Vec<_> = numbers.map(|(_, number)| format!("hop {number}")).collect();
    (!numbers.is_empty()).then(|| {
        format!(
            "{}: TLS within SOCKS5, where the server offers it, is encrypted, not verified; write tls.serverName, \
             and tls.ca for an authority of your own",
            numbers.join(", ")
        )
    })
}

fn is_unverified(hop: &Hop) -> bool {
    let tls = hop.tls.clone().unwrap_or_default();
    let is_offered = hop.scheme == "socks5" && !hop.socks5.as_ref().is_some_and(|socks5| socks5.no_tls);
    is_offered && !tls.verify.unwrap_or(tls.ca.is_some() || tls.server_name.is_some())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fairlead_config::{ForwardKey, yaml};

    use super::*;

    #[test]
    fn only_tls_that_nobody_checks_is_named() {
        for (hop, want) in [
            ("{scheme: socks5, nodes: []}", true),
            ("{scheme: socks5, nodes: [], tls: {verify: false, ca: /c}}", true),
            ("{scheme: socks5, nodes: [], tls: {serverName: a}}", false),
            ("{scheme: socks5, nodes: [], tls: {ca: /c}}", false),
            ("{scheme: socks5, nodes: [], tls: {verify: true}}", false),
            ("{scheme: socks5, nodes: [], socks5: {noTLS: true}}", false),
            ("{scheme: http, nodes: []}", false),
        ] {
            let key = serde_json::to_string(&ForwardKey::local("a", "b")).unwrap();
            let text = format!(
                "{{key: {key}, digest: d, scheme: tcp, listen: {{port: 1}}, chain: [{{scheme: http, nodes: []}}, {hop}]}}"
            );
            let forward: Forward = yaml::from_str(&text).unwrap();
            let said = hops(&forward);
            assert_eq!(said.is_some_and(|said| said.starts_with("hop 2: ")), want, "{hop}");
        }
    }
}
