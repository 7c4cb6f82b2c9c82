//! Where manifests come from: files, directories, standard input; from paths to texts. Reads, and judges nothing.
//! Whatever can be read only once (standard input, a pipe) is read at the start and kept.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The largest text that is read, in bytes.
pub(crate) const TEXT_LIMIT: u64 = 4 << 20;

/// One argument of `run` or `check`.
#[derive(Debug)]
pub(crate) enum Origin {
    File(PathBuf),
    Directory(PathBuf),
    Once(Text),
}

/// One manifest text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// How messages call it: a path, or `standard input`.
    pub(crate) name: String,
    pub(crate) text: String,
    /// One of several of a directory: it needs no PortForward of its own, and may come and go.
    pub(crate) of_directory: Option<PathBuf>,
}

/// What could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The file, or the directory that could not be listed.
    pub(crate) name: String,
    /// In one line, with the name.
    pub(crate) problem: String,
}

/// Everything the origins hold at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) texts: Vec<Text>,
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Origin {
    /// Finds out what an argument is; the error says why nothing can be read there.
    pub(crate) fn of(path: &Path) -> Result<Self, String> {
        if path.as_os_str() == "-" {
            return once("standard input", io::stdin());
        }
        // Not repeated: it may hold a password.
        if path.to_string_lossy().contains("://") {
            return Err(
                "a URL stands where a manifest was expected; fairlead convert -L makes a manifest of it".to_owned()
            );
        }
        let complain = |error: &io::Error| problem(&path.display().to_string(), error);
        let kind = fs::metadata(path).map_err(|error| complain(&error))?;
        if kind.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        if kind.is_file() {
            return Ok(Self::File(path.to_owned()));
        }
        once(&path.display().to_string(), File::open(path).map_err(|error| complain(&error))?)
    }

    /// The directories whose changes mean that the origin may have changed. A file may be a symbolic link, as the
    /// files of a mounted ConfigMap are.
    pub(crate) fn watched(&self) -> Vec<PathBuf> {
        match self {
            Self::File(path) => directories_of(path),
            Self::Directory(path) => vec![path.clone()],
            Self::Once(_) => Vec::new(),
        }
    }
}

/// The directory a file is in, and the one it really is in.
pub(crate) fn directories_of(file: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut directories = vec![parent(file)];
    directories.extend(fs::canonicalize(file).ok().map(|real| parent(&real)));
    directories
}

/// Reads a text file of at most [`TEXT_LIMIT`] bytes; the error names the file.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    let name = path.display().to_string();
    limited(&name, File::open(path).map_err(|error| problem(&name, &error))?)
}

/// Reads every origin as it is now.
pub(crate) fn snapshot(origins: &[Origin]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for origin in origins {
        match origin {
            Origin::File(path) => snapshot.take(path, None),
            Origin::Directory(path) => snapshot.take_directory(path),
            Origin::Once(text) => snapshot.texts.push(text.clone()),
        }
    }
    snapshot
}

impl Snapshot {
    fn take(&mut self, path: &Path, of_directory: Option<&Path>) {
        let name = path.display().to_string();
        match read_text(path) {
            Ok(text) => self.texts.push(Text { name, text, of_directory: of_directory.map(Path::to_owned) }),
            Err(problem) => self.unreadable.push(Unreadable { name, problem }),
        }
    }

    fn take_directory(&mut self, directory: &Path) {
        let names =
            fs::read_dir(directory).and_then(|entries| entries.map(|e| Ok(e?.path())).collect::<io::Result<Vec<_>>>());
        let mut files: Vec<PathBuf> = match names {
            Ok(paths) => paths.into_iter().filter(|path| is_manifest(path)).collect(),
            Err(error) => {
                let name = directory.display().to_string();
                let problem = problem(&name, &error);
                return self.unreadable.push(Unreadable { name, problem });
            }
        };
        files.sort();
        for file in files {
            // A directory named `x.yaml` is nobody's mistake; a dangling link is read, and complained about.
            if !file.is_dir() {
                self.take(&file, Some(directory));
            }
        }
    }
}

/// Whether a file of a directory is read: by its ending, and not hidden (editors keep such files while saving).
fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !hidden
        && path
            .extension()
            .is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

fn once(name: &str, from: impl Read) -> Result<Origin, String> {
    let text = limited(name, from)?;
    Ok(Origin::Once(Text { name: name.to_owned(), text, of_directory: None }))
}

fn limited(name: &str, from: impl Read) -> Result<String, String> {
    let mut text = String::new();
    from.take(TEXT_LIMIT + 1).read_to_string(&mut text).map_err(|error| problem(name, &error))?;
    if text.len() as u64 > TEXT_LIMIT {
        return Err(format!("{name}: larger than {} MiB; split it", TEXT_LIMIT >> 20));
    }
    Ok(text)
}

fn problem(name: &str, error: &io::Error) -> String {
    let name: String =
        if name.chars().count() > 200 { name.chars().take(200).chain(['…']).collect() } else { name.to_owned() };
    let known = [
        (io::ErrorKind::NotFound, "no such file or directory"),
        (io::ErrorKind::PermissionDenied, "no right to read it"),
        (io::ErrorKind::InvalidData, "is not text in UTF-8"),
        (io::ErrorKind::InvalidFilename, "the name is too long for a file"),
    ];
    match known.into_iter().find(|(kind, _)| *kind == error.kind()) {
        Some((_, words)) => format!("{name}: {words}"),
        None => format!("{name}: {error}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_manifests_in_order_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", "c.JSON", ".hidden.yaml", "notes.txt", "a.yaml~"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        fs::create_dir(directory.path().join("d.yaml")).unwrap();
        let snapshot = snapshot(&[Origin::of(directory.path()).unwrap()]);
        let texts: Vec<_> = snapshot.texts.iter().map(|text| text.text.as_str()).collect();
        assert_eq!(texts, ["a.yaml", "b.yml", "c.JSON"]);
        assert_eq!(snapshot.unreadable, []);
    }

    #[test]
    fn what_can_not_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gone.yaml");
        assert!(Origin::of(&file).unwrap_err().contains("gone.yaml: no such file"));
        fs::write(&file, "a: 1").unwrap();
        let origins = [Origin::of(&file).unwrap(), Origin::of(directory.path()).unwrap()];
        fs::write(&file, [0xff, 0xfe]).unwrap();
        let bad = snapshot(&origins);
        assert_eq!(bad.unreadable.len(), 2);
        assert!(bad.unreadable[0].problem.contains("UTF-8"), "{bad:?}");
        fs::remove_file(&file).unwrap();
        fs::remove_dir(directory.path()).unwrap();
        let gone = snapshot(&origins);
        assert!(gone.texts.is_empty());
        assert_eq!(gone.unreadable[1].name, directory.path().display().to_string());
    }

    #[test]
    fn a_text_without_end_is_refused() {
        assert!(limited("noise", io::repeat(b'x')).unwrap_err().contains("larger than 4 MiB"));
    }

    #[test]
    fn a_linked_file_is_watched_in_both_directories() {
        let (links, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, file) = (links.path().join("a.yaml"), files.path().join("real.yaml"));
        fs::write(&file, "a: 1").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let real = fs::canonicalize(files.path()).unwrap();
        assert_eq!(directories_of(&link), [links.path().to_owned(), real]);
        assert_eq!(directories_of(Path::new("not-there.yaml")), [PathBuf::from(".")]);
    }
}
