//! `bench forecast`: what the cheapest model of a class cost, how fast that falls, and when a use case pays.

use std::path::PathBuf;

use clap::Args;
use jiff::civil::Date;

use crate::base::text;
use crate::catalog::{Catalog, Class};
use crate::cost::curve::{Ask, Claim, Own, UseCase, forecast};
use crate::record::{self, Verdict};
use crate::report::{svg, terminal};

use super::args::{blend, share};
use super::{Output, exit};

/// `bench forecast`.
#[derive(Debug, Args)]
pub(super) struct ForecastArgs {
    /// Records whose own measured cost stands beside the curve
    #[arg(value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// Class of capability: a gate on a published score; `bench catalog classes` lists them
    #[arg(long, value_name = "NAME", default_value = "gpt-4", help_heading = "Curve")]
    class: String,
    /// Input tokens for each output token in a price [default: 3:1, with a use case its own]
    #[arg(long, value_name = "RATIO", value_parser = blend, allow_hyphen_values = true, help_heading = "Curve", conflicts_with_all = ["use_case", "input_tokens"])]
    blend: Option<f64>,
    /// Last day of the curve [default: as far as the answer needs]
    #[arg(long, value_name = "DATE", value_parser = date, allow_hyphen_values = true, help_heading = "Curve")]
    until: Option<Date>,
    /// A price by a day, held against the curve: `0.01@2027-01-01` [default: that one, for class gpt-4]
    #[arg(long, value_name = "USD@DATE", value_parser = claim, allow_hyphen_values = true, help_heading = "Curve")]
    claim: Option<Claim>,
    /// Write the drawing to a file, too
    #[arg(long, value_name = "FILE", help_heading = "Curve")]
    svg: Option<PathBuf>,

    /// Tokens of one call, in and out: `3000,500`
    #[arg(long, value_name = "IN,OUT", value_parser = pair, allow_hyphen_values = true, help_heading = "Use case", conflicts_with_all = ["input_tokens", "output_tokens"])]
    use_case: Option<(f64, f64)>,
    /// Input tokens of one call
    #[arg(long, value_name = "N", value_parser = tokens, allow_hyphen_values = true, help_heading = "Use case", requires = "output_tokens")]
    input_tokens: Option<f64>,
    /// Output tokens of one call, reasoning tokens included
    #[arg(long, value_name = "N", value_parser = tokens, allow_hyphen_values = true, help_heading = "Use case", requires = "input_tokens")]
    output_tokens: Option<f64>,
    /// Tasks in a month
    #[arg(long, value_name = "N", value_parser = amount, allow_hyphen_values = true, help_heading = "Use case")]
    tasks_per_month: Option<f64>,
    /// What a month may cost
    #[arg(long, value_name = "USD", value_parser = amount, allow_hyphen_values = true, help_heading = "Use case", requires = "tasks_per_month")]
    budget: Option<f64>,
    /// Calls of a task: retries, steps of an agent
    #[arg(long, value_name = "K", value_parser = amount, allow_hyphen_values = true, default_value = "1", help_heading = "Use case")]
    calls_per_task: f64,
    /// Share of tasks that succeed; the others are paid, too
    #[arg(long, value_name = "SHARE", value_parser = share, allow_hyphen_values = true, default_value = "100%", help_heading = "Use case")]
    success_rate: f64,
    /// Share of the input that the provider has cached [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share_or_none, allow_hyphen_values = true, help_heading = "Use case")]
    cached: Option<f64>,
    /// What a successful task is worth
    #[arg(long, value_name = "USD", value_parser = amount, allow_hyphen_values = true, help_heading = "Use case")]
    value_per_task: Option<f64>,
    /// Share of the value that must be left over
    #[arg(long, value_name = "SHARE", value_parser = margin, allow_hyphen_values = true, default_value = "0", help_heading = "Use case", requires = "value_per_task")]
    margin: f64,
    /// API to pay at today, `provider/model` [default: the cheapest of the class]
    #[arg(long, value_name = "ID", help_heading = "Use case")]
    api: Option<String>,
    /// Take a record whose figures are invalid, too
    #[arg(long)]
    allow_invalid: bool,
}

/// What is tested when no claim is given and the class is this one.
const FAMILIAR: (&str, Claim) = ("gpt-4", Claim { usd_per_million: 0.01, by: jiff::civil::date(2027, 1, 1) });

/// Answers on stdout.
///
/// # Errors
/// An unknown class or API (2), a record that is missing (13), unreadable (1), invalid or without a cost (12), a flag without
/// what it needs (2), an SVG that cannot be written (1).
pub(super) fn run(args: &ForecastArgs, catalog: &Catalog, output: &Output) -> anyhow::Result<()> {
    let class = catalog.class(&args.class)?;
    let use_case = args.use_case()?;
    let today = super::today();
    if let Some(day) = args.until.filter(|day| *day < today) {
        return Err(super::hour::usage(
            "--until",
            &format!("{day} has passed; the curve ends today or later"),
        ));
    }
    let blend_ratio = use_case.map_or(args.blend.unwrap_or(3.0), |case| case.ratio());
    let familiar = (class.id == FAMILIAR.0).then_some(FAMILIAR.1);
    let own = args.own(blend_ratio, catalog, class)?;
    let api = args.api.as_deref().map(|id| catalog.api(id)).transpose()?;
    let ask = Ask {
        class,
        blend_ratio,
        until: args.until,
        claim: args.claim.or(familiar),
        use_case,
        api,
        own: &own,
        today,
    };
    let found = forecast(catalog, &ask);
    let plot = terminal::log_plot(&found);
    if let Some(path) = &args.svg {
        std::fs::write(path, svg::render(&plot))
            .map_err(|source| Unwritten { path: path.clone(), source })?;
    }
    if output.json {
        return output.stdout(&(record::write::to_json(&found)? + "\n"));
    }
    let style = output.human_style();
    output.human(&terminal::render_forecast(&found, style))?;
    output.human(&format!("\n{}", terminal::render_plot(&plot, style)))?;
    if let Some(path) = &args.svg {
        output.human(&format!("\ndrawn to {}\n", path.display()))?;
    }
    Ok(())
}

/// The drawing could not be written (exit code 1).
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}; choose another file with --svg FILE", path.display())]
struct Unwritten {
    path: PathBuf,
    source: std::io::Error,
}

impl ForecastArgs {
    fn use_case(&self) -> anyhow::Result<Option<UseCase>> {
        let tokens = self.use_case.or(self.input_tokens.zip(self.output_tokens));
        let Some((input_tokens, output_tokens)) = tokens else {
            let lonely = self.tasks_per_month.map(|_| "--tasks-per-month");
            let lonely = lonely
                .or(self.value_per_task.map(|_| "--value-per-task"))
                .or(self.cached.map(|_| "--cached"))
                .or(self.api.as_ref().map(|_| "--api"));
            if let Some(flag) = lonely {
                let reason =
                    "says something of a use case; give its tokens with --use-case IN,OUT".to_owned();
                return Err(crate::cost::Error::Usage { flag: flag.to_owned(), reason }.into());
            }
            return Ok(None);
        };
        Ok(Some(UseCase {
            input_tokens,
            output_tokens,
            calls_per_task: self.calls_per_task,
            success_rate: self.success_rate,
            cached_share: self.cached.unwrap_or(0.0),
            tasks_per_month: self.tasks_per_month,
            budget_usd_per_month: self.budget,
            value_usd_per_task: self.value_per_task,
            margin: self.margin,
        }))
    }

    fn own(&self, blend_ratio: f64, catalog: &Catalog, class: &Class) -> anyhow::Result<Vec<Own>> {
        let mut found = Vec::new();
        for path in &self.records {
            let name = text::path(path);
            let record = record::read::read(path)?;
            if record.validity.verdict == Verdict::Invalid && !self.allow_invalid {
                let reason = format!(
                    "{name} is invalid, so its cost would be of something else; --allow-invalid takes it all the same"
                );
                return Err(exit::Invalid(reason).into());
            }
            found.push(Own::of(&name, &record, blend_ratio, catalog, class).map_err(exit::Invalid)?);
        }
        Ok(found)
    }
}

/// A day: `2027-01-01`.
pub(super) fn date(text: &str) -> Result<Date, String> {
    text.trim().parse().map_err(|_| "a day is written like `2027-01-01`".to_owned())
}

/// A price by a day: `0.01@2027-01-01`.
fn claim(text: &str) -> Result<Claim, String> {
    let wrong = || "a claim is USD per million tokens by a day, such as `0.01@2027-01-01`".to_owned();
    let (usd, by) = text.split_once('@').ok_or_else(wrong)?;
    Ok(Claim { usd_per_million: amount(usd).map_err(|_| wrong())?, by: date(by).map_err(|_| wrong())? })
}

/// A number above zero that money and counts can be: `$100`, `1e6`, `2500`.
fn amount(text: &str) -> Result<f64, String> {
    match text.trim().trim_start_matches('$').parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 && number <= 1e15 => Ok(number),
        _ => Err("expected a number above 0, such as `2500`".to_owned()),
    }
}

/// Tokens of a call: a whole number, one at least.
fn tokens(text: &str) -> Result<f64, String> {
    match text.trim().parse::<u32>() {
        Ok(count) if count > 0 => Ok(f64::from(count)),
        _ => Err("tokens are a whole number above 0, such as `3000`".to_owned()),
    }
}

/// `3000,500`.
fn pair(text: &str) -> Result<(f64, f64), String> {
    let wrong = || "a use case is its tokens in and out, such as `3000,500`".to_owned();
    let (input, output) = text.split_once(',').ok_or_else(wrong)?;
    tokens(input).and_then(|input| Ok((input, tokens(output)?))).map_err(|_| wrong())
}

/// A share that may be nothing: `0`, `30%`.
fn share_or_none(text: &str) -> Result<f64, String> {
    if matches!(text.trim(), "0" | "0%") { Ok(0.0) } else { share(text) }
}

/// A share below the whole: a margin of 100% leaves nothing to pay with.
fn margin(text: &str) -> Result<f64, String> {
    share_or_none(text)
        .ok()
        .filter(|share| *share < 1.0)
        .ok_or_else(|| "a margin is below 100%, such as `60%`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed() {
        assert_eq!(
            claim("$0.01@2027-01-01"),
            Ok(Claim { usd_per_million: 0.01, by: jiff::civil::date(2027, 1, 1) })
        );
        for wrong in ["0.01", "0@2027-01-01", "-1@2027-01-01", "0.01@2027-13-01", "nan@2027-01-01", "@", "1@"]
        {
            assert!(claim(wrong).is_err_and(|error| error.contains("0.01@2027-01-01")), "{wrong}");
        }
        assert_eq!(pair("3000, 500"), Ok((3000.0, 500.0)));
        for wrong in ["3000", "0,5", "5,0", "-1,5", "1.5,2", "99999999999,1", ","] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
        assert_eq!((margin("60%"), margin("0"), margin("100%").is_err()), (Ok(0.6), Ok(0.0), true));
        assert!(amount("inf").is_err() && amount("0").is_err() && amount("1e6") == Ok(1e6));
    }
}
