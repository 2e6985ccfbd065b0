//! The invariant of this room over whole records: input $ + output $ is the rent of the time, to the last cent.

use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::base::known::Known;
use crate::record::{Cell, Cost, Figure, Measurement, Metric, Phase};

use super::{Assumptions, assess, given_price};

fn measured(metric: Metric, cell: &Cell, value: f64) -> Measurement {
    Measurement::new(metric, Known::new(cell.clone()), Known::new(value), "")
}

fn cell(prompt_tokens: u32, output_tokens: u32, batch: u32, phase: Phase) -> Cell {
    Cell { prompt_tokens, output_tokens, batch, depth: 0, phase, requests_per_second: None }
}

/// A row: prompt, output, batch, seconds of input, seconds of output.
type Row = (u32, u32, u32, f64, f64);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (1u32..50_000, 1u32..50_000, 0u32..4, 1e-4f64..1e4, 1e-4f64..1e4);
    prop::collection::vec(row.prop_map(|(p, o, b, i, s)| (p, o, [1, 8, 64, 256][b as usize], i, s)), 1..5)
}

/// Prompt rows with output rows, joint rows, and a server's totals, as their records have them.
fn record(pairs: &[Row], joint: &[Row], served: &[Row]) -> Vec<Measurement> {
    let mut found = Vec::new();
    for (prompt, output, batch, input_seconds, output_seconds) in pairs {
        let count = |tokens: &u32| f64::from(*tokens) * f64::from(*batch);
        let (p, n) = (cell(*prompt, 0, *batch, Phase::Prefill), cell(0, *output, *batch, Phase::Decode));
        found.push(measured(Metric::PrefillTokensPerSecond, &p, count(prompt) / input_seconds));
        found.push(measured(Metric::DecodeTokensPerSecond, &n, count(output) / output_seconds));
    }
    for (prompt, output, batch, input_seconds, output_seconds) in joint {
        let cell = cell(*prompt, *output, *batch, Phase::Joint);
        found.push(measured(Metric::InputTimeSeconds, &cell, *input_seconds));
        found.push(measured(Metric::OutputTimeSeconds, &cell, *output_seconds));
    }
    for (prompt, output, batch, input_seconds, output_seconds) in served {
        let cell = cell(*prompt, *output, *batch, Phase::Serving);
        let seconds = input_seconds + output_seconds;
        let requests = (seconds * 3.0).ceil();
        found.push(measured(Metric::InputTokensPerSecond, &cell, requests * f64::from(*prompt) / seconds));
        found.push(measured(Metric::OutputTokensPerSecond, &cell, requests * f64::from(*output) / seconds));
        found.push(measured(Metric::DurationSeconds, &cell, seconds));
    }
    found
}

fn dollars(figure: Figure, tokens: u64) -> f64 {
    figure.value * tokens as f64 / 1e6
}

proptest! {
    #[test]
    fn input_and_output_dollars_are_the_rent_of_the_time(
        pairs in rows(), joint in rows(), served in rows(), cents in 1i64..100_000,
        utilization in 0.01f64..=1.0, cached_share in 0.0f64..1.0, allocate in any::<bool>(),
    ) {
        let assume = Assumptions {
            utilization, cached_share, price_ratio: allocate.then_some(4.0), ..Assumptions::default()
        };
        let measurements = record(&pairs, &joint, &served);
        let cost = assess(&measurements, Ok(given_price(Decimal::new(cents, 2))), assume);
        // As it is stored and read again.
        let text = serde_json::to_string(&cost).expect("JSON");
        let cost: Cost = serde_json::from_str(&text).expect("the same");
        prop_assert!(cost.cells.len() >= pairs.len() + joint.len().min(1) + served.len().min(1));
        let rent = |seconds: f64| cents as f64 / 100.0 / 3600.0 / utilization * seconds;
        for cell in &cost.cells {
            let seconds = cell.total_seconds.expect("every cell has its time");
            let total = dollars(cell.usd_per_million_total_tokens.expect("a total"), cell.tokens[0] + cell.tokens[1]);
            prop_assert!((total / rent(seconds) - 1.0).abs() < 1e-9, "{cell:?}");
            let all_output = dollars(cell.usd_per_million_all_output_tokens, cell.tokens[1]);
            prop_assert!((all_output / rent(seconds) - 1.0).abs() < 1e-9, "{cell:?}");
            let Some((input, output)) =
                cell.usd_per_million_input_tokens.zip(*cell.usd_per_million_output_tokens)
            else {
                prop_assert!(cell.usd_per_million_input_tokens.reason().is_some());
                continue;
            };
            let apart = dollars(input, cell.tokens[0]) + dollars(output, cell.tokens[1]);
            prop_assert!((apart / rent(seconds) - 1.0).abs() < 1e-9, "{cell:?}");
            let [input_seconds, output_seconds] = cell.seconds.expect("apart, so with its times");
            prop_assert!(((input_seconds + output_seconds) / seconds - 1.0).abs() < 1e-9);
        }
    }
}
