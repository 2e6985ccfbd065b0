//! Finding a row by what a person types or a driver reports.

use std::collections::{BTreeSet, HashMap};

use super::error::Error;
use super::{ApiPrice, Catalog, Electricity, Gpu, ModelRow, Vm};

/// How far the driver's total may be from the marketed memory: drivers count 2^30, hold some back, or subtract ECC.
const MEMORY_TOLERANCE: std::ops::RangeInclusive<f64> = 0.90..=1.10;

impl Catalog {
    /// The GPU with this id, alias or family; for a family, the row with that name, else its first row.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the nearest names.
    pub fn gpu(&self, id: &str) -> Result<&Gpu, Error> {
        let wanted = plain(id);
        self.gpus
            .iter()
            .find(|gpu| answers(&gpu.id, &gpu.aliases, &wanted) || plain(&gpu.name) == wanted)
            .or_else(|| self.gpus.iter().find(|gpu| plain(&gpu.family) == wanted))
            .ok_or_else(|| {
                unknown("GPU", "gpus", id, self.gpus.iter().flat_map(|gpu| names(&gpu.id, &gpu.aliases)))
            })
    }

    /// Every GPU of the family that `id` names or that its GPU belongs to.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the nearest names.
    pub fn gpu_family(&self, id: &str) -> Result<Vec<&Gpu>, Error> {
        let family = &self.gpu(id)?.family;
        Ok(self.gpus.iter().filter(|gpu| gpu.family == *family).collect())
    }

    /// The other cards that `id` may mean, where it names a family and not one of its cards; the first is [`Catalog::gpu`]'s.
    pub fn other_forms(&self, id: &str) -> Vec<&str> {
        let Ok(taken) = self.gpu(id) else { return Vec::new() };
        if plain(&taken.family) != plain(id) {
            return Vec::new();
        }
        let others = self.gpus.iter().filter(|gpu| gpu.family == taken.family && gpu.id != taken.id);
        others.map(|gpu| gpu.id.as_str()).collect()
    }

    /// The GPU that a driver reports under `name` with `memory_bytes` of memory, if known; `None` when no row matches
    /// both.
    pub fn gpu_by_device_name(&self, name: &str, memory_bytes: Option<u64>) -> Option<&Gpu> {
        let wanted = plain(name);
        let gpu = self
            .gpus
            .iter()
            .find(|gpu| plain(&gpu.name) == wanted || answers(&gpu.id, &gpu.aliases, &wanted))?;
        let Some(memory_bytes) = memory_bytes else { return Some(gpu) };
        let share = memory_bytes as f64 / (gpu.memory_gb * f64::from(1 << 30));
        MEMORY_TOLERANCE.contains(&share).then_some(gpu)
    }

    /// The model with this id or alias.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the nearest names.
    pub fn model(&self, id: &str) -> Result<&ModelRow, Error> {
        let wanted = plain(id);
        self.models.iter().find(|row| answers(&row.id, &row.aliases, &wanted)).ok_or_else(|| {
            unknown("model", "models", id, self.models.iter().flat_map(|row| names(&row.id, &row.aliases)))
        })
    }

    /// The API price called `provider/model`; if there are several, the one checked last.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the nearest ids.
    pub fn api(&self, id: &str) -> Result<&ApiPrice, Error> {
        let wanted = plain(id);
        let (provider, model) = wanted.split_once('/').unwrap_or_default();
        self.api_prices
            .iter()
            .filter(|row| {
                plain(&row.provider) == provider
                    && [&row.model, &row.source_model_id].iter().any(|name| plain(name) == model)
            })
            .max_by_key(|row| row.as_of)
            .ok_or_else(|| unknown("API price", "prices api", id, self.api_prices.iter().map(ApiPrice::id)))
    }

    /// The prices that a name stands for: one for `provider/model`, those of every host for a model.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the nearest ids; [`Error::NotSold`] for a model of the catalog that no API sells.
    pub fn api_or_hosts(&self, name: &str) -> Result<Vec<&ApiPrice>, Error> {
        if name.contains('/') {
            return self.api(name).map(|row| vec![row]);
        }
        let row = self.model(name).ok();
        let api_model = row.and_then(|row| row.api_model.as_deref()).unwrap_or(name);
        let hosts = self.api_hosts(api_model);
        match (hosts.is_empty(), row) {
            (false, _) => Ok(hosts),
            (true, Some(row)) => Err(Error::NotSold(row.id.clone())),
            (true, None) => {
                let sold: BTreeSet<String> = self.api_prices.iter().map(|row| row.model.clone()).collect();
                Err(unknown(
                    "API price or model",
                    "prices api",
                    name,
                    sold.into_iter().chain(self.api_prices.iter().map(ApiPrice::id)),
                ))
            }
        }
    }

    /// Every host's price for one model, by the name in [`ModelRow::api_model`]; of several rows of one endpoint, the one
    /// checked last.
    pub fn api_hosts(&self, model: &str) -> Vec<&ApiPrice> {
        let all: Vec<&ApiPrice> =
            self.api_prices.iter().filter(|row| row.model.eq_ignore_ascii_case(model)).collect();
        let newer =
            |row: &ApiPrice| all.iter().any(|other| other.as_of > row.as_of && same_endpoint(other, row));
        all.iter().copied().filter(|row| !newer(row)).collect()
    }

    /// The name at APIs of a model that is called so, `deepseek-ai/DeepSeek-R1-0528`, though the catalog has no row of it.
    pub fn sold_as(&self, name: &str) -> Option<&str> {
        let wanted = plain(name.rsplit(['/', ':']).next().unwrap_or(name));
        let mut all = self.api_prices.iter().map(|row| row.model.as_str());
        all.find(|model| plain(model) == wanted)
    }

    /// Rejects a provider that no GPU, machine or API price names.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the nearest names.
    pub fn selling_provider(&self, name: &str) -> Result<(), Error> {
        let all = self.rentals.iter().map(|row| &row.provider);
        let all = all.chain(self.api_prices.iter().map(|row| &row.provider));
        let all: BTreeSet<&String> = all.chain(self.vms.iter().map(|row| &row.provider)).collect();
        if all.iter().any(|provider| provider.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        Err(unknown("provider", "prices", name, all.into_iter().cloned()))
    }

    /// Rejects a name that is not part of the name of any model with an API price.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the nearest names.
    pub fn sold_model(&self, name: &str) -> Result<(), Error> {
        let part = name.to_lowercase();
        let all: BTreeSet<&String> = self.api_prices.iter().map(|row| &row.model).collect();
        if all.iter().any(|model| model.to_lowercase().contains(&part)) {
            return Ok(());
        }
        Err(unknown("model with an API price", "prices api", name, all.into_iter().cloned()))
    }

    /// The virtual machine with this id.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the nearest ids.
    pub fn vm(&self, id: &str) -> Result<&Vm, Error> {
        let wanted = plain(id);
        let found = self.vms.iter().find(|row| plain(&row.id) == wanted);
        found.ok_or_else(|| {
            unknown("virtual machine", "prices vms", id, self.vms.iter().map(|row| row.id.clone()))
        })
    }

    /// The electricity price with this id.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the nearest ids.
    pub fn electricity(&self, id: &str) -> Result<&Electricity, Error> {
        let wanted = plain(id);
        self.electricity.iter().find(|row| plain(&row.id) == wanted).ok_or_else(|| {
            unknown(
                "electricity price",
                "prices electricity",
                id,
                self.electricity.iter().map(|row| row.id.clone()),
            )
        })
    }
}

/// The names in `known` most similar to `wanted`, at most three, nearest first; none when nothing is similar.
///
/// Similar means a normalised Damerau-Levenshtein similarity of at least 0.6, or one name containing the other.
pub(super) fn nearest<S: AsRef<str>>(wanted: &str, known: impl IntoIterator<Item = S>) -> Vec<String> {
    let wanted = plain(wanted);
    let mut scored: Vec<(f64, String)> = known
        .into_iter()
        .filter_map(|name| {
            let score = similarity(&wanted, &plain(name.as_ref()));
            (score >= 0.6).then(|| (score, name.as_ref().to_owned()))
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.dedup_by(|a, b| plain(&a.1) == plain(&b.1));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

fn similarity(wanted: &str, name: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(wanted, name);
    // `gpt-4o-mini` means `openai/gpt-4o-mini`.
    let tail = name.rsplit('/').next().unwrap_or(name);
    let model =
        if tail == name { whole } else { 0.99 * strsim::normalized_damerau_levenshtein(wanted, tail) };
    let inside = wanted.len() >= 3 && name.contains(wanted) || name.len() >= 3 && wanted.contains(name);
    let part = if inside {
        0.6 + 0.3 * wanted.len().min(name.len()) as f64 / wanted.len().max(name.len()) as f64
    } else {
        0.0
    };
    whole.max(model).max(part)
}

/// Names that two different rows claim would make one of them unreachable.
pub(super) fn check_names<'a>(
    kind: &'static str,
    rows: impl Iterator<Item = (&'a str, &'a [String])>,
) -> Result<(), Error> {
    let mut owners: HashMap<String, &str> = HashMap::new();
    for (id, aliases) in rows {
        for name in std::iter::once(id).chain(aliases.iter().map(String::as_str)) {
            if let Some(first) = owners.insert(plain(name), id).filter(|first| *first != id) {
                return Err(Error::Collision {
                    kind,
                    first: first.to_owned(),
                    second: id.to_owned(),
                    name: name.to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// One spelling for `NVIDIA H100_SXM`, `h100 sxm` and `H100-SXM`.
pub(super) fn plain(name: &str) -> String {
    let name = name.trim().to_lowercase().replace([' ', '_'], "-");
    name.strip_prefix("nvidia-").map_or(name.clone(), ToOwned::to_owned)
}

pub(super) fn answers(id: &str, aliases: &[String], wanted: &str) -> bool {
    plain(id) == wanted || aliases.iter().any(|alias| plain(alias) == wanted)
}

pub(super) fn names(id: &str, aliases: &[String]) -> Vec<String> {
    std::iter::once(id.to_owned()).chain(aliases.iter().cloned()).collect()
}

pub(super) fn unknown(
    kind: &'static str,
    listing: &'static str,
    id: &str,
    known: impl Iterator<Item = String>,
) -> Error {
    Error::Unknown { kind, listing, id: id.to_owned(), nearest: nearest(id, known) }
}
/// Whether two rows are of one endpoint of one provider; a source may put its own name for the provider before the
/// model's.
fn same_endpoint(a: &ApiPrice, b: &ApiPrice) -> bool {
    let ends = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    let [a_id, b_id] = [&a.source_model_id, &b.source_model_id];
    a.provider == b.provider && a.model == b.model && (ends(a_id, b_id) || ends(b_id, a_id))
}
