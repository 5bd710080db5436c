//! What holds for whatever bytes a peer sends: claims that a fuzzer tries to refute.
//!
//! Each function takes any input, reads it as a node reads what comes from a peer, and panics if a claim about the
//! reader is false. An input that is refused is as good as one that is read.

use std::fmt::Debug;

use quorum_core::{Epoch, Frontier, HandshakeRefusal, Lineage, PeerId, SeqSet};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TransportError;
use crate::frames::FrameBuffer;
use crate::identity::{Member, Roster};
use crate::server::admission::Known;
use crate::wire::LENGTH_BYTES;
use crate::wire::codec::{decode, encode_frame};
use crate::wire::message::{Ack, Answered, Append, Ask, Control, Hello, OpenLane};

/// Longest frame that [`frame_stream`] takes.
const STREAM_FRAME_BYTES_MAX: usize = 256;

/// A frame's body: the first byte chooses what is expected, the rest is read.
///
/// What is read is written in the shortest form there is, and reads back the same; its frontiers obey the rules of sets.
///
/// # Panics
///
/// If a claim is false.
pub fn frame(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else { return };
    match kind % 6 {
        0 => {
            if let Some(control) = read_twice::<Control>(body) {
                check_control(&control);
            }
        }
        1 => drop(read_twice::<OpenLane>(body)),
        2 => {
            if let Some(append) = read_twice::<Append>(body) {
                append.covers.iter().for_each(|(_, set)| check_set(set));
            }
        }
        3 => drop(read_twice::<Ack>(body)),
        4 => drop(read_twice::<Ask>(body)),
        _ => drop(read_twice::<Answered>(body)),
    }
}

/// The first word of a member, and whether it is let in.
///
/// Who is let in says of itself what the certificate, the mesh and the memory of this side say; who says all that, and
/// has no later life here, is let in; and who is refused is told a reason that is true.
///
/// # Panics
///
/// If a claim is false.
pub fn hello(input: &[u8]) {
    let Some((fits, body)) = input.split_first() else { return };
    let Some(mut hello) = read_twice::<Hello>(body) else { return };
    let name = |name: &str| PeerId::new(name).expect("a valid name");
    let members = ["a", "b", "c"].map(|of| Member { name: name(of), address: "h:1".into() });
    let roster = Roster::new(hello.cluster, name("b"), members.to_vec()).expect("a roster");
    // A random word never names this very mesh: each bit makes one part of it fit.
    if fits & 1 != 0 {
        hello.node = name("a");
    }
    if fits & 2 != 0 {
        hello.lineage.origin.node = name("a");
    }
    if fits & 4 != 0 {
        hello.to = name("b");
    }
    if fits & 8 != 0 {
        hello.members = roster.digest();
    }
    let forgotten = hello.announcement.forgotten.clone();
    let (remembered, served) = remembered(&hello.lineage, fits >> 5);
    let known = Known {
        roster: &roster,
        forgotten: &forgotten,
        served: served.as_ref().filter(|_| fits & 16 != 0),
        frontier: &remembered,
    };
    let is_itself = hello.node == name("a") && hello.lineage.origin.node == name("a");
    let is_here = hello.to == name("b");
    let is_of_the_mesh = hello.members == roster.digest();
    let is_gone = forgotten.contains(&hello.lineage.origin);
    let has_a_later_life = known.served.is_some_and(|served| is_later(served, &hello.lineage))
        || remembered.iter().any(|(held, _)| is_later(held, &hello.lineage));
    match known.admits(&name("a"), &hello) {
        Ok(()) => {
            assert!(is_itself && is_here && is_of_the_mesh && !is_gone && !has_a_later_life);
        }
        Err(TransportError::Refused { reason, .. }) => match reason {
            HandshakeRefusal::WrongName => assert!(!is_itself || !is_here),
            HandshakeRefusal::MembersDiffer => assert!(!is_of_the_mesh),
            HandshakeRefusal::Forgotten => assert!(is_gone),
            // A life of the same start and another epoch is a later one as well.
            HandshakeRefusal::RolledBack => {
                let others = remembered.iter().filter(|(held, _)| {
                    held.origin == hello.lineage.origin && held.epoch != hello.lineage.epoch
                });
                assert!(has_a_later_life || others.count() > 0);
            }
            other => panic!("refused as {other}, which does not happen here"),
        },
        Err(other) => panic!("neither let in nor refused: {other}"),
    }
}

/// A stream of frames that comes in pieces.
///
/// The pieces make no difference, no frame is longer than allowed, none is lost, and nothing is left over but the
/// beginning of the next one.
///
/// # Panics
///
/// If a claim is false.
pub fn frame_stream(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    let (whole, refused_at_once) = frames_of([stream].into_iter());
    let (pieces, refused) = frames_of(stream.chunks(usize::from(*piece).max(1)));
    assert_eq!(whole, pieces, "the pieces made a difference");
    assert_eq!(refused_at_once, refused, "the pieces made a difference");
    let mut rest = stream;
    for frame in whole {
        assert!(frame.len() <= STREAM_FRAME_BYTES_MAX, "a frame of {} bytes", frame.len());
        let (length, behind) = rest.split_at(LENGTH_BYTES);
        assert_eq!(length, u32::try_from(frame.len()).expect("short").to_le_bytes());
        rest = behind.strip_prefix(&frame[..]).expect("the very bytes that came in");
    }
    let announced = rest.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
    match announced {
        Some(announced) if announced > STREAM_FRAME_BYTES_MAX => assert!(refused_at_once),
        Some(announced) => assert!(rest.len() < LENGTH_BYTES + announced && !refused_at_once),
        None => assert!(!refused_at_once),
    }
}

/// The frames in a stream, and whether it was refused behind them.
fn frames_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let (mut buffer, mut frames) = (FrameBuffer::new(STREAM_FRAME_BYTES_MAX), Vec::new());
    for piece in pieces {
        buffer.extend(piece);
        loop {
            match buffer.take() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

/// Reads a message, writes it, and reads that. The form that is written is one only, and the shortest.
fn read_twice<M: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) -> Option<M> {
    let message = decode::<M>(body).ok()?;
    let frame = encode_frame(&message).expect("what fitted into a frame fits again");
    let written = &frame[LENGTH_BYTES..];
    assert!(written.len() <= body.len(), "{} bytes came of {}", written.len(), body.len());
    let again: M = decode(written).expect("what was written can be read");
    assert_eq!(again, message, "read otherwise than it was written");
    assert_eq!(encode_frame(&again).expect("as before"), frame, "written in two forms");
    Some(message)
}

fn check_control(control: &Control) {
    match control {
        Control::Welcome { frontier, .. } | Control::Want { dots: frontier } => {
            check_frontier(frontier);
        }
        Control::ProbeReply { frontier: Some(frontier), .. } => check_frontier(frontier),
        _ => {}
    }
}

fn check_frontier(frontier: &Frontier) {
    let mut merged = frontier.clone();
    merged.merge(frontier);
    assert_eq!(&merged, frontier, "a frontier merged with itself is itself");
    assert!(frontier.minus(frontier).is_empty() && frontier.covers(frontier));
    assert!(frontier.covers(&frontier.clipped(3)));
    frontier.iter().for_each(|(_, set)| check_set(set));
}

/// The rules of sets, for the intervals that a peer names.
fn check_set(set: &SeqSet) {
    let intervals: Vec<_> = set.intervals().collect();
    assert!(intervals.iter().all(|(first, last)| *first > 0 && first <= last));
    let apart = |pair: &[(u64, u64)]| pair[0].1.checked_add(1).is_some_and(|next| next < pair[1].0);
    assert!(intervals.windows(2).all(apart), "intervals overlap or touch");
    let gaps = set.gaps();
    assert!(gaps.common(set).is_empty(), "a gap is held");
    let mut filled = gaps.clone();
    filled.merge(set);
    assert_eq!(filled, SeqSet::up_to(set.last()), "gaps and members are not everything");
    assert_eq!(filled.minus(&gaps), *set);
    assert_eq!(set.contiguous() > 0, set.contains(1));
    let mut without = set.clone();
    if without.remove(set.last()) {
        assert!(!without.contains(set.last()) && without.insert(set.last()));
        assert_eq!(&without, set);
    }
}

/// Whether the first is a later life of the same origin.
/// What may be held here of a member that says it lives as `lineage`, and the lineage that is served: for none, nothing; else
/// of an epoch so many half starts later, or of an earlier one.
fn remembered(lineage: &Lineage, half_starts: u8) -> (Frontier, Option<Lineage>) {
    const HALF_A_START: u64 = 1 << 15;
    let Some(later) = u64::from(half_starts).checked_sub(1) else { return Default::default() };
    let epoch = lineage.epoch.as_u64().wrapping_add(later * HALF_A_START);
    let epoch = Epoch::from_u64(epoch.wrapping_sub(3 * HALF_A_START));
    let served = Lineage { epoch, ..lineage.clone() };
    ([(served.clone(), SeqSet::up_to(1))].into_iter().collect(), Some(served))
}

fn is_later(one: &Lineage, other: &Lineage) -> bool {
    one.origin == other.origin && one.epoch > other.epoch
}
