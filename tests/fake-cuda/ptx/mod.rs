//! PTX executed on a CPU: text to tree, tree to operations, operations on warps of 32 lanes.
//!
//! What it runs is what NVRTC made of a kernel, so a swapped operand, a wrong wait or a missing barrier is seen;
//! what only hardware knows (orders between blocks, timing, `ptxas`) is not.

pub mod alu;
mod allocate;
pub mod asynchronous;
pub mod checks;
pub mod compare;
pub mod decode;
pub mod fault;
pub mod machine;
pub mod number;
pub mod op;
pub mod parse;
pub mod tensor;
