//! Executes a decoded kernel, block by block, warp by warp.
//!
//! Blocks run on the host's threads in no order that may be relied on; within a block the seed decides. The same
//! seed gives the same order within each block.

pub mod block;
pub mod collective;
pub mod counts;
pub mod lanes;
pub mod memory;
pub mod warp;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::decode::Kernel;
use super::fault::Fault;
use block::Block;
use counts::Counts;
use memory::Regions;
use warp::Warp;

/// A launch whose limits were checked.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    pub kernel: &'a Kernel,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    /// The kernel's parameters at their offsets.
    pub parameters: &'a [u8],
    pub multiprocessors: u32,
}

impl Launch<'_> {
    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    fn blocks(&self) -> u64 {
        self.grid.iter().map(|side| u64::from(*side)).product()
    }
}

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Decides the order of warps, and of lanes that went apart.
    pub seed: u64,
    /// Whether races in shared memory are looked for, which takes as long again where it is used much.
    pub races: bool,
    /// Threads of the host.
    pub workers: usize,
}

impl Default for Options {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self { seed: 1, races: true, workers }
    }
}

/// Below this many threads of a launch it runs on the caller's alone.
const WORTH_A_WORKER: u64 = 4096;

/// Runs a launch to its end.
///
/// # Errors
/// The first fault that was met.
pub fn run(launch: &Launch<'_>, regions: &Regions, options: Options) -> Result<Counts, Fault> {
    let blocks = launch.blocks();
    let threads = blocks * u64::from(launch.threads());
    let workers = if threads < WORTH_A_WORKER { 1 } else { options.workers.max(1).min(blocks as usize) };
    let next = AtomicU64::new(0);
    let result = Mutex::new((Counts::new(launch.kernel.ops.len()), None::<(u64, Fault)>));
    let work = || {
        let mut block = Block::new(launch, regions);
        let kernel = launch.kernel;
        let mut warps: Vec<Warp> = (0..launch.threads().div_ceil(32))
            .map(|index| Warp::new(index, kernel.rows, kernel.predicates, kernel.local_bytes))
            .collect();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= blocks {
                break;
            }
            let [x, y, _] = launch.grid.map(u64::from);
            let at = [number % x, number / x % y, number / (x * y)].map(|place| place as u32);
            if let Err(fault) = block.run(launch, at, number, &mut warps, options) {
                // The others stop at their next block.
                next.store(blocks, Ordering::Relaxed);
                let mut result = result.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if result.1.as_ref().is_none_or(|(known, _)| number < *known) {
                    result.1 = Some((number, fault));
                }
                break;
            }
        }
        result.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0.add(&block.counts);
    };
    if workers == 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
    }
    let (counts, fault) = result.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match fault {
        Some((_, fault)) => Err(fault),
        None => Ok(counts),
    }
}
