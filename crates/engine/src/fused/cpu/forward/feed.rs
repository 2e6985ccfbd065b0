//! The feed-forward layer of a network without experts.
//!
//! # Safety of this module
//! That of [`pass`](super::pass).

use crate::fused::network::Activation;

use super::super::isa::Isa;
use super::super::matmul::Output;
use super::super::pack::padded;
use super::super::rows;
use super::super::store::{Block, Matrix};
use super::pass::Pass;
use super::share::portion;

impl Pass<'_> {
    /// From the residual stream to the residual stream.
    pub(super) unsafe fn feed_forward(
        &self,
        block: &Block,
        gate_up: &[Matrix; 2],
        down: Matrix,
        thread: usize,
    ) {
        let network = self.network;
        let (feed, width) = (network.feed_forward, network.width);
        let half = padded(feed);
        // SAFETY: each part writes what is this thread's, and barriers lie between parts that need each other.
        unsafe {
            self.barrier.wait();
            self.norm_input(&block.feed_norm, gate_up, thread);
            self.barrier.wait();
            let to = Output { first: self.gate_up, stride: 2 * half };
            self.multiply(gate_up, (self.normed, width), to, thread);
            self.barrier.wait();
            self.activate(feed, half, down, thread);
            self.barrier.wait();
            let to = Output { first: self.out, stride: padded(width) };
            self.multiply(&[down], (self.gate_up, 2 * half), to, thread);
            self.barrier.wait();
            self.add_output(None, block.post_feed_norm.as_deref(), thread);
        }
    }

    /// The activation of gate times up, made ready for the down matrix.
    unsafe fn activate(&self, feed: usize, half: usize, down: Matrix, thread: usize) {
        let (tokens, part) = portion(self.tokens, feed, self.isa, thread, self.threads);
        for token in tokens {
            // SAFETY: these columns of the token are this thread's.
            unsafe {
                let row = self.gate_up.add(token * 2 * half);
                let (gate, up) = (row.add(part.start), row.add(half + part.start));
                activate(self.network.activation, self.isa, gate, up, part.len());
                self.ready(&[down], row, token, feed, part.clone());
            }
        }
    }
}

/// `gate` becomes what the activation makes of it and `up`.
///
/// # Safety
/// Both must have `columns` elements, a multiple of 16.
pub(super) unsafe fn activate(
    activation: Activation,
    isa: Isa,
    gate: *mut f32,
    up: *const f32,
    columns: usize,
) {
    // SAFETY: both have `columns` elements, by this function's contract.
    unsafe {
        match activation {
            Activation::Silu => rows::swiglu(isa, gate, up, columns),
            Activation::GeluTanh => rows::geglu(isa, gate, up, columns),
            Activation::ClampedSwiglu => rows::clamped_swiglu(isa, gate, up, columns),
        }
    }
}
