//! Every kernel of the model against the host, at the model's own shapes, before anything is measured with them: that a
//! kernel compiled says nothing of the card, its driver or its compiler.

mod attention;
mod layer;
mod matrices;
pub(super) mod tensor;
pub(in crate::fused) mod variants;

use crate::fused::kv::KvLayout;
use crate::fused::network::Network;
use crate::hardware::cuda::{DevicePlace, Fault, Memory, Queue};
use crate::model::TensorType;

use super::launch::{Halves, Kernels, Sorted, Tokens};
use super::store::Weights;

/// What went wrong.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The driver failed.
    Device(Fault),
    /// A kernel gave another number than the host.
    Kernel(String),
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Device(fault)
    }
}

/// Checks all kernels, and says for which types of matrices.
///
/// # Errors
/// [`Wrong::Kernel`] with the kernel, the place and both numbers.
pub(super) fn all(
    kernels: &Kernels,
    network: &Network,
    weights: &Weights,
    layout: KvLayout,
) -> Result<Vec<TensorType>, Wrong> {
    let checked = matrices::check(kernels, weights)?;
    layer::check(kernels, network)?;
    attention::check(kernels, network, layout)?;
    Ok(checked)
}

/// Arrays on the device for the time of a check.
struct Scratch<'a>(&'a Queue);

/// Tokens on the device, with the memory that they lie in.
struct Sent {
    tokens: Tokens,
    _memory: [Memory; 4],
}

impl Scratch<'_> {
    fn send(&self, numbers: &[f32]) -> Result<Memory, Fault> {
        let memory = self.room(numbers.len())?;
        self.0.write(numbers, memory.place())?;
        Ok(memory)
    }

    fn send_words(&self, words: &[u32]) -> Result<Memory, Fault> {
        let memory = self.room(words.len())?;
        self.0.write(words, memory.place())?;
        Ok(memory)
    }

    /// Room for rows in half precision.
    fn halves(&self, rows: usize, columns: usize) -> Result<(Halves, [Memory; 3]), Fault> {
        let [elements, block_sums, factors] = Halves::sizes(rows, columns).map(|bytes| self.0.alloc(bytes));
        let memory = [elements?, block_sums?, factors?];
        let [elements, block_sums, factors] = memory.each_ref().map(Memory::place);
        Ok((Halves { elements, block_sums, factors }, memory))
    }

    /// Whether two rooms for rows in half precision hold the same bits.
    fn same(&self, one: &[Memory; 3], other: &[Memory; 3]) -> Result<bool, Fault> {
        for (one, other) in one.iter().zip(other) {
            let count = one.place().bytes() / 4;
            if self.words(one.place(), count)? != self.words(other.place(), count)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Room for pairs in the order of their experts.
    fn sorted(&self, pairs: usize, experts: usize) -> Result<(Sorted, [Memory; 2]), Fault> {
        let [slots, segments] = Sorted::sizes(pairs, experts).map(|bytes| self.0.alloc(bytes));
        let memory = [slots?, segments?];
        let [slots, segments] = memory.each_ref().map(Memory::place);
        Ok((Sorted { slots, segments }, memory))
    }

    /// Memory for so many numbers of 4 bytes.
    fn room(&self, numbers: usize) -> Result<Memory, Fault> {
        self.0.alloc(numbers * 4)
    }

    fn floats(&self, from: DevicePlace, count: usize) -> Result<Vec<f32>, Fault> {
        let mut found = vec![0.0; count];
        self.0.read(from, &mut found)?;
        Ok(found)
    }

    fn words(&self, from: DevicePlace, count: usize) -> Result<Vec<u32>, Fault> {
        let mut found = vec![0; count];
        self.0.read(from, &mut found)?;
        Ok(found)
    }

    /// Tokens with their ids, positions, and the index in `pages` of their sequence's first page.
    fn tokens(
        &self,
        ids: &[u32],
        positions: &[u32],
        first_page: &[u32],
        pages: &[u32],
        pages_seen: usize,
    ) -> Result<Sent, Fault> {
        let memory = [
            self.send_words(ids)?,
            self.send_words(positions)?,
            self.send_words(first_page)?,
            self.send_words(pages)?,
        ];
        let [ids, of_positions, first_page, pages] = [0, 1, 2, 3].map(|part: usize| memory[part].place());
        let count = positions.len();
        let tokens = Tokens { count, ids, positions: of_positions, first_page, pages, pages_seen, apart: 0 };
        Ok(Sent { tokens, _memory: memory })
    }
}

/// Numbers between −1 and 1 in no order, the same for a seed each time.
pub(super) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let of = |index: usize| {
        let mixed = ((index as u64 + 1) ^ (seed << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        f32::from(u16::try_from(mixed).unwrap_or(0)) / 32_768.0 - 1.0
    };
    (0..count).map(of).collect()
}

/// Whether all that a kernel gave is within `tolerance` of what is right, relative to one and the number itself.
///
/// # Errors
/// [`Wrong::Kernel`] with the first that is not.
fn near(kernel: &str, found: &[f32], expected: &[f64], tolerance: f64) -> Result<(), Wrong> {
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        // A NaN is not within any tolerance.
        let near = (f64::from(*found) - expected).abs() <= tolerance * (1.0 + expected.abs());
        if !near {
            return Err(Wrong::Kernel(format!(
                "its kernel {kernel} gives {found} instead of {expected} (element {index})"
            )));
        }
    }
    Ok(())
}
