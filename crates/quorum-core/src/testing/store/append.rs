//! The wait for a local append, settled by whoever plays the disk.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;

use crate::testing::store::MemoryStoreError;

/// Completes when a [`MemoryStore`](super::MemoryStore) has its record on its disk, or has lost it.
#[derive(Debug, Clone, Default)]
pub struct Appending {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    result: Option<Result<Instant, MemoryStoreError>>,
    waker: Option<Waker>,
}

impl Appending {
    /// Ends the wait.
    pub(super) fn settle(&self, result: Result<Instant, MemoryStoreError>) {
        let mut shared = self.shared.lock();
        shared.result = Some(result);
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Appending {
    type Output = Result<Instant, MemoryStoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = self.shared.lock();
        match shared.result {
            Some(result) => Poll::Ready(result),
            None => {
                shared.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
