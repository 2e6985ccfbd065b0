//! The load of a known shape: the GPU computes for as long as it is told, and otherwise rests.
#![allow(unsafe_code, reason = "a kernel is launched")]

use std::path::Path;
use std::sync::Arc;

use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, LaunchConfig, PushKernelArg as _};

use super::driver::reason;
use super::{Device, LOAD, Nvrtc, code};
use crate::base::clock;
use crate::base::event::Span;
use crate::base::units::Seconds;

/// Threads of a block, and blocks of a multiprocessor: together all the threads that it holds.
const THREADS: u32 = 256;
const BLOCKS: u32 = 8;
/// Longest single launch. A GPU that drives a screen ends what runs for seconds.
const LONGEST: Seconds = Seconds::new(0.05);
/// Iterations of the launch that finds the speed: some milliseconds on any GPU.
const FIRST: u32 = 20_000;
/// Multiplies and adds that settle at a finite value.
const FACTOR: f32 = 0.5;
const ADDEND: f32 = 1.0;

/// The kernel `load.cu`, ready on one GPU.
#[derive(Debug)]
pub struct Load {
    stream: Arc<CudaStream>,
    function: CudaFunction,
    sums: CudaSlice<f32>,
    shape: LaunchConfig,
    iterations_per_second: f64,
}

impl Load {
    /// Compiles and uploads the kernel, and finds how fast it runs here.
    ///
    /// # Errors
    /// A reason for people.
    pub fn new(device: &Device, nvrtc: &Nvrtc, cache: &Path) -> Result<Self, String> {
        let code = |form| code(nvrtc, LOAD, &[], device.architecture, form, cache);
        Self::of(device, device.function(code, "load")?, FIRST)
    }

    /// The same of a function that is uploaded, whose speed a launch of so many iterations tells.
    pub(super) fn of(device: &Device, function: CudaFunction, first: u32) -> Result<Self, String> {
        let stream = device.context().default_stream();
        let blocks = device.multiprocessors * BLOCKS;
        let sums = stream.alloc_zeros(blocks as usize * THREADS as usize).map_err(reason)?;
        let shape =
            LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        let mut load = Self { stream, function, sums, shape, iterations_per_second: 0.0 };
        // The first launch of a kernel waits for its upload, and the clocks rise under the second.
        for _ in 0..3 {
            let span = load.launch(first)?;
            load.iterations_per_second = f64::from(first) / span.length().get().max(1e-6);
        }
        Ok(load)
    }

    /// Keeps every multiprocessor busy for `time`, and says from when to when.
    ///
    /// # Errors
    /// What the driver says.
    pub fn run(&mut self, time: Seconds) -> Result<Span, String> {
        let from = clock::now();
        loop {
            let left = time - clock::now().since(from);
            if left.get() <= 0.0 {
                return Ok(Span { from, to: clock::now() });
            }
            let piece = left.get().min(LONGEST.get());
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a u32")]
            let iterations = (self.iterations_per_second * piece).clamp(1.0, f64::from(u32::MAX)) as u32;
            let span = self.launch(iterations)?;
            // Clocks move under load; the next piece is sized by this one. A short one says little.
            if piece >= LONGEST.get() {
                self.iterations_per_second = f64::from(iterations) / span.length().get().max(1e-6);
            }
        }
    }

    /// What the threads left, for tests.
    #[cfg(test)]
    pub(super) fn sums(&self) -> Result<Vec<f32>, String> {
        self.stream.clone_dtoh(&self.sums).map_err(reason)
    }

    fn launch(&mut self, iterations: u32) -> Result<Span, String> {
        let from = clock::now();
        let mut launch = self.stream.launch_builder(&self.function);
        launch.arg(&mut self.sums).arg(&iterations).arg(&FACTOR).arg(&ADDEND);
        // SAFETY: the arguments are those of `load` in their order, and `sums` has one place a thread.
        unsafe { launch.launch(self.shape) }.map_err(reason)?;
        self.stream.synchronize().map_err(reason)?;
        Ok(Span { from, to: clock::now() })
    }
}
