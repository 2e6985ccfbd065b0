//! The ceiling: bytes and operations that a model needs at least, against the device's measured peaks.
//!
//! ```text
//! decode step   bytes = weights − embedding of its own − experts not reached + batch × positions × KV bytes of a position
//!               operations = batch × (2 × weights in matrices, of experts those used, + 4 × layers × heads × head size × positions)
//! prompt        bytes = weights − embedding of its own − experts not reached + batch × (depth + P) × KV bytes of a position
//!               operations = batch × (2 × P × body + 2 × head + 4 × layers × heads × head size × P × (depth + P ÷ 2))
//! MBU = bytes ÷ (seconds × read bandwidth)         MFU = operations ÷ (seconds × FLOPS peak)
//! ```
//!
//! Of the `count` experts of a block a token uses `used`; T tokens reach count × (1 − (1 − used ÷ count)^T) when the
//! router spreads them evenly, and `used` at least, which is what the guard takes.
//!
//! The FLOPS peak is single precision on processors, f16 with single-precision sums on tensor cores.
//!
//! What must be moved is a lower bound: activations, padding and unpacking come on top, weights count as they are
//! stored and once per prompt however many steps it takes, and blocks with a sliding window see no more than that.
//! The head counts once per prompt, for its last position.

use crate::base::known::Known;
use crate::base::units::Bytes;
use crate::record::{Cell, Measurement, Metric};

/// What a model asks of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelDemand {
    /// Weights that every step streams.
    pub weight_bytes: Bytes,
    /// Weights of experts, of which a step streams those that its tokens reach.
    pub experts: Option<ExpertDemand>,
    /// Bytes of the keys and values of one position, all blocks together.
    pub kv_bytes_per_position: f64,
    /// Positions that a query sees in blocks with a sliding window, and these blocks' share of all.
    pub window: Option<(f64, f64)>,
    /// Weights in the layers' matrices that a token is multiplied with.
    pub body_parameters: f64,
    /// Weights in the output head.
    pub head_parameters: f64,
    /// Operations of attention for each pair of a query and a key: 4 × layers × heads × head size.
    pub attention_operations: f64,
}

impl ModelDemand {
    /// Positions that a query sees in a block, the mean over its own positions `from` to `to` and all blocks.
    fn seen(&self, from: f64, to: f64) -> f64 {
        let all = f64::midpoint(from, to);
        let Some((window, share)) = self.window else { return all };
        let windowed = if to <= window {
            all
        } else if from >= window {
            window
        } else {
            ((window * window - from * from) / 2.0 + window * (to - window)) / (to - from)
        };
        all + share * (windowed - all)
    }
}

/// What a mixture of experts needs besides the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertDemand {
    /// Weights of all experts of all blocks.
    pub bytes: Bytes,
    /// Experts of a block.
    pub count: f64,
    /// Of these, used by one token.
    pub used: f64,
}

impl ExpertDemand {
    /// Bytes that `tokens` tokens reach: at least, and when they are spread evenly.
    fn reached(&self, tokens: f64) -> (f64, f64) {
        let one = self.bytes.get() as f64 / self.count;
        (one * self.used, one * self.count * (1.0 - (1.0 - self.used / self.count).powf(tokens)))
    }
}

/// What the device can do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceiling {
    /// Bytes per second from memory.
    pub read: f64,
    /// Operations per second: single precision, or f16 on tensor cores.
    pub flops: f64,
    /// Operations on 8-bit numbers per second; 0 where there are no such instructions.
    pub narrow: f64,
    /// Largest cache: weights that fit in it need not come from memory.
    pub cache: Bytes,
}

impl Ceiling {
    /// Operations per second of the fastest arithmetic there is.
    pub fn fastest(&self) -> f64 {
        self.flops.max(self.narrow)
    }
}

/// One row against the ceiling.
#[derive(Debug, Clone, PartialEq)]
pub struct Utilization {
    /// Which row.
    pub cell: Cell,
    /// Seconds of one step, or of the prompt.
    pub seconds: f64,
    /// Bytes that had to come.
    pub bytes: f64,
    /// Operations that had to be done.
    pub operations: f64,
    /// Share of the read bandwidth; `None` when all of it fits in the cache.
    pub bandwidth: Option<f64>,
    /// Share of it that not even a cache full of the right bytes explains: what the guard looks at.
    pub beyond_cache: f64,
    /// Share of the FLOPS peak; above 1 is possible with narrower numbers.
    pub compute: f64,
    /// Share of the fastest arithmetic there is, 8-bit included: what the guard looks at.
    pub fastest_compute: f64,
}

/// What a prompt, or one decode step, asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Bytes that have to come, with experts spread evenly.
    pub bytes: f64,
    /// Bytes that have to come whichever experts are reached.
    pub least_bytes: f64,
    /// Operations that have to be done.
    pub operations: f64,
}

impl ModelDemand {
    /// What `batch` prompts of `prompt` tokens after `depth` others need.
    pub fn prompt(&self, batch: f64, depth: f64, prompt: f64) -> Work {
        let pairs = prompt * self.seen(depth, depth + prompt);
        let matrices = 2.0 * prompt * self.body_parameters + 2.0 * self.head_parameters;
        // The context's are read, the prompt's own written.
        let positions = self.seen(depth, depth) + prompt;
        let operations = batch * (matrices + self.attention_operations * pairs);
        self.work(batch * prompt, batch * positions, operations)
    }

    /// What one step of `batch` sequences needs, the mean over `output` steps after `depth` tokens.
    pub fn step(&self, batch: f64, depth: f64, output: f64) -> Work {
        let positions = self.seen(depth, depth + output);
        let matrices = 2.0 * (self.body_parameters + self.head_parameters);
        let operations = batch * (matrices + self.attention_operations * positions);
        self.work(batch, batch * positions, operations)
    }

    fn work(&self, tokens: f64, positions: f64, operations: f64) -> Work {
        let (least, even) = self.experts.map_or((0.0, 0.0), |experts| experts.reached(tokens));
        let rest = self.weight_bytes.get() as f64 + positions * self.kv_bytes_per_position;
        Work { bytes: rest + even, least_bytes: rest + least, operations }
    }
}

/// Every pure row that was measured.
pub fn utilization(measured: &[Measurement], model: &ModelDemand, ceiling: &Ceiling) -> Vec<Utilization> {
    measured
        .iter()
        .filter_map(|m| {
            let cell = m.cell.as_ref()?;
            let (batch, depth) = (f64::from(cell.batch), f64::from(cell.depth));
            let work = match (&m.metric, &cell.phase) {
                (Metric::TimeToFirstTokenSeconds, crate::record::Phase::Prefill) => {
                    model.prompt(batch, depth, f64::from(cell.prompt_tokens))
                }
                (Metric::TimePerOutputTokenSeconds, crate::record::Phase::Decode) => {
                    model.step(batch, depth, f64::from(cell.output_tokens))
                }
                _ => return None,
            };
            let Work { bytes, least_bytes: least, operations } = work;
            let seconds = m.value.filter(|seconds| *seconds > 0.0)?;
            let cache = ceiling.cache.get() as f64;
            let share = |bytes: f64| bytes / (seconds * ceiling.read);
            Some(Utilization {
                cell: cell.clone(),
                seconds,
                bytes,
                operations,
                bandwidth: (least > 2.0 * cache).then(|| share(bytes)),
                beyond_cache: share((least - cache).max(0.0)),
                compute: operations / (seconds * ceiling.flops),
                fastest_compute: operations / (seconds * ceiling.fastest()),
            })
        })
        .collect()
}

/// The two shares as measurements.
pub fn measurements(row: &Utilization) -> Vec<Measurement> {
    let one = |metric: Metric, value: Result<f64, String>, method: &str| Measurement {
        ci95: Known::unknown("it follows from the row's time, which has the interval"),
        ..Measurement::new(metric, Known::new(row.cell.clone()), value.into(), method)
    };
    let cached =
        || "the bytes to move are less than twice the largest cache, so memory is not the limit".to_owned();
    vec![
        one(
            Metric::ModelBandwidthUtilization,
            row.bandwidth.ok_or_else(cached),
            "bytes that must be moved ÷ (seconds × read bandwidth measured here)",
        ),
        one(
            Metric::ModelFlopsUtilization,
            Ok(row.compute),
            "operations ÷ (seconds × FLOPS peak measured here)",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::measure::of_process;

    fn measured(metric: Metric, phase: crate::record::Phase, cell: [u32; 4], seconds: f64) -> Measurement {
        let [prompt_tokens, output_tokens, batch, depth] = cell;
        let cell = Cell { prompt_tokens, output_tokens, batch, depth, phase, requests_per_second: None };
        Measurement { cell: Known::new(cell), ..of_process(metric, Ok(seconds), "") }
    }

    /// A model of 1 GB in the body and 0.1 GB in the head at 8 bits, by hand.
    #[test]
    fn shares_follow_from_bytes_and_operations() {
        let model = ModelDemand {
            weight_bytes: Bytes::new(1_100_000_000),
            experts: None,
            kv_bytes_per_position: 100_000.0,
            window: None,
            body_parameters: 1e9,
            head_parameters: 1e8,
            attention_operations: 1e5,
        };
        let ceiling = Ceiling { read: 10e9, flops: 1e12, narrow: 3e12, cache: Bytes::new(32 << 20) };
        let rows = [
            measured(Metric::TimePerOutputTokenSeconds, crate::record::Phase::Decode, [0, 100, 2, 450], 0.24),
            measured(Metric::TimeToFirstTokenSeconds, crate::record::Phase::Prefill, [100, 0, 1, 0], 1.0),
            measured(Metric::TimeToFirstTokenSeconds, crate::record::Phase::Joint, [100, 10, 1, 0], 1.0),
        ];
        let found = utilization(&rows, &model, &ceiling);
        assert_eq!(found.len(), 2);
        // 1.1 GB + 2 · 500 · 100 kB = 1.2 GB in 0.24 s of 10 GB/s.
        assert!((found[0].bandwidth.expect("beyond the cache") - 0.5).abs() < 1e-12, "{:?}", found[0]);
        let beyond = (1.2e9 - f64::from(32 << 20)) / 2.4e9;
        assert!((found[0].beyond_cache - beyond).abs() < 1e-12, "{:?}", found[0]);
        // 2 · (2.2e9 + 1e5 · 500) operations.
        assert!((found[0].operations - 4.5e9).abs() < 1.0);
        // 100 · 2e9 + 2e8 + 1e5 · 5000.
        assert!((found[1].operations - 200.7e9).abs() < 1.0 && (found[1].compute - 0.2007).abs() < 1e-12);
        assert!((found[1].fastest_compute - 0.0669).abs() < 1e-12);
        // 1.1 GB and the prompt's own 100 · 100 kB.
        assert!((found[1].bytes - 1.11e9).abs() < 1.0);
        let deep = utilization(
            &[measured(
                Metric::TimeToFirstTokenSeconds,
                crate::record::Phase::Prefill,
                [100, 0, 2, 400],
                1.0,
            )],
            &model,
            &ceiling,
        );
        // 1.1 GB + 2 · (400 + 100) · 100 kB; 2 · (200.2e9 + 1e5 · 100 · 450).
        assert!((deep[0].bytes - 1.2e9).abs() < 1.0 && (deep[0].operations - 409.4e9).abs() < 1.0);
    }

    /// Four of five blocks see 512 positions.
    #[test]
    fn a_window_bounds_what_is_seen() {
        let model = ModelDemand {
            weight_bytes: Bytes::new(0),
            experts: None,
            kv_bytes_per_position: 1.0,
            window: Some((512.0, 0.8)),
            body_parameters: 0.0,
            head_parameters: 0.0,
            attention_operations: 1.0,
        };
        for (from, to, expected) in [
            (0.0, 512.0, 256.0),
            (0.0, 0.0, 0.0),
            // 0.2 · 4096 + 0.8 · 512.
            (4096.0, 4096.0, 1228.8),
            // The mean of min(x, 512) over 0 to 1024 is 384.
            (0.0, 1024.0, 0.2 * 512.0 + 0.8 * 384.0),
        ] {
            assert!((model.seen(from, to) - expected).abs() < 1e-9, "{from} to {to}");
        }
    }

    /// 0.2 GB for every step, and 0.8 GB in eight experts of which a token uses two.
    #[test]
    fn a_step_streams_the_experts_that_its_tokens_reach() {
        let model = ModelDemand {
            weight_bytes: Bytes::new(200_000_000),
            experts: Some(ExpertDemand { bytes: Bytes::new(800_000_000), count: 8.0, used: 2.0 }),
            kv_bytes_per_position: 0.0,
            window: None,
            body_parameters: 0.4e9,
            head_parameters: 0.0,
            attention_operations: 0.0,
        };
        let ceiling = Ceiling { read: 10e9, flops: 1e12, narrow: 3e12, cache: Bytes::new(0) };
        let rows = [1, 2].map(|batch| {
            measured(Metric::TimePerOutputTokenSeconds, crate::record::Phase::Decode, [0, 100, batch, 0], 0.1)
        });
        let found = utilization(&rows, &model, &ceiling);
        // Two experts of 0.1 GB; two tokens reach 8 · (1 − 0.75²) = 3.5 of them, and at least 2.
        assert!((found[0].bytes - 0.4e9).abs() < 1.0 && (found[1].bytes - 0.55e9).abs() < 1.0, "{found:?}");
        assert!((found[1].beyond_cache - 0.4).abs() < 1e-9 && (found[1].operations - 1.6e9).abs() < 1.0);
    }

    #[test]
    fn what_fits_in_the_cache_has_no_ceiling_of_memory() {
        let model = ModelDemand {
            weight_bytes: Bytes::new(20 << 20),
            experts: None,
            kv_bytes_per_position: 0.0,
            window: None,
            body_parameters: 1e7,
            head_parameters: 0.0,
            attention_operations: 0.0,
        };
        let ceiling = Ceiling { read: 10e9, flops: 1e12, narrow: 3e12, cache: Bytes::new(32 << 20) };
        let rows =
            [measured(Metric::TimePerOutputTokenSeconds, crate::record::Phase::Decode, [0, 8, 1, 0], 1e-3)];
        let found = utilization(&rows, &model, &ceiling);
        assert_eq!((found[0].bandwidth, found[0].beyond_cache.to_bits()), (None, 0.0f64.to_bits()));
        let [bandwidth, _] = &measurements(&found[0])[..] else { panic!("two figures") };
        assert!(bandwidth.value.reason().expect("a reason").contains("cache"));
    }
}
