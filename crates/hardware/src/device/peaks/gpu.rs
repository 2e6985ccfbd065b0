//! A GPU's peaks: memory, and tensor cores by the instruction that our kernels use, `mma.sync`.
//!
//! A Hopper GPU multiplies faster through `wgmma`. Its f16 products stay below what `mma.sync` does with 8-bit integers, so the
//! fastest arithmetic of the two remains a ceiling for libraries that use it.

use super::{DevicePeaks, rounds_or};
use crate::base::env;
use crate::cuda::peaks::{Bench, Work};
use crate::cuda::{Device, Nvrtc, Places};

const ROUNDS: usize = 3;

/// Measures the GPU with this number in CUDA's order.
///
/// # Errors
/// A reason for people: no driver, no compiler for the kernels, too little free memory, or what the driver says.
pub fn measure(ordinal: usize) -> Result<DevicePeaks, String> {
    let places = Places::here();
    let device = Device::numbered(&places, ordinal)?;
    let bench = Bench::new(&device, &Nvrtc::of_driver(&places)?, &env::cache_folder())?;
    let rounds = |work| rounds_or(ROUNDS, || bench.rate(work));
    Ok(DevicePeaks {
        threads: device.multiprocessors as usize,
        read: rounds(Work::Read)?,
        write: rounds(Work::Write)?,
        copy: rounds(Work::Copy)?,
        flops: rounds(Work::F16)?,
        instruction_set: "mma.sync f16",
        narrow: Some((rounds(Work::Int8)?, "mma.sync s8")),
        fp8: bench.has_fp8().then(|| rounds(Work::Fp8)).transpose()?,
        bytes: bench.array_bytes(),
        cache: bench.cache(),
    })
}
