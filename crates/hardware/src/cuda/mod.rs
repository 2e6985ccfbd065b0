//! CUDA at run time: finds its libraries, compiles the kernels that are embedded in the program, runs them.
//!
//! Nothing here is linked. A box without any of it is the normal case: each step says what it lacks.

mod architecture;
mod driver;
mod find;
mod graph;
mod launch;
mod library;
mod load;
mod module;
mod nvrtc;
pub mod peaks;
mod pinned;
mod queue;
pub mod survey;
#[cfg(test)]
mod standin;
#[cfg(test)]
mod testing;

pub use architecture::Architecture;
pub use find::{Kind, Library, Place, Places};
pub use graph::Recorded;
pub use launch::{Device, Identity, Module};
pub use load::Load;
pub use module::{ATTENTION, Form, Kernel, LAYER, LOAD, MATRIX, PEAKS, TENSOR, code};
pub use nvrtc::{Compiled, Nvrtc};
pub use pinned::Pinned;
pub use queue::{Argument, Fault, Function, Grid, Memory, Place as DevicePlace, Queue};
