//! Tokens and requests per second: within the steady window, and over the whole run as in other tools.

use crate::base::event::{Span, Tick};
use crate::base::requests::{CountedBy, Ending, Request};
use crate::base::stats::t_interval_positive;
use crate::record::Metric;

use super::counts::prompt_tokens;
use super::steady::BLOCKS;
use super::{CONFIDENCE, Figure, Observed, Steady};

const METHOD: &str =
    "what arrived in the steady window ÷ its length; t interval over 20 blocks of it, effective sample size";
const RUN: &str =
    "tokens of completed requests ÷ time from the first send to the last end, ramp and drain included";

pub(super) fn figures(observed: &Observed<'_>, steady: &Steady, due: &[&Request]) -> Vec<Figure> {
    let flow = observed.log.flow();
    let aligned = steady.window.clone().and_then(|window| {
        flow.aligned(window).ok_or_else(|| format!("the steady window of {} is too short", window.length()))
    });
    let blocks = aligned.map(|span| Blocks::of(observed, span));
    let of = |metric: Metric, pick: &dyn Fn(&Blocks) -> Result<Vec<f64>, String>| {
        let found = blocks.as_ref().map_err(Clone::clone).and_then(|blocks| Ok((blocks, pick(blocks)?)));
        let value =
            found.clone().map(|(blocks, sums)| sums.iter().sum::<f64>() / blocks.seconds.iter().sum::<f64>());
        let rates = found.map(|(blocks, sums)| {
            sums.iter().zip(&blocks.seconds).map(|(sum, seconds)| sum / seconds).collect::<Vec<f64>>()
        });
        let ci95 = rates.as_deref().map_err(Clone::clone).and_then(|rates| {
            t_interval_positive(rates, CONFIDENCE).ok_or_else(|| "nothing arrived in the window".to_owned())
        });
        let n = blocks.as_ref().map_or(0, |blocks| blocks.seconds.len());
        let samples = rates.unwrap_or_default();
        Figure { metric, value, ci95, percentiles: Vec::new(), n, samples, method: METHOD }
    };
    let total = |blocks: &Blocks| {
        let output = blocks.output.clone()?;
        Ok(output.iter().zip(&blocks.input).map(|(output, input)| output + input).collect())
    };
    vec![
        of(Metric::OutputTokensPerSecond, &|blocks| blocks.output.clone()),
        of(Metric::InputTokensPerSecond, &|blocks| Ok(blocks.input.clone())),
        of(Metric::CachedInputTokensPerSecond, &|blocks| blocks.cached.clone()),
        of(Metric::TotalTokensPerSecond, &total),
        of(Metric::RequestsPerSecond, &|blocks| Ok(blocks.requests.clone())),
        of_run(due),
    ]
}

/// What came in each of the window's blocks.
#[derive(Clone)]
struct Blocks {
    seconds: Vec<f64>,
    output: Result<Vec<f64>, String>,
    input: Vec<f64>,
    cached: Result<Vec<f64>, String>,
    requests: Vec<f64>,
}

impl Blocks {
    /// `span` is a whole number of the log's slices.
    fn of(observed: &Observed<'_>, span: Span) -> Self {
        let width = observed.log.flow().width();
        let slices = usize::try_from((span.to.nanos() - span.from.nanos()) / width).unwrap_or(usize::MAX);
        let number = BLOCKS.min(slices);
        let block = |slice: usize| slice * number / slices;
        let mut seconds = vec![0.0; number];
        (0..slices).for_each(|slice| seconds[block(slice)] += width as f64 / 1e9);
        let (mut input, mut requests) = (vec![0.0; number], vec![0.0; number]);
        let mut cached = Ok(vec![0.0; number]);
        let block_of = |at: Tick| {
            let slice = usize::try_from((at.nanos().checked_sub(span.from.nanos())?) / width).ok()?;
            (slice < slices).then(|| block(slice))
        };
        for request in observed.log.requests().iter().filter(|request| !request.ending.is_failure()) {
            if let Some(block) = request.first.get().and_then(block_of) {
                input[block] += f64::from(prompt_tokens(request));
                match (&mut cached, request.usage.map(|usage| usage.cached_tokens)) {
                    (Ok(cached), Some(Some(tokens))) => cached[block] += f64::from(tokens),
                    // One that was cut before it was counted.
                    (_, None) if request.ending == Ending::CutByUs => {}
                    (cached, _) => {
                        *cached = Err("the server does not report cached tokens".to_owned());
                    }
                }
            }
            if let Some(block) = block_of(request.ended).filter(|_| request.ending == Ending::Completed) {
                requests[block] += 1.0;
            }
        }
        // The log may have no slices at the window's end when nothing came there.
        let (mut output, mut uncounted) = (vec![0.0; number], vec![0.0; number]);
        for (slice, flow) in observed.log.flow().within(span).iter().enumerate() {
            output[block(slice)] += f64::from(flow.tokens);
            uncounted[block(slice)] += f64::from(flow.uncounted_bytes);
        }
        let output = if uncounted.iter().sum::<f64>() > 0.0 {
            tokens_per_byte(observed.log.requests()).map(|ratio| {
                output.iter().zip(&uncounted).map(|(tokens, bytes)| tokens + bytes * ratio).collect()
            })
        } else {
            Ok(output)
        };
        Self { seconds, output, input, cached, requests }
    }
}

/// Output tokens ÷ bytes of text, over the requests whose tokens were counted: for those that were cut before they were.
fn tokens_per_byte(requests: &[Request]) -> Result<f64, String> {
    let counted =
        requests.iter().filter(|request| request.counted_by != CountedBy::Nobody && request.text_bytes > 0);
    let (tokens, bytes) = counted.fold((0.0, 0.0), |(tokens, bytes), request| {
        (tokens + f64::from(request.output_tokens), bytes + f64::from(request.text_bytes))
    });
    if bytes > 0.0 { Ok(tokens / bytes) } else { Err(UNCOUNTED.to_owned()) }
}

const UNCOUNTED: &str =
    "the output tokens were not counted: the server sends no usage and there is no tokenizer";

/// vLLM's, SGLang's and AIPerf's way.
fn of_run(due: &[&Request]) -> Figure {
    let completed: Vec<&&Request> =
        due.iter().filter(|request| request.ending == Ending::Completed).collect();
    let begin = due.iter().filter_map(|request| request.started.get()).min();
    let end = completed.iter().map(|request| request.ended).max();
    let value = match (begin, end) {
        _ if completed.iter().any(|request| request.counted_by == CountedBy::Nobody) => {
            Err(UNCOUNTED.to_owned())
        }
        (Some(begin), Some(end)) if begin < end => {
            let tokens: u64 = completed.iter().map(|request| u64::from(request.output_tokens)).sum();
            Ok(tokens as f64 / end.since(begin).get())
        }
        _ => Err("no request completed".to_owned()),
    };
    Figure {
        metric: Metric::RunOutputTokensPerSecond,
        value,
        ci95: Err("one run".to_owned()),
        percentiles: Vec::new(),
        n: completed.len(),
        samples: Vec::new(),
        method: RUN,
    }
}
