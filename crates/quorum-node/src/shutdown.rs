//! Waits for the signals that end a node or make it reload.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// The signals a node listens to. From the moment it is made, none of them ends the process by itself or is lost: make it
/// before anybody is told that the node is ready.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Begins to listen. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The error of the operating system if signals cannot be heard.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when the process is asked to end (SIGTERM, SIGINT), with the signal's name. A SIGHUP meanwhile rings
    /// `reload`.
    pub async fn requested(mut self, reload: Arc<Notify>) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hang_up.recv() => reload.notify_one(),
            }
        }
    }
}

/// Listens from now on, and returns as [`Signals::requested`] does.
///
/// # Errors
///
/// As [`Signals::listen`].
pub async fn requested(reload: Arc<Notify>) -> io::Result<&'static str> {
    Ok(Signals::listen()?.requested(reload).await)
}
