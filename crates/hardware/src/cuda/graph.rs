//! Work that is recorded once and then done again as a whole: for the driver a CUDA graph.
//!
//! One call starts hundreds of kernels, which matters where a kernel takes as long as its launch.
#![allow(unsafe_code, reason = "what is done again uses memory by its address")]

use std::fmt;
use std::sync::Arc;

use cudarc::driver::{CudaGraph, sys};

use super::queue::{Fault, Queue};

/// Recorded work.
pub struct Recorded {
    queue: Arc<Queue>,
    graph: CudaGraph,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded").finish_non_exhaustive()
    }
}

impl Recorded {
    /// Records the launches and copies that `work` asks `queue` for; none of them is done. It may neither take memory nor
    /// wait for the queue: the driver then refuses all of it.
    ///
    /// # Errors
    /// That of `work`, or what the driver says.
    pub fn new(queue: &Arc<Queue>, work: impl FnOnce() -> Result<(), Fault>) -> Result<Self, Fault> {
        // Other threads may do what they like meanwhile.
        queue.stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let asked = work();
        // In any case, or everything later would be recorded too.
        let graph = queue.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        asked?;
        let graph = graph?.ok_or_else(|| Fault::Failed("CUDA recorded nothing".to_owned()))?;
        Ok(Self { queue: Arc::clone(queue), graph })
    }

    /// Does it again, with what now lies where it reads.
    ///
    /// # Errors
    /// What the driver says; a fault of a kernel shows in what is asked for later.
    ///
    /// # Safety
    /// All memory that the work uses, of the device and of the host, is still there, and stays until the queue is next
    /// finished; what its launches promised holds for what lies there now.
    pub unsafe fn replay(&self) -> Result<(), Fault> {
        self.queue.asked();
        Ok(self.graph.launch()?)
    }
}
