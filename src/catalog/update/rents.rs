//! Rents of GPUs out of gpuhunt's and SkyPilot's catalogs: CSV, a row for each instance and region.
//!
//! The columns are those of gpuhunt 0.1.34 (`_internal/storage.py`) and of skypilot-catalog's `v8/*/vms.csv` (2026-11),
//! found by their names, since SkyPilot's order differs from cloud to cloud. A price is of an instance and is divided
//! by its GPUs. Of all regions the lowest price is taken, for each number of GPUs that makes one cheaper; the note says
//! how many rows there were and how far they go. Which form of a card it is must follow from name and memory: SkyPilot
//! writes the memory of one GPU or of all, in MiB or in GB, so each reading is tried and two that fit differently are
//! one too many.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::desk::{Bad, Desk};
use super::money::{GPU_HOUR, parse};
use crate::base::text::shown;
use crate::catalog::find::plain;
use crate::catalog::{Catalog, Gpu, Rental, RentalKind, Trust};

/// Most GPUs of an instance: a rack has 72.
const MOST_GPUS: u32 = 1024;
/// How far a catalog's memory may be from the marketed one.
const MEMORY_TOLERANCE: std::ops::RangeInclusive<f64> = 0.90..=1.10;
/// Bytes of a row's other columns that are kept.
const KEPT_BYTES: usize = 1024;

/// Names of the columns of one of the two.
#[derive(Debug)]
pub(super) struct Columns {
    instance: &'static str,
    gpu: &'static str,
    count: &'static str,
    memory: &'static str,
    price: &'static str,
    /// SkyPilot has a second price; gpuhunt a second row, told by this word.
    spot: &'static str,
    region: &'static str,
    flagged: bool,
}

pub(super) const GPUHUNT: Columns = Columns {
    instance: "instance_name",
    gpu: "gpu_name",
    count: "gpu_count",
    memory: "gpu_memory",
    price: "price",
    spot: "spot",
    region: "location",
    flagged: true,
};
pub(super) const SKYPILOT: Columns = Columns {
    instance: "InstanceType",
    gpu: "AcceleratorName",
    count: "AcceleratorCount",
    memory: "GpuInfo",
    price: "Price",
    spot: "SpotPrice",
    region: "Region",
    flagged: false,
};

/// The cheapest row of one card, terms and number of GPUs, and the span of the others.
#[derive(Debug)]
struct Best {
    usd: Decimal,
    most: Decimal,
    rows: usize,
    instance: String,
    region: String,
    guessed: bool,
    kept: Option<String>,
}

type Found = BTreeMap<(String, &'static str, u32), (RentalKind, Best)>;

/// Reads the rows of a CSV file; `provider` is whose it is, in our word.
///
/// # Errors
/// A header that cannot be read.
pub(super) fn read(
    text: &str,
    columns: &Columns,
    provider: &str,
    catalog: &Catalog,
    desk: &mut Desk<'_>,
) -> Result<Vec<Rental>, String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut found = Found::new();
    let mut record = csv::StringRecord::new();
    let (mut at, mut lines) = (0, 1);
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(error.to_string()),
        }
        // The reader's own line is that of the end before: one low after `\r\n` and empty lines.
        let start = record.position().and_then(|place| usize::try_from(place.byte()).ok()).unwrap_or(at);
        let blank =
            text.get(start..).map_or(0, |rest| rest.len() - rest.trim_start_matches(['\r', '\n']).len());
        lines += text.get(at..start + blank).map_or(0, |passed| passed.matches('\n').count());
        at = start + blank;
        let line = Some(lines);
        desk.rows += 1;
        let row = Row { columns, header: &header, record: &record };
        match row.read(provider, catalog, &mut found) {
            Ok(None) => {}
            Ok(Some(reason)) => desk.pass(reason),
            Err(bad) => desk.refuse(line, row.get(columns.instance).unwrap_or_default(), bad),
        }
    }
    Ok(rentals(found, provider, desk))
}

/// Cheapest first for one GPU; more GPUs only where they make one cheaper.
fn rentals(found: Found, provider: &str, desk: &Desk<'_>) -> Vec<Rental> {
    let mut rows: Vec<Rental> = Vec::new();
    let mut fewer: Option<(String, &str, Decimal)> = None;
    for ((gpu, label, count), (kind, best)) in found {
        let dearer = fewer
            .as_ref()
            .is_some_and(|(other, terms, usd)| *other == gpu && *terms == label && *usd <= best.usd);
        if dearer {
            continue;
        }
        fewer = Some((gpu.clone(), label, best.usd));
        let mut note = match best.rows {
            1 => format!("{count} GPU, {}", best.region),
            rows => format!("{count} GPU, lowest of {rows} rows ({}), highest {}", best.region, best.most),
        };
        if best.guessed {
            note += "; the file does not say which form of the card";
        }
        rows.push(Rental {
            provider: provider.to_owned(),
            gpu,
            kind,
            usd_per_gpu_hour: best.usd,
            instance: Some(best.instance).filter(|name| !name.is_empty()),
            observed: Some(desk.observed),
            observed_precision: None,
            observed_from: None,
            observed_to: None,
            note: Some(note),
            source: desk.source.clone(),
            trust: if best.guessed { Trust::Medium } else { Trust::High },
            kept: best.kept,
        });
    }
    rows
}

struct Row<'a> {
    columns: &'a Columns,
    header: &'a csv::StringRecord,
    record: &'a csv::StringRecord,
}

impl<'a> Row<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let at = self.header.iter().position(|column| column.trim() == name)?;
        self.record.get(at).map(str::trim).filter(|text| !text.is_empty())
    }

    fn bad(&self, name: &str, reason: impl Into<String>) -> Bad {
        let value = self.get(name).map_or("nothing".to_owned(), |text| format!("\"{}\"", shown(text)));
        Bad { field: name.to_owned(), value, reason: reason.into() }
    }

    /// Puts the row where it belongs, or says why it is passed over.
    fn read(&self, provider: &str, catalog: &Catalog, found: &mut Found) -> Result<Option<String>, Bad> {
        let columns = self.columns;
        if self.record.len() != self.header.len() {
            let reason = format!("has {} columns and the header {}", self.record.len(), self.header.len());
            return Err(Bad { field: "row".to_owned(), value: "it".to_owned(), reason });
        }
        let Some(name) = self.get(columns.gpu) else { return Ok(Some("no GPU".to_owned())) };
        let count = self.count()?;
        if count == 0 {
            return Ok(Some("no GPU".to_owned()));
        }
        let Some(instance) = self.get(columns.instance) else {
            return Ok(Some("the price of an accelerator without its machine".to_owned()));
        };
        let price = self.price(columns.price, count)?;
        let spot = match (columns.flagged, self.get(columns.spot)) {
            (true, Some(word)) if word.eq_ignore_ascii_case("true") => true,
            (true, Some(word)) if word.eq_ignore_ascii_case("false") => false,
            (true, _) => return Err(self.bad(columns.spot, "is not True or False")),
            (false, _) => false,
        };
        let second = if columns.flagged { None } else { self.price(columns.spot, count)? };
        // RunPod's rows say the same price twice; it is the one without interruption.
        let second = second.filter(|spot| price != Some(*spot));
        if price.is_none() && second.is_none() {
            return Ok(Some("no price".to_owned()));
        }
        // SkyPilot may name the form of the card in the column of its memory.
        let said = format!("{instance} {}", self.get(columns.memory).unwrap_or_default());
        let (gpu, guessed) = match card(catalog, name, &said, &self.memory(count)) {
            Ok(card) => card,
            Err(reason) => return Ok(Some(reason)),
        };
        let hosted = provider == "vast" || instance.contains("COMMUNITY");
        let steady = if hosted { RentalKind::Community } else { RentalKind::OnDemand };
        let first = price.map(|usd| (if spot { RentalKind::Spot } else { steady }, usd));
        let second = second.map(|usd| (RentalKind::Spot, usd));
        for (kind, usd) in first.into_iter().chain(second) {
            self.put(found, gpu, (kind, usd), count, guessed);
        }
        Ok(None)
    }

    fn count(&self) -> Result<u32, Bad> {
        let name = self.columns.count;
        let Some(text) = self.get(name) else { return Ok(0) };
        let number = parse(text).map_err(|reason| self.bad(name, reason))?;
        let whole = Some(number.normalize()).filter(Decimal::is_integer);
        whole
            .and_then(|number| u32::try_from(number).ok())
            .filter(|count| *count <= MOST_GPUS)
            .ok_or_else(|| self.bad(name, "is not a number of GPUs"))
    }

    /// The price of one GPU; zero, which some clouds write for "none", is none in the second price.
    fn price(&self, name: &str, count: u32) -> Result<Option<Decimal>, Bad> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let price = parse(text).and_then(|whole| {
            if whole.is_zero() && !self.columns.flagged && name == self.columns.spot {
                return Ok(None);
            }
            GPU_HOUR.check((whole / Decimal::from(count)).round_dp(6)).map(Some)
        });
        price.map_err(|reason| self.bad(name, reason))
    }

    /// What one GPU's memory may be, GB: each reading of the file's number.
    fn memory(&self, count: u32) -> Vec<f64> {
        let Some(text) = self.get(self.columns.memory) else { return Vec::new() };
        if self.columns.flagged {
            return text.parse::<f64>().into_iter().collect();
        }
        let Some(at) = text.find("SizeInMiB") else { return Vec::new() };
        let digits: String = text[at + 9..]
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .take(12)
            .collect();
        match digits.parse::<f64>() {
            Ok(size) if size >= 1024.0 => vec![size / 1024.0, size / 1024.0 / f64::from(count)],
            Ok(size) if size > 0.0 => vec![size],
            _ => Vec::new(),
        }
    }

    fn put(
        &self,
        found: &mut Found,
        gpu: &Gpu,
        (kind, usd): (RentalKind, Decimal),
        count: u32,
        guessed: bool,
    ) {
        let new = || Best {
            usd,
            most: usd,
            rows: 0,
            instance: shown(self.get(self.columns.instance).unwrap_or_default()),
            region: shown(self.get(self.columns.region).unwrap_or("region not said")),
            guessed,
            kept: self.kept(),
        };
        let (_, best) = found.entry((gpu.id.clone(), kind.label(), count)).or_insert_with(|| (kind, new()));
        if usd < best.usd {
            *best = Best { most: best.most, rows: best.rows, ..new() };
        }
        best.most = best.most.max(usd);
        best.rows += 1;
    }

    /// The other columns, as JSON text.
    fn kept(&self) -> Option<String> {
        let columns = self.columns;
        let known =
            [columns.instance, columns.gpu, columns.count, columns.price, columns.spot, columns.region];
        let mut budget = KEPT_BYTES;
        let mut object = serde_json::Map::new();
        for (name, value) in self.header.iter().zip(self.record) {
            if known.contains(&name.trim()) || value.trim().is_empty() {
                continue;
            }
            let Some(left) = budget.checked_sub(name.len() + value.len()) else { continue };
            budget = left;
            object.insert(name.trim().to_owned(), value.trim().into());
        }
        (!object.is_empty()).then(|| serde_json::Value::Object(object).to_string())
    }
}

/// The card that a name, what is said beside it and its memory mean, and whether its form had to be guessed; else the reason to
/// pass the row over.
fn card<'a>(
    catalog: &'a Catalog,
    name: &str,
    beside: &str,
    memory: &[f64],
) -> Result<(&'a Gpu, bool), String> {
    let squeezed = |text: &str| plain(text).replace('-', "");
    let mut core = squeezed(name);
    let mut sizes = memory.to_vec();
    for size in ["32gb", "40gb", "80gb", "94gb"] {
        if let Some(rest) = core.strip_suffix(size).filter(|rest| !rest.is_empty()) {
            sizes = size.trim_end_matches("gb").parse().into_iter().collect();
            core = rest.to_owned();
        }
    }
    let said = format!("{} {}", plain(name), plain(beside));
    let forms: Vec<&str> = ["pcie", "sxm", "nvl"].into_iter().filter(|form| said.contains(form)).collect();
    for form in ["pcie", "sxm5", "sxm4", "sxm2", "sxm", "nvl"] {
        if let Some(rest) = core.strip_suffix(form).filter(|rest| !rest.is_empty()) {
            core = rest.to_owned();
        }
    }
    for size in ["32gb", "40gb", "80gb"] {
        if let Some(rest) = core.strip_suffix(size).filter(|rest| !rest.is_empty()) {
            sizes = size.trim_end_matches("gb").parse().into_iter().collect();
            core = rest.to_owned();
        }
    }
    let known = |gpu: &&Gpu| {
        let names = gpu.aliases.iter().map(String::as_str).chain([gpu.id.as_str(), gpu.family.as_str()]);
        names.map(squeezed).any(|name| name == core)
    };
    let named: Vec<&Gpu> = catalog.gpus.iter().filter(known).collect();
    let Some(first) = named.first() else { return Err(format!("GPU {} is not in the catalog", shown(name))) };
    let mut fits: Vec<&Gpu> = catalog.gpus.iter().filter(|gpu| gpu.family == first.family).collect();
    if let [form] = forms.as_slice() {
        fits.retain(|gpu| {
            gpu.id.contains(form) || !["pcie", "sxm", "nvl"].iter().any(|any| gpu.id.contains(any))
        });
    }
    if !sizes.is_empty() {
        fits.retain(|gpu| sizes.iter().any(|size| MEMORY_TOLERANCE.contains(&(size / gpu.memory_gb))));
    }
    let Some(card) = fits.first() else {
        return Err(format!("GPU {} in this form or memory is not in the catalog", shown(name)));
    };
    if fits.iter().any(|gpu| (gpu.memory_gb / card.memory_gb - 1.0).abs() > 0.2) {
        return Err(format!("the memory of {} can be read in two ways", shown(name)));
    }
    Ok((card, fits.len() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_follows_from_name_instance_and_memory() {
        let catalog = Catalog::bundled();
        let of = |name: &str, instance: &str, memory: &[f64]| {
            card(&catalog, name, instance, memory).map(|(gpu, guessed)| (gpu.id.clone(), guessed))
        };
        let sure = |id: &str| Ok((id.to_owned(), false));
        assert_eq!(of("H100", "gpu_1x_h100_pcie", &[80.0]), sure("h100-pcie-80gb"));
        assert_eq!(of("H100", "1x-H100_NVL-32-65536", &[93.6]), sure("h100-nvl-94gb"));
        assert_eq!(of("H100NVL", "x", &[94.0]), sure("h100-nvl-94gb"));
        assert_eq!(of("H100-SXM", "8x_H100-SXM_SECURE", &[80.0, 10.0]), sure("h100-sxm5-80gb"));
        assert_eq!(of("H100", "1H100.80S.32V", &[80.0]), Ok(("h100-sxm5-80gb".to_owned(), true)));
        assert_eq!(of("A100-80GB-SXM", "x", &[]), sure("a100-sxm4-80gb"));
        assert_eq!(of("A100", "4x-A100_SXM4", &[160.0, 40.0]), sure("a100-sxm4-40gb"));
        assert_eq!(of("RTX_4090", "x", &[23.99]), sure("rtx-4090-24gb"));
        assert_eq!(of("RTX6000-Ada", "x", &[48.0]), sure("rtx-6000-ada-48gb"));
        assert_eq!(of("RTXPRO6000", "x", &[96.0]), sure("rtx-pro-6000-blackwell-96gb"));
        assert_eq!(of("V100", "gpu_8x_v100", &[16.0, 2.0]), Ok(("v100-sxm2-16gb".to_owned(), true)));
        // 80 GB in all or each: two cards of 40 or two of 80.
        assert_eq!(
            of("A100", "2x-A100_SXM4", &[80.0, 40.0]),
            Err("the memory of A100 can be read in two ways".to_owned())
        );
        // A card with twice the memory of the one that is sold under the name.
        assert!(of("RTX4090", "x", &[47.99]).expect_err("another card").contains("in this form or memory"));
        assert!(of("A6000", "x", &[48.0]).expect_err("unknown").contains("A6000 is not in the catalog"));
        assert!(of("tpu-v5", "x", &[]).is_err() && of("", "x", &[]).is_err());
    }
}
