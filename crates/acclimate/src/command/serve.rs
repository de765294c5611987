//! `acclimate serve`: scores over HTTP from a registry.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use acclimate::ExperimentError;
use acclimate::serving::PublishedLoader;
use acclimate_registry::{Name, Registry};
use acclimate_serve::api::{At, Service};
use acclimate_serve::engine::{Engine, EngineConfig};
use acclimate_serve::http::{Server, ServerConfig};
use anyhow::Context;

use super::Global;
use super::registry::Trusting;
use super::shared::print;

/// Answer requests from a registry: scores of a base or of any patch of it, adapted in the request
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  acclimate serve --root registry\n  acclimate serve --root registry --base films --catalogue dataset.toml --listen 127.0.0.1:9000\n\n\
        A request to the base: curl -s localhost:8787/v1/score -d '{\"user\": \"u7\", \"items\": [\"i1\", \"i2\"], \"features\": {\"domain\": \"source_1\"}}'\n\
        To the patch that a domain is routed to: '{\"user\": \"u7\", \"domain\": \"target\", \"items\": [\"i1\", \"i2\"]}'\n\
        GET /docs shows every route. The server ends at SIGTERM or Ctrl-C, once it has answered what waits."
)]
pub(crate) struct Args {
    /// Folder of the registry.
    #[arg(long, default_value = "registry", value_name = "FOLDER")]
    root: PathBuf,
    #[command(flatten)]
    trusting: Trusting,
    /// A base to serve, `NAME`, `NAME@ALIAS` or `NAME@vN`; may be repeated. Default: all, each at `champion`, or at its latest version without one.
    #[arg(long = "base", value_name = "BASE")]
    bases: Vec<String>,
    /// Address to listen on; may be repeated. Default 127.0.0.1:8787.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<SocketAddr>,
    /// A data-set file: its users and items need only be named in requests.
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// Folder of events and feature states.
    #[arg(long, default_value = "state", value_name = "FOLDER")]
    state: PathBuf,
    /// A file of keys with their tenants and roles; without one, whoever reaches the server may ask, and only addresses of this machine are taken.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Address of the operator's routes.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// File that logs denials and what the operator does, each line bound to the one before.
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Settings of the server and the engine, as TOML; see docs/serving.md. Options given here go before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Threads that score; default one a core.
    #[arg(long, value_name = "N")]
    executors: Option<usize>,
    /// Mebibytes of patches in memory; what has not been asked for longest is let go first.
    #[arg(long, value_name = "MIB")]
    patch_memory: Option<usize>,
    /// Score on the plain device, without compiled plans: slower, to compare with.
    #[arg(long)]
    plain_device: bool,
}

pub(crate) fn run(_: &Global, args: Args) -> anyhow::Result<()> {
    let registry = Registry::open(&args.root, args.trusting.settings(&args.root)?)?;
    let (mut server, mut engine) = match &args.config {
        Some(file) => settings(file)?,
        None => (ServerConfig::default(), EngineConfig::default()),
    };
    // The narrower of both holds.
    engine.rows = engine.rows.min(server.limits.rows);
    engine.support = engine.support.min(server.limits.support_rows);
    if !args.listen.is_empty() {
        server.listen.clone_from(&args.listen);
    }
    server.keys = args.keys.clone().or(server.keys);
    server.admin.listen = args.admin.or(server.admin.listen);
    server.audit = args.audit.clone().or(server.audit);
    if server.admin.token_file == ServerConfig::default().admin.token_file {
        server.admin.token_file = args.state.join("admin.token");
    }
    engine.bases = args.bases.iter().map(|base| base_of(base)).collect::<anyhow::Result<_>>()?;
    engine.state.clone_from(&args.state);
    engine.executors = args.executors.unwrap_or(engine.executors);
    engine.patch_bytes = args.patch_memory.map_or(engine.patch_bytes, |mib| mib << 20);
    let token = match server.admin.token_sha256 {
        None => format!("the token in {}", server.admin.token_file.display()),
        Some(_) => "the token whose SHA-256 its settings hold".to_owned(),
    };
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    std::fs::create_dir_all(&args.state).with_context(|| format!("{}", args.state.display()))?;
    let loader = PublishedLoader { on_device: args.plain_device, catalogue: args.catalogue.clone(), ..PublishedLoader::default() };
    let engine = Arc::new(Engine::start(registry, loader, engine)?);
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.context("the system gives no threads")?;
    let fresh = {
        let engine = engine.clone();
        std::thread::Builder::new().name("refresh".into()).spawn(move || engine.keep_fresh()).context("the system gives no thread")?
    };
    let stopped = runtime.block_on(async {
        let bound = Server::bind(server, engine.clone())?;
        let addresses: Vec<String> = bound.addresses().iter().map(|address| format!("{scheme}://{address}")).collect();
        let models: Vec<String> = engine.models().iter().map(|model| format!("{} {}", model.name, model.version)).collect();
        let first = addresses.first().map_or("", String::as_str);
        print(format_args!("serving {} on {}; every route: {first}/docs\n", models.join(", "), addresses.join(", ")))?;
        if let Some(address) = bound.admin_address() {
            print(format_args!("operator's routes on {scheme}://{address}, with {token}\n"))?;
        }
        anyhow::Ok(bound.run(ended()).await?)
    })?;
    engine.close();
    fresh.thread().unpark();
    let _ = fresh.join();
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(print(match stopped.cut_off {
        0 => "stopped; everything was answered\n".to_owned(),
        n => format!("stopped; {n} connections had not finished in time and were cut off\n"),
    })?)
}

/// Settings in a file.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    server: ServerConfig,
    engine: EngineConfig,
}

fn settings(file: &std::path::Path) -> anyhow::Result<(ServerConfig, EngineConfig)> {
    let text = std::fs::read_to_string(file).map_err(|source| ExperimentError::Read { path: file.to_owned(), source })?;
    let problem = |problem: String| ExperimentError::Artifact { path: file.to_owned(), problem };
    let File { server, engine } = toml::from_str(&text).map_err(|error| problem(error.to_string()))?;
    engine.validate().map_err(|(key, may_be)| problem(format!("[engine] `{key}` must be {may_be}")))?;
    Ok((server, engine))
}

/// `NAME`, `NAME@ALIAS` or `NAME@vN`.
fn base_of(text: &str) -> anyhow::Result<(Name, Option<At>)> {
    let Some((name, at)) = text.split_once('@') else { return Ok((text.parse()?, None)) };
    let number = at.strip_prefix('v').and_then(|number| number.parse().ok()).and_then(acclimate_registry::Version::new);
    Ok((name.parse()?, Some(number.map_or_else(|| at.parse().map(At::Alias), |version| Ok(At::Version(version)))?)))
}

/// Waits for SIGTERM or Ctrl-C.
async fn ended() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
