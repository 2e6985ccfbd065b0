//! Products on tensor cores and what goes with them: rows in half precision, matrices in fragments, experts' pairs in order,
//! and what is not used because it computes wrongly.

use crate::fused::network::Activation;
use crate::hardware::cuda::{Argument, DevicePlace, Fault, Function, Grid, Module};
use crate::model::TensorType;

use super::super::fragments::ROWS as TILE;
use super::super::store::{Form, Matrix, Stack, Vector};
use super::{Kernels, Rows, WARPS, grid, kind_of, norm_arguments, number, place, within, words};

/// Threads of a block that makes a row in half precision, as in `halves.cuh`.
pub(super) const HALVING: u32 = 512;
/// Slices of a tile of a matrix in fragments, each of which a warp sums, as in `tensor.cu`.
const SLICES: usize = 8;
/// Columns that rows in half precision are whole multiples of, and of which there is a group of sums.
const PADDED: usize = 256;

/// So many blocks, of `warps` warps each.
fn of_warps(warps: usize, x: usize, y: usize) -> Grid {
    Grid { threads: u32::try_from(32 * warps).unwrap_or(u32::MAX), ..grid(x, y) }
}

/// Room for rows of activations in half precision, as `halves.cuh` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fused::cuda) struct Halves {
    pub(in crate::fused::cuda) elements: DevicePlace,
    pub(in crate::fused::cuda) block_sums: DevicePlace,
    pub(in crate::fused::cuda) factors: DevicePlace,
}

impl Halves {
    /// Bytes of the three for `rows` rows of `columns` columns.
    pub(in crate::fused::cuda) fn sizes(rows: usize, columns: usize) -> [usize; 3] {
        let elements = rows * columns.next_multiple_of(PADDED);
        [elements * 2, elements / 8, rows * 4]
    }

    /// As kernels take them, for rows of `columns` columns.
    pub(super) fn arguments(self, columns: usize) -> [Argument; 4] {
        [
            Argument::Place(self.elements),
            number(columns.next_multiple_of(PADDED)),
            Argument::Place(self.block_sums),
            Argument::Place(self.factors),
        ]
    }

    pub(super) fn hold(self, rows: usize, columns: usize) -> bool {
        let sizes = Self::sizes(rows, columns);
        [self.elements, self.block_sums, self.factors]
            .iter()
            .zip(sizes)
            .all(|(place, size)| size <= place.bytes())
    }
}

/// Activations that matrices are multiplied with: in single precision, and in half where one of the matrices needs that.
#[derive(Debug, Clone, Copy)]
pub(in crate::fused::cuda) struct Input {
    pub(super) rows: Rows,
    pub(super) halves: Option<Halves>,
}

/// The kernels for tensor cores of one type.
#[derive(Debug)]
pub(super) struct OfFragments {
    /// Those of [`PRODUCTS`] that compute rightly, in its order.
    products: Vec<(Product, Function)>,
    experts: Function,
    /// Unless it computes wrongly.
    segments: Option<Function>,
}

impl OfFragments {
    /// Those of `tensor.cu` as it was compiled for a type.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn new(module: &Module) -> Result<Self, String> {
        let products: Result<Vec<_>, String> =
            PRODUCTS.iter().map(|product| Ok((*product, module.function(product.name)?))).collect();
        Ok(Self {
            products: products?,
            experts: module.function(EXPERTS)?,
            segments: Some(module.function(SEGMENTS)?),
        })
    }
}

/// Matrices that a kernel for tensor cores takes at once.
const TOGETHER: usize = 3;

/// A kernel for products on tensor cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fused::cuda) struct Product {
    pub(in crate::fused::cuda) name: &'static str,
    /// Tokens that it takes at once.
    pub(in crate::fused::cuda) tokens: usize,
    /// Tiles that a block of it may have, most first.
    pub(in crate::fused::cuda) tiles: &'static [usize],
}

/// They give the same bits. [`SMALL`] is what there is at least.
pub(in crate::fused::cuda) const PRODUCTS: [Product; 4] = [
    SMALL,
    Product { name: "multiply_32", tokens: 32, tiles: &[4, 2, 1] },
    Product { name: "multiply_64", tokens: 64, tiles: &[4, 2, 1] },
    STAGED,
];
/// Tokens for which half the work of a kernel for 64 would be for none.
const SHORT: usize = 32;
const SMALL: Product = Product { name: "multiply_8", tokens: 8, tiles: &[2, 1] };
/// Takes its activations from shared memory; each of its warps sums a tile of its own.
const STAGED: Product = Product { name: "multiply_staged", tokens: 64, tiles: &[SLICES] };
/// Those of experts: for a pair at once, and for all pairs of an expert.
pub(in crate::fused::cuda) const EXPERTS: &str = "multiply_experts";
pub(in crate::fused::cuda) const SEGMENTS: &str = "multiply_segments";
/// Pairs of a segment at most, and experts that `sort_pairs` has room for, as in `layer.cu`.
const SEGMENT: usize = 8;
const MOST_EXPERTS: usize = 1024;

/// Pairs of a token and an expert.
#[derive(Debug, Clone, Copy)]
pub(in crate::fused::cuda) struct Pairs {
    /// The expert of each, the pairs of a token side by side.
    pub(in crate::fused::cuda) chosen: DevicePlace,
    pub(in crate::fused::cuda) count: usize,
    sorted: Option<Sorted>,
}

/// Room for pairs in the order of their experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fused::cuda) struct Sorted {
    pub(in crate::fused::cuda) slots: DevicePlace,
    pub(in crate::fused::cuda) segments: DevicePlace,
}

impl Sorted {
    /// Bytes of both.
    pub(in crate::fused::cuda) fn sizes(pairs: usize, experts: usize) -> [usize; 2] {
        [4 * pairs, 12 * most_segments(pairs, experts)]
    }
}

/// Segments that pairs can make: no more than pairs, nor than whole ones and a part for each expert.
fn most_segments(pairs: usize, experts: usize) -> usize {
    pairs.min(pairs / SEGMENT + experts)
}

/// A kernel for tensor cores that is not used.
#[derive(Debug)]
pub(in crate::fused::cuda) struct Dropped {
    pub(in crate::fused::cuda) kind: TensorType,
    pub(in crate::fused::cuda) name: &'static str,
    pub(in crate::fused::cuda) why: String,
}

/// Whether one of them is in fragments.
pub(super) fn in_fragments<'a>(matrices: impl IntoIterator<Item = &'a Matrix>) -> bool {
    matrices.into_iter().any(|matrix| matrix.form != Form::Rows)
}

impl Kernels {
    /// Types whose matrices are to be laid out in fragments.
    pub(in crate::fused::cuda) fn in_fragments(&self) -> Vec<TensorType> {
        self.matrices.iter().filter(|of| of.tensor.is_some()).map(|of| of.kind).collect()
    }

    /// Kernels for tensor cores that are not used.
    pub(in crate::fused::cuda) fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// Whether the one of [`PRODUCTS`] with this name is used for a type.
    pub(in crate::fused::cuda) fn uses(&self, kind: TensorType, name: &str) -> bool {
        let tensor = self.of(kind).ok().and_then(|of| of.tensor.as_ref());
        tensor.is_some_and(|tensor| tensor.products.iter().any(|(product, _)| product.name == name))
    }

    /// Uses one of the kernels for tensor cores no more. Without the one for the fewest tokens, or the one of experts, the
    /// type's matrices stay in the blocks of the file.
    pub(in crate::fused::cuda) fn drop_kernel(&mut self, kind: TensorType, name: &'static str, why: String) {
        self.dropped.push(Dropped { kind, name, why });
        let Some(of) = self.matrices.iter_mut().find(|of| of.kind == kind) else { return };
        let Some(tensor) = &mut of.tensor else { return };
        if name == SEGMENTS {
            tensor.segments = None;
        } else if name == SMALL.name || name == EXPERTS {
            of.tensor = None;
        } else {
            tensor.products.retain(|(product, _)| product.name != name);
        }
    }

    /// Activations for these matrices, in half precision too where one of them is in fragments.
    pub(in crate::fused::cuda) fn input<'a>(
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

    /// The same of rows that are normed first: those that `which` names, or all with `more` added to them first. `input` keeps
    /// the sums.
    pub(in crate::fused::cuda) fn normed_input<'a>(
        &self,
        input: Rows,
        (which, more): (Option<DevicePlace>, Option<Rows>),
        (weight, epsilon): (Vector, f32),
        (count, columns): (usize, usize),
        (output, halves): (Rows, Halves),
        matrices: impl IntoIterator<Item = &'a Matrix>,
    ) -> Result<Input, Fault> {
        let halves = in_fragments(matrices).then_some(halves);
        if let Some(halves) = halves {
            let from = (input, which, more);
            self.norm_halve(from, weight, (count, columns), epsilon, (output, halves))?;
        } else {
            if let Some(more) = more {
                within("add", &[input.stride == columns, more.stride == columns])?;
                self.add(input.place, more.place, count * columns)?;
            }
            self.norm(input, which, weight, (count, 1, columns), epsilon, output)?;
        }
        Ok(Input { rows: output, halves })
    }

    /// The same of gates that are activated first, row after row.
    pub(in crate::fused::cuda) fn activated_input<'a>(
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
    pub(in crate::fused::cuda) fn halve(
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

    /// [`norm`](Self::norm) of whole rows, to which `more` is added first, and [`halve`](Self::halve) of what it gives.
    pub(in crate::fused::cuda) fn norm_halve(
        &self,
        (input, which, more): (Rows, Option<DevicePlace>, Option<Rows>),
        weight: Vector,
        (count, columns): (usize, usize),
        epsilon: f32,
        (output, halves): (Rows, Halves),
    ) -> Result<(), Fault> {
        let (from, how) =
            norm_arguments("norm_halve", (input, which), weight, (count, 1, columns), epsilon, output)?;
        let fits = |more: Rows| which.is_none() && more.stride == input.stride && more.hold(count, columns);
        within("norm_halve", &[more.is_none_or(fits)])?;
        let more = Argument::Place(more.map_or(DevicePlace::NULL, |more| more.place));
        let own = [&from[..], &[more], &how].concat();
        self.launch_halving(("norm_halve", &self.norm_halve), &own, (count, columns), halves)
    }

    /// [`activate`](Self::activate) of `count` neighbouring rows, and [`halve`](Self::halve) of what it gives.
    pub(in crate::fused::cuda) fn activate_halve(
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

    /// [`multiply`](Self::multiply) by up to three matrices in fragments of one type and width, into rows of one stride: with
    /// the kernel of this name and so many tiles in a block of it, or those that suit the tokens and the device.
    pub(in crate::fused::cuda) fn multiply_fragments(
        &self,
        of: &[(&Matrix, Rows)],
        halves: Option<Halves>,
        (tokens, with): (usize, Option<(&str, usize)>),
    ) -> Result<(), Fault> {
        let Some(((Matrix { kind, columns, form: Form::Fragments(layout), .. }, to), halves)) =
            of.first().copied().zip(halves)
        else {
            return Err(Fault::Failed("a matrix in fragments is given no halves".to_owned()));
        };
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
        let blocks_of =
            |tiles: usize| -> usize { of.iter().map(|(matrix, _)| matrix.rows.div_ceil(TILE * tiles)).sum() };
        let products = &self.tensor(*kind)?.products;
        let found = match with {
            Some((name, tiles)) => {
                products.iter().find(|(product, _)| product.name == name).map(|of| (of, tiles))
            }
            None => self.suited(products, tokens, blocks_of),
        };
        let ((product, function), tiles) =
            found.ok_or_else(|| Fault::Failed(format!("no kernel was kept for matrices of {kind}")))?;
        let (blocks, groups) = (blocks_of(tiles), tokens.div_ceil(product.tokens));
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
        let grid = match *product {
            SMALL => of_warps(SLICES * tiles, blocks, groups),
            // Blocks that read the same weights are neighbours.
            STAGED => of_warps(SLICES, groups, blocks),
            _ => {
                arguments.push(number(SLICES / tiles));
                of_warps(SLICES, blocks, groups)
            }
        };
        self.launch(function, grid, &arguments)
    }

    /// The kernel that takes all these tokens at once, or as many as there is one for; and the tiles of a block, of which
    /// `blocks_of` says how many there are.
    fn suited<'a>(
        &self,
        products: &'a [(Product, Function)],
        tokens: usize,
        blocks_of: impl Fn(usize) -> usize,
    ) -> Option<(&'a (Product, Function), usize)> {
        let direct = || products.iter().filter(|(product, _)| *product != STAGED);
        let found = direct().find(|(product, _)| product.tokens >= tokens).or(direct().next_back())?;
        // Activations come from the second cache once for the tiles of a block. No fewer blocks than three quarters of the
        // multiprocessors, each of which holds one.
        let enough = |(product, _): &&(Product, Function), tiles: usize| {
            4 * blocks_of(tiles) * tokens.div_ceil(product.tokens) >= 3 * self.multiprocessors
        };
        let staged = products.iter().find(|(product, _)| *product == STAGED);
        if let Some(staged) = staged.filter(|of| tokens > SHORT && enough(of, SLICES)) {
            return Some((staged, SLICES));
        }
        if found.0 == SMALL {
            // Two tiles share the activations of several tokens; with one token more blocks matter more.
            return Some((found, 1 + usize::from(tokens > 1)));
        }
        let tiles = found.0.tiles.iter().copied().find(|tiles| enough(&found, *tiles));
        Some((found, tiles.unwrap_or(1)))
    }

    /// Pairs for experts of these matrices, of which there are `experts`: in the order of their experts too, where several tokens
    /// may use one and a kernel reads its weights once for them.
    pub(in crate::fused::cuda) fn pairs<'a>(
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
    pub(in crate::fused::cuda) fn multiply_together(
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
    pub(in crate::fused::cuda) fn multiply_experts(
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
            let mut arguments = vec![Argument::Place(weights), number(rows), number(layout.units(columns))];
            let (function, count) = if let (Some(sorted), Some(function)) = (sorted, &tensor.segments) {
                let most = most_segments(pairs, stack.count);
                within(SEGMENTS, &[words(sorted.slots, pairs), 12 * most <= sorted.segments.bytes()])?;
                arguments.extend([sorted.slots, sorted.segments].map(Argument::Place));
                (function, most)
            } else {
                arguments.push(Argument::Place(chosen));
                (&tensor.experts, pairs)
            };
            arguments.extend(halves.arguments(columns));
            arguments.extend([number(share), place(output), number(output.stride)]);
            return self.launch(function, of_warps(SLICES, rows.div_ceil(TILE), count), &arguments);
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
}
