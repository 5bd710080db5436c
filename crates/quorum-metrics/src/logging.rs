//! The process-wide log: text or JSON on stderr, beside the layer that exports spans.

use std::io::IsTerminal;

use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::export::TelemetryError;
use crate::export::tracing::Tracing;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LogFormat {
    /// One line of text, for people. Coloured only when stderr is a terminal and `NO_COLOR` is unset.
    #[default]
    Text,
    /// One JSON object a line, its fields at the top level, for machines.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// `tracing` directives, e.g. `info` or `warn,quorum_node=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

/// Sends the log to stderr and, if there is a [`Tracing`], spans to the collector. Once per process.
///
/// # Errors
///
/// [`TelemetryError::LogFilter`] if the filter cannot be read, [`TelemetryError::AlreadyLogging`] if the process
/// already has a subscriber. Nothing was changed then.
pub fn init_logging(config: &LogConfig, tracing: Option<&Tracing>) -> Result<(), TelemetryError> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let coloured = std::io::stderr().is_terminal() && !no_color;
    let log = log_layer(config, coloured, std::io::stderr)?;
    tracing_subscriber::registry()
        .with(log)
        .with(tracing.map(Tracing::layer))
        .try_init()
        .map_err(TelemetryError::AlreadyLogging)
}

/// The log alone, to any writer.
fn log_layer<S, W>(
    config: &LogConfig,
    coloured: bool,
    writer: W,
) -> Result<Box<dyn Layer<S> + Send + Sync>, TelemetryError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|source| TelemetryError::LogFilter { filter: config.filter.clone(), source })?
        // Without a hint of its own the second filter would hide the first one's, and crates that use `log` would then
        // offer every trace line.
        .and(filter_fn(is_news).with_max_level_hint(LevelFilter::TRACE));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(match config.format {
        LogFormat::Text => lines.with_ansi(coloured).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    })
}

/// Drops what the OpenTelemetry SDK repeats for as long as a collector is away: the outage itself is logged once, by
/// the exporters' wrapper, and a failed flush by whoever shuts down.
fn is_news(metadata: &Metadata<'_>) -> bool {
    const REPEATED: [&str; 5] = [
        "PeriodicReader.ExportError",
        "BatchSpanProcessor.ExportError",
        "BatchSpanProcessor.Shutdown.Error",
        "BatchSpanProcessor.Shutdown.Timeout",
        "MeterProvider.Drop",
    ];
    !(metadata.target().starts_with("opentelemetry") && REPEATED.contains(&metadata.name()))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `speak` logs under `config`.
    fn logged(config: &LogConfig, speak: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let log = log_layer(config, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), speak);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_is_plain_where_there_is_no_terminal() {
        let text = logged(&LogConfig::default(), || tracing::info!(peer = "n2", "link up"));
        assert!(text.contains("INFO") && text.contains("link up peer=\"n2\""), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn json_has_its_fields_at_the_top_level() {
        let config = LogConfig { format: LogFormat::Json, ..LogConfig::default() };
        let text = logged(&config, || tracing::info!(peer = "n2", "link up"));
        assert!(text.starts_with('{') && text.trim_end().ends_with('}'), "{text}");
        assert!(text.contains(r#""message":"link up","peer":"n2""#), "{text}");
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        let config = LogConfig { filter: "warn".into(), ..LogConfig::default() };
        let text = logged(&config, || {
            tracing::info!("quiet");
            tracing::warn!("loud");
        });
        assert!(text.contains("loud") && !text.contains("quiet"), "{text}");
    }

    #[test]
    fn what_the_filter_excludes_is_not_even_offered() {
        let log = log_layer(&LogConfig::default(), false, io::stderr).unwrap();
        let subscriber = tracing_subscriber::registry().with(log);
        assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::INFO));
    }

    #[test]
    fn an_unreadable_filter_is_named() {
        let config = LogConfig { filter: "quorum_node=shout".into(), ..LogConfig::default() };
        let refused = init_logging(&config, None).unwrap_err().to_string();
        assert!(refused.contains("quorum_node=shout"), "{refused}");
    }

    #[test]
    fn the_sdk_may_warn_but_not_repeat_an_outage() {
        let text = logged(&LogConfig::default(), || {
            tracing::error!(name: "PeriodicReader.ExportError", target: "opentelemetry_sdk", "down");
            tracing::warn!(name: "BatchSpanProcessor.SpansDropped", target: "opentelemetry_sdk", "full");
        });
        assert!(text.contains("full") && !text.contains("down"), "{text}");
    }
}
