//! Whether this engine can compute what a header describes: architecture, shape, and every tensor by its name.

use std::collections::{HashMap, HashSet};

use crate::model::architecture::{self, Architecture, Kind, Presence, Sizes, Tensor};
use crate::model::{Header, TensorInfo, TensorType};

use super::Error;
use super::unsupported;

/// Largest head, and most query heads of a KV head, that there is scratch for.
const MOST_HEAD: u32 = 512;
const MOST_GROUP: u32 = 64;

/// Types of matrices that there are kernels for.
pub(in crate::fused) const MATRIX_TYPES: [TensorType; 16] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q8_0,
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q4_K,
    TensorType::Q5_K,
    TensorType::Q6_K,
    TensorType::Q2_K,
    TensorType::Q3_K,
    TensorType::IQ4_NL,
    TensorType::IQ4_XS,
    TensorType::MXFP4,
];

pub(in crate::fused) const WAY_OUT: &str = "ask for `--engine candle`, which may know it";

/// Whether this engine can compute what `header` describes.
///
/// # Errors
/// [`Error::Unsupported`] that names the architecture, the tensor or its type, and the way out.
pub fn supports(header: &Header) -> Result<(), Error> {
    let architecture = architecture(header)?;
    check_experts(architecture, header)?;
    check_shape(header)?;
    let variant = architecture.variant(header);
    // How much of a head is rotated stands in the metadata: factors are counted where those are read.
    let sizes = Sizes::of(&header.spec, header.spec.head_size);
    let given: HashMap<&str, &TensorInfo> =
        header.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut known = HashSet::new();
    let mut check = |wanted: &Tensor, name: String| -> Result<(), Error> {
        if !wanted.when.holds(variant) {
            return Ok(());
        }
        let tensor = given.get(name.as_str()).ok_or_else(|| {
            unsupported(
                format!("run this {} model", architecture.name),
                format!("tensor `{name}` is missing, and the architecture needs it; {WAY_OUT}"),
            )
        })?;
        known.insert(name);
        check_tensor(tensor, wanted, &sizes)
    };
    for layer in 0..header.spec.layers {
        for wanted in architecture.block {
            check(wanted, wanted.in_block(layer))?;
        }
    }
    for wanted in architecture.input.iter().chain(architecture.output) {
        check(wanted, wanted.name.to_owned())?;
    }
    // Ignoring a tensor that the forward pass has no place for would change what the model computes.
    match header.tensors.iter().find(|tensor| !known.contains(&tensor.name)) {
        Some(tensor) => Err(unsupported(
            format!("use tensor `{}`", tensor.name),
            format!("its forward pass has no place for it; {WAY_OUT}"),
        )),
        None => Ok(()),
    }
}

pub(super) fn architecture(header: &Header) -> Result<&'static Architecture, Error> {
    let name = header.spec.architecture.as_str();
    architecture::named(name).ok_or_else(|| {
        let names = architecture::names(|_| true);
        unsupported(format!("run the architecture `{name}`"), format!("it knows {names}; {WAY_OUT}"))
    })
}

/// Refuses experts where the architecture has none, and their absence where it has.
fn check_experts(architecture: &Architecture, header: &Header) -> Result<(), Error> {
    let name = architecture.name;
    match (architecture.experts, header.spec.experts) {
        (Presence::Always, None) => Err(unsupported(
            format!("run this {name} model"),
            format!("`{name}.expert_count` is missing, and the architecture needs it; fetch the file again"),
        )),
        (Presence::Never, Some(experts)) => Err(unsupported(
            format!("run a {name} model with {} experts (`{name}.expert_count`)", experts.count),
            format!(
                "it knows experts in {}; {WAY_OUT}",
                architecture::names(|one| one.experts != Presence::Never)
            ),
        )),
        _ => Ok(()),
    }
}

fn check_shape(header: &Header) -> Result<(), Error> {
    let spec = &header.spec;
    for (what, value) in [
        ("width", spec.width),
        ("feed-forward width", spec.experts.map_or(spec.feed_forward, |experts| experts.feed_forward)),
        ("width of all heads", spec.heads * spec.head_size),
    ] {
        if !value.is_multiple_of(32) {
            return Err(unsupported(
                format!("run a model whose {what} is {value}"),
                format!("its kernels take blocks of 32 elements; {WAY_OUT}"),
            ));
        }
    }
    if !spec.head_size.is_multiple_of(16) {
        return Err(unsupported(
            format!("run a model with heads of {} elements", spec.head_size),
            format!("its attention takes multiples of 16; {WAY_OUT}"),
        ));
    }
    let group = spec.heads / spec.kv_heads.max(1);
    if spec.head_size > MOST_HEAD || group > MOST_GROUP {
        return Err(unsupported(
            format!("run a model with heads of {} elements, {group} to a KV head", spec.head_size),
            format!("its attention takes at most {MOST_HEAD} and {MOST_GROUP}; {WAY_OUT}"),
        ));
    }
    Ok(())
}

fn check_tensor(tensor: &TensorInfo, wanted: &Tensor, sizes: &Sizes) -> Result<(), Error> {
    match wanted.role.kind() {
        Kind::Matrix => {
            check_dimensions(tensor, &wanted.shape(sizes))?;
            check_type(tensor)
        }
        Kind::Router | Kind::Norm | Kind::Bias => {
            check_dimensions(tensor, &wanted.shape(sizes))?;
            check_plain(tensor)
        }
        Kind::Factors => check_plain(tensor),
    }
}

pub(super) fn check_dimensions(tensor: &TensorInfo, expected: &[u64]) -> Result<(), Error> {
    if tensor.shape == expected {
        return Ok(());
    }
    Err(unsupported(
        format!("use tensor `{}`", tensor.name),
        format!(
            "its shape is {:?}, and the header's numbers ask for {expected:?}: fetch the file again",
            tensor.shape
        ),
    ))
}

fn check_type(tensor: &TensorInfo) -> Result<(), Error> {
    if MATRIX_TYPES.contains(&tensor.dtype) {
        return Ok(());
    }
    let known = MATRIX_TYPES.map(TensorType::label).join(", ");
    Err(unsupported(
        format!("multiply by tensor `{}` of type {}", tensor.name, tensor.dtype),
        format!("it has kernels for {known}; {WAY_OUT}"),
    ))
}

fn check_plain(tensor: &TensorInfo) -> Result<(), Error> {
    match tensor.dtype {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => Ok(()),
        other => Err(unsupported(
            format!("read tensor `{}` of type {other}", tensor.name),
            format!("norms, biases, sinks and routers are read as F32, F16 or BF16; {WAY_OUT}"),
        )),
    }
}
