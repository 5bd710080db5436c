//! Waits for the signals that end a node or make it reload.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Returns when the process is asked to end (SIGTERM, SIGINT), with the signal's name. A SIGHUP meanwhile rings
/// `reload`.
///
/// # Errors
///
/// The error of the operating system if signals cannot be heard.
pub async fn requested(reload: Arc<Notify>) -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok("SIGTERM"),
            _ = interrupt.recv() => return Ok("SIGINT"),
            _ = hang_up.recv() => reload.notify_one(),
        }
    }
}
