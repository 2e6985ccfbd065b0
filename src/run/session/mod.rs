//! A run on this machine's own engines, from what was asked to a sealed record. Each step is a type made only by the
//! step before:
//!
//! | step | type | known afterwards |
//! |---|---|---|
//! | [`Session::begin`] | [`Session`] | the device, its memory, its sensors |
//! | [`Session::resolve`] | [`Resolved`] | the model and its header |
//! | [`Session::plan`] | [`Planned`] | engine, rows, limits, memory |
//! | [`Planned::estimate`] | [`Estimated`] | the machine's peaks, and so how long it will take |
//! | [`Estimated::ready`] | [`Ready`] | clocks and power limit are set |
//! | [`Ready::measure`] | [`Measured`] | a record for each power limit |
//!
//! A caller may go back to any step: several models share a session, several power limits share a [`Ready`]. What
//! needs no engine of our own is separate: [`Hour`] (the price), [`Resolved::find`], [`content_hash`]. Nothing here
//! prints; progress is reported to a [`Watch`].

mod content;
mod default_model;
mod measure;
mod place;
mod plan;
mod price;
mod request;
mod settings;

use crate::base::clock;
use crate::base::failure::{Class, Classed, Usage};
use crate::base::sys::Interrupt;
use crate::catalog::{self, Catalog, Gpu};
use crate::engine;
use crate::hardware::device::{self, Found};
use crate::hardware::nvml;
use crate::hardware::telemetry::choose::{self, Chosen};
use crate::model::hub::{FetchProgress, HubSettings};
use crate::model::resolve::{Reach, Sources};
use crate::model::{self, Model, Request};
use crate::record::Sensor;

use super::measure::energy;
use super::plan::Limits;
use super::runner::{self, Observer};

pub use content::{Content, content_hash};
pub use default_model::SMALL as SMALL_MODEL;
pub use measure::{Load, Measured, Ready};
pub use place::{Place, limit_threads};
pub use plan::{EngineSetup, Estimated, Planned};
pub use price::Hour;
pub use request::{Batch, LockClocks, RunRequest};
pub(in crate::run) use settings::Settings;

/// Why a session cannot go on: the error of whatever refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag is invalid.
    #[error(transparent)]
    Usage(#[from] Usage),
    /// A GPU or an API that the catalog does not have.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The device that was asked for cannot be used.
    #[error(transparent)]
    Device(#[from] device::Error),
    /// The NVML library that was named cannot be used.
    #[error(transparent)]
    Library(#[from] nvml::Absent),
    /// The requested sensors cannot be read, or a GPU setting cannot be made.
    #[error(transparent)]
    Sensors(#[from] choose::Error),
    /// What was asked for cannot be planned.
    #[error(transparent)]
    Plan(#[from] super::plan::Error),
    /// The engine cannot run the model.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// Nothing was measured.
    #[error(transparent)]
    Runner(#[from] runner::Error),
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Usage(error) => error.class(),
            Self::Catalog(error) => error.class(),
            Self::Device(error) => error.class(),
            Self::Library(error) => error.class(),
            Self::Sensors(error) => error.class(),
            Self::Plan(error) => error.class(),
            Self::Engine(error) => error.class(),
            Self::Runner(error) => error.class(),
        }
    }
}

/// Is told what a session is doing; called between measurements, never inside one.
pub trait Watch: Observer + FetchProgress {
    /// Unmeasured work is in progress.
    fn busy(&self, what: &str);

    /// `done` of the `all` parts of it are done.
    fn parts(&self, done: usize, all: usize, what: &str);

    /// It is over: whatever shows it makes room for other output.
    fn clear(&self);

    /// A callback for the share of weights ready.
    fn loading(&self) -> Box<dyn Fn(f64)>;
}

/// The device is chosen: where the run computes, and which sensors are read meanwhile.
pub struct Session<'a> {
    /// What was asked.
    pub request: &'a RunRequest,
    /// GPUs, models and prices.
    pub catalog: &'a Catalog,
    /// Whether the user wants to stop.
    pub interrupt: &'a Interrupt,
    /// When it began.
    pub created: jiff::Timestamp,
    /// The machine.
    pub found: Found,
    /// Where the run computes.
    pub place: Place,
    /// The sensors that are read during the run, or why none are.
    pub sensors: Result<Chosen, String>,
    /// What an earlier calibration found of them.
    calibrated: Option<Sensor>,
    /// When a row is over, stretched to what the sensors need.
    limits: Limits,
}

impl<'a> Session<'a> {
    /// Chooses device and sensors.
    ///
    /// # Errors
    /// [`Error::Catalog`] for a GPU or an API that the catalog does not have; [`Error::Library`], [`Error::Device`] and
    /// [`Error::Sensors`] where something asked for by name is missing or unusable.
    pub fn begin(
        request: &'a RunRequest,
        catalog: &'a Catalog,
        interrupt: &'a Interrupt,
    ) -> Result<Self, Error> {
        let created = clock::wall();
        let wanted = request.gpu.as_deref().map(|id| catalog.gpu(id)).transpose()?;
        for api in &request.apis {
            catalog.api_or_hosts(api)?;
        }
        let library = request.nvml_library.as_deref();
        let found = match library {
            Some(library) => device::discover_through(library)?,
            None => device::discover(),
        };
        let place = match (Place::choose(request.device, wanted, &found, catalog, library), wanted) {
            (Err(_), Some(gpu)) if request.plan_only && found.gpus.is_empty() && Place::supports(gpu) => {
                Place::elsewhere(gpu)
            }
            (chosen, _) => chosen?,
        };
        let used = place.gpu.and_then(|index| found.gpus.get(index)).map(|gpu| gpu.index);
        let sensors = choose::choose(&request.power, used, library)?;
        let calibrated = sensors.as_ref().ok().and_then(Chosen::calibrated);
        let mut limits = request.limits;
        if sensors.is_ok() {
            limits.energy_seconds = energy::shortest_window(calibrated.as_ref());
        }
        Ok(Self { request, catalog, interrupt, created, found, place, sensors, calibrated, limits })
    }

    /// Checks that the GPU's clocks and power limit can be set where that was asked for; changes nothing.
    ///
    /// # Errors
    /// [`Error::Usage`] for a setting out of the GPU's range, [`Error::Sensors`] where no GPU is measured.
    pub fn check_settings(&self) -> Result<(), Error> {
        Settings::check(self.request, self.sensors.as_ref().ok()).map(drop)
    }

    /// Sets the GPU's clocks and power limit where that was asked for.
    ///
    /// # Errors
    /// As [`check_settings`](Self::check_settings), and [`Error::Sensors`] when a setting may not be made.
    pub(in crate::run) fn set(&self) -> Result<Settings, Error> {
        Settings::apply(self.request, self.sensors.as_ref().ok())
    }

    /// The catalog's row of the GPU that computes, which has its data sheet.
    pub fn gpu_row(&self) -> Option<&Gpu> {
        let here = || device::row(self.found.gpus.get(self.place.gpu?)?, self.catalog);
        self.place.elsewhere.as_ref().or_else(here)
    }

    /// The model to measure: the one that was asked for, else one that suits the machine.
    pub fn model(&self) -> ModelChoice {
        if let Some(name) = &self.request.model {
            return ModelChoice { name: name.clone(), announcement: None };
        }
        let default = self.default_model();
        ModelChoice { name: default.name.to_owned(), announcement: Some(default.announcement()) }
    }

    /// Finds the model of this name and reads its header.
    ///
    /// # Errors
    /// As [`Request::parse`] and [`Sources::open`].
    pub fn resolve(
        &self,
        name: &str,
        reach: Reach,
        progress: &dyn FetchProgress,
    ) -> Result<Resolved, model::Error> {
        let sources = Sources {
            catalog: self.catalog,
            hub: &HubSettings::from_env(),
            seed: self.request.seed,
            progress,
            interrupt: self.interrupt,
        };
        Resolved::find(name, reach, &sources)
    }
}

/// The name of the model to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChoice {
    /// As `--model` takes it.
    pub name: String,
    /// The note if no model was named: which one is used, and why.
    pub announcement: Option<String>,
}

/// The model is found and its header read.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What was asked for.
    pub request: Request,
    /// What that is.
    pub model: Model,
}

impl Resolved {
    /// Finds the model of this name.
    ///
    /// # Errors
    /// As [`Request::parse`] and [`Sources::open`].
    pub fn find(name: &str, reach: Reach, sources: &Sources<'_>) -> Result<Self, model::Error> {
        let request = Request::parse(name)?;
        let model = sources.open(&request, reach)?;
        Ok(Self { request, model })
    }

    /// The catalog's row for the model: the one asked for, or the one whose hub repository it came from.
    pub fn catalog_id(&self, catalog: &Catalog) -> Option<String> {
        let id = match &self.request {
            Request::Catalog { id, .. } => id,
            Request::Synthetic { preset, .. } => preset,
            _ => &self.model.header.name,
        };
        catalog.model(id).ok().map(|row| row.id.clone())
    }
}
