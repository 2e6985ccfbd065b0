//! The rates of one GPU at its best: `kernels/peaks.cu`, launched for as long as it takes to time them.
#![allow(unsafe_code, reason = "kernels are launched")]

use std::path::Path;

use super::queue::Function;
use super::{Argument, Device, Fault, Grid, Memory, Nvrtc, PEAKS, Queue, code};
use crate::base::clock;
use crate::base::units::{Bytes, Seconds};

/// Threads of a block.
const THREADS: u32 = 256;
/// Blocks of a multiprocessor: for memory as many as it holds, for products enough to fill its four schedulers.
const MEMORY_BLOCKS: u32 = 8;
const PRODUCT_BLOCKS: u32 = 2;
/// Bytes of a word.
const WORD: u64 = 16;
/// How many times the L2 cache the arrays are, so that little of them is still there when it is read again.
const CACHES: u64 = 8;
/// The cache of a GPU whose driver doesn't say: larger than most.
const UNKNOWN_CACHE: Bytes = Bytes::new(64 << 20);
/// The smallest array that is tried.
const FIRST: u64 = 1 << 20;
/// A timed launch takes about as long: thousands of times as long as starting it.
const TIMED: Seconds = Seconds::new(0.01);
/// Products of one iteration, operations of a product of f16, and how many more a product of 8 bits has.
const CHAINS: f64 = 8.0;
const OPERATIONS: f64 = 4096.0;
const NARROWER: f64 = 2.0;
/// From here on tensor cores take 8-bit floating-point numbers.
const FIRST_WITH_FP8: (u32, u32) = (8, 9);

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Bytes read.
    Read,
    /// Bytes written.
    Write,
    /// Bytes copied, read and written bytes counted once.
    Copy,
    /// Operations on f16, with sums in single precision.
    F16,
    /// Operations on 8-bit integers.
    Int8,
    /// Operations on 8-bit floating-point numbers.
    Fp8,
}

/// A GPU with arrays for it to work on.
#[derive(Debug)]
pub struct Bench {
    queue: Queue,
    read: Function,
    write: Function,
    copy: Function,
    f16: Function,
    int8: Function,
    fp8: Option<Function>,
    from: Memory,
    to: Memory,
    sums: Memory,
    multiprocessors: u32,
    cache: Bytes,
}

impl Bench {
    /// Compiles and uploads the kernels, and takes memory: two arrays of eight times the L2 cache, or less where less is free
    /// or the GPU is slow.
    ///
    /// # Errors
    /// A reason for people.
    pub fn new(device: &Device, nvrtc: &Nvrtc, folder: &Path) -> Result<Self, String> {
        let module = device.module(|form| code(nvrtc, PEAKS, &[], device.architecture, form, folder))?;
        let queue = Queue::new(device, false).map_err(|fault| fault.to_string())?;
        let cache = device.l2_cache().unwrap_or(UNKNOWN_CACHE);
        let arrays = |bytes: u64| -> Result<(Memory, Memory), Fault> {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            Ok((queue.alloc(bytes)?, queue.alloc(bytes)?))
        };
        let threads = device.multiprocessors * MEMORY_BLOCKS * THREADS;
        let prepared = || -> Result<_, Fault> {
            Ok((arrays(FIRST)?, queue.alloc(threads as usize * size_of::<f32>())?, queue.free()? as u64))
        };
        let ((from, to), sums, free) = prepared().map_err(|fault| fault.to_string())?;
        let has_fp8 = (device.architecture.major, device.architecture.minor) >= FIRST_WITH_FP8;
        let mut bench = Self {
            read: module.function("read_words")?,
            write: module.function("write_words")?,
            copy: module.function("copy_words")?,
            f16: module.function("multiply_f16")?,
            int8: module.function("multiply_int8")?,
            fp8: has_fp8.then(|| module.function("multiply_fp8")).transpose()?,
            multiprocessors: device.multiprocessors,
            queue,
            from,
            to,
            sums,
            cache,
        };
        bench.grow((cache.get() * CACHES).min(free / 4)).map_err(|fault| fault.to_string())?;
        Ok(bench)
    }

    /// Doubles the arrays up to `most` bytes, and no further than one pass over them takes as long as is timed.
    fn grow(&mut self, most: u64) -> Result<(), Fault> {
        // The first launches wait for the upload of their kernels.
        self.launch(Work::Write, 1)?;
        self.launch(Work::Copy, 1)?;
        loop {
            let bytes = self.array_bytes().get();
            // What is read later has to be written once.
            self.launch(Work::Write, 1)?;
            let time = self.launch(Work::Copy, 1)?;
            if bytes * 2 > most || time >= TIMED {
                return Ok(());
            }
            let doubled = usize::try_from(bytes * 2).unwrap_or(usize::MAX);
            (self.from, self.to) = (self.queue.alloc(doubled)?, self.queue.alloc(doubled)?);
        }
    }

    /// Bytes of an array.
    pub fn array_bytes(&self) -> Bytes {
        Bytes::new(self.from.place().bytes() as u64)
    }

    /// The largest cache, which the arrays should exceed.
    pub fn cache(&self) -> Bytes {
        self.cache
    }

    /// Whether the GPU computes with 8-bit floating-point numbers.
    pub fn has_fp8(&self) -> bool {
        self.fp8.is_some()
    }

    /// Bytes or operations per second, once.
    ///
    /// # Errors
    /// What the driver says.
    pub fn rate(&self, work: Work) -> Result<f64, String> {
        let rate = || -> Result<f64, Fault> {
            // The first launch waits for the upload, and clocks rise under it.
            let mut times = 1;
            let mut time = self.launch(work, times)?;
            while time < TIMED && times < 1 << 24 {
                let missing = TIMED.get() / time.get().max(1e-6);
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped to a u32"
                )]
                let factor = (missing * 1.2).clamp(2.0, 1000.0) as u32;
                times = times.saturating_mul(factor);
                time = self.launch(work, times)?;
            }
            Ok(self.amount(work) * f64::from(times) / time.get())
        };
        rate().map_err(|fault| fault.to_string())
    }

    /// Bytes or operations of one pass or iteration.
    fn amount(&self, work: Work) -> f64 {
        let warps = f64::from(self.multiprocessors * PRODUCT_BLOCKS * THREADS / 32);
        let products = warps * CHAINS * OPERATIONS;
        match work {
            Work::Read | Work::Write | Work::Copy => self.array_bytes().get() as f64,
            Work::F16 => products,
            Work::Int8 | Work::Fp8 => products * NARROWER,
        }
    }

    /// Does it so many times in one launch, and says how long that took.
    fn launch(&self, work: Work, times: u32) -> Result<Seconds, Fault> {
        let (from, to, sums) = (self.from.place(), self.to.place(), self.sums.place());
        let words = Argument::Number(u32::try_from(self.array_bytes().get() / WORD).unwrap_or(u32::MAX));
        let times = Argument::Number(times);
        let [from, to, sums] = [from, to, sums].map(Argument::Place);
        let absent = || Fault::Failed("this GPU has no 8-bit floating-point products".to_owned());
        let (function, blocks, arguments) = match work {
            Work::Read => (&self.read, MEMORY_BLOCKS, vec![from, sums, words, times]),
            Work::Write => (&self.write, MEMORY_BLOCKS, vec![from, words, times]),
            Work::Copy => (&self.copy, MEMORY_BLOCKS, vec![from, to, words, times]),
            Work::F16 => (&self.f16, PRODUCT_BLOCKS, vec![sums, times]),
            Work::Int8 => (&self.int8, PRODUCT_BLOCKS, vec![sums, times]),
            Work::Fp8 => (self.fp8.as_ref().ok_or_else(absent)?, PRODUCT_BLOCKS, vec![sums, times]),
        };
        let grid = Grid { blocks: [self.multiprocessors * blocks, 1, 1], threads: THREADS };
        let begin = clock::now();
        // SAFETY: the arguments are those of the kernels of `peaks.cu` in their order; the arrays have as many words as they
        // are told, `sums` a place for each thread, and all live until the queue is finished.
        unsafe { self.queue.launch(function, grid, &arguments) }?;
        self.queue.finish()?;
        Ok(clock::now().since(begin))
    }
}
