//! Asks all members at once and counts their answers until enough are there.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use futures_util::{FutureExt, Stream, stream};
use quorum_core::{
    Answer, Clock, Inquirer, PeerAnswer, PeerId, Question, ReadAnswer, ReadTracker, ReadVerdict,
    Sleep, Unavailable,
};
use quorum_transport::QuicPeers;

/// Too few members answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooFewAnswers {
    /// Answers that counted.
    pub got: usize,
    /// Answers that are needed.
    pub needed: usize,
    /// Every member, with why its answer did not count; `None` if it did. A silent one is `timeout`.
    pub members: Vec<(PeerId, Option<&'static str>)>,
}

impl std::fmt::Display for TooFewAnswers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} of {} needed members answered", self.got, self.needed)
    }
}

impl std::error::Error for TooFewAnswers {}

/// Who can be asked.
pub(crate) struct Members<N = QuicPeers> {
    pub(crate) local: PeerId,
    pub(crate) peers: Vec<PeerId>,
    pub(crate) network: N,
    pub(crate) clock: Arc<dyn Clock>,
}

impl<N: Inquirer> Members<N> {
    /// How many there are, this node included.
    pub(crate) fn count(&self) -> usize {
        self.peers.len() + 1
    }

    /// Asks every peer, enters this node's own answer and theirs, and returns once `needed` have answered. `read` says
    /// what an answer means; it is shown every answer that arrives.
    pub(crate) async fn ask(
        &self,
        question: Question,
        own: ReadAnswer,
        needed: usize,
        deadline: Instant,
        mut read: impl FnMut(&PeerId, Answer) -> ReadAnswer + Send,
    ) -> Result<ReadTracker, TooFewAnswers> {
        let everybody = self.peers.iter().chain([&self.local]).cloned();
        let mut tracker = ReadTracker::new(needed, everybody);
        tracker.record(&self.local, own);
        let mut answers = None;
        let mut sleep = self.clock.sleep_until(deadline);
        loop {
            match tracker.verdict() {
                ReadVerdict::Met => return Ok(tracker),
                ReadVerdict::Missed => return Err(too_few(&tracker)),
                ReadVerdict::Pending => {}
            }
            let answers = answers
                .get_or_insert_with(|| self.network.ask(&self.peers, question.clone(), deadline));
            let Some(PeerAnswer { peer, answer, .. }) = next(answers, &mut sleep).await else {
                return Err(too_few(&tracker));
            };
            let answer = match answer {
                Answer::Unavailable(why) => ReadAnswer::Unavailable(why),
                answer => read(&peer, answer),
            };
            tracker.record(&peer, answer);
        }
    }

    /// As [`ask`](Self::ask), but waits for everybody, this node too, gives up on nobody before the deadline, and stops once
    /// `read` says that it has heard enough. Whoever did not answer is named with the reason.
    pub(crate) async fn ask_all(
        &self,
        question: Question,
        own: impl Future<Output = Answer> + Send,
        deadline: Instant,
        mut read: impl FnMut(&PeerId, Answer) -> bool + Send,
    ) -> Vec<(PeerId, &'static str)> {
        let everybody = self.peers.iter().chain([&self.local]).cloned();
        let mut silent: BTreeMap<PeerId, &'static str> =
            everybody.map(|member| (member, "timeout")).collect();
        let ours = pin!(stream::once(own.map(|answer| {
            let (peer, at) = (self.local.clone(), self.clock.now());
            PeerAnswer { peer, answer, at }
        })));
        let theirs = self.network.ask(&self.peers, question, deadline);
        let mut answers = stream::select(ours, theirs);
        let mut sleep = self.clock.sleep_until(deadline);
        while let Some(PeerAnswer { peer, answer, .. }) = next(&mut answers, &mut sleep).await {
            match answer {
                Answer::Unavailable(why) => {
                    silent.insert(peer, why.as_str());
                }
                answer => {
                    silent.remove(&peer);
                    if read(&peer, answer) {
                        break;
                    }
                }
            }
        }
        silent.into_iter().collect()
    }

    /// Asks one peer, at most until the deadline.
    pub(crate) async fn ask_one(
        &self,
        peer: &PeerId,
        question: Question,
        deadline: Instant,
    ) -> Answer {
        let mut answers = self.network.ask(std::slice::from_ref(peer), question, deadline);
        let mut sleep = self.clock.sleep_until(deadline);
        let answer = next(&mut answers, &mut sleep).await;
        answer.map_or(Answer::Unavailable(Unavailable::Unreachable), |answer| answer.answer)
    }
}

/// The next answer; `None` at the deadline, and when there can be no further one.
async fn next<A>(answers: &mut A, deadline: &mut Sleep) -> Option<PeerAnswer>
where
    A: Stream<Item = PeerAnswer> + Unpin,
{
    poll_fn(|context| match Pin::new(&mut *answers).poll_next(context) {
        Poll::Ready(next) => Poll::Ready(next),
        Poll::Pending => deadline.as_mut().poll(context).map(|()| None),
    })
    .await
}

fn too_few(tracker: &ReadTracker) -> TooFewAnswers {
    let why = |answer: Option<&ReadAnswer>| match answer {
        Some(ReadAnswer::Held(_)) => None,
        Some(ReadAnswer::Unavailable(why)) => Some(why.as_str()),
        None => Some("timeout"),
    };
    let members = tracker.answers().map(|(member, answer)| (member.clone(), why(answer))).collect();
    TooFewAnswers { got: tracker.got(), needed: tracker.needed(), members }
}
