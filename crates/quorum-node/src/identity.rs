//! This node's certificate files, read at the start and again whenever they change.

use std::time::{Duration, SystemTime};

use quorum_core::Clock;
use quorum_transport::{NodeIdentity, TransportError};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError, check_files};
use crate::service::Service;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why the certificate files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file is missing, unreadable, or not what it should be.
    #[error(transparent)]
    Files(#[from] ConfigError),
    /// A file could not be read after it was checked.
    #[error("cannot read a certificate file: {0}")]
    Read(#[from] std::io::Error),
    /// TLS does not take them.
    #[error(transparent)]
    Unusable(#[from] TransportError),
}

/// Reads and checks the files that `[tls]` names.
///
/// # Errors
///
/// [`IdentityError`], naming the key and the file.
pub fn read(config: &Config, now: SystemTime) -> Result<NodeIdentity, IdentityError> {
    // The check also sees a certificate and a key that do not belong together, as in the middle of a renewal.
    check_files(config, now)?;
    let (chain, key) = (std::fs::read(&config.tls.cert)?, std::fs::read(&config.tls.key)?);
    let authorities = std::fs::read(&config.tls.ca)?;
    Ok(NodeIdentity::from_pem(&chain, &key, &authorities)?)
}

/// Uses renewed certificates without a restart: looks whether the files have changed, and at once when `reload` rings.
pub(crate) async fn keep_current(
    service: Service,
    clock: std::sync::Arc<dyn Clock>,
    reload: std::sync::Arc<tokio::sync::Notify>,
    stop: CancellationToken,
) {
    let mut seen = stamps(service.config());
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            () = reload.notified() => true,
            () = clock.sleep_until(clock.now() + LOOK_EVERY) => false,
        };
        let now = stamps(service.config());
        if now == seen && !asked {
            continue;
        }
        let identity = read(service.config(), SystemTime::UNIX_EPOCH + clock.wall());
        match identity.and_then(|identity| Ok(service.reload_identity(&identity)?)) {
            Ok(()) => {
                seen = now;
                tracing::info!("certificates reloaded");
            }
            // Perhaps the middle of a renewal: looked at again next time.
            Err(error) => {
                tracing::warn!(%error, "certificates not reloaded, the old ones stay in use")
            }
        }
    }
}

/// When the files were last changed.
fn stamps(config: &Config) -> Vec<Option<SystemTime>> {
    let files = [&config.tls.ca, &config.tls.cert, &config.tls.key];
    files.map(|file| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()).into()
}
