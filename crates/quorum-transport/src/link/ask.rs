//! Questions to one peer: numbered, sent in batches on one stream, answered in any order.
//!
//! [`Questions`] is what outlives the connection; a question does not: when the connection breaks, everything that waits
//! is answered as unreachable at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{Connection, SendStream};
use quorum_core::{Answer, Clock, Lineage, PeerAnswer, PeerId, Question, Unavailable};
use tokio::sync::{Notify, mpsc};

use crate::error::TransportError;
use crate::frames::FrameReader;
use crate::link::dial::micros;
use crate::link::lane;
use crate::wire::codec;
use crate::wire::message::{Answered, Ask, LaneKind};

/// Where the answers to one question go, whoever gives them.
pub(crate) type AnswerSender = mpsc::Sender<PeerAnswer>;

/// Questions written to the stream at once.
const BATCH_MAX: usize = 256;

/// What one peer is being asked.
#[derive(Debug)]
pub(crate) struct Questions {
    peer: PeerId,
    in_flight_max: usize,
    state: Mutex<State>,
    /// A question waits to be sent.
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    last_number: u64,
    queue: VecDeque<(u64, Question)>,
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    deadline: Instant,
    answers: AnswerSender,
}

impl Waiting {
    fn is_over(&self, now: Instant) -> bool {
        self.answers.is_closed() || self.deadline <= now
    }
}

impl Questions {
    pub(crate) fn new(peer: PeerId, in_flight_max: usize) -> Self {
        Self { peer, in_flight_max, state: Mutex::default(), ready: Notify::new() }
    }

    /// Asks, or answers at once that the peer cannot be asked.
    pub(crate) fn ask(
        &self,
        question: Question,
        deadline: Instant,
        now: Instant,
        answers: AnswerSender,
    ) {
        let mut state = self.state.lock();
        if state.waiting.len() >= self.in_flight_max {
            let State { waiting, queue, .. } = &mut *state;
            waiting.retain(|_, waiting| !waiting.is_over(now));
            queue.retain(|(number, _)| waiting.contains_key(number));
        }
        let why_not = if !state.is_open {
            Some(Unavailable::Unreachable)
        } else if state.waiting.len() >= self.in_flight_max {
            Some(Unavailable::Overload)
        } else {
            None
        };
        if let Some(why) = why_not {
            return self.tell(&answers, Answer::Unavailable(why), now);
        }
        state.last_number += 1;
        let number = state.last_number;
        state.queue.push_back((number, question));
        state.waiting.insert(number, Waiting { deadline, answers });
        self.ready.notify_one();
    }

    /// The queue has room for one answer of every peer that is asked, so it is never full; nobody may listen any more.
    fn tell(&self, answers: &AnswerSender, answer: Answer, at: Instant) {
        let _gone = answers.try_send(PeerAnswer { peer: self.peer.clone(), answer, at });
    }

    /// What is to be sent now. Questions whose asker has gone are left out.
    fn take(&self, now: Instant) -> Vec<Ask> {
        let mut state = self.state.lock();
        let mut batch = Vec::new();
        while batch.len() < BATCH_MAX
            && let Some((number, question)) = state.queue.pop_front()
        {
            let Some(waiting) = state.waiting.get(&number) else { continue };
            if waiting.is_over(now) {
                state.waiting.remove(&number);
                continue;
            }
            let budget_micros = micros(waiting.deadline.saturating_duration_since(now));
            batch.push(Ask { number, budget_micros, question });
        }
        batch
    }

    fn answered(&self, answered: Answered, now: Instant) -> Result<(), TransportError> {
        let mut state = self.state.lock();
        if answered.number == 0 || answered.number > state.last_number {
            let number = answered.number;
            return Err(TransportError::Protocol(format!(
                "answer to a question {number} never asked"
            )));
        }
        // Otherwise its asker has gone.
        if let Some(waiting) = state.waiting.remove(&answered.number) {
            self.tell(&waiting.answers, answered.answer, now);
        }
        Ok(())
    }

    fn open(&self) {
        self.state.lock().is_open = true;
    }

    /// The connection is gone: nobody will be answered.
    pub(crate) fn close(&self, now: Instant) {
        let mut state = self.state.lock();
        state.is_open = false;
        state.queue.clear();
        for waiting in std::mem::take(&mut state.waiting).into_values() {
            self.tell(&waiting.answers, Answer::Unavailable(Unavailable::Unreachable), now);
        }
    }
}

/// Opens the query stream of a welcomed connection, and serves askers for as long as the peer does. A peer that shuts
/// down ends this stream first, while it still answers the records that it was sent: so the end of the stream is not
/// the end of the connection, and this returns only for an error.
pub(crate) async fn run(
    questions: &Questions,
    connection: &Connection,
    ours: &Lineage,
    clock: &dyn Clock,
    frame_bytes_max: usize,
) -> Result<(), TransportError> {
    let (stream, answers) = lane::open_stream(connection, LaneKind::Query, ours).await?;
    questions.open();
    let outcome = tokio::select! {
        biased;
        outcome = send(questions, stream, clock) => outcome,
        outcome = hear(questions, FrameReader::new(answers, frame_bytes_max), clock) => outcome,
    };
    questions.close(clock.now());
    match outcome {
        Ok(()) | Err(TransportError::Lost(_)) => std::future::pending().await,
        error => error,
    }
}

async fn send(
    questions: &Questions,
    mut stream: SendStream,
    clock: &dyn Clock,
) -> Result<(), TransportError> {
    loop {
        let batch = questions.take(clock.now());
        if batch.is_empty() {
            questions.ready.notified().await;
            continue;
        }
        let frames: Result<Vec<Bytes>, _> = batch.iter().map(codec::encode_frame).collect();
        let mut frames = frames.map_err(|error| TransportError::Protocol(error.to_string()))?;
        stream
            .write_all_chunks(&mut frames)
            .await
            .map_err(|error| TransportError::Lost(error.to_string()))?;
    }
}

async fn hear(
    questions: &Questions,
    mut answers: FrameReader,
    clock: &dyn Clock,
) -> Result<(), TransportError> {
    while let Some(frame) = answers.next().await? {
        let answered: Answered =
            codec::decode(&frame).map_err(|error| TransportError::Protocol(error.to_string()))?;
        questions.answered(answered, clock.now())?;
    }
    Ok(())
}
