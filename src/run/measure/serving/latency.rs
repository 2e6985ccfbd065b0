//! Latencies of requests that completed.

use crate::base::event::Span;
use crate::base::requests::{Gaps, Moment, Request, RequestLog};
use crate::base::stats::{Histogram, quantile_of_sorted};
use crate::record::Metric;

use super::{Figure, Percentile, QUANTILES, between, enough, time_per_output_token};

/// All of them: of `completed` requests, and of the gaps that ended within `span`.
pub(super) fn figures(log: &RequestLog, span: Span, completed: &[&Request]) -> Vec<Figure> {
    let due = |request: &Request| Moment::from(request.planned.intended);
    let each = |metric: Metric, value: &dyn Fn(&Request) -> Option<f64>| {
        let samples: Vec<f64> = completed.iter().filter_map(|request| value(request)).collect();
        Figure::distribution(metric, &samples)
    };
    let released = |request: &Request| Moment::from(request.planned.released);
    let mut figures = vec![
        each(Metric::TimeToFirstTokenSeconds, &|request| between(due(request), request.first)),
        each(Metric::TimeToFirstAnswerTokenSeconds, &|request| between(due(request), request.first_answer)),
        each(Metric::TimeToFirstTokenAfterSendSeconds, &|request| between(request.sent, request.first)),
        each(Metric::TimePerOutputTokenSeconds, &time_per_output_token),
        each(Metric::EndToEndLatencySeconds, &|request| between(due(request), request.last)),
        each(Metric::SlotWaitSeconds, &|request| between(due(request), released(request))),
        each(Metric::SendLagSeconds, &|request| between(released(request), request.started)),
    ];
    figures.extend(gaps(log, span, completed.len()));
    figures
}

/// Gaps between deliveries: each as it was, and shared out over its tokens.
fn gaps(log: &RequestLog, span: Span, requests: usize) -> [Figure; 2] {
    const WHOLE: Metric = Metric::InterTokenLatencySeconds;
    const SHARED: Metric = Metric::InterTokenLatencyPerTokenSeconds;
    if let Some(gaps) = log.exact_gaps(span) {
        let whole: Vec<f64> = gaps.iter().map(|(gap, _)| *gap as f64 / 1e9).collect();
        let shared: Vec<f64> = gaps
            .iter()
            .flat_map(|(gap, tokens)| {
                let share = *gap as f64 / 1e9 / f64::from(*tokens);
                std::iter::repeat_n(share, *tokens as usize)
            })
            .collect();
        return [(WHOLE, whole), (SHARED, shared)].map(|(metric, mut samples)| {
            let mean = crate::base::stats::mean(&samples);
            samples.sort_unstable_by(f64::total_cmp);
            pooled(metric, EXACT, requests, samples.len(), mean, |q| quantile_of_sorted(&samples, q))
        });
    }
    let Gaps { gaps, per_token } = log.gaps(span);
    [(WHOLE, gaps), (SHARED, per_token)].map(|(metric, histogram)| {
        let mean = histogram.mean().map(|mean| mean / 1e9);
        let n = usize::try_from(histogram.total()).unwrap_or(usize::MAX);
        pooled(metric, BINNED, requests, n, mean, |q| of_histogram(&histogram, q))
    })
}

const EXACT: &str = "mean of all gaps; percentiles of type 7";
const BINNED: &str = "mean of all gaps, exact; percentiles by a histogram, within 0.4%";

fn pooled(
    metric: Metric,
    method: &'static str,
    requests: usize,
    n: usize,
    mean: Option<f64>,
    quantile: impl Fn(f64) -> Option<f64>,
) -> Figure {
    let none = || "no request had two deliveries".to_owned();
    let dependent = || {
        "gaps of one request are not independent; time_per_output_token_seconds has the interval over requests"
            .to_owned()
    };
    let percentile = |q| Percentile {
        q,
        value: enough(requests, q).and_then(|()| quantile(q).ok_or_else(none)),
        ci95: Err(dependent()),
    };
    Figure {
        metric,
        value: mean.ok_or_else(none),
        ci95: Err(dependent()),
        percentiles: QUANTILES.map(percentile).into(),
        n,
        samples: Vec::new(),
        method,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank within the total")]
fn of_histogram(histogram: &Histogram, q: f64) -> Option<f64> {
    let rank = (histogram.total().checked_sub(1)? as f64 * q).round() as u64;
    histogram.at_rank(rank).map(|nanoseconds| nanoseconds / 1e9)
}
