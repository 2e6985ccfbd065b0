//! Which model `bench run` measures when none is named: one that an API sells, so that its verdict means something.
//!
//! Synthetic weights need no file and no network, so the choice costs nothing to change: where memory is short, or
//! where only the portable instruction set runs, a model that no API sells but that any machine can measure in time.

use crate::engine::fused::Isa;
use crate::model::resolve::Reach;

use super::Session;

/// What any machine can measure in a minute; no API sells it.
pub const SMALL: &str = "synthetic:smollm2-135m:q4_0";
/// A model that an API sells and that two cores measure in a minute.
const SOLD: &str = "synthetic:llama-3.2-1b:q4_k_m";
/// The same for a GPU.
const SOLD_ON_GPU: &str = "synthetic:llama-3.1-8b:q4_k_m";

/// The model that is measured.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DefaultModel {
    pub(super) name: &'static str,
    /// Why it is a smaller one than usual.
    reason: Option<String>,
}

/// Where it will be measured.
struct Fitness<'a> {
    on_gpu: bool,
    /// Whether no more than the portable instruction set is used.
    portable: bool,
    /// Why the machine's memory is too small for the model of that name.
    too_large: &'a dyn Fn(&str) -> Option<String>,
}

fn choose(here: &Fitness<'_>) -> DefaultModel {
    if here.portable && !here.on_gpu {
        let reason = "portable code alone would take minutes for a model that APIs sell".to_owned();
        return DefaultModel { name: SMALL, reason: Some(reason) };
    }
    let usual: &[&'static str] = if here.on_gpu { &[SOLD_ON_GPU, SOLD] } else { &[SOLD] };
    let mut reason = None;
    for name in usual {
        match (here.too_large)(name) {
            None => return DefaultModel { name, reason },
            Some(why) => reason = reason.or(Some(format!("{name}: {why}"))),
        }
    }
    DefaultModel { name: SMALL, reason }
}

impl Session<'_> {
    /// The model that is measured when none is named.
    pub(super) fn default_model(&self) -> DefaultModel {
        let too_large = |name: &str| {
            // Wrong flags are reported when the run itself is planned.
            let planned = self.plan(self.resolve(name, Reach::Weights, &()).ok()?).ok()?;
            planned.check_memory().err()?;
            let available = self.place.available?;
            Some(format!("it needs {} of memory, and {available} is available", planned.plan.memory.total()))
        };
        choose(&Fitness {
            on_gpu: self.place.on_gpu(),
            portable: self.request.isa.unwrap_or_else(Isa::detect) == Isa::Portable,
            too_large: &too_large,
        })
    }
}

impl DefaultModel {
    /// The first lines of a run: what is measured when none was named.
    pub(super) fn announcement(&self) -> String {
        let smaller = self.reason.as_ref().map_or_else(String::new, |why| format!(";\n{why}"));
        format!(
            "no --model: measuring {} (true shapes and formats, random values{}){smaller}.\n\
             A real model: bench run --model hf:org/repo, --model llama-3.2-1b:q4_k_m, or a .gguf file",
            self.name,
            if self.name == SMALL { "; no API sells it" } else { "" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(on_gpu: bool, portable: bool, too_large: &[&str]) -> (&'static str, bool) {
        let too_large =
            |name: &str| too_large.contains(&name).then(|| "it needs 9 GiB and 1 is free".to_owned());
        let found = choose(&Fitness { on_gpu, portable, too_large: &too_large });
        assert_eq!(found.announcement().contains("no API sells it"), found.name == SMALL);
        (found.name, found.reason.is_some())
    }

    #[test]
    fn a_model_that_an_api_sells_is_measured_where_the_machine_is_fit_for_it() {
        assert_eq!(chosen(false, false, &[]), (SOLD, false));
        assert_eq!(chosen(false, false, &[SOLD]), (SMALL, true));
        assert_eq!(chosen(false, true, &[]), (SMALL, true));
        assert_eq!(chosen(true, false, &[]), (SOLD_ON_GPU, false));
        // The processor's instructions matter little to a GPU.
        assert_eq!(chosen(true, true, &[]), (SOLD_ON_GPU, false));
        assert_eq!(chosen(true, false, &[SOLD_ON_GPU]), (SOLD, true));
        assert_eq!(chosen(true, false, &[SOLD_ON_GPU, SOLD]), (SMALL, true));
    }

    #[test]
    fn what_is_measured_by_default_is_sold_and_what_stands_in_for_it_is_not() {
        let catalog = crate::catalog::Catalog::bundled();
        let sold = |name: &str| {
            let preset = name.split(':').nth(1).expect("a preset");
            let row = catalog.model(preset).expect("a row");
            row.api_model.as_ref().is_some_and(|model| !catalog.api_hosts(model).is_empty())
        };
        assert!(sold(SOLD) && sold(SOLD_ON_GPU) && !sold(SMALL));
    }
}
