//! What users write: PortForwards on shared gateways, spread over namespaces. From the options to the API server.

use anyhow::{Context, Result};
use fairlead_api::PortForward;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use super::Options;

/// Gateways of one namespace.
const GATEWAYS: u32 = 10;
/// Requests under way.
const AT_ONCE: usize = 8;
/// The first listening port of a gateway.
const FIRST_PORT: u32 = 10_000;

/// Makes the namespaces. Without controllers nobody else makes the ServiceAccount that a Pod must have.
pub(super) async fn make_namespaces(client: &Client, options: &Options) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for proxy in (0..options.proxies).step_by(GATEWAYS as usize) {
        let name = namespace(proxy);
        let object = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        namespaces.create(&PostParams::default(), &object).await.with_context(|| format!("namespace {name}"))?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        let account = serde_json::from_value(json!({"metadata": {"name": "default"}}))?;
        accounts.create(&PostParams::default(), &account).await.with_context(|| format!("an account of {name}"))?;
    }
    Ok(())
}

/// Creates every PortForward.
pub(super) async fn create(client: &Client, options: &Options) -> Result<()> {
    let create = |index| async move {
        let object = port_forward(index, options)?;
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let api: Api<PortForward> = Api::namespaced(client.clone(), &namespace);
        api.create(&PostParams::default(), &object).await.with_context(|| format!("PortForward {index}"))?;
        anyhow::Ok(())
    };
    stream::iter(0..options.forwards).map(create).buffer_unordered(AT_ONCE).try_collect().await
}

fn namespace(proxy: u32) -> String {
    format!("scale-{}", proxy / GATEWAYS)
}

fn port_forward(index: u32, options: &Options) -> Result<PortForward> {
    let proxy = index % options.proxies;
    let target = |letter: &str| json!({"host": format!("{letter}-{index}.databases.example"), "port": 5432});
    Ok(serde_json::from_value(json!({
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward",
        "metadata": {
            "name": format!("forward-{index}"), "namespace": namespace(proxy), "labels": {"team": "databases"},
        },
        "spec": {
            "scheme": "tcp", "listen": {"port": FIRST_PORT + index / options.proxies},
            "targets": [target("a"), target("b")], "strategy": "fifo", "maxFails": 2, "failTimeout": "10s",
            "gateway": {"name": format!("edge-{proxy}")},
        },
    }))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;
    use std::collections::BTreeSet;

    #[test]
    fn every_gateway_gets_its_share_and_no_two_of_it_the_same_port() {
        let options = Options::parse_from(["scale", "--forwards", "60", "--proxies", "20"]);
        let all: Vec<_> = (0..60).map(|index| port_forward(index, &options).unwrap()).collect();
        let gateway = |object: &PortForward| object.spec.gateway.clone().unwrap().name.unwrap();
        let listeners: BTreeSet<_> =
            all.iter().map(|object| (gateway(object), object.spec.listen.clone().unwrap().port)).collect();
        assert_eq!(listeners.len(), 60);
        assert_eq!(all.iter().map(gateway).collect::<BTreeSet<_>>().len(), 20);
        let namespaces: BTreeSet<_> = all.iter().map(|object| object.metadata.namespace.clone()).collect();
        assert_eq!(namespaces.len(), 2);
    }
}
