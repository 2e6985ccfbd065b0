//! One record, three views: `run`, `cost` and `compare` say the same about it, in words and figures.
//!
//! Random records are made from a real one: cells with and without an interval, offline and served, of models with and
//! without batch tiers or hosts, suspect or invalid, with a GPU that was not used.

use clap::Parser as _;
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::base::known::Known;
use crate::catalog::Catalog;
use crate::cost::compare_api::{Subject, fill_record};
use crate::cost::{Assumptions, assess, given_price};
use crate::record::{
    Answer, ApiVerdict, Cell, Check, Measurement, Metric, Phase, Record, Tier, UnusedGpu, Validity, Verdict,
};
use crate::report::terminal::{self, Style};
use crate::report::verdict::words;

use super::args::{Cli, Command};
use super::{Output, compare, cost};

const REAL: &str = include_str!("../../tests/data/records/tiny.json");

/// What is random about a record.
#[derive(Debug, Clone)]
struct Made {
    model: Option<&'static str>,
    verdict: Verdict,
    unused_gpu: bool,
    served: bool,
    cents: i64,
    /// Prompt, output, batch, seconds of input and of output, half width of the interval where there is one.
    cells: Vec<(u32, u32, u32, f64, f64, Option<f64>)>,
}

fn made() -> impl Strategy<Value = Made> {
    let models = prop::sample::select(vec![
        Some("gpt-oss-20b"),
        Some("gpt-oss-120b"),
        Some("llama-3.3-70b"),
        Some("llama-3.1-8b"),
        Some("smollm2-135m"),
        None,
    ]);
    let verdicts = prop_oneof![
        4 => Just(Verdict::Valid), 1 => Just(Verdict::Suspect), 1 => Just(Verdict::Invalid)
    ];
    let cell = (
        prop::sample::select(vec![1u32, 128, 512, 4096]),
        prop::sample::select(vec![1u32, 32, 128, 1024]),
        prop::sample::select(vec![1u32, 8, 64]),
        // From far below to far above what APIs ask for the tokens.
        -7.0f64..-1.0,
        -6.0f64..0.0,
        prop_oneof![1 => Just(None), 4 => (0.001f64..0.4).prop_map(Some)],
    );
    let cell = cell.prop_map(|(p, n, b, input, output, width)| {
        let seconds = |exponent: f64, tokens: u32| 10f64.powf(exponent) * f64::from(tokens);
        (p, n, b, seconds(input, p), seconds(output, n), width)
    });
    let cells = prop::collection::vec(cell, 1..4);
    (models, verdicts, prop::bool::weighted(0.1), any::<bool>(), 1i64..2000, cells).prop_map(
        |(model, verdict, unused_gpu, served, cents, cells)| Made {
            model,
            verdict,
            unused_gpu,
            served,
            cents,
            cells,
        },
    )
}

fn measured(metric: Metric, cell: &Cell, value: f64, width: Option<f64>) -> Measurement {
    let ends = width.map(|width| [value * (1.0 - width), value * (1.0 + width)]);
    Measurement {
        ci95: ends.ok_or("one sample").into(),
        n: width.map_or(1, |_| 5),
        ..Measurement::new(metric, Known::new(cell.clone()), Known::new(value), "")
    }
}

/// The record as `bench run` or `bench import` would have sealed it.
fn sealed(made: &Made, catalog: &Catalog) -> Record {
    let mut record: Record = serde_json::from_str(REAL).expect("a record");
    record.model.catalog_id = made.model.map(str::to_owned).ok_or("none").into();
    record.environment.unused_gpu = made.unused_gpu.then(|| {
        UnusedGpu::new(
            Known::new("NVIDIA L4".to_owned()),
            "this build has no engine for it",
            "scripts/build-candle-cuda",
        )
    });
    record.validity = Validity::of(vec![Check {
        name: "made".to_owned(),
        verdict: made.verdict,
        evidence: "made".to_owned(),
    }]);
    record.measurements = Vec::new();
    for (prompt, output, batch, input_seconds, output_seconds, width) in &made.cells {
        let cell = |phase: Phase, prompt: u32, output: u32| Cell {
            prompt_tokens: prompt,
            output_tokens: output,
            batch: *batch,
            depth: 0,
            phase,
            requests_per_second: None,
        };
        let tokens = |count: u32| f64::from(count) * f64::from(*batch);
        let rates: Vec<(Metric, Cell, f64)> = if made.served {
            let cell = cell(Phase::Serving, *prompt, *output);
            let seconds = input_seconds + output_seconds;
            vec![
                (Metric::InputTokensPerSecond, cell.clone(), tokens(*prompt) / seconds),
                (Metric::OutputTokensPerSecond, cell.clone(), tokens(*output) / seconds),
                (Metric::TotalTokensPerSecond, cell.clone(), tokens(prompt + output) / seconds),
                (Metric::RequestsPerSecond, cell.clone(), f64::from(*batch) / seconds),
                (Metric::DurationSeconds, cell, 50.0),
            ]
        } else {
            let (prefill, decode) = (cell(Phase::Prefill, *prompt, 0), cell(Phase::Decode, 0, *output));
            vec![
                (Metric::PrefillTokensPerSecond, prefill, tokens(*prompt) / input_seconds),
                (Metric::DecodeTokensPerSecond, decode, tokens(*output) / output_seconds),
            ]
        };
        for (metric, cell, value) in rates {
            // One row is measured once, however many cells it is in.
            let there = |m: &Measurement| m.metric == metric && m.cell.as_ref() == Some(&cell);
            if !record.measurements.iter().any(there) {
                record.measurements.push(measured(metric, &cell, value, *width));
            }
        }
    }
    let price = given_price(Decimal::new(made.cents, 2));
    record.cost = assess(&record.measurements, Ok(price), Assumptions::default());
    fill_record(&mut record, &[], catalog, crate::base::clock::today()).expect("no API was named");
    record
}

fn parsed(args: &[&str]) -> Cli {
    Cli::try_parse_from(args).expect("a command line")
}

/// The verdict of `bench cost` and its words.
fn of_cost(record: &Record, more: &[&str], catalog: &Catalog) -> (Option<ApiVerdict>, Option<String>) {
    let cli = parsed(&[&["bench", "--json", "cost", "record.json"], more].concat());
    let Command::Cost(args) = cli.command else { panic!("another command") };
    let subject = Subject::of(record);
    let priced =
        cost::price_again(&args, catalog, "record.json".to_owned(), record, &subject).expect("priced");
    let json = priced.json(&args).expect("JSON");
    (
        priced.view.cost.verdict.clone().into_option(),
        json["cost"]["verdict"]["text"].as_str().map(str::to_owned),
    )
}

/// The verdict of `bench compare` and its words.
fn of_compare(record: &Record, more: &[&str], catalog: &Catalog) -> (Option<ApiVerdict>, Option<String>) {
    let cli = parsed(&[&["bench", "--json", "compare", "record.json"], more].concat());
    let output = Output::new(&cli.output);
    let Command::Compare(args) = cli.command else { panic!("another command") };
    let scenario = compare::scenario(&args, record, catalog).expect("a scenario");
    let path = std::path::Path::new("record.json");
    match compare::against_apis(&args, (path, record), &scenario, catalog, &output) {
        Ok(value) => {
            let verdict: Value = value["verdict"].clone();
            let text = verdict["text"].as_str().map(str::to_owned);
            (serde_json::from_value(verdict).expect("a verdict"), text)
        }
        Err(error) => {
            assert!(error.to_string().contains("has no cost to compare"), "{error}");
            (None, None)
        }
    }
}

/// What a run prints after the word, its lines joined.
fn printed(record: &Record, style: Style) -> String {
    let text = terminal::render(record, style);
    let from = text.split("Verdict ").nth(1).expect("a verdict").replace("\u{1b}[0m", "");
    let lines = from.lines().enumerate().take_while(|(at, line)| *at == 0 || line.starts_with("         "));
    lines.map(|(_, line)| line.trim()).collect::<Vec<_>>().join(" ")
}

/// The least that buys as much as the record's kind of service, by the rows that the record keeps.
fn rival(record: &Record) -> f64 {
    let served = record.cost.headline_cell.as_ref().is_some_and(|cell| cell.phase == Phase::Serving);
    let rows = record.cost.api_comparison.iter().filter(|api| api.same_model);
    let rows = rows.filter(|api| !served || api.tier == Tier::Standard);
    rows.map(|api| api.mix_usd_per_million).fold(f64::INFINITY, f64::min)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn run_cost_and_compare_say_the_same(made in made(), utilization in prop::sample::select(vec![100u32, 40, 7])) {
        let catalog = Catalog::bundled();
        let record = sealed(&made, &catalog);
        let run = record.cost.verdict.clone().into_option();
        let said = run.as_ref().map(|verdict| words(verdict).sentence());
        prop_assert_eq!(of_cost(&record, &[], &catalog), (run.clone(), said.clone()));
        prop_assert_eq!(of_compare(&record, &[], &catalog), (run.clone(), said.clone()));
        // As it is stored and read again, where a number may differ in its last digit.
        let text = serde_json::to_string(&record).expect("JSON");
        let read: Record = serde_json::from_str(&text).expect("a record");
        let kept = |record: &Record| {
            let verdict = record.cost.verdict.as_ref()?;
            Some((verdict.answer, verdict.doubts.clone(), verdict.api.clone(), verdict.tier))
        };
        prop_assert_eq!(kept(&read), kept(&record));
        for (read, sealed) in read.cost.verdict.iter().zip(&run) {
            let [read, sealed] = [read, sealed].map(|found| found.here_usd_per_million.value / found.api_usd_per_million);
            prop_assert!((read / sealed - 1.0).abs() < 1e-12);
        }

        let share = format!("{utilization}%");
        for more in [
            &["--utilization", &share][..],
            &["--api", "openai/gpt-4o-mini,llama-3.1-8b", "--cached", "30%"],
            &["--purchase", "30000", "--years", "3", "--watts", "700", "--utilization", &share],
        ] {
            prop_assert_eq!(of_cost(&record, more, &catalog), of_compare(&record, more, &catalog), "{:?}", more);
        }

        let Some(verdict) = run else {
            prop_assert!(record.cost.headline_cell.is_none() && record.cost.verdict.reason().is_some());
            return Ok(());
        };
        let said = words(&verdict);
        prop_assert_eq!(printed(&record, Style::new(false)), format!("{} {}", said.head, said.rest));
        prop_assert!(said.sentence().contains("100% busy"), "{}", said.sentence());
        let green = terminal::render(&record, Style::new(true)).lines().any(|line| {
            line.contains("\u{1b}[32m") && (line.contains("Verdict") || line.contains("cheaper here"))
        });
        let believed = made.verdict == Verdict::Valid && !made.unused_gpu && verdict.same_model;
        prop_assert_eq!(green, verdict.answer == Answer::Cheaper);
        match (verdict.answer, verdict.here_usd_per_million.ci95) {
            (Answer::Cheaper, Some([_, high])) => prop_assert!(believed && high < rival(&record)),
            (Answer::Dearer, Some([low, _])) => prop_assert!(believed && low > rival(&record)),
            (Answer::NotToldApart, Some([low, high])) => {
                prop_assert!(believed && low <= rival(&record) && rival(&record) <= high);
            }
            (Answer::NoVerdict, ci95) => {
                prop_assert!(!believed || ci95.is_none());
                prop_assert!(verdict.ratio.is_none() && !said.head.contains('×') && !said.rest.contains('×'));
            }
            other => prop_assert!(false, "{:?}", other),
        }
        // The head is of a cell with an interval where there is one.
        let bare = |cell: &crate::record::CostCell| {
            crate::cost::mix(cell).is_none_or(|figure| figure.ci95.is_none())
        };
        if record.cost.cells.iter().any(|cell| !bare(cell)) {
            prop_assert!(verdict.here_usd_per_million.ci95.is_some());
        }
    }
}
