//! Memory bandwidth: arrays larger than the last-level cache, read, written and copied.

use std::hint::black_box;
use std::sync::Mutex;

use super::together;

/// Rounds of each kind.
const ROUNDS: usize = 4;

pub(super) struct Bandwidth {
    pub(super) read: Vec<f64>,
    pub(super) write: Vec<f64>,
    pub(super) copy: Vec<f64>,
}

/// Measures with one pair of arrays of `bytes` for each thread.
pub(super) fn measure(threads: usize, bytes: usize) -> Bandwidth {
    let words = (bytes / 8).max(1024);
    // First touch by the owning thread places its arrays in its local memory.
    let arrays: Vec<Mutex<(Vec<u64>, Vec<u64>)>> = (0..threads).map(|_| Mutex::default()).collect();
    let each = |work: fn(&mut [u64], &mut [u64])| {
        together(threads, |index| {
            let mut arrays = arrays[index].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (a, b) = &mut *arrays;
            work(a, b);
        })
    };
    together(threads, |index| {
        let mut arrays = arrays[index].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *arrays = (vec![1; words], vec![2; words]);
    });
    let total = (words * 8 * threads) as f64;
    let rounds = |work: fn(&mut [u64], &mut [u64])| super::rounds(ROUNDS, || total / each(work));
    Bandwidth {
        read: rounds(|a, _| {
            black_box(sum(a));
        }),
        // Ordinary stores: if the processor fetches a line before writing it, that time is included.
        write: rounds(|a, _| {
            a.fill(black_box(3));
            black_box(&*a);
        }),
        copy: rounds(|a, b| {
            b.copy_from_slice(a);
            black_box(&*b);
        }),
    }
}

/// The sum in 32 lanes, so that loads wait only for memory.
fn sum(words: &[u64]) -> u64 {
    let mut lanes = [0u64; 32];
    for chunk in words.chunks_exact(32) {
        for (lane, word) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(*word);
        }
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}
