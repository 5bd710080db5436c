//! `serve`: runs a node until it is asked to stop.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Args;
use quorum_metrics::{LogConfig, LogFormat, Otlp, OtlpConfig, Tracing, init_logging};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::Notify;

use super::settings::SettingsArguments;
use super::{Exit, Output};
use crate::config::{self, Config};
use crate::{Node, World, identity, shutdown};

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct ServeArguments {
    #[command(flatten)]
    settings: SettingsArguments,
}

/// The line that says that the node is ready.
#[derive(Debug, Serialize)]
struct Ready<'a> {
    ready: bool,
    node: &'a str,
    http: String,
    peers: String,
    w: usize,
    n: usize,
}

/// Runs the command.
///
/// # Errors
///
/// What keeps the node from starting, naming the key, file or address to look at.
pub fn run(arguments: &ServeArguments, output: &mut Output) -> anyhow::Result<Exit> {
    let config = arguments.settings.load()?;
    let policy = config::check(&config)?;
    let identity = identity::read(&config, SystemTime::now())?;
    let otlp = Otlp::from_environment(otlp_config(&config))?;
    let tracing =
        otlp.as_ref().map(|otlp| Tracing::new(&config.node.name, otlp)).transpose()?.flatten();
    init_logging(&log_config(&config), tracing.as_ref())?;

    let runtime = match config.node.threads.get() {
        1 => Builder::new_current_thread().enable_all().build()?,
        threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
    };
    let grace = config.node.shutdown_grace;
    let outcome = runtime.block_on(async {
        // Before anybody is told that the node is ready: a signal from then on is heard.
        let signals = shutdown::Signals::listen()?;
        let world = World::real(config.peer.listen)
            .with_context(|| format!("peer.listen = {}", config.peer.listen))?;
        let http = TcpListener::bind(config.http.listen).await.with_context(|| {
            format!("http.listen = {}: cannot listen there", config.http.listen)
        })?;
        let (peers, http_addr) = (world.peer_addr()?, http.local_addr()?);
        let scheme = if config.http.tls_cert.is_some() { "https" } else { "http" };
        let name = config.node.name.clone();
        let mut node =
            Node::start(config.clone(), identity, world, otlp.as_ref(), Some(http)).await?;
        let http = format!("{scheme}://{http_addr}");
        let ready = Ready {
            ready: true,
            node: name.as_str(),
            http,
            peers: peers.to_string(),
            w: policy.w(),
            n: policy.n(),
        };
        output.line(&ready, |out| {
            let Ready { node, http, peers, w, n, .. } = &ready;
            write!(out, "{node} ready: {http}, peers on udp {peers}, commits at {w} of {n} copies")
        })?;
        // Nobody listens unless systemd started us.
        let _unsupervised = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let reload = Arc::new(Notify::new());
        let mut requested = pin!(signals.requested(Arc::clone(&reload)));
        let signal = loop {
            node.keep_certificates_current(Arc::clone(&reload));
            tokio::select! {
                signal = &mut requested => break signal,
                () = node.until_outdated() => {}
            }
            let failed = "this node's data must not be used any more and could not be set aside; start it again";
            let directory = node.set_aside().await.context(failed)?;
            tracing::error!(directory = %directory.display(), "this node's data was set aside; beginning anew");
            // Where peers and clients know it, whatever port was found free the first time.
            let world = again("peer.listen", || World::real(peers)).await?;
            let http = again("http.listen", || bind_http(http_addr)).await?;
            let identity = identity::read(&config, SystemTime::now())?;
            node = Node::start(config.clone(), identity, world, otlp.as_ref(), Some(http)).await?;
        };
        tracing::info!(signal, "stopping");
        let _unsupervised = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        node.shutdown().await;
        tracing::info!("stopped");
        anyhow::Ok(Exit::Ok)
    });
    if let Some(tracing) = tracing
        && let Err(error) = tracing.shutdown(grace)
    {
        tracing::warn!(%error, "the last traces were not delivered");
    }
    outcome
}

fn bind_http(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Binds a socket that this process had until just now: its last user may still be on the way out.
async fn again<T, E: std::error::Error + Send + Sync + 'static>(
    key: &'static str,
    bind: impl Fn() -> Result<T, E>,
) -> anyhow::Result<T> {
    const ATTEMPTS: u32 = 200;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 1..ATTEMPTS {
        match bind() {
            Ok(bound) => return Ok(bound),
            Err(_in_use) => tokio::time::sleep(PAUSE).await,
        }
    }
    bind().with_context(|| format!("{key}: cannot listen there again"))
}

fn log_config(config: &Config) -> LogConfig {
    let format = match config.log.format {
        config::LogFormat::Json => LogFormat::Json,
        config::LogFormat::Text => LogFormat::Text,
    };
    LogConfig { format, filter: config.log.filter.clone() }
}

/// What the config says; the standard variables are read on top of it.
fn otlp_config(config: &Config) -> OtlpConfig {
    const COLLECTOR_DEFAULT: &str = "http://127.0.0.1:4318";
    let section = &config.otlp;
    if !section.enabled {
        return OtlpConfig::default();
    }
    let elsewhere = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
    let default = (!elsewhere).then(|| COLLECTOR_DEFAULT.to_owned());
    OtlpConfig {
        endpoint: section.endpoint.clone().or(default),
        interval: Some(section.metrics_interval),
        sampling_ratio: Some(section.trace_ratio),
        ..OtlpConfig::default()
    }
}
