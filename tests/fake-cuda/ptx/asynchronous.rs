//! `cp.async`: copies from device to shared memory that arrive as late as they may.
//!
//! Nothing arrives before its thread waits for it, and the source is read only then. Bulk copies, `mbarrier` and
//! fences of proxies are refused by name when a kernel is decoded.

/// A copy on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    pub lane: u32,
    /// How many groups its thread had committed before.
    group: u32,
    pub to: u64,
    pub from: u64,
    pub size: u8,
    /// Bytes taken from the source; the rest are zero.
    pub taken: u8,
}

/// The copies of a warp.
#[derive(Debug, Default)]
pub struct Copies {
    pending: Vec<Copy>,
    committed: [u32; 32],
}

impl Copies {
    pub fn reset(&mut self) {
        self.pending.clear();
        self.committed = [0; 32];
    }

    /// Starts one.
    pub fn add(&mut self, lane: u32, to: u64, from: u64, size: u8, taken: u8) {
        let group = self.committed[lane as usize];
        self.pending.push(Copy { lane, group, to, from, size, taken });
    }

    /// `cp.async.commit_group`.
    pub fn commit(&mut self, exec: u32) {
        for lane in (0..32).filter(|lane| exec >> lane & 1 == 1) {
            self.committed[lane] += 1;
        }
    }

    /// Takes out what must have arrived after `wait_group count`, or after `wait_all`.
    pub fn wait(&mut self, exec: u32, keep: Option<u32>) -> Vec<Copy> {
        let committed = self.committed;
        let arrives = |copy: &Copy| {
            let waits = exec >> copy.lane & 1 == 1;
            // All but the last `keep` groups; what was never committed belongs to a group to come.
            waits && keep.is_none_or(|keep| copy.group + keep < committed[copy.lane as usize])
        };
        let (arrived, pending) = std::mem::take(&mut self.pending).into_iter().partition(arrives);
        self.pending = pending;
        arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_groups_stay_on_their_way() {
        let mut copies = Copies::default();
        for group in 0..3 {
            copies.add(5, group * 16, 0, 16, 16);
            copies.commit(1 << 5);
        }
        copies.add(5, 48, 0, 16, 16);
        let to = |copies: Vec<Copy>| copies.into_iter().map(|copy| copy.to).collect::<Vec<_>>();
        assert_eq!(to(copies.wait(1 << 4, Some(0))), Vec::<u64>::new(), "another lane waits");
        assert_eq!(to(copies.wait(1 << 5, Some(2))), [0]);
        assert_eq!(to(copies.wait(1 << 5, Some(0))), [16, 32]);
        assert_eq!(to(copies.wait(1 << 5, None)), [48]);
    }
}
