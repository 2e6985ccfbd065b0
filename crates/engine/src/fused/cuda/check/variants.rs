//! Every kernel for every type of matrix, head and cache at the shapes that some models have: what is checked when one of them
//! is loaded, and for types that none of them has, on random weights. No model is loaded.

use serde::Serialize;

use crate::Launches;
use crate::base::env;
use crate::base::sys::Interrupt;
use crate::fused::kv::{BLOCK, KvLayout, KvType};
use crate::fused::network::{MATRIX_TYPES, Network};
use crate::fused::weights::{Shape, is_matrix};
use crate::hardware::cuda::{Device, Memory, Nvrtc};
use crate::model::quantize::{Distribution, Weights};
use crate::model::{Header, TensorType};

use super::super::launch::{Dropped, EXPERTS, Kernels, PRODUCTS, SEGMENTS};
use super::super::store::{Form, Matrix, Stack};
use super::super::{not_done, open};
use super::{Wrong, attention, layer, matrices, tensor};
use crate::Error;

/// Rows of a matrix: two whole tiles and a part of a third.
const ROWS: usize = 37;
/// Experts of a stack.
const EXPERTS_OF: usize = 3;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedKernel {
    /// The kernel, or several that were checked together.
    pub kernel: String,
    /// What they were compiled for: a tensor type, a head with its cache, an activation.
    pub variant: String,
    /// The shape of what they worked on.
    pub shape: String,
    /// What they computed wrongly; `null` when all is right.
    pub wrong: Option<String>,
}

/// Checks all of it on the GPU with this number, and tells `each` as it goes; gives the GPU's name.
///
/// # Errors
/// [`Error::NoDevice`] where there is no such GPU or no compiler, [`Error::Load`] for kernels that do not compile,
/// [`Error::Step`] with the kernel at which the device failed, [`Error::Interrupted`].
pub(in crate::fused) fn all(
    ordinal: usize,
    models: &[(&Header, Network)],
    interrupt: &Interrupt,
    each: &mut dyn FnMut(CheckedKernel),
) -> Result<String, Error> {
    let (device, nvrtc) = open(ordinal)?;
    let Some((_, first)) = models.first() else { return Ok(device.name) };
    let shapes = shapes(models);
    for kind in MATRIX_TYPES {
        let of_kind: Vec<Shape> = shapes
            .iter()
            .filter(|shape| (shape.columns as u64).is_multiple_of(kind.block_elements()))
            .map(|shape| Shape { kind, ..*shape })
            .collect();
        let mut kernels = kernels((&device, &nvrtc), first, KvType::F16, &[kind])?;
        for shape in of_kind {
            stopped(interrupt)?;
            on_tensor_cores(&mut kernels, shape, each)?;
            plain(&kernels, shape, each)?;
        }
    }
    let mut done: Vec<(usize, usize, usize, KvType)> = Vec::new();
    for (_, network) in models {
        let variant = format!("{:?}, width {}", network.activation, network.width);
        let checks = "norms, sums, activation, experts' choice, largest";
        stopped(interrupt)?;
        let of_layer = kernels((&device, &nvrtc), network, KvType::F16, &[])?;
        let heads = format!("heads of {}", network.head_size);
        each(CheckedKernel {
            kernel: checks.to_owned(),
            variant,
            shape: heads,
            wrong: wrong(layer::check(&of_layer, network))?,
        });
        for kv_type in [KvType::F16, KvType::Q8_0] {
            let shape = (network.heads, network.kv_heads, network.head_size, kv_type);
            if done.contains(&shape) || (kv_type == KvType::Q8_0 && !network.head_size.is_multiple_of(BLOCK))
            {
                continue;
            }
            done.push(shape);
            stopped(interrupt)?;
            let of_heads = kernels((&device, &nvrtc), network, kv_type, &[])?;
            let layout = KvLayout {
                layers: network.layers.len(),
                kv_heads: network.kv_heads,
                head_size: network.head_size,
                kv_type,
            };
            each(CheckedKernel {
                kernel: "place_heads, attend_one, attend, combine, combine_halve".to_owned(),
                variant: format!("head {} {}", network.head_size, kv_type.label()),
                shape: format!("{} heads of queries, {} of keys", network.heads, network.kv_heads),
                wrong: wrong(attention::check(&of_heads, network, layout))?,
            });
        }
    }
    Ok(device.name)
}

fn stopped(interrupt: &Interrupt) -> Result<(), Error> {
    if interrupt.requested() { Err(Error::Interrupted) } else { Ok(()) }
}

/// Each kernel is waited for, so that the one at which a card fails is named.
fn kernels(
    device: (&Device, &Nvrtc),
    network: &Network,
    kv_type: KvType,
    kinds: &[TensorType],
) -> Result<Kernels, Error> {
    let how = (kv_type, Launches::Watched);
    Kernels::new(device, &env::cache_folder(), network, how, kinds)
        .map_err(|reason| crate::fused::not_loaded(format!("the kernels cannot be prepared: {reason}")))
}

/// What was computed wrongly; a device that fails ends the checks.
fn wrong<T>(checked: Result<T, Wrong>) -> Result<Option<String>, Error> {
    match checked {
        Ok(_) => Ok(None),
        Err(Wrong::Kernel(reason)) => Ok(Some(reason)),
        Err(Wrong::Device(fault)) => Err(not_done("the check of its kernels", fault)),
    }
}

/// The widths of the models' matrices, each once; and of their experts.
fn shapes(models: &[(&Header, Network)]) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = Vec::new();
    for (header, _) in models {
        for shape in header.tensors.iter().filter(|tensor| is_matrix(tensor)).filter_map(Shape::of) {
            let count = if shape.count > 1 { EXPERTS_OF } else { 1 };
            if !shapes.iter().any(|known| (known.count, known.columns) == (count, shape.columns)) {
                shapes.push(Shape { count, rows: ROWS, ..shape });
            }
        }
    }
    shapes
}

/// A line for the kernel.
fn line(kernel: &str, variant: &str, shape: Shape, wrong: Option<String>) -> CheckedKernel {
    let experts = if shape.count > 1 { ", experts" } else { "" };
    let shape = format!("{} columns{experts}", shape.columns);
    CheckedKernel { kernel: kernel.to_owned(), variant: variant.to_owned(), shape, wrong }
}

fn on_tensor_cores(
    kernels: &mut Kernels,
    shape: Shape,
    each: &mut dyn FnMut(CheckedKernel),
) -> Result<(), Error> {
    if !kernels.in_fragments().contains(&shape.kind) {
        return Ok(());
    }
    tensor::check(kernels, &[shape])
        .map_err(|fault| not_done("the check of its kernels for tensor cores", fault))?;
    let variant = format!("{} tensor", shape.kind);
    let of_experts = [EXPERTS, SEGMENTS].into_iter().filter(|_| shape.count > 1);
    // What was dropped at another width is not checked again.
    let dropped: Vec<&Dropped> = kernels.dropped().iter().filter(|of| of.kind == shape.kind).collect();
    for name in PRODUCTS.into_iter().map(|product| product.name).chain(of_experts) {
        let why = dropped.iter().find(|dropped| dropped.name == name).map(|dropped| dropped.why.clone());
        each(line(name, &variant, shape, why));
    }
    Ok(())
}

fn plain(kernels: &Kernels, shape: Shape, each: &mut dyn FnMut(CheckedKernel)) -> Result<(), Error> {
    let Some((stack, _memory)) = sample(kernels, shape)? else { return Ok(()) };
    let variant = shape.kind.to_string();
    let products = matrices::compare(kernels, &stack.first);
    each(line("multiply_one, multiply_few, multiply_many", &variant, shape, wrong(products)?));
    each(line("embed", &variant, shape, wrong(matrices::embed(kernels, &stack.first))?));
    if shape.count > 1 {
        each(line(EXPERTS, &variant, shape, wrong(matrices::experts(kernels, &stack))?));
    }
    Ok(())
}

/// Random matrices in the blocks of a file.
fn sample(kernels: &Kernels, shape: Shape) -> Result<Option<(Stack, Memory)>, Error> {
    let Shape { kind, count, rows, columns } = shape;
    let Some(random) = Weights::new(kind, Distribution { mean: 0.0, deviation: 1.0 }, 0x91a1) else {
        return Ok(None);
    };
    let mut blocks = vec![0; count * rows * shape.row_bytes()];
    random.fill(0, &mut blocks);
    let queue = kernels.queue();
    let sent = queue.alloc(blocks.len()).and_then(|memory| {
        queue.write(&blocks, memory.place())?;
        Ok(memory)
    });
    let memory = sent.map_err(|fault| not_done("the check of its kernels", fault))?;
    let first = Matrix { kind, rows, columns, form: Form::Rows, place: memory.place() };
    Ok(Some((Stack { first, count }, memory)))
}
