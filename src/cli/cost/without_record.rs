//! `bench cost` without a record: the speed that a price needs, and what APIs bill for a month's tokens.

use rust_decimal::prelude::ToPrimitive as _;
use serde_json::json;

use crate::base::clock;
use crate::catalog::Catalog;
use crate::cli::values::Form;
use crate::cli::{Output, usage};
use crate::cost;
use crate::cost::assumption::{Chosen, Origin};
use crate::cost::month::{self, Machine};
use crate::cost::target::{HourView, published, target};
use crate::record::{self, Price};
use crate::report::{markdown, terminal};

use super::{CostArgs, days, scenario};

/// What is said to `bench cost` alone.
const NO_QUESTION: &str = "name a record or a folder of them; without one, ask for --target USD or --tokens-per-second X at \
    --price-per-hour USD, or for a month: --model NAME --input-per-month N --output-per-month N";

/// Said where the electricity of an owned machine is not known.
const UNDRAWN: &str =
    "electricity is not included: without a record, only --watts says how much power is drawn";

/// What a month's tokens cost, or `--target` and `--tokens-per-second` at each price of the hour.
pub(super) fn answer(args: &CostArgs, catalog: &Catalog, output: &Output) -> anyhow::Result<()> {
    let month = args.input_per_month.zip(args.output_per_month);
    for (given, flag) in [
        (args.sell.is_some(), "--sell"),
        (args.margin.is_some(), "--margin"),
        (args.together, "--together"),
        (args.cached.is_some() && month.is_none(), "--cached"),
        (args.cached_cost_share.is_some(), "--cached-cost-share"),
        (args.blend.is_some() && month.is_some(), "--blend"),
        (args.price_ratio.is_some(), "--price-ratio"),
    ] {
        if given {
            return Err(usage(flag, "it needs a record"));
        }
    }
    if let Some(tokens) = month {
        return a_month(args, tokens.into(), catalog, output);
    }
    if args.target.is_none() && args.tokens_per_second.is_none() {
        return Err(usage("RECORD", NO_QUESTION));
    }
    for (given, flag) in [(args.model.is_some(), "--model"), (!args.api.is_empty(), "--api")] {
        if given {
            return Err(usage(flag, "it is for a month's tokens: --input-per-month N --output-per-month N"));
        }
    }
    let kwh = cost::kwh_price(args.hour.electricity(), catalog)?;
    let undrawn = args.hour.owned() && !args.hour.says_watts();
    let mut hours = Vec::new();
    for rent in rents(args, catalog)? {
        let scenario = scenario(args, rent, &kwh, None)?;
        let price = scenario.hour().price.map_err(|reason| usage("--price-per-hour", &reason))?;
        let hour = price.usd_per_hour.to_f64().unwrap_or(f64::NAN);
        let busy = scenario.utilization.value;
        let notes: Vec<&str> = undrawn.then_some(UNDRAWN).into_iter().collect();
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
    if args.output == Some(Form::Md) {
        return output.stdout(&markdown::hours(&hours));
    }
    output.human(&terminal::render_hours(&hours, output.human_style()))
}

/// The rents of the command line: of a GPU, or each that was given; else one that says what is missing.
fn rents(args: &CostArgs, catalog: &Catalog) -> anyhow::Result<Vec<Chosen<Result<Price, String>>>> {
    if let Some(id) = &args.gpu {
        let price = cost::gpu_price(catalog, catalog.gpu(id)?, clock::today());
        let price = price.map_err(|reason| usage(&format!("--gpu {id}"), &reason))?;
        cost::check_age("the hourly price", price.observed.as_deref(), days(args.max_age), clock::today())?;
        return Ok(vec![Chosen {
            source: price.source.clone(),
            observed: price.observed.clone().into_option(),
            value: Ok(price),
            origin: Origin::Catalog,
        }]);
    }
    let rent = |price| Chosen::flag(Some(price), "--price-per-hour", Err(String::new()), "");
    let given: Vec<_> =
        args.hour.price_per_hour.iter().map(|usd| rent(Ok(cost::given_price(*usd)))).collect();
    if given.is_empty() {
        let none = "there is no record with a price; give --price-per-hour USD, --gpu ID, or --purchase USD --years N";
        return Ok(vec![rent(Err(none.to_owned()))]);
    }
    Ok(given)
}

/// What each API bills for a month's tokens, and what a machine must do to beat it.
fn a_month(
    args: &CostArgs,
    [input_tokens, output_tokens]: [f64; 2],
    catalog: &Catalog,
    output: &Output,
) -> anyhow::Result<()> {
    let Some(model) = args.model.as_deref() else {
        return Err(usage("--input-per-month", "needs a model: --model NAME, such as --model llama-3.1-8b"));
    };
    for (given, flag) in
        [(args.target.is_some(), "--target"), (args.tokens_per_second.is_some(), "--tokens-per-second")]
    {
        if given {
            return Err(usage(flag, "it cannot be combined with --input-per-month; leave one out"));
        }
    }
    let mut rents = rents(args, catalog)?;
    let (Some(rent), true) = (rents.pop(), rents.is_empty()) else {
        return Err(usage("--price-per-hour", "one price is compared at a time"));
    };
    let machine = if args.hour.owned() || rent.value.is_ok() {
        let kwh = cost::kwh_price(args.hour.electricity(), catalog)?;
        let scenario = scenario(args, rent, &kwh, None)?;
        let price = scenario.hour().price.map_err(|reason| usage("--price-per-hour", &reason))?;
        Some((Machine { price, utilization: scenario.utilization.value }, scenario))
    } else {
        for (given, flag) in [
            (args.utilization.is_some(), "--utilization"),
            (args.hour.gpus.is_some(), "--gpus"),
            (args.hour.overhead_per_hour.is_some(), "--overhead-per-hour"),
        ] {
            if given {
                return Err(usage(flag, "it needs a machine: --gpu ID or --price-per-hour USD"));
            }
        }
        None
    };
    let asked = month::Asked {
        input_tokens,
        output_tokens,
        cached_share: args.cached.unwrap_or(0.0),
        model,
        named: &args.api,
        max_age_days: days(args.max_age),
        today: clock::today(),
    };
    let mut view = month::month(&asked, machine.as_ref().map(|(machine, _)| machine), catalog)?;
    if let Some(id) = &args.gpu {
        let gpus = args.hour.gpus.unwrap_or(1);
        view.notes.extend(crate::cost::too_large(model, catalog.gpu(id)?, gpus, catalog));
    }
    if let Some((_, scenario)) = &machine {
        view.assumptions = scenario.assumptions().into_iter().filter(|a| !about_a_record(a.name)).collect();
        if args.hour.owned() && !args.hour.says_watts() {
            view.notes.push(UNDRAWN.to_owned());
        }
    }
    if output.json {
        return output.stdout(&(record::write::to_json(&json!({ "month": view }))? + "\n"));
    }
    if args.output == Some(Form::Md) {
        return output.stdout(&markdown::month(&view));
    }
    output.human(&terminal::render_month(&view, output.human_style()))
}

/// What says nothing without a record's cells.
fn about_a_record(assumption: &str) -> bool {
    ["cached_share", "cached_cost_share", "blend_ratio"].contains(&assumption)
}
