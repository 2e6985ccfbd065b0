//! Products by matrices in fragments, held against sums in double precision and against each other. What runs here runs in a
//! process with the stand-in for the driver: `fused::tests::cuda` starts it.

use half::f16;

use super::check;
use super::fragments::Layout;
use super::launch::{Halves, Kernels, PRODUCTS, Rows};
use super::open;
use super::store::{Form, Matrix, in_fragments};
use crate::Launches;
use crate::base::env;
use crate::fused::KvType;
use crate::fused::network::{MATRIX_TYPES, Network};
use crate::fused::weights::Shape;
use crate::hardware::cuda::Memory;
use crate::model::quantize::{Distribution, Weights, dequantize};
use crate::model::{TensorType, gguf};
use infercost_testing::Tiny;

/// Rows of three tiles, of which the last is not whole.
const ROWS: usize = 37;
/// Tokens of a batch that no kernel takes at once.
const TOKENS: usize = 67;
/// Rounding an activation to f16 moves it by at most 2^-12 of itself; of many, in all directions, much less is left. In parts
/// of the sum of the products' sizes.
const TOLERANCE: f64 = 1e-4;

#[test]
fn the_kit_finds_a_dropped_kernel_in_a_record() {
    let kit = include_str!("../../../../../scripts/gpu/selfcheck");
    assert!(kit.contains(&format!("[^\"]* {}[^\"]*", super::NOT_USED)));
}

/// Types that there are kernels for tensor cores for.
pub(in crate::fused) fn tensor_types() -> impl Iterator<Item = TensorType> {
    MATRIX_TYPES.into_iter().filter(|kind| Layout::of(*kind).is_some())
}

/// Kernels for matrices of one type.
fn kernels(kind: TensorType) -> Kernels {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = Tiny::of("llama").write(&path);
    let network = Network::new(&header, &gguf::read(&path).unwrap().metadata).unwrap();
    let (device, nvrtc) = open(0).unwrap();
    let how = (KvType::F16, Launches::Single);
    Kernels::new((&device, &nvrtc), &env::cache_folder(), &network, how, &[kind]).unwrap()
}

/// A matrix on the device, and its weights.
struct Sample {
    matrix: Matrix,
    weights: Vec<f32>,
    _memory: Memory,
}

fn sample(kernels: &Kernels, kind: TensorType, columns: usize) -> Sample {
    let shape = Shape { kind, count: 1, rows: ROWS, columns };
    let mut blocks = vec![0; ROWS * shape.row_bytes()];
    Weights::new(kind, Distribution { mean: 0.0, deviation: 1.0 }, 7).unwrap().fill(0, &mut blocks);
    let layout = Layout::of(kind).unwrap();
    let packed = in_fragments(layout, shape, &blocks);
    assert_eq!(packed.len(), layout.bytes(ROWS, columns));
    let memory = kernels.queue().alloc(packed.len()).unwrap();
    kernels.queue().write(&packed, memory.place()).unwrap();
    let matrix = Matrix { kind, rows: ROWS, columns, form: Form::Fragments(layout), place: memory.place() };
    Sample { matrix, weights: dequantize(kind, &blocks).unwrap(), _memory: memory }
}

/// What the device gives for these activations, with the kernel of this name and so many tiles in a block.
fn multiply(kernels: &Kernels, sample: &Sample, input: &[f32], with: Option<(&str, usize)>) -> Vec<f32> {
    let (columns, queue) = (sample.matrix.columns, kernels.queue());
    let tokens = input.len() / columns;
    let sent = queue.alloc(input.len() * 4).unwrap();
    queue.write(input, sent.place()).unwrap();
    let room = Halves::sizes(tokens, columns).map(|bytes| queue.alloc(bytes).unwrap());
    let [elements, block_sums, factors] = room.each_ref().map(Memory::place);
    let halves = Halves { elements, block_sums, factors };
    kernels.halve(Rows { place: sent.place(), stride: columns }, (tokens, columns), halves).unwrap();
    let output = queue.alloc(tokens * ROWS * 4).unwrap();
    let to = Rows { place: output.place(), stride: ROWS };
    kernels.multiply_fragments(&[(&sample.matrix, to)], Some(halves), (tokens, with)).unwrap();
    let mut found = vec![0.0; tokens * ROWS];
    queue.read(output.place(), &mut found).unwrap();
    found
}

/// Activations of every size that single precision has: each token its own.
fn activations(columns: usize) -> Vec<f32> {
    let numbers = check::numbers(40, TOKENS * columns);
    let sizes = [1.0, 1e-3, 3e4, 1e-30, 1e25, 7e4];
    numbers.iter().enumerate().map(|(at, x)| x * sizes[at / columns % sizes.len()]).collect()
}

#[track_caller]
fn near(what: &str, sample: &Sample, input: &[f32], found: &[f32], tolerance: f64) {
    let columns = sample.matrix.columns;
    for (index, found) in found.iter().enumerate() {
        let x = &input[index / ROWS * columns..][..columns];
        let w = &sample.weights[index % ROWS * columns..][..columns];
        let products = || w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
        let (expected, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
        let off = (f64::from(*found) - expected).abs();
        assert!(
            off <= tolerance * size,
            "{what}, row {}, token {}: {found}, not {expected}",
            index % ROWS,
            index / ROWS
        );
    }
}

/// Every kernel for tensor cores of a type, on widths that it can have.
pub(in crate::fused) fn products(kind: TensorType) {
    let kernels = kernels(kind);
    let whole = usize::try_from(kind.block_elements()).unwrap() == 256;
    for columns in if whole { [256, 2304] } else { [576, 992] } {
        let sample = sample(&kernels, kind, columns);
        let input = activations(columns);
        let what = format!("{kind}, {columns} columns");
        let found = multiply(&kernels, &sample, &input, None);
        near(&what, &sample, &input, &found, TOLERANCE);
        // The same bits in every kernel, and alone.
        for product in PRODUCTS {
            for tiles in product.tiles {
                let other = multiply(&kernels, &sample, &input, Some((product.name, *tiles)));
                assert_eq!(other, found, "{what}, {}, {tiles} tiles", product.name);
            }
        }
        for tokens in [1, 2, 8, 9, 33] {
            let part = multiply(&kernels, &sample, &input[..tokens * columns], None);
            assert_eq!(part, found[..tokens * ROWS], "{what}, {tokens} tokens");
        }
        // What f16 holds is multiplied exactly.
        let exact: Vec<f32> = check::numbers(41, 9 * columns);
        let exact: Vec<f32> = exact.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
        near(&what, &sample, &exact, &multiply(&kernels, &sample, &exact, None), 1e-6);
        odd(&kernels, &sample, &what);
    }
}

/// Tokens of zeros, of the smallest numbers and of the largest; and some that are not finite next to one that is.
fn odd(kernels: &Kernels, sample: &Sample, what: &str) {
    let columns = sample.matrix.columns;
    let ones = check::numbers(42, columns);
    let scaled = |factor: f32| ones.iter().map(|x| x * factor).collect::<Vec<f32>>();
    let with = |value: f32| {
        let mut row = ones.clone();
        row[columns / 2] = value;
        row
    };
    let rows =
        [scaled(1.0), scaled(0.0), scaled(1e-42), with(f32::NAN), with(f32::INFINITY), with(-f32::INFINITY)];
    let found = multiply(kernels, sample, &rows.concat(), None);
    let of = |token: usize| &found[token * ROWS..(token + 1) * ROWS];
    near(what, sample, &rows[0], of(0), TOLERANCE);
    assert!(of(1).iter().all(|value| *value == 0.0), "{what}: {:?}", of(1));
    assert!(of(2).iter().all(|value| value.abs() < 1e-37), "{what}: {:?}", of(2));
    for token in 3..6 {
        assert!(of(token).iter().all(|value| !value.is_finite()), "{what}, token {token}: {:?}", of(token));
    }
}
