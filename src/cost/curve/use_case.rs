//! A use case: what a task costs at a price, what it may cost, and the price per million tokens that would make it pay.

use jiff::civil::Date;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use crate::base::known::{self, Known};
use crate::base::stats::Interval;
use crate::catalog::{ApiPrice, Catalog, Class};

use super::fit::Fit;
use super::when::day;
use crate::cost::api_price::standard;

/// Tokens of a task, how many tasks, and what they may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UseCase {
    /// Input tokens of one call.
    pub input_tokens: f64,
    /// Output tokens of one call, hidden reasoning included: it is billed.
    pub output_tokens: f64,
    /// Calls of a task: retries, steps of an agent.
    pub calls_per_task: f64,
    /// Share of tasks that succeed; the others are paid and worth nothing.
    pub success_rate: f64,
    /// Share of the input that the provider has cached.
    pub cached_share: f64,
    /// Tasks in a month.
    pub tasks_per_month: Option<f64>,
    /// What a month may cost, USD.
    pub budget_usd_per_month: Option<f64>,
    /// What a successful task is worth, USD.
    pub value_usd_per_task: Option<f64>,
    /// Share of the value that must be left over.
    pub margin: f64,
}

impl Serialize for UseCase {
    /// Every field; what was not given is `null` and says so.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in [
            ("input_tokens", self.input_tokens),
            ("output_tokens", self.output_tokens),
            ("calls_per_task", self.calls_per_task),
            ("success_rate", self.success_rate),
            ("cached_share", self.cached_share),
            ("margin", self.margin),
        ] {
            map.serialize_entry(name, &value)?;
        }
        for (name, value) in [
            ("tasks_per_month", self.tasks_per_month),
            ("budget_usd_per_month", self.budget_usd_per_month),
            ("value_usd_per_task", self.value_usd_per_task),
        ] {
            map.serialize_entry(name, &value)?;
            if value.is_none() {
                map.serialize_entry(&format!("{name}_reason"), "not given")?;
            }
        }
        map.end()
    }
}

impl UseCase {
    /// Calls for each successful task: `calls ÷ success rate`.
    pub fn calls_per_success(&self) -> f64 {
        self.calls_per_task / self.success_rate
    }

    /// Input tokens for each output token.
    pub fn ratio(&self) -> f64 {
        self.input_tokens / self.output_tokens
    }

    /// Tokens of a successful task.
    fn tokens(&self) -> f64 {
        self.calls_per_success() * (self.input_tokens + self.output_tokens)
    }

    /// USD of a successful task: `k · (I · ((1 − h) · P_in + h · P_cached) + O · P_out) ÷ 10⁶`.
    fn usd_per_task(&self, input: f64, cached: f64, output: f64) -> f64 {
        let input = (1.0 - self.cached_share) * input + self.cached_share * cached;
        self.calls_per_success() * (self.input_tokens * input + self.output_tokens * output) / 1e6
    }
}

/// The most that a successful task may cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limit {
    /// USD.
    pub usd_per_task: f64,
    /// Which of the two bounds it is: `budget` or `value`.
    pub from: &'static str,
}

/// The lower of budget ÷ tasks and value × (1 − margin).
///
/// # Errors
/// One sentence when neither is given.
pub fn limit(case: &UseCase) -> Result<Limit, String> {
    let budget = case
        .budget_usd_per_month
        .zip(case.tasks_per_month)
        .map(|(usd, tasks)| Limit { usd_per_task: usd / tasks, from: "budget" });
    let value =
        case.value_usd_per_task.map(|usd| Limit { usd_per_task: usd * (1.0 - case.margin), from: "value" });
    match (budget, value) {
        (Some(budget), Some(value)) if value.usd_per_task < budget.usd_per_task => Ok(value),
        (Some(budget), _) => Ok(budget),
        (None, Some(value)) => Ok(value),
        (None, None) => Err("no bound: give --budget with --tasks-per-month, or --value-per-task".to_owned()),
    }
}

/// A pair of prices that a task can be paid at today.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Basis {
    /// What it is.
    pub kind: BasisKind,
    /// `provider/model`, or the record's path.
    pub name: String,
    /// USD per million input tokens.
    pub input_usd_per_million: f64,
    /// Its 95% interval; `null` for a list price.
    pub input_ci95: Known<[f64; 2]>,
    /// USD per million cached input tokens; `null` when the source has none and input is paid in full.
    pub cached_input_usd_per_million: Known<f64>,
    /// USD per million output tokens.
    pub output_usd_per_million: f64,
    /// Its 95% interval; `null` for a list price.
    pub output_ci95: Known<[f64; 2]>,
    /// What each call costs besides its tokens, USD; absent when nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_call: Option<f64>,
    /// Where the prices come from.
    pub source: String,
    /// The last day on which they can have been checked.
    pub observed: String,
    /// Whether the price is older than prices of its kind should be.
    pub stale: bool,
}

const LIST: &str = "a list price has no interval";
const UNCACHED: &str = "the source has no price of cached input, so it is paid in full";

/// What a pair of prices is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BasisKind {
    /// The cheapest API whose model is in the class.
    CheapestOfClass,
    /// An API that was named.
    Api,
    /// A machine's own measured cost.
    Record,
}

/// An API's prices for the calls of `case` as a basis: a long prompt at its price for long prompts.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of tokens, above zero")]
pub fn api_basis(row: &ApiPrice, kind: BasisKind, case: &UseCase, today: Date) -> Basis {
    let usd = |price: rust_decimal::Decimal| price.to_f64().unwrap_or(f64::NAN);
    let asked = standard(row, case.input_tokens as u64, today);
    Basis {
        kind,
        name: row.id(),
        input_usd_per_million: usd(asked.input),
        input_ci95: Known::unknown(LIST),
        cached_input_usd_per_million: asked.cached_input.map(usd).ok_or(UNCACHED).into(),
        output_usd_per_million: usd(asked.output),
        output_ci95: Known::unknown(LIST),
        usd_per_call: asked.usd_per_request.map(usd),
        source: row.source.clone(),
        observed: row.as_of.to_string(),
        stale: row.is_stale(today),
    }
}

/// The API on which the task is cheapest among those whose model is in the class; a model being withdrawn is none.
///
/// # Errors
/// One sentence when none is.
pub fn cheapest_basis(
    catalog: &Catalog,
    class: &Class,
    case: &UseCase,
    today: Date,
) -> Result<Basis, String> {
    let member = |row: &&ApiPrice| {
        let score = catalog.score(&row.model, &class.benchmark);
        !row.deprecated && score.is_some_and(|score| score.percent >= class.at_least && !score.reasoning)
    };
    let all = catalog.api_prices.iter().filter(member);
    all.map(|row| api_basis(row, BasisKind::CheapestOfClass, case, today))
        .min_by(|a, b| standing(case, a, None).usd_per_task.total_cmp(&standing(case, b, None).usd_per_task))
        .ok_or_else(|| format!("no API in the catalog sells a model of the {}", class.name))
}

/// What the task costs at one basis.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Standing {
    /// The prices.
    pub basis: Basis,
    /// USD of a successful task.
    pub usd_per_task: f64,
    /// Its 95% interval; `null` for list prices, which have none.
    pub usd_per_task_ci95: Known<[f64; 2]>,
    /// USD per million tokens at the task's mix, cached input at its price.
    pub mix_usd_per_million: f64,
    /// What caching leaves of the price: `mix_usd_per_million` over the same without a cache.
    pub cache_factor: f64,
    /// USD of a month; `null` without a number of tasks.
    pub usd_per_month: Known<f64>,
    /// Successful tasks for a dollar.
    pub tasks_per_usd: f64,
    /// Successful tasks that the budget buys in a month; `null` without a budget.
    pub tasks_in_budget: Known<f64>,
    /// Whether the task costs no more than it may; `null` without a bound.
    pub viable: Known<bool>,
}

/// What the task costs at `basis`, and whether that is within `limit`.
pub fn standing(case: &UseCase, basis: &Basis, limit: Option<Limit>) -> Standing {
    let (input, output) = (basis.input_usd_per_million, basis.output_usd_per_million);
    let cached = basis.cached_input_usd_per_million.unwrap_or(input);
    let fees = basis.usd_per_call.unwrap_or(0.0) * case.calls_per_success();
    let usd_per_task = case.usd_per_task(input, cached, output) + fees;
    // Input and output are measured apart: half widths add in quadrature, each side by itself.
    let ends = basis.input_ci95.zip(*basis.output_ci95).map(|(i, o)| {
        let k = case.calls_per_success() / 1e6;
        let side = |end: usize| {
            let (a, b) = (case.input_tokens * (i[end] - input), case.output_tokens * (o[end] - output));
            k * a.hypot(b)
        };
        [usd_per_task - side(0), usd_per_task + side(1)]
    });
    let uncached = case.usd_per_task(input, input, output) + fees;
    Standing {
        basis: basis.clone(),
        usd_per_task,
        usd_per_task_ci95: ends
            .ok_or_else(|| {
                let parts = basis.input_ci95.reason().or(basis.output_ci95.reason());
                parts.unwrap_or("a part of it has no interval")
            })
            .into(),
        mix_usd_per_million: usd_per_task * 1e6 / case.tokens(),
        cache_factor: usd_per_task / uncached,
        usd_per_month: case
            .tasks_per_month
            .map(|tasks| tasks * usd_per_task)
            .ok_or("no number of tasks was given")
            .into(),
        tasks_per_usd: 1.0 / usd_per_task,
        tasks_in_budget: case
            .budget_usd_per_month
            .map(|usd| usd / usd_per_task)
            .ok_or("no budget was given")
            .into(),
        viable: limit.map(|limit| usd_per_task <= limit.usd_per_task).ok_or("no bound was given").into(),
    }
}

/// The list price per million tokens at the task's mix that makes a task cost just `limit`, when caching keeps leaving
/// `cache_factor` of it.
pub fn needed_price(case: &UseCase, limit: Limit, cache_factor: f64) -> f64 {
    limit.usd_per_task * 1e6 / case.tokens() / cache_factor
}

/// The day on which a price is down to another, when it falls at the fit's rate from today on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ByRate {
    /// Today's price, USD per million tokens.
    pub from_usd_per_million: f64,
    /// The price wanted.
    pub to_usd_per_million: f64,
    /// At the fitted rate; `null` when the curve does not fall or today's price is low enough.
    pub expected: Option<Date>,
    /// At the fast end of the rate's 95% interval.
    pub earliest: Option<Date>,
    /// At the slow end; `null` when that end does not fall.
    pub latest: Option<Date>,
    /// Why one of them is `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Points that the rate is fitted to.
    pub n: usize,
}

impl ByRate {
    /// From `now` to `wanted` at the rate of `fit`: years = ln(now ÷ wanted) ÷ ln(factor).
    pub fn of(fit: &Fit, now: f64, wanted: f64, today: Date) -> Self {
        let (slope, Interval { low, high }) = fit.slope();
        let fall = (now / wanted).ln();
        let at = |slope: f64| (slope < 0.0 && fall > 0.0).then(|| day(today, fall / -slope)).flatten();
        let (expected, earliest, latest) = (at(slope), at(low), at(high));
        let reason = if fall <= 0.0 {
            Some("today's price is low enough".to_owned())
        } else if latest.is_none() {
            Some("at the slow end of the rate's interval the price does not fall".to_owned())
        } else {
            None
        };
        Self {
            from_usd_per_million: now,
            to_usd_per_million: wanted,
            expected,
            earliest,
            latest,
            reason,
            n: fit.n(),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TODAY: Date = date(2026, 11, 23);

    fn case() -> UseCase {
        UseCase {
            input_tokens: 3000.0,
            output_tokens: 1000.0,
            calls_per_task: 2.0,
            success_rate: 0.8,
            cached_share: 0.5,
            tasks_per_month: Some(100_000.0),
            budget_usd_per_month: Some(500.0),
            value_usd_per_task: None,
            margin: 0.0,
        }
    }

    fn basis() -> Basis {
        Basis {
            kind: BasisKind::Api,
            name: "host/model".to_owned(),
            input_usd_per_million: 2.0,
            input_ci95: Known::unknown(LIST),
            cached_input_usd_per_million: Known::new(0.5),
            output_usd_per_million: 8.0,
            output_ci95: Known::unknown(LIST),
            usd_per_call: None,
            source: "a list".to_owned(),
            observed: "2026-11-01".to_owned(),
            stale: false,
        }
    }

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} is not {expected}");
    }

    /// By hand: k = 2 / 0.8 = 2.5; input (0.5 · 2 + 0.5 · 0.5) = 1.25; task 2.5 · (3000 · 1.25 + 1000 · 8) / 10⁶ = 0.029375.
    #[test]
    fn a_task_priced_by_hand() {
        let limit = limit(&case()).expect("a budget");
        assert_eq!(limit, Limit { usd_per_task: 0.005, from: "budget" });
        let found = standing(&case(), &basis(), Some(limit));
        near(found.usd_per_task, 0.029_375);
        near(found.usd_per_month.expect("tasks"), 2937.5);
        near(found.tasks_per_usd, 1.0 / 0.029_375);
        near(found.tasks_in_budget.expect("a budget"), 500.0 / 0.029_375);
        near(found.mix_usd_per_million, 2.9375);
        // Without a cache 2.5 · (6000 + 8000) / 10⁶ = 0.035.
        near(found.cache_factor, 0.029_375 / 0.035);
        assert_eq!(found.viable, Some(false));
        // 0.005 · 10⁶ / (2.5 · 4000) = 0.5 a million as paid, 0.5957 as listed.
        near(needed_price(&case(), limit, found.cache_factor), 0.5 * 0.035 / 0.029_375);
    }

    #[test]
    fn at_the_needed_price_the_task_costs_just_the_limit() {
        let limit = limit(&case()).expect("a budget");
        let now = standing(&case(), &basis(), Some(limit));
        let needed = needed_price(&case(), limit, now.cache_factor);
        let share = needed * 4000.0 / (3000.0 * 2.0 + 1000.0 * 8.0);
        let cheaper = Basis {
            input_usd_per_million: 2.0 * share,
            cached_input_usd_per_million: Known::new(0.5 * share),
            output_usd_per_million: 8.0 * share,
            ..basis()
        };
        near(standing(&case(), &cheaper, None).usd_per_task, 0.005);
    }

    #[test]
    fn the_lower_bound_binds() {
        let value = |usd, margin| {
            limit(&UseCase { value_usd_per_task: Some(usd), margin, ..case() }).expect("bounds")
        };
        assert_eq!(value(0.01, 0.6).from, "value");
        near(value(0.01, 0.6).usd_per_task, 0.004);
        assert_eq!(value(1.0, 0.6).from, "budget");
        let none = UseCase { budget_usd_per_month: None, ..case() };
        assert!(limit(&none).expect_err("no bound").contains("--budget"));
    }

    /// Half widths 0.2 and 0.4 below, 0.4 and 0.3 above: 2.5 · hypot(3000 · 0.2, 1000 · 0.4) / 10⁶ below.
    #[test]
    fn a_measured_cost_keeps_its_interval() {
        let own = Basis {
            input_ci95: Known::new([1.8, 2.4]),
            output_ci95: Known::new([7.6, 8.3]),
            cached_input_usd_per_million: Known::unknown("measured without a cache"),
            ..basis()
        };
        let found = standing(&case(), &own, None);
        near(found.usd_per_task, 0.035);
        let [low, high] = found.usd_per_task_ci95.expect("measured");
        near(low, 0.035 - 2.5e-6 * 600f64.hypot(400.0));
        near(high, 0.035 + 2.5e-6 * 1200f64.hypot(300.0));
        near(found.cache_factor, 1.0);
    }

    #[test]
    fn the_cheapest_of_the_class_depends_on_the_mix() {
        let catalog = Catalog::bundled();
        let class = catalog.class("gpt-4").expect("bundled");
        let found = cheapest_basis(&catalog, class, &case(), TODAY).expect("one");
        for row in catalog.api_prices.iter().filter(|row| !row.deprecated) {
            let score = catalog.score(&row.model, "mmlu");
            if score.is_some_and(|score| score.percent >= 83.0 && !score.reasoning) {
                let other = standing(&case(), &api_basis(row, BasisKind::Api, &case(), TODAY), None);
                assert!(other.usd_per_task >= standing(&case(), &found, None).usd_per_task, "{}", row.id());
            }
        }
        let empty = Catalog { api_prices: Vec::new(), ..catalog.clone() };
        assert!(cheapest_basis(&empty, class, &case(), TODAY).is_err());
    }

    /// Four list prices at 4.4343 a year (2.9776 to 6.6036): a tenth takes ln 10 / ln f years = 1.546 (1.220 to 2.110).
    #[test]
    fn at_the_fitted_rate_a_tenth_takes_a_year_and_a_half() {
        let points = [
            (date(2023, 3, 14), 37.5),
            (date(2023, 11, 6), 15.0),
            (date(2024, 5, 13), 7.5),
            (date(2024, 8, 6), 4.375),
        ];
        let fit = Fit::of(&points).expect("four points");
        let found = ByRate::of(&fit, 1.0, 0.1, TODAY);
        let years = |day: Option<Date>| day.map(|day| super::super::fit::years(TODAY, day)).expect("a day");
        for (day, expected) in [(found.expected, 1.546), (found.earliest, 1.220), (found.latest, 2.110)] {
            assert!((years(day) - expected).abs() < 0.003, "{day:?}");
        }
        let enough = ByRate::of(&fit, 0.1, 1.0, TODAY);
        assert!(enough.expected.is_none() && enough.reason.is_some());
    }
}
