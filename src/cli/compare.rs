//! `bench compare RECORD`: against API prices; `bench compare RECORD RECORD…`: the first against each other one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::cost::{days, head, open_all, say};
use super::hour::{HourArgs, hour, record_price};
use super::values::{Form, number, share};
use super::{Output, exit, usage};
use crate::base::{clock, text};
use crate::catalog::Catalog;
use crate::cost::assumption::Chosen;
use crate::cost::compare_api::{self, Asked, Counted, Subject};
use crate::cost::compare_records::{self, Side, Slower};
use crate::cost::{self, Scenario};
use crate::model::tokenizer::Tokenizer;
use crate::record::{self, Record};
use crate::report::{markdown, terminal};

/// Level of a proven slowdown, over all figures of a comparison together.
const SLOWDOWN: f64 = 0.05;

/// `bench compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// One record is compared with API prices; with several, or a folder, the first is compared with each of the others
    #[arg(value_name = "RECORD")]
    records: Vec<PathBuf>,
    #[command(flatten)]
    hour: HourArgs,
    /// API to compare with, besides the hosts of the same model: `provider/model`, or a model for all its hosts;
    /// repeatable
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = "Against APIs")]
    api: Vec<String>,
    /// Input tokens per output token [default: the workload's own]
    #[arg(long, value_name = "RATIO", value_parser = number::blend, allow_hyphen_values = true, help_heading = "Against APIs")]
    mix: Option<f64>,
    /// Share of the time the engine is busy [default: 100%]
    #[arg(long, value_name = "SHARE", value_parser = share::above_zero, allow_hyphen_values = true, help_heading = "Against APIs")]
    utilization: Option<f64>,
    /// Share of prompt tokens found in the prefix cache, here and at the API [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share::from_zero, allow_hyphen_values = true, help_heading = "Against APIs")]
    cached: Option<f64>,
    /// Cost of a cached prompt token here, as a share of a computed one [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share::from_zero, requires = "cached", allow_hyphen_values = true, help_heading = "Against APIs")]
    cached_cost_share: Option<f64>,
    /// Tokens to serve per month, `20M`, `2.5B`: shows how many machines that takes and what each option costs
    #[arg(long, value_name = "N", value_parser = number::tokens, allow_hyphen_values = true, help_heading = "Against APIs")]
    tokens_per_month: Option<f64>,
    /// Input tokens per month, `40M`; with --output-per-month, instead of --tokens-per-month and --mix
    #[arg(long, value_name = "N", value_parser = number::tokens, requires = "output_per_month", conflicts_with_all = ["tokens_per_month", "mix"], allow_hyphen_values = true, help_heading = "Against APIs")]
    input_per_month: Option<f64>,
    /// Output tokens per month
    #[arg(long, value_name = "N", value_parser = number::tokens, requires = "input_per_month", conflicts_with_all = ["tokens_per_month", "mix"], allow_hyphen_values = true, help_heading = "Against APIs")]
    output_per_month: Option<f64>,
    /// A text from your task, to count tokens with both tokenizers
    #[arg(
        long,
        value_name = "FILE",
        requires = "tokenizer",
        requires = "api_tokenizer",
        help_heading = "Against APIs"
    )]
    text: Option<PathBuf>,
    /// The record's tokenizer: tokenizer.json, or a GGUF file with its vocabulary
    #[arg(long, value_name = "FILE", requires = "text", help_heading = "Against APIs")]
    tokenizer: Option<PathBuf>,
    /// The tokenizer of the API's model
    #[arg(long, value_name = "FILE", requires = "text", help_heading = "Against APIs")]
    api_tokenizer: Option<PathBuf>,

    /// Compare records even if they differ in this field (`gpu`, `engine`, `quantization` …); repeatable
    #[arg(long, value_name = "FIELD", value_delimiter = ',', help_heading = "Against records")]
    across: Vec<String>,
    /// Exit with 10 if a record after the first is proven slower in a rate, time or energy (at most 5% chance of a false
    /// alarm over all figures), with 11 if no figure has an interval. Anything that changed between the runs counts, not only
    /// the program; `bench regress gate` excludes that
    #[arg(long, help_heading = "Against records")]
    fail_on_slowdown: bool,
    /// Refuse prices last seen longer ago than this
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32), allow_hyphen_values = true)]
    max_age: Option<u32>,
    /// Compare even records whose figures are invalid
    #[arg(long)]
    allow_invalid: bool,
    /// Print Markdown or JSON instead of text
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<Form>,
}

/// What is said to `bench compare` without a record.
const NO_RECORD: &str = "name a record, or two; without one, `bench cost --model NAME --input-per-month N --output-per-month N` says what each API bills, and `bench catalog prices NAME` lists prices";

pub(super) fn run(args: &CompareArgs, catalog: &Catalog, output: &Output) -> anyhow::Result<()> {
    let output = &output.in_form(args.output)?;
    if args.records.is_empty() {
        return Err(usage("RECORD", NO_RECORD));
    }
    if args.hour.price_per_hour.len() > 1 {
        return Err(usage("--price-per-hour", "one price is compared at a time"));
    }
    let (paths, records): (Vec<PathBuf>, Vec<Record>) =
        open_all(&args.records, args.allow_invalid, output)?.into_iter().unzip();
    let scenarios = records
        .iter()
        .map(|record| scenario(args, record, catalog))
        .collect::<anyhow::Result<Vec<Scenario>>>()?;
    let (value, judged) = match &records[..] {
        [record] => (against_apis(args, (&paths[0], record), &scenarios[0], catalog, output)?, None),
        _ => against_records(args, (&paths, &records), &scenarios, output)?,
    };
    if output.json {
        output.stdout(&(record::write::to_json(&value)? + "\n"))?;
    }
    match judged {
        Some(judged) if args.fail_on_slowdown => ended(&judged, output),
        _ => Ok(()),
    }
}

/// What several records say about a slowdown.
struct Judged {
    slower: Vec<Slower>,
    /// Whether no record is suspect or invalid.
    trusted: bool,
}

/// The exit code of what was proven, with a sentence.
fn ended(Judged { slower, trusted }: &Judged, output: &Output) -> anyhow::Result<()> {
    let proven: Vec<&str> = slower.iter().flat_map(|found| &found.proven).map(String::as_str).collect();
    if !proven.is_empty() {
        let how =
            if *trusted { "proven at 5%" } else { "at 5%, if the figures of suspect records are right" };
        output.note(&format!("slower, {how}: {}", proven.join(", ")));
        return Err(exit::Silent(10).into());
    }
    if slower.iter().any(|found| found.judged == 0) {
        output.note("inconclusive: no rate, time or energy has an interval in both records");
        return Err(exit::Silent(11).into());
    }
    output.note("no slowdown is proven");
    Ok(())
}

pub(super) fn scenario(args: &CompareArgs, record: &Record, catalog: &Catalog) -> anyhow::Result<Scenario> {
    let kwh = cost::kwh_price(args.hour.electricity(), catalog)?;
    let rent = record_price(&args.hour, record);
    if !args.hour.owned()
        && let (Ok(price), true) = (&rent.value, args.hour.price_per_hour.is_empty())
    {
        cost::check_age("the hourly price", price.observed.as_deref(), days(args.max_age), clock::today())?;
    }
    let mut scenario = hour(&args.hour, rent, &kwh, Some(record))?;
    scenario.utilization = Chosen::flag(args.utilization, "--utilization", 1.0, "as measured: always busy");
    scenario.cached_share =
        Chosen::flag(args.cached, "--cached", 0.0, "prompts were measured without a cache");
    scenario.cached_cost_share = Chosen::flag(
        args.cached_cost_share,
        "--cached-cost-share",
        0.0,
        "fetching from the cache counted as free",
    );
    Ok(scenario)
}

pub(super) fn against_apis(
    args: &CompareArgs,
    (path, record): (&Path, &Record),
    scenario: &Scenario,
    catalog: &Catalog,
    output: &Output,
) -> anyhow::Result<Value> {
    for (given, flag) in
        [(!args.across.is_empty(), "--across"), (args.fail_on_slowdown, "--fail-on-slowdown")]
    {
        if given {
            return Err(usage(flag, "it needs two or more records"));
        }
    }
    let counted = match (&args.text, &args.tokenizer, &args.api_tokenizer) {
        (Some(text), Some(own), Some(api)) => Some(count(text, own, api, &args.api)?),
        _ => None,
    };
    // A month's tokens by kind are their sum, at their mix.
    let month = args.input_per_month.zip(args.output_per_month);
    let asked = Asked {
        named: &args.api,
        mix: args.mix.or_else(|| month.map(|(input, output)| input / output)),
        tokens_per_month: args.tokens_per_month.or_else(|| month.map(|(input, output)| input + output)),
        counted: counted.as_ref(),
        max_age_days: days(args.max_age),
        today: clock::today(),
    };
    let priced = scenario.assess(&record.measurements);
    let view = compare_api::compare(&Subject::of(record), &priced, scenario, &asked, catalog)?;
    if args.output == Some(Form::Md) {
        output.stdout(&markdown::against_apis(record, &view))?;
    } else if !output.json {
        output.human(&terminal::render_compare_api(record, &view, output.human_style()))?;
        output.human(&terminal::render_doubts(record, output.human_style()))?;
    }
    let mut value = head(&text::path(path), record);
    if let (Some(object), Value::Object(fields)) = (value.as_object_mut(), serde_json::to_value(&view)?) {
        object.extend(fields);
    }
    say(value.pointer_mut("/verdict"), view.verdict.as_ref());
    say(value.pointer_mut("/verdict_at_utilization"), view.verdict_at_utilization.as_ref());
    Ok(value)
}

/// One text in the tokens of both models; a tokenizer is one model's, so the APIs named must sell one.
fn count(text: &Path, own: &Path, api: &Path, named: &[String]) -> anyhow::Result<Counted> {
    let mut models: Vec<&str> = named.iter().map(|id| id.rsplit('/').next().unwrap_or(id)).collect();
    models.dedup();
    if models.len() != 1 {
        return Err(usage(
            "--api-tokenizer",
            "it belongs to one model: name the API, or several that sell that model, with --api",
        ));
    }
    let read = fs::read_to_string(text).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => anyhow::Error::from(crate::model::Error::Missing {
            what: text.display().to_string(),
            reason: "name a file with a text of your task".to_owned(),
        }),
        _ => source.into(),
    });
    let read = read.with_context(|| format!("--text {}", text.display()))?;
    let tokens = |path: &Path| -> anyhow::Result<u64> {
        Ok(Tokenizer::from_file(path)?.encode(&read, false)?.len() as u64)
    };
    let counted = Counted {
        characters: read.chars().count() as u64,
        own_tokens: tokens(own)?,
        api_tokens: tokens(api)?,
    };
    if counted.own_tokens == 0 || counted.api_tokens == 0 {
        return Err(usage("--text", "the file has no text to count"));
    }
    Ok(counted)
}

fn against_records(
    args: &CompareArgs,
    (paths, records): (&[PathBuf], &[Record]),
    scenarios: &[Scenario],
    output: &Output,
) -> anyhow::Result<(Value, Option<Judged>)> {
    for (given, flag) in [
        (!args.api.is_empty(), "--api"),
        (args.mix.is_some(), "--mix"),
        (args.tokens_per_month.is_some(), "--tokens-per-month"),
        (args.input_per_month.is_some(), "--input-per-month"),
        (args.text.is_some(), "--text"),
    ] {
        if given {
            return Err(usage(flag, "it compares one record with APIs; give a single record"));
        }
    }
    let costs: Vec<record::Cost> = records
        .iter()
        .zip(scenarios)
        .map(|(record, scenario)| scenario.assess(&record.measurements))
        .collect();
    let sides: Vec<Side<'_>> =
        records.iter().zip(&costs).map(|(record, cost)| Side { record, cost }).collect();
    let mut comparisons = Vec::new();
    for other in &sides[1..] {
        let comparison = compare_records::compare(sides[0], *other, &args.across)?;
        if args.output == Some(Form::Md) {
            output.stdout(&markdown::against_record(sides[0].record, other.record, &comparison))?;
        } else if !output.json {
            let style = output.human_style();
            output.human(&terminal::render_compare_records(
                sides[0].record,
                other.record,
                &comparison,
                style,
            ))?;
        }
        comparisons.push(comparison);
    }
    if !output.json && args.output != Some(Form::Md) {
        for (path, record) in paths.iter().zip(records) {
            let doubts = terminal::render_doubts(record, output.human_style());
            if !doubts.is_empty() {
                output.human(&format!("{}\n{doubts}", text::path(path)))?;
            }
        }
    }
    let slower = comparisons.iter().map(|comparison| compare_records::slower(comparison, SLOWDOWN)).collect();
    let trusted = comparisons.iter().all(|comparison| comparison.doubts.is_empty());
    Ok((json!({ "comparisons": comparisons }), Some(Judged { slower, trusted })))
}
