//! The flags of a command line, from texts to node URLs and the names of the objects they become.

use std::collections::BTreeMap;

use fairlead_config::url::{NodeUrl, Role, UrlErrors};

/// All flags, understood.
pub(super) struct Flags {
    pub(super) listen: Vec<NodeUrl>,
    /// One per `-L`.
    pub(super) names: Vec<String>,
    pub(super) forward: Vec<NodeUrl>,
}

impl Flags {
    /// Reads every flag, or finds every problem of all of them.
    pub(super) fn parse(listen: &[String], forward: &[String]) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        if listen.is_empty() {
            problems.push("-L: write at least one, as in -L tcp://:5432/db.example:5432".to_owned());
        }
        let listen: Vec<_> = listen.iter().map(|text| NodeUrl::parse(text, Role::Listen)).collect();
        let forward: Vec<_> = forward.iter().map(|text| NodeUrl::parse(text, Role::Hop)).collect();
        for (index, url) in listen.iter().enumerate() {
            let flag = format!("-L {}", index + 1);
            match url {
                Ok(url) => problems.extend(unfit(url, &forward).map(|problem| format!("{flag}: {problem}"))),
                Err(errors) => problems.extend(errors.iter().map(|error| format!("{flag}: {error}"))),
            }
        }
        for (index, errors) in forward.iter().enumerate().filter_map(|(index, url)| Some((index, url.as_ref().err()?)))
        {
            problems.extend(errors.iter().map(|error| format!("-F {}: {error}", index + 1)));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let listen: Vec<_> = listen.into_iter().flatten().collect();
        Ok(Self { names: names(&listen), listen, forward: forward.into_iter().flatten().collect() })
    }

    /// What the URLs warn of and their objects, which hold no password, no longer can.
    pub(super) fn url_warnings(&self) -> Vec<String> {
        let listen = self.listen.iter().map(|url| {
            let rendered = url.clone().without_secrets().warnings();
            url.warnings().into_iter().filter(|warning| !rendered.contains(warning)).collect()
        });
        let forward = self.forward.iter().map(NodeUrl::warnings).collect();
        [numbered("-L", listen.collect()), numbered("-F", forward)].concat()
    }
}

fn numbered(flag: &str, warnings: Vec<Vec<String>>) -> Vec<String> {
    let line = |(index, of_url): (usize, Vec<String>)| {
        of_url.into_iter().map(move |warning| format!("{flag} {}: {warning}", index + 1)).collect::<Vec<_>>()
    };
    warnings.into_iter().enumerate().flat_map(line).collect()
}

/// What a listener lacks that only the whole command line could give it; nothing while a hop isn't understood.
fn unfit(url: &NodeUrl, forward: &[Result<NodeUrl, UrlErrors>]) -> Option<String> {
    let scheme = url.scheme();
    let last_hop = match forward.last() {
        Some(Err(_)) => return None,
        Some(Ok(hop)) => Some(hop.scheme()),
        None => None,
    };
    if scheme.is_remote() && last_hop.is_none() {
        return Some(format!("scheme \"{scheme}\" listens at the far end of a chain: name the chain with -F"));
    }
    (url.targets().is_empty() && scheme.needs_targets(last_hop)).then(|| {
        format!("scheme \"{scheme}\" needs a target: write it behind the '/', as in {scheme}://:5432/db.example:5432")
    })
}

/// SCHEME-PORT, and a number behind the second and each further one.
fn names(urls: &[NodeUrl]) -> Vec<String> {
    let mut seen = BTreeMap::<String, u32>::new();
    let name = |url: &NodeUrl| {
        let name = format!("{}-{}", url.scheme(), url.address().port).replace('+', "-");
        let count = seen.entry(name.clone()).and_modify(|count| *count += 1).or_insert(1);
        if *count == 1 { name } else { format!("{name}-{count}") }
    };
    urls.iter().map(name).collect()
}
