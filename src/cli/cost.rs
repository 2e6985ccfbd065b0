//! `bench cost RECORD…`: prices records again, as a new view that never edits them. `without_record` answers what needs
//! none.

mod without_record;

use std::path::{Path, PathBuf};

use clap::Args;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde_json::{Value, json};

use super::hour::{HourArgs, hour, record_price};
use super::values::{Form, money, number, share};
use super::{Output, exit, usage};
use crate::base::known::Known;
use crate::base::{clock, text};
use crate::catalog::Catalog;
use crate::cost::assumption::{Chosen, Origin};
use crate::cost::compare_api::{self, NOT_CACHED, Row, Subject};
use crate::cost::margin::Selling;
use crate::cost::scenario::{Basis, Scenario};
use crate::cost::view::{Asked, View, view};
use crate::cost::{self, KwhPrice};
use crate::record::{self, Measurement, Price, Record, Verdict};
use crate::report::{self, PricedRow, markdown, terminal};

/// `bench cost`.
#[derive(Debug, Args)]
pub(super) struct CostArgs {
    /// Records to price, or folders of them; leave out with --target, --tokens-per-second or --input-per-month
    #[arg(value_name = "RECORD")]
    records: Vec<PathBuf>,
    #[command(flatten)]
    hour: HourArgs,
    /// Share of the time the engine is busy [default: 100%]
    #[arg(long, value_name = "SHARE", value_parser = share::above_zero, allow_hyphen_values = true, help_heading = "Load and mix")]
    utilization: Option<f64>,
    /// Input tokens per output token in the blended figure [default: 3:1]
    #[arg(long, value_name = "RATIO", value_parser = number::blend, allow_hyphen_values = true, help_heading = "Load and mix")]
    blend: Option<f64>,
    /// Share of prompt tokens found in the prefix cache [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share::from_zero, allow_hyphen_values = true, help_heading = "Load and mix")]
    cached: Option<f64>,
    /// Cost of a cached prompt token, as a share of a computed one [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share::from_zero, requires = "cached", allow_hyphen_values = true, help_heading = "Load and mix")]
    cached_cost_share: Option<f64>,
    /// Split a server's total into input and output at this price ratio of output to input; an allocation, not a
    /// measurement
    #[arg(long, value_name = "RATIO", value_parser = number::above_zero, allow_hyphen_values = true, help_heading = "Load and mix")]
    price_ratio: Option<f64>,
    /// Treat the records as runs of one server with different input:output ratios
    #[arg(long, help_heading = "Load and mix")]
    together: bool,

    /// Gross margin at this selling price, USD per million tokens, `0.60` or `INPUT,OUTPUT`
    #[arg(long, value_name = "USD", value_parser = money::selling, allow_hyphen_values = true, help_heading = "Questions")]
    sell: Option<Selling>,
    /// Selling price for this gross margin
    #[arg(long, value_name = "SHARE", value_parser = share::margin, allow_hyphen_values = true, help_heading = "Questions")]
    margin: Option<f64>,
    /// Tokens per second needed for this price per million
    #[arg(long, value_name = "USD", value_parser = money::usd_above_zero, allow_hyphen_values = true, help_heading = "Questions")]
    target: Option<Decimal>,
    /// Price a published speed, without a record
    #[arg(long, value_name = "X", value_parser = number::above_zero, conflicts_with = "records", allow_hyphen_values = true, help_heading = "Questions")]
    tokens_per_second: Option<f64>,
    /// API to compare with, besides those that serve this model: `provider/model`, or a model for all its hosts;
    /// repeatable
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = "Questions")]
    api: Vec<String>,
    /// Input tokens per month, `40M`: shows what each API bills; without a record
    #[arg(long, value_name = "N", value_parser = number::tokens, requires = "output_per_month", allow_hyphen_values = true, help_heading = "A month")]
    input_per_month: Option<f64>,
    /// Output tokens per month
    #[arg(long, value_name = "N", value_parser = number::tokens, requires = "input_per_month", allow_hyphen_values = true, help_heading = "A month")]
    output_per_month: Option<f64>,
    /// The model to buy: a catalog id, or its name at APIs
    #[arg(long, value_name = "NAME", help_heading = "A month")]
    model: Option<String>,
    /// Without a record: the catalog's rent for this GPU, for --target, --tokens-per-second, or the tokens/s that beat each
    /// bill
    #[arg(long, value_name = "ID", conflicts_with_all = ["price_per_hour", "purchase"], help_heading = "Hourly price")]
    gpu: Option<String>,
    /// Refuse prices last seen longer ago than this
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32), allow_hyphen_values = true, help_heading = "Questions")]
    max_age: Option<u32>,
    /// Price even records whose figures are invalid
    #[arg(long, help_heading = "Questions")]
    allow_invalid: bool,
    /// Print Markdown or JSON instead of text
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<Form>,
}

pub(super) fn run(args: &CostArgs, catalog: &Catalog, output: &Output) -> anyhow::Result<()> {
    let output = &output.in_form(args.output)?;
    if args.records.is_empty() {
        return without_record::answer(args, catalog, output);
    }
    if args.hour.price_per_hour.len() > 1 {
        return Err(usage(
            "--price-per-hour",
            "a list of prices works only without a record; with a record, give one price",
        ));
    }
    for (given, flag, instead) in [
        (args.input_per_month.is_some(), "--input-per-month", "for a record, use `bench compare RECORD`"),
        (args.model.is_some(), "--model", "the record names its model"),
        (args.gpu.is_some(), "--gpu", "the record names its GPU; --price-per-hour gives another price"),
    ] {
        if given {
            return Err(usage(flag, &format!("it works only without a record: {instead}")));
        }
    }
    let records = open_all(&args.records, args.allow_invalid, output)?;
    let mut priced = Vec::new();
    if args.together {
        let all: Vec<&Record> = records.iter().map(|(_, record)| record).collect();
        cost::compare_records::same_but_workload(&all)?;
        let measurements: Vec<Measurement> =
            all.iter().flat_map(|record| record.measurements.iter().cloned()).collect();
        let (path, first) = &records[0];
        let label = match records.len() - 1 {
            0 => text::path(path),
            more => format!("{} and {more} more", text::path(path)),
        };
        priced.push(price_again(
            args,
            catalog,
            label,
            first,
            &Subject::together(first, &all, &measurements),
        )?);
    } else {
        for (path, record) in &records {
            let label = text::path(path);
            priced.push(price_again(args, catalog, label, record, &Subject::of(record))?);
        }
    }
    if output.json {
        let views = priced.iter().map(|priced| priced.json(args)).collect::<serde_json::Result<Vec<_>>>()?;
        return output.stdout(&(record::write::to_json(&json!({ "records": views }))? + "\n"));
    }
    let rows: Vec<PricedRow<'_>> = priced
        .iter()
        .map(|priced| PricedRow { label: &priced.label, record: priced.record, view: &priced.view })
        .collect();
    if args.output == Some(Form::Md) {
        return output.stdout(&markdown::cost(&rows));
    }
    let asked = args.sell.is_some() || args.margin.is_some() || args.target.is_some();
    if rows.len() > 1 && !asked && output.verbose == 0 {
        return output.human(&terminal::render_priced(&rows, output.human_style()));
    }
    for row in &rows {
        let style = output.human_style();
        let head = format!("{} · {}", row.record.model.label(), row.label);
        output.human(&format!("{}\n", style.strong(&head)))?;
        output.human(&terminal::render_caveats(row.record, style))?;
        output.human(&terminal::render_cost(&row.view.cost, style))?;
        output.human(&terminal::render_cost_view(row.view, style))?;
        output.human(&terminal::render_doubts(row.record, style))?;
    }
    Ok(())
}

/// One record priced again, or several together.
pub(super) struct Priced<'a> {
    label: String,
    record: &'a Record,
    pub(super) view: View,
}

impl Priced<'_> {
    pub(super) fn json(&self, args: &CostArgs) -> serde_json::Result<Value> {
        let paths = if args.together {
            json!(args.records.iter().map(|path| text::path(path)).collect::<Vec<_>>())
        } else {
            Value::Null
        };
        let mut object = as_json(&self.label, self.record, &self.view, paths)?;
        say(object.pointer_mut("/cost/verdict"), self.view.cost.verdict.as_ref());
        Ok(object)
    }
}

/// Prices `measurements`, which `record` represents.
pub(super) fn price_again<'a>(
    args: &CostArgs,
    catalog: &Catalog,
    label: String,
    record: &'a Record,
    subject: &Subject<'_>,
) -> anyhow::Result<Priced<'a>> {
    let measurements = subject.measurements();
    let today = clock::today();
    let kwh = cost::kwh_price(args.hour.electricity(), catalog)?;
    let scenario = scenario(args, record_price(&args.hour, record), &kwh, Some(record))?;
    if let Basis::Rent(Chosen { value: Ok(price), origin: Origin::Record, .. }) = &scenario.basis {
        cost::check_age("the hourly price", price.observed.as_deref(), days(args.max_age), today)?;
    }
    let target = args.target.and_then(|usd| usd.to_f64());
    let mut view =
        view(measurements, &scenario, Asked { sell: args.sell, margin: args.margin, target }, catalog);
    if matches!(scenario.basis, Basis::Rent(_)) {
        cost::electricity_at(&mut view.cost, measurements, &kwh, args.hour.pue());
    } else {
        view.cost.electricity = Known::unknown("included in the price of the owned machine's hour");
    }
    let asked = compare_api::Asked::own_mix(&args.api, days(args.max_age), today);
    let against = compare_api::fill(&mut view.cost, subject, &scenario, &asked, catalog)?;
    let uncached = |row: &&Row| row.notes.iter().any(|note| note == NOT_CACHED);
    let rows = against.iter().flat_map(|against| &against.rows);
    let uncached: Vec<&str> = rows.filter(uncached).map(|row| row.api.as_str()).collect();
    if !uncached.is_empty() {
        view.notes.push(format!("{NOT_CACHED} ({})", uncached.join(", ")));
    }
    Ok(Priced { label, record, view })
}

/// What begins every object about one record.
pub(super) fn head(label: &str, record: &Record) -> Value {
    let not_checked: Vec<&str> = record.validity.unmade().map(|check| check.name.as_str()).collect();
    json!({
        "record": label,
        "id": record.id,
        "model": record.model.id,
        "validity": record.validity.verdict,
        "not_checked": not_checked,
    })
}

/// Puts a verdict's words next to its figures.
pub(super) fn say(object: Option<&mut Value>, verdict: Option<&cost::verdict::Verdict>) {
    if let (Some(Value::Object(object)), Some(verdict)) = (object, verdict) {
        object.insert("text".to_owned(), report::verdict::words(verdict).sentence().into());
    }
}

fn as_json(label: &str, record: &Record, view: &View, together: Value) -> serde_json::Result<Value> {
    let mut object = head(label, record);
    let fields = serde_json::to_value(view)?;
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        if !together.is_null() {
            object.insert("together".to_owned(), together);
        }
        object.extend(fields);
    }
    Ok(object)
}

/// Reads the records that files and folders name, each once, and refuses an invalid one.
pub(super) fn open_all(
    paths: &[PathBuf],
    allow_invalid: bool,
    output: &Output,
) -> anyhow::Result<Vec<(PathBuf, Record)>> {
    let found = record::several::read_all(paths)?;
    for note in &found.notes {
        output.note(note);
    }
    let mut taken = Vec::new();
    let mut refused = Vec::new();
    for (path, record) in found.records {
        match valid(&path, &record, allow_invalid) {
            Ok(()) => taken.push((path, record)),
            // In a folder it is one among others; a record that was named was meant.
            Err(error) if !paths.contains(&path) => refused.push(error),
            Err(error) => return Err(error),
        }
    }
    if taken.is_empty()
        && let Some(error) = refused.pop()
    {
        return Err(error);
    }
    for error in refused {
        output.note(&format!("left out: {error}"));
    }
    Ok(taken)
}

/// Refuses an invalid record.
fn valid(path: &Path, record: &Record, allow_invalid: bool) -> anyhow::Result<()> {
    if record.validity.verdict == Verdict::Invalid && !allow_invalid {
        let failed = record.validity.checks.iter().filter(|check| check.verdict == Verdict::Invalid);
        return Err(exit::Invalid(format!(
            "{} is invalid ({}); --allow-invalid prices it anyway",
            text::path(path),
            failed.map(|check| check.name.as_str()).collect::<Vec<_>>().join(", ")
        ))
        .into());
    }
    Ok(())
}

/// Everything that prices, from the flags; a rent only when nothing was bought.
fn scenario(
    args: &CostArgs,
    rent: Chosen<Result<Price, String>>,
    kwh: &KwhPrice,
    record: Option<&Record>,
) -> anyhow::Result<Scenario> {
    let mut scenario = hour(&args.hour, rent, kwh, record)?;
    let whole = "as measured: always busy";
    scenario.utilization = Chosen::flag(args.utilization, "--utilization", 1.0, whole);
    scenario.blend_ratio = Chosen::flag(args.blend, "--blend", 3.0, "the ratio that price trackers use");
    scenario.cached_share =
        Chosen::flag(args.cached, "--cached", 0.0, "prompts were measured without a cache");
    scenario.cached_cost_share = Chosen::flag(
        args.cached_cost_share,
        "--cached-cost-share",
        0.0,
        "fetching from the cache counted as free",
    );
    scenario.price_ratio = args.price_ratio;
    Ok(scenario)
}

/// `--max-age` in days.
pub(super) fn days(max_age: Option<u32>) -> Option<i64> {
    max_age.map(i64::from)
}
