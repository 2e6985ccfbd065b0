//! Heads rotated; keys and values put into a cache of two sequences whose pages lie in no order, and attention over them: with and without
//! a window and sinks, over one part of a context and over two.

use half::f16;

use crate::fused::kv::{BLOCK, KvLayout, KvType, PAGE};
use crate::fused::network::{Network, Pairing};
use crate::hardware::cuda::DevicePlace;

use super::super::launch::{Attention, CacheOf, Kernels, OfHeads, Rows, Tokens, Turn, part_bytes};
use super::super::store::Vector;
use super::{Scratch, Wrong, near, numbers};

/// Positions of the first sequence, three in its second part; and of the second.
const POSITIONS: [u32; 2] = [515, 10];
/// The page of each 64 positions of the first sequence, then that of the second.
const PAGES: [u32; 10] = [3, 7, 1, 9, 0, 5, 2, 8, 4, 6];
/// Queries: their sequence and position. Those of the first sequence fill more than two tiles even with one head each.
fn queries_asked() -> Vec<(usize, u32)> {
    let of_first = [514, 70].into_iter().chain((0..32).map(|number| 16 * number));
    of_first.map(|position| (0, position)).chain([(1, 9), (1, 4)]).collect()
}
/// The host reads what the cache keeps, so only sums of a few hundred products in single precision differ.
const TOLERANCE: f64 = 5e-5;

/// Heads that are put into the cache as they are.
const PLAIN: OfHeads = OfHeads { bias: None, query_norm: None, key_norm: None, epsilon: 0.0 };
const STILL: Turn = Turn { angles: DevicePlace::NULL, pairs: 0, pairing: Pairing::Halves, scale: 1.0 };

/// Checks `place_heads`, `attend_one`, `attend`, `combine` and `combine_halve` for a model with such a cache.
///
/// # Errors
/// [`Wrong`].
pub(super) fn check(kernels: &Kernels, network: &Network, layout: KvLayout) -> Result<(), Wrong> {
    // The second of two layers, so that a wrong offset shows.
    let layout = KvLayout { layers: 2, ..layout };
    placed(kernels, network, layout)?;
    attended(kernels, network.heads, layout)
}

fn attended(kernels: &Kernels, heads: usize, layout: KvLayout) -> Result<(), Wrong> {
    let scratch = Scratch(kernels.queue());
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
    let placed = of(&all)?;
    let rows = Rows { place: sent.place(), stride: 2 * width };
    kernels.place_heads((rows, 0), PLAIN, STILL, &placed.tokens, cache)?;

    let with_positions = queries_asked();
    let asked = of(&with_positions)?;
    let queries: Vec<f32> =
        numbers(21, with_positions.len() * heads * head_size).iter().map(|x| x * 0.2).collect();
    let (query_rows, output) = (scratch.send(&queries)?, scratch.room(queries.len())?);
    let stride = heads * head_size;
    let rows = Rows { place: query_rows.place(), stride };
    let to = Rows { place: output.place(), stride };
    // Without room for the last, so that it waits.
    let results = kernels.queue().alloc((with_positions.len() - 1) * part_bytes(heads, head_size, 9))?;
    let sinks = numbers(22, heads);
    let sinks_sent = scratch.send(&sinks)?;
    for (window, sinks) in [(None, None), (Some(100), Some(&sinks[..]))] {
        let vector = sinks.map(|_| Vector { place: sinks_sent.place() });
        let of = Attention {
            queries: rows,
            heads,
            window,
            cache,
            results: results.place(),
            sinks: vector,
            alone: None,
        };
        let mut expected = Vec::with_capacity(queries.len());
        for (number, (sequence, position)) in with_positions.iter().copied().enumerate() {
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
        for (name, alone) in [("attend_one", true), ("attend", false)] {
            kernels.attend(Attention { alone: Some(alone), ..of }, &asked.tokens, (to, None))?;
            near(name, &scratch.floats(to.place, queries.len())?, &expected, TOLERANCE)?;
        }
        let found = scratch.floats(to.place, queries.len())?;
        if stride.is_multiple_of(8) {
            halved(kernels, of, &asked.tokens, (to, with_positions.len()), &found)?;
        }
    }
    Ok(())
}

/// What is put together and made half precision at once: as by the kernels that do one after the other.
fn halved(
    kernels: &Kernels,
    of: Attention,
    tokens: &Tokens,
    (to, count): (Rows, usize),
    found: &[f32],
) -> Result<(), Wrong> {
    let (scratch, rows) = (Scratch(kernels.queue()), (count, to.stride));
    let [(halves, of_both), (again, of_one)] =
        [scratch.halves(rows.0, rows.1)?, scratch.halves(rows.0, rows.1)?];
    kernels.halve(to, rows, again)?;
    kernels.attend(of, tokens, (to, Some(halves)))?;
    if scratch.floats(to.place, found.len())? == found && scratch.same(&of_both, &of_one)? {
        Ok(())
    } else {
        Err(Wrong::Kernel("its kernels combine_halve and halve give different values".to_owned()))
    }
}

/// Heads of three tokens with biases and norms, rotated by all pairs of a head; and without, rotated by fewer.
fn placed(kernels: &Kernels, network: &Network, layout: KvLayout) -> Result<(), Wrong> {
    const SCALE: f32 = 0.75;
    let scratch = Scratch(kernels.queue());
    let KvLayout { kv_heads, head_size, .. } = layout;
    let (heads, epsilon) = (network.heads, network.norm_epsilon);
    let stride = (heads + 2 * kv_heads) * head_size;
    let (positions, pages) = ([4u32, 0, 2], [2u32, 0, 1]);
    let (input, bias, weights) = (numbers(6, 3 * stride), numbers(23, stride), numbers(24, 2 * head_size));
    let (bias_sent, weights_sent) = (scratch.send(&bias)?, scratch.send(&weights)?);
    let vector = |place| Some(Vector { place });
    let full = OfHeads {
        bias: vector(bias_sent.place()),
        query_norm: vector(weights_sent.place()),
        key_norm: vector(weights_sent.place().skip(head_size * 4)),
        epsilon,
    };
    let tokens = scratch.tokens(&positions, &positions, &[0, 1, 2], &pages, 1)?;
    let cache = kernels.queue().alloc(pages.len() * layout.page_bytes())?;
    let cache = CacheOf { layout, place: cache.place(), layer: 1 };
    for (pairing, pairs, of) in
        [(Pairing::Neighbours, head_size / 2, full), (Pairing::Halves, head_size / 4, PLAIN)]
    {
        let angles: Vec<f32> = numbers(7, 5 * pairs).iter().flat_map(|x| [x.cos(), x.sin()]).collect();
        let (sent, table) = (scratch.send(&input)?, scratch.send(&angles)?);
        let rows = Rows { place: sent.place(), stride };
        let turn = Turn { angles: table.place(), pairs, pairing, scale: SCALE };
        kernels.place_heads((rows, heads), of, turn, &tokens.tokens, cache)?;
        let found = scratch.floats(rows.place, input.len())?;
        for (token, position) in positions.into_iter().enumerate() {
            let (page, slot) = (pages[token], position as usize);
            for head in 0..heads + 2 * kv_heads {
                let from = token * stride + head * head_size;
                let mut row = input[from..from + head_size].to_vec();
                if of.bias.is_some() {
                    row.iter_mut().zip(&bias[head * head_size..]).for_each(|(x, bias)| *x += bias);
                }
                let is_value = head >= heads + kv_heads;
                let mut expected: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
                if of.query_norm.is_some() && !is_value {
                    let weight = &weights[if head < heads { 0 } else { head_size }..][..head_size];
                    expected = super::layer::normed(&row, weight, epsilon);
                }
                if !is_value {
                    turned(&mut expected, &angles[slot * pairs * 2..][..pairs * 2], pairing);
                }
                if head < heads {
                    for element in &mut expected {
                        *element *= f64::from(SCALE);
                    }
                    near("place_heads", &found[from..from + head_size], &expected, TOLERANCE)?;
                } else if layout.kv_type == KvType::F16 {
                    let of_cache = (page as usize, (head - heads) % kv_heads, slot);
                    let kept = element(&scratch, cache, of_cache, is_value)?;
                    near("place_heads", &kept, &expected, f64::from(f16::EPSILON))?;
                }
            }
        }
    }
    Ok(())
}

/// Rotates a head by the cosines and sines of its pairs.
fn turned(head: &mut [f64], angles: &[f32], pairing: Pairing) {
    let pairs = angles.len() / 2;
    for pair in 0..pairs {
        let [cosine, sine] = [angles[2 * pair], angles[2 * pair + 1]].map(f64::from);
        let [first, second] = match pairing {
            Pairing::Neighbours => [2 * pair, 2 * pair + 1],
            Pairing::Halves => [pair, pair + pairs],
        };
        let (a, b) = (head[first], head[second]);
        head[first] = a * cosine - b * sine;
        head[second] = a * sine + b * cosine;
    }
}

/// What a cache of f16 has of a KV head in a slot of a page: its key, or its value.
fn element(
    scratch: &Scratch<'_>,
    CacheOf { layout, place, layer }: CacheOf,
    (page, head, slot): (usize, usize, usize),
    is_value: bool,
) -> Result<Vec<f32>, Wrong> {
    let (size, of_part) = (layout.head_size, 2 * PAGE * layout.head_size);
    let number = (page * layout.layers + layer) * layout.kv_heads + head;
    let words = scratch.words(place.skip(number * of_part * 2), of_part / 2)?;
    let at = |index: usize| {
        let [low, high] = [words[index / 2] & 0xffff, words[index / 2] >> 16];
        let bits = if index.is_multiple_of(2) { low } else { high };
        f16::from_bits(u16::try_from(bits).unwrap_or(0)).to_f32()
    };
    let index = |i: usize| if is_value { PAGE * size + slot * size + i } else { i * PAGE + slot };
    Ok((0..size).map(|i| at(index(i))).collect())
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
