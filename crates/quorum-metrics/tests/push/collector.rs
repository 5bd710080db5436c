//! A collector small enough to read: takes OTLP over HTTP, keeps the bodies, answers as it is told.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// One request: where it went, what it said, and what it carried.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Whether the body holds `text`, as protobuf holds strings: verbatim.
    pub(crate) fn holds(&self, text: &[u8]) -> bool {
        self.count(text) > 0
    }

    /// How often the body holds `bytes`.
    pub(crate) fn count(&self, bytes: &[u8]) -> usize {
        self.body.windows(bytes.len()).filter(|window| *window == bytes).count()
    }
}

/// The collector's memory and mood.
#[derive(Debug)]
struct Desk {
    requests: Vec<Request>,
    status: u16,
}

/// A running collector on a free loopback port. Ends with the process.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    address: SocketAddr,
    desk: Arc<(Mutex<Desk>, Condvar)>,
}

impl Collector {
    /// Starts one that answers every request with `status`.
    pub(crate) fn answering(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let desk = Arc::new((Mutex::new(Desk { requests: Vec::new(), status }), Condvar::new()));
        let collector = Self { address: listener.local_addr().unwrap(), desk };
        let serving = collector.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.converse(&stream));
            }
        });
        collector
    }

    /// The base URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers with `status`.
    pub(crate) fn answer(&self, status: u16) {
        self.desk.0.lock().unwrap().status = status;
    }

    /// Waits until `count` requests have come.
    pub(crate) fn wait_for(&self, count: usize) {
        let desk = self.desk.0.lock().unwrap();
        drop(self.desk.1.wait_while(desk, |desk| desk.requests.len() < count).unwrap());
    }

    /// What came for `path` until now.
    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        let desk = self.desk.0.lock().unwrap();
        desk.requests.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// Serves one connection until the client leaves.
    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader)? {
            let status = {
                let mut desk = self.desk.0.lock().unwrap();
                desk.requests.push(request);
                desk.status
            };
            self.desk.1.notify_all();
            write!(&mut &*stream, "HTTP/1.1 {status} Answer\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    }
}

/// The next request, or nothing when the client has left.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Some(Request { path, head, body }))
}
