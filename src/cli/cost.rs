//! `bench cost RECORD…`: prices records again, a new view and never an edit; and, without a record, the speed
//! that a cost needs or the cost of a published speed.

use std::path::{Path, PathBuf};

use clap::Args;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde_json::{Value, json};

use super::args::{blend, share};
use super::hour::{HourArgs, hour, record_price, usage};
use super::{Output, exit, flags};
use crate::base::text;
use crate::catalog::Catalog;
use crate::cost::assumption::{Chosen, Origin};
use crate::cost::margin::Selling;
use crate::cost::scenario::{Basis, Scenario};
use crate::cost::target::{HourView, published, target};
use crate::cost::view::{Asked, View, view};
use crate::cost::{self, KwhPrice};
use crate::record::{self, ApiComparison, Measurement, Price, Record, Verdict};
use crate::report::terminal;

/// `bench cost`.
#[derive(Debug, Args)]
pub(super) struct CostArgs {
    /// Records to price, or folders of them; none with --target or --tokens-per-second
    #[arg(required_unless_present_any = ["target", "tokens_per_second"], value_name = "RECORD")]
    records: Vec<PathBuf>,
    #[command(flatten)]
    hour: HourArgs,
    /// Share of the hour in which the engine is busy [default: 100%]
    #[arg(long, value_name = "SHARE", value_parser = share, allow_hyphen_values = true, help_heading = "Use")]
    utilization: Option<f64>,
    /// Input tokens for each output token in the blended figure [default: 3:1]
    #[arg(long, value_name = "RATIO", value_parser = blend, allow_hyphen_values = true, help_heading = "Use")]
    blend: Option<f64>,
    /// Share of the prompt tokens that are found in the prefix cache [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = flags::share_or_none, allow_hyphen_values = true, help_heading = "Use")]
    cached: Option<f64>,
    /// What a cached prompt token takes, as a share of a computed one [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = flags::share_or_none, requires = "cached", allow_hyphen_values = true, help_heading = "Use")]
    cached_cost_share: Option<f64>,
    /// Share out the totals of a server that cannot be told apart, at this price of output over input: allocated,
    /// not measured
    #[arg(long, value_name = "RATIO", value_parser = flags::above_zero, allow_hyphen_values = true, help_heading = "Use")]
    price_ratio: Option<f64>,
    /// Take the records as one: a server's runs of different input:output ratio
    #[arg(long, help_heading = "Use")]
    together: bool,

    /// Gross margin at this selling price, USD per million tokens, `0.60` or `INPUT,OUTPUT`
    #[arg(long, value_name = "USD", value_parser = flags::selling, allow_hyphen_values = true, help_heading = "Questions")]
    sell: Option<Selling>,
    /// The selling price that leaves this gross margin
    #[arg(long, value_name = "SHARE", value_parser = flags::margin, allow_hyphen_values = true, help_heading = "Questions")]
    margin: Option<f64>,
    /// Tokens per second that make a million cost this
    #[arg(long, value_name = "USD", value_parser = flags::usd_above_zero, allow_hyphen_values = true, help_heading = "Questions")]
    target: Option<Decimal>,
    /// What a published speed costs, without a record
    #[arg(long, value_name = "X", value_parser = flags::above_zero, conflicts_with = "records", allow_hyphen_values = true, help_heading = "Questions")]
    tokens_per_second: Option<f64>,
    /// API to compare with, `provider/model`; may be given again [default: those that serve this model]
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = "Questions")]
    api: Vec<String>,
    /// Refuse prices that were seen longer ago
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32), allow_hyphen_values = true, help_heading = "Questions")]
    max_age: Option<u32>,
    /// Price a record whose figures are invalid, too
    #[arg(long, help_heading = "Questions")]
    allow_invalid: bool,
}

pub(super) fn run(args: &CostArgs, catalog: &Catalog, output: &Output) -> anyhow::Result<()> {
    if args.records.is_empty() {
        return without_record(args, catalog, output);
    }
    if args.hour.price_per_hour.len() > 1 {
        return Err(usage(
            "--price-per-hour",
            "several prices need no record; give one of them with a record",
        ));
    }
    let records = open_all(&args.records, args.allow_invalid, output)?;
    let mut views = Vec::new();
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
        views.push(priced(args, catalog, output, (&label, first), &measurements)?);
    } else {
        for (path, record) in &records {
            let label = text::path(path);
            views.push(priced(args, catalog, output, (&label, record), &record.measurements)?);
        }
    }
    if output.json {
        output.stdout(&(record::write::to_json(&json!({ "records": views }))? + "\n"))?;
    }
    Ok(())
}

/// One view of one record, or of several together; prints it unless it is for a machine.
fn priced(
    args: &CostArgs,
    catalog: &Catalog,
    output: &Output,
    (label, record): (&str, &Record),
    measurements: &[Measurement],
) -> anyhow::Result<Value> {
    let today = super::today();
    let kwh = cost::kwh_price(args.hour.electricity(), catalog)?;
    let scenario = scenario(args, record_price(&args.hour, record), &kwh, Some(record))?;
    if let Basis::Rent(Chosen { value: Ok(price), origin: Origin::Record, .. }) = &scenario.basis {
        cost::check_age("the price of the hour", price.observed.as_deref(), days(args.max_age), today)?;
    }
    let target = args.target.and_then(|usd| usd.to_f64());
    let mut view =
        view(measurements, &scenario, Asked { sell: args.sell, margin: args.margin, target }, catalog);
    if matches!(scenario.basis, Basis::Rent(_)) {
        cost::electricity_at(&mut view.cost, measurements, &kwh, args.hour.pue());
    } else {
        view.cost.electricity_reason = Some("an owned machine's electricity is in its hour".to_owned());
    }
    let cached = scenario.cached_share.value;
    let model = record.model.catalog_id.as_deref();
    cost::api_comparison(&mut view.cost, model, &args.api, cached, catalog, today)?;
    let uncached =
        |api: &&ApiComparison| catalog.api(&api.api).is_ok_and(|row| row.cached_input_usd_per_mtok.is_none());
    let uncached = view.cost.api_comparison.iter().filter(uncached).map(|api| api.api.as_str());
    let uncached: Vec<&str> = uncached.collect();
    if cached > 0.0 && !uncached.is_empty() {
        let names = uncached.join(", ");
        view.notes.push(format!("no price of cached input is known: taken as not cached ({names})"));
    }
    for api in &view.cost.api_comparison {
        let what = format!("the price of {}", api.api);
        cost::check_age(&what, Some(&api.observed), days(args.max_age), today)?;
    }
    if !output.json {
        let style = output.human_style();
        let head = format!("{} · {label}", record.model.label());
        output.human(&format!("{}\n", style.strong(&head)))?;
        output.human(&terminal::render_caveats(record, style))?;
        output.human(&terminal::render_cost(&view.cost, style))?;
        output.human(&terminal::render_cost_view(&view, style))?;
        output.human(&terminal::render_doubts(record, style))?;
    }
    let paths = if args.together {
        json!(args.records.iter().map(|path| text::path(path)).collect::<Vec<_>>())
    } else {
        Value::Null
    };
    Ok(as_json(label, record, &view, paths)?)
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
    for (path, record) in &found.records {
        valid(path, record, allow_invalid)?;
    }
    Ok(found.records)
}

/// Refuses an invalid record.
fn valid(path: &Path, record: &Record, allow_invalid: bool) -> anyhow::Result<()> {
    if record.validity.verdict == Verdict::Invalid && !allow_invalid {
        let failed = record.validity.checks.iter().filter(|check| check.verdict == Verdict::Invalid);
        return Err(exit::Invalid(format!(
            "{} is invalid ({}), so its figures are of something else; --allow-invalid takes it all the same",
            path.display(),
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
        "fetching from the cache called free",
    );
    scenario.price_ratio = args.price_ratio;
    Ok(scenario)
}

/// `--target` and `--tokens-per-second` at each price of the hour.
fn without_record(args: &CostArgs, catalog: &Catalog, output: &Output) -> anyhow::Result<()> {
    for (given, flag) in [
        (args.sell.is_some(), "--sell"),
        (args.margin.is_some(), "--margin"),
        (args.together, "--together"),
        (args.cached.is_some(), "--cached"),
        (args.price_ratio.is_some(), "--price-ratio"),
    ] {
        if given {
            return Err(usage(flag, "it needs a record, whose tokens it is about"));
        }
    }
    let kwh = cost::kwh_price(args.hour.electricity(), catalog)?;
    let undrawn = args.hour.owned() && !args.hour.says_watts();
    let prices: Vec<Option<Decimal>> = match args.hour.price_per_hour.len() {
        0 => vec![None],
        _ => args.hour.price_per_hour.iter().copied().map(Some).collect(),
    };
    let mut hours = Vec::new();
    for usd in prices {
        let none = || {
            "there is no record with a price; give --price-per-hour USD, or --purchase USD --years N"
                .to_owned()
        };
        let rent = Chosen::flag(
            Some(usd.map(cost::given_price).ok_or_else(none)),
            "--price-per-hour",
            Err(none()),
            "",
        );
        let scenario = scenario(args, rent, &kwh, None)?;
        let price = scenario.hour().price.map_err(|reason| usage("--price-per-hour", &reason))?;
        let hour = price.usd_per_hour.to_f64().unwrap_or(f64::NAN);
        let busy = scenario.utilization.value;
        let notes: Vec<&str> = undrawn
            .then_some("electricity is not in it: without a record only --watts says how much is drawn")
            .into_iter()
            .collect();
        hours.push(HourView {
            target: args.target.and_then(|usd| usd.to_f64()).map(|usd| target(usd, hour, busy)),
            published: args.tokens_per_second.map(|rate| published(rate, hour, busy)),
            assumptions: scenario.assumptions().into_iter().filter(|a| !about_a_record(a.name)).collect(),
            notes,
            price,
        });
    }
    if output.json {
        return output.stdout(&(record::write::to_json(&json!({ "hours": hours }))? + "\n"));
    }
    output.human(&terminal::render_hours(&hours, output.human_style()))
}

/// What says nothing without a record's cells.
fn about_a_record(assumption: &str) -> bool {
    ["cached_share", "cached_cost_share", "blend_ratio"].contains(&assumption)
}

/// `--max-age` in days.
pub(super) fn days(max_age: Option<u32>) -> Option<i64> {
    max_age.map(i64::from)
}
