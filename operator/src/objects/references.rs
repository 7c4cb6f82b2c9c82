//! Secrets and ConfigMaps that PortForwards name, to volumes: the kubelet reads them, the operator never does. Each is
//! optional, so that one that is missing stops its own forward and not the pod. Suspended forwards keep theirs: taking
//! one up again must roll no pods.

use std::collections::BTreeSet;

use fairlead_api::{ConfigMapSource, Hop, PortForward, SecretSource};
use fairlead_config::digest;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMapVolumeSource, SecretVolumeSource, Volume, VolumeMount},
};

use super::Member;

pub use fairlead_api::render::{CONFIG_MAPS_DIR, SECRETS_DIR};

/// What a proxy mounts besides its configuration, by name, of its own namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    Secret(String),
    ConfigMap(String),
}

/// Collects what the members name.
pub fn references(members: &[Member<'_>]) -> BTreeSet<Reference> {
    members.iter().flat_map(|member| references_of(member.object)).collect()
}

/// Collects what the pods of a gateway mount, but for its configuration.
pub fn mounted(deployment: &Deployment) -> BTreeSet<Reference> {
    let spec = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
    let reference = |volume: &Volume| {
        let secret = volume.secret.as_ref().and_then(|source| source.secret_name.clone()).map(Reference::Secret);
        let config_map = || volume.config_map.as_ref().map(|source| Reference::ConfigMap(source.name.clone()));
        secret.or_else(config_map).filter(|reference| reference.volume_name() == volume.name)
    };
    volumes.filter_map(reference).collect()
}

/// Lists what one PortForward names.
pub(crate) fn references_of(object: &PortForward) -> impl Iterator<Item = Reference> + '_ {
    let spec = &object.spec;
    let server = spec.server.iter().flat_map(|server| [&server.users, &server.host_key]).flatten();
    let listener = spec.tls.iter().map(|tls| &tls.certificate);
    server.chain(listener).map(secret).chain(spec.chain.iter().flat_map(of_hop))
}

impl Reference {
    /// The directory in which its keys are files.
    pub fn path(&self) -> String {
        match self {
            Self::Secret(name) => format!("{SECRETS_DIR}/{name}"),
            Self::ConfigMap(name) => format!("{CONFIG_MAPS_DIR}/{name}"),
        }
    }

    /// What it is, for people: `Secret "bastion"`.
    pub fn said(&self) -> String {
        match self {
            Self::Secret(name) => format!("Secret {name:?}"),
            Self::ConfigMap(name) => format!("ConfigMap {name:?}"),
        }
    }

    /// The name of its volume: names of Secrets may have dots and 253 characters, those of volumes may not.
    pub fn volume_name(&self) -> String {
        let (kind, name) = match self {
            Self::Secret(name) => ("secret", name),
            Self::ConfigMap(name) => ("configmap", name),
        };
        // The same in every version, or an upgrade would roll pods.
        format!("{kind}-{}", digest(name))
    }

    pub(crate) fn volume(&self) -> Volume {
        let volume = Volume { name: self.volume_name(), ..Volume::default() };
        match self {
            Self::Secret(name) => {
                let source = SecretVolumeSource { secret_name: Some(name.clone()), ..SecretVolumeSource::default() };
                Volume { secret: Some(SecretVolumeSource { optional: Some(true), ..source }), ..volume }
            }
            Self::ConfigMap(name) => {
                let source = ConfigMapVolumeSource { name: name.clone(), ..ConfigMapVolumeSource::default() };
                Volume { config_map: Some(ConfigMapVolumeSource { optional: Some(true), ..source }), ..volume }
            }
        }
    }

    pub(super) fn mount(&self) -> VolumeMount {
        VolumeMount {
            name: self.volume_name(),
            mount_path: self.path(),
            read_only: Some(true),
            ..VolumeMount::default()
        }
    }
}

fn of_hop(hop: &Hop) -> impl Iterator<Item = Reference> + '_ {
    let (ssh, tls) = (hop.ssh.iter(), hop.tls.iter());
    let secrets = hop.credentials.iter().chain(tls.clone().filter_map(|tls| tls.certificate.as_ref()));
    let config_maps = ssh.filter_map(|ssh| ssh.known_hosts.as_ref()).chain(tls.filter_map(|tls| tls.ca.as_ref()));
    secrets.map(secret).chain(config_maps.map(config_map))
}

fn secret(source: &SecretSource) -> Reference {
    Reference::Secret(source.secret_ref.name.clone())
}

fn config_map(source: &ConfigMapSource) -> Reference {
    Reference::ConfigMap(source.config_map_ref.name.clone())
}
