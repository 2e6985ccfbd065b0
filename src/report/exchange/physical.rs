//! Physically impossible figures: a time in the wrong unit, an overflowed counter, a made-up row.
//!
//! The bounds are far beyond what any machine has measured, so that a fast one is never rejected: a test of less than a
//! microsecond, 100 million tokens per second on a GPU (200 TFLOP/s for a model of a million parameters).

use super::fields::At;
use super::foreign::Foreign;
use super::left_out::NoCell;

/// The shortest mean duration of a run, a request or a gap between tokens, in seconds.
pub(super) const SHORTEST: f64 = 1e-6;
/// The longest, in seconds: three years.
const LONGEST: f64 = 1e8;
/// Maximum tokens per second of a GPU or CPU.
const MOST_TOKENS: f64 = 1e8;
/// Maximum watts of a GPU with its share of the machine.
const MOST_WATTS: f64 = 20_000.0;

pub(super) const KIND: &str = "with impossible figures";

/// Skips a row with such a figure.
pub(super) fn check(at: &At<'_>, found: &Foreign) -> Result<(), NoCell> {
    let gpus = found.gpu_count.unwrap_or(1).max(1) as f64;
    for measured in &found.measurements {
        let Some(value) = *measured.value else { continue };
        let wrong = match measured.unit.as_str() {
            "tokens/s" if value > MOST_TOKENS * gpus => {
                format!("{value:.3e} tokens/s, more than any machine reaches")
            }
            "s" if value > 0.0 && value < SHORTEST => {
                format!("{value:e} s, less than any request or test takes")
            }
            "s" if value > LONGEST => format!("{value:.3e} s, {:.0} years", value / 31_557_600.0),
            "W" | "watts" if value > MOST_WATTS * gpus => format!("{value:.3e} W, more than any GPU draws"),
            _ => continue,
        };
        // The tool's own name for the figure: `vllm.serve.output_throughput/1`.
        let formula = measured.formula.split('/').next().unwrap_or_default();
        let field = formula.rsplit('.').next().filter(|field| at.get(field).is_some());
        let name = field.unwrap_or(measured.metric.as_str());
        return Err(at.no_cell(KIND, name, format!("is {wrong}; wrong unit?")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Format, Options, import_from};
    use crate::catalog::Catalog;

    fn imported(text: &str, format: Format) -> Result<usize, String> {
        let catalog = Catalog::bundled();
        let options = Options {
            format: Some(format),
            model: Some("smollm2-135m"),
            gpu: None,
            gpus: None,
            price_per_hour: None,
            catalog: &catalog,
            today: jiff::civil::date(2026, 11, 29),
            now: jiff::Timestamp::UNIX_EPOCH,
            argv: &[],
        };
        let found = import_from(Path::new("f"), text.as_bytes(), &options);
        found.map(|records| records.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_no_machine_reaches_is_named_with_its_field() {
        let row = |ns: &str| format!(r#"{{"n_prompt": 512, "n_gen": 0, "avg_ns": {ns}}}"#);
        let alone = imported(&row("1"), Format::LlamaBench).expect_err("a nanosecond");
        assert!(alone.contains("`avg_ns` is 1, but no test takes less than a microsecond"), "{alone}");
        let rate = imported(&row("2000"), Format::LlamaBench).expect_err("256 million tokens a second");
        assert!(rate.contains("2.560e8 tokens/s, more than any machine reaches"), "{rate}");
        // The other rows of the file are read.
        assert_eq!(imported(&format!("[{}, {}]", row("1"), row("100000")), Format::LlamaBench), Ok(1));
        let served = |rate: f64, ttft: f64| {
            format!(
                r#"{{"duration": 10, "completed": 5, "total_input_tokens": 50, "total_output_tokens": 50,
                "output_throughput": {rate}, "total_token_throughput": 10, "mean_ttft_ms": {ttft}, "max_concurrency": 1}}"#
            )
        };
        assert_eq!(imported(&served(5.0, 20.0), Format::VllmServe), Ok(1));
        let fast = imported(&served(1e9, 20.0), Format::VllmServe).expect_err("a rate");
        assert!(fast.contains("`output_throughput` is 1.000e9 tokens/s"), "{fast}");
        let soon = imported(&served(5.0, 1e-6), Format::VllmServe).expect_err("a time");
        assert!(soon.contains("less than any request"), "{soon}");
    }
}
