//! The peak rates of the device that computes, measured during the run: the ceiling for all figures.
//!
//! Data sheets are no ceiling for a slice of a shared machine, or for a GPU whose clocks are held back. Dedicated threads, each
//! pinned to one processor that this process may use, do nothing but read, write, copy or multiply; a GPU does the same in
//! kernels of its own (`gpu`). The best of several rounds counts, since any disturbance only lowers a round. Takes about a
//! second.

mod bandwidth;
mod flops;
mod gpu;
mod narrow;

use std::convert::Infallible;

use crate::base::units::Bytes;
use crate::base::{clock, memory, sys};

pub use gpu::measure as measure_gpu;

/// A device's peaks.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicePeaks {
    /// Number of concurrent threads; of a GPU its multiprocessors.
    pub threads: usize,
    /// Bytes per second read, each round.
    pub read: Vec<f64>,
    /// Bytes per second written.
    pub write: Vec<f64>,
    /// Bytes per second copied, read and written bytes counted once.
    pub copy: Vec<f64>,
    /// Operations per second, a multiply-add counted as two: in single precision, on a GPU of f16 with single-precision sums.
    pub flops: Vec<f64>,
    /// Instructions used: `avx512f`, `avx2+fma`, `portable`, `mma.sync f16`.
    pub instruction_set: &'static str,
    /// 8-bit integer operations per second and their instructions, if the device has them.
    pub narrow: Option<(Vec<f64>, &'static str)>,
    /// 8-bit floating-point operations per second, on GPUs that have them.
    pub fp8: Option<Vec<f64>>,
    /// Total size of the threads' arrays, in bytes; on a GPU of one.
    pub bytes: Bytes,
    /// Largest cache.
    pub cache: Bytes,
}

/// The best of several rounds.
pub fn best(rounds: &[f64]) -> f64 {
    rounds.iter().copied().fold(0.0, f64::max)
}

/// Two best rounds that differ by less than this are both close to the peak.
const AGREE: f64 = 0.05;
/// On a noisy machine, up to this many times the rounds are run.
const PATIENCE: usize = 4;

/// At least `least` rounds, and more until the two best agree: a peak measured while others use the machine is too low,
/// and would make a true figure look impossible.
fn rounds(least: usize, mut round: impl FnMut() -> f64) -> Vec<f64> {
    let Ok(found) = rounds_or(least, || Ok::<_, Infallible>(round()));
    found
}

/// [`rounds`] that can fail.
fn rounds_or<E>(least: usize, mut round: impl FnMut() -> Result<f64, E>) -> Result<Vec<f64>, E> {
    let mut found: Vec<f64> = Vec::new();
    while found.len() < least * PATIENCE {
        found.push(round()?);
        let mut sorted = found.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        if found.len() >= least && sorted.get(1).is_some_and(|second| *second >= sorted[0] * (1.0 - AGREE)) {
            break;
        }
    }
    Ok(found)
}

/// Measures the processors with `threads` threads.
///
/// # Errors
/// A sentence if the machine has too little free memory.
pub fn measure(threads: usize) -> Result<DevicePeaks, String> {
    let bytes = array_bytes(threads)?;
    let bandwidth = bandwidth::measure(threads, bytes);
    let (flops, instruction_set) = flops::measure(threads);
    Ok(DevicePeaks {
        threads,
        read: bandwidth.read,
        write: bandwidth.write,
        copy: bandwidth.copy,
        flops,
        instruction_set,
        narrow: narrow::measure(threads),
        fp8: None,
        bytes: Bytes::new((bytes * threads) as u64),
        cache: last_level_cache(),
    })
}

impl DevicePeaks {
    /// Adds the rounds of another measurement: any disturbance only lowers a round.
    pub fn add(&mut self, again: Self) {
        self.read.extend(again.read);
        self.write.extend(again.write);
        self.copy.extend(again.copy);
        self.flops.extend(again.flops);
        if let (Some((rounds, _)), Some((more, _))) = (&mut self.narrow, again.narrow) {
            rounds.extend(more);
        }
        if let (Some(rounds), Some(more)) = (&mut self.fp8, again.fp8) {
            rounds.extend(more);
        }
    }
}

/// The cache size that the arrays must exceed; on a slice of a machine it is shared with other processors.
fn last_level_cache() -> Bytes {
    sys::last_level_cache().unwrap_or(Bytes::new(64 << 20))
}

/// Bytes of one thread's array: in total four times the last-level cache, at most a quarter of the free memory.
fn array_bytes(threads: usize) -> Result<usize, String> {
    let wanted = (last_level_cache().get() * 4).clamp(128 << 20, 1 << 30);
    let free = memory::memory().map_or(u64::MAX, |memory| memory.available.get());
    // A copy needs two arrays.
    let total = wanted.min(free / 8);
    if total < last_level_cache().get() * 2 {
        return Err(format!(
            "only {} of memory is free, too little for arrays larger than the cache",
            Bytes::new(free)
        ));
    }
    usize::try_from(total).map(|total| total / threads.max(1)).map_err(|error| error.to_string())
}

/// Runs `work` concurrently, once in each of `threads` pinned threads, and returns the longest time in seconds.
fn together(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let cpus = sys::allowed_cpus_core_by_core();
    let barrier = std::sync::Barrier::new(threads);
    let spans: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|index| {
                let (work, barrier, cpus) = (&work, &barrier, &cpus);
                scope.spawn(move || {
                    if let Some(cpu) = cpus.get(index % cpus.len().max(1)) {
                        // A thread that cannot be pinned still takes part.
                        let _pinned: bool = sys::pin_thread(*cpu);
                    }
                    barrier.wait();
                    let begin = clock::now();
                    work(index);
                    (begin, clock::now())
                })
            })
            .collect();
        handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
    });
    let begin = spans.iter().map(|(begin, _)| *begin).min();
    let end = spans.iter().map(|(_, end)| *end).max();
    begin.zip(end).map_or(f64::INFINITY, |(begin, end)| end.since(begin).get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_round_is_followed_by_more() {
        let run = |given: &[f64]| {
            let mut given = given.iter().copied().chain(std::iter::repeat(1.0));
            rounds(3, || given.next().expect("endless"))
        };
        assert_eq!(run(&[9.0, 10.0, 9.6]), [9.0, 10.0, 9.6]);
        assert_eq!(run(&[5.0, 6.0, 10.0, 7.0, 9.9]), [5.0, 6.0, 10.0, 7.0, 9.9]);
        assert_eq!(run(&[5.0, 10.0]).len(), 12, "it does not go on for ever");
    }

    #[test]
    fn peaks_are_positive_and_in_order() {
        let peaks = measure(1).expect("memory");
        for rounds in [&peaks.read, &peaks.write, &peaks.copy, &peaks.flops] {
            assert!(
                rounds.len() >= 3 && rounds.iter().all(|rate| rate.is_finite() && *rate > 0.0),
                "{peaks:?}"
            );
        }
        if let Some((rounds, name)) = &peaks.narrow {
            let ratio = best(rounds) / best(&peaks.flops);
            // Narrower numbers are at least as fast. A register has at most eight times the lanes; AMX adds 1,024 products a
            // cycle where two units of AVX-512 add 32.
            let most = if *name == "amx" { 80.0 } else { 10.0 };
            assert!((0.8..most).contains(&ratio), "{name}: {ratio} {peaks:?}");
        }
        // A multiplication takes less time than eight bytes from memory on every machine there is.
        assert!(best(&peaks.flops) > best(&peaks.read) / 8.0, "{peaks:?}");
        // A compiler that dropped the loop would show petabytes.
        assert!(best(&peaks.read) < 4e12 && best(&peaks.flops) < 4e12, "{peaks:?}");
    }
}
