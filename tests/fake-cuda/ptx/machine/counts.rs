//! What a launch did: instructions by kind, bytes, sectors of 32 bytes, wavefronts of shared memory.

use std::collections::BTreeMap;

use super::super::decode::Kernel;
use super::super::op::Code;
use super::super::op::Space;

/// Traffic of one instruction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub accesses: u64,
    pub bytes: u64,
    pub sectors: u64,
    pub wavefronts: u64,
}

/// Counts by operation.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Times that a warp ran it.
    pub runs: Vec<u64>,
    pub traffic: Vec<Traffic>,
    /// Lanes that took part, over all operations.
    pub lanes: u64,
}

/// Counts of a launch for people and for tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Instructions that warps ran, all and by opcode with its modifiers.
    pub instructions: u64,
    pub by_name: BTreeMap<String, u64>,
    pub lanes: u64,
    /// Of device memory: accesses by warps, bytes asked for, sectors touched.
    pub global: Traffic,
    /// Of shared memory: accesses by warps, bytes, wavefronts; without conflicts as few as the bytes allow.
    pub shared: Traffic,
}

impl Counts {
    pub fn new(ops: usize) -> Self {
        Self { runs: vec![0; ops], traffic: vec![Traffic::default(); ops], lanes: 0 }
    }

    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.runs.iter_mut().zip(&other.runs) {
            *mine += theirs;
        }
        for (mine, theirs) in self.traffic.iter_mut().zip(&other.traffic) {
            mine.add(*theirs);
        }
        self.lanes += other.lanes;
    }

    pub fn summary(&self, kernel: &Kernel) -> Summary {
        let mut summary = Summary { lanes: self.lanes, ..Summary::default() };
        for ((op, name), (runs, traffic)) in
            kernel.ops.iter().zip(&kernel.names).zip(self.runs.iter().zip(&self.traffic))
        {
            if op.counted && *runs > 0 {
                summary.instructions += runs;
                *summary.by_name.entry(name.clone()).or_default() += runs;
            }
            let space = match op.code {
                Code::Load(access) | Code::Store(access) => access.space,
                Code::Atomic { space, .. } => space,
                Code::AsyncCopy => Space::Global,
                Code::LoadMatrix { .. } => Space::Shared,
                _ => continue,
            };
            match space {
                Space::Global => summary.global.add(*traffic),
                Space::Shared => summary.shared.add(*traffic),
                Space::Generic if traffic.sectors > 0 => summary.global.add(*traffic),
                Space::Generic => summary.shared.add(*traffic),
                _ => {}
            }
        }
        summary
    }
}

impl Traffic {
    fn add(&mut self, other: Self) {
        self.accesses += other.accesses;
        self.bytes += other.bytes;
        self.sectors += other.sectors;
        self.wavefronts += other.wavefronts;
    }
}

/// Different sectors of 32 bytes that the lanes touch. No access is wider than one and all are aligned.
pub fn sectors(addresses: &[u64; 32], exec: u32) -> u64 {
    let mut found = [0u64; 32];
    let mut count = 0;
    let mut sorted = true;
    for (lane, address) in addresses.iter().enumerate() {
        if exec >> lane & 1 == 0 {
            continue;
        }
        let sector = address >> 5;
        if count > 0 && found[count - 1] == sector {
            continue;
        }
        sorted &= count == 0 || found[count - 1] < sector;
        found[count] = sector;
        count += 1;
    }
    if sorted {
        return count as u64;
    }
    let found = &mut found[..count];
    found.sort_unstable();
    1 + found.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64
}

/// Times that the 32 banks of 4 bytes are read for one access: once for each 128 bytes when nothing collides.
pub fn wavefronts(addresses: &[u64; 32], exec: u32, size: usize) -> u64 {
    // Wide accesses go by halves and quarters of the warp.
    let (words, part) = (size.div_ceil(4), 32 / size.div_ceil(4).clamp(1, 8));
    let mut total = 0;
    for first in (0..32).step_by(part) {
        let mut words_of = [[u64::MAX; 8]; 32];
        let mut deep = [0usize; 32];
        let mut most = 0;
        for lane in (first..first + part).filter(|lane| exec >> lane & 1 == 1) {
            for word in 0..words as u64 {
                let word = addresses[lane] / 4 + word;
                let bank = (word % 32) as usize;
                let known = &mut words_of[bank];
                let used = deep[bank].min(8);
                if known[..used].contains(&word) {
                    continue;
                }
                if used < 8 {
                    known[used] = word;
                }
                deep[bank] += 1;
                most = most.max(deep[bank]);
            }
        }
        total += most as u64;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_and_wavefronts_are_those_of_the_pattern() {
        let pattern = |f: fn(u64) -> u64| std::array::from_fn(|lane| f(lane as u64));
        for (addresses, exec, size, want_sectors, want_wavefronts) in [
            (pattern(|lane| 4 * lane), u32::MAX, 4, 4, 1),
            (pattern(|lane| 16 * lane), u32::MAX, 16, 16, 4),
            (pattern(|_| 64), u32::MAX, 4, 1, 1),
            (pattern(|lane| 128 * lane), u32::MAX, 4, 32, 32),
            (pattern(|lane| 8 * lane), u32::MAX, 4, 8, 2),
            (pattern(|lane| 132 * lane), u32::MAX, 4, 32, 1),
            (pattern(|lane| 4 * (31 - lane)), u32::MAX, 4, 4, 1),
            (pattern(|lane| 128 * lane), 0b11, 4, 2, 2),
        ] {
            assert_eq!(sectors(&addresses, exec), want_sectors, "{addresses:?}");
            let most = wavefronts(&addresses, exec, size);
            // More than eight words of a bank are counted again when they come back; here none does.
            assert_eq!(most, want_wavefronts, "{addresses:?}");
        }
    }
}
