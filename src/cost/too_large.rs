//! Whether a model can be held by the GPUs that its tokens are priced on: a price of fewer is a price of nothing.

use crate::catalog::{Catalog, Gpu};

/// Bytes of a weight in `Q4_K`: 144 for 256 of them. Fewer bits are rarely served.
const BYTES: f64 = 144.0 / 256.0;
const GIB: f64 = (1_u64 << 30) as f64;

/// What to know where a model cannot run on this many of a GPU: its weights alone, at 4.5 bits each, exceed their memory.
/// `None` where it fits, or its size is unknown: neither in the catalog nor part of its name.
pub fn too_large(model: &str, gpu: &Gpu, gpus: u32, catalog: &Catalog) -> Option<String> {
    let sold = model.rsplit('/').next().unwrap_or(model);
    let api = || {
        let sells = |name: &str| name.eq_ignore_ascii_case(sold);
        catalog.models.iter().find(|row| row.api_model.as_deref().is_some_and(sells))
    };
    let row = catalog.model(sold).ok().or_else(api).or_else(|| catalog.model_named(model));
    let (name, weights) = match row {
        Some(row) => (row.id.as_str(), row.shape.matrix_parameters() as f64),
        None => (sold, in_name(sold)?),
    };
    let (needed, memory) = (weights * BYTES, gpu.memory().get() as f64);
    let least = (needed / memory).ceil();
    (least > f64::from(gpus)).then(|| {
        format!(
            "{name} has {:.0} billion weights, {:.0} GiB at 4.5 bits each; {gpus} x {} has {:.0} GiB, so it does not fit: \
             --gpus {least} or more",
            weights / 1e9,
            needed / GIB,
            gpu.id,
            memory / GIB * f64::from(gpus)
        )
    })
}

/// The number of weights that a model's name says: the first of `671B`, `30B-A3B`.
fn in_name(name: &str) -> Option<f64> {
    let mut words = name.split(['-', '_', ':', ' ', '@']);
    let billions = words.find_map(|word| {
        let number = word.strip_suffix(['B', 'b'])?;
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        number.parse::<f64>().ok().filter(|_| plain)
    })?;
    Some(billions * 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_does_not_fit_is_told_with_the_gpus_it_takes() {
        let catalog = Catalog::bundled();
        let h100 = catalog.gpu("h100").expect("a card");
        // 671e9 x 4.5 bits are 351.5 GiB, and a card has 80.
        let said = too_large("deepseek-ai/DeepSeek-R1-671B", h100, 1, &catalog).expect("too large");
        assert!(said.contains("671 billion weights") && said.ends_with("--gpus 5 or more"), "{said}");
        assert_eq!(too_large("deepseek-ai/DeepSeek-R1-671B", h100, 5, &catalog), None);
        assert_eq!(too_large("org/a-model", h100, 1, &catalog), None, "its size is not known");
        assert_eq!(too_large("meta-llama/Llama-3.1-8B-Instruct", h100, 1, &catalog), None);
    }

    #[test]
    fn a_model_that_the_gpus_cannot_hold_is_named_with_how_many_can() {
        let catalog = Catalog::bundled();
        let gpu = catalog.gpu("rtx-4090-24gb").expect("a GPU");
        // By hand: 80 layers of 8192 · 128 · 2 · (64 + 8) + 3 · 8192 · 28672 and two embeddings of 128256 · 8192.
        let said = too_large("together/llama-3.3-70b", gpu, 1, &catalog).expect("too large");
        assert!(
            said.contains("71 billion weights, 37 GiB at 4.5 bits each; 1 x rtx-4090-24gb has 24 GiB"),
            "{said}"
        );
        assert!(said.ends_with("--gpus 2 or more"), "{said}");
        assert_eq!(too_large("llama-3.3-70b", gpu, 2, &catalog), None);
        assert_eq!(too_large("groq/llama-3.1-8b", gpu, 1, &catalog), None);
        assert_eq!(too_large("gpt-4o-mini", gpu, 1, &catalog), None, "its size is not public");
    }

    #[test]
    fn the_size_in_a_name_is_the_first() {
        for (name, billions) in [
            ("Qwen3-235B-A22B-Instruct-2507", Some(235.0)),
            ("smollm2:1.7b", Some(1.7)),
            ("Mixtral-8x7B-v0.1", None),
            ("gpt-4b2", None),
            ("B-52", None),
        ] {
            assert_eq!(in_name(name), billions.map(|number| number * 1e9), "{name}");
        }
    }
}
