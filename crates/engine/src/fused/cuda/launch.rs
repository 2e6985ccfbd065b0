//! The kernels of `kernels/*.cu` on one device, each with what it may touch: the one place of this engine where code is
//! launched on a GPU.
//!
//! A function here takes places with their lengths, and refuses to launch what would not stay within them; that a kernel
//! touches no more than its comment says is what the PTX machine in `tests/fake-cuda` checks, access by access.
#![allow(unsafe_code, reason = "kernels are launched")]

mod attention;
mod tensor;

use std::path::Path;
use std::sync::Arc;

use crate::Launches;
use crate::fused::kv::{KvLayout, KvType};
use crate::fused::network::{Activation, Network, Pairing};
use crate::hardware::cuda::{
    ATTENTION, Argument, Device, DevicePlace, Fault, Function, Grid, Kernel, LAYER, MATRIX, Module, Nvrtc,
    Queue, Recorded, TENSOR, code,
};
use crate::model::TensorType;

use super::fragments::Layout;
use super::store::{Form, Matrix, Vector};

pub(super) use attention::{Attention, PART, part_bytes};
use tensor::OfFragments;
pub(super) use tensor::{Dropped, EXPERTS, Halves, Input, PRODUCTS, SEGMENTS, Sorted};

/// Threads of a block and their warps, as in `base.cuh`.
const THREADS: u32 = 128;
const WARPS: usize = THREADS as usize / 32;
/// Tokens of a warp where there are several, and rows where there are many.
const TOKENS: usize = 8;
const ROWS: usize = 4;

/// Rows of numbers in single precision on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) place: DevicePlace,
    /// Elements from one row to the next.
    pub(super) stride: usize,
}

impl Rows {
    /// The same rows from another column on.
    pub(super) fn column(self, column: usize) -> Self {
        Self { place: self.place.skip(column * 4), ..self }
    }

    fn hold(self, rows: usize, columns: usize) -> bool {
        columns <= self.stride && (rows.saturating_sub(1) * self.stride + columns) * 4 <= self.place.bytes()
    }
}

/// Which tokens of a step, where they stand, and where their keys and values lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) count: usize,
    /// Their ids, `u32` each.
    pub(super) ids: DevicePlace,
    pub(super) positions: DevicePlace,
    /// Index of each one's sequence's first page in `pages`.
    pub(super) first_page: DevicePlace,
    pub(super) pages: DevicePlace,
    /// Pages that hold all positions that any of them sees.
    pub(super) pages_seen: usize,
    /// So many in front are each of a sequence of its own.
    pub(super) apart: usize,
}

/// The cache of one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheOf {
    pub(super) layout: KvLayout,
    pub(super) place: DevicePlace,
    pub(super) layer: usize,
}

/// How heads are rotated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// Cosines and sines in turn, `[positions][pairs]`.
    pub(super) angles: DevicePlace,
    pub(super) pairs: usize,
    pub(super) pairing: Pairing,
    /// Queries are multiplied by this.
    pub(super) scale: f32,
}

/// What a block does to its heads before they are rotated.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfHeads {
    /// For all of a row.
    pub(super) bias: Option<Vector>,
    pub(super) query_norm: Option<Vector>,
    pub(super) key_norm: Option<Vector>,
    pub(super) epsilon: f32,
}

/// The kernels of one type of matrices.
#[derive(Debug)]
struct OfKind {
    kind: TensorType,
    multiply_one: Function,
    multiply_few: Function,
    multiply_many: Function,
    multiply_experts: Function,
    embed: Function,
    /// Those for tensor cores, where there are any that compute rightly.
    tensor: Option<OfFragments>,
}

/// All kernels that a model uses.
#[derive(Debug)]
pub(super) struct Kernels {
    queue: Arc<Queue>,
    /// Of the device.
    multiprocessors: usize,
    /// Of all code.
    hash: String,
    matrices: Vec<OfKind>,
    /// Kernels for tensor cores that are not used.
    dropped: Vec<Dropped>,
    place_heads: Function,
    attend: Function,
    attend_one: Function,
    combine: Function,
    combine_halve: Function,
    norm: Function,
    add_bias: Function,
    add: Function,
    activate: Function,
    halve: Function,
    norm_halve: Function,
    activate_halve: Function,
    choose: Function,
    sort_pairs: Function,
    mix: Function,
    largest: Function,
}

/// A kernel's argument that is a size; none of ours comes near `u32::MAX`.
fn number(value: usize) -> Argument {
    Argument::Number(u32::try_from(value).unwrap_or(u32::MAX))
}

fn place(rows: Rows) -> Argument {
    Argument::Place(rows.place)
}

fn optional(vector: Option<Vector>) -> Argument {
    Argument::Place(vector.map_or(DevicePlace::NULL, |vector| vector.place))
}

fn grid(x: usize, y: usize) -> Grid {
    let [x, y] = [x, y].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Grid { blocks: [x, y, 1], threads: THREADS }
}

/// An activation's number in `layer.cu`.
fn kind_of(activation: Activation) -> u32 {
    match activation {
        Activation::Silu => 0,
        Activation::GeluTanh => 1,
        Activation::ClampedSwiglu => 2,
    }
}

/// Refuses a launch whose kernel would go out of bounds.
fn within(kernel: &str, holds: &[bool]) -> Result<(), Fault> {
    if holds.iter().all(|holds| *holds) {
        return Ok(());
    }
    Err(Fault::Failed(format!(
        "kernel {kernel} is given less memory than it works on; this is a bug in bench"
    )))
}

/// The arguments of a kernel that norms `columns` elements of each of `heads` heads of `count` rows: where from, and how and
/// where to.
fn norm_arguments(
    kernel: &str,
    (input, which): (Rows, Option<DevicePlace>),
    weight: Vector,
    (count, heads, columns): (usize, usize, usize),
    epsilon: f32,
    output: Rows,
) -> Result<([Argument; 3], [Argument; 5]), Fault> {
    let inputs = if which.is_some() { 1 } else { count };
    within(
        kernel,
        &[
            input.hold(inputs, heads * columns),
            output.hold(count, heads * columns),
            words(weight.place, columns),
            which.is_none_or(|which| words(which, count)),
        ],
    )?;
    Ok((
        [place(input), number(input.stride), Argument::Place(which.unwrap_or(DevicePlace::NULL))],
        [
            Argument::Place(weight.place),
            number(columns),
            Argument::Float(epsilon),
            place(output),
            number(output.stride),
        ],
    ))
}

fn words(place: DevicePlace, count: usize) -> bool {
    count * 4 <= place.bytes()
}

/// Does recorded work again.
pub(super) fn replay(recorded: &Recorded) -> Result<(), Fault> {
    // SAFETY: it was recorded from functions of this file, on memory of the same engine, which is given back after the
    // recordings; the step that reads what it wrote does not return before the queue is finished.
    unsafe { recorded.replay() }
}

impl Kernels {
    /// Compiles what a model with matrices of these types needs, or takes it from `cache`, and uploads it.
    ///
    /// # Errors
    /// What the compiler or the driver says.
    pub(super) fn new(
        (device, nvrtc): (&Device, &Nvrtc),
        cache: &Path,
        network: &Network,
        (kv_type, launches): (KvType, Launches),
        kinds: &[TensorType],
    ) -> Result<Self, String> {
        let upload = |kernel: Kernel, defines: &[String]| -> Result<Module, String> {
            device.module(|form| code(nvrtc, kernel, defines, device.architecture, form, cache))
        };
        let (mut matrices, mut modules) = (Vec::new(), Vec::new());
        for kind in kinds {
            let defines = [format!("-DKIND={}", kind.label())];
            let module = upload(MATRIX, &defines)?;
            let mut tensor = None;
            if Layout::of(*kind).is_some() {
                let module = upload(TENSOR, &defines)?;
                tensor = Some(OfFragments::new(&module)?);
                modules.push(module);
            }
            matrices.push(OfKind {
                kind: *kind,
                multiply_one: module.function("multiply_one")?,
                multiply_few: module.function("multiply_few")?,
                multiply_many: module.function("multiply_many")?,
                multiply_experts: module.function("multiply_experts")?,
                embed: module.function("embed")?,
                tensor,
            });
            modules.push(module);
        }
        let eight_bits = u8::from(kv_type == KvType::Q8_0);
        let attention = upload(
            ATTENTION,
            &[format!("-DHEAD={}", network.head_size), format!("-DEIGHT_BITS={eight_bits}")],
        )?;
        let layer = upload(LAYER, &[])?;
        let queue = Queue::new(device, launches == Launches::Watched);
        modules.extend([attention.clone(), layer.clone()]);
        Ok(Self {
            queue: Arc::new(queue.map_err(|fault| fault.to_string())?),
            multiprocessors: device.multiprocessors as usize,
            hash: Module::hash(&modules),
            matrices,
            dropped: Vec::new(),
            place_heads: attention.function("place_heads")?,
            attend: attention.function("attend")?,
            attend_one: attention.function("attend_one")?,
            combine: attention.function("combine")?,
            combine_halve: attention.function("combine_halve")?,
            norm: layer.function("rms_norm")?,
            add_bias: layer.function("add_bias")?,
            add: layer.function("add")?,
            activate: layer.function("activate")?,
            halve: layer.function("halve")?,
            norm_halve: layer.function("norm_halve")?,
            activate_halve: layer.function("activate_halve")?,
            choose: layer.function("choose")?,
            sort_pairs: layer.function("sort_pairs")?,
            mix: layer.function("mix")?,
            largest: layer.function("largest")?,
        })
    }

    /// Where all of it is done, in order.
    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// A hash of the code of all of them.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    fn of(&self, kind: TensorType) -> Result<&OfKind, Fault> {
        let found = self.matrices.iter().find(|kernels| kernels.kind == kind);
        found.ok_or_else(|| Fault::Failed(format!("no kernel was compiled for matrices of {kind}")))
    }

    /// Launches what [`within`] let pass.
    fn launch(&self, function: &Function, grid: Grid, arguments: &[Argument]) -> Result<(), Fault> {
        // SAFETY: every caller gives the arguments that the kernel of this name has in its file, in their order, and has
        // looked that their places hold what its comment says that it touches. The memory is that of the engine, whose
        // step does not return before the queue is finished.
        unsafe { self.queue.launch(function, grid, arguments) }
    }

    /// `output[token][row] = Σ matrix[row][k] × input[token][k]`.
    pub(super) fn multiply(
        &self,
        matrix: &Matrix,
        Input { rows: input, halves }: Input,
        tokens: usize,
        output: Rows,
    ) -> Result<(), Fault> {
        let Matrix { kind, rows, columns, form, place: weights } = *matrix;
        if form != Form::Rows {
            return self.multiply_fragments(&[(matrix, output)], halves, (tokens, None));
        }
        within("multiply", &[input.hold(tokens, columns), output.hold(tokens, rows)])?;
        let of_kind = self.of(kind)?;
        // Rows of a warp and tokens; the bits of a result are the same in each.
        let (function, of_warp, each) = match tokens {
            0..=1 => (&of_kind.multiply_one, 1, 1),
            2..=TOKENS => (&of_kind.multiply_few, 1, TOKENS),
            _ => (&of_kind.multiply_many, ROWS, TOKENS),
        };
        self.launch(
            function,
            grid(rows.div_ceil(WARPS * of_warp), tokens.div_ceil(each)),
            &[
                Argument::Place(weights),
                number(rows),
                number(columns),
                place(input),
                number(input.stride),
                place(output),
                number(output.stride),
                number(tokens),
            ],
        )
    }

    /// The tokens' rows of `matrix`, times `scale`.
    pub(super) fn embed(
        &self,
        matrix: &Matrix,
        tokens: &Tokens,
        scale: f32,
        output: Rows,
    ) -> Result<(), Fault> {
        let columns = matrix.columns;
        within(
            "embed",
            &[output.hold(tokens.count, columns), output.stride == columns, words(tokens.ids, tokens.count)],
        )?;
        self.launch(
            &self.of(matrix.kind)?.embed,
            grid(tokens.count, 1),
            &[
                Argument::Place(matrix.place),
                number(columns),
                Argument::Place(tokens.ids),
                Argument::Float(scale),
                place(output),
            ],
        )
    }

    /// Norms `columns` elements of each of `heads` heads of `count` rows; row `i` of the input is number `which[i]` where that
    /// is given. `which` names rows of the input, as whoever wrote it saw to.
    pub(super) fn norm(
        &self,
        input: Rows,
        which: Option<DevicePlace>,
        weight: Vector,
        (count, heads, columns): (usize, usize, usize),
        epsilon: f32,
        output: Rows,
    ) -> Result<(), Fault> {
        let (from, how) =
            norm_arguments("rms_norm", (input, which), weight, (count, heads, columns), epsilon, output)?;
        self.launch(&self.norm, grid(heads, count), &[&from[..], &how].concat())
    }

    /// Adds a bias to `columns` elements of each row: the one, or the one that `chosen` names.
    pub(super) fn add_bias(
        &self,
        to: Rows,
        bias: Vector,
        chosen: Option<DevicePlace>,
        (count, columns): (usize, usize),
    ) -> Result<(), Fault> {
        within(
            "add_bias",
            &[
                to.hold(count, columns),
                words(bias.place, columns),
                chosen.is_none_or(|chosen| words(chosen, count)),
            ],
        )?;
        self.launch(
            &self.add_bias,
            grid(columns.div_ceil(THREADS as usize), count),
            &[
                place(to),
                number(to.stride),
                Argument::Place(bias.place),
                Argument::Place(chosen.unwrap_or(DevicePlace::NULL)),
                number(columns),
            ],
        )
    }

    /// Adds `count` neighbouring elements.
    pub(super) fn add(&self, to: DevicePlace, from: DevicePlace, count: usize) -> Result<(), Fault> {
        within("add", &[words(to, count), words(from, count)])?;
        let arguments = [Argument::Place(to), Argument::Place(from), number(count)];
        self.launch(&self.add, grid(count.div_ceil(THREADS as usize), 1), &arguments)
    }

    /// The activation of `count` neighbouring gates and ups, into the gates.
    pub(super) fn activate(
        &self,
        activation: Activation,
        gate: DevicePlace,
        up: DevicePlace,
        count: usize,
    ) -> Result<(), Fault> {
        within("activate", &[words(gate, count), words(up, count)])?;
        let arguments = [
            Argument::Place(gate),
            Argument::Place(up),
            number(count),
            Argument::Number(kind_of(activation)),
        ];
        self.launch(&self.activate, grid(count.div_ceil(THREADS as usize), 1), &arguments)
    }

    /// Each token's `used` experts with the largest logits, and their shares.
    pub(super) fn choose(
        &self,
        logits: Rows,
        (tokens, count, used): (usize, usize, usize),
        chosen: DevicePlace,
        shares: DevicePlace,
    ) -> Result<(), Fault> {
        let pairs = tokens * used;
        within(
            "choose",
            &[logits.hold(tokens, count), words(chosen, pairs), words(shares, pairs), used <= count],
        )?;
        let arguments = [
            place(logits),
            number(logits.stride),
            number(count),
            number(used),
            Argument::Place(chosen),
            Argument::Place(shares),
        ];
        self.launch(&self.choose, Grid { threads: 32, ..grid(tokens, 1) }, &arguments)
    }

    /// Adds to `tokens` rows of `columns` elements what each one's `used` experts gave, by their shares.
    pub(super) fn mix(
        &self,
        (to, from): (DevicePlace, DevicePlace),
        (shares, chosen): (DevicePlace, DevicePlace),
        bias: Option<Vector>,
        (tokens, used, columns): (usize, usize, usize),
    ) -> Result<(), Fault> {
        let pairs = tokens * used;
        within(
            "mix",
            &[
                words(to, tokens * columns),
                words(from, pairs * columns),
                words(shares, pairs),
                words(chosen, pairs),
            ],
        )?;
        self.launch(
            &self.mix,
            grid(columns.div_ceil(THREADS as usize), tokens),
            &[
                Argument::Place(to),
                Argument::Place(from),
                Argument::Place(shares),
                optional(bias),
                Argument::Place(chosen),
                number(used),
                number(columns),
            ],
        )
    }

    /// The largest of each row of `count` logits, and its place.
    pub(super) fn largest(
        &self,
        logits: DevicePlace,
        (rows, count): (usize, usize),
        places: DevicePlace,
        values: DevicePlace,
    ) -> Result<(), Fault> {
        within("largest", &[words(logits, rows * count), words(places, rows), words(values, rows)])?;
        let arguments =
            [Argument::Place(logits), number(count), Argument::Place(places), Argument::Place(values)];
        self.launch(&self.largest, grid(rows, 1), &arguments)
    }
}
