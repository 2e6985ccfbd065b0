//! The whole answer: curve, checks, claim and use case put together, as `bench forecast --json` prints it.

use jiff::civil::Date;

use crate::base::known::{self, Known};
use crate::catalog::{ApiPrice, Catalog, Class};

use super::checks::{HeldOut, Milestone, held_out, milestone};
use super::claim::{Claim, ClaimTest, test_claim};
use super::fit::{Fit, FitFigures, PriceAt, days};
use super::own::Own;
use super::points::{Excluded, Point, dated_only, series};
use super::use_case::{
    Basis, BasisKind, ByRate, Limit, Standing, UseCase, api_basis, cheapest_basis, limit, needed_price,
    standing,
};
use super::when::{DayInterval, day_below};

/// Samples of the curve, both ends included.
const SAMPLES: i32 = 60;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The class.
    pub class: &'a Class,
    /// Input tokens for each output token.
    pub blend_ratio: f64,
    /// Last day of the curve; without it, far enough to see the answer.
    pub until: Option<Date>,
    /// A claim to test.
    pub claim: Option<Claim>,
    /// A use case to price.
    pub use_case: Option<UseCase>,
    /// An API to pay the use case at, instead of the cheapest of the class.
    pub api: Option<&'a ApiPrice>,
    /// Machines' own measured costs.
    pub own: &'a [Own],
    /// The day.
    pub today: Date,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Forecast {
    /// The day on which it was given.
    pub as_of: Date,
    /// The class and its gate.
    pub class: Class,
    /// Input tokens for each output token in every blended price.
    pub blend_ratio: f64,
    /// What holds for every figure here.
    pub assumptions: Vec<String>,
    /// All prices of the class's models.
    pub points: Vec<Point>,
    /// Those below all before them: what was fitted.
    pub record_lows: Vec<Point>,
    /// Prices left out.
    pub excluded: Excluded,
    /// The fit; `null` with too few points.
    pub fit: Known<FitFigures>,
    /// The same through the record-lows among the prices whose first day is known.
    pub fit_dated_only: Known<FitFigures>,
    /// The fit's price for today.
    pub today: Known<PriceAt>,
    /// The fit's price on days from the first point to the last day asked for; empty without a fit.
    pub curve: Vec<PriceAt>,
    /// The last record-low, predicted from the others.
    pub held_out: Known<HeldOut>,
    /// The fall that is often quoted.
    pub milestone: Known<Milestone>,
    /// The claim.
    pub claim: Known<ClaimTest>,
    /// Machines' own measured costs: next to the curve, never in it.
    pub own: Vec<Own>,
    /// The use case.
    pub use_case: Known<UseCaseForecast>,
}

/// A use case, today and later.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct UseCaseForecast {
    /// What was asked.
    #[serde(flatten)]
    pub case: UseCase,
    /// Calls paid for each successful task.
    pub calls_per_success: f64,
    /// What a task may cost.
    pub limit: Known<Limit>,
    /// What a task costs today, the basis of the verdict first.
    pub standings: Vec<Standing>,
    /// Whether the task pays today at the first of them.
    pub viable_now: Known<bool>,
    /// The list price at the task's own mix that it needs, USD per million tokens.
    pub needed_usd_per_million: Known<f64>,
    /// The first price of the class that was low enough; `null` when none was.
    pub reached: Known<Point>,
    /// When the class's curve is low enough.
    pub day: Known<DayInterval>,
    /// When the first standing's price is, if it falls at the curve's rate from today on.
    pub by_rate: Known<ByRate>,
}

/// The answer to `ask`.
pub fn forecast(catalog: &Catalog, ask: &Ask<'_>) -> Forecast {
    let found = series(catalog, ask.class, ask.blend_ratio, ask.today);
    let fit = fit_of(&found.record_lows);
    let dated = fit_of(&dated_only(&found));
    let fitted = fit.as_ref().map_err(String::as_str);
    let dated = dated.as_ref().map_err(String::as_str);
    let claim = ask.claim.map(|claim| test_claim(claim, &found, fitted, dated, ask.today));
    let use_case = ask.use_case.map(|case| use_case(catalog, ask, case, &found.record_lows, &fit));
    let until = ask.until.unwrap_or_else(|| horizon(ask, use_case.as_ref()));
    Forecast {
        as_of: ask.today,
        class: ask.class.clone(),
        blend_ratio: ask.blend_ratio,
        assumptions: assumptions(ask),
        curve: fit.as_ref().map(|fit| curve(fit, until)).unwrap_or_default(),
        today: fitted.map(|fit| fit.price_at(ask.today)).into(),
        fit: fitted.map(Fit::figures).into(),
        fit_dated_only: dated.map(Fit::figures).into(),
        held_out: held_out(&found.record_lows).into(),
        milestone: milestone(catalog, ask.class).into(),
        claim: claim.ok_or("no claim was given; --claim USD@DATE tests one").into(),
        own: ask.own.to_vec(),
        use_case: use_case.ok_or("no use case was given; --use-case IN,OUT prices one").into(),
        points: found.points,
        record_lows: found.record_lows,
        excluded: found.excluded,
    }
}

fn use_case(
    catalog: &Catalog,
    ask: &Ask<'_>,
    case: UseCase,
    lows: &[Point],
    fit: &Result<Fit, String>,
) -> UseCaseForecast {
    let limit = Known::from(limit(&case));
    let list = match ask.api {
        Some(row) => Ok(api_basis(row, BasisKind::Api, &case, ask.today)),
        None => cheapest_basis(catalog, ask.class, &case, ask.today),
    };
    let unlisted = list.as_ref().err().cloned().unwrap_or_default();
    let own = ask.own.iter().map(Own::basis);
    // A named API or a record is the subject; the cheapest of the class is shown next to it.
    let bases: Vec<Basis> =
        if ask.api.is_some() { list.into_iter().chain(own).collect() } else { own.chain(list).collect() };
    let standings: Vec<Standing> = bases.iter().map(|basis| standing(&case, basis, *limit)).collect();
    let listed = standings.iter().find(|standing| standing.basis.kind != BasisKind::Record);
    // What caching leaves of the price is a list price's own; without one, input is paid in full.
    let cache_factor = listed.map_or(1.0, |standing| standing.cache_factor);
    let needed = limit.map(|limit| needed_price(&case, limit, cache_factor));
    let first = standings.first();
    let reached = needed.and_then(|usd| lows.iter().find(|low| low.usd_per_million <= usd)).cloned();
    let unbounded = || limit.reason().unwrap_or_default().to_owned();
    let day = match (needed, fit) {
        (None, _) => Err(unbounded()),
        (_, Err(reason)) => Err(reason.clone()),
        (Some(usd), Ok(fit)) => Ok(day_below(fit, usd)),
    };
    let by_rate = match (*limit, first, fit) {
        (None, _, _) => Err(unbounded()),
        (_, None, _) => Err(unlisted.clone()),
        (_, _, Err(reason)) => Err(reason.clone()),
        (Some(limit), Some(first), Ok(fit)) => {
            let share = limit.usd_per_task / first.usd_per_task;
            let now = first.mix_usd_per_million;
            Ok(ByRate::of(fit, now, now * share, ask.today))
        }
    };
    let viable_now = first.and_then(|standing| *standing.viable);
    UseCaseForecast {
        case,
        calls_per_success: case.calls_per_success(),
        viable_now: viable_now.ok_or_else(|| limit.reason().map_or(unlisted, str::to_owned)).into(),
        needed_usd_per_million: needed.ok_or_else(unbounded).into(),
        reached: reached
            .ok_or_else(|| match needed {
                Some(_) => "no price of the class was low enough so far".to_owned(),
                None => unbounded(),
            })
            .into(),
        day: day.into(),
        by_rate: by_rate.into(),
        limit,
        standings,
    }
}

fn fit_of(points: &[Point]) -> Result<Fit, String> {
    let points: Vec<(Date, f64)> = points.iter().map(|point| (point.date, point.usd_per_million)).collect();
    Fit::of(&points)
}

/// A year past today, or past what was asked about when that is nearer than ten years.
fn horizon(ask: &Ask<'_>, case: Option<&UseCaseForecast>) -> Date {
    let day = case.filter(|case| *case.viable_now == Some(false)).and_then(|case| case.day.as_ref());
    let asked =
        [ask.claim.map(|claim| claim.by), day.and_then(|day| *day.expected), day.and_then(|day| *day.latest)];
    let far = plus_days(ask.today, 3653);
    let last = asked.into_iter().flatten().filter(|day| *day < far).max().unwrap_or(ask.today).max(ask.today);
    plus_days(last, 365)
}

fn plus_days(day: Date, days: i32) -> Date {
    day.saturating_add(jiff::Span::new().days(days))
}

fn curve(fit: &Fit, until: Date) -> Vec<PriceAt> {
    let whole = days(fit.first(), until).max(days(fit.first(), fit.last()));
    (0..SAMPLES)
        .map(|step| {
            plus_days(
                fit.first(),
                i32::try_from(i64::from(whole) * i64::from(step) / i64::from(SAMPLES - 1)).unwrap_or(whole),
            )
        })
        .map(|day| fit.price_at(day))
        .collect()
}

fn assumptions(ask: &Ask<'_>) -> Vec<String> {
    let mut list = vec![
        format!("class: {} ({})", ask.class.gate(), ask.class.source),
        "prices are list prices of managed APIs, standard tier, not cost: margins and subsidies move too".to_owned(),
        "models without a published score and reasoning models are left out, so the true low of the class can be lower"
            .to_owned(),
        "a day marked on_or_before is the latest on which the price can have begun: those points may lie too far right"
            .to_owned(),
        "intervals are 95%, from the scatter about the line; lows of one market are not independent of each other, so \
         the true intervals are wider"
            .to_owned(),
        "past the last point the line is extrapolated: nothing in the data says that it continues".to_owned(),
    ];
    if let Some(case) = ask.use_case {
        list.push("the curve is drawn at the task's own mix of input and output, without a cache".to_owned());
        if case.cached_share > 0.0 {
            list.push(
                "the share of the price that remains with caching is assumed to stay as it is today"
                    .to_owned(),
            );
        }
        list.push(
            "tokens are counted as those of one model; another's tokenizer gives other counts".to_owned(),
        );
    }
    list
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TODAY: Date = date(2026, 11, 23);

    fn ask(class: &Class, use_case: Option<UseCase>) -> Ask<'_> {
        let blend_ratio = use_case.map_or(3.0, |case| case.ratio());
        Ask { class, blend_ratio, until: None, claim: None, use_case, api: None, own: &[], today: TODAY }
    }

    fn case(budget: f64) -> UseCase {
        UseCase {
            input_tokens: 3000.0,
            output_tokens: 1000.0,
            calls_per_task: 1.0,
            success_rate: 1.0,
            cached_share: 0.0,
            tasks_per_month: Some(1e6),
            budget_usd_per_month: Some(budget),
            value_usd_per_task: None,
            margin: 0.0,
        }
    }

    /// Each null has a reason next to it, in every form the answer takes.
    #[test]
    fn what_is_null_has_a_reason() {
        fn look(value: &serde_json::Value, at: &str) {
            match value {
                serde_json::Value::Object(fields) => {
                    for (name, field) in fields {
                        // Rows of the catalog and figures of a record keep their own conventions.
                        let foreign = name == "note" || name == "ci95";
                        let reason =
                            fields.contains_key(&format!("{name}_reason")) || fields.contains_key("reason");
                        assert!(
                            !field.is_null() || reason || foreign,
                            "{at}.{name} is null and says not why"
                        );
                        look(field, &format!("{at}.{name}"));
                    }
                }
                serde_json::Value::Array(items) => items.iter().for_each(|item| look(item, at)),
                _ => {}
            }
        }
        let catalog = Catalog::bundled();
        let empty = Catalog { price_history: Vec::new(), api_prices: Vec::new(), ..catalog.clone() };
        for class in &catalog.classes {
            for case in [
                None,
                Some(case(1.0)),
                Some(case(1e9)),
                Some(UseCase { budget_usd_per_month: None, ..case(1.0) }),
            ] {
                for catalog in [&catalog, &empty] {
                    let answer = forecast(catalog, &ask(class, case));
                    look(&serde_json::to_value(&answer).expect("JSON"), &class.id);
                }
            }
        }
    }

    /// 10⁶ tasks of 4,000 tokens for 200 USD: 0.05 a million; for 10⁶ USD anything pays.
    #[test]
    fn a_budget_decides_and_the_needed_price_is_its_share() {
        let catalog = Catalog::bundled();
        let class = catalog.class("gpt-4").expect("bundled");
        let answer = forecast(&catalog, &ask(class, Some(case(200.0))));
        let found = answer.use_case.as_ref().expect("a use case");
        assert_eq!(found.viable_now, Some(false));
        assert!((found.needed_usd_per_million.expect("a bound") - 0.05).abs() < 1e-12);
        let day = found.day.as_ref().expect("a fit");
        assert!(*day.earliest < *day.expected && *day.expected < *day.latest, "{day:?}");
        assert!(day.expected.expect("a day") > TODAY && found.reached.is_none());
        assert!(answer.curve.last().is_some_and(|last| Some(last.date) > *day.latest));
        let rich =
            forecast(&catalog, &ask(class, Some(case(1e6)))).use_case.into_option().expect("a use case");
        assert_eq!(
            (*rich.viable_now, rich.reached.as_ref().map(|low| low.date)),
            (Some(true), Some(date(2023, 3, 14)))
        );
    }
}
