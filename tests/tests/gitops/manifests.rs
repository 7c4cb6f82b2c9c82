//! The manifests for Argo CD and Flux: what they embed is what is shipped, and their values are ones the chart takes.

use fairlead_config::yaml;
use fairlead_tests::{chart::Helm, golden};
use serde_json::Value;

const ARGO_CD: &str = "deploy/gitops/argocd";
const SETTINGS: &str = "# The health check of PortForwards, for Argo CD's ConfigMap argocd-cm:
#   kubectl -n argocd patch configmap argocd-cm --patch-file argocd-cm.yaml
# Made from health.lua by the test `gitops`; see UPDATE_GOLDEN there.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
data:
  resource.customizations.health.fairlead.dev_PortForward: |
";

#[test]
fn the_settings_of_argo_cd_have_the_health_check() {
    let check = golden::read(&format!("{ARGO_CD}/health.lua"));
    let indented: String =
        check.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }).collect();
    let text = format!("{SETTINGS}{indented}");
    golden::assert_says(&format!("{ARGO_CD}/argocd-cm.yaml"), &text);
    let read: Value = yaml::from_str(&text).expect("YAML");
    assert_eq!(read["data"]["resource.customizations.health.fairlead.dev_PortForward"], check);
}

#[test]
fn the_values_for_argo_cd_and_flux_are_ones_that_the_chart_takes() {
    let Some(helm) = Helm::find_or_skip() else { return };
    let chart: Value = yaml::from_str(&golden::read("charts/fairlead/Chart.yaml")).expect("the chart");
    let application: Value = yaml::from_str(&golden::read(&format!("{ARGO_CD}/application.yaml"))).expect("YAML");
    let source = &application["spec"]["source"];
    helm.template(&source["helm"]["valuesObject"]).expect("Argo CD's values");
    assert_eq!((&source["chart"], &source["targetRevision"]), (&chart["name"], &chart["version"]));
    let flux = yaml::documents(&golden::read("deploy/gitops/flux/operator.yaml")).expect("YAML");
    let release = flux.iter().find(|object| object["kind"] == "HelmRelease").expect("a HelmRelease");
    helm.template(&release["spec"]["values"]).expect("Flux's values");
}

#[test]
fn flux_waits_for_the_kind_that_we_have() {
    let flux: Value = yaml::from_str(&golden::read("deploy/gitops/flux/portforwards.yaml")).expect("YAML");
    let checked = &flux["spec"]["healthChecks"][0];
    assert_eq!(checked["apiVersion"], fairlead_api::schema::API_VERSION);
    assert_eq!(checked["kind"], fairlead_api::schema::KIND);
}
