//! Weights in the order of the processor's kernels: groups of sixteen rows in one arena, packed by all threads.

use rayon::prelude::*;

use crate::Error;
use crate::fused::finite::first_non_finite;
use crate::fused::not_loaded;
use crate::fused::weights::{self, Shape, Store, Usage, is_matrix, no_kernel};
use crate::model::Header;

use super::arena::{Arena, Region};
use super::isa::Isa;
use super::matmul::{self, Form};
use super::pack::{Layout, ROWS};

pub(super) type Weights = weights::Weights<Packed>;
pub(super) type Block = weights::Block<Packed>;
pub(super) type Feed = weights::Feed<Packed>;
pub(super) type Experts = weights::Experts<Packed>;
pub(super) type Biases = weights::Biases<Packed>;

/// Memory for all packed matrices of a model.
#[derive(Debug)]
pub(super) struct Packed {
    arena: Arena,
}

/// A packed matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix {
    pub(super) layout: Layout,
    pub(super) rows: usize,
    pub(super) region: Region,
}

impl Matrix {
    /// Groups of sixteen rows.
    pub(super) fn groups(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }
}

/// The matrices of all experts of a block, one behind the other, each filled up to whole groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stack {
    layout: Layout,
    rows: usize,
    region: Region,
}

impl Stack {
    /// The matrix of expert number `index`.
    pub(super) fn expert(&self, index: usize) -> Matrix {
        let length = bytes(&self.layout, self.rows);
        let region = Region { offset: self.region.offset + index * length, length };
        Matrix { layout: self.layout, rows: self.rows, region }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }
}

/// A block's matrices, of its experts the first.
pub(super) fn matrices(block: &Block) -> Vec<Matrix> {
    let mut all = block.qkv.to_vec();
    all.push(block.output);
    match &block.feed {
        Feed::Dense { gate_up, down } => {
            all.extend(gate_up);
            all.push(*down);
        }
        Feed::Experts(experts) => {
            all.extend(experts.gate_up.iter().map(|stack| stack.expert(0)));
            all.push(experts.down.expert(0));
        }
    }
    all
}

/// Bytes that the packed matrices of `header` take.
pub(in crate::fused) fn packed_bytes(header: &Header) -> usize {
    let of = |shape: Shape| {
        let layout = Layout::of(shape.kind, shape.columns)?;
        Some(shape.count * bytes(&layout, shape.rows))
    };
    header.tensors.iter().filter(|tensor| is_matrix(tensor)).filter_map(|tensor| of(Shape::of(tensor)?)).sum()
}

/// Bytes that `tokens` rows of the widest matrix's input take in parts, where any matrix takes it so here.
pub(in crate::fused) fn split_bytes(header: &Header, tokens: u64) -> u64 {
    let isa = Isa::detect();
    let shapes = header.tensors.iter().filter(|tensor| is_matrix(tensor)).filter_map(Shape::of);
    let widest = shapes.filter(|shape| Form::of(isa, shape.kind) == Form::Parts).map(|shape| shape.columns);
    let bytes = |columns| matmul::split_bytes(usize::try_from(tokens).unwrap_or(0), columns) as u64;
    widest.max().map_or(0, bytes)
}

fn bytes(layout: &Layout, rows: usize) -> usize {
    rows.div_ceil(ROWS) * layout.group_bytes
}

impl Packed {
    /// Room for the matrices of `header`.
    ///
    /// # Errors
    /// [`Error::Load`] when the system has no memory.
    pub(super) fn new(header: &Header) -> Result<Self, Error> {
        let arena = Arena::new(packed_bytes(header))
            .map_err(|error| not_loaded(format!("cannot allocate memory for the weights ({error})")))?;
        Ok(Self { arena })
    }

    /// The groups of a matrix.
    #[inline]
    pub(super) fn bytes(&self, region: Region) -> &[u8] {
        self.arena.bytes(region)
    }
}

impl Store for Packed {
    type Matrix = Matrix;
    type Stack = Stack;
    type Vector = Vec<f32>;

    const GROUP: usize = ROWS;

    fn reserve(&mut self, name: &str, shape: Shape, _usage: Usage) -> Result<Stack, Error> {
        let layout = Layout::of(shape.kind, shape.columns).ok_or_else(|| no_kernel(name))?;
        let region = self.arena.take(shape.count * bytes(&layout, shape.rows));
        Ok(Stack { layout, rows: shape.rows, region: region.ok_or_else(|| no_kernel(name))? })
    }

    fn matrix(stack: &Stack, index: usize) -> Matrix {
        stack.expert(index)
    }

    fn fill(&mut self, stack: &Stack, shape: Shape, first: usize, rows: &[u8]) -> Result<Option<u64>, Error> {
        let layout = &stack.layout;
        let group = ROWS * layout.row_bytes();
        let before = first / stack.rows * bytes(layout, stack.rows);
        let offset = stack.region.offset + before + first % stack.rows / ROWS * layout.group_bytes;
        let length = rows.len().div_ceil(group) * layout.group_bytes;
        let to = self.arena.bytes_mut(Region { offset, length });
        let elements = ROWS as u64 * shape.columns as u64;
        let groups = rows.par_chunks(group).zip(to.par_chunks_exact_mut(layout.group_bytes)).enumerate();
        let wrong = groups.filter_map(|(index, (rows, to))| {
            layout.pack(rows, to);
            first_non_finite(shape.kind, rows).map(|element| index as u64 * elements + element)
        });
        Ok(wrong.min())
    }

    fn vector(&mut self, values: Vec<f32>) -> Result<Vec<f32>, Error> {
        Ok(values)
    }
}
