//! What the machine itself allows: the sync of a file, round trips over loopback, a hash. Nothing that writes durably to
//! two machines over QUIC can be faster than these together.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::RootCertStore;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};

/// How long each part is measured.
const EACH: Duration = Duration::from_secs(2);
/// What is synced, or sent, at once: about one record with what belongs to it.
const RECORD_BYTES: usize = 400;
const ACK_BYTES: usize = 60;
/// The file that is written to from its beginning again and again.
const FILE_BYTES: u64 = 64 << 20;

/// One part.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    name: &'static str,
    p50_micros: f64,
    p99_micros: f64,
    per_second: f64,
}

/// All parts.
#[derive(Debug, Serialize)]
pub(crate) struct Floor {
    parts: Vec<Part>,
    /// HTTP, QUIC and one sync, by their medians: the least that a write of one client can take.
    one_client_micros: f64,
}

/// Measures everything below `folder`, which must be on the disk in question.
pub(crate) async fn measure(folder: &Path) -> Result<Floor> {
    let sync = synced(folder, "sync of a record, file written before", 1, true)?;
    let http = http().await?;
    let quic = quic().await?;
    let one_client_micros = sync.p50_micros + http.p50_micros + quic.p50_micros;
    let parts = vec![
        sync,
        synced(folder, "sync of a record, growing file", 1, false)?,
        synced(folder, "sync of 64 records, file written before", 64, true)?,
        three_at_once(folder)?,
        quic,
        http,
        hashed(),
    ];
    Ok(Floor { parts, one_client_micros })
}

impl Part {
    /// Does a step again and again.
    fn of(name: &'static str, mut step: impl FnMut() -> Result<()>) -> Result<Self> {
        let (mut times, began) = (histogram()?, Instant::now());
        while began.elapsed() < EACH {
            let step_began = Instant::now();
            step()?;
            note(&mut times, step_began);
        }
        Ok(Self::from(name, &times, began.elapsed()))
    }

    fn from(name: &'static str, times: &Histogram<u64>, took: Duration) -> Self {
        let micros = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        let per_second = times.len() as f64 / took.as_secs_f64();
        Self { name, p50_micros: micros(0.5), p99_micros: micros(0.99), per_second }
    }
}

/// Of nanoseconds, up to ten seconds.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 10_000_000_000, 3)?)
}

fn note(times: &mut Histogram<u64>, began: Instant) {
    let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    times.saturating_record(nanos.max(1));
}

/// A log to append to.
struct Log {
    file: File,
    at: u64,
    is_written_before: bool,
}

impl Log {
    fn create(path: &Path, is_written_before: bool) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).open(path);
        let file = file.with_context(|| path.display().to_string())?;
        if is_written_before {
            let zeros = vec![0; 1 << 20];
            for at in (0..FILE_BYTES).step_by(zeros.len()) {
                file.write_all_at(&zeros, at)?;
            }
        }
        file.sync_all()?;
        Ok(Self { file, at: 0, is_written_before })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_written_before && self.at + bytes.len() as u64 > FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.file.sync_data()?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

fn synced(
    folder: &Path,
    name: &'static str,
    records: usize,
    is_written_before: bool,
) -> Result<Part> {
    let mut log = Log::create(&folder.join("log"), is_written_before)?;
    let bytes = vec![7; records * RECORD_BYTES];
    Part::of(name, || log.append(&bytes))
}

/// Three logs on one disk, as three nodes on one machine have.
fn three_at_once(folder: &Path) -> Result<Part> {
    let mut times = histogram()?;
    let began = Instant::now();
    let logs = ["a", "b", "c"].map(|name| Log::create(&folder.join(name), true));
    let writers = logs.map(|log| {
        std::thread::spawn(move || -> Result<Histogram<u64>> {
            let (mut log, mut times, began) = (log?, histogram()?, Instant::now());
            while began.elapsed() < EACH {
                let step_began = Instant::now();
                log.append(&[7; RECORD_BYTES])?;
                note(&mut times, step_began);
            }
            Ok(times)
        })
    });
    for writer in writers {
        times.add(writer.join().expect("a writer does not panic")?)?;
    }
    let took = EACH.min(began.elapsed());
    Ok(Part::from("sync of a record, three files at once (per second: all)", &times, took))
}

fn hashed() -> Part {
    let bytes = [7; RECORD_BYTES];
    let hash = || {
        std::hint::black_box(blake3::hash(std::hint::black_box(&bytes)));
        Ok(())
    };
    Part::of("BLAKE3 of a record", hash).expect("hashing does not fail")
}

/// A record there and an ack back on one stream, server and client on threads of their own.
async fn quic() -> Result<Part> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["floor".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())?;
    let server = quinn::crypto::rustls::QuicServerConfig::try_from(server)?;
    let (tell, told) = tokio::sync::oneshot::channel();
    let serving = on_own_thread(async move {
        let config = ServerConfig::with_crypto(Arc::new(server));
        let endpoint = Endpoint::server(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let _heard = tell.send(endpoint.local_addr()?);
        let connection = endpoint.accept().await.context("closed")?.await?;
        let (mut acks, mut records) = connection.accept_bi().await?;
        let mut record = [0; RECORD_BYTES];
        while records.read_exact(&mut record).await.is_ok() {
            acks.write_all(&[1; ACK_BYTES]).await?;
        }
        Ok(())
    });
    let address = told.await?;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = quinn::crypto::rustls::QuicClientConfig::try_from(client)?;
    let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let config = ClientConfig::new(Arc::new(client));
    let connection = endpoint.connect_with(config, address, "floor")?.await?;
    let (mut records, mut acks) = connection.open_bi().await?;
    let (mut times, began) = (histogram()?, Instant::now());
    while began.elapsed() < EACH {
        let step_began = Instant::now();
        records.write_all(&[7; RECORD_BYTES]).await?;
        acks.read_exact(&mut [0; ACK_BYTES]).await?;
        note(&mut times, step_began);
    }
    let part = Part::from("QUIC round trip, TLS 1.3, one stream", &times, began.elapsed());
    connection.close(0_u32.into(), b"done");
    endpoint.wait_idle().await;
    serving.join().expect("the server does not panic")?;
    Ok(part)
}

/// A PUT to a server that only answers.
async fn http() -> Result<Part> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let serving = on_own_thread(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let _heard = tell.send(listener.local_addr()?);
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = service_fn(|request: Request<Incoming>| async {
            let _body = request.into_body().collect().await?;
            Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(&[b' '; 400]))))
        });
        // The client ends the connection.
        let _ended = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), answer)
            .await;
        Ok(())
    });
    let address: SocketAddr = told.await?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let (mut times, began) = (histogram()?, Instant::now());
    while began.elapsed() < EACH {
        let step_began = Instant::now();
        sender.ready().await?;
        let request = Request::put("/").header(header::HOST, "floor");
        let request = request.body(Full::new(Bytes::from_static(&[7; 300])))?;
        sender.send_request(request).await?.into_body().collect().await?;
        note(&mut times, step_began);
    }
    let part = Part::from("HTTP round trip, connection kept", &times, began.elapsed());
    drop(sender);
    let _ended = driving.await;
    serving.join().expect("the server does not panic")?;
    Ok(part)
}

/// Runs a server beside the client, as in another process.
fn on_own_thread<F>(server: F) -> std::thread::JoinHandle<Result<()>>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(server)
    })
}

impl fmt::Display for Floor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:56} {:>10} {:>10} {:>12}", "", "p50 us", "p99 us", "per second")?;
        for Part { name, p50_micros, p99_micros, per_second } in &self.parts {
            writeln!(out, "{name:56} {p50_micros:10.1} {p99_micros:10.1} {per_second:12.0}")?;
        }
        writeln!(
            out,
            "\none client's write, HTTP and QUIC and one sync by their medians: {:.0} us, {:.0} a second",
            self.one_client_micros,
            1e6 / self.one_client_micros
        )
    }
}
