//! Takes request bodies in without trusting them: bounded in length, in time, and in memory over all requests.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::problem::Problem;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a body that is too long is still read and dropped, and for how long. A client that is busy sending does
/// not hear an answer before; one that goes on is cut off.
const DISCARDED_BYTES_MAX: usize = 16 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The room for bodies, shared by all requests. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    room: Arc<Semaphore>,
    body_bytes_max: usize,
    /// What the body is, in the words of the client.
    what: &'static str,
}

/// A body and the room it takes, given back when dropped.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// The room for the bodies of batches: the same, with a limit of their own.
#[derive(Debug, Clone)]
pub(super) struct Batches(pub(super) Bodies);

impl Bodies {
    pub(super) fn new(body_bytes_max: usize, bytes_max: usize) -> Self {
        let room = Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS)));
        Self { room, body_bytes_max, what: "value" }
    }

    /// The same room, for whole batches.
    pub(super) fn with_body_bytes_max(&self, body_bytes_max: usize) -> Self {
        Self { room: Arc::clone(&self.room), body_bytes_max, what: "body" }
    }

    /// The whole body, or why it is not taken.
    pub(super) async fn receive(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Received, Problem> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.body_bytes_max {
            // A client that waits for `100 Continue` has sent nothing yet, and asking for more would make it.
            if !headers.contains_key(header::EXPECT) {
                discard(body).await;
            }
            return Err(self.too_large());
        }
        timeout(BODY_TIMEOUT, self.collect(body)).await.map_err(|_| Problem::BodyTimeout)?
    }

    async fn collect(&self, body: Body) -> Result<Received, Problem> {
        let mut chunks = body.into_data_stream();
        let mut bytes = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Problem::BodyBroken)?;
            if bytes.len() + chunk.len() > self.body_bytes_max {
                discard(Body::from_stream(chunks)).await;
                return Err(self.too_large());
            }
            let more = self.room_for(chunk.len())?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Received { bytes: bytes.freeze(), _room: room })
    }

    fn room_for(&self, len: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let len = u32::try_from(len).map_err(|_| Problem::Overloaded)?;
        let room = Arc::clone(&self.room);
        room.try_acquire_many_owned(len).map_err(|_| Problem::Overloaded)
    }

    const fn too_large(&self) -> Problem {
        Problem::TooLarge { what: self.what, bytes_max: self.body_bytes_max }
    }
}

async fn discard(body: Body) {
    let mut chunks = body.into_data_stream();
    let discarding = async {
        let mut discarded = 0;
        while discarded < DISCARDED_BYTES_MAX
            && let Some(Ok(chunk)) = chunks.next().await
        {
            discarded += chunk.len();
        }
    };
    let _in_time = timeout(DISCARD_TIMEOUT, discarding).await;
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn streamed(chunks: &[&'static [u8]]) -> Body {
        let chunks: Vec<_> =
            chunks.iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from_static(chunk))).collect();
        Body::from_stream(stream::iter(chunks))
    }

    async fn receive(bodies: &Bodies, body: Body) -> Result<Received, Problem> {
        bodies.receive(&HeaderMap::new(), body).await
    }

    #[tokio::test]
    async fn a_body_is_bounded_whether_or_not_it_says_its_length() {
        let bodies = Bodies::new(4, 100);
        let whole = receive(&bodies, streamed(&[b"ab", b"cd"])).await.expect("fits");
        assert_eq!(whole.bytes.as_ref(), b"abcd");
        for body in [streamed(&[b"ab", b"cd", b"e"]), Body::from("abcde")] {
            let refused = receive(&bodies, body).await.expect_err("too long");
            assert!(matches!(refused, Problem::TooLarge { bytes_max: 4, .. }), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn all_bodies_share_one_room() {
        let bodies = Bodies::new(4, 6);
        let first = receive(&bodies, Body::from("abcd")).await.expect("there is room");
        let second = receive(&bodies, Body::from("abcd")).await;
        assert!(matches!(second, Err(Problem::Overloaded)), "{second:?}");
        drop(first);
        assert!(receive(&bodies, Body::from("abcd")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let bodies = Bodies::new(4, 100);
        let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let given_up = receive(&bodies, endless).await;
        assert!(matches!(given_up, Err(Problem::BodyTimeout)), "{given_up:?}");
    }
}
