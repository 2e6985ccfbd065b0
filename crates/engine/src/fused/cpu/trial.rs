//! Chooses the prefetch of decode steps by a trial when a model is loaded.
//!
//! A decode step reads every weight once, so its speed is the memory's, and which prefetch serves best is a property
//! of the processor: lines that bypass the outer caches (`prefetchnta`) come somewhat faster on some and at half the
//! speed on others, and where a core can wait for few lines at its first cache (24 on Zen 4) more arrive when the second
//! one is asked, further ahead: there a core read 24 GB/s instead of 15. So each way reads the model's own matrices a few
//! times when they are loaded, and the fastest is kept; the record says which.
#![allow(unsafe_code, reason = "the trial runs the kernels, which write disjoint rows")]

use crate::base::clock;

use super::activations::packed_bytes;
use super::arena::Arena;
use super::forward::{Shared, share};
use super::isa::Isa;
use super::matmul::{self, Input, Output};
use super::pack::ROWS;
use super::pool::Pool;
use super::prefetch::Prefetch;
use super::store::{Matrix, Weights, matrices};

/// Bytes of weights that the trial reads: more than the last cache where the model has so many.
const MOST: usize = 192 << 20;
/// With fewer bytes the model is in the caches, whatever was asked for.
const LEAST: usize = 8 << 20;
/// Times that each way reads them; the fastest counts, so that a disturbance does not.
const ROUNDS: usize = 3;
/// Share of its time by which another way must beat [`Prefetch::AllCaches`]: less is noise, and the choice would waver.
const MARGIN: f64 = 0.05;

/// The way that was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) prefetch: Prefetch,
    /// What was tried with the bytes a second that it gave, for the record; absent where nothing was.
    pub(super) said: Option<String>,
}

/// Tries each way on the model's matrices.
pub(super) fn choose(isa: Isa, weights: &Weights, pool: &mut Pool, threads: usize) -> Choice {
    let sample = sample(weights);
    let bytes: usize = sample.iter().map(|matrix| matrix.region.length).sum();
    let widest = sample.iter().map(|matrix| matrix.layout.columns).max().unwrap_or(0);
    let rows = sample.iter().map(|matrix| matrix.groups() * ROWS).max().unwrap_or(0);
    let none = Choice { prefetch: Prefetch::default(), said: None };
    if isa == Isa::Portable || bytes < LEAST {
        return none;
    }
    let length = packed_bytes(1, widest);
    let Ok(mut arena) = Arena::new(length) else { return none };
    let Some(tiles) = arena.take(length) else { return none };
    let (row, mut rows_of_one) = (vec![0.0f32; widest], vec![0.0f32; rows]);
    let out = Shared(rows_of_one.as_mut_ptr());
    let mut read = |prefetch: Prefetch| -> f64 {
        let from = clock::now();
        pool.run(&|thread| {
            let tiles = arena.bytes(tiles).as_ptr();
            let parts = std::ptr::null();
            let input = Input { tokens: 1, tiles, rows: row.as_ptr(), stride: widest, parts };
            let output = Output { first: out.get(), stride: rows };
            for matrix in &sample {
                let groups = weights.store.bytes(matrix.region).as_ptr();
                let of = matmul::Weights { layout: matrix.layout.asked(prefetch), groups };
                let mine = share(matrix.groups(), thread, threads);
                // SAFETY: tiles and row are for the widest matrix and the output for the most rows, and each thread writes
                // those of its own groups.
                unsafe { matmul::multiply(isa, of, mine, input, output) };
            }
        });
        clock::now().since(from).get()
    };
    let mut seconds = [f64::INFINITY; Prefetch::ALL.len()];
    for _ in 0..ROUNDS {
        for (prefetch, best) in Prefetch::ALL.into_iter().zip(&mut seconds) {
            *best = best.min(read(prefetch));
        }
    }
    let prefetch = fastest(seconds);
    let rate =
        |(way, seconds): (Prefetch, f64)| format!("{} {:.1}", way.label(), bytes as f64 / seconds / 1e9);
    let rates: Vec<String> = Prefetch::ALL.into_iter().zip(seconds).map(rate).collect();
    let said = format!("prefetch at batch 1: {} (GB/s at load: {})", prefetch.label(), rates.join(", "));
    Choice { prefetch, said: Some(said) }
}

/// The way with the least time, or [`Prefetch::AllCaches`] where that is about as fast.
fn fastest(seconds: [f64; Prefetch::ALL.len()]) -> Prefetch {
    let ways = Prefetch::ALL.into_iter().zip(seconds);
    let (way, least) = ways.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((Prefetch::default(), seconds[0]));
    if least < seconds[0] * (1.0 - MARGIN) { way } else { Prefetch::default() }
}

/// Matrices of the first blocks, up to [`MOST`] bytes.
fn sample(weights: &Weights) -> Vec<Matrix> {
    let mut left = MOST;
    let fits = |matrix: &Matrix| {
        left = left.saturating_sub(matrix.region.length);
        left > 0
    };
    weights.blocks.iter().flat_map(matrices).take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_way_must_be_faster_by_more_than_noise() {
        assert_eq!(fastest([1.0, 0.98, 1.1, 1.2]), Prefetch::AllCaches);
        assert_eq!(fastest([1.0, 0.8, 0.9, 1.2]), Prefetch::SecondCache);
        assert_eq!(fastest([1.0, 1.1, 0.9, 1.2]), Prefetch::NonTemporal);
        assert_eq!(fastest([1.0, 0.9, 0.9, 0.8]), Prefetch::Off);
        assert_eq!(fastest([1.0, 1.0, 2.2, 1.0]), Prefetch::AllCaches);
    }
}
