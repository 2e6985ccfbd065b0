//! The command from plan to record with an engine that fails on the way.

use clap::Parser as _;

use super::super::args::{Cli, Command};
use super::*;
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;
use infercost_testing::Tiny;

use super::failing::Failing;

/// Runs the command with these arguments on a tiny model whose engine fails in schedules of `batch` sequences; gives how
/// it ended and the folder with what it left.
fn run_failing(more: &[&str], batch: usize) -> (anyhow::Result<()>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tiny.gguf");
    Tiny::of("llama").write(&file);
    std::fs::create_dir(folder.path().join("results")).expect("a folder");
    let (file, results) = (file.display().to_string(), folder.path().join("results").display().to_string());
    let fixed = ["bench", "-q", "run", "--model", &file, "--output", &results, "--power", "none"];
    let argv: Vec<OsString> = fixed.iter().chain(more).map(Into::into).collect();
    let cli = Cli::try_parse_from(&argv).expect("arguments");
    let Command::Run(args) = cli.command else { panic!("another command") };
    let (output, catalog, interrupt) = (Output::new(&cli.output), Catalog::bundled(), Interrupt::default());
    let found = device::discover();
    let place = Place {
        gpu: None,
        engine_device: Device::Cpu,
        available: None,
        short: String::new(),
        unused_gpu: None,
    };
    let request = Request::parse(&file).expect("a path");
    let model = resolve(&request, &catalog, 0, &Bar::new(false), &interrupt).expect("a model");
    let engine = Loading::new(&args, &model, &place).expect("an engine");
    let asked = limits::Asked { repetitions: Some(2), ..limits::Asked::default() };
    let limits = Limits::resolve(asked).expect("no conflict");
    let plan = make_plan(&args, limits, &model, &place, &engine).expect("a plan");
    let none = || "not needed here".to_owned();
    let looked = Looked { peaks: Some(Err(none())), pace: Err(none()), seconds: Seconds::ZERO };
    let measuring = Measuring {
        args: &args,
        argv: &argv,
        output: &output,
        catalog: &catalog,
        found: &found,
        place: &place,
        engine: &engine,
        plan: &plan,
        looked: &looked,
        request: &request,
        model: &model,
        sha256: Err(none()),
        tokenizer: Err(none()),
        prompt: Err(none()),
        chosen: Err(none()),
        calibrated: None,
        interrupt: &interrupt,
    };
    let load = |options: &Options, progress: &dyn Fn(f64)| {
        let engine = engine.kind.load_watched(&model, options, &interrupt, progress)?;
        Ok(Box::new(Failing { engine, batch }) as Box<dyn Engine>)
    };
    let mut records = Vec::new();
    let ended = measuring.each_limit(clock::wall(), &mut Settings::default(), &load, &mut records);
    (ended, folder)
}

fn records(folder: &Path) -> Vec<Record> {
    let Ok(entries) = std::fs::read_dir(folder.join("results")) else { return Vec::new() };
    entries.map(|entry| record::read::read(&entry.expect("an entry").path()).expect("a record")).collect()
}

#[test]
fn an_engine_that_fails_in_its_last_row_leaves_the_rows_before_it() {
    let (ended, folder) = run_failing(&["-p", "8", "-n", "4", "-b", "1,2,4"], 4);
    let error = ended.expect_err("the engine failed");
    let kept = records(folder.path());
    let [record] = &kept[..] else { panic!("{} records", kept.len()) };
    let rates = |metric: &str| record.measurements.iter().filter(|m| m.metric == metric).count();
    assert_eq!((rates("prefill_tokens_per_second"), rates("decode_tokens_per_second")), (2, 2));
    assert_eq!(record.validity.verdict, Verdict::Invalid);
    let complete = record.validity.checks.iter().find(|check| check.name == "run_complete").expect("made");
    assert_eq!(complete.verdict, Verdict::Invalid);
    assert_eq!(
        complete.evidence,
        "the run failed while warming up pp8 b4: engine failing failed in a step: the device fell off the bus; 4 rows of figures before it"
    );
    assert_eq!((record.command.interrupted, record.validity.no_ceiling()), (None, Some("not needed here")));
    assert_eq!(exit::code(&error), 1);
    let said = error.to_string();
    assert!(said.starts_with("4 rows measured before are kept in ") && said.contains(&record.id), "{said}");
    assert!(format!("{error:#}").contains("the device fell off the bus"), "{error:#}");
}

#[test]
fn an_engine_that_fails_at_once_leaves_nothing() {
    let (ended, folder) = run_failing(&["-p", "8", "-n", "4"], 1);
    let error = ended.expect_err("the engine failed");
    assert_eq!((exit::code(&error), records(folder.path()).len()), (1, 0));
    assert!(error.to_string().contains("the device fell off the bus"), "{error}");
}
