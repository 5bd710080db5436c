//! The query stream of an inbound connection: questions in, answers out, one batch at a time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::SendStream;
use quorum_core::{Answer, Clock, PeerId, QuerySource, SnapshotSeat, Unavailable, in_time};

use crate::error::TransportError;
use crate::frames::FrameReader;
use crate::wire::codec;
use crate::wire::message::{Answered, Ask};

/// Questions taken off the stream at once; what arrives meanwhile waits in the stream's window.
const BATCH_MAX: usize = 64;
/// Answers written at once, in bytes: records may be large.
const WRITE_BYTES: usize = 1 << 20;

/// A query stream and what it needs.
pub(crate) struct Queries<'a> {
    pub(crate) from: &'a PeerId,
    pub(crate) questions: FrameReader,
    pub(crate) answers: SendStream,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) snapshot: &'a Mutex<SnapshotSeat>,
    pub(crate) frame_bytes_max: usize,
}

impl Queries<'_> {
    /// Answers until the stream ends.
    pub(crate) async fn run<S: QuerySource>(mut self, store: &S) -> Result<(), TransportError> {
        while let Some(first) = self.questions.next().await? {
            let batch = self.batch(&first).await?;
            let (mut frames, mut bytes) = (Vec::with_capacity(batch.len()), 0);
            for (ask, deadline) in batch {
                // Whoever asked no longer waits.
                if deadline <= self.clock.now() {
                    continue;
                }
                if ask.question.compares() {
                    self.snapshot.lock().gets_on(self.from, self.clock.now());
                }
                // One that waits for a disk holds up those behind it no longer than somebody waits for it.
                let answer = store.answer(self.from, ask.question);
                let answer = in_time(self.clock, deadline, answer).await;
                let answer = answer.unwrap_or(Answer::Unavailable(Unavailable::Overload));
                let frame = self.frame(ask.number, answer)?;
                bytes += frame.len();
                frames.push(frame);
                if bytes >= WRITE_BYTES {
                    self.write(std::mem::take(&mut frames)).await?;
                    bytes = 0;
                }
            }
            self.write(frames).await?;
        }
        Ok(())
    }

    async fn write(&mut self, mut frames: Vec<Bytes>) -> Result<(), TransportError> {
        let written = self.answers.write_all_chunks(&mut frames).await;
        written.map(drop).map_err(|error| TransportError::Lost(error.to_string()))
    }

    /// The first question and those that are already here behind it, each with the moment at which it expires.
    async fn batch(&mut self, first: &Bytes) -> Result<Vec<(Ask, Instant)>, TransportError> {
        let now = self.clock.now();
        let mut batch = vec![asked(first, now)?];
        while batch.len() < BATCH_MAX {
            let Some(frame) = self.questions.next_ready().await? else { break };
            batch.push(asked(&frame, now)?);
        }
        Ok(batch)
    }

    fn frame(&self, number: u64, answer: Answer) -> Result<Bytes, TransportError> {
        let too_large = || Answered { number, answer: Answer::Unavailable(Unavailable::Failed) };
        let protocol = |error: codec::CodecError| TransportError::Protocol(error.to_string());
        match codec::encode_frame(&Answered { number, answer }) {
            Ok(frame) if frame.len() <= self.frame_bytes_max => Ok(frame),
            _ => codec::encode_frame(&too_large()).map_err(protocol),
        }
    }
}

fn asked(frame: &Bytes, now: Instant) -> Result<(Ask, Instant), TransportError> {
    let ask: Ask =
        codec::decode(frame).map_err(|error| TransportError::Protocol(error.to_string()))?;
    let budget = Duration::from_micros(ask.budget_micros);
    // A budget beyond all time is as good as none; nobody waits longer than a day.
    let deadline = now + budget.min(Duration::from_secs(24 * 60 * 60));
    Ok((ask, deadline))
}
