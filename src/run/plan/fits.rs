//! What fits on a GPU: how many sequences of three usual loads, and what these can give at most by its data sheet.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;

use crate::catalog::Gpu;
use crate::run::measure::roofline::ModelDemand;

/// Prompt and output tokens of the loads.
const LOADS: [(u32, u32); 3] = [(128, 128), (1024, 1024), (8192, 1024)];
/// Largest batch that is looked at: our engine's largest step.
const MOST: u32 = 1024;

/// What fits on a GPU, and by which data sheet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fits {
    /// The catalog's id of the GPU.
    pub gpu: String,
    /// Bytes per second from its memory.
    pub bytes_per_second: f64,
    /// Dense 16-bit operations per second; `null` where the data sheet has none.
    pub operations_per_second: Option<f64>,
    /// Rent of an hour; `null` where the catalog has none.
    pub usd_per_hour: Option<Decimal>,
    /// The loads that the model's context is long enough for.
    pub loads: Vec<Load>,
}

/// One load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// Prompt tokens of a request.
    pub prompt_tokens: u32,
    /// Output tokens of a request.
    pub output_tokens: u32,
    /// Most sequences that begin and end together: each has its full length at the end.
    pub batch_together: u32,
    /// Most sequences of staggered requests, as a server has them: on average each has half its output.
    pub batch_staggered: u32,
    /// Input and output tokens per second that the staggered batch can reach at most; `null` where nothing fits.
    pub most_tokens_per_second: Option<f64>,
    /// The same as a price: USD per million input and output tokens, at least.
    pub least_usd_per_million_tokens: Option<f64>,
}

impl Fits {
    /// Of a model with this demand on `gpu`; `holds` says whether a batch of sequences with these lengths fits.
    pub fn of(
        gpu: &Gpu,
        usd_per_hour: Option<Decimal>,
        context_length: u32,
        demand: &ModelDemand,
        holds: &dyn Fn(u32, (u32, u32)) -> bool,
    ) -> Self {
        let operations = gpu.bf16_tflops().or(gpu.fp16_dense_tflops).map(|tera| tera * 1e12);
        let mut fits = Self {
            gpu: gpu.id.clone(),
            bytes_per_second: gpu.memory_bandwidth_gb_s * 1e9,
            operations_per_second: operations,
            usd_per_hour,
            loads: Vec::new(),
        };
        for (prompt, output) in LOADS.into_iter().filter(|(prompt, output)| prompt + output <= context_length)
        {
            let staggered = largest(&|batch| holds(batch, (prompt, output.div_ceil(2))));
            let rate = (staggered > 0).then(|| fits.most(demand, staggered, (prompt, output)));
            fits.loads.push(Load {
                prompt_tokens: prompt,
                output_tokens: output,
                batch_together: largest(&|batch| holds(batch, (prompt, output))),
                batch_staggered: staggered,
                most_tokens_per_second: rate,
                least_usd_per_million_tokens: rate
                    .zip(usd_per_hour.and_then(|usd| usd.to_f64()))
                    .map(|(rate, usd)| usd / 3600.0 / rate * 1e6),
            });
        }
        fits
    }

    /// Input and output tokens per second of `batch` sequences at most: every step reads the weights and the cache, and
    /// every token takes its operations. Prompts ride along in these steps, so they read nothing more.
    fn most(&self, demand: &ModelDemand, batch: u32, (prompt, output): (u32, u32)) -> f64 {
        let (batch, prompt, steps) = (f64::from(batch), f64::from(prompt), f64::from(output));
        let step = demand.step(batch, prompt, steps);
        let reading = steps * step.least_bytes / self.bytes_per_second;
        let operations = demand.prompt(batch, 0.0, prompt).operations + steps * step.operations;
        let computing = self.operations_per_second.map_or(0.0, |rate| operations / rate);
        batch * (prompt + steps) / reading.max(computing)
    }
}

/// The largest batch up to [`MOST`] that fits, where a smaller one fits if a larger one does; 0 if none does.
fn largest(fits: &dyn Fn(u32) -> bool) -> u32 {
    let (mut fitting, mut beyond) = (0, MOST + 1);
    while beyond - fitting > 1 {
        let middle = u32::midpoint(fitting, beyond);
        if fits(middle) {
            fitting = middle;
        } else {
            beyond = middle;
        }
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Bytes;
    use crate::catalog::Catalog;

    #[test]
    fn the_largest_batch_is_found_whatever_it_is() {
        for most in [0, 1, 2, 5, 511, 512, 1023, 1024] {
            assert_eq!(largest(&|batch| batch <= most), most);
        }
        assert_eq!(largest(&|_| true), MOST);
    }

    /// 40 GB of weights with two weights a byte, 300 kB of cache a position.
    fn demand() -> ModelDemand {
        ModelDemand {
            weight_bytes: Bytes::new(40_000_000_000),
            experts: None,
            kv_bytes_per_position: 3e5,
            window: None,
            body_parameters: 7e10,
            head_parameters: 1e9,
            attention_operations: 0.0,
        }
    }

    #[test]
    fn a_load_is_bounded_by_bytes_or_by_operations() {
        let catalog = Catalog::bundled();
        let gpu = catalog.gpu("h100-sxm5-80gb").expect("a row");
        let holds = |batch: u32, (prompt, output): (u32, u32)| {
            40e9 + f64::from(batch) * 3e5 * f64::from(prompt + output) <= 80e9
        };
        let fits = Fits::of(gpu, Some(Decimal::TWO), 2048, &demand(), &holds);
        assert_eq!(fits.loads.len(), 2, "8,192 tokens are longer than the context");
        let [short, long] = &fits.loads[..] else { panic!("{fits:?}") };
        assert_eq!((short.batch_together, short.batch_staggered), (520, 694));
        assert_eq!((long.batch_together, long.batch_staggered), (65, 86));
        // 694 sequences: 2 · 71e9 operations a token out and 2 · 70e9 a token in are what takes long.
        let operations = 694.0 * (128.0 * 1.4e11 + 2e9 + 128.0 * 1.42e11);
        let expected = 694.0 * 256.0 / (operations / fits.operations_per_second.expect("a rate"));
        let found = short.most_tokens_per_second.expect("it fits");
        assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
        let price = short.least_usd_per_million_tokens.expect("a rent");
        assert!((price * found - 2.0 / 3600.0 * 1e6).abs() < 1e-6);
        // From a tenth of the bandwidth reading the weights and 1,536 positions of each of 86 sequences takes longest.
        let slow = Gpu { memory_bandwidth_gb_s: gpu.memory_bandwidth_gb_s / 10.0, ..gpu.clone() };
        let fits = Fits::of(&slow, None, 2048, &demand(), &holds);
        let step = (40e9 + 86.0 * 1536.0 * 3e5) / fits.bytes_per_second;
        let found = fits.loads[1].most_tokens_per_second.expect("it fits");
        assert!((found / (86.0 * 2048.0 / (1024.0 * step)) - 1.0).abs() < 0.01, "{found}");
        let nothing = Fits::of(gpu, None, 2048, &demand(), &|_, _| false);
        assert_eq!(nothing.loads[0].batch_staggered, 0);
        assert_eq!(nothing.loads[0].most_tokens_per_second, None);
    }
}
