//! llama-batched-bench: rows of a prompt and its continuation at several batch sizes, as JSONL.
//!
//! Prompt and output are timed separately, so a row is a joint one that can be priced exactly. A shared prompt
//! (`is_pp_shared`) is processed once for all sequences, which makes a prompt row of batch 1 followed by an output row.

use std::path::Path;

use crate::record::{Cell, Measurement, Metric, Phase};

use super::Error;
use super::cells;
use super::fields::At;
use super::foreign::{Foreign, ForeignEngine, ForeignWorkload, Formula, Kept};
use super::json::Node;
use super::left_out::{DEAD, NoCell};
use super::rows::Rows;

const OF_THE_TEST: [&str; 11] =
    ["pp", "tg", "pl", "n_kv", "t_pp", "speed_pp", "t_tg", "speed_tg", "t", "speed", "is_pp_shared"];

const ONCE: &str = "one run, without repetition; the tool's own figure";
const INPUT: Formula = Formula::new(Metric::InputTimeSeconds, "llama-batched-bench.t_pp", ONCE);
const OUTPUT: Formula = Formula::new(Metric::OutputTimeSeconds, "llama-batched-bench.t_tg", ONCE);
const ALL: Formula = Formula::new(Metric::EndToEndLatencySeconds, "llama-batched-bench.t", ONCE);
const PREFILL: Formula = Formula::new(Metric::PrefillTokensPerSecond, "llama-batched-bench.speed_pp", ONCE);
const DECODE: Formula = Formula::new(Metric::DecodeTokensPerSecond, "llama-batched-bench.speed_tg", ONCE);
const OUTPUT_RATE: Formula = Formula::new(Metric::OutputTokensPerSecond, "llama-batched-bench.output", ONCE);
const TOTAL_RATE: Formula = Formula::new(Metric::TotalTokensPerSecond, "llama-batched-bench.speed", ONCE);

/// The records in these rows.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    cells::records(path, rows, |at| {
        let (label, measurements) = figures(at)?;
        let of_the_test = |(name, _): &&(Box<str>, Node)| OF_THE_TEST.contains(&&**name);
        let setup = || at.fields().iter().filter(|field| !of_the_test(field));
        let mut kept = Kept::of(setup());
        kept.row(at.fields().iter().filter(of_the_test));
        let key = format!("{:?}", setup().collect::<Vec<_>>());
        let found = Foreign {
            tool: "llama-batched-bench",
            engine: ForeignEngine {
                name: Some("llama.cpp".to_owned()),
                threads: at.count("n_threads")?.and_then(|count| usize::try_from(count).ok()),
                device: (at.get("n_gpu_layers") == Some(&Node::Number(0.0))).then(|| "cpu".to_owned()),
                ..ForeignEngine::default()
            },
            workload: ForeignWorkload {
                kind: "shapes",
                rows: vec![label],
                tokens: Some("random".to_owned()),
                sampling: Some("none: it feeds random tokens".to_owned()),
                prefix_cache: Some(false),
            },
            measurements,
            kept,
            ..Foreign::default()
        };
        Ok((key, found))
    })
}

fn figures(at: &At<'_>) -> Result<(String, Vec<Measurement>), NoCell> {
    let prompt_tokens = at.required("pp", at.small_count("pp")?)?;
    let output_tokens = at.required("tg", at.small_count("tg")?)?;
    let batch = at.required("pl", at.small_count("pl")?)?;
    if batch == 0 || (prompt_tokens, output_tokens) == (0, 0) {
        let name = if batch == 0 { "pl" } else { "pp" };
        return Err(at.no_cell(DEAD, name, "is 0, so nothing was measured"));
    }
    let shared = at.boolean("is_pp_shared")?.unwrap_or(false);
    let sequences = f64::from(batch);
    let (input, output) = (f64::from(prompt_tokens), f64::from(output_tokens) * sequences);
    // Without a prompt, or without output, the row has a single phase, and the other's time is meaningless.
    if prompt_tokens == 0 {
        let cell = Cell {
            prompt_tokens,
            output_tokens,
            batch,
            depth: 0,
            phase: Phase::Decode,
            requests_per_second: None,
        };
        let label = cell.label();
        return Ok((label, vec![DECODE.one_run(&Ok(cell), output / at.needed("t_tg")?)]));
    }
    if output_tokens == 0 {
        let read_by = if shared { 1 } else { batch };
        let cell = Cell {
            prompt_tokens,
            output_tokens,
            batch: read_by,
            depth: 0,
            phase: Phase::Prefill,
            requests_per_second: None,
        };
        let label = cell.label();
        let rate = input * f64::from(read_by) / at.needed("t_pp")?;
        return Ok((label, vec![PREFILL.one_run(&Ok(cell), rate)]));
    }
    let input_seconds = at.needed("t_pp")?;
    let output_seconds = at.needed("t_tg")?;
    if shared {
        let prompt = Cell {
            prompt_tokens,
            output_tokens: 0,
            batch: 1,
            depth: 0,
            phase: Phase::Prefill,
            requests_per_second: None,
        };
        let decode = Cell {
            prompt_tokens: 0,
            output_tokens,
            batch,
            depth: prompt_tokens,
            phase: Phase::Decode,
            requests_per_second: None,
        };
        let label = format!("{} shared, {}", prompt.label(), decode.label());
        let figures = vec![
            PREFILL.one_run(&Ok(prompt), input / input_seconds),
            DECODE.one_run(&Ok(decode), output / output_seconds),
        ];
        return Ok((label, figures));
    }
    let cell = Cell {
        prompt_tokens,
        output_tokens,
        batch,
        depth: 0,
        phase: Phase::Joint,
        requests_per_second: None,
    };
    let label = cell.label();
    let cell = Ok(cell);
    let input = input * sequences;
    let seconds = at.figure("t")?.and_then(|figure| figure.value()).unwrap_or(input_seconds + output_seconds);
    let figures = vec![
        PREFILL.one_run(&cell, input / input_seconds),
        DECODE.one_run(&cell, output / output_seconds),
        OUTPUT_RATE.one_run(&cell, output / seconds),
        TOTAL_RATE.one_run(&cell, (input + output) / seconds),
        ALL.one_run(&cell, seconds),
        INPUT.one_run(&cell, input_seconds),
        OUTPUT.one_run(&cell, output_seconds),
    ];
    Ok((label, figures))
}
