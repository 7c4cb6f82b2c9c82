//! Files that are made from the sources and kept in the repository: compared, or rewritten with `UPDATE_GOLDEN=1`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// A file of the repository, by its path from the root.
pub fn file(path: &str) -> PathBuf {
    repository().join(path)
}

/// The text of a file of the repository.
pub fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Panics, naming the first line that differs, unless the file says exactly this; with `UPDATE_GOLDEN` set, writes it.
pub fn assert_says(path: &str, wanted: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file(path), wanted).unwrap_or_else(|error| panic!("write {path}: {error}"));
        return;
    }
    let present = fs::read_to_string(file(path)).unwrap_or_default();
    if present == wanted {
        return;
    }
    let mut lines = present.lines().zip(wanted.lines()).enumerate();
    let difference = lines.find(|(_, (a, b))| a != b).map_or_else(
        || format!("{} lines instead of {}", present.lines().count(), wanted.lines().count()),
        |(index, (a, b))| format!("line {}:\n  has   {a}\n  wants {b}", index + 1),
    );
    panic!(
        "{path} isn't what the sources make ({difference}). Run the test with UPDATE_GOLDEN=1 and read the difference"
    );
}
