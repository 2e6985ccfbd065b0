//! Shared memory of a block, with a history of each byte: who wrote and read it last, and what orders that.
//!
//! Time is counted in epochs, which every barrier of the whole block ends: what lies in an earlier epoch is
//! ordered before all that follows. Within an epoch each warp has a clock, which `bar.warp.sync` and barriers of
//! some warps move, and a list of how much of the others' time it has seen. Nothing is reported that a barrier
//! orders; of several readers of a byte in one epoch only their warps are kept, so that a race behind barriers of
//! some warps may be missed.

use super::fault::{Blame, Kind};

/// The epoch of bytes that `cp.async` is filling.
const PENDING: u32 = u32::MAX;
/// Thread of a block.
const THREAD: u32 = 1023;
/// More lanes than one of the warp have read it.
const LANES: u32 = 1 << 10;
/// Warps other than this one have read it too.
const WARPS: u32 = 1 << 11;
/// Written by an atomic.
const ATOMIC: u32 = 1 << 11;
const CLOCK: u32 = 12;

/// Who accesses: a thread, and its warp's time.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    pub thread: u32,
    pub clock: u32,
    /// How many ticks of each warp's clock are ordered before now.
    pub seen: &'a [u32; 32],
}

impl Actor<'_> {
    fn stamp(self) -> u32 {
        self.thread | self.clock << CLOCK
    }

    /// Whether something that happened in this epoch is not ordered before now.
    fn races(self, stamp: u32) -> bool {
        let (thread, clock) = (stamp & THREAD, stamp >> CLOCK);
        if thread / 32 == self.thread / 32 {
            let other_lane = thread != self.thread || stamp & LANES != 0;
            return other_lane && clock == self.clock;
        }
        self.seen[thread as usize / 32] <= clock
    }
}

/// Last access of a byte.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    epoch: u32,
    stamp: u32,
}

/// Shared memory with its history.
#[derive(Debug, Default)]
pub struct Shared {
    bytes: Vec<u8>,
    written: Vec<Mark>,
    read: Vec<Mark>,
    /// Now, and the first epoch of this block.
    epoch: u32,
    start: u32,
    /// Whether races are looked for.
    checked: bool,
}

/// What a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    Plain,
    Atomic,
    /// By `cp.async`, whose bytes come later.
    Pending,
}

impl Shared {
    /// Shared memory of a block that begins: poisoned, with no history.
    pub fn begin(&mut self, size: usize, checked: bool) {
        // Bytes of the block before lie in earlier epochs, so no history has to be cleared.
        if self.epoch > u32::MAX / 2 || self.written.len() != size {
            self.written = vec![Mark::default(); size];
            self.read = vec![Mark::default(); size];
            self.epoch = 0;
        }
        self.bytes.clear();
        self.bytes.resize(size, 0xff);
        for mark in self.written.iter_mut().filter(|mark| mark.epoch == PENDING) {
            mark.epoch = 0;
        }
        self.epoch += 1;
        self.start = self.epoch;
        self.checked = checked;
    }

    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// A barrier of the whole block.
    pub fn next_epoch(&mut self) {
        self.epoch += 1;
    }

    fn range(&self, address: u64, size: usize) -> Result<std::ops::Range<usize>, Blame> {
        let end = address.checked_add(size as u64);
        match end {
            Some(end) if end <= self.bytes.len() as u64 => Ok(address as usize..end as usize),
            _ => Err(Blame::new(
                Kind::Address,
                format!(
                    "{size} bytes at {address} of shared memory, of which the block has {}",
                    self.bytes.len()
                ),
            )),
        }
    }

    /// Reads; says whether all of it was ever written.
    #[inline]
    pub fn read(&mut self, address: u64, size: usize, actor: Actor<'_>) -> Result<(&[u8], bool), Blame> {
        let range = self.range(address, size)?;
        let mut defined = true;
        if self.checked {
            let stamp = actor.stamp();
            let (written, read) = (&self.written[range.clone()], &mut self.read[range.clone()]);
            for (at, (written, read)) in written.iter().zip(read).enumerate() {
                defined &= written.epoch >= self.start;
                if written.epoch >= self.epoch {
                    clash(*written, actor, "reads", address + at as u64)?;
                }
                if read.epoch == self.epoch && read.stamp != stamp {
                    let same_warp = (read.stamp & THREAD) / 32 == actor.thread / 32;
                    // What other lanes did before the last barrier of the warp is ordered.
                    let kept =
                        read.stamp & if read.stamp >> CLOCK == actor.clock { LANES | WARPS } else { WARPS };
                    let more = if same_warp {
                        if read.stamp & THREAD == actor.thread { 0 } else { LANES }
                    } else {
                        WARPS
                    };
                    *read = Mark { epoch: self.epoch, stamp: stamp | kept | more };
                } else {
                    *read = Mark { epoch: self.epoch, stamp };
                }
            }
        } else {
            defined = self.written[range.clone()].iter().all(|mark| mark.epoch >= self.start);
        }
        Ok((&self.bytes[range], defined))
    }

    /// Checks a write of `data` and notes it. The bytes of a pending one change when they [land](Self::land).
    #[inline]
    pub fn write(&mut self, address: u64, data: &[u8], actor: Actor<'_>, write: Write) -> Result<(), Blame> {
        let range = self.range(address, data.len())?;
        let flag = if write == Write::Atomic { ATOMIC } else { 0 };
        let mark = Mark {
            epoch: if write == Write::Pending { PENDING } else { self.epoch },
            stamp: actor.stamp() | flag,
        };
        if self.checked {
            for (at, byte) in range.clone().zip(data) {
                let (written, read) = (self.written[at], self.read[at]);
                // Lanes of a warp that write the same value do no harm, and neither do two atomics.
                let same = (written.stamp & THREAD) / 32 == actor.thread / 32 && self.bytes[at] == *byte;
                let atomics = write == Write::Atomic && written.stamp & ATOMIC != 0;
                let harmless = written.epoch != PENDING && write != Write::Pending && (same || atomics);
                if written.epoch >= self.epoch && !harmless {
                    clash(Mark { stamp: written.stamp & !LANES, ..written }, actor, "writes", at as u64)?;
                }
                if read.epoch == self.epoch {
                    self.after_reads(read, actor, at)?;
                }
                // An atomic does not hide a plain write of its own warp, which others may still race with.
                let plain = written.epoch == self.epoch && written.stamp & ATOMIC == 0;
                let own = (written.stamp & THREAD) / 32 == actor.thread / 32;
                if write != Write::Atomic || !plain || !own {
                    self.written[at] = mark;
                }
            }
        } else {
            self.written[range.clone()].fill(mark);
        }
        if write != Write::Pending {
            self.bytes[range].copy_from_slice(data);
        }
        Ok(())
    }

    /// The value of up to eight bytes, for an atomic, which then writes them.
    pub fn peek(&self, address: u64, size: usize) -> Result<u64, Blame> {
        let range = self.range(address, size)?;
        Ok(self.bytes[range].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn after_reads(&self, read: Mark, actor: Actor<'_>, at: usize) -> Result<(), Blame> {
        let last = actor.races(read.stamp & !WARPS);
        // Of further warps no time is known; one barrier of some warps in this epoch is believed to order them.
        let others = read.stamp & WARPS != 0 && actor.seen.iter().all(|seen| *seen == 0);
        if !last && !others {
            return Ok(());
        }
        let reader = read.stamp & THREAD;
        let what = if others && !last { "another warp".to_owned() } else { format!("thread {reader}") };
        Err(Blame::new(
            Kind::Race,
            format!("race: it writes byte {at} of shared memory, which {what} read with no barrier between"),
        ))
    }

    /// Bytes of `cp.async` that arrive.
    pub fn land(&mut self, address: u64, data: &[u8], actor: Actor<'_>) {
        let range = address as usize..address as usize + data.len();
        self.written[range.clone()].fill(Mark { epoch: self.epoch, stamp: actor.stamp() });
        self.bytes[range].copy_from_slice(data);
    }
}

/// An access to bytes that were written in this epoch, or are being written.
fn clash(written: Mark, actor: Actor<'_>, does: &str, at: u64) -> Result<(), Blame> {
    let writer = written.stamp & THREAD;
    if written.epoch == PENDING {
        return Err(Blame::new(
            Kind::Asynchronous,
            format!(
                "it {does} byte {at} of shared memory, which cp.async of thread {writer} is still filling: no cp.async.wait_group has waited for it"
            ),
        ));
    }
    if actor.races(written.stamp & !LANES) {
        return Err(Blame::new(
            Kind::Race,
            format!(
                "race: it {does} byte {at} of shared memory, which thread {writer} wrote with no barrier between"
            ),
        ));
    }
    Ok(())
}
