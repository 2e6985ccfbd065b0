//! The machine of an imported file: its GPUs according to the file and the flags, and their price per hour.
//!
//! A flag may supply what the file does not state, and how many GPUs to count; it may not contradict the file.

use crate::base::known::Known;
use crate::base::text;
use crate::catalog;
use crate::cost;
use crate::record::{Environment, Gpu, Price, Unknown};

use super::adapters::{models, slice};
use super::foreign::Foreign;
use super::model::clean;
use super::not_stated::NotStated;
use super::{Error, ImportError, Options, Source};

/// Rejects `--gpu` if the file names different GPUs, and both flags if the CPU was used. Notes a differing count.
///
/// A file may name the family, and the flag the card; of several kinds the flag selects one.
pub(super) fn reconcile(
    foreign: &mut Foreign,
    source: &Source<'_>,
    options: &Options<'_>,
) -> Result<(), ImportError> {
    let against = |said: String, flag, given: String| {
        Err(Error::Contradicted { path: source.path.to_owned(), said, flag, given }.into())
    };
    let on_cpu = foreign.gpus.is_empty() && foreign.engine.device.as_deref() == Some("cpu");
    if let Some(id) = options.gpu {
        let given = options.catalog.gpu(id)?;
        if on_cpu {
            return against("that the CPU was used".to_owned(), "--gpu", given.id.clone());
        }
        let fits = |name: &str| {
            let said = options.catalog.gpu(name).ok()?;
            let only_family = said.family.eq_ignore_ascii_case(name.trim()) && said.family == given.family;
            Some(said.id == given.id || only_family)
        };
        if foreign.gpus.iter().any(|name| fits(name) == Some(true)) {
            let all = foreign.gpus.len();
            foreign.gpus.retain(|name| fits(name) == Some(true));
            let left = all - foreign.gpus.len();
            if left > 0 {
                let left = text::count(left, "GPU");
                foreign.notes.push(format!("--gpu {}: not counted, of another kind: {left}", given.id));
                foreign.gpu_count = Some(foreign.gpus.len());
            }
        } else if let Some(other) = foreign.gpus.iter().find(|name| fits(name) == Some(false)) {
            // Names that are not in the catalog may belong to the card.
            return against(format!("`{}`", clean(other)), "--gpu", given.id.clone());
        } else if let Some(other) =
            foreign.gpus.iter().find(|name| slice(name).is_none() && !may_be_of(name, given))
        {
            let said = format!("`{}`, which is not in the catalog", clean(other));
            return against(said, "--gpu", given.id.clone());
        } else if let Some(name) = foreign.gpus.first() {
            let name = clean(name);
            foreign.notes.push(match slice(&name) {
                Some(kind) => format!("`{name}` is {kind}: the price of a whole {} does not apply", given.id),
                None => format!("`{name}` is not in the catalog; priced as --gpu {}", given.id),
            });
        }
        // The file may state which card of the family it was.
        let others = options.catalog.other_forms(id);
        if foreign.gpus.is_empty() && !others.is_empty() {
            foreign.notes.push(format!(
                "--gpu {id} means {} here; it may also be {}",
                given.id,
                others.join(", ")
            ));
        }
    }
    let Some(count) = options.gpus else { return Ok(()) };
    if on_cpu {
        return against("that the CPU was used".to_owned(), "--gpus", count.to_string());
    }
    if let Some(said) = foreign.gpu_count.filter(|said| *said != count as usize) {
        let said = text::count(said, "GPU");
        foreign.notes.push(format!("the file says {said}, but --gpus says {count}, which is used"));
    }
    foreign.gpu_count = Some(count as usize);
    Ok(())
}

/// Whether a name that is not in the catalog may belong to this card: it names no model, or this card's.
fn may_be_of(name: &str, card: &catalog::Gpu) -> bool {
    let named = models(name);
    let own: Vec<String> = [&card.id, &card.family, &card.name]
        .into_iter()
        .chain(&card.aliases)
        .flat_map(|name| models(name))
        .collect();
    named.is_empty() || named.iter().any(|word| own.contains(word))
}

pub(super) fn environment(
    foreign: &Foreign,
    options: &Options<'_>,
    not_stated: NotStated,
) -> Result<Environment, catalog::Error> {
    let catalog = options.catalog;
    let given = options.gpu.map(|id| catalog.gpu(id)).transpose()?;
    let count = foreign.gpu_count.unwrap_or(foreign.gpus.len()).max(1);
    let names: Vec<(String, Option<&catalog::Gpu>)> = match (given, foreign.gpus.as_slice()) {
        (Some(row), said) => (0..count)
            .map(|n| match said.get(n) {
                Some(name) => (clean(name), Some(row).filter(|_| slice(name).is_none())),
                None => (row.name.clone(), Some(row)),
            })
            .collect(),
        (None, []) => Vec::new(),
        (None, said) => {
            let named = |n: usize| &said[n % said.len()];
            (0..count).map(|n| (clean(named(n)), catalog.gpu(named(n)).ok())).collect()
        }
    };
    let gpus: Vec<Gpu> = names
        .into_iter()
        .map(|(name, row)| Gpu {
            uuid: Known::unknown(not_stated.why()),
            catalog_id: row
                .map(|row| row.id.clone())
                .ok_or_else(|| match slice(&name) {
                    Some(kind) => format!("it is {kind}, which is not in the catalog"),
                    None => "not in the catalog; name the card with --gpu".to_owned(),
                })
                .into(),
            name: Known::new(name),
            memory_bytes: Known::unknown(not_stated.why()),
            used: true,
            facts: Unknown::new(),
            unknown: Unknown::new(),
        })
        .collect();
    let cpu = not_stated.or(foreign.cpu.as_deref().map(clean));
    Ok(Environment {
        cpu,
        gpus_reason: gpus.is_empty().then(|| match (foreign.engine.device.as_deref(), foreign.gpu_count) {
            (Some("cpu"), _) => "the CPU was used".to_owned(),
            (_, Some(count)) => {
                format!("the file says {} but not which model; give it with --gpu", text::count(count, "GPU"))
            }
            _ => format!("{}; give it with --gpu", not_stated.why()),
        }),
        gpus,
        ..Environment::unknown(&not_stated.why())
    })
}

/// The total price of all GPUs: given, or from the catalog.
pub(super) fn price(
    environment: &Environment,
    foreign: &Foreign,
    model: &str,
    options: &Options<'_>,
) -> Result<Price, String> {
    let mut price = price_of(environment, foreign, options)?;
    // A client's file names no GPU: how many there are is what was said here, or one.
    if foreign.gpus.is_empty()
        && (options.price_per_hour.is_none() || options.gpus.is_some())
        && let Some(gpu) = options.gpu.and_then(|id| options.catalog.gpu(id).ok())
    {
        let count = u32::try_from(environment.gpus.iter().filter(|gpu| gpu.used).count()).unwrap_or(u32::MAX);
        price.warnings.extend(cost::too_large(model, gpu, count, options.catalog));
    }
    Ok(price)
}

fn price_of(environment: &Environment, foreign: &Foreign, options: &Options<'_>) -> Result<Price, String> {
    let used: Vec<&Gpu> = environment.gpus.iter().filter(|gpu| gpu.used).collect();
    if let Some(usd) = options.price_per_hour {
        // Without --gpus the price is for the whole machine, as in `bench cost`.
        return cost::of_gpus(cost::given_price(usd), options.gpus.unwrap_or(1));
    }
    if used.is_empty() {
        return Err(match foreign.engine.device.as_deref() {
            Some("cpu") => "the file does not state the CPU's machine; give its rent with --price-per-hour USD",
            _ => "the file does not state the GPU; give it with --gpu ID, or its rent with --price-per-hour USD",
        }
        .to_owned());
    }
    let mut kinds: Vec<(&Gpu, u32)> = Vec::new();
    for gpu in used {
        match kinds.iter_mut().find(|(known, _)| {
            *known.catalog_id == *gpu.catalog_id && (gpu.catalog_id.is_some() || *known.name == *gpu.name)
        }) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => kinds.push((gpu, 1)),
        }
    }
    let mut all: Option<Price> = None;
    for (gpu, count) in kinds {
        let row = gpu.catalog_id.as_deref().and_then(|id| options.catalog.gpu(id).ok()).ok_or_else(|| {
            let name = gpu.label();
            match (slice(name), options.catalog.gpu(name)) {
                (Some(kind), _) => format!("`{name}` is {kind}, which has no known price; give its rent with --price-per-hour USD"),
                (None, Err(catalog::Error::Unknown { nearest, .. })) if !nearest.is_empty() => format!(
                    "`{name}` is not in the catalog (nearest: {}); give its rent with --price-per-hour USD, or its card with --gpu ID",
                    nearest.join(", ")
                ),
                _ => format!("`{name}` is not in the catalog; give its rent with --price-per-hour USD, or its card with --gpu ID"),
            }
        })?;
        let price = cost::of_gpus(cost::gpu_price(options.catalog, row, options.today)?, count)?;
        all = Some(match all {
            None => price,
            Some(before) => sum(before, price)?,
        });
    }
    all.ok_or_else(|| "the file names no GPU".to_owned())
}

/// The rents of two kinds of GPU in one machine; dated by the older of the two.
fn sum(one: Price, other: Price) -> Result<Price, String> {
    let total = one.usd_per_hour.checked_add(other.usd_per_hour);
    let observed = match (one.observed.as_result(), other.observed.as_result()) {
        (Ok(one), Ok(other)) => Known::new(one.min(other).clone()),
        (Err(why), _) | (_, Err(why)) => Known::unknown(why),
    };
    let range = one.range_usd_per_hour.zip(other.range_usd_per_hour);
    let source =
        if one.source == other.source { one.source } else { format!("{}; {}", one.source, other.source) };
    Ok(Price {
        usd_per_hour: total.ok_or_else(|| cost::TOO_LARGE.to_owned())?,
        label: format!("{} + {}", one.label, other.label),
        observed,
        range_usd_per_hour: range.map(|(a, b)| [a[0] + b[0], a[1] + b[1]]),
        warnings: one.warnings.into_iter().chain(other.warnings).collect(),
        source,
    })
}
