//! Weights on the device: in fragments where tensor cores multiply by them, else in the blocks that the file has.

use std::sync::Arc;

use rayon::prelude::*;

use crate::Error;
use crate::fused::finite::first_non_finite;
use crate::fused::weights::{self, Shape, Store, Usage};
use crate::hardware::cuda::{DevicePlace, Memory, Queue};
use crate::model::TensorType;

use super::fragments::{Layout, ROWS};
use super::not_done;

pub(super) type Weights = weights::Weights<Resident>;
pub(super) type Block = weights::Block<Resident>;
pub(super) type Feed = weights::Feed<Resident>;
pub(super) type Experts = weights::Experts<Resident>;

/// What an error says was being done.
const LOADING: &str = "loading the weights";
/// Blocks that a thread looks at for weights that are no numbers.
const CHUNK: usize = 4096;

/// Memory of the device for each tensor.
#[derive(Debug)]
pub(super) struct Resident {
    queue: Arc<Queue>,
    /// Types whose matrices are laid out in fragments.
    in_fragments: Vec<TensorType>,
    memory: Vec<Memory>,
}

/// How a matrix lies on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Row after row, in the blocks that the file has.
    Rows,
    /// Tile after tile.
    Fragments(Layout),
}

/// A matrix on the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix {
    pub(super) kind: TensorType,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) form: Form,
    /// From its first byte on, to its last one or beyond.
    pub(super) place: DevicePlace,
}

impl Matrix {
    /// Its bytes.
    pub(super) fn bytes(&self) -> usize {
        bytes(self.form, Shape { kind: self.kind, count: 1, rows: self.rows, columns: self.columns })
    }
}

/// Bytes of matrices of this shape.
fn bytes(form: Form, shape: Shape) -> usize {
    shape.count
        * match form {
            Form::Rows => shape.rows * shape.row_bytes(),
            Form::Fragments(layout) => layout.bytes(shape.rows, shape.columns),
        }
}

/// The matrices of a tensor, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stack {
    /// The first of them; its place is that of all.
    pub(super) first: Matrix,
    pub(super) count: usize,
}

/// Numbers in single precision on the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vector {
    pub(super) place: DevicePlace,
}

impl Resident {
    /// Weights to come, with the types whose matrices are laid out in fragments.
    pub(super) fn new(queue: Arc<Queue>, in_fragments: Vec<TensorType>) -> Self {
        Self { queue, in_fragments, memory: Vec::new() }
    }

    fn form(&self, shape: Shape) -> Form {
        let layout = Layout::of(shape.kind).filter(|_| self.in_fragments.contains(&shape.kind));
        layout.map_or(Form::Rows, Form::Fragments)
    }

    fn take(&mut self, bytes: usize) -> Result<DevicePlace, Error> {
        let memory = self.queue.alloc(bytes).map_err(|fault| not_done(LOADING, fault))?;
        let place = memory.place();
        self.memory.push(memory);
        Ok(place)
    }
}

impl Store for Resident {
    type Matrix = Matrix;
    type Stack = Stack;
    type Vector = Vector;

    const GROUP: usize = ROWS;

    fn reserve(&mut self, _name: &str, shape: Shape, usage: Usage) -> Result<Stack, Error> {
        let Shape { kind, count, rows, columns } = shape;
        let form = if usage == Usage::Table { Form::Rows } else { self.form(shape) };
        let place = self.take(bytes(form, shape))?;
        Ok(Stack { first: Matrix { kind, rows, columns, form, place }, count })
    }

    fn apart(&self, shape: Shape) -> bool {
        self.form(shape) != Form::Rows
    }

    fn matrix(stack: &Stack, index: usize) -> Matrix {
        let first = stack.first;
        Matrix { place: first.place.skip(first.bytes() * index), ..first }
    }

    fn fill(&mut self, stack: &Stack, shape: Shape, first: usize, rows: &[u8]) -> Result<Option<u64>, Error> {
        let size = |number: u64| usize::try_from(number).unwrap_or(1);
        let chunk = CHUNK * size(shape.kind.block_bytes());
        let elements = CHUNK as u64 * shape.kind.block_elements();
        let wrong = rows.par_chunks(chunk).enumerate().filter_map(|(index, blocks)| {
            first_non_finite(shape.kind, blocks).map(|element| index as u64 * elements + element)
        });
        if let Some(element) = wrong.min() {
            return Ok(Some(element));
        }
        let place = Self::matrix(stack, first / shape.rows.max(1)).place;
        let within = first % shape.rows.max(1);
        let written = match stack.first.form {
            Form::Rows => self.queue.write(rows, place.skip(within * shape.row_bytes())),
            Form::Fragments(layout) => {
                let to = place.skip(within / ROWS * layout.tile_bytes(shape.columns));
                self.queue.write(&in_fragments(layout, shape, rows), to)
            }
        };
        written.map_err(|fault| not_done(LOADING, fault))?;
        Ok(None)
    }

    fn vector(&mut self, values: Vec<f32>) -> Result<Vector, Error> {
        let place = self.take(values.len() * 4)?;
        self.queue.write(&values, place).map_err(|fault| not_done(LOADING, fault))?;
        Ok(Vector { place })
    }
}

/// Rows that the file has in blocks, laid out in tiles.
pub(super) fn in_fragments(layout: Layout, shape: Shape, rows: &[u8]) -> Vec<u8> {
    let (of_tile, tile_bytes) = (ROWS * shape.row_bytes(), layout.tile_bytes(shape.columns));
    let mut packed = vec![0; rows.len().div_ceil(of_tile.max(1)) * tile_bytes];
    let tiles = rows.par_chunks(of_tile.max(1)).zip(packed.par_chunks_exact_mut(tile_bytes.max(1)));
    tiles.for_each(|(rows, tile)| layout.pack(&shape, rows, tile));
    packed
}
