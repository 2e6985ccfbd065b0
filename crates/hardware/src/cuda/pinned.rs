//! Pinned memory of the host: a device copies from and to it by itself, while the host goes on.
//!
//! Before the host reads or writes it, the queue is waited for, so the host never touches it during a copy.
#![allow(unsafe_code, reason = "memory of the driver's by its address")]

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::result;

use super::queue::{Fault, Place, Queue, check};

/// Words of 4 bytes; they are given back when dropped.
#[derive(Debug)]
pub struct Pinned {
    queue: Arc<Queue>,
    words: NonNull<u32>,
    count: usize,
}

// SAFETY: the memory belongs to the process, not to a thread, and this is the one thing that points to it.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Takes `count` words, at least one, that copies of `queue` use. They are zero.
    ///
    /// # Errors
    /// What the driver says.
    pub fn new(queue: &Arc<Queue>, count: usize) -> Result<Self, Fault> {
        queue.context.bind_to_thread()?;
        let count = count.max(1);
        // SAFETY: the context is current, and the address is kept in one place that gives it back.
        let address = unsafe { result::malloc_host(count * 4, 0) }?;
        let words = NonNull::new(address.cast::<u32>())
            .ok_or_else(|| Fault::Failed("CUDA gave no pinned memory".to_owned()))?;
        // SAFETY: the driver gave as many words, aligned for any number, and nothing copies to them yet.
        unsafe { words.as_ptr().write_bytes(0, count) };
        Ok(Self { queue: Arc::clone(queue), words, count })
    }

    /// Puts `words` in front.
    ///
    /// # Errors
    /// [`Fault::Failed`] when there are more than it holds, or what the driver says of what came before.
    pub fn fill(&mut self, words: &[u32]) -> Result<(), Fault> {
        self.holds(words.len())?;
        self.queue.settle()?;
        // SAFETY: it holds as many words, and nothing that was asked for reads or writes them.
        unsafe { self.words.as_ptr().copy_from_nonoverlapping(words.as_ptr(), words.len()) };
        Ok(())
    }

    /// Waits until all that was asked for is done, and copies its first words.
    ///
    /// # Errors
    /// [`Fault::Failed`] when there are fewer, or what the driver says of what came before.
    pub fn take(&self, words: &mut [u32]) -> Result<(), Fault> {
        self.holds(words.len())?;
        self.queue.settle()?;
        // SAFETY: it holds as many words, and nothing that was asked for reads or writes them.
        unsafe { self.words.as_ptr().copy_to_nonoverlapping(words.as_mut_ptr(), words.len()) };
        Ok(())
    }

    /// Asks for a copy of the first `count` words to the device.
    ///
    /// # Errors
    /// [`Fault::Failed`] when one of the two is too short, or what the driver says.
    pub fn send(&self, count: usize, to: Place) -> Result<(), Fault> {
        self.holds(count)?;
        check(count * 4, to)?;
        self.queue.context.bind_to_thread()?;
        self.queue.asked();
        // SAFETY: it holds as many words until it is dropped, which waits for this copy.
        let words = unsafe { std::slice::from_raw_parts(self.words.as_ptr(), count) };
        // SAFETY: the place has room for them.
        unsafe { result::memcpy_htod_async(to.address, words, self.queue.stream.cu_stream()) }?;
        Ok(())
    }

    /// Asks for a copy of `count` words from the device to the front.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn fetch(&self, from: Place, count: usize) -> Result<(), Fault> {
        self.holds(count)?;
        check(count * 4, from)?;
        self.queue.context.bind_to_thread()?;
        self.queue.asked();
        // SAFETY: it holds as many words until it is dropped, which waits for this copy.
        let words = unsafe { std::slice::from_raw_parts_mut(self.words.as_ptr(), count) };
        // SAFETY: the place has as many.
        unsafe { result::memcpy_dtoh_async(words, from.address, self.queue.stream.cu_stream()) }?;
        Ok(())
    }

    fn holds(&self, count: usize) -> Result<(), Fault> {
        if count <= self.count {
            return Ok(());
        }
        Err(Fault::Failed(format!("{count} words, and there is room for {}", self.count)))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let context = &self.queue.context;
        context.record_err(context.bind_to_thread());
        // Whatever the driver says: a queue that has failed does nothing any more.
        self.queue.settle().ok();
        // SAFETY: the address came from the driver and is given back once; nothing copies from or to it any more.
        context.record_err(unsafe { result::free_host(self.words.as_ptr().cast::<c_void>()) });
    }
}
