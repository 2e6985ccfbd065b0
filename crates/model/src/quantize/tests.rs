//! Our blocks against our reference, and our reference against candle.

use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::gguf_file;
use candle_core::{Device, quantized::GgmlDType};
use proptest::prelude::*;

use super::*;
use crate::TensorType;

fn made() -> Vec<TensorType> {
    TensorType::ALL.iter().copied().filter(|dtype| can_make(*dtype)).collect()
}

fn bytes(dtype: TensorType, deviation: f32, elements: u64) -> Vec<u8> {
    let weights = Weights::new(dtype, Distribution { mean: 0.0, deviation }, 7).unwrap();
    let mut out = vec![0; usize::try_from(elements / dtype.block_elements() * dtype.block_bytes()).unwrap()];
    weights.fill(0, &mut out);
    out
}

#[test]
fn the_sixteen_formats_of_the_engines_can_be_made() {
    assert_eq!(made().len(), 16);
    assert!(!can_make(TensorType::Q8_K) && dequantize(TensorType::Q8_K, &[0; 292]).is_none());
    assert!(dequantize(TensorType::Q4_K, &[0; 143]).is_none());
}

#[test]
fn candle_reads_the_same_weights_from_our_blocks() {
    let unknown = [TensorType::MXFP4, TensorType::IQ4_NL, TensorType::IQ4_XS];
    for dtype in made().into_iter().filter(|dtype| !unknown.contains(dtype)) {
        let bytes = bytes(dtype, 0.02, 4096);
        let ours = dequantize(dtype, &bytes).unwrap();
        let theirs = qtensor_from_ggml(candle_type(dtype), &bytes, vec![4, 1024], &Device::Cpu)
            .and_then(|tensor| tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>())
            .unwrap();
        assert_eq!(ours.len(), 4096);
        for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            // The order of two roundings may differ.
            assert!((ours - theirs).abs() <= 1e-7, "{dtype} element {index}: {ours} and {theirs}");
        }
    }
}

#[test]
fn mxfp4_is_a_power_of_two_times_the_specification_s_sixteen_numbers() {
    let numbers = [0.0f32, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    for (exponent, scale) in [
        (0u8, 2f32.powi(-127)),
        (1, 2f32.powi(-126)),
        (2, 2f32.powi(-125)),
        (126, 0.5),
        (127, 1.0),
        (130, 8.0),
        (250, 2f32.powi(123)),
    ] {
        let codes: Vec<u8> = (0..16).map(|code| code | (15 - code) << 4).collect();
        let block = [vec![exponent], codes].concat();
        let expected = (0..32).map(|k| {
            let code = if k < 16 { k } else { 31 - k };
            numbers[code % 8] * scale * if code < 8 { 1.0 } else { -1.0 }
        });
        assert_eq!(
            dequantize(TensorType::MXFP4, &block).unwrap(),
            expected.collect::<Vec<_>>(),
            "{exponent}"
        );
    }
    assert!(mxfp4_half_scale(255).is_nan());
}

#[test]
fn iq4_looks_sixteen_numbers_up_and_scales_them() {
    let codes: Vec<u8> = (0..16).map(|code| code | (15 - code) << 4).collect();
    let looked_up = |scale: f32| -> Vec<f32> {
        let of = |k: usize| f32::from(IQ4[if k < 16 { k } else { 31 - k }]) * scale;
        (0..32).map(of).collect()
    };
    let half = half::f16::from_f32(0.25).to_le_bytes();
    let block = [&half[..], &codes].concat();
    assert_eq!(dequantize(TensorType::IQ4_NL, &block).unwrap(), looked_up(0.25));
    // Scales 0, 9, 18 … 63 less 32: lower halves side by side, upper pairs from the lowest bits on.
    let scales = [0u8, 9, 18, 27, 36, 45, 54, 63];
    let pair = |at: usize| (scales[at] & 15) | (scales[at + 1] & 15) << 4;
    let upper = scales.iter().rev().fold(0u16, |bits, scale| bits << 2 | u16::from(scale >> 4));
    let lower = [pair(0), pair(2), pair(4), pair(6)];
    let block = [&half[..], &upper.to_le_bytes(), &lower, &codes.repeat(8)].concat();
    let expected = scales.iter().flat_map(|scale| looked_up((f32::from(*scale) - 32.0) * 0.25));
    assert_eq!(dequantize(TensorType::IQ4_XS, &block).unwrap(), expected.collect::<Vec<_>>());
}

/// candle's own name for a type, by the number that both share.
fn candle_type(dtype: TensorType) -> GgmlDType {
    use crate::gguf::write::{Planned, head};
    let planned = Planned { name: "x".to_owned(), dtype, shape: vec![1, 256] };
    let mut file = head(&[], &[planned]).bytes;
    file.resize(file.len() + 2048, 0);
    gguf_file::Content::read(&mut std::io::Cursor::new(file)).unwrap().tensor_infos["x"].ggml_dtype
}

#[test]
fn weights_have_the_deviation_asked_for_and_no_mean() {
    for dtype in made() {
        // The deviations of width 64 and of Llama 70B's feed-forward width, 28,672.
        for deviation in [0.125_f32, 0.0059] {
            let weights = dequantize(dtype, &bytes(dtype, deviation, 1 << 18)).unwrap();
            let count = weights.len() as f64;
            let mean = weights.iter().map(|weight| f64::from(*weight)).sum::<f64>() / count;
            let square = weights.iter().map(|weight| f64::from(*weight).powi(2)).sum::<f64>() / count;
            let ratio = square.sqrt() / f64::from(deviation);
            assert!((0.97..1.03).contains(&ratio), "{dtype}: deviation is {ratio} of {deviation}");
            assert!((mean / f64::from(deviation)).abs() < 0.02, "{dtype}: mean {mean}");
            let largest = weights.iter().fold(0_f32, |most, weight| most.max(weight.abs()));
            assert!(largest < 6.0 * deviation, "{dtype}: {largest}");
        }
    }
}

#[test]
fn another_key_makes_other_weights_and_q8_0_stays_in_range() {
    let distribution = Distribution { mean: 0.0, deviation: 0.02 };
    for dtype in made() {
        let [mut one, mut other] = [vec![0; 420], vec![0; 420]];
        Weights::new(dtype, distribution, 1).unwrap().fill(0, &mut one);
        Weights::new(dtype, distribution, 2).unwrap().fill(0, &mut other);
        let same = one.iter().zip(&other).filter(|(one, other)| one == other).count();
        // By chance one byte in 256 is the same; scales share their upper byte now and then.
        assert!(same < 60, "{dtype}: {same} of 420 bytes are the same");
    }
    let block = bytes(TensorType::Q8_0, 0.02, 1 << 16);
    assert!(block.chunks(34).all(|block| !block[2..].contains(&0x80)));
}

#[test]
fn norm_weights_are_near_one() {
    let distribution = Distribution { mean: 1.0, deviation: 0.05 };
    let mut out = vec![0; 4 * 1000];
    Weights::new(TensorType::F32, distribution, 3).unwrap().fill(0, &mut out);
    let weights = dequantize(TensorType::F32, &out).unwrap();
    assert!(weights.iter().all(|weight| (0.9..1.1).contains(weight)));
    assert!(weights.iter().any(|weight| *weight < 0.95) && weights.iter().any(|weight| *weight > 1.05));
}

#[test]
fn bf16_is_rounded_as_the_half_crate_rounds() {
    let distribution = Distribution { mean: 0.0, deviation: 0.02 };
    let [mut single, mut upper] = [vec![0; 4096], vec![0; 2048]];
    Weights::new(TensorType::F32, distribution, 9).unwrap().fill(0, &mut single);
    Weights::new(TensorType::BF16, distribution, 9).unwrap().fill(0, &mut upper);
    let single = dequantize(TensorType::F32, &single).unwrap();
    let rounded = single.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes());
    assert!(rounded.eq(upper));
}

proptest! {
    #[test]
    fn scales_survive_packing(pairs in proptest::collection::vec((0_u8..64, 0_u8..64), 8)) {
        let scales = std::array::from_fn(|index| pairs[index].0);
        let minima = std::array::from_fn(|index| pairs[index].1);
        let packed = pack_scales(scales, minima);
        for (index, pair) in pairs.into_iter().enumerate() {
            prop_assert_eq!(unpack_scale(packed, index), pair);
        }
    }

    #[test]
    fn a_range_does_not_depend_on_how_it_is_read(
        dtype in prop::sample::select(made()),
        start in 0_usize..3000,
        lengths in proptest::collection::vec(0_usize..700, 1..8),
    ) {
        let weights = Weights::new(dtype, Distribution { mean: 0.0, deviation: 0.02 }, 11).unwrap();
        let mut whole = vec![0; 9000];
        weights.fill(0, &mut whole);
        let mut at = start;
        for length in lengths {
            let mut part = vec![0; length];
            weights.fill(at as u64, &mut part);
            prop_assert_eq!(&part[..], &whole[at..at + length]);
            at += length;
        }
    }
}
