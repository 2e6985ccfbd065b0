//! Weights on the device, in the blocks that the file has.

use std::sync::Arc;

use rayon::prelude::*;

use crate::Error;
use crate::fused::finite::first_non_finite;
use crate::fused::weights::{self, Shape, Store};
use crate::hardware::cuda::{DevicePlace, Memory, Queue};
use crate::model::TensorType;

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
    memory: Vec<Memory>,
}

/// A matrix on the device, row after row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix {
    pub(super) kind: TensorType,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Its bytes, no more and no less.
    pub(super) place: DevicePlace,
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
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, memory: Vec::new() }
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

    const GROUP: usize = 1;

    fn reserve(&mut self, _name: &str, shape: Shape) -> Result<Stack, Error> {
        let Shape { kind, count, rows, columns } = shape;
        let place = self.take(count * rows * shape.row_bytes())?;
        Ok(Stack { first: Matrix { kind, rows, columns, place }, count })
    }

    fn matrix(stack: &Stack, index: usize) -> Matrix {
        let Stack { first, count } = *stack;
        Matrix { place: first.place.skip(first.place.bytes() / count.max(1) * index), ..first }
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
        let to = stack.first.place.skip(first * shape.row_bytes());
        self.queue.write(rows, to).map_err(|fault| not_done(LOADING, fault))?;
        Ok(None)
    }

    fn vector(&mut self, values: Vec<f32>) -> Result<Vector, Error> {
        let place = self.take(values.len() * 4)?;
        self.queue.write(&values, place).map_err(|fault| not_done(LOADING, fault))?;
        Ok(Vector { place })
    }
}
