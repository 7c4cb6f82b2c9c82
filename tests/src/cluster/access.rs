//! Ways to be somebody to the API server: kubeconfig files, and clients made of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::{ADMIN, ControlPlane, block_on, pki::Pki, runtime, unique};

impl ControlPlane {
    /// The kubeconfig of an administrator.
    pub fn kubeconfig_admin(&self) -> PathBuf {
        kubeconfig_file(self.directory(), ADMIN)
    }

    /// A kubeconfig with a new token of this ServiceAccount, good for an hour; its rights are what RBAC gives it.
    pub fn kubeconfig_for(&self, namespace: &str, service_account: &str) -> PathBuf {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let asked = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let token = block_on(accounts.create_token_request(service_account, &PostParams::default(), &asked));
        let token = token.unwrap_or_else(|error| panic!("a token of {namespace}/{service_account}: {error}"));
        let token = token.status.expect("the token").token;
        let file = kubeconfig_file(self.directory(), &format!("{namespace}-{service_account}-{}", unique()));
        write_kubeconfig(&file, &self.pki, self.port, json!({"token": token}));
        file
    }

    /// A client that is who the kubeconfig says.
    pub fn client_of(&self, kubeconfig: &Path) -> Client {
        let read = Kubeconfig::read_from(kubeconfig).expect("read the kubeconfig");
        let config = block_on(Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()));
        let _in_runtime = runtime().enter();
        Client::try_from(config.expect("a kubeconfig")).expect("a client")
    }
}

/// Makes the kubeconfig of a user who may do everything, with a certificate.
pub(super) fn write_master(directory: &Path, pki: &Pki, port: u16, file: &str, user: &str) {
    let identity = pki.master(file, user);
    let shown = json!({"client-certificate": identity.certificate, "client-key": identity.key});
    write_kubeconfig(&kubeconfig_file(directory, file), pki, port, shown);
}

pub(super) fn kubeconfig_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.kubeconfig"))
}

/// JSON is YAML too.
fn write_kubeconfig(file: &Path, pki: &Pki, port: u16, user: Value) {
    let cluster = json!({"server": format!("https://127.0.0.1:{port}"), "certificate-authority": pki.authority()});
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "tests", "user": user}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
    });
    fs::write(file, config.to_string()).expect("write a kubeconfig");
}
