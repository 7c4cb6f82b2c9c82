//! On which line a field of a document stands, for messages about values that are good YAML but wrong.
//! Invariant: asked for any path it answers with the line of the nearest field around it; it never fails.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

/// Where the fields of one document stand.
#[derive(Debug, Default)]
pub struct Lines {
    /// The line of the whole text before the document's first.
    offset: usize,
    root: Option<Spanned<Node>>,
}

#[derive(Debug)]
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Scalar,
}

impl Lines {
    pub(super) fn read(document: &str, offset: usize) -> Self {
        Self { offset, root: serde_saphyr::from_str_with_options(document, super::options()).ok() }
    }

    /// Returns the line of a field such as `spec.targets[1].port`, counted from 1 in the whole text.
    pub fn of(&self, field: &str) -> Option<usize> {
        let root = self.root.as_ref()?;
        let mut line = root.referenced.line();
        let (mut node, mut rest) = (&root.value, field);
        while let Some((at, inner, behind)) = node.step(rest) {
            line = at;
            (node, rest) = (inner, behind);
        }
        usize::try_from(line).ok().map(|line| line + self.offset)
    }
}

impl Node {
    /// Goes one step of a path; returns the line, the value there and the path behind it.
    fn step<'a, 'p>(&'a self, path: &'p str) -> Option<(u64, &'a Self, &'p str)> {
        match self {
            Self::Map(entries) => entries.iter().find_map(|(key, value)| {
                let rest = path.strip_prefix(key.value.as_str())?;
                let at_end = rest.is_empty() || rest.starts_with(['.', '[']);
                at_end.then(|| (key.referenced.line(), &value.value, rest.strip_prefix('.').unwrap_or(rest)))
            }),
            Self::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item.referenced.line(), &item.value, rest.strip_prefix('.').unwrap_or(rest)))
            }
            Self::Scalar => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::yaml::each_document;

    #[test]
    fn a_field_s_line_is_that_of_its_key_or_of_the_nearest_field_around_it() {
        let text = "a: 1\n---\nspec:\n  targets:\n  - host: a\n    port: 1\n  - {host: b, port: 2}\n  chain: [\n    x]\n  a.b: 1\n  7: null\n";
        let document = each_document(text).last().unwrap();
        let lines = document.lines();
        for (field, want) in [
            ("", 3),
            ("kind", 3),
            ("spec", 3),
            ("spec.targets", 4),
            ("spec.targets[0]", 5),
            ("spec.targets[0].port", 6),
            ("spec.targets[0].service", 5),
            ("spec.targets[1].port", 7),
            ("spec.targets[9]", 4),
            ("spec.targets[x", 4),
            ("spec.chain[0]", 9),
            ("spec.a.b", 10),
            ("spec.7", 11),
            ("spec.[0]..", 3),
        ] {
            assert_eq!(lines.of(field), Some(want), "{field}");
        }
    }

    #[test]
    fn what_is_no_yaml_has_no_lines() {
        assert_eq!(each_document("a: [").last().unwrap().lines().of("a"), None);
    }
}
