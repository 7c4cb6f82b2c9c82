//! What GitOps tools make of PortForwards and of our manifests: kstatus (Flux, `kubectl wait`-like tools), the Argo CD
//! health check, kustomize's name references, the examples.

mod examples;
mod health;
mod kustomize;
mod manifests;
mod situations;
