//! Memory estimated from the header alone: packed weights, pages of the cache, the buffers of a step.

use crate::base::units::Bytes;
use crate::model::Header;
use crate::{Demand, Device, MemoryEstimate, PAGE_POSITIONS};

use super::cpu::{TOKENS_PER_STEP, packed_bytes, split_bytes};
use super::cuda;
use super::kv::KvType;
use super::rotary::tables;
use super::weights;

/// Program, libraries, the vocabulary while it is read, stacks, and what the allocator holds back.
const RUNTIME: u64 = 24 << 20;

/// What the process, or the GPU, will need at its peak while it runs `demand`.
pub fn memory_estimate(header: &Header, demand: Demand, kv_type: KvType) -> MemoryEstimate {
    let named = |parts: Vec<(&'static str, u64)>| MemoryEstimate {
        parts: parts.into_iter().map(|(name, bytes)| (name, Bytes::new(bytes))).collect(),
    };
    if let Device::Cuda(_) = demand.device {
        return named(cuda::memory(header, demand, kv_type));
    }
    let spec = &header.spec;
    let vectors = header
        .tensors
        .iter()
        .filter(|tensor| !weights::is_matrix(tensor))
        .map(|tensor| tensor.elements() * 4);
    let packed = packed_bytes(header) as u64 + vectors.sum::<u64>();
    let positions = u64::from(demand.context) + u64::from(demand.prompt) + u64::from(demand.output);
    let pages = u64::from(demand.batch) * positions.div_ceil(u64::from(PAGE_POSITIONS));
    let page = spec.kv_bytes_per_position(kv_type.block_bytes()).get() * u64::from(PAGE_POSITIONS);
    let tokens = u64::from(TOKENS_PER_STEP).max(u64::from(demand.batch));
    let heads = u64::from(spec.heads) * u64::from(spec.head_size);
    let feed = match spec.experts {
        None => 4 * u64::from(spec.feed_forward),
        Some(experts) => {
            // A token's row for each of its experts: the input, gate and up, the output.
            let row = 2 * (u64::from(experts.feed_forward) + u64::from(spec.width));
            u64::from(experts.used) * row + u64::from(spec.width + experts.count)
        }
    };
    let rows = 3 * u64::from(spec.width) + 3 * heads + feed;
    named(vec![
        ("weights", packed),
        ("KV cache", pages * page),
        ("activations", tokens * rows * 4 + split_bytes(header, tokens)),
        ("logits", u64::from(demand.batch) * u64::from(spec.vocabulary) * 4),
        ("rotary tables", tables(spec) * positions * u64::from(spec.head_size) * 4),
        ("runtime", RUNTIME),
    ])
}
