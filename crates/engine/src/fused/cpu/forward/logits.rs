//! The last part of a step: logits of the rows that are wanted, and the token that each sequence goes on with.

use crate::{LogitsWanted, StepBatch, StepOutput};

use super::super::CpuEngine;
use super::super::activations::{self, Slot};
use super::super::choose;
use super::super::matmul::{self, Input, Output};
use super::super::pack::{ROWS, is_quantized, padded};
use super::super::pool::Barrier;
use super::super::rows;
use super::buffers::LOGIT_ROWS;
use super::share::{Shared, portion, share};

/// Norms the wanted rows, multiplies them with the head and chooses the largest logit of each.
pub(super) fn logits(engine: &mut CpuEngine, batch: &StepBatch<'_>, output: &mut StepOutput) {
    output.next.clear();
    output.next.resize(batch.sequences.len(), 0);
    output.logits.clear();
    output.non_finite = false;
    output.device_time = None;
    let vocabulary = engine.network.vocabulary;
    let keep = batch.logits != LogitsWanted::Nothing;
    let wanted = std::mem::take(&mut engine.buffers.wanted);
    for rows in wanted.chunks(LOGIT_ROWS) {
        head(engine, rows);
        let threads = engine.buffers.threads;
        for (number, (_, sequence)) in rows.iter().enumerate() {
            let of_threads = (0..threads).map(|thread| engine.buffers.best[thread * LOGIT_ROWS + number]);
            // The first of equal ones, as every thread's range lies behind the one before.
            let best = of_threads.reduce(|best, next| if next.0 > best.0 { next } else { best });
            if let (Some(sequence), Some((value, token))) = (sequence, best) {
                output.next[*sequence] = token;
                output.non_finite |= !value.is_finite();
            }
        }
        if keep {
            let stride = padded(vocabulary);
            let bytes = engine.buffers.place(engine.buffers.logits);
            for number in 0..rows.len() {
                // SAFETY: the row was written above, and no thread is at work.
                let row = unsafe { std::slice::from_raw_parts(bytes.add(number * stride), vocabulary) };
                output.logits.extend_from_slice(row);
            }
        }
    }
    engine.buffers.wanted = wanted;
}

/// Logits of at most [`LOGIT_ROWS`] rows of the step, and each thread's best of its share of the vocabulary.
fn head(engine: &mut CpuEngine, rows: &[(usize, Option<usize>)]) {
    let network = &engine.network;
    let (width, vocabulary) = (network.width, network.vocabulary);
    let stride = padded(vocabulary);
    let threads = engine.buffers.threads;
    let buffers = &mut engine.buffers;
    let residual = Shared(buffers.place(buffers.residual));
    let (last, out) = (Shared(buffers.place(buffers.last)), Shared(buffers.place(buffers.logits)));
    let tiles = Shared(buffers.place(buffers.tiles).cast::<u8>());
    let best = Shared(buffers.best.as_mut_ptr());
    let (isa, prefetch, weights) = (engine.isa, engine.prefetch, &engine.weights);
    let barrier: *const Barrier = engine.pool.barrier();
    let barrier = Shared(barrier.cast_mut());
    engine.pool.run(&|thread| {
        // SAFETY: rows, groups and best places are split by thread; the barrier lies between writing and reading.
        unsafe {
            let (numbers, part) = portion(rows.len(), width, isa, thread, threads);
            for number in numbers {
                let to = last.get().add(number * width);
                let from = residual.get().add(rows[number].0 * width);
                let (weight, epsilon) = (weights.output_norm.as_ptr(), network.norm_epsilon);
                rows::norm(isa, from, weight, width, part.clone(), epsilon, to);
                if is_quantized(weights.head.layout.kind) {
                    let slot = Slot::new(tiles.get(), number, rows.len(), width, isa);
                    activations::quantize(isa, to, part.clone(), slot);
                }
            }
            (*barrier.get()).wait();
            let groups = share(weights.head.groups(), thread, threads);
            let matrix = matmul::Weights {
                layout: weights.head.layout.asked(prefetch),
                groups: weights.store.bytes(weights.head.region).as_ptr(),
            };
            let input = Input {
                tokens: rows.len(),
                tiles: tiles.get(),
                rows: last.get(),
                stride: width,
                parts: std::ptr::null(),
            };
            matmul::multiply(isa, matrix, groups.clone(), input, Output { first: out.get(), stride });
            let mine = groups.start * ROWS..(groups.end * ROWS).min(vocabulary);
            for number in 0..rows.len() {
                // Only this thread's own: the others write theirs meanwhile.
                let row = out.get().add(number * stride + mine.start);
                let to = best.get().add(thread * LOGIT_ROWS + number);
                choose::largest(isa, row, mine.len(), mine.start, to);
            }
        }
    });
}
