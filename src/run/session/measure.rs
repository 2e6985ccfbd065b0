//! Measures a planned run under each of its power limits and seals a record of each.

use crate::base::units::Watts;
use crate::base::{clock, sys};
use crate::engine::{Engine, Error as EngineError, Options};
use crate::hardware::telemetry::choose::Chosen;
use crate::hardware::telemetry::{Rate, Recorder, host};
use crate::record::Record;
use crate::run::energy::Sensors;
use crate::run::estimate::{self, Looked};
use crate::run::plan::Row;
use crate::run::runner::{self, Job, Stopped};
use crate::run::seal::{self, Sealing};

use super::settings::Settings;
use super::{Content, Error, Hour, Planned, Session, Watch};

/// Gives the engine with the model in it, and tells now and then which share of the weights is ready.
pub type Load<'a> = dyn Fn(&Options, &dyn Fn(f64)) -> Result<Box<dyn Engine>, EngineError> + 'a;

/// All is set; only measuring is left. Dropping this puts back what the run changed on a GPU.
pub struct Ready<'a> {
    pub(super) planned: Planned<'a>,
    pub(super) looked: Looked,
    pub(super) content: Content,
    pub(super) settings: Settings,
}

/// A record, and how its run ended.
#[derive(Debug)]
pub struct Measured {
    /// The record.
    pub record: Record,
    /// The power limit under which it was measured, where the run set one.
    pub power_limit: Option<Watts>,
    /// What ended the run early.
    pub stopped: Option<Stopped>,
    /// Rows that were measured.
    pub rows: usize,
}

impl Ready<'_> {
    /// Records that the run makes: one for each power limit, one without.
    pub fn records(&self) -> usize {
        self.planned.session.request.power_limits.len().max(1)
    }

    /// Loads the planned engine, measures, and seals the record with this number, counted from 0.
    ///
    /// # Errors
    /// [`Error::Sensors`] when the power limit cannot be set, [`Error::Runner`] when nothing was measured,
    /// [`Error::Catalog`].
    pub fn measure(&mut self, number: usize, watch: &mut dyn Watch) -> Result<Measured, Error> {
        let limit = self.set_limit(number)?;
        let Planned { session, resolved, engine, .. } = &self.planned;
        let load = |options: &Options, progress: &dyn Fn(f64)| {
            engine.kind.load_watched(&resolved.model, options, session.interrupt, progress)
        };
        self.seal(number, limit, watch, &load)
    }

    /// As [`Ready::measure`], with the engine that `load` gives.
    ///
    /// # Errors
    /// As [`Ready::measure`].
    pub fn measure_with(
        &mut self,
        number: usize,
        watch: &mut dyn Watch,
        load: &Load<'_>,
    ) -> Result<Measured, Error> {
        let limit = self.set_limit(number)?;
        self.seal(number, limit, watch, load)
    }

    fn set_limit(&mut self, number: usize) -> Result<Option<Watts>, Error> {
        Ok(self.settings.limit(&self.planned.session.request.power_limits, number)?)
    }

    fn seal(
        &self,
        number: usize,
        power_limit: Option<Watts>,
        watch: &mut dyn Watch,
        load: &Load<'_>,
    ) -> Result<Measured, Error> {
        let Planned { session, resolved, plan, .. } = &self.planned;
        let created = if number == 0 { session.created } else { clock::wall() };
        let rows: Vec<Row> = plan.rows.iter().map(|row| row.row).collect();
        let next = |batch: u32| self.planned.next_batch(&rows, batch);
        let recorder = session.recorder();
        let job = Job {
            rows: &rows,
            limits: plan.limits,
            seed: plan.seed,
            vocabulary: resolved.model.header.spec.vocabulary,
            greedy_prompt: self.content.prompt.as_ref().ok().cloned(),
            next_batch: plan.grow_batch.then_some(&next),
            recorder: recorder.as_ref().ok(),
            pace: self.looked.pace.as_ref().ok(),
            now: &clock::now,
            interrupt: session.interrupt,
        };
        let options = self.planned.options(&rows);
        let loading = watch.loading();
        let before = host::read();
        let mut finished = runner::run(&job, || load(&options, &*loading), &mut *watch)?;
        let host = host::between(&before, &host::read());
        let sensors = recorder.map(|recorder| Sensors {
            recorded: recorder.stop(),
            other_device: session.sensors.as_ref().is_ok_and(|chosen| chosen.other_device),
        });
        let usage = sys::usage();
        let measure_peaks = || estimate::measure_peaks(plan, session.place.device);
        let peaks = self.looked.peaks.clone().unwrap_or_else(|| {
            watch.busy("measuring the device's peak performance");
            measure_peaks()
        });
        watch.clear();

        let today = clock::today();
        let record = seal::seal(
            &finished,
            Sealing {
                argv: session.request.argv.clone(),
                plan,
                created,
                id: seal::unique_id(created),
                found: &session.found,
                gpu: session.place.gpu,
                unused_gpu: session.place.unused_gpu.clone(),
                model: &resolved.model,
                sha256: self.content.sha256.clone(),
                catalog_id: resolved.catalog_id(session.catalog),
                greedy: self.content.greedy(&finished),
                price: session.hour().price(session.catalog, today),
                apis: &session.request.apis,
                catalog: session.catalog,
                today,
                signal: session.interrupt.exit_code(),
                usage,
                power_limit,
                settings: self.settings.named(),
                host,
                peaks,
                measure_peaks: &measure_peaks,
                sensors,
            },
        )?;
        let rows = finished.rows.len();
        Ok(Measured { record, power_limit, stopped: finished.stopped.take(), rows })
    }
}

impl Session<'_> {
    /// The hour that is priced.
    pub fn hour(&self) -> Hour<'_> {
        Hour {
            given_usd: self.request.usd_per_hour,
            gpu: self.place.gpu.and_then(|index| self.found.gpus.get(index)),
            named: self.request.gpu.as_deref(),
            logical_cpus: self.found.logical_cpus,
        }
    }

    /// Starts reading the sensors.
    ///
    /// # Errors
    /// Why none are read.
    pub fn recorder(&self) -> Result<Recorder, String> {
        let source = self.sensors.as_ref().map_err(Clone::clone).and_then(Chosen::open)?;
        let recorder = Recorder::start(source, Rate::default())
            .map_err(|error| format!("the sensors' thread cannot be started ({error})"))?;
        if let Some(sensor) = &self.calibrated {
            recorder.know(sensor.clone());
        }
        Ok(recorder)
    }
}
