//! One interface to the engines that run on this machine: which of them to use, and the checks before loading.

use crate::base::failure::Usage;
use crate::base::sys::Interrupt;
use crate::model::{Header, Model};

use crate::candle;
use crate::engine::fused::{Isa, KvType};
use crate::engine::{Demand, Device, Engine, Error, Launches, MemoryEstimate, Options, fused};

/// An engine by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Our own.
    Fused,
    /// Stock candle-transformers.
    Candle,
}

impl Kind {
    /// The best engine for the model that `header` describes: our own where it can compute it.
    pub fn best(header: &Header, device: Device) -> Self {
        // Only a build with candle's own CUDA code has another one for a GPU.
        let alone = matches!(device, Device::Cuda(_)) && !cfg!(feature = "candle-cuda");
        if alone || fused::supports(header).is_ok() { Self::Fused } else { Self::Candle }
    }

    /// The engine's name in flags and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fused => fused::NAME,
            Self::Candle => candle::NAME,
        }
    }

    /// Whether this engine has what the model needs.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with what is missing and the way out.
    pub fn supports(self, header: &Header) -> Result<(), Error> {
        match self {
            Self::Fused => fused::supports(header),
            Self::Candle => candle::supports(header),
        }
    }

    /// Whether this engine can run rows of this demand.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with what it cannot do and the way out.
    pub fn can_run(self, header: &Header, demand: Demand) -> Result<(), Error> {
        match self {
            Self::Fused => fused::supports(header),
            Self::Candle => candle::can_run(header, demand),
        }
    }

    /// What the process (or the GPU) will need at its peak.
    pub fn memory_estimate(self, header: &Header, demand: Demand, options: &Options) -> MemoryEstimate {
        match self {
            Self::Fused => fused::memory_estimate(header, demand, options.kv_type),
            Self::Candle => candle::memory_estimate(header, demand),
        }
    }

    /// Loads `model` and returns an engine with it.
    ///
    /// # Errors
    /// As [`candle::load`].
    pub fn load(
        self,
        model: &Model,
        options: &Options,
        interrupt: &Interrupt,
    ) -> Result<Box<dyn Engine>, Error> {
        self.load_watched(model, options, interrupt, &|_| ())
    }

    /// As [`load`](Self::load), and tells `progress` now and then which share of the weights is ready; candle does not say.
    ///
    /// # Errors
    /// As [`candle::load`].
    pub fn load_watched(
        self,
        model: &Model,
        options: &Options,
        interrupt: &Interrupt,
        progress: &dyn Fn(f64),
    ) -> Result<Box<dyn Engine>, Error> {
        match self {
            Self::Fused => fused::load(model, options, interrupt, progress),
            Self::Candle => {
                let options =
                    candle::Options { device: options.device, max_positions: options.max_positions };
                candle::load(model, &options, interrupt)
            }
        }
    }
}

/// Checks the flags of our own engine: it must be one of `engines`, and the processor must have the instructions.
///
/// # Errors
/// [`Usage`] naming the first such flag that was given.
pub fn check_fused_flags(
    isa: Option<Isa>,
    kv_type: Option<KvType>,
    launches: Launches,
    engines: &[Kind],
) -> Result<(), Usage> {
    only_for_fused(isa, kv_type, launches, engines)?;
    isa.map_or(Ok(()), |isa| isa.check().map_err(|reason| Usage::new("--isa", format!("{isa}: {reason}"))))
}

fn only_for_fused(
    isa: Option<Isa>,
    kv_type: Option<KvType>,
    launches: Launches,
    engines: &[Kind],
) -> Result<(), Usage> {
    let given = [
        ("--isa", isa.is_some()),
        ("--kv-type", kv_type.is_some()),
        ("--no-graphs", launches == Launches::Single),
        ("--debug-kernels", launches == Launches::Watched),
    ];
    let (Some((flag, _)), Some(other)) = (given.into_iter().find(|(_, given)| *given), engines.first())
    else {
        return Ok(());
    };
    if engines.contains(&Kind::Fused) {
        return Ok(());
    }
    let reason = format!(
        "it is a flag of the engine `{}`, but this uses `{}`, which chooses for itself",
        Kind::Fused.name(),
        other.name()
    );
    Err(Usage::new(flag, reason))
}
