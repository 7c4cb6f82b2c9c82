//! Where a proxy finds the Secrets and ConfigMaps that PortForwards name: mounted in a pod, and on a laptop in memory
//! under names that no file has.

use super::Place;

/// Where Secrets are mounted, each under its name.
pub const SECRETS_DIR: &str = "/etc/fairlead/secrets";
/// Where ConfigMaps are mounted, each under its name.
pub const CONFIG_MAPS_DIR: &str = "/etc/fairlead/configmaps";

/// What begins the names of what is in memory.
const MEMORY: &str = "memory:";

/// The directory whose files are a Secret's keys.
pub fn secret_dir(place: Place, namespace: &str, name: &str) -> String {
    directory(place, SECRETS_DIR, "secrets", namespace, name)
}

/// The directory whose files are a ConfigMap's keys.
pub fn config_map_dir(place: Place, namespace: &str, name: &str) -> String {
    directory(place, CONFIG_MAPS_DIR, "configmaps", namespace, name)
}

fn directory(place: Place, mounted: &str, kind: &str, namespace: &str, name: &str) -> String {
    if place.is_in_a_cluster() { format!("{mounted}/{name}") } else { format!("{MEMORY}/{kind}/{namespace}/{name}") }
}
