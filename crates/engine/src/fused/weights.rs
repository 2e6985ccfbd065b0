//! A model's tensors in memory: matrices packed for the kernels, vectors as single precision.
//!
//! The file is read once, in pieces of some megabytes: while the next piece is read, all threads pack the last one and
//! check it for weights that are no numbers. So loading needs little more than what stays. (A mapped file would count its own
//! pages beside the packed ones, and has no huge pages.)

use std::io::{Read, Seek, SeekFrom};

use half::{bf16, f16};
use rayon::prelude::*;

use crate::model::architecture::{Role, Tensor};
use crate::model::gguf::Gguf;
use crate::model::{Header, ReadSeek, TensorInfo, TensorType, is_interruption};

use super::super::Error;
use super::cpu::{Arena, Layout, ROWS, Region};
use super::finite::first_non_finite;
use super::network::Network;
use super::{not_loaded, unsupported};

/// Bytes read at once, about.
const PIECE: usize = 4 << 20;

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

/// The matrices of all experts of a block, one behind the other.
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

/// A block's feed-forward layer.
#[derive(Debug)]
pub(super) enum Feed {
    Dense {
        /// Gate and up.
        gate_up: [Matrix; 2],
        down: Matrix,
    },
    Experts(Experts),
}

/// A mixture of experts: who chooses, and who can be chosen.
#[derive(Debug)]
pub(super) struct Experts {
    pub(super) router: Matrix,
    /// Gates and ups.
    pub(super) gate_up: [Stack; 2],
    pub(super) down: Stack,
    pub(super) biases: Option<Biases>,
}

/// What is added to what a mixture's matrices give: a number for each row, of one expert behind the other.
#[derive(Debug)]
pub(super) struct Biases {
    pub(super) router: Vec<f32>,
    /// Of gates and of ups.
    pub(super) gate_up: [Vec<f32>; 2],
    pub(super) down: Vec<f32>,
}

/// A block's weights.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) attention_norm: Vec<f32>,
    /// Queries, keys, values.
    pub(super) qkv: [Matrix; 3],
    /// Their biases, one behind the other.
    pub(super) qkv_bias: Option<Vec<f32>>,
    pub(super) query_norm: Option<Vec<f32>>,
    pub(super) key_norm: Option<Vec<f32>>,
    pub(super) output: Matrix,
    pub(super) output_bias: Option<Vec<f32>>,
    /// Each query head's score that has no key.
    pub(super) sinks: Option<Vec<f32>>,
    pub(super) post_attention_norm: Option<Vec<f32>>,
    pub(super) feed_norm: Vec<f32>,
    pub(super) feed: Feed,
    pub(super) post_feed_norm: Option<Vec<f32>>,
}

/// All weights.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) arena: Arena,
    pub(super) embedding: Matrix,
    /// The output head; the embedding when they are tied.
    pub(super) head: Matrix,
    pub(super) output_norm: Vec<f32>,
    pub(super) blocks: Vec<Block>,
    /// Divisors of the rotation's frequencies.
    pub(super) rope_factors: Option<Vec<f32>>,
}

/// Bytes that the packed matrices of `header` take.
pub(super) fn packed_bytes(header: &Header) -> usize {
    let matrices = header.tensors.iter().filter(|tensor| is_matrix(tensor));
    let of = |(count, layout, rows)| count * bytes(&layout, rows);
    matrices.filter_map(|tensor| shape(tensor).map(of)).sum()
}

/// Whether `tensor` is packed; biases of experts have rows, and are no matrix.
#[allow(clippy::case_sensitive_file_extension_comparisons, reason = "names of tensors are no files")]
pub(super) fn is_matrix(tensor: &TensorInfo) -> bool {
    tensor.shape.len() > 1 && !tensor.name.ends_with(".bias")
}

/// How many matrices `tensor` holds, and the layout and the rows of each.
fn shape(tensor: &TensorInfo) -> Option<(usize, Layout, usize)> {
    let (count, rows, columns) = match tensor.shape[..] {
        [rows, columns] => (1, rows, columns),
        [count, rows, columns] => (count, rows, columns),
        _ => return None,
    };
    let size = |number: u64| usize::try_from(number).ok();
    Some((size(count)?, Layout::of(tensor.dtype, size(columns)?)?, size(rows)?))
}

fn bytes(layout: &Layout, rows: usize) -> usize {
    rows.div_ceil(ROWS) * layout.group_bytes
}

impl Weights {
    /// Reads and packs every tensor of `file`, and says to `progress` which share of the matrices is done.
    ///
    /// # Errors
    /// [`Error::Load`] when reading fails or a weight is no number, [`Error::Interrupted`] through the reader.
    pub(super) fn load(
        reader: Box<dyn ReadSeek + Send>,
        file: &Gguf,
        network: &Network,
        progress: &dyn Fn(f64),
    ) -> Result<Self, Error> {
        let arena = Arena::new(packed_bytes(&file.header))
            .map_err(|error| not_loaded(format!("the system gives no memory for the weights ({error})")))?;
        let mut loader = Loader {
            reader,
            header: &file.header,
            arena,
            pieces: [Vec::new(), Vec::new()],
            waiting: None,
            progress,
        };
        let embedding = loader.matrix(needed(network, Role::Embedding)?.name)?;
        let head = match network.tensor(Role::Output) {
            Some(head) => loader.matrix(head.name)?,
            None => embedding,
        };
        let output_norm = loader.vector(needed(network, Role::OutputNorm)?.name)?;
        let rope_factors = network.rope_factors.map(|name| loader.vector(name)).transpose()?;
        let blocks: Result<Vec<Block>, Error> =
            (0..network.layers.len()).map(|layer| loader.block(layer, network)).collect();
        let blocks = blocks?;
        loader.pack()?;
        Ok(Self { blocks, arena: loader.arena, embedding, head, output_norm, rope_factors })
    }
}

struct Loader<'a> {
    reader: Box<dyn ReadSeek + Send>,
    header: &'a Header,
    arena: Arena,
    /// What was read last, and room for what is read next.
    pieces: [Vec<u8>; 2],
    /// What the first of the pieces is, until it is packed.
    waiting: Option<Piece>,
    progress: &'a dyn Fn(f64),
}

/// Rows of a matrix that were read and are to be packed.
#[derive(Debug)]
struct Piece {
    name: String,
    kind: TensorType,
    layout: Layout,
    /// Number of the first row's first element in the tensor.
    first: u64,
    /// Where the rows' groups go.
    to: Region,
}

impl Piece {
    fn pack(&self, rows: &[u8], to: &mut [u8]) -> Result<(), Error> {
        let layout = &self.layout;
        let group = ROWS * layout.row_bytes();
        let kind = self.kind;
        let elements = group as u64 / kind.block_bytes() * kind.block_elements();
        let groups = rows.par_chunks(group).zip(to.par_chunks_exact_mut(layout.group_bytes)).enumerate();
        let wrong = groups.filter_map(|(index, (rows, to))| {
            layout.pack(rows, to);
            first_non_finite(kind, rows).map(|element| index as u64 * elements + element)
        });
        wrong.min().map_or(Ok(()), |element| Err(no_number(&self.name, kind, self.first + element)))
    }
}

impl Loader<'_> {
    fn block(&mut self, layer: usize, network: &Network) -> Result<Block, Error> {
        let index = u32::try_from(layer).unwrap_or(u32::MAX);
        let name = |role: Role| network.tensor(role).map(|tensor| tensor.in_block(index));
        let needed = |role: Role| needed(network, role).map(|tensor| tensor.in_block(index));
        let optional = |loader: &mut Self, role| name(role).map(|name| loader.vector(&name)).transpose();
        let mut qkv_bias = Vec::new();
        for name in [Role::QueryBias, Role::KeyBias, Role::ValueBias].into_iter().filter_map(name) {
            qkv_bias.extend(self.vector(&name)?);
        }
        let (queries, keys) = (network.heads * network.head_size, network.kv_heads * network.head_size);
        let feed_forward = network.feed_forward;
        Ok(Block {
            attention_norm: self.vector(&needed(Role::AttentionNorm)?)?,
            qkv: match name(Role::QueryKeyValue) {
                Some(all) => [
                    self.rows(&all, 0, queries)?,
                    self.rows(&all, queries, keys)?,
                    self.rows(&all, queries + keys, keys)?,
                ],
                None => [
                    self.matrix(&needed(Role::Query)?)?,
                    self.matrix(&needed(Role::Key)?)?,
                    self.matrix(&needed(Role::Value)?)?,
                ],
            },
            qkv_bias: network.qkv_bias.then_some(qkv_bias),
            query_norm: optional(self, Role::QueryNorm)?,
            key_norm: optional(self, Role::KeyNorm)?,
            output: self.matrix(&needed(Role::AttentionOutput)?)?,
            output_bias: optional(self, Role::AttentionOutputBias)?,
            sinks: optional(self, Role::Sinks)?,
            post_attention_norm: optional(self, Role::PostAttentionNorm)?,
            feed_norm: self.vector(&needed(Role::FeedNorm)?)?,
            feed: if let Some(experts) = network.experts {
                Feed::Experts(Experts {
                    router: self.matrix(&needed(Role::Router)?)?,
                    gate_up: [self.stack(&needed(Role::ExpertGate)?)?, self.stack(&needed(Role::ExpertUp)?)?],
                    down: self.stack(&needed(Role::ExpertDown)?)?,
                    biases: if experts.biases {
                        Some(Biases {
                            router: self.vector(&needed(Role::RouterBias)?)?,
                            gate_up: [
                                self.vector(&needed(Role::ExpertGateBias)?)?,
                                self.vector(&needed(Role::ExpertUpBias)?)?,
                            ],
                            down: self.vector(&needed(Role::ExpertDownBias)?)?,
                        })
                    } else {
                        None
                    },
                })
            } else {
                Feed::Dense {
                    gate_up: match name(Role::GateUp) {
                        Some(both) => [
                            self.rows(&both, 0, feed_forward)?,
                            self.rows(&both, feed_forward, feed_forward)?,
                        ],
                        None => [self.matrix(&needed(Role::Gate)?)?, self.matrix(&needed(Role::Up)?)?],
                    },
                    down: self.matrix(&needed(Role::Down)?)?,
                }
            },
            post_feed_norm: optional(self, Role::PostFeedNorm)?,
        })
    }

    fn find(&self, name: &str) -> Result<TensorInfo, Error> {
        let tensor = self.header.tensor(name).cloned();
        tensor.ok_or_else(|| {
            not_loaded(format!("tensor `{name}` is missing: the file is not whole, fetch it again"))
        })
    }

    fn vector(&mut self, name: &str) -> Result<Vec<f32>, Error> {
        let tensor = self.find(name)?;
        let length = usize::try_from(tensor.bytes().get()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        read(&mut self.reader, &tensor, 0, &mut bytes)?;
        if let Some(element) = first_non_finite(tensor.dtype, &bytes) {
            return Err(no_number(name, tensor.dtype, element));
        }
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        Ok(match tensor.dtype {
            TensorType::F16 => pairs().map(|bits| f16::from_le_bytes(bits).to_f32()).collect(),
            TensorType::BF16 => pairs().map(|bits| bf16::from_le_bytes(bits).to_f32()).collect(),
            _ => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        })
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix, Error> {
        let tensor = self.find(name)?;
        Ok(self.stack_of(&tensor)?.expert(0))
    }

    /// `count` rows of a tensor from row `first` on, as a matrix of their own.
    fn rows(&mut self, name: &str, first: usize, count: usize) -> Result<Matrix, Error> {
        let mut tensor = self.find(name)?;
        let [all, _] = tensor.shape[..] else { return Err(no_matrix(name)) };
        tensor.offset += tensor.bytes().get() / all * first as u64;
        tensor.shape[0] = count as u64;
        if first > 0 {
            tensor.name = format!("{name} (from row {first} on)");
        }
        Ok(self.stack_of(&tensor)?.expert(0))
    }

    /// The matrices of a tensor.
    fn stack(&mut self, name: &str) -> Result<Stack, Error> {
        let tensor = self.find(name)?;
        self.stack_of(&tensor)
    }

    /// The matrices of a tensor, one behind the other, each filled up to whole groups.
    fn stack_of(&mut self, tensor: &TensorInfo) -> Result<Stack, Error> {
        let none = || no_matrix(&tensor.name);
        let (count, layout, rows) = shape(tensor).ok_or_else(none)?;
        let length = bytes(&layout, rows);
        let region = self.arena.take(count * length).ok_or_else(none)?;
        // Matrices of whole groups lie behind one another like the rows of a single one.
        let (matrices, rows_each) = if rows.is_multiple_of(ROWS) { (1, count * rows) } else { (count, rows) };
        let step = (PIECE / (ROWS * layout.row_bytes())).max(1) * ROWS;
        for index in 0..matrices {
            for first in (0..rows_each).step_by(step) {
                let number = step.min(rows_each - first);
                let groups = number.div_ceil(ROWS) * layout.group_bytes;
                let offset = region.offset + index * length + first / ROWS * layout.group_bytes;
                let to = Region { offset, length: groups };
                self.piece(tensor, layout, index * rows_each + first, number, to)?;
            }
        }
        Ok(Stack { layout, rows, region })
    }

    /// Reads `count` rows from row `first` on, while those that were read before are packed.
    fn piece(
        &mut self,
        tensor: &TensorInfo,
        layout: Layout,
        first: usize,
        count: usize,
        to: Region,
    ) -> Result<(), Error> {
        let (from, length) = (first * layout.row_bytes(), count * layout.row_bytes());
        let Self { reader, arena, pieces: [last, next], waiting, .. } = self;
        next.resize(length, 0);
        let waiting = waiting.take();
        let pack = || waiting.map_or(Ok(()), |piece| piece.pack(last, arena.bytes_mut(piece.to)));
        let (was_read, packed) = rayon::join(|| read(reader, tensor, from as u64, next), pack);
        packed?;
        was_read?;
        self.pieces.swap(0, 1);
        let elements = tensor.elements() / (tensor.bytes().get() / layout.row_bytes() as u64);
        let first = first as u64 * elements;
        self.waiting = Some(Piece { name: tensor.name.clone(), kind: tensor.dtype, layout, first, to });
        (self.progress)(self.arena.share_before(to.offset + to.length));
        Ok(())
    }

    /// Packs what was read last.
    fn pack(&mut self) -> Result<(), Error> {
        let Some(piece) = self.waiting.take() else { return Ok(()) };
        piece.pack(&self.pieces[0], self.arena.bytes_mut(piece.to))
    }
}

/// Reads bytes of `tensor` from byte `from` on.
fn read(
    reader: &mut Box<dyn ReadSeek + Send>,
    tensor: &TensorInfo,
    from: u64,
    to: &mut [u8],
) -> Result<(), Error> {
    let read = reader.seek(SeekFrom::Start(tensor.offset + from)).and_then(|_| reader.read_exact(to));
    read.map_err(|error| {
        if is_interruption(&error) {
            return Error::Interrupted;
        }
        not_loaded(format!("reading tensor `{}` failed: {error}", tensor.name))
    })
}

/// The tensor of `role`, which every model has: a table without one would be a slip of ours, and its tests would say so.
fn needed(network: &Network, role: Role) -> Result<&'static Tensor, Error> {
    network.tensor(role).ok_or_else(|| not_loaded(format!("its architecture has no {role:?}")))
}

fn no_matrix(name: &str) -> Error {
    unsupported(format!("use tensor `{name}`"), "its shape or type is no matrix of this engine")
}

fn no_number(name: &str, kind: TensorType, element: u64) -> Error {
    not_loaded(format!(
        "tensor `{name}` holds a weight that is no number (element {element}, {} of type {kind}): the file was \
         converted badly or is damaged, fetch or convert it again",
        if kind.block_elements() > 1 { "in a block's scale" } else { "itself" },
    ))
}
