//! The command from plan to record with an engine that fails on the way.

use std::path::Path;

use clap::Parser as _;

use super::super::args::{Cli, Command};
use super::*;
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;
use crate::engine::{Engine, Options};
use crate::model::resolve::Reach;
use crate::record;
use crate::run::engines::Kind;
use crate::run::estimate::Looked;
use crate::run::session::Content;
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
    let fixed = ["bench", "-q", "run", "--model", &file, "--output", &results];
    let plain = ["--power", "none", "--device", "cpu", "-r", "2"];
    let argv: Vec<&str> = fixed.iter().chain(&plain).chain(more).copied().collect();
    let cli = Cli::try_parse_from(&argv).expect("arguments");
    let Command::Run(args) = cli.command else { panic!("another command") };
    let (output, catalog, interrupt) = (Output::new(&cli.output), Catalog::bundled(), Interrupt::default());
    let request = args.request(argv.iter().map(ToString::to_string).collect()).expect("no conflict");
    let session = Session::begin(&request, &catalog, &interrupt).expect("a CPU");
    let resolved = session.resolve(&file, Reach::Weights, &Bar::new(false)).expect("a model");
    let model = resolved.model.clone();
    let none = || "not needed here".to_owned();
    let looked = Looked { peaks: Some(Err(none())), pace: Err(none()), seconds: Seconds::ZERO };
    let content = Content { sha256: Err(none()), tokenizer: Err(none()), prompt: Err(none()) };
    let planned = session.plan(resolved).expect("a plan");
    let mut ready = planned.estimated(looked).ready(content).expect("nothing to set");
    let load = |options: &Options, progress: &dyn Fn(f64)| {
        let engine = Kind::Fused.load_watched(&model, options, &interrupt, progress)?;
        Ok(Box::new(Failing { engine, batch }) as Box<dyn Engine>)
    };
    let shown = Shown { args: &args, output: &output, interrupt: &interrupt };
    let measure = &mut |number, bar: &mut Bar| ready.measure_with(number, bar, &load);
    let ended = each(1, &shown, &mut Vec::new(), measure);
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
    let rates = |metric: &str| record.measurements.iter().filter(|m| m.metric.as_str() == metric).count();
    assert_eq!((rates("prefill_tokens_per_second"), rates("decode_tokens_per_second")), (2, 2));
    assert_eq!(record.validity.verdict, Verdict::Invalid);
    let complete = record.validity.checks.iter().find(|check| check.name == "run_complete").expect("made");
    assert_eq!(complete.verdict, Verdict::Invalid);
    assert_eq!(
        complete.evidence,
        "the run failed while warming up pp8 b4: engine failing failed in a step: the device fell off the bus; 4 rows measured before that"
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
