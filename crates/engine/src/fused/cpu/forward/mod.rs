//! One step through the network, all threads together.
//!
//! The tokens of all sequences are the rows of one matrix, so that every weight is read once a step. Between two
//! parts that need each other's results stands a barrier, a dozen a layer. What is quantized is split by tiles of
//! tokens or by columns, rotation by token, matrices by groups of sixteen rows, attention by a queue of (sequence, KV
//! head, tile of tokens) with the longest first; a piece that is longer than a thread's fair share is cut by positions.
//! Nothing is allocated: [`Buffers`] are made once for the largest step.
//!
//! [`plan`] writes down what is to be done, on the calling thread. Then all threads run one [`Pass`] over the layers:
//! [`attention`], then [`feed`] or [`experts`]. Last come the [`logits`]. What belongs to which thread is computed
//! in [`share`](mod@share).
#![allow(unsafe_code, reason = "threads write disjoint parts of shared buffers between two barriers")]

mod attention;
mod buffers;
mod experts;
mod feed;
mod logits;
mod pass;
mod plan;
mod share;

use crate::fused::kv::KvLayout;
use crate::{StepBatch, StepOutput};

use super::CpuEngine;
use super::kv::KvCache;
use super::pool::Barrier;

use experts::workspace::Workspace;
use pass::Pass;

pub(super) use buffers::Buffers;
pub(super) use share::{Shared, share};

/// Feeds a batch.
pub(super) fn step(engine: &mut CpuEngine, batch: &StepBatch<'_>, output: &mut StepOutput) {
    let tokens = batch.tokens.len();
    plan::plan(engine, batch);
    let cache = KvCache {
        layout: KvLayout {
            layers: engine.network.layers.len(),
            kv_heads: engine.network.kv_heads,
            head_size: engine.network.head_size,
            kv_type: engine.kv_type,
        },
        first: engine.cache.pointer(engine.pages),
    };
    let buffers = &engine.buffers;
    let (residual, normed) = (buffers.place(buffers.residual), buffers.place(buffers.normed));
    let (qkv, attended) = (buffers.place(buffers.qkv), buffers.place(buffers.attended));
    let (gate_up, out) = (buffers.place(buffers.gate_up), buffers.place(buffers.out));
    let (tiles, split) = (buffers.place(buffers.tiles).cast(), buffers.place(buffers.split).cast());
    let parts = buffers.place(buffers.parts);
    let scratch = buffers.place(buffers.scratch);
    let experts = buffers.experts.as_ref().map(Workspace::view);
    let barrier: *const Barrier = engine.pool.barrier();
    let pass = Pass {
        network: &engine.network,
        weights: &engine.weights,
        tables: &engine.tables,
        cache,
        isa: engine.isa,
        prefetch: engine.prefetch,
        // SAFETY: the pool outlives the pass, and running it changes the barrier only through its own atomics.
        barrier: unsafe { &*barrier },
        threads: buffers.threads,
        batch,
        tasks: &buffers.tasks,
        cuts: &buffers.cuts,
        queues: &buffers.queues,
        tokens,
        residual,
        normed,
        qkv,
        attended,
        gate_up,
        out,
        tiles,
        split,
        parts,
        scratch,
        experts,
    };
    // SAFETY: the buffers are for at least this many tokens, and every thread of the pool calls this, with its own number.
    engine.pool.run(&|thread| unsafe { pass.layers(thread) });
    logits::logits(engine, batch, output);
}
