//! Models computed from a recipe: true shapes, true block formats, random weights.
//!
//! A preset's shape and a quantization label give a whole GGUF file that exists only as a rule: its header
//! is made once, and any of its bytes follow from (seed, tensor, block) when they are read. So a 70B model
//! needs neither a file nor a second copy in memory, and two machines measure the same bytes. Speed, memory
//! and energy of such a model are real; its text and its quality mean nothing, and it has no vocabulary.
//!
//! Which type each tensor has is decided as llama-quantize decides it ([`mixture`]); which tensors there are is in
//! the architecture's table ([`architecture`](super::architecture)), which keys in `network` next to this.

mod export;
pub mod mixture;
mod network;
mod reader;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use super::gguf::{self, write};
use super::quantize::Weights;
use super::{Error, Header};
use crate::catalog::ModelRow;
pub use export::Exported;
use mixture::Mixture;
use network::Content;
pub use reader::SyntheticReader;

/// A model of a preset's shape with random weights.
#[derive(Debug, Clone)]
pub struct Synthetic {
    layout: Arc<Layout>,
    header: Header,
    origin: String,
}

/// The virtual file: what lies where.
#[derive(Debug)]
struct Layout {
    /// The header's bytes, from the start of the file to the first tensor.
    head: Vec<u8>,
    /// Tensors in the order of their places, which do not overlap.
    tensors: Vec<Placed>,
    /// Bytes of the file.
    length: u64,
}

/// One tensor in the file.
#[derive(Debug)]
struct Placed {
    start: u64,
    /// Bytes without padding.
    bytes: u64,
    data: Data,
}

/// Where a tensor's bytes come from.
#[derive(Debug)]
enum Data {
    Random(Box<Weights>),
    Given(Vec<u8>),
}

impl Synthetic {
    /// The model of `row`'s shape in the format that `quant` names (`q4_k_m`, `f16` …), with `seed` for its weights.
    ///
    /// # Errors
    /// [`Error::BadName`] for a format that cannot be made, with the nearest that can, and for a shape that
    /// is no model's or of an architecture not known here.
    pub fn new(row: &ModelRow, quant: &str, seed: u64) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadName { name: format!("synthetic:{}:{quant}", row.id), reason };
        let mixture = Mixture::named(quant).map_err(bad)?;
        let network = network::Network::new(row, mixture, seed).map_err(bad)?;
        let head = write::head(&network.metadata, &network.planned);
        // The header is read back by the same code as any other file's, so the two cannot disagree.
        let header = gguf::parse(&head.bytes[..], head.length, Path::new(&row.id))?.header;
        let tensors = head
            .tensors
            .iter()
            .zip(&network.contents)
            .map(|(tensor, content)| {
                let data = match content {
                    Content::Random(distribution) => {
                        Weights::new(tensor.dtype, *distribution, key(seed, &tensor.name))
                            .map(|weights| Data::Random(Box::new(weights)))
                            .ok_or_else(|| bad(format!("no weights can be made in {}", tensor.dtype)))?
                    }
                    Content::Given(values) => {
                        Data::Given(values.iter().flat_map(|value| value.to_le_bytes()).collect())
                    }
                };
                Ok(Placed { start: tensor.offset, bytes: tensor.bytes().get(), data })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            layout: Arc::new(Layout { head: head.bytes, tensors, length: head.length }),
            header,
            origin: format!("synthetic weights of {} in {}, seed {seed}", row.id, mixture.label()),
        })
    }

    /// What the virtual file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The recipe, for the record: preset, format and seed.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Bytes of the whole virtual file.
    pub fn length(&self) -> u64 {
        self.layout.length
    }

    /// A reader over the virtual file, at its start.
    pub fn reader(&self) -> SyntheticReader {
        SyntheticReader::new(Arc::clone(&self.layout))
    }
}

/// The key of one tensor's weights: the first eight bytes of BLAKE3 over seed and name.
fn key(seed: u64, name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
    hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
