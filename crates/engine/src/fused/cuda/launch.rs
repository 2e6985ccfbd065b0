//! The kernels of `kernels/*.cu` on one device, each with what it may touch: the one place of this engine where code is
//! launched on a GPU.
//!
//! A function here takes places with their lengths, and refuses to launch what would not stay within them; that a kernel
//! touches no more than its comment says is what the PTX machine in `tests/fake-cuda` checks, access by access.
#![allow(unsafe_code, reason = "kernels are launched")]

use std::path::Path;
use std::sync::Arc;

use crate::fused::kv::{KvLayout, KvType};
use crate::fused::network::{Activation, Network, Pairing};
use crate::hardware::cuda::{
    ATTENTION, Argument, Device, DevicePlace, Fault, Function, Grid, Kernel, LAYER, MATRIX, Module, Nvrtc,
    Queue, TENSOR, code,
};
use crate::model::TensorType;

use super::fragments::{Layout, ROWS as TILE};
use super::store::{Form, Matrix, Stack, Vector};

/// Threads of a block and their warps, as in `base.cuh`.
const THREADS: u32 = 128;
const WARPS: usize = THREADS as usize / 32;
/// Tokens of a warp where there are several, and rows where there are many.
const TOKENS: usize = 8;
const ROWS: usize = 4;
/// Threads of a block that makes a row in half precision, as in `layer.cu`.
const HALVING: u32 = 512;
/// Warps that share a tile of a matrix in fragments, as in `tensor.cu`.
const SLICES: usize = 8;
/// Columns that rows in half precision are whole multiples of, and of which there is a group of sums.
const PADDED: usize = 256;
/// Pages of a part of attention, as in `attention.cu`.
const PART: usize = 8;

/// Rows of numbers in single precision on the device.
#[derive(Debug, Clone, Copy)]
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
#[derive(Debug, Clone, Copy)]
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
    /// What is rotated is multiplied by this.
    pub(super) scale: f32,
}

/// Room for rows of activations in half precision, as `layer.cu` makes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Halves {
    pub(super) elements: DevicePlace,
    pub(super) block_sums: DevicePlace,
    pub(super) factors: DevicePlace,
}

impl Halves {
    /// Bytes of the three for `rows` rows of `columns` columns.
    pub(super) fn sizes(rows: usize, columns: usize) -> [usize; 3] {
        let elements = rows * columns.next_multiple_of(PADDED);
        [elements * 2, elements / 8, rows * 4]
    }

    /// As kernels take them, for rows of `columns` columns.
    fn arguments(self, columns: usize) -> [Argument; 4] {
        [
            Argument::Place(self.elements),
            number(columns.next_multiple_of(PADDED)),
            Argument::Place(self.block_sums),
            Argument::Place(self.factors),
        ]
    }

    fn hold(self, rows: usize, columns: usize) -> bool {
        let sizes = Self::sizes(rows, columns);
        [self.elements, self.block_sums, self.factors]
            .iter()
            .zip(sizes)
            .all(|(place, size)| size <= place.bytes())
    }
}

/// Activations that matrices are multiplied with: in single precision, and in half where one of the matrices needs that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input {
    rows: Rows,
    halves: Option<Halves>,
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

/// The kernels for tensor cores of one type: for so many tokens at most, ascending.
#[derive(Debug)]
struct OfFragments {
    products: Vec<(usize, Function)>,
    experts: Function,
    /// Unless it computes wrongly.
    segments: Option<Function>,
}

/// Matrices that a kernel for tensor cores takes at once.
const TOGETHER: usize = 3;
/// Kernels for tensor cores by the tokens that they take at once.
pub(super) const PRODUCTS: [(usize, &str); 3] = [(8, "multiply_8"), (32, "multiply_32"), (64, "multiply_64")];
/// Those of experts: for a pair at once, and for all pairs of an expert.
pub(super) const EXPERTS: &str = "multiply_experts";
pub(super) const SEGMENTS: &str = "multiply_segments";
/// Pairs of a segment at most, and experts that `sort_pairs` has room for, as in `layer.cu`.
const SEGMENT: usize = 8;
const MOST_EXPERTS: usize = 1024;

/// Pairs of a token and an expert.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pairs {
    /// The expert of each, the pairs of a token side by side.
    pub(super) chosen: DevicePlace,
    pub(super) count: usize,
    sorted: Option<Sorted>,
}

/// Room for pairs in the order of their experts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sorted {
    pub(super) slots: DevicePlace,
    pub(super) segments: DevicePlace,
}

impl Sorted {
    /// Bytes of both.
    pub(super) fn sizes(pairs: usize, experts: usize) -> [usize; 2] {
        [4 * pairs, 12 * most_segments(pairs, experts)]
    }
}

/// Segments that pairs can make: no more than pairs, nor than whole ones and a part for each expert.
fn most_segments(pairs: usize, experts: usize) -> usize {
    pairs.min(pairs / SEGMENT + experts)
}

/// A kernel for tensor cores that is not used.
#[derive(Debug)]
pub(super) struct Dropped {
    pub(super) kind: TensorType,
    pub(super) name: &'static str,
    pub(super) why: String,
}

/// All kernels that a model uses.
#[derive(Debug)]
pub(super) struct Kernels {
    queue: Arc<Queue>,
    /// Of all code.
    hash: String,
    matrices: Vec<OfKind>,
    /// Kernels for tensor cores that are not used.
    dropped: Vec<Dropped>,
    append: Function,
    attend: Function,
    combine: Function,
    norm: Function,
    add_bias: Function,
    add: Function,
    rotate: Function,
    activate: Function,
    halve: Function,
    norm_halve: Function,
    activate_halve: Function,
    choose: Function,
    sort_pairs: Function,
    mix: Function,
    largest: Function,
}

/// Whether one of them is in fragments.
fn in_fragments<'a>(matrices: impl IntoIterator<Item = &'a Matrix>) -> bool {
    matrices.into_iter().any(|matrix| matrix.form != Form::Rows)
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
        "kernel {kernel} is given less memory than it works on; this is a fault of this program"
    )))
}

/// The first arguments of a kernel that norms `columns` elements of each of `heads` heads of `count` rows.
fn norm_arguments(
    kernel: &str,
    (input, which): (Rows, Option<DevicePlace>),
    weight: Vector,
    (count, heads, columns): (usize, usize, usize),
    epsilon: f32,
    output: Rows,
) -> Result<[Argument; 8], Fault> {
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
    Ok([
        place(input),
        number(input.stride),
        Argument::Place(which.unwrap_or(DevicePlace::NULL)),
        Argument::Place(weight.place),
        number(columns),
        Argument::Float(epsilon),
        place(output),
        number(output.stride),
    ])
}

fn words(place: DevicePlace, count: usize) -> bool {
    count * 4 <= place.bytes()
}

impl Kernels {
    /// Compiles what a model with matrices of these types needs, or takes it from `cache`, and uploads it.
    ///
    /// # Errors
    /// What the compiler or the driver says.
    pub(super) fn new(
        device: &Device,
        nvrtc: &Nvrtc,
        cache: &Path,
        network: &Network,
        kv_type: KvType,
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
                let products: Result<Vec<_>, String> =
                    PRODUCTS.iter().map(|(most, name)| Ok((*most, module.function(name)?))).collect();
                tensor = Some(OfFragments {
                    products: products?,
                    experts: module.function(EXPERTS)?,
                    segments: Some(module.function(SEGMENTS)?),
                });
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
        modules.extend([attention.clone(), layer.clone()]);
        Ok(Self {
            queue: Arc::new(Queue::new(device)),
            hash: Module::hash(&modules),
            matrices,
            dropped: Vec::new(),
            append: attention.function("append")?,
            attend: attention.function("attend")?,
            combine: attention.function("combine")?,
            norm: layer.function("rms_norm")?,
            add_bias: layer.function("add_bias")?,
            add: layer.function("add")?,
            rotate: layer.function("rotate")?,
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

    /// Types whose matrices are to be laid out in fragments.
    pub(super) fn in_fragments(&self) -> Vec<TensorType> {
        self.matrices.iter().filter(|of| of.tensor.is_some()).map(|of| of.kind).collect()
    }

    /// Kernels for tensor cores that are not used.
    pub(super) fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// Uses one of the kernels for tensor cores no more. Without the one for the fewest tokens, or the one of experts, the
    /// type's matrices stay in the blocks of the file.
    pub(super) fn drop_kernel(&mut self, kind: TensorType, name: &'static str, why: String) {
        self.dropped.push(Dropped { kind, name, why });
        let Some(of) = self.matrices.iter_mut().find(|of| of.kind == kind) else { return };
        if name == SEGMENTS {
            if let Some(tensor) = &mut of.tensor {
                tensor.segments = None;
            }
            return;
        }
        let Some((most, _)) = PRODUCTS[1..].iter().find(|(_, product)| *product == name) else {
            of.tensor = None;
            return;
        };
        if let Some(tensor) = &mut of.tensor {
            tensor.products.retain(|(of, _)| of != most);
        }
    }

    /// Activations for these matrices, in half precision too where one of them is in fragments.
    pub(super) fn input<'a>(
        &self,
        rows: Rows,
        (count, columns): (usize, usize),
        halves: Halves,
        matrices: impl IntoIterator<Item = &'a Matrix>,
    ) -> Result<Input, Fault> {
        let halves = in_fragments(matrices).then_some(halves);
        if let Some(halves) = halves {
            self.halve(rows, (count, columns), halves)?;
        }
        Ok(Input { rows, halves })
    }

    /// The same of rows that are normed first.
    pub(super) fn normed_input<'a>(
        &self,
        input: Rows,
        which: Option<DevicePlace>,
        (weight, epsilon): (Vector, f32),
        (count, columns): (usize, usize),
        (output, halves): (Rows, Halves),
        matrices: impl IntoIterator<Item = &'a Matrix>,
    ) -> Result<Input, Fault> {
        let halves = in_fragments(matrices).then_some(halves);
        match halves {
            Some(halves) => {
                self.norm_halve(input, which, weight, (count, columns), epsilon, (output, halves))?;
            }
            None => self.norm(input, which, weight, (count, 1, columns), epsilon, output)?,
        }
        Ok(Input { rows: output, halves })
    }

    /// The same of gates that are activated first, row after row.
    pub(super) fn activated_input<'a>(
        &self,
        activation: Activation,
        (gate, up): (Rows, Rows),
        (count, columns): (usize, usize),
        halves: Halves,
        matrices: impl IntoIterator<Item = &'a Matrix>,
    ) -> Result<Input, Fault> {
        within("activate", &[gate.stride == columns, up.stride == columns])?;
        let halves = in_fragments(matrices).then_some(halves);
        match halves {
            Some(halves) => {
                self.activate_halve(activation, (gate.place, up.place), (count, columns), halves)?;
            }
            None => self.activate(activation, gate.place, up.place, count * columns)?,
        }
        Ok(Input { rows: gate, halves })
    }

    /// Makes rows in half precision of rows in single.
    pub(super) fn halve(
        &self,
        rows: Rows,
        (count, columns): (usize, usize),
        halves: Halves,
    ) -> Result<(), Fault> {
        within("halve", &[rows.hold(count, columns)])?;
        let row = [place(rows), number(rows.stride), number(columns)];
        self.launch_halving(("halve", &self.halve), &row, (count, columns), halves)
    }

    /// Launches a kernel that gives `count` rows in half precision; `own` are its arguments before those of the halves.
    fn launch_halving(
        &self,
        (name, function): (&str, &Function),
        own: &[Argument],
        (count, columns): (usize, usize),
        halves: Halves,
    ) -> Result<(), Fault> {
        within(name, &[halves.hold(count, columns), columns % 8 == 0])?;
        let grid = Grid { threads: HALVING, ..grid(count, 1) };
        self.launch(function, grid, &[own, &halves.arguments(columns)].concat())
    }

    /// [`norm`](Self::norm) of whole rows, and [`halve`](Self::halve) of what it gives.
    pub(super) fn norm_halve(
        &self,
        input: Rows,
        which: Option<DevicePlace>,
        weight: Vector,
        (count, columns): (usize, usize),
        epsilon: f32,
        (output, halves): (Rows, Halves),
    ) -> Result<(), Fault> {
        let own = norm_arguments("norm_halve", (input, which), weight, (count, 1, columns), epsilon, output)?;
        self.launch_halving(("norm_halve", &self.norm_halve), &own, (count, columns), halves)
    }

    /// [`activate`](Self::activate) of `count` neighbouring rows, and [`halve`](Self::halve) of what it gives.
    pub(super) fn activate_halve(
        &self,
        activation: Activation,
        (gate, up): (DevicePlace, DevicePlace),
        (count, columns): (usize, usize),
        halves: Halves,
    ) -> Result<(), Fault> {
        let elements = count * columns;
        within("activate_halve", &[words(gate, elements), words(up, elements)])?;
        let own = [
            Argument::Place(gate),
            Argument::Place(up),
            number(columns),
            Argument::Number(kind_of(activation)),
        ];
        self.launch_halving(("activate_halve", &self.activate_halve), &own, (count, columns), halves)
    }

    fn tensor(&self, kind: TensorType) -> Result<&OfFragments, Fault> {
        let missing = || Fault::Failed(format!("no kernel for tensor cores was kept for matrices of {kind}"));
        self.of(kind)?.tensor.as_ref().ok_or_else(missing)
    }

    /// [`multiply`](Self::multiply) by up to three matrices in fragments of one type and width, into rows of one stride, with
    /// the kernel for at most `most` tokens at once, or the smallest that takes all.
    pub(super) fn multiply_fragments(
        &self,
        of: &[(&Matrix, Rows)],
        halves: Option<Halves>,
        (tokens, most): (usize, Option<usize>),
    ) -> Result<(), Fault> {
        let Some(((Matrix { kind, columns, form: Form::Fragments(layout), .. }, to), halves)) =
            of.first().copied().zip(halves)
        else {
            return Err(Fault::Failed("a matrix in fragments is given no halves".to_owned()));
        };
        let products = &self.tensor(*kind)?.products;
        // The first that takes all of them, else the last.
        let wanted = most.unwrap_or(tokens);
        let found = products.iter().find(|(most, _)| *most >= wanted).or(products.last());
        let (each, function) =
            found.ok_or_else(|| Fault::Failed(format!("no kernel was kept for matrices of {kind}")))?;
        let alike = |(matrix, rows): &(&Matrix, Rows)| {
            (matrix.kind, matrix.columns, matrix.form) == (*kind, *columns, Form::Fragments(*layout))
                && rows.stride == to.stride
                && rows.hold(tokens, matrix.rows)
                && matrix.bytes() <= matrix.place.bytes()
        };
        within(
            "multiply in fragments",
            &[of.len() <= TOGETHER, of.iter().all(alike), halves.hold(tokens, *columns), tokens > 0],
        )?;
        // Two tiles share the activations of several tokens; with one token more blocks matter more.
        let tiles = if *each == PRODUCTS[0].0 && tokens > 1 { 2 } else { 1 };
        let blocks = of.iter().map(|(matrix, _)| matrix.rows.div_ceil(TILE * tiles)).sum();
        let nothing = [Argument::Place(DevicePlace::NULL), number(0), Argument::Place(DevicePlace::NULL)];
        let mut arguments = Vec::new();
        for (matrix, rows) in of {
            arguments.extend([Argument::Place(matrix.place), number(matrix.rows), place(*rows)]);
        }
        for _ in of.len()..TOGETHER {
            arguments.extend(nothing);
        }
        arguments.push(number(layout.units(*columns)));
        arguments.extend(halves.arguments(*columns));
        arguments.extend([number(to.stride), number(tokens)]);
        self.launch(
            function,
            Grid {
                threads: u32::try_from(32 * SLICES * tiles).unwrap_or(u32::MAX),
                ..grid(blocks, tokens.div_ceil(*each))
            },
            &arguments,
        )
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

    /// Pairs for experts of these matrices, of which there are `experts`: in the order of their experts too, where several tokens
    /// may use one and a kernel reads its weights once for them.
    pub(super) fn pairs<'a>(
        &self,
        chosen: DevicePlace,
        (tokens, used, experts): (usize, usize, usize),
        room: Sorted,
        stacks: impl IntoIterator<Item = &'a Stack>,
    ) -> Result<Pairs, Fault> {
        let count = tokens * used;
        let by_segments = |stack: &Stack| {
            let tensor = self.of(stack.first.kind).ok().and_then(|of| of.tensor.as_ref());
            stack.first.form != Form::Rows && tensor.is_some_and(|tensor| tensor.segments.is_some())
        };
        if tokens == 1 || experts > MOST_EXPERTS || !stacks.into_iter().any(by_segments) {
            return Ok(Pairs { chosen, count, sorted: None });
        }
        let [slots, segments] = Sorted::sizes(count, experts);
        within(
            "sort_pairs",
            &[words(chosen, count), slots <= room.slots.bytes(), segments <= room.segments.bytes()],
        )?;
        let most = most_segments(count, experts);
        self.launch(
            &self.sort_pairs,
            grid(1, 1),
            &[
                Argument::Place(chosen),
                number(count),
                number(experts),
                Argument::Place(room.slots),
                Argument::Place(room.segments),
                number(most),
            ],
        )?;
        Ok(Pairs { chosen, count, sorted: Some(room) })
    }

    /// The same for several matrices: neighbours of one type in fragments at once.
    pub(super) fn multiply_together(
        &self,
        of: &[(&Matrix, Rows)],
        input: Input,
        tokens: usize,
    ) -> Result<(), Fault> {
        let alike = |one: &(&Matrix, Rows), other: &(&Matrix, Rows)| {
            (one.0.kind, one.0.form, one.0.columns, one.1.stride)
                == (other.0.kind, other.0.form, other.0.columns, other.1.stride)
        };
        for of in of.chunk_by(alike).flat_map(|of| of.chunks(TOGETHER)) {
            if of.iter().all(|(matrix, _)| matrix.form != Form::Rows) {
                self.multiply_fragments(of, input.halves, (tokens, None))?;
                continue;
            }
            for (matrix, output) in of {
                self.multiply(matrix, input, tokens, *output)?;
            }
        }
        Ok(())
    }

    /// The same for pairs of a token and an expert; `share` neighbouring pairs have one input.
    pub(super) fn multiply_experts(
        &self,
        stack: &Stack,
        Pairs { chosen, count: pairs, sorted }: Pairs,
        (Input { rows: input, halves }, share): (Input, usize),
        output: Rows,
    ) -> Result<(), Fault> {
        let Matrix { kind, rows, columns, form, place: weights } = stack.first;
        let inputs = pairs.div_ceil(share.max(1));
        within(
            EXPERTS,
            &[input.hold(inputs, columns), output.hold(pairs, rows), words(chosen, pairs), share > 0],
        )?;
        if let (Form::Fragments(layout), Some(halves)) = (form, halves) {
            within(
                EXPERTS,
                &[halves.hold(inputs, columns), stack.first.bytes() * stack.count <= weights.bytes()],
            )?;
            let tensor = self.tensor(kind)?;
            if let (Some(sorted), Some(function)) = (sorted, &tensor.segments) {
                let most = most_segments(pairs, stack.count);
                within(SEGMENTS, &[words(sorted.slots, pairs), 12 * most <= sorted.segments.bytes()])?;
                let blocks = grid(rows.div_ceil(TILE), most);
                return self.launch(
                    function,
                    Grid { threads: u32::try_from(32 * SLICES).unwrap_or(u32::MAX), ..blocks },
                    &[
                        Argument::Place(weights),
                        number(rows),
                        number(layout.units(columns)),
                        Argument::Place(sorted.slots),
                        Argument::Place(sorted.segments),
                        Argument::Place(halves.elements),
                        number(columns.next_multiple_of(PADDED)),
                        Argument::Place(halves.block_sums),
                        Argument::Place(halves.factors),
                        number(share),
                        place(output),
                        number(output.stride),
                    ],
                );
            }
            let blocks = grid(rows.div_ceil(TILE), pairs);
            return self.launch(
                &tensor.experts,
                Grid { threads: u32::try_from(32 * SLICES).unwrap_or(u32::MAX), ..blocks },
                &[
                    Argument::Place(weights),
                    number(rows),
                    number(layout.units(columns)),
                    Argument::Place(chosen),
                    Argument::Place(halves.elements),
                    number(columns.next_multiple_of(PADDED)),
                    Argument::Place(halves.block_sums),
                    Argument::Place(halves.factors),
                    number(share),
                    place(output),
                    number(output.stride),
                ],
            );
        }
        within(EXPERTS, &[form == Form::Rows])?;
        self.launch(
            &self.of(kind)?.multiply_experts,
            grid(rows.div_ceil(WARPS), pairs),
            &[
                Argument::Place(weights),
                number(rows),
                number(columns),
                Argument::Place(chosen),
                place(input),
                number(input.stride),
                number(share),
                place(output),
                number(output.stride),
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
        let arguments =
            norm_arguments("rms_norm", (input, which), weight, (count, heads, columns), epsilon, output)?;
        self.launch(&self.norm, grid(heads, count), &arguments)
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

    /// Rotates `heads` heads of each token by its position.
    pub(super) fn rotate(
        &self,
        rows: Rows,
        (heads, head_size): (usize, usize),
        tokens: &Tokens,
        turn: Turn,
    ) -> Result<(), Fault> {
        within(
            "rotate",
            &[
                rows.hold(tokens.count, heads * head_size),
                2 * turn.pairs <= head_size,
                words(tokens.positions, tokens.count),
            ],
        )?;
        self.launch(
            &self.rotate,
            grid(heads, tokens.count),
            &[
                place(rows),
                number(rows.stride),
                number(head_size),
                Argument::Place(tokens.positions),
                Argument::Place(turn.angles),
                number(turn.pairs),
                number(usize::from(turn.pairing == Pairing::Neighbours)),
                Argument::Float(turn.scale),
            ],
        )
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

    /// Puts the tokens' keys and values into the cache; each row has its keys first and its values behind them.
    pub(super) fn append(&self, keys: Rows, tokens: &Tokens, cache: CacheOf) -> Result<(), Fault> {
        let KvLayout { kv_heads, head_size, .. } = cache.layout;
        let values = keys.column(kv_heads * head_size);
        within("append", &[values.hold(tokens.count, kv_heads * head_size), known(tokens)])?;
        self.launch(
            &self.append,
            grid(kv_heads, tokens.count),
            &[&[place(keys), place(values), number(keys.stride)][..], &of_cache(tokens, cache)].concat(),
        )
    }

    /// Attention of `heads` query heads of each token over what it sees of the cache; `results` is where the parts of a
    /// context are kept until they are put together, so many tokens at a time as it has room for.
    pub(super) fn attend(
        &self,
        queries: Rows,
        (heads, window): (usize, Option<u32>),
        tokens: &Tokens,
        (cache, results): (CacheOf, DevicePlace),
        sinks: Option<Vector>,
        output: Rows,
    ) -> Result<(), Fault> {
        let KvLayout { kv_heads, head_size, .. } = cache.layout;
        let columns = heads * head_size;
        let parts = parts(tokens.pages_seen);
        let at_once = results.bytes() / part_bytes(heads, head_size, tokens.pages_seen);
        within(
            "attend",
            &[
                queries.hold(tokens.count, columns),
                output.hold(tokens.count, columns),
                sinks.is_none_or(|sinks| words(sinks.place, heads)),
                known(tokens),
                at_once > 0,
            ],
        )?;
        for first in (0..tokens.count).step_by(at_once) {
            let count = at_once.min(tokens.count - first);
            let whole = grid(heads, count);
            let [x, y, _] = whole.blocks;
            let blocks = [x, y, u32::try_from(parts).unwrap_or(u32::MAX)];
            self.launch(
                &self.attend,
                Grid { blocks, ..whole },
                &[
                    &[place(queries), number(queries.stride)][..],
                    &of_cache(tokens, cache),
                    &[
                        number(heads / kv_heads),
                        Argument::Number(window.unwrap_or(0)),
                        number(first),
                        Argument::Place(results),
                    ],
                ]
                .concat(),
            )?;
            self.launch(
                &self.combine,
                whole,
                &[
                    Argument::Place(results),
                    number(parts),
                    optional(sinks),
                    number(first),
                    place(output),
                    number(output.stride),
                ],
            )?;
        }
        Ok(())
    }
}

/// Where tokens stand and what they see of the cache, as the kernels of `attention.cu` take it.
fn of_cache(tokens: &Tokens, cache: CacheOf) -> [Argument; 7] {
    [
        Argument::Place(tokens.positions),
        Argument::Place(tokens.first_page),
        Argument::Place(tokens.pages),
        Argument::Place(cache.place),
        number(cache.layout.layers),
        number(cache.layer),
        number(cache.layout.kv_heads),
    ]
}

/// Parts of a context of so many pages.
fn parts(pages: usize) -> usize {
    pages.div_ceil(PART).max(1)
}

/// Bytes that the parts of one token's attention take in a context of so many pages.
pub(super) fn part_bytes(heads: usize, head_size: usize, pages: usize) -> usize {
    heads * parts(pages) * (head_size + 2) * 4
}

/// Whether there is a position and a first page for each token. That its pages are there is the scheduler's word, which
/// [`StepBatch::check`](crate::StepBatch::check) holds it to.
fn known(tokens: &Tokens) -> bool {
    words(tokens.positions, tokens.count) && words(tokens.first_page, tokens.count)
}
