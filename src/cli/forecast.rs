//! `bench forecast`: what the cheapest model of a class cost, how fast that falls, and when a use case pays.

use std::path::PathBuf;

use clap::Args;
use jiff::civil::Date;

use crate::base::{clock, text};
use crate::catalog::{Catalog, Class};
use crate::cost::curve::{Ask, Claim, Own, UseCase, forecast};
use crate::record::{self, Verdict};
use crate::report::{svg, terminal};

use super::values::time::date;
use super::values::{money, number, share};
use super::{Output, exit};

/// `bench forecast`.
#[derive(Debug, Args)]
pub(super) struct ForecastArgs {
    /// Records whose measured cost is shown next to the curve
    #[arg(value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// Capability class, defined by a published score; `bench catalog classes` lists them
    #[arg(long, value_name = "NAME", default_value = "gpt-4", help_heading = "Curve")]
    class: String,
    /// Input tokens per output token in a price [default: 3:1, or the use case's own]
    #[arg(long, value_name = "RATIO", value_parser = number::blend, allow_hyphen_values = true, help_heading = "Curve", conflicts_with_all = ["use_case", "input_tokens"])]
    blend: Option<f64>,
    /// Last day of the curve [default: as far as the answer needs]
    #[arg(long, value_name = "DATE", value_parser = date, allow_hyphen_values = true, help_heading = "Curve")]
    until: Option<Date>,
    /// Test whether the curve reaches a price by a day: `0.01@2027-01-01` [default: that claim, for class gpt-4]
    #[arg(long, value_name = "USD@DATE", value_parser = claim, allow_hyphen_values = true, help_heading = "Curve")]
    claim: Option<Claim>,
    /// Also write the chart to a file
    #[arg(long, value_name = "FILE", help_heading = "Curve")]
    svg: Option<PathBuf>,

    /// Input and output tokens per call: `3000,500`
    #[arg(long, value_name = "IN,OUT", value_parser = number::call, allow_hyphen_values = true, help_heading = "Use case", conflicts_with_all = ["input_tokens", "output_tokens"])]
    use_case: Option<(f64, f64)>,
    /// Input tokens per call
    #[arg(long, value_name = "N", value_parser = number::tokens_of_a_call, allow_hyphen_values = true, help_heading = "Use case", requires = "output_tokens")]
    input_tokens: Option<f64>,
    /// Output tokens per call, including reasoning
    #[arg(long, value_name = "N", value_parser = number::tokens_of_a_call, allow_hyphen_values = true, help_heading = "Use case", requires = "input_tokens")]
    output_tokens: Option<f64>,
    /// Tasks per month
    #[arg(long, value_name = "N", value_parser = money::amount, allow_hyphen_values = true, help_heading = "Use case")]
    tasks_per_month: Option<f64>,
    /// Budget per month
    #[arg(long, value_name = "USD", value_parser = money::amount, allow_hyphen_values = true, help_heading = "Use case", requires = "tasks_per_month")]
    budget: Option<f64>,
    /// Calls per task: retries, agent steps
    #[arg(long, value_name = "K", value_parser = money::amount, allow_hyphen_values = true, default_value = "1", help_heading = "Use case")]
    calls_per_task: f64,
    /// Share of tasks that succeed; failed ones are paid for too
    #[arg(long, value_name = "SHARE", value_parser = share::above_zero, allow_hyphen_values = true, default_value = "100%", help_heading = "Use case")]
    success_rate: f64,
    /// Share of input tokens cached at the provider [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share::from_zero, allow_hyphen_values = true, help_heading = "Use case")]
    cached: Option<f64>,
    /// Value of a successful task
    #[arg(long, value_name = "USD", value_parser = money::amount, allow_hyphen_values = true, help_heading = "Use case")]
    value_per_task: Option<f64>,
    /// Margin: the share of the value that must remain
    #[arg(long, value_name = "SHARE", value_parser = share::margin, allow_hyphen_values = true, default_value = "0", help_heading = "Use case", requires = "value_per_task")]
    margin: f64,
    /// API to use today, `provider/model` [default: the cheapest of the class]
    #[arg(long, value_name = "ID", help_heading = "Use case")]
    api: Option<String>,
    /// Use even records whose figures are invalid
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
    let today = clock::today();
    if let Some(day) = args.until.filter(|day| *day < today) {
        return Err(super::usage("--until", &format!("{day} has passed; the curve ends today or later")));
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
                let reason = "it describes a use case; also give its tokens with --use-case IN,OUT";
                return Err(super::usage(flag, reason));
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
                let reason = format!("{name} is invalid; --allow-invalid uses it anyway");
                return Err(exit::Invalid(reason).into());
            }
            found.push(Own::of(&name, &record, blend_ratio, catalog, class).map_err(exit::Invalid)?);
        }
        Ok(found)
    }
}

/// A price by a day: `0.01@2027-01-01`.
fn claim(text: &str) -> Result<Claim, String> {
    let wrong = || "a claim is USD per million tokens by a day, such as `0.01@2027-01-01`".to_owned();
    let (usd, by) = text.split_once('@').ok_or_else(wrong)?;
    Ok(Claim {
        usd_per_million: money::amount(usd).map_err(|_| wrong())?,
        by: date(by).map_err(|_| wrong())?,
    })
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
    }
}
