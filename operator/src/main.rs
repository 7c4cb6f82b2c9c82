//! `fairlead-operator`: the command line of the control plane. Flags to a command, a command to an exit code.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};
use fairlead_config::HostPort;
use fairlead_operator::{
    authority::AuthorityTimes,
    commands::{self, InjectArgs},
    controller::{self, Keeper, Options},
    election::Terms,
    leader::{self, LeaseSettings},
    settings::Settings,
    telemetry::{self, Telemetry},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Runs PortForwards in a cluster: gateways, sidecars, and a status that is true.
#[derive(Debug, Parser)]
#[command(name = "fairlead-operator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch PortForwards and run them, until SIGTERM
    Run(RunArgs),
    /// Print the CustomResourceDefinition as YAML
    Crd,
    /// Put the sidecar into manifests of pods, Deployments, StatefulSets, DaemonSets, Jobs and CronJobs
    Inject(InjectArgs),
}

/// Flags of `run`. In a cluster the pod's ServiceAccount is used, elsewhere KUBECONFIG.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// What gateways and sidecars are made with; the chart writes it
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The image of gateways, where there is no settings file
    #[arg(long, value_name = "IMAGE", default_value = commands::IMAGE, conflicts_with = "settings")]
    image: String,
    /// Namespaces to watch, separated by commas; all of them if left out
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// The operator's own namespace, where its lease and its Secret are
    #[arg(long, env = "POD_NAMESPACE", default_value = "fairlead-system")]
    namespace: String,
    /// This operator among its replicas; the host's name if left out
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// The Lease that replicas compete for
    #[arg(long, value_name = "NAME", default_value = "fairlead-operator")]
    lease_name: String,
    /// The Secret that keeps the operator's certificates; it must exist, and may be empty
    #[arg(long, value_name = "NAME", default_value = "fairlead-operator-ca")]
    ca_secret: String,
    /// Life of the operator's certificate authority
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "8760h")]
    ca_lifetime: Duration,
    /// How long a new authority is published before it is used
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    ca_publish_ahead: Duration,
    /// Where /livez, /readyz and /metrics are served; without a host, on every address
    #[arg(long, value_name = "[HOST]:PORT", default_value = ":8080")]
    metrics_addr: HostPort,
    /// Form of the log lines on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Crd => commands::crd(&mut std::io::stdout().lock()),
        Command::Inject(args) => {
            let (mut input, mut out) = (std::io::stdin().lock(), std::io::stdout().lock());
            commands::inject(&args, &mut input, &mut out, &mut std::io::stderr().lock())
        }
        Command::Run(args) => log_to_stderr(args.log_format).and_then(|()| block_on(run(args))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place where the command speaks for itself")]
fn complain(message: &str) {
    eprintln!("fairlead-operator: {message}");
}

fn duration(text: &str) -> Result<Duration, String> {
    fairlead_config::duration::parse(text).map_err(|error| error.to_string())
}

fn log_to_stderr(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let installed = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("logging: {error}"))
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    let mut settings = match &args.settings {
        Some(path) => Settings::load(path)?,
        None => Settings::of_image(args.image.clone()),
    };
    settings.operator_namespace = Some(args.namespace.clone());
    let times = AuthorityTimes::of(args.ca_lifetime, args.ca_publish_ahead).context("--ca-lifetime")?;
    let telemetry = Arc::new(Telemetry::new());
    telemetry::serve(&args.metrics_addr, Arc::clone(&telemetry))
        .await
        .with_context(|| format!("--metrics-addr: listen on {}", args.metrics_addr))?;
    let config = kube::Config::infer().await.context("find the API server")?;
    let client = kube::Client::try_from(config.clone()).context("reach the API server")?;
    let stop = stop_on_signals()?;
    // A process that starts again under the same name is another one: what it left half written isn't known to it.
    let name = args.identity.clone().unwrap_or_else(host_name);
    let identity = format!("{name}-{:08x}", rand::random::<u32>());
    let lease = LeaseSettings {
        namespace: args.namespace.clone(),
        name: args.lease_name.clone(),
        terms: Terms::new(identity.clone()),
    };
    // The lease is given back only once nothing is written any more.
    let stop_leading = CancellationToken::new();
    let leader = Arc::new(leader::lead(client.clone(), lease, stop_leading.clone()));
    let keeper = Keeper {
        client: leader.client(config).context("reach the API server")?,
        leader: Arc::clone(&leader),
        namespace: args.namespace,
        secret: args.ca_secret,
        times,
    };
    let options = Options { client, identity, namespaces: args.watch_namespaces, settings };
    let done = controller::run(options, keeper, telemetry, stop).await;
    stop_leading.cancel();
    leader.released().await;
    done
}

fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending");
        stopping.cancel();
    });
    Ok(stop)
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
