//! What the kubelet does for a pod's volumes: each ConfigMap and Secret is a directory of files that follows the
//! object, some time behind it, and changes in one rename. An object that goes away leaves its files.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Volume};
use kube::{Api, runtime::watcher};
use tokio::task::JoinHandle;

use super::{
    block_on,
    objects::{Kind, Objects},
    runtime,
};

/// When a changed object reaches the files of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounting {
    /// This long after the change; a kubelet takes up to 90 s.
    After(Duration),
    /// Not before the pod's end: what it has at its start is what it keeps.
    AtStart,
}

type Files = BTreeMap<String, Vec<u8>>;

/// The volumes of one pod; dropping them stops the following.
pub(super) struct Volumes {
    directory: PathBuf,
    tasks: Vec<JoinHandle<()>>,
}

impl Volumes {
    /// Lays the volumes out as they are now, and follows them.
    pub(super) fn mount(namespace: &Objects, pod: &Pod, directory: PathBuf, mounting: Mounting) -> Self {
        let mut volumes = Self { directory, tasks: Vec::new() };
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            volumes.add(namespace, volume, mounting);
        }
        volumes
    }

    /// Where a volume's files are.
    pub(super) fn directory(&self, volume: &str) -> PathBuf {
        self.directory.join(volume)
    }

    fn add(&mut self, namespace: &Objects, volume: &Volume, mounting: Mounting) {
        let directory = self.directory(&volume.name);
        fs::create_dir_all(&directory).expect("make a volume");
        if let Some(source) = &volume.config_map {
            self.follow(namespace, &source.name, (directory, mounting), config_map_files);
        } else if let Some(name) = volume.secret.as_ref().and_then(|source| source.secret_name.as_ref()) {
            self.follow(namespace, name, (directory, mounting), secret_files);
        }
    }

    fn follow<K: Kind + Send + Sync + 'static>(
        &mut self,
        namespace: &Objects,
        name: &str,
        (directory, mounting): (PathBuf, Mounting),
        files: fn(K) -> Files,
    ) {
        let api: Api<K> = namespace.api();
        // What can't be read now comes later, as for a kubelet whose API server is away.
        let present = block_on(api.get_opt(name)).ok().flatten().map(files);
        if let Some(files) = &present {
            swap(&directory, 0, files);
        }
        let objects = watcher::watch_object(api, name).filter_map(async |object| object.ok().flatten());
        match mounting {
            Mounting::After(delay) => {
                let changes = objects.map(files).boxed();
                self.tasks.push(runtime().spawn(follow(directory, present, changes, delay)));
            }
            // A pod doesn't start before the objects it needs are there.
            Mounting::AtStart => {
                if present.is_none() {
                    let first = objects.map(files).take(1).boxed();
                    self.tasks.push(runtime().spawn(follow(directory, None, first, Duration::ZERO)));
                }
            }
        }
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn follow(
    directory: PathBuf,
    mut present: Option<Files>,
    mut changes: impl Stream<Item = Files> + Unpin,
    delay: Duration,
) {
    let mut version = 0;
    while let Some(files) = changes.next().await {
        if present.as_ref() != Some(&files) {
            tokio::time::sleep(delay).await;
            version += 1;
            swap(&directory, version, &files);
            present = Some(files);
        }
    }
}

fn config_map_files(map: ConfigMap) -> Files {
    map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes())).collect()
}

fn secret_files(secret: Secret) -> Files {
    secret.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)).collect()
}

/// Each file is a link into `..data`, which is a link to a directory per version and changes in one rename.
fn swap(directory: &Path, version: u32, files: &Files) {
    let data = format!("..version_{version}");
    fs::create_dir(directory.join(&data)).expect("make the version's directory");
    for (name, bytes) in files {
        fs::write(directory.join(&data).join(name), bytes).expect("write a file");
    }
    symlink(&data, directory.join("..data_tmp")).expect("link the version");
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).expect("swap the versions");
    for name in files.keys().filter(|name| !directory.join(name).is_symlink()) {
        symlink(Path::new("..data").join(name), directory.join(name)).expect("link a file");
    }
    let entries = fs::read_dir(directory).expect("read a volume").flatten();
    let gone = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        !name.starts_with("..") && !files.contains_key(&name)
    });
    gone.for_each(|entry| fs::remove_file(entry.path()).expect("remove a link"));
}
