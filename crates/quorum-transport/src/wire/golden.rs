//! The bytes of every message of this protocol version, as committed in `tests/golden/v1/`.
//!
//! A change of these bytes is a change of the protocol, and needs another version. To write them anew:
//! `QUORUM_WRITE_GOLDEN=1 cargo test -p quorum-transport --lib golden`.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use quorum_core::{
    Announcement, Answer, Busy, Close, ClusterId, Digest, Durability, Epoch, Frontier, Hlc,
    Incarnation, Known, KnownWrite, Lineage, Newest, Origin, PeerId, Question, RangeEntry, Record,
    Recovery, Refusal, Reply, Repute, SeqSet, StandIn, Unavailable, Version, WriteId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LENGTH_BYTES;
use super::codec::{CodecError, decode, encode_frame};
use super::message::tests::{lineage, record};
use super::message::{Ack, Answered, Append, Ask, Control, Hello, LaneKind, OpenLane};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(format!("{name}.bin"))
}

fn check<M>(name: &str, message: &M)
where
    M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let frame = encode_frame(message).expect("a small message");
    if std::env::var_os("QUORUM_WRITE_GOLDEN").is_some() {
        fs::write(path(name), &frame).expect("the file can be written");
    }
    let golden = fs::read(path(name)).expect("the file is there");
    assert_eq!(frame, golden, "{name}: encoded otherwise than before");
    let (length, body) = golden.split_at(LENGTH_BYTES);
    assert_eq!(length, u32::try_from(body.len()).expect("small").to_le_bytes(), "{name}");
    assert_eq!(&decode::<M>(body).expect("decodable"), message, "{name}: decoded otherwise");
    for cut in 0..body.len() {
        assert!(decode::<M>(&body[..cut]).is_err(), "{name}: complete after {cut} bytes");
    }
    let longer = [body, &[0]].concat();
    assert!(matches!(decode::<M>(&longer), Err(CodecError::Trailing(1))), "{name}: one byte more");
}

fn name(name: &str) -> PeerId {
    PeerId::new(name).expect("a valid name")
}

fn frontier() -> Frontier {
    let origin = Origin { node: name("n2"), incarnation: Incarnation::from_bytes([2; 8]) };
    let other = Lineage { origin, epoch: Epoch::new(3, 500) };
    [(lineage("n1"), SeqSet::up_to(1_000)), (other, SeqSet::from(vec![(1, 4), (6, 300)]))]
        .into_iter()
        .collect()
}

fn announcement() -> Announcement {
    let hlc = Hlc::from_millis(1_700_000_000_000);
    Announcement {
        recovery: Recovery::Recovering,
        known: vec![
            Known { life: lineage("n3").origin, repute: Repute::Vouched },
            Known { life: lineage("n4").origin, repute: Repute::Contested },
            Known { life: lineage("n5").origin, repute: Repute::Complete },
        ],
        close: Some(Close { hlc, covers: frontier() }),
        stable: hlc,
        purged: Hlc::ZERO,
        forgotten: vec![lineage("n4").origin],
        settings: Some(Digest::of(b"settings")),
    }
}

fn questions() -> Vec<Question> {
    let (after, through) = (Some(Bytes::from_static(b"a")), Some(Bytes::from_static(b"b")));
    let ignore_tombstones_through = Hlc::from_millis(1_700_000_000_000);
    vec![
        Question::Newest { key: Bytes::from_static(b"key"), with_record: true },
        Question::Write { write_id: WriteId::from_bytes([9; 16]) },
        Question::RangeDigest {
            after: after.clone(),
            through: through.clone(),
            ignore_tombstones_through,
        },
        Question::Range { after, through },
    ]
}

fn answers() -> Vec<Answer> {
    let (record, key) = (record(5), Bytes::from_static(b"key"));
    let (version, digest, dot) = (record.version(), record.digest, record.dot.clone());
    let newest = |record| Newest { version: version.clone(), digest, record };
    let entry =
        RangeEntry { key: key.clone(), version: version.clone(), digest, is_tombstone: true };
    vec![
        Answer::Newest(None),
        Answer::Newest(Some(newest(None))),
        Answer::Newest(Some(newest(Some(record)))),
        Answer::Write(KnownWrite::Unknown),
        Answer::Write(KnownWrite::Expired),
        Answer::Write(KnownWrite::UnderWay),
        Answer::Write(KnownWrite::Held {
            dot,
            newest: Some(version.clone()),
            version,
            digest,
            key,
        }),
        Answer::RangeDigest { records: 300, digest, is_complete: true },
        Answer::Range { entries: vec![entry], is_complete: false },
        Answer::Unavailable(Unavailable::Recovering),
    ]
}

fn replies() -> Vec<(u64, Reply)> {
    let version =
        Version { hlc: Hlc::from_millis(1_700_000_000_000), origin: lineage("n3").origin };
    let mut replies = vec![
        Reply::Stored,
        Reply::Superseded { version: version.clone(), is_same_write: false },
        Reply::Superseded { version, is_same_write: true },
        Reply::Drift,
    ];
    replies.extend(Refusal::ALL.map(|reason| Reply::Refused { reason }));
    replies.extend(Busy::ALL.map(|reason| Reply::Busy { reason }));
    (1..).zip(replies).collect()
}

#[test]
fn every_message_has_the_bytes_of_its_version() {
    check(
        "hello",
        &Hello {
            cluster: ClusterId::from_bytes([7; 16]),
            node: name("n1"),
            to: name("n2"),
            members: Digest::of(b"members"),
            lineage: lineage("n1"),
            announcement: announcement(),
        },
    );
    let (of, held, said) = (lineage("n2"), frontier(), announcement());
    check("welcome", &Control::Welcome { lineage: of, frontier: held, announcement: said });
    check("probe", &Control::Probe { sent_micros: 1_700_000_000_000_000 });
    for (file, frontier) in [("probe_reply", None), ("probe_reply_frontier", Some(frontier()))] {
        let reply = Control::ProbeReply {
            sent_micros: 1_700_000_000_000_000,
            received_micros: 1_700_000_000_000_250,
            answered_micros: 1_700_000_000_000_300,
            frontier,
            announcement: Some(announcement()),
        };
        check(file, &reply);
    }
    check("want", &Control::Want { dots: frontier() });
    check("may_snapshot", &Control::MaySnapshot);
    check("snapshot", &Control::Snapshot { granted: true });
    check("snapshot_done", &Control::SnapshotDone);
    check("ask", &Ask { number: 300, budget_micros: 1_000_000, question: questions().remove(0) });
    for (number, answer) in (1..).zip(answers()) {
        check(&format!("answer_{number}"), &Answered { number, answer });
    }
    for (number, question) in (1..).zip(questions()) {
        check(&format!("question_{number}"), &Ask { number, budget_micros: 0, question });
    }
    for (file, kind) in [("open_live", LaneKind::Live), ("open_catch_up", LaneKind::CatchUp)] {
        let (incarnation, epoch) = (Incarnation::from_bytes([1; 8]), Epoch::new(1, 7).as_u64());
        check(file, &OpenLane { kind, incarnation, epoch });
    }
    let covers: Vec<_> =
        frontier().iter().map(|(lineage, set)| (lineage.clone(), set.clone())).collect();
    let bare = Append { record: Some(record(5)), ..Append::default() };
    let relaxed = Record { durability: Durability::Relaxed, ..record(6) };
    check("append", &bare);
    check("append_relaxed", &Append { record: Some(relaxed), ..bare.clone() });
    check("append_covers", &Append { covers: covers.clone(), ..bare.clone() });
    check("append_traced", &Append { trace: Some([0xab; 25]), ..bare });
    let void = Append { record: None, covers, void: true, ..Append::default() };
    check("void", &void);
    check("covers_only", &Append { void: false, ..void.clone() });
    let dot = record(5).dot;
    let stand_in = StandIn { dot, hlc: Hlc::from_millis(5), key: Bytes::from_static(b"key") };
    check("held_there", &Append { void: false, stand_in: Some(stand_in), ..void });
    check("ack", &Ack { upto: 300, hash: [3; 16], synced: true, exceptions: Vec::new() });
    let exceptions = replies();
    check("ack_exceptions", &Ack { upto: 300, hash: [3; 16], synced: false, exceptions });
}

#[test]
fn a_container_that_claims_more_than_its_frame_is_refused_unallocated() {
    // An append with a record whose payload claims almost 16 MiB, in a frame of some 100 bytes.
    let append = Append { record: Some(record(5)), ..Append::default() };
    let frame = encode_frame(&append).expect("a small message");
    let payload = append.record.expect("just put there").payload;
    let body = &frame[LENGTH_BYTES..];
    let at = body.windows(payload.len()).position(|bytes| bytes == payload).expect("in there");
    let mut bomb = body[..at - 1].to_vec();
    bomb.push(252);
    bomb.extend_from_slice(&15_000_000_u32.to_le_bytes());
    bomb.extend_from_slice(&body[at..]);
    let Err(CodecError::Undecodable(why)) = decode::<Append>(&bomb) else {
        panic!("a bomb was decoded");
    };
    assert!(why.contains("LimitExceeded"), "refused for another reason: {why}");
}

#[test]
fn a_large_payload_passes() {
    for bytes in [0x200, 0x2000, 0x2_0000, 0x20_0000, 15 << 20] {
        let payload = vec![1; bytes].into();
        let record = Record { payload, ..record(1) };
        let append = Append { record: Some(record), ..Append::default() };
        let frame = encode_frame(&append).expect("below the limit");
        assert_eq!(decode::<Append>(&frame[LENGTH_BYTES..]).expect("decodable"), append);
    }
    let record = Record { payload: vec![1; 17 << 20].into(), ..record(1) };
    let append = Append { record: Some(record), ..Append::default() };
    assert!(matches!(encode_frame(&append), Err(CodecError::TooLarge(_))));
}

proptest! {
    #[test]
    fn garbage_never_panics(body in prop::collection::vec(any::<u8>(), 0..600)) {
        let _refused = decode::<Hello>(&body);
        let _refused = decode::<Control>(&body);
        let _refused = decode::<Ask>(&body);
        let _refused = decode::<Answered>(&body);
        let _refused = decode::<OpenLane>(&body);
        let _refused = decode::<Append>(&body);
        let _refused = decode::<Ack>(&body);
    }

    #[test]
    fn a_damaged_message_never_panics(at in 0_usize..2_000, byte in any::<u8>()) {
        for entry in fs::read_dir(path("hello").parent().expect("a folder")).expect("readable") {
            let mut body = fs::read(entry.expect("an entry").path()).expect("readable");
            body.drain(..LENGTH_BYTES);
            let length = body.len();
            body[at % length] = byte;
            let _either_way = decode::<Hello>(&body);
            let _either_way = decode::<Control>(&body);
            let _either_way = decode::<Append>(&body);
            let _either_way = decode::<Ack>(&body);
        }
    }
}
