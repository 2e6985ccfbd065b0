//! A forecast for people: lows, rate, checks, claim, use case, and what all of it assumes.

use crate::base::known::Known;
use crate::base::units::significant;
use crate::catalog::DateKind;
use crate::cost::curve::{
    BasisKind, ClaimTest, ClaimVerdict, DayInterval, Estimate, FitFigures, Forecast, IMPORTED, Own, PriceAt,
    Standing, UseCaseForecast,
};
use crate::record::{Doubt, Verdict};
use crate::report::format::{self, number, percent, shorten, trimmed, wrap};
use crate::report::plot::{CurvePoint, LogPlot, Mark, PlotPoint, PlotSeries};
use crate::report::verdict::doubt;

use super::{Page, Style};

/// Everything but the drawing.
pub fn render_forecast(found: &Forecast, style: Style) -> String {
    let mut out = Page::default();
    head(&mut out, found, style);
    lows(&mut out, found, style);
    rate(&mut out, found, style);
    checks(&mut out, found, style);
    for own in &found.own {
        let interval = format::range(*own.usd_per_million_ci95, usd);
        out.line(format_args!(
            "\n{} {} {}",
            style.strong("Here    "),
            style.strong(&usd(own.usd_per_million)),
            interval
        ));
        let undated = if own.date_basis == IMPORTED { format!(" ({IMPORTED})") } else { String::new() };
        note(
            &mut out,
            style,
            &format!(
                "{} in {}, {}{undated}; {}, {} busy: a cost, not a price, so not part of the curve",
                own.model,
                own.record,
                own.date,
                own.price,
                percent(own.utilization)
            ),
        );
        for text in doubt_of(own).iter().flat_map(|text| wrap(text, 74)) {
            out.line(format_args!("    {}", style.warn(&text)));
        }
        if *own.in_class != Some(true) {
            let known = format!("{} is below the threshold of the {}", own.model, found.class.name);
            let why = own.in_class.reason().unwrap_or(&known);
            for text in
                wrap(&format!("{why}: its cost and the curve's prices may be for different quality"), 74)
            {
                out.line(format_args!("    {}", style.warn(&text)));
            }
        }
    }
    if let Some(case) = &*found.use_case {
        use_case(&mut out, found, case, style);
    }
    out.line(format_args!("\n{}", style.strong("Assumed")));
    for text in &found.assumptions {
        list(&mut out, style, text);
    }
    let excluded = found.excluded;
    list(
        &mut out,
        style,
        &format!(
            "of {} prices, left out: {} without a published score, {} below the threshold, {} of reasoning models, {} of low trust",
            found.points.len()
                + excluded.without_score
                + excluded.below_gate
                + excluded.reasoning
                + excluded.low_trust,
            excluded.without_score,
            excluded.below_gate,
            excluded.reasoning,
            excluded.low_trust
        ),
    );
    out.into_text()
}

fn head(out: &mut Page, found: &Forecast, style: Style) {
    let title = format!("{}: {}", found.class.name, found.class.gate());
    out.line(format_args!("{} · {}", style.strong(&title), found.as_of));
    note(
        out,
        style,
        &format!(
            "USD per million tokens at {} input to 1 output; list prices",
            trimmed(found.blend_ratio, 3)
        ),
    );
}

fn lows(out: &mut Page, found: &Forecast, style: Style) {
    let header = format!(
        "{:<12} {:>9}  {:<31} {:>5}  source",
        "since",
        "USD/M",
        "model",
        found.class.benchmark.to_uppercase()
    );
    out.line(format_args!(
        "\n{} n = {} of {} prices of the class",
        style.strong("Record-lows"),
        found.record_lows.len(),
        found.points.len()
    ));
    out.line(format_args!("{}", style.dim(&header)));
    for low in &found.record_lows {
        let sign = match low.date_kind {
            DateKind::Exact => " ",
            DateKind::Month => "~",
            DateKind::OnOrBefore => "≤",
        };
        let name = shorten(&format!("{}/{}", low.provider, low.model), 31);
        let source = low.source.split(" key ").next().unwrap_or_default().trim_start_matches("https://");
        out.line(format_args!(
            "{sign}{:<11} {}  {name:<31} {:>5}  {}",
            low.date.to_string(),
            style.strong(&format!("{:>9}", usd(low.usd_per_million))),
            significant(low.score_percent, 3),
            style.dim(&shorten(source, 17))
        ));
    }
    if found.record_lows.iter().any(|low| low.date_kind != DateKind::Exact) {
        note(out, style, "≤: in force on that day, may have begun earlier · ~: only the month is known");
    }
}

fn rate(out: &mut Page, found: &Forecast, style: Style) {
    let Some(fit) = &*found.fit else {
        let reason = found.fit.reason().unwrap_or("unknown");
        out.line(format_args!("\n{} {}", style.strong("No rate:"), style.warn(reason)));
        return;
    };
    out.line(format_args!(
        "\n{} {}",
        style.strong("Curve   "),
        style.dim(&format!("ln P = a + b·t, n = {}, {} to {}", fit.n, fit.from, fit.to))
    ));
    let factor = |estimate: &Estimate| format!("{}× a year", significant(estimate.value, 3));
    line(out, style, "falls by", &factor(&fit.yearly_factor), &interval(&fit.yearly_factor, "×"));
    match &*fit.halving_months {
        Some(months) => line(
            out,
            style,
            "halves in",
            &format!("{} months", significant(months.value, 3)),
            &interval(months, " months"),
        ),
        None => {
            line(out, style, "halves in", "never", fit.halving_months.reason().unwrap_or_default());
        }
    }
    line(
        out,
        style,
        "Theil-Sen",
        &factor(&fit.theil_sen.yearly_factor),
        &interval(&fit.theil_sen.yearly_factor, "×"),
    );
    match &*found.fit_dated_only {
        Some(dated) => line(
            out,
            style,
            "dated only",
            &factor(&dated.yearly_factor),
            &format!("{}, n = {}", interval(&dated.yearly_factor, "×"), dated.n),
        ),
        None => line(out, style, "dated only", "no rate", found.fit_dated_only.reason().unwrap_or_default()),
    }
    scatter(out, fit, style);
    if let Some(today) = &*found.today {
        line(out, style, "today", &usd(today.usd_per_million), &prediction(today));
    }
    if let Some(low) = found.record_lows.last() {
        let ratio = found.today.as_ref().map_or(String::new(), |today| {
            format!(
                ", {}× the curve's price today",
                significant(low.usd_per_million / today.usd_per_million, 3)
            )
        });
        let text = format!("{}/{}, {}{ratio}", low.provider, low.model, low.date);
        line(out, style, "lowest", &usd(low.usd_per_million), &text);
    }
}

fn scatter(out: &mut Page, fit: &FitFigures, style: Style) {
    let factor = |sd: f64| significant(sd.exp(), 3);
    let [low, high] = fit.residual_sd_ci95;
    let text = format!("95% {} to {}: a low's usual distance from the curve", factor(low), factor(high));
    line(out, style, "scatter", &format!("×÷ {}", factor(fit.residual_sd)), &text);
}

fn checks(out: &mut Page, found: &Forecast, style: Style) {
    out.line(format_args!("\n{}", style.strong("Checks")));
    match found.milestone.as_result() {
        Ok(check) => {
            let verdict = if check.holds { style.good("holds") } else { style.bad("does not hold") };
            out.line(format_args!("  {verdict}: claim"));
            note(out, style, &format!("\"{}\"", check.claim));
            note(
                out,
                style,
                &format!(
                    "{} on {} ({}) to {} on {} ({}): {}× in {} months; {}",
                    usd(check.from_usd_per_million),
                    check.from,
                    check.from_source,
                    usd(check.to_usd_per_million),
                    check.to,
                    check.to_source,
                    significant(check.factor, 4),
                    check.months,
                    check.caveat
                ),
            );
        }
        Err(reason) => note(out, style, reason),
    }
    if let Some(held) = &*found.held_out {
        let verdict = if held.within { style.good("within") } else { style.bad("outside") };
        out.line(format_args!(
            "  {verdict}: the last low, {}, predicted from the {} before it, {} days ahead",
            usd(held.usd_per_million),
            held.n,
            held.days_ahead
        ));
        note(
            out,
            style,
            &format!("predicted {}, {}", usd(held.foreseen.usd_per_million), prediction(&held.foreseen)),
        );
    } else {
        note(out, style, &format!("no point held out: {}", found.held_out.reason().unwrap_or_default()));
    }
    if let Some(claim) = &*found.claim {
        self::claim(out, found, claim, style);
    }
}

fn claim(out: &mut Page, found: &Forecast, test: &ClaimTest, style: Style) {
    let verdict = match test.verdict {
        ClaimVerdict::True => style.good("true"),
        ClaimVerdict::Supported => style.good("supported"),
        ClaimVerdict::False => style.bad("false"),
        ClaimVerdict::Contradicted => style.bad("contradicted"),
        ClaimVerdict::Undecided => style.warn("undecided"),
        ClaimVerdict::Untested => style.warn("untested"),
    };
    let text = format!(
        "\"{} under ${} a million by {}\"",
        found.class.name, test.claim.usd_per_million, test.claim.by
    );
    out.line(format_args!("  {verdict}: claim {text}"));
    let mut parts = vec![test.reason.clone()];
    if let Some(price) = &*test.foreseen {
        parts.push(format!("predicted for that day {}, {}", usd(price.usd_per_million), prediction(price)));
    }
    if let Some(probability) = *test.probability {
        parts.push(format!("probability {} if the fitted model holds, n = {}", percent(probability), test.n));
    }
    if let (Some(low), Some(factor)) = (&*test.lowest_so_far, *test.factor_to_go)
        && factor > 1.0
    {
        parts.push(format!(
            "lowest so far {} ({}/{}, {}): a further {}× in {} days",
            usd(low.usd_per_million),
            low.provider,
            low.model,
            low.date,
            significant(factor, 3),
            test.days_to_go
        ));
    }
    if let Some(second) = &*test.dated_only {
        parts.push(format!(
            "through dated prices only: {}, {}, probability {}, n = {}",
            usd(second.foreseen.usd_per_million),
            prediction(&second.foreseen),
            percent(second.probability),
            second.n
        ));
    }
    if let Some(day) = &*test.reached {
        parts.push(format!("the curve gets there {}", when(day)));
    }
    note(out, style, &parts.join("; "));
}

fn use_case(out: &mut Page, found: &Forecast, case: &UseCaseForecast, style: Style) {
    let asked = &case.case;
    out.line(format_args!(
        "\n{} {} in, {} out a call, {} calls a success, {} of input cached",
        style.strong("Use case"),
        number(asked.input_tokens),
        number(asked.output_tokens),
        significant(case.calls_per_success, 3),
        percent(asked.cached_share)
    ));
    out.line(format_args!(
        "{}",
        style.dim(&format!(
            "  {:<40} {:>10} {:>11} {:>10}  pays",
            "today at", "USD/task", "USD/month", "tasks/USD"
        ))
    ));
    for standing in &case.standings {
        self::standing(out, standing, can_be_believed(found, standing), style);
        let cached = &standing.basis.cached_input_usd_per_million;
        let changed = cached.is_some_and(|usd| usd < standing.basis.input_usd_per_million);
        if asked.cached_share > 0.0 && !changed {
            let reason = cached.reason();
            let reason = reason.unwrap_or("its cached input costs the same as other input");
            for text in wrap(&format!("--cached changes nothing here: {reason}"), 74) {
                out.line(format_args!("    {}", style.warn(&text)));
            }
        }
    }
    match case.limit.as_result() {
        Ok(limit) => {
            let from = match limit.from {
                "budget" => "the month's budget over its tasks",
                _ => "the task's value less the margin",
            };
            line(out, style, "may cost", &format!("{} a task", usd(limit.usd_per_task)), from);
        }
        Err(reason) => note(out, style, reason),
    }
    if let Some(needed) = *case.needed_usd_per_million {
        line(out, style, "needs", &usd(needed), "a million at this mix, as a list price");
    }
    let believed = case.standings.first().is_none_or(|standing| can_be_believed(found, standing));
    let verdict = match *case.viable_now {
        Some(true) if !believed => style.warn("viable now, if the record is right"),
        Some(true) => style.good("viable now"),
        Some(false) => style.bad("not viable now"),
        None => return,
    };
    let by = case
        .standings
        .first()
        .map_or(String::new(), |standing| format!(" at {}", shorten(&standing.basis.name, 50)));
    out.line(format_args!("{} {verdict}{by}", style.strong("Verdict ")));
    if let Some(low) = &*case.reached {
        note(
            out,
            style,
            &format!(
                "the class has been low enough since {} ({}/{} at {})",
                low.date,
                low.provider,
                low.model,
                usd(low.usd_per_million)
            ),
        );
        return;
    }
    match case.day.as_result() {
        Ok(day) => {
            for text in wrap(&format!("the class's curve is low enough {}", when(day)), 74) {
                out.line(format_args!("    {}", style.strong(&text)));
            }
            if day.earliest.is_some_and(|day| day < found.as_of) {
                note(out, style, "the interval's days before today are already ruled out");
            }
            if day.years_beyond_data.is_some_and(|years| years > 1.0) {
                note(
                    out,
                    style,
                    &format!(
                        "{} years past the last point: an extrapolation, not knowledge",
                        significant(day.years_beyond_data.unwrap_or(0.0), 2)
                    ),
                );
            }
        }
        Err(reason) => note(out, style, reason),
    }
    if let Some(rate) = &*case.by_rate {
        let day = |day: Option<jiff::civil::Date>, none: &str| {
            day.map_or_else(|| none.to_owned(), |day| day.to_string())
        };
        let text = format!(
            "today's {} falling at the curve's rate: {} (95% of the rate: {} to {}, n = {})",
            usd(rate.from_usd_per_million),
            day(rate.expected, "never"),
            day(rate.earliest, "?"),
            day(rate.latest, "never"),
            rate.n
        );
        note(out, style, &text);
    }
}

fn standing(out: &mut Page, standing: &Standing, believed: bool, style: Style) {
    let basis = &standing.basis;
    let pays = match *standing.viable {
        Some(true) if !believed => style.warn("yes, if the record is right"),
        Some(true) => style.good("yes"),
        Some(false) => style.bad("no"),
        None => "–".to_owned(),
    };
    out.line(format_args!(
        "  {:<40} {:>10} {:>11} {:>10}  {pays}",
        shorten(&basis.name, 40),
        usd(standing.usd_per_task),
        standing.usd_per_month.map_or_else(|| "–".to_owned(), usd),
        number(standing.tasks_per_usd)
    ));
    let interval = standing.usd_per_task_ci95.map_or_else(
        || "list price, no interval".to_owned(),
        |ends| format!("95% {}", format::range(Some(ends), usd)),
    );
    let cached = basis
        .cached_input_usd_per_million
        .map_or(String::new(), |cached| format!(", cached {}", usd(cached)));
    let stale = if basis.stale { " (old)" } else { "" };
    note(
        out,
        style,
        &format!(
            "{} in{cached}, {} out a million; {interval}; {}, {}{stale}",
            usd(basis.input_usd_per_million),
            usd(basis.output_usd_per_million),
            basis.source,
            basis.observed
        ),
    );
}

/// What speaks against a record's own figures.
fn doubt_of(own: &Own) -> Option<String> {
    let checks = || own.doubts.clone();
    let found = match own.validity {
        Verdict::Invalid => Doubt::Invalid { checks: checks() },
        Verdict::Suspect => Doubt::Suspect { checks: checks() },
        Verdict::Valid | Verdict::NotChecked => return None,
    };
    Some(doubt(&found, "the record"))
}

/// Whether the figures that a standing rests on can be believed: list prices, and valid records.
fn can_be_believed(found: &Forecast, standing: &Standing) -> bool {
    let name = &standing.basis.name;
    standing.basis.kind != BasisKind::Record
        || found.own.iter().all(|own| own.record != *name || doubt_of(own).is_none())
}

/// The drawing of a forecast.
pub fn log_plot(found: &Forecast) -> LogPlot {
    let point = |point: &crate::cost::curve::Point| PlotPoint {
        date: point.date,
        value: point.usd_per_million,
        label: format!(
            "{} {}/{}: {} ({})",
            point.date,
            point.provider,
            point.model,
            usd(point.usd_per_million),
            point.source
        ),
    };
    let lows = &found.record_lows;
    let others = found.points.iter().filter(|candidate| !lows.contains(candidate));
    let mut series = vec![
        PlotSeries {
            name: format!("other prices of the class, n = {}", found.points.len() - lows.len()),
            mark: Mark::Faint,
            points: others.map(point).collect(),
        },
        PlotSeries {
            name: format!("record-lows, n = {}", lows.len()),
            mark: Mark::Strong,
            points: lows.iter().map(point).collect(),
        },
    ];
    if !found.own.is_empty() {
        let points = found.own.iter().map(|own| PlotPoint {
            date: own.date,
            value: own.usd_per_million,
            label: format!(
                "{} {}: {} measured ({})",
                own.date,
                own.model,
                usd(own.usd_per_million),
                own.record
            ),
        });
        series.push(PlotSeries {
            name: "measured here: a cost, not a price".to_owned(),
            mark: Mark::Other,
            points: points.collect(),
        });
    }
    let curve = found.curve.iter().map(|place| CurvePoint {
        date: place.date,
        value: place.usd_per_million,
        low: place.prediction95[0],
        high: place.prediction95[1],
    });
    let mut levels = Vec::new();
    if let Some(needed) = found.use_case.as_ref().and_then(|case| *case.needed_usd_per_million) {
        levels.push((format!("needed by the use case, {}", usd(needed)), needed));
    }
    if let Some(test) = &*found.claim {
        levels.push((
            format!("claimed by {}: ${}", test.claim.by, test.claim.usd_per_million),
            test.claim.usd_per_million,
        ));
    }
    let rate = found.fit.as_ref().map_or_else(
        || "no rate".to_owned(),
        |fit| {
            format!(
                "{}× a year, {}, n = {}",
                significant(fit.yearly_factor.value, 3),
                interval(&fit.yearly_factor, "×"),
                fit.n
            )
        },
    );
    LogPlot {
        title: format!("{}: what the cheapest model with {} cost", found.class.name, found.class.gate()),
        subtitle: format!(
            "list prices of managed APIs, {} input : 1 output, as of {}",
            trimmed(found.blend_ratio, 3),
            found.as_of
        ),
        y_label: "USD per million tokens".to_owned(),
        series,
        curve: curve.collect(),
        data_end: found.fit.as_ref().map(|fit| fit.to),
        curve_label: format!("fit: {rate}"),
        band_label: "95% prediction interval of one further record-low".to_owned(),
        levels,
        today: Some(found.as_of),
    }
}

fn line(out: &mut Page, style: Style, name: &str, value: &str, note: &str) {
    // A value is padded before it is coloured: an escape sequence has no width.
    let head = format!("  {name:<10} {}", style.strong(&format!("{value:<15}")));
    if note.is_empty() {
        out.line(format_args!("{head}"));
    }
    for (index, text) in wrap(note, 52).iter().enumerate() {
        if index == 0 {
            out.line(format_args!("{head} {}", style.dim(text)));
        } else {
            out.line(format_args!("{:28} {}", "", style.dim(text)));
        }
    }
}

fn note(out: &mut Page, style: Style, text: &str) {
    for text in wrap(text, 74) {
        out.line(format_args!("    {}", style.dim(&text)));
    }
}

fn list(out: &mut Page, style: Style, text: &str) {
    for (index, text) in wrap(text, 76).iter().enumerate() {
        out.line(format_args!("  {} {}", if index == 0 { "·" } else { " " }, style.dim(text)));
    }
}

fn when(day: &DayInterval) -> String {
    let shown = |day: &Known<jiff::civil::Date>| match day.as_result() {
        Ok(day) => day.to_string(),
        Err(reason) => format!("open ({reason})"),
    };
    match day.expected.as_result() {
        Ok(expected) => {
            format!("about {expected}, 95% {} to {}, n = {}", shown(&day.earliest), shown(&day.latest), day.n)
        }
        Err(reason) => format!("never: {reason}, n = {}", day.n),
    }
}

fn prediction(price: &PriceAt) -> String {
    format!(
        "95% {} for one further low, {} for the curve",
        format::range(Some(price.prediction95), usd),
        format::range(Some(price.confidence95), usd)
    )
}

fn interval(estimate: &Estimate, unit: &str) -> String {
    let low = significant(estimate.ci95.0, 3);
    match estimate.ci95.1 {
        Some(high) => format!("95% {low}{unit} to {}{unit}", significant(high, 3)),
        None => format!("95% {low}{unit} to open: {}", estimate.ci95_reason.as_deref().unwrap_or_default()),
    }
}

/// A price; that of a curve continued for thousands of years is too small for a number.
fn usd(value: f64) -> String {
    if value == 0.0 { "about $0".to_owned() } else { format::usd(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_interval_says_so() {
        let open = Estimate {
            value: 12.0,
            ci95: (6.0, None),
            ci95_reason: Some("the slope may be zero".to_owned()),
        };
        assert_eq!(interval(&open, " months"), "95% 6.00 months to open: the slope may be zero");
    }
}
