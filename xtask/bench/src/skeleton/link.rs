//! One direction between two nodes: a long-lived stream of frames there, and on its way back how many writes are synced.

use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::sync::{mpsc, watch};

use super::log::Log;

/// The most that is sent, or taken, as one frame, unless a single write is larger.
const FRAME_BYTES: usize = 256 << 10;
/// Larger ones are taken for nonsense.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// Sends whatever has come together as one frame: its length, the number of its writes, and those.
pub(super) async fn send(
    mut writes: mpsc::UnboundedReceiver<Bytes>,
    mut stream: SendStream,
) -> Result<()> {
    let mut frame = Vec::new();
    while let Some(first) = writes.recv().await {
        frame.clear();
        frame.extend_from_slice(&[0; 8]);
        frame.extend_from_slice(&first);
        let mut count = 1_u32;
        while frame.len() < FRAME_BYTES
            && let Ok(more) = writes.try_recv()
        {
            frame.extend_from_slice(&more);
            count += 1;
        }
        let length = u32::try_from(frame.len() - 8).context("a frame is too long")?;
        frame[..4].copy_from_slice(&length.to_le_bytes());
        frame[4..8].copy_from_slice(&count.to_le_bytes());
        stream.write_all(&frame).await?;
    }
    Ok(())
}

/// Hears how many writes the other has synced.
pub(super) async fn hear_acks(mut stream: RecvStream, mut heard: impl FnMut(u64)) -> Result<()> {
    let mut acked = [0; 8];
    loop {
        stream.read_exact(&mut acked).await?;
        heard(u64::from_le_bytes(acked));
    }
}

/// A frame that was appended: its place in the log, and how many writes there are up to its end.
pub(super) type Appended = (u64, u64);

/// Appends every frame to the log.
pub(super) async fn take(
    mut stream: RecvStream,
    log: Rc<Log>,
    appended: mpsc::UnboundedSender<Appended>,
) -> Result<()> {
    let (mut head, mut writes) = ([0; 8], 0);
    loop {
        stream.read_exact(&mut head).await?;
        let [length, count] = [&head[..4], &head[4..]]
            .map(|number| u32::from_le_bytes(number.try_into().expect("four bytes")));
        let length = usize::try_from(length)?;
        ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame).await?;
        writes += u64::from(count);
        appended.send((log.append(frame.into())?, writes)).ok().context("nobody acks")?;
    }
}

/// Tells the other how many of its writes are synced, whenever these are more.
pub(super) async fn ack(
    mut appended: mpsc::UnboundedReceiver<Appended>,
    mut synced: watch::Receiver<u64>,
    mut stream: SendStream,
) -> Result<()> {
    let mut waiting: VecDeque<Appended> = VecDeque::new();
    loop {
        tokio::select! {
            more = appended.recv() => waiting.push_back(more.context("nothing comes any more")?),
            changed = synced.changed() => changed.context("the log has failed")?,
        }
        let synced = *synced.borrow_and_update();
        let mut done = None;
        while let Some((_, writes)) = waiting.pop_front_if(|(place, _)| *place <= synced) {
            done = Some(writes);
        }
        if let Some(writes) = done {
            stream.write_all(&writes.to_le_bytes()).await?;
        }
    }
}
