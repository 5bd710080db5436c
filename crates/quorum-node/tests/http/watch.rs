//! Changes as they happen, in the order in which the node applied them, from any place that is still known.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::Fixture;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

/// An open stream of events.
struct Stream {
    body: hyper::body::Incoming,
    text: String,
    /// Where the stream has said that it is, since it was opened.
    place: Option<String>,
}

impl Stream {
    async fn open(node: &Fixture, path: &str, headers: &[(&str, &str)]) -> Self {
        let response = node.stream(path, headers).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new(), place: None }
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    self.place = place(&event).or_else(|| self.place.take());
                    continue;
                }
                return parsed(&event);
            }
            let frame = self.body.frame().await.expect("the stream goes on").expect("a frame");
            self.text += str::from_utf8(frame.data_ref().expect("data")).expect("text");
        }
    }
}

/// The id of a piece that is no event.
fn place(piece: &str) -> Option<String> {
    piece.lines().find_map(|line| line.strip_prefix("id: ")).map(str::to_owned)
}

fn parsed(event: &str) -> Event {
    let field = |name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {event:?}")).to_owned()
    };
    let data = serde_json::from_str(&field("data")).expect("JSON");
    Event { id: field("id"), kind: field("event"), data }
}

#[tokio::test]
async fn changes_of_one_namespace_arrive_in_order_and_from_now_on() {
    let node = Fixture::start().await;
    node.put("ns/before", b"0").await;
    let mut stream = Stream::open(&node, "/v1/watch/ns?prefix=k", &[]).await;
    assert_eq!(stream.next().await.kind, "ready");
    node.put("ns/k1", b"1").await;
    node.put("other/k1", b"1").await;
    node.put("ns/x", b"1").await;
    assert_eq!(node.ask("DELETE /v1/kv/ns/k1", "").await.status, 200);
    node.put("ns/k2", b"\xff").await;
    let first = stream.next().await;
    // Of a key that was overwritten before it was read only the last change may show.
    let deleted = if first.kind == "put" { stream.next().await } else { first };
    assert_eq!((deleted.kind.as_str(), &deleted.data["key"]), ("delete", &"k1".into()));
    let last = stream.next().await;
    assert_eq!((last.kind.as_str(), &last.data["value_base64"]), ("put", &"/w==".into()));
    assert!(last.data["version"].is_string() && last.data["write_id"].is_string());
}

#[tokio::test]
async fn whoever_comes_back_goes_on_where_it_was() {
    let node = Fixture::start().await;
    let mut stream = Stream::open(&node, "/v1/watch/ns", &[]).await;
    let ready = stream.next().await;
    for index in 0..5 {
        node.put(&format!("ns/k{index}"), b"v").await;
    }
    let first = stream.next().await;
    assert_eq!(first.data["key"], "k0");
    drop(stream);
    let mut again = Stream::open(&node, "/v1/watch/ns", &[("last-event-id", &first.id)]).await;
    assert_eq!(again.next().await.kind, "ready");
    for index in 1..5 {
        assert_eq!(again.next().await.data["key"], format!("k{index}"));
    }
    // The header is where a client that reconnects has come to; the parameter is where it once began.
    let path = format!("/v1/watch/ns?after={}", ready.id);
    let mut from_start = Stream::open(&node, &path, &[]).await;
    assert_eq!(from_start.next().await.kind, "ready");
    assert_eq!(from_start.next().await.data["key"], "k0");
}

#[tokio::test]
async fn a_place_that_is_not_known_is_refused_with_where_to_start() {
    let node = Fixture::start().await;
    node.put("ns/k", b"v").await;
    let mut stream = Stream::open(&node, "/v1/watch/ns", &[]).await;
    let here = stream.next().await.id;
    let (incarnation, number) = here.split_once('-').expect("an id");
    for id in [format!("{incarnation}-99"), format!("0123456789abcdef-{number}")] {
        let answer = node.ask_with("GET /v1/watch/ns", &[("last-event-id", &id)], "").await;
        let problem = answer.problem(410, "watch-gone");
        assert_eq!(problem["newest"], here, "{id}");
    }
    for id in ["", "7", "x-y", &format!("{incarnation}-")] {
        let answer = node.ask_with("GET /v1/watch/ns", &[("last-event-id", id)], "").await;
        assert_eq!(answer.problem(400, "invalid-request")["field"], "Last-Event-ID", "{id:?}");
    }
    node.ask("GET /v1/watch/NS", "").await.problem(400, "invalid-request");
}

/// Nothing happens in the namespace that is watched, and more elsewhere than is kept. Whoever missed nothing must be able to
/// come back.
#[tokio::test]
async fn a_quiet_watch_does_not_lose_its_place() {
    let adjust = |config: &mut quorum_node::Config| {
        config.watch.history_max = 1_000;
        config.watch.stall_timeout = Duration::from_millis(150);
    };
    let node = Fixture::with(1, adjust).await;
    let mut stream = Stream::open(&node, "/v1/watch/quiet", &[]).await;
    let begun = stream.next().await.id;
    let (incarnation, _) = begun.split_once('-').expect("an id");
    // Never further behind than is kept.
    for round in 1..=5 {
        let writes: Vec<_> = (0..500)
            .map(|index| serde_json::json!({"namespace": "busy", "key": format!("{round}-{index}"), "value": "v"}))
            .collect();
        let body = serde_json::json!({ "writes": writes }).to_string();
        assert_eq!(node.ask("POST /v1/batch", body).await.status, 200);
        let newest = format!("{incarnation}-{}", 500 * round);
        while stream.place.as_ref() != Some(&newest) {
            let frame = stream.body.frame().await.expect("the stream goes on").expect("a frame");
            let text = str::from_utf8(frame.data_ref().expect("data")).expect("text").to_owned();
            stream.place = place(&text).or_else(|| stream.place.take());
        }
    }
    let gone = node.ask_with("GET /v1/watch/quiet", &[("last-event-id", &begun)], "").await;
    gone.problem(410, "watch-gone");
    let place = stream.place.take().expect("it was told");
    drop(stream);
    let mut again = Stream::open(&node, "/v1/watch/quiet", &[("last-event-id", &place)]).await;
    assert_eq!(again.next().await.kind, "ready");
}

/// A watcher that takes nothing gives its place back, and nothing is kept for it.
#[tokio::test]
async fn a_watcher_that_takes_nothing_is_cut_off() {
    let adjust = |config: &mut quorum_node::Config| {
        config.watch.streams_max = 1;
        config.watch.stall_timeout = Duration::from_millis(300);
    };
    let node = Fixture::with(1, adjust).await;
    let mut idle = TcpStream::connect(node.address()).await.expect("it listens");
    let request = format!("GET /v1/watch/ns HTTP/1.1\r\nHost: {}\r\n\r\n", node.address());
    idle.write_all(request.as_bytes()).await.expect("sent");
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    let busy = node.ask("GET /v1/watch/ns", "").await;
    assert_eq!(busy.status, 429, "the one place is taken");
    static VALUE: [u8; 1 << 20] = [7; 1 << 20];
    // More than the buffers of a connection hold.
    for index in 0..16 {
        node.put(&format!("ns/k{index}"), &VALUE).await;
    }
    loop {
        let response = node.stream("/v1/watch/ns", &[]).await;
        if response.status() == 200 {
            break;
        }
        assert_eq!(response.status(), 429);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn watchers_do_not_hold_up_a_shutdown() {
    let node = Fixture::start().await;
    let mut stream = Stream::open(&node, "/v1/watch/ns", &[]).await;
    stream.next().await;
    let ended = async { while let Some(Ok(_)) = stream.body.frame().await {} };
    // The grace period is longer than any test waits: an orderly end needs none of it.
    tokio::join!(node.stop(), ended);
}
