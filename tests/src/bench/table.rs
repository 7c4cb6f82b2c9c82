//! Prints tables, aligned for a terminal or as Markdown.

/// How tables are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Markdown,
}

impl Style {
    /// A word that must not be overlooked.
    pub(crate) fn strong(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_uppercase(),
            Self::Markdown => format!("**{text}**"),
        }
    }

    /// A heading of the second level.
    pub(crate) fn heading(self, text: &str) -> String {
        match self {
            Self::Plain => format!("\n== {text}\n"),
            Self::Markdown => format!("\n## {text}\n\n"),
        }
    }
}

/// A table whose rows have as many cells as its header.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Begins a table.
    pub(crate) fn new(header: Vec<String>) -> Self {
        Self { rows: vec![header] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The whole table, each line ended.
    pub(crate) fn print(&self, style: Style) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for (index, cells) in self.rows.iter().enumerate() {
            text += &line(cells, &widths, style);
            if index == 0 {
                text += &rule(&widths, style);
            }
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

fn line(cells: &[String], widths: &[usize], style: Style) -> String {
    let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    match style {
        Style::Plain => format!("{}\n", padded.join("  ").trim_end()),
        Style::Markdown => format!("| {} |\n", padded.join(" | ")),
    }
}

fn rule(widths: &[usize], style: Style) -> String {
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(&dashes, widths, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_in_both_styles() {
        let mut table = Table::new(vec!["who".to_owned(), "GB/s".to_owned()]);
        table.row(vec!["fairlead".to_owned(), "2.1".to_owned()]);
        table.row(vec!["µ".to_owned(), "–".to_owned()]);
        let plain = "who       GB/s\n--------  ----\nfairlead  2.1\nµ         –\n";
        assert_eq!(table.print(Style::Plain), plain);
        let markdown = "| who      | GB/s |\n| -------- | ---- |\n| fairlead | 2.1  |\n| µ        | –    |\n";
        assert_eq!(table.print(Style::Markdown), markdown);
    }
}
