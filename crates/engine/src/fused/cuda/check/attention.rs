//! Keys and values put into a cache of two sequences whose pages lie in no order, and attention over them: with and without
//! a window and sinks, over one part of a context and over two.

use half::f16;

use crate::fused::kv::{BLOCK, KvLayout, KvType};

use super::super::launch::{CacheOf, Kernels, Rows, part_bytes};
use super::super::store::Vector;
use super::{Scratch, Wrong, near, numbers};

/// Positions of the first sequence, three in its second part; and of the second.
const POSITIONS: [u32; 2] = [515, 10];
/// The page of each 64 positions of the first sequence, then that of the second.
const PAGES: [u32; 10] = [3, 7, 1, 9, 0, 5, 2, 8, 4, 6];
/// Queries: their sequence and position.
const QUERIES: [(usize, u32); 3] = [(0, 514), (0, 70), (1, 9)];
/// The host reads what the cache keeps, so only sums of a few hundred products in single precision differ.
const TOLERANCE: f64 = 5e-5;

/// Checks `append`, `attend` and `combine` for a model with so many query heads and such a cache.
///
/// # Errors
/// [`Wrong`].
pub(super) fn check(kernels: &Kernels, heads: usize, layout: KvLayout) -> Result<(), Wrong> {
    let scratch = Scratch(kernels.queue());
    // The second of two layers, so that a wrong offset shows.
    let layout = KvLayout { layers: 2, ..layout };
    let KvLayout { kv_heads, head_size, kv_type, .. } = layout;
    let first_page = [0u32, 9];
    let width = kv_heads * head_size;
    let all: Vec<(usize, u32)> =
        (0..2).flat_map(|sequence| (0..POSITIONS[sequence]).map(move |at| (sequence, at))).collect();
    let keys_values = numbers(20, all.len() * 2 * width);
    let sent = scratch.send(&keys_values)?;
    let cache = kernels.queue().alloc(PAGES.len() * layout.page_bytes())?;
    let cache = CacheOf { layout, place: cache.place(), layer: 1 };
    let of = |tokens: &[(usize, u32)]| {
        let positions: Vec<u32> = tokens.iter().map(|(_, at)| *at).collect();
        let first: Vec<u32> = tokens.iter().map(|(sequence, _)| first_page[*sequence]).collect();
        scratch.tokens(&positions, &positions, &first, &PAGES, 9)
    };
    let appended = of(&all)?;
    kernels.append(Rows { place: sent.place(), stride: 2 * width }, &appended.tokens, cache)?;

    let asked = of(&QUERIES)?;
    let queries: Vec<f32> = numbers(21, QUERIES.len() * heads * head_size).iter().map(|x| x * 0.2).collect();
    let (query_rows, output) = (scratch.send(&queries)?, scratch.room(queries.len())?);
    let stride = heads * head_size;
    let rows = Rows { place: query_rows.place(), stride };
    let to = Rows { place: output.place(), stride };
    // Room for two of the three, so that one waits.
    let results = kernels.queue().alloc(2 * part_bytes(heads, head_size, 9))?;
    let sinks = numbers(22, heads);
    let sinks_sent = scratch.send(&sinks)?;
    for (window, sinks) in [(None, None), (Some(100), Some(&sinks[..]))] {
        let vector = sinks.map(|_| Vector { place: sinks_sent.place() });
        kernels.attend(rows, (heads, window), &asked.tokens, (cache, results.place()), vector, to)?;
        let mut expected = Vec::with_capacity(queries.len());
        for (number, (sequence, position)) in QUERIES.into_iter().enumerate() {
            let first_row = if sequence == 0 { 0 } else { POSITIONS[0] as usize };
            let from = window.map_or(0, |window: u32| (position + 1).saturating_sub(window));
            for head in 0..heads {
                let query = &queries[(number * heads + head) * head_size..][..head_size];
                let kv_head = head / (heads / kv_heads);
                let part = |at: u32, values: usize| {
                    let start = (first_row + at as usize) * 2 * width + values * width + kv_head * head_size;
                    kept(&keys_values[start..start + head_size], kv_type)
                };
                let keys = (from..=position).map(|at| part(at, 0));
                let scores =
                    keys.map(|key| key.iter().zip(query).map(|(k, q)| k * f64::from(*q)).sum::<f64>());
                let shares: Vec<f64> = scores.map(f64::exp).collect();
                let sink = sinks.map_or(0.0, |sinks| f64::from(sinks[head]).exp());
                let sum: f64 = shares.iter().sum::<f64>() + sink;
                let mut mixed = vec![0.0; head_size];
                for (at, share) in (from..=position).zip(shares) {
                    mixed
                        .iter_mut()
                        .zip(part(at, 1))
                        .for_each(|(mixed, value)| *mixed += share / sum * value);
                }
                expected.extend(mixed);
            }
        }
        near("attend", &scratch.floats(to.place, queries.len())?, &expected, TOLERANCE)?;
    }
    Ok(())
}

/// What the cache keeps of a head's key or value.
fn kept(head: &[f32], kv_type: KvType) -> Vec<f64> {
    match kv_type {
        KvType::F16 => head.iter().map(|element| f16::from_f32(*element).to_f64()).collect(),
        KvType::Q8_0 => head
            .chunks(BLOCK)
            .flat_map(|block| {
                let most = block.iter().fold(0f32, |most, element| most.max(element.abs()));
                let scale = f16::from_f32(most / 127.0).to_f64();
                block
                    .iter()
                    .map(move |element| f64::from((element * (127.0 / most)).round_ties_even()) * scale)
            })
            .collect(),
    }
}
