//! A model's tensors where its back end wants them: matrices as a [`Store`] keeps them, vectors in single precision.
//!
//! The file is read once, in pieces of some megabytes: while the next piece is read, the store fills in the last one and
//! checks it for weights that are no numbers. So loading needs little more than its result. (A mapped file would count its own
//! pages next to the packed ones, and has no huge pages.)

use std::fmt::Debug;
use std::io::{Read, Seek, SeekFrom};

use half::{bf16, f16};

use crate::model::architecture::{Role, Tensor};
use crate::model::gguf::Gguf;
use crate::model::{Header, ReadSeek, TensorInfo, TensorType, is_interruption};

use super::super::Error;
use super::finite::first_non_finite;
use super::network::Network;
use super::{not_loaded, unsupported};

/// Bytes read at once, about.
const PIECE: usize = 4 << 20;

/// Where a back end keeps weights, and in which order.
pub(super) trait Store: Debug + Send {
    /// A matrix, ready for the kernels.
    type Matrix: Copy + Debug + Send;
    /// The matrices of one tensor, all of one shape.
    type Stack: Copy + Debug + Send;
    /// Numbers in single precision.
    type Vector: Debug + Send;

    /// Rows that are filled in together: pieces begin at multiples of it.
    const GROUP: usize;

    /// Makes room for matrices of this shape.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when there is no kernel for it, [`Error::Load`] when there is no memory.
    fn reserve(&mut self, name: &str, shape: Shape, usage: Usage) -> Result<Self::Stack, Error>;

    /// Whether a matrix whose rows are looked up cannot be the one that is multiplied by, so that both are loaded.
    fn apart(&self, _shape: Shape) -> bool {
        false
    }

    /// The matrix with this number.
    fn matrix(stack: &Self::Stack, index: usize) -> Self::Matrix;

    /// Fills in the rows from number `first` on, counted over all matrices of the tensor, from `bytes` as the file has
    /// them, and returns the index of the first non-finite weight among them. The rows are of one matrix, or of
    /// several whose rows are a multiple of [`GROUP`](Self::GROUP).
    ///
    /// # Errors
    /// [`Error::Load`] when the device fails.
    fn fill(
        &mut self,
        stack: &Self::Stack,
        shape: Shape,
        first: usize,
        bytes: &[u8],
    ) -> Result<Option<u64>, Error>;

    /// Keeps a vector.
    ///
    /// # Errors
    /// [`Error::Load`] when there is no memory.
    fn vector(&mut self, values: Vec<f32>) -> Result<Self::Vector, Error>;
}

/// What a matrix is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// Its rows are looked up.
    Table,
    /// It is multiplied by.
    Product,
}

/// What a tensor's matrices are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: TensorType,
    /// How many matrices.
    pub(super) count: usize,
    /// Rows of each.
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Shape {
    /// Of a tensor that is a matrix, or a matrix for each expert.
    pub(super) fn of(tensor: &TensorInfo) -> Option<Self> {
        let size = |number: u64| usize::try_from(number).ok();
        let (count, rows, columns) = match tensor.shape[..] {
            [rows, columns] => (1, rows, columns),
            [count, rows, columns] => (count, rows, columns),
            _ => return None,
        };
        let whole = columns > 0 && columns.is_multiple_of(tensor.dtype.block_elements());
        let shape =
            Self { kind: tensor.dtype, count: size(count)?, rows: size(rows)?, columns: size(columns)? };
        whole.then_some(shape)
    }

    /// Bytes of a row as the file has it.
    pub(super) fn row_bytes(&self) -> usize {
        let blocks = self.columns as u64 / self.kind.block_elements();
        usize::try_from(blocks * self.kind.block_bytes()).unwrap_or(usize::MAX)
    }
}

/// A block's feed-forward layer.
#[derive(Debug)]
pub(super) enum Feed<S: Store> {
    Dense {
        /// Gate and up.
        gate_up: [S::Matrix; 2],
        down: S::Matrix,
    },
    Experts(Experts<S>),
}

/// A mixture of experts: the router and the experts.
#[derive(Debug)]
pub(super) struct Experts<S: Store> {
    pub(super) router: S::Matrix,
    /// Gates and ups.
    pub(super) gate_up: [S::Stack; 2],
    pub(super) down: S::Stack,
    pub(super) biases: Option<Biases<S>>,
}

/// Biases added to the outputs of a mixture's matrices: one per row, expert after expert.
#[derive(Debug)]
pub(super) struct Biases<S: Store> {
    pub(super) router: S::Vector,
    /// Of gates and of ups.
    pub(super) gate_up: [S::Vector; 2],
    pub(super) down: S::Vector,
}

/// A block's weights.
#[derive(Debug)]
pub(super) struct Block<S: Store> {
    pub(super) attention_norm: S::Vector,
    /// Queries, keys, values.
    pub(super) qkv: [S::Matrix; 3],
    /// Their biases, one behind the other.
    pub(super) qkv_bias: Option<S::Vector>,
    pub(super) query_norm: Option<S::Vector>,
    pub(super) key_norm: Option<S::Vector>,
    pub(super) output: S::Matrix,
    pub(super) output_bias: Option<S::Vector>,
    /// Each query head's score that has no key.
    pub(super) sinks: Option<S::Vector>,
    pub(super) post_attention_norm: Option<S::Vector>,
    pub(super) feed_norm: S::Vector,
    pub(super) feed: Feed<S>,
    pub(super) post_feed_norm: Option<S::Vector>,
}

/// All weights.
#[derive(Debug)]
pub(super) struct Weights<S: Store> {
    pub(super) store: S,
    pub(super) embedding: S::Matrix,
    /// The output head; the embedding when they are tied.
    pub(super) head: S::Matrix,
    pub(super) output_norm: S::Vector,
    pub(super) blocks: Vec<Block<S>>,
    /// Divisors of the rotation's frequencies, on the host.
    pub(super) rope_factors: Option<Vec<f32>>,
}

/// Whether `tensor` is a matrix; experts' biases have rows but are not.
#[allow(clippy::case_sensitive_file_extension_comparisons, reason = "names of tensors are no files")]
pub(super) fn is_matrix(tensor: &TensorInfo) -> bool {
    tensor.shape.len() > 1 && !tensor.name.ends_with(".bias")
}

impl<S: Store> Weights<S> {
    /// Reads every tensor of `file` into `store`, and says to `progress` which share of the matrices is done.
    ///
    /// # Errors
    /// [`Error::Load`] when reading fails or a weight is not finite, [`Error::Interrupted`] through the reader.
    pub(super) fn load(
        reader: Box<dyn ReadSeek + Send>,
        file: &Gguf,
        network: &Network,
        store: S,
        progress: &dyn Fn(f64),
    ) -> Result<Self, Error> {
        let matrices = file.header.tensors.iter().filter(|tensor| is_matrix(tensor));
        let name = needed(network, Role::Embedding)?.name;
        let embedding = file.header.tensor(name);
        // A tied embedding is also the head.
        let twice = network.tensor(Role::Output).is_none()
            && embedding.and_then(Shape::of).is_some_and(|shape| store.apart(shape));
        let again = embedding.filter(|_| twice).map_or(0, |tensor| tensor.bytes().get());
        let mut loader = Loader {
            reader,
            header: &file.header,
            store,
            pieces: [Vec::new(), Vec::new()],
            waiting: None,
            done: 0,
            all: again + matrices.map(|tensor| tensor.bytes().get()).sum::<u64>(),
            progress,
        };
        let embedding = loader.find(name)?;
        let embedding = S::matrix(&loader.stack_of(&embedding, Usage::Table)?, 0);
        let head = match network.tensor(Role::Output) {
            Some(head) => loader.matrix(head.name)?,
            None if twice => loader.matrix(name)?,
            None => embedding,
        };
        let output_norm = loader.vector(needed(network, Role::OutputNorm)?.name)?;
        let rope_factors = network.rope_factors.map(|name| loader.numbers(name)).transpose()?;
        let blocks: Result<Vec<Block<S>>, Error> =
            (0..network.layers.len()).map(|layer| loader.block(layer, network)).collect();
        let blocks = blocks?;
        loader.fill()?;
        Ok(Self { blocks, store: loader.store, embedding, head, output_norm, rope_factors })
    }
}

struct Loader<'a, S: Store> {
    reader: Box<dyn ReadSeek + Send>,
    header: &'a Header,
    store: S,
    /// What was read last, and room for what is read next.
    pieces: [Vec<u8>; 2],
    /// What the first of the pieces is, until it is filled in.
    waiting: Option<Piece<S>>,
    /// Bytes of matrices that were read, and of all.
    done: u64,
    all: u64,
    progress: &'a dyn Fn(f64),
}

/// Rows that were read and are to be filled in.
#[derive(Debug)]
struct Piece<S: Store> {
    name: String,
    stack: S::Stack,
    shape: Shape,
    /// Number of the first row.
    first: usize,
}

impl<S: Store> Piece<S> {
    fn fill(&self, rows: &[u8], store: &mut S) -> Result<(), Error> {
        let first = self.first as u64 * self.shape.columns as u64;
        match store.fill(&self.stack, self.shape, self.first, rows)? {
            Some(element) => Err(no_number(&self.name, self.shape.kind, first + element)),
            None => Ok(()),
        }
    }
}

impl<S: Store> Loader<'_, S> {
    fn block(&mut self, layer: usize, network: &Network) -> Result<Block<S>, Error> {
        let index = u32::try_from(layer).unwrap_or(u32::MAX);
        let name = |role: Role| network.tensor(role).map(|tensor| tensor.in_block(index));
        let needed = |role: Role| needed(network, role).map(|tensor| tensor.in_block(index));
        let optional = |loader: &mut Self, role| name(role).map(|name| loader.vector(&name)).transpose();
        let mut qkv_bias = Vec::new();
        for name in [Role::QueryBias, Role::KeyBias, Role::ValueBias].into_iter().filter_map(name) {
            qkv_bias.extend(self.numbers(&name)?);
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
            qkv_bias: if network.qkv_bias { Some(self.store.vector(qkv_bias)?) } else { None },
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
            not_loaded(format!("tensor `{name}` is missing: the file is incomplete, fetch it again"))
        })
    }

    fn vector(&mut self, name: &str) -> Result<S::Vector, Error> {
        let numbers = self.numbers(name)?;
        self.store.vector(numbers)
    }

    /// A small tensor in single precision.
    fn numbers(&mut self, name: &str) -> Result<Vec<f32>, Error> {
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

    fn matrix(&mut self, name: &str) -> Result<S::Matrix, Error> {
        let tensor = self.find(name)?;
        Ok(S::matrix(&self.stack_of(&tensor, Usage::Product)?, 0))
    }

    /// `count` rows of a tensor from row `first` on, as a matrix of their own.
    fn rows(&mut self, name: &str, first: usize, count: usize) -> Result<S::Matrix, Error> {
        let mut tensor = self.find(name)?;
        let [all, _] = tensor.shape[..] else { return Err(no_kernel(name)) };
        tensor.offset += tensor.bytes().get() / all * first as u64;
        tensor.shape[0] = count as u64;
        if first > 0 {
            tensor.name = format!("{name} (from row {first} on)");
        }
        Ok(S::matrix(&self.stack_of(&tensor, Usage::Product)?, 0))
    }

    /// The matrices of a tensor.
    fn stack(&mut self, name: &str) -> Result<S::Stack, Error> {
        let tensor = self.find(name)?;
        self.stack_of(&tensor, Usage::Product)
    }

    fn stack_of(&mut self, tensor: &TensorInfo, usage: Usage) -> Result<S::Stack, Error> {
        let name = &tensor.name;
        let shape = Shape::of(tensor).ok_or_else(|| no_kernel(name))?;
        let stack = self.store.reserve(name, shape, usage)?;
        // Matrices of whole groups are filled in like the rows of a single one.
        let rows = if shape.rows.is_multiple_of(S::GROUP) { shape.count * shape.rows } else { shape.rows };
        let step = (PIECE / (S::GROUP * shape.row_bytes())).max(1) * S::GROUP;
        for from in (0..shape.count * shape.rows).step_by(rows.max(1)) {
            for first in (from..from + rows).step_by(step) {
                let count = step.min(from + rows - first);
                self.piece(tensor, Piece { name: name.clone(), stack, shape, first }, count)?;
            }
        }
        Ok(stack)
    }

    /// Reads `count` rows, while those that were read before are filled in.
    fn piece(&mut self, tensor: &TensorInfo, piece: Piece<S>, count: usize) -> Result<(), Error> {
        let (from, length) = (piece.first * piece.shape.row_bytes(), count * piece.shape.row_bytes());
        let Self { reader, store, pieces: [last, next], waiting, .. } = self;
        next.resize(length, 0);
        let waiting = waiting.take();
        let fill = || waiting.map_or(Ok(()), |piece| piece.fill(last, store));
        let (was_read, filled) = rayon::join(|| read(reader, tensor, from as u64, next), fill);
        filled?;
        was_read?;
        self.pieces.swap(0, 1);
        self.waiting = Some(piece);
        self.done += length as u64;
        (self.progress)(self.done as f64 / self.all.max(1) as f64);
        Ok(())
    }

    /// Fills in what was read last.
    fn fill(&mut self) -> Result<(), Error> {
        let Some(piece) = self.waiting.take() else { return Ok(()) };
        piece.fill(&self.pieces[0], &mut self.store)
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

/// A tensor that no kernel takes.
pub(super) fn no_kernel(name: &str) -> Error {
    unsupported(format!("use tensor `{name}`"), "the engine has no kernel for a matrix of its shape and type")
}

fn no_number(name: &str, kind: TensorType, element: u64) -> Error {
    not_loaded(format!(
        "tensor `{name}` has a weight that is not finite (element {element}, {} of type {kind}): the file is \
         damaged or was converted badly; download or convert it again",
        if kind.block_elements() > 1 { "in a block's scale" } else { "itself" },
    ))
}
