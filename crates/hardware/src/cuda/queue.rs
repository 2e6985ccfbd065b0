//! Work for a GPU, done in the order in which it is asked for: memory, copies, launches.
//!
//! Everything goes to one stream of its own, so nothing of one queue overtakes another piece of it. (The default stream would
//! do as well, but its work cannot be recorded.) Copies from and to the host's plain memory return when that memory may be
//! touched again; those from and to pinned memory are in `pinned`, recorded work in `graph`.
#![allow(unsafe_code, reason = "memory of the driver's by its address, and kernels that are launched on it")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::driver::{
    CudaContext, CudaFunction, CudaStream, DeviceRepr, DriverError, LaunchConfig, PushKernelArg as _, result,
    sys,
};

use super::Device;
use super::driver::reason;

/// Why the driver did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The device's memory is full.
    OutOfMemory(String),
    /// Anything else, in the driver's words.
    Failed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl Fault {
    /// The same of a kernel.
    fn of_kernel(self, name: &str) -> Self {
        let of = |reason: String| format!("kernel {name}: {reason}");
        match self {
            Self::OutOfMemory(reason) => Self::OutOfMemory(of(reason)),
            Self::Failed(reason) => Self::Failed(of(reason)),
        }
    }
}

impl From<DriverError> for Fault {
    fn from(error: DriverError) -> Self {
        match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Self::OutOfMemory(reason(error)),
            _ => Self::Failed(reason(error)),
        }
    }
}

/// Memory of a device; it is given back when dropped.
#[derive(Debug)]
pub struct Memory {
    context: Arc<CudaContext>,
    place: Place,
}

impl Memory {
    /// All of it.
    pub fn place(&self) -> Place {
        self.place
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: the address came from the driver and is given back once; launches that use it were asked for before,
        // and the driver waits for them.
        self.context.record_err(unsafe { result::free_sync(self.place.address) });
    }
}

/// A stretch of a device's memory. It does not keep the memory alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(super) address: u64,
    bytes: usize,
}

impl Place {
    /// Nowhere: what a kernel gets as a null pointer.
    pub const NULL: Self = Self { address: 0, bytes: 0 };

    /// How long it is.
    pub fn bytes(self) -> usize {
        self.bytes
    }

    /// What is left after the first `bytes`; `None` if there are fewer.
    #[must_use]
    pub fn skip(self, bytes: usize) -> Self {
        let skipped = bytes.min(self.bytes);
        Self { address: self.address + skipped as u64, bytes: self.bytes - skipped }
    }
}

/// A kernel on a device.
#[derive(Debug, Clone)]
pub struct Function {
    pub(super) function: CudaFunction,
    pub(super) name: String,
}

/// What a kernel is launched with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument {
    /// A pointer.
    Place(Place),
    /// An `unsigned int`.
    Number(u32),
    /// A `float`.
    Float(f32),
}

/// How many blocks of how many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks in x, y and z.
    pub blocks: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
}

/// The work of one device.
#[derive(Debug)]
pub struct Queue {
    pub(super) context: Arc<CudaContext>,
    pub(super) stream: Arc<CudaStream>,
    watched: bool,
    /// Whether anything was asked for since it was last finished.
    busy: AtomicBool,
}

impl Queue {
    /// A queue of `device`. Where it is `watched`, each launch is waited for, so that a fault is that of its kernel.
    ///
    /// # Errors
    /// What the driver says.
    pub fn new(device: &Device, watched: bool) -> Result<Self, Fault> {
        let context = Arc::clone(device.context());
        Ok(Self { stream: context.new_stream()?, context, watched, busy: AtomicBool::new(false) })
    }

    /// Something was asked for that is done later.
    pub(super) fn asked(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Waits, unless nothing was asked for since the last time.
    pub(super) fn settle(&self) -> Result<(), Fault> {
        if self.busy.load(Ordering::Relaxed) { self.finish() } else { Ok(()) }
    }

    /// Free memory, in bytes.
    ///
    /// # Errors
    /// What the driver says.
    pub fn free(&self) -> Result<usize, Fault> {
        Ok(self.context.mem_get_info()?.0)
    }

    /// Takes memory, at least a byte; what is in it is anything.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`] when there is not so much, or what the driver says.
    pub fn alloc(&self, bytes: usize) -> Result<Memory, Fault> {
        self.context.bind_to_thread()?;
        let bytes = bytes.max(1);
        // SAFETY: the context is current, and the address is kept in one place that gives it back.
        let address = unsafe { result::malloc_sync(bytes) }?;
        Ok(Memory { context: Arc::clone(&self.context), place: Place { address, bytes } })
    }

    /// Copies numbers to the device.
    ///
    /// # Errors
    /// [`Fault::Failed`] when `to` is too short, or what the driver says.
    pub fn write<T: DeviceRepr>(&self, from: &[T], to: Place) -> Result<(), Fault> {
        if from.is_empty() {
            return Ok(());
        }
        self.context.bind_to_thread()?;
        check(size_of_val(from), to)?;
        // SAFETY: the place has room for them, and plain memory of the host may be reused when the driver returns.
        unsafe { result::memcpy_htod_async(to.address, from, self.stream.cu_stream()) }?;
        Ok(())
    }

    /// Copies numbers from the device when all that was asked for before is done.
    ///
    /// # Errors
    /// [`Fault::Failed`] when `from` is too short, or what the driver says of this and of what came before.
    pub fn read<T: DeviceRepr>(&self, from: Place, to: &mut [T]) -> Result<(), Fault> {
        self.context.bind_to_thread()?;
        check(size_of_val(to), from)?;
        // SAFETY: the place has as many bytes, and the driver is done with `to` when the stream is, below.
        unsafe { result::memcpy_dtoh_async(to, from.address, self.stream.cu_stream()) }?;
        self.finish()
    }

    /// Waits until all that was asked for is done.
    ///
    /// # Errors
    /// What the driver says of any of it.
    pub fn finish(&self) -> Result<(), Fault> {
        self.stream.synchronize()?;
        self.busy.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Launches a kernel.
    ///
    /// # Errors
    /// What the driver says, with the kernel's name; a fault of the kernel itself shows in what is asked for later, unless
    /// the queue is watched.
    ///
    /// # Safety
    /// The arguments are those of the kernel, in number, kind and order; it reads and writes only what the places among them
    /// hold, and their memory lives until the queue is next finished.
    pub unsafe fn launch(
        &self,
        function: &Function,
        grid: Grid,
        arguments: &[Argument],
    ) -> Result<(), Fault> {
        // A kernel takes the first bytes of each: numbers begin with their lowest on every machine that has a driver.
        let of = |argument: &Argument| match argument {
            Argument::Place(place) => place.address,
            Argument::Number(number) => u64::from(*number),
            Argument::Float(number) => u64::from(number.to_bits()),
        };
        let values: Vec<u64> = arguments.iter().map(of).collect();
        let mut launch = self.stream.launch_builder(&function.function);
        for value in &values {
            launch.arg(value);
        }
        let shape = LaunchConfig {
            grid_dim: grid.blocks.into(),
            block_dim: (grid.threads, 1, 1),
            shared_mem_bytes: 0,
        };
        self.asked();
        // SAFETY: the caller's: the arguments are the kernel's, and it stays within them.
        let launched = unsafe { launch.launch(shape) }.map_err(Fault::from);
        let watched = launched.and_then(|_| if self.watched { self.finish() } else { Ok(()) });
        watched.map_err(|fault| fault.of_kernel(&function.name))
    }
}

pub(super) fn check(wanted: usize, place: Place) -> Result<(), Fault> {
    if wanted <= place.bytes {
        return Ok(());
    }
    Err(Fault::Failed(format!("a copy of {wanted} bytes, and there is room for {}", place.bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_place_never_reaches_beyond_its_end() {
        let place = Place { address: 0x1000, bytes: 10 };
        assert_eq!(place.skip(4), Place { address: 0x1004, bytes: 6 });
        assert_eq!(place.skip(10).bytes(), 0);
        assert_eq!(place.skip(11), place.skip(10));
        assert!(check(10, place).is_ok() && check(11, place).is_err() && check(7, place.skip(4)).is_err());
    }
}
