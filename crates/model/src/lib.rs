//! What to load: where a model's bytes are, what its header says, and a reader over its weights.
//!
//! Start at [`Request`] (what the user typed), follow it to [`Model`] (a header and a source that can
//! be read), and leave with [`Model::open_gguf`] or [`Source::Safetensors`] in an engine's loader.
//! `run::plan` may use only [`header`] of this crate.

// Crates have short names here: `crate::base::text`, not `infercost_base::text`.
use infercost_base as base;
use infercost_catalog as catalog;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::base::sys::Interrupt;

pub mod architecture;
pub mod error;
pub mod gguf;
pub mod hash;
pub mod header;
pub mod hub;
mod other;
pub mod quantize;
pub mod request;
pub mod resolve;
pub mod safetensors;
pub mod synthetic;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokenizer;

pub use error::{Error, is_interruption};
pub use header::{Experts, Header, ModelSpec, TensorInfo, TensorType};
pub use request::Request;
pub use resolve::{Reach, Sources};
pub use synthetic::Synthetic;

/// A model that was found: its header has been read, its weights can be.
#[derive(Debug, Clone)]
pub struct Model {
    /// As asked for, normalised: `llama-3-70b:q4_k_m`, `hf:org/repo/file.gguf`, a path.
    pub id: String,
    /// What it says of itself.
    pub header: Header,
    /// Where the weights are.
    pub source: Source,
    /// Where it came from, for the record: a path, the hub's URL with the revision, or the recipe with its seed.
    pub origin: String,
}

/// Where a model's weights are.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one a run")]
pub enum Source {
    /// One GGUF file.
    Gguf(PathBuf),
    /// A folder with `config.json` and `*.safetensors`.
    Safetensors(PathBuf),
    /// Computed as they are read; read as a GGUF file.
    Synthetic(Synthetic),
}

/// Bytes that can be read from any place: a file, or a file that exists only as a rule.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

impl Model {
    /// A reader over the model as one GGUF file, real or virtual.
    ///
    /// Once `interrupt` is requested a read fails with [`Error::Interrupted`] as the cause, which [`is_interruption`]
    /// knows; its kind is [`io::ErrorKind::Other`], since [`io::ErrorKind::Interrupted`] means "try again", and
    /// callers do.
    ///
    /// # Errors
    /// [`Error::Unusable`] for a safetensors folder, [`Error::Io`] when the file cannot be opened.
    pub fn open_gguf(&self, interrupt: &Interrupt) -> Result<Box<dyn ReadSeek + Send>, Error> {
        match &self.source {
            Source::Gguf(path) => {
                let file = File::open(path).map_err(|source| Error::Io { path: path.clone(), source })?;
                Ok(Box::new(Interruptible { inner: file, interrupt: interrupt.clone() }))
            }
            Source::Synthetic(synthetic) => {
                Ok(Box::new(Interruptible { inner: synthetic.reader(), interrupt: interrupt.clone() }))
            }
            Source::Safetensors(path) => Err(Error::unusable(
                path,
                "this is a safetensors folder, but a GGUF file is needed; convert it, or give a GGUF file",
            )),
        }
    }
}

/// A reader that stops when the user asks to.
struct Interruptible<R> {
    inner: R,
    interrupt: Interrupt,
}

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        /// Longest read between two looks at the flag: a whole tensor may be asked for at once.
        const STEP: usize = 4 << 20;
        if self.interrupt.requested() {
            return Err(io::Error::other(Error::Interrupted));
        }
        let step = buffer.len().min(STEP);
        self.inner.read(&mut buffer[..step])
    }
}

impl<R: Seek> Seek for Interruptible<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_stops_between_two_steps_once_asked() {
        let interrupt = Interrupt::default();
        let bytes: Vec<u8> = (0..9 << 20).map(|i: u32| i.to_le_bytes()[0]).collect();
        let mut reader =
            Interruptible { inner: io::Cursor::new(bytes.clone()), interrupt: interrupt.clone() };
        let mut read = vec![0; 5 << 20];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, bytes[..5 << 20]);
        interrupt.request();
        let error = reader.read_to_end(&mut read).unwrap_err();
        assert!(is_interruption(&error) && error.kind() == io::ErrorKind::Other, "{error:?}");
        // The same words from elsewhere are a failure.
        assert!(!is_interruption(&io::Error::other("interrupted")));
    }
}
