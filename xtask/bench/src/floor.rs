//! What the machine itself allows: the sync of a file, round trips over loopback, a hash. Nothing that writes durably to
//! two machines over QUIC can be faster than these together.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use quinn::Endpoint;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};

use crate::about::About;
use crate::embedded;
use crate::in_process::Plan;
use crate::load::Measured;
use crate::log_file::LogFile;
use crate::rounds::{self, Figures};
use crate::skeleton::{Credentials, NAME, direct};
use crate::system::Cluster;

/// How long each part is measured.
const EACH: Duration = Duration::from_secs(2);
/// What is synced, or sent, at once: about one record with what belongs to it.
const RECORD_BYTES: usize = 400;
const ACK_BYTES: usize = 60;
/// The file that is written to from its beginning again and again.
const FILE_BYTES: u64 = 64 << 20;
/// The same where there are many.
const FILE_BYTES_OF_MANY: u64 = 4 << 20;
/// How long clients of the skeleton write before they are measured.
const WARMUP: Duration = Duration::from_secs(1);
/// The skeleton's values are as large as those that `peers` writes.
const VALUE_BYTES: usize = 300;
/// Records that are written together where many are.
const BATCH_RECORDS: usize = 100;

/// One part.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    name: String,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) per_second: f64,
}

/// The skeleton, or quorum-node beside it, with so many clients.
#[derive(Debug, Serialize)]
struct Mesh {
    name: &'static str,
    clients: usize,
    #[serde(flatten)]
    figures: Figures,
}

/// All parts.
#[derive(Debug, Serialize)]
pub(crate) struct Floor {
    #[serde(flatten)]
    about: About,
    parts: Vec<Part>,
    meshes: Vec<Mesh>,
    /// HTTP, QUIC and one sync, by their medians: the least that a write of one client can take.
    one_client_micros: f64,
}

/// Measures everything below `folder`, which must be on the disk in question.
pub(crate) async fn measure(folder: &Path, clients: &[usize]) -> Result<Floor> {
    eprintln!("syncs, round trips, a hash: {} s each", EACH.as_secs());
    let sync = synced(folder, "sync of a record, file written before", 1, true)?;
    let http = http().await?;
    let quic = quic().await?;
    let one_client_micros = sync.p50_micros + http.p50_micros + quic.p50_micros;
    let parts = vec![
        sync,
        synced(folder, "sync of a record, growing file", 1, false)?,
        synced(folder, "sync of 64 records, file written before", 64, true)?,
        files_at_once(folder, 3, RECORD_BYTES)?,
        quic,
        http,
        hashed(),
    ];
    let mut meshes = processes(folder, clients).await?;
    for &clients in clients {
        let skeleton = |plan, records| {
            let entry = direct::Entry { records, record_bytes: RECORD_BYTES };
            direct::measure(folder, entry, plan)
        };
        meshes.push(in_process("skeleton, in one process, no HTTP", clients, |plan| {
            skeleton(plan, 1)
        })?);
        meshes.push(in_process("quorum-node, the same", clients, |plan| {
            embedded::measure(folder, VALUE_BYTES, plan)
        })?);
        meshes.push(in_process("skeleton, the same, 100 records a call", clients, |plan| {
            skeleton(plan, BATCH_RECORDS)
        })?);
    }
    let about = About::new(
        format!("quorum-bench {}", env!("CARGO_PKG_VERSION")),
        format!("parts of {RECORD_BYTES} bytes alone; skeleton with values of {VALUE_BYTES} bytes"),
    );
    Ok(Floor { about, parts, meshes, one_client_micros })
}

/// The skeleton as three processes, written to as `peers` writes to quorum-node.
async fn processes(folder: &Path, clients: &[usize]) -> Result<Vec<Mesh>> {
    let name = "skeleton, three processes, HTTP";
    let cluster = Cluster::skeleton(3, folder).await?;
    let mut measured = Vec::new();
    for &clients in clients {
        eprintln!("{name}: {clients} clients");
        let figures = rounds::figures(&cluster, clients, VALUE_BYTES, WARMUP, EACH).await?;
        measured.push(Mesh { name, clients, figures });
    }
    Ok(measured)
}

/// Three threads of this process, called directly.
fn in_process(
    name: &'static str,
    clients: usize,
    measure: impl FnOnce(Plan) -> Result<Measured>,
) -> Result<Mesh> {
    eprintln!("{name}: {clients} clients");
    let measured = measure(Plan { clients, warmup: WARMUP, duration: EACH })?;
    measured.check()?;
    Ok(Mesh { name, clients, figures: Figures::from(&measured) })
}

impl Part {
    /// Does a step again and again.
    fn of(name: &str, mut step: impl FnMut() -> Result<()>) -> Result<Self> {
        let (mut times, began) = (histogram()?, Instant::now());
        while began.elapsed() < EACH {
            let step_began = Instant::now();
            step()?;
            note(&mut times, step_began);
        }
        Ok(Self::from(name, &times, began.elapsed()))
    }

    fn from(name: &str, times: &Histogram<u64>, took: Duration) -> Self {
        let micros = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        let per_second = times.len() as f64 / took.as_secs_f64();
        Self {
            name: name.to_owned(),
            p50_micros: micros(0.5),
            p99_micros: micros(0.99),
            per_second,
        }
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

fn synced(folder: &Path, name: &str, records: usize, is_written_before: bool) -> Result<Part> {
    let path = folder.join("log");
    let mut log = if is_written_before {
        LogFile::written_before(&path, FILE_BYTES)?
    } else {
        LogFile::growing(&path)?
    };
    let bytes = vec![7; records * RECORD_BYTES];
    Part::of(name, || log.append(&bytes))
}

/// Many logs on one disk, as many nodes on one machine have: each synced by a thread of its own.
pub(crate) fn files_at_once(folder: &Path, count: usize, record_bytes: usize) -> Result<Part> {
    let mut logs = Vec::with_capacity(count);
    for index in 0..count {
        let path = folder.join(format!("log{index}"));
        logs.push(LogFile::written_before(&path, FILE_BYTES_OF_MANY)?);
    }
    let mut times = histogram()?;
    let began = Instant::now();
    let sync = move |mut log: LogFile| -> Result<Histogram<u64>> {
        let (mut times, record) = (histogram()?, vec![7; record_bytes]);
        while began.elapsed() < EACH {
            let step_began = Instant::now();
            log.append(&record)?;
            note(&mut times, step_began);
        }
        Ok(times)
    };
    let threads: Vec<_> =
        logs.into_iter().map(|log| std::thread::spawn(move || sync(log))).collect();
    for thread in threads {
        times.add(thread.join().map_err(|_| anyhow!("a thread panicked"))??)?;
    }
    let name = format!("sync of a record, {count} files at once (per second: all)");
    Ok(Part::from(&name, &times, began.elapsed()))
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
    let credentials = Credentials::generate()?;
    let server = credentials.server()?;
    let (tell, told) = tokio::sync::oneshot::channel();
    let serving = on_own_thread(async move {
        let endpoint = Endpoint::server(server, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
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
    let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let connection = endpoint.connect_with(credentials.client()?, address, NAME)?.await?;
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
        writeln!(out, "{}", self.about)?;
        writeln!(out, "{:56} {:>10} {:>10} {:>12}", "", "p50 us", "p99 us", "per second")?;
        for Part { name, p50_micros, p99_micros, per_second } in &self.parts {
            writeln!(out, "{name:56} {p50_micros:10.1} {p99_micros:10.1} {per_second:12.0}")?;
        }
        writeln!(
            out,
            "\none client's write, HTTP and QUIC and one sync by their medians: {:.0} us, {:.0} a second\n",
            self.one_client_micros,
            1e6 / self.one_client_micros
        )?;
        writeln!(
            out,
            "{:38} {:>7} {:>10} {:>8} {:>8} {:>9} {:>9}",
            "two synced copies", "clients", "records/s", "p50 ms", "p99 ms", "CPU s/1k", "disk B/r"
        )?;
        for Mesh { name, clients, figures } in &self.meshes {
            writeln!(
                out,
                "{name:38} {clients:7} {:10.0} {:8.2} {:8.2} {:9.3} {:9.0}",
                figures.writes_per_second,
                figures.p50_ms,
                figures.p99_ms,
                figures.cost.cpu_seconds_per_1000,
                figures.cost.disk_bytes_per_write,
            )?;
        }
        Ok(())
    }
}
