//! A block of threads: its warps in an order that the seed shuffles, its shared memory, its barriers.

use super::super::checks::Shared;
use super::super::decode::{Kernel, Special};
use super::super::fault::{Blame, Fault, Kind};
use super::super::op::{Barrier, Code};
use super::counts::Counts;
use super::memory::Regions;
use super::warp::Warp;
use super::{Launch, Options};

/// What the warps of a block share.
pub struct Block<'a> {
    pub kernel: &'a Kernel,
    pub parameters: &'a [u8],
    pub regions: &'a Regions,
    pub shared: Shared,
    pub barriers: [State; 16],
    pub counts: Counts,
    pub threads: usize,
    /// Whether AVX2 and FMA are there.
    pub fast: bool,
    chance: u64,
}

/// A barrier of the block.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Threads that it takes; 0 for all of the block.
    threads: u32,
    arrived: u32,
    /// Warps that wait, and whether some came without waiting.
    waiting: u32,
    passed: bool,
    /// What is ordered before whoever goes on from here.
    seen: [u32; 32],
    votes: u32,
    voters: u32,
}

impl State {
    pub fn arrive(
        &mut self,
        warp: &mut Warp,
        what: Barrier,
        threads: u32,
        votes: u32,
        exec: u32,
    ) -> Result<(), Blame> {
        if self.arrived > 0 && self.threads != threads {
            let what = format!("a barrier of {threads} threads at which others wait for {}", self.threads);
            return Err(Blame::new(Kind::Divergence, what));
        }
        self.threads = threads;
        self.arrived += 32;
        for (mine, theirs) in self.seen.iter_mut().zip(warp.seen) {
            *mine = (*mine).max(theirs);
        }
        let own = warp.index as usize;
        self.seen[own] = self.seen[own].max(warp.clock + 1);
        warp.clock += 1;
        if what == Barrier::Arrive {
            self.passed = true;
        } else {
            self.waiting |= 1 << warp.index;
        }
        self.votes += votes.count_ones();
        self.voters += exec.count_ones();
        Ok(())
    }
}

impl<'a> Block<'a> {
    pub fn new(launch: &Launch<'a>, regions: &'a Regions) -> Self {
        Self {
            kernel: launch.kernel,
            parameters: launch.parameters,
            regions,
            shared: Shared::default(),
            barriers: Default::default(),
            counts: Counts::new(launch.kernel.ops.len()),
            threads: launch.threads() as usize,
            fast: fast(),
            chance: 0,
        }
    }

    /// One more run of an operation.
    #[inline(always)]
    pub fn count(&mut self, pc: u32, exec: u32) {
        self.counts.runs[pc as usize] += 1;
        self.counts.lanes += u64::from(exec.count_ones());
    }

    /// A number below `bound`: splitmix64, which is enough to shuffle.
    pub fn random(&mut self, bound: u32) -> u32 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.chance;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((((x ^ x >> 31) >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// True once in `times`.
    pub fn chance(&mut self, times: u32) -> bool {
        self.random(times) == 0
    }

    /// Runs a block to its end.
    ///
    /// # Errors
    /// The first fault.
    pub fn run(
        &mut self,
        launch: &Launch<'_>,
        at: [u32; 3],
        number: u64,
        warps: &mut [Warp],
        options: Options,
    ) -> Result<(), Fault> {
        self.chance = options.seed ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03);
        self.shared.begin((self.kernel.static_shared + launch.dynamic_shared) as usize, options.races);
        self.barriers = Default::default();
        self.begin(launch, at, number, warps);
        let mut order: Vec<usize> = (0..warps.len()).collect();
        while warps.iter().any(|warp| warp.live != 0) {
            for last in (1..order.len()).rev() {
                let other = self.random(last as u32 + 1) as usize;
                order.swap(last, other);
            }
            let mut moved = false;
            for at_warp in &order {
                let warp = &mut warps[*at_warp];
                if warp.live == 0 || warp.waiting.is_some() {
                    continue;
                }
                moved = true;
                let turn = 16 + self.random(496);
                if let Err(blame) = warp.run(self, turn) {
                    return Err(self.fault(blame, warp, at));
                }
                // At once: a barrier that is full is done, and who comes next is at another.
                self.release(warps);
            }
            moved |= self.release(warps);
            if !moved {
                let stuck = warps.iter().filter(|warp| warp.live != 0);
                let places: Vec<String> =
                    stuck.map(|warp| format!("warp {}: {}", warp.index, warp.places(self))).collect();
                let Some(warp) = warps.iter().find(|warp| warp.live != 0) else { return Ok(()) };
                let what = format!("threads wait for what cannot come: {}", places.join("; "));
                return Err(self.fault(Blame::new(Kind::Deadlock, what), warp, at));
            }
        }
        Ok(())
    }

    /// Puts every warp at the start and fills its constants and special registers.
    fn begin(&self, launch: &Launch<'_>, at: [u32; 3], number: u64, warps: &mut [Warp]) {
        let kernel = self.kernel;
        let [x, y, _] = launch.block;
        let threads = launch.threads();
        for warp in warps.iter_mut() {
            let first = warp.index * 32;
            let lanes = if threads - first >= 32 { u32::MAX } else { (1 << (threads - first)) - 1 };
            warp.begin(kernel.start(), lanes);
            for (row, value, wide) in &kernel.constants {
                warp.rows.fill(*row, *value, *wide);
            }
            for (row, special) in &kernel.specials {
                let value = |lane: u32| {
                    let thread = first + lane;
                    match special {
                        Special::Tid(0) => thread % x,
                        Special::Tid(1) => thread / x % y,
                        Special::Tid(_) => thread / (x * y),
                        Special::Ntid(axis) => launch.block[usize::from(*axis)],
                        Special::Ctaid(axis) => at[usize::from(*axis)],
                        Special::Nctaid(axis) => launch.grid[usize::from(*axis)],
                        Special::Lane => lane,
                        Special::Warp => warp_index(first),
                        Special::Warps => threads.div_ceil(32),
                        Special::Multiprocessor => (number % u64::from(launch.multiprocessors)) as u32,
                        Special::Multiprocessors => launch.multiprocessors,
                        Special::MaskEq => 1 << lane,
                        Special::MaskLt => (1 << lane) - 1,
                        Special::MaskLe => u32::MAX >> (31 - lane),
                        Special::MaskGt => (u32::MAX << lane) & !(1 << lane),
                        Special::MaskGe => u32::MAX << lane,
                        Special::DynamicShared => launch.dynamic_shared,
                        Special::TotalShared => launch.dynamic_shared + kernel.static_shared,
                    }
                };
                let values: [u32; 32] = std::array::from_fn(|lane| value(lane as u32));
                *warp.rows.words_mut(*row) = values;
                warp.rows.defined[*row as usize] = u32::MAX;
            }
        }
    }

    /// Opens the barriers at which all have arrived.
    fn release(&mut self, warps: &mut [Warp]) -> bool {
        let live: u32 = warps.iter().filter(|warp| warp.live != 0).fold(0, |all, warp| all | 1 << warp.index);
        let mut moved = false;
        for which in 0..self.barriers.len() {
            let state = &self.barriers[which];
            let all = live.count_ones() * 32;
            if state.arrived == 0 || state.arrived < if state.threads == 0 { all } else { state.threads } {
                continue;
            }
            let state = std::mem::take(&mut self.barriers[which]);
            // One at which every warp of the block waits orders everything.
            let whole = state.waiting & live == live && !state.passed;
            if whole {
                self.shared.next_epoch();
            }
            for warp in warps.iter_mut().filter(|warp| state.waiting >> warp.index & 1 == 1) {
                if whole {
                    warp.clock = 0;
                    warp.seen = [0; 32];
                } else {
                    for (mine, theirs) in warp.seen.iter_mut().zip(state.seen) {
                        *mine = (*mine).max(theirs);
                    }
                }
                self.answer(&state, warp);
                warp.release();
            }
            moved = true;
        }
        moved
    }

    /// What a reduction at a barrier gives back.
    fn answer(&self, state: &State, warp: &mut Warp) {
        let Some(waiting) = warp.waiting else { return };
        let op = &self.kernel.ops[waiting.op as usize];
        let holds = |holds: bool| if holds { u32::MAX } else { 0 };
        match op.code {
            Code::Barrier(Barrier::Count) => {
                for lane in super::memory::lanes(waiting.exec) {
                    warp.rows.words_mut(op.d)[lane as usize] = state.votes;
                }
                warp.rows.mark(op.d, waiting.exec, u32::MAX);
            }
            Code::Barrier(Barrier::All) => {
                warp.rows.set_predicate(op.p, waiting.exec, holds(state.votes == state.voters), u32::MAX);
            }
            Code::Barrier(Barrier::Any) => {
                warp.rows.set_predicate(op.p, waiting.exec, holds(state.votes > 0), u32::MAX);
            }
            _ => {}
        }
    }

    fn fault(&self, blame: Blame, warp: &Warp, block: [u32; 3]) -> Fault {
        Fault {
            kind: blame.kind,
            what: blame.what,
            line: self.kernel.ops[warp.at as usize].line,
            instruction: self.kernel.names[warp.at as usize].clone(),
            kernel: self.kernel.name.clone(),
            block,
            thread: blame.lane.map(|lane| warp.index * 32 + lane),
        }
    }
}

fn warp_index(first_thread: u32) -> u32 {
    first_thread / 32
}

/// Whether the machine may run with AVX2 and FMA.
fn fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            is_x86_feature_detected!("avx2"),
            is_x86_feature_detected!("fma"),
            is_x86_feature_detected!("bmi2"),
        ];
        all.into_iter().all(|there| there) && is_x86_feature_detected!("lzcnt")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}
