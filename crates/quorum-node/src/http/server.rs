//! Accepts connections and takes them down in order. Every wait for a client has an end, and so has their number.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::auth::Door;
use super::{router, tls};
use crate::config::{HttpSection, Tokens};
use crate::pki::secret_file::read_secret;
use crate::service::Service;

/// Connections open at once; further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// How long a client may take over the head of a request, which is also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take over the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// The pause after a failed accept: most often the process has run out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running HTTP interface of a node. Dropping it cuts its clients off; [`shutdown`](Self::shutdown) does not.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    /// No further connections and requests.
    stop: CancellationToken,
    /// No connections at all.
    abort: CancellationToken,
    tasks: TaskTracker,
    _abort_when_dropped: DropGuard,
}

impl Server {
    /// Serves `service` on `listener` by the rules of `section`. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the certificate, its key or the tokens cannot be read, or the listener has no address.
    pub fn start(
        listener: TcpListener,
        service: Service,
        section: &HttpSection,
    ) -> io::Result<Self> {
        let local_addr = listener.local_addr()?;
        let acceptor = match (&section.tls_cert, &section.tls_key) {
            (Some(certificate), Some(key)) => Some(tls::acceptor(certificate, key)?),
            _ => None,
        };
        let stall_timeout = service.config().watch.stall_timeout;
        let door = door(section, acceptor.is_some())?;
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let doorman = Doorman {
            router: router(service, section, door),
            acceptor,
            stop: stop.clone(),
            abort: abort.clone(),
            tasks: tasks.clone(),
            stall_timeout,
        };
        tasks.spawn(doorman.accept(listener));
        let _abort_when_dropped = abort.clone().drop_guard();
        Ok(Self { local_addr, stop, abort, tasks, _abort_when_dropped })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Accepts nothing more, lets the requests under way finish within `grace`, then cuts off what is left.
    ///
    /// # Cancellation
    ///
    /// Dropped halfway, everything is cut off at once.
    pub async fn shutdown(self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "cutting off slow HTTP clients");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

fn door(section: &HttpSection, has_certificate: bool) -> io::Result<Door> {
    let Some(path) = &section.tokens_file else {
        return Ok(Door::Open { any_host: has_certificate });
    };
    let text = read_secret(path).map_err(io::Error::other)?;
    let tokens = Tokens::parse(&text).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    })?;
    Ok(Door::Tokens(Arc::new(tokens)))
}

/// What every connection needs.
#[derive(Clone)]
struct Doorman {
    router: Router,
    acceptor: Option<TlsAcceptor>,
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
    /// How long a client may take nothing of an answer.
    stall_timeout: Duration,
}

impl Doorman {
    async fn accept(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place.expect("the semaphore is never closed"), listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.abort.cancelled() => return,
                next = next => next,
            };
            match accepted {
                Ok((stream, _)) => {
                    let doorman = self.clone();
                    self.tasks.spawn(async move {
                        doorman.connection(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "an HTTP connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream) {
        // Answers are small and complete: waiting for more to send only delays them.
        let _is_lost_already = stream.set_nodelay(true);
        // A client that takes nothing of what it asked for must not hold its place for ever.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.stall_timeout));
        let stream = Box::pin(stream);
        let Some(acceptor) = &self.acceptor else { return self.requests(stream).await };
        let handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
        let shaken = tokio::select! {
            () = self.stop.cancelled() => return,
            () = self.abort.cancelled() => return,
            shaken = handshake => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => self.requests(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "an HTTP client's TLS handshake failed"),
            Err(_) => tracing::debug!("an HTTP client's TLS handshake was too slow"),
        }
    }

    async fn requests(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "an HTTP connection ended early");
                    }
                    return;
                }
                () = self.abort.cancelled() => return,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
