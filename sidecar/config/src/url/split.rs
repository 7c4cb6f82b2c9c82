//! Cuts the text of a node URL into its raw parts, for the parser; nothing is decoded or judged here.
//! Invariant: one pass per separator, each part borrowed from the text.

/// The parts of `[scheme://][user[:pass]@][host]:port[/path][?query]` as they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawUrl<'a> {
    /// `None` where no `scheme://` was written.
    pub(super) scheme: Option<&'a str>,
    pub(super) userinfo: Option<&'a str>,
    pub(super) address: &'a str,
    /// Without the slashes at both ends.
    pub(super) path: &'a str,
    pub(super) query: &'a str,
}

/// Cuts `text`; a `://` behind the first separator belongs to a value.
pub(super) fn split(text: &str) -> RawUrl<'_> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if !scheme.contains([':', '/', '?', '@', '[', ']', ',', '#']) => (Some(scheme), rest),
        _ => (None, text),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (userinfo, address) = match authority.rsplit_once('@') {
        Some((userinfo, address)) => (Some(userinfo), address),
        None => (None, authority),
    };
    RawUrl { scheme, userinfo, address, path: path.trim_matches('/'), query }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_at_its_separators() {
        let none = RawUrl { scheme: None, userinfo: None, address: "", path: "", query: "" };
        for (text, want) in [
            ("", none),
            (":8080", RawUrl { address: ":8080", ..none }),
            (
                "tcp://:1/a:2,b:3?x=y",
                RawUrl { scheme: Some("tcp"), address: ":1", path: "a:2,b:3", query: "x=y", ..none },
            ),
            ("ss://u:p@ss@h:1", RawUrl { scheme: Some("ss"), userinfo: Some("u:p@ss"), address: "h:1", ..none }),
            (
                "tcp://[::1]:2//[::1]:22//?",
                RawUrl { scheme: Some("tcp"), address: "[::1]:2", path: "[::1]:22", ..none },
            ),
            ("h:1?path=http://x", RawUrl { address: "h:1", query: "path=http://x", ..none }),
            ("http://h:1?a=b?c/d@e", RawUrl { scheme: Some("http"), address: "h:1", query: "a=b?c/d@e", ..none }),
            ("://:1", RawUrl { scheme: Some(""), address: ":1", ..none }),
        ] {
            assert_eq!(split(text), want, "{text}");
        }
    }
}
