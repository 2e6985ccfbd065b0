//! Reading the virtual file: any range, made by all cores when it is long.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use rayon::prelude::*;

use super::{Data, Layout};

/// Bytes that one thread makes at a time: long enough to hide the hand-over, short enough to share evenly.
const SHARE: usize = 256 << 10;

/// A position in a virtual GGUF file.
#[derive(Debug, Clone)]
pub struct SyntheticReader {
    layout: Arc<Layout>,
    position: u64,
}

impl SyntheticReader {
    pub(super) fn new(layout: Arc<Layout>) -> Self {
        Self { layout, position: 0 }
    }
}

impl Read for SyntheticReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.layout.length.saturating_sub(self.position);
        let count = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..count];
        if count <= SHARE {
            self.layout.fill(self.position, buffer);
        } else {
            let (layout, position) = (&self.layout, self.position);
            buffer.par_chunks_mut(SHARE).enumerate().for_each(|(index, share)| {
                layout.fill(position + (index * SHARE) as u64, share);
            });
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for SyntheticReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.layout.length.checked_add_signed(by),
        };
        self.position = position.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a position before the start of the file")
        })?;
        Ok(self.position)
    }
}

impl Layout {
    /// Fills `out` with the file's bytes from `start` on; all of them lie in the file.
    fn fill(&self, start: u64, mut out: &mut [u8]) {
        let mut at = start;
        if let Some(head) = usize::try_from(at).ok().and_then(|at| self.head.get(at..)) {
            let count = head.len().min(out.len());
            out[..count].copy_from_slice(&head[..count]);
            out = &mut out[count..];
            at += count as u64;
        }
        // The last tensor that begins at or before `at`; the header has been passed, so there is one.
        let first = self.tensors.partition_point(|tensor| tensor.start <= at).saturating_sub(1);
        for tensor in &self.tensors[first..] {
            if out.is_empty() {
                return;
            }
            // Padding before the tensor.
            let padding = clipped(tensor.start.saturating_sub(at), out.len());
            out[..padding].fill(0);
            out = &mut out[padding..];
            at += padding as u64;
            let skip = at - tensor.start.min(at);
            let count = clipped(tensor.bytes.saturating_sub(skip), out.len());
            let part = &mut out[..count];
            match &tensor.data {
                Data::Random(weights) => weights.fill(skip, part),
                Data::Given(bytes) => {
                    let skip = clipped(skip, bytes.len());
                    part.copy_from_slice(&bytes[skip..skip + count]);
                }
            }
            out = &mut out[count..];
            at += count as u64;
        }
        // Padding after the last tensor.
        out.fill(0);
    }
}

/// The smaller of two lengths.
fn clipped(bytes: u64, most: usize) -> usize {
    usize::try_from(bytes).map_or(most, |bytes| bytes.min(most))
}
