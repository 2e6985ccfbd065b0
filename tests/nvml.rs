//! The room of NVML against a real shared library that behaves like NVML, loaded as the driver's own is.

use infercost::hardware::nvml::{self, Gpu, NvmlSource, Wanted};

use crate::support::fake_nvml::FakeNvml;

mod found; // which GPUs are here, which one is meant, what each says of itself
mod sensors; // energy, power, clocks and throttling
mod settings; // what is changed is put back
mod sweep; // each function failing in each way
mod truth; // the traces that the readings are held against

fn gpu(fake: &FakeNvml) -> Gpu {
    let library = nvml::open(Some(&fake.library())).expect("the fake library");
    nvml::select(library, &Wanted::Index(0)).expect("its GPU")
}

fn source(fake: &FakeNvml) -> NvmlSource {
    NvmlSource::open(&gpu(fake)).expect("the GPU can be reached")
}
