//! Ports for members of a mesh, which must be known before they start and stay the same when they start again.
//!
//! Every test program takes blocks of them, each by a lock on a file of its number, so that no two programs look at the same
//! port: one that is free when it is looked at could be another's a moment later.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

/// Below the range from which the system picks ports by itself.
const FIRST: u16 = 10_000;
const BLOCK: u16 = 100;
const BLOCKS: u16 = 200;

/// A block that is this program's until it ends.
#[derive(Debug)]
struct Block {
    _lock: File,
    next: u16,
    end: u16,
}

impl Block {
    /// The first that nobody has.
    fn lock() -> Self {
        let directory = std::env::temp_dir().join("quorum-test-ports");
        std::fs::create_dir_all(&directory).expect("a directory for the locks");
        let locked = (0..BLOCKS).find_map(|number| {
            let path = directory.join(number.to_string());
            let lock = OpenOptions::new().create(true).append(true).open(path).ok()?;
            lock.try_lock().ok()?;
            let next = FIRST + number * BLOCK;
            Some(Self { _lock: lock, next, end: next + BLOCK })
        });
        locked.expect("not all blocks of ports are taken")
    }

    /// The first of `count` ports in a row that nobody uses, for UDP and TCP.
    fn take(&mut self, count: u16) -> Option<u16> {
        let is_free = |port: u16| {
            let at = (Ipv4Addr::LOCALHOST, port);
            UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok()
        };
        while self.end - self.next >= count {
            let first = self.next;
            self.next += count;
            if (first..self.next).all(is_free) {
                return Some(first);
            }
        }
        None
    }
}

/// The first of `count` ports in a row that nobody uses. No two calls give the same.
pub(crate) fn free_ports(count: u16) -> u16 {
    static BLOCKS_HERE: Mutex<Vec<Block>> = Mutex::new(Vec::new());
    assert!(count <= BLOCK, "{count} ports in a row");
    let mut blocks = BLOCKS_HERE.lock().expect("whoever asks does not panic");
    loop {
        if let Some(first) = blocks.last_mut().and_then(|block| block.take(count)) {
            return first;
        }
        blocks.push(Block::lock());
    }
}
