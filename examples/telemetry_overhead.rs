//! What do the sensors cost? Trials with the recorder running against trials without, alternately.
//!
//! One process, one engine, ABBA order. Printed: the median ratio of the speeds with its 95% interval by order
//! statistics, and the recorder's processor time as a share of the trials'. Exit code 1 when the interval
//! leaves out 1, is wider than 2% to a side, or the share is above 0.5%.
//!
//! ```text
//! telemetry_overhead LIBNVIDIA_ML.so [MODEL] [-n 64] [--pairs 150] [--engine fused]
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

use std::path::Path;
use std::process::ExitCode;

use infercost::base::stats::median;
use infercost::base::sys::{self, Interrupt};
use infercost::base::units::Seconds;
use infercost::catalog::Catalog;
use infercost::engine::Options;
use infercost::engine::{Device, Schedule, SequencePlan};
use infercost::hardware::nvml::{self, NvmlSource, Wanted};
use infercost::hardware::telemetry::{Rate, Recorder};
use infercost::model::Request;
use infercost::model::hub::HubSettings;
use infercost::model::resolve::{Reach, Sources};
use infercost::run::engines::Kind;
use infercost::run::measure::Trial;
use infercost::run::plan::{Row, RowKind};

const HALF_WIDTH: f64 = 0.02;
const SHARE: f64 = 0.005;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, rest @ ..] = arguments.as_slice() else {
        return Err(
            "usage: telemetry_overhead LIBNVIDIA_ML.so [MODEL] [-n 64] [--pairs 150] [--engine fused]".into(),
        );
    };
    let flag = |name: &str, default: u32| {
        let given = rest.windows(2).find(|pair| pair[0] == name);
        given.map_or(Ok(default), |pair| pair[1].parse())
    };
    let model =
        rest.first().filter(|text| !text.starts_with('-')).map_or("synthetic:smollm2-135m:q4_0", |m| m);
    let (output, pairs) = (flag("-n", 64)?, flag("--pairs", 150)?);

    let catalog = Catalog::bundled();
    let (interrupt, hub) = (Interrupt::install()?, HubSettings::from_env());
    let sources = Sources { catalog: &catalog, hub: &hub, seed: 0, progress: &(), interrupt: &interrupt };
    let model = sources.open(&Request::parse(model)?, Reach::Weights)?;
    let kind = match rest.windows(2).find(|pair| pair[0] == "--engine").map(|pair| pair[1].as_str()) {
        None => Kind::best(&model.header, Device::Cpu),
        Some("fused") => Kind::Fused,
        Some("candle") => Kind::Candle,
        Some(other) => return Err(format!("--engine {other}: there are fused and candle").into()),
    };
    let options = Options { max_positions: Some(output + 1), ..Options::default() };
    let mut engine = kind.load(&model, &options, &interrupt)?;
    let row = Row { kind: RowKind::Decode { output_tokens: output }, batch: 1, depth: 0 };
    let sequence = SequencePlan { context: vec![1], prompt: Vec::new(), output_tokens: output };
    let schedule = Schedule { sequences: vec![sequence] };
    let gpu = nvml::select(nvml::open(Some(Path::new(library)))?, &Wanted::Index(0))?;
    let mut recorder_seconds = 0.0;
    let mut readings = 0;
    let mut trial = |recorded: bool| -> Result<f64, Box<dyn std::error::Error>> {
        let recorder = if recorded {
            Some(Recorder::start(Box::new(NvmlSource::open(&gpu)?), Rate::default())?)
        } else {
            None
        };
        let mut events = Vec::with_capacity(4096);
        engine.run(&schedule, &mut events, &interrupt)?;
        if let Some(recorder) = recorder {
            let recorded = recorder.stop();
            recorder_seconds += recorded.processor_time.map_or(0.0, Seconds::get);
            readings += recorded.trace.energy.len();
        }
        Ok(Trial::from_events(&row, &events)?.length().get())
    };
    for _ in 0..4 {
        trial(true)?;
    }
    let before = sys::usage();
    let mut logs = Vec::new();
    for pair in 0..pairs {
        let (with, without) = if pair % 2 == 0 {
            let with = trial(true)?;
            (with, trial(false)?)
        } else {
            let without = trial(false)?;
            (trial(true)?, without)
        };
        logs.push((without / with).ln());
    }
    logs.sort_by(f64::total_cmp);
    // The k-th smallest and largest enclose the median with 95% (normal approximation of the binomial).
    let n = logs.len() as f64;
    let k = (n / 2.0 - 0.98 * n.sqrt()).floor();
    let (Some(middle), true) = (median(&logs), k >= 1.0) else { return Err("too few pairs".into()) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and n")]
    let k = k as usize;
    let (low, high) = (logs[k - 1].exp() - 1.0, logs[logs.len() - k].exp() - 1.0);
    let used = before
        .zip(sys::usage())
        .map_or(f64::NAN, |(a, b)| ((b.user + b.system) - (a.user + a.system)).get() / 2.0);
    let share = recorder_seconds / used;
    println!(
        "{} tg{output}: speed with sensors ÷ without: {:+.2}%, 95% {:+.2}% to {:+.2}%, {} pairs; recorder {:.3}% of the processor time, {readings} readings",
        kind.name(),
        (middle.exp() - 1.0) * 100.0,
        low * 100.0,
        high * 100.0,
        logs.len(),
        share * 100.0
    );
    let fine = low <= 0.0 && 0.0 <= high && (high - low) / 2.0 <= HALF_WIDTH && share <= SHARE;
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
