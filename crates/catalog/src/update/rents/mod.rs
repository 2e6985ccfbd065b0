//! GPU rents from gpuhunt's and SkyPilot's catalogs: CSV, one row per instance and region.
//!
//! The columns are those of gpuhunt 0.1.34 (`_internal/storage.py`) and of skypilot-catalog's `v8/*/vms.csv` (2026-11),
//! found by name, since SkyPilot's order differs between clouds. A price is that of an instance and is divided by its
//! GPUs. The lowest price of all regions is used, once for each larger instance that makes a GPU cheaper; the note says
//! how many rows there were and their range. `conventions` says what a cloud's columns mean, `card` identifies the card
//! from name, instance and memory, and the count must agree with the instance's name (`count`) and with `GpuInfo`. The
//! price of a fraction of a GPU is not the price of a GPU.

mod card;
mod count;
mod conventions;

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use self::card::{Named, NoMatch};
use self::conventions::{Convention, Equal, Memory};
use self::count::Stated;

use super::intake::{BadField, Intake};
use super::money::{GPU_HOUR, parse};
use crate::base::text::shown;
use crate::{Catalog, Gpu, Rental, RentalKind, Trust};

/// Most GPUs of an instance: a rack has 72.
const MOST_GPUS: u32 = 1024;
/// Bytes of a row's other columns that are kept.
const KEPT_BYTES: usize = 1024;

/// Column names of one of the two formats.
#[derive(Debug)]
pub(super) struct Columns {
    instance: &'static str,
    gpu: &'static str,
    count: &'static str,
    memory: &'static str,
    price: &'static str,
    /// SkyPilot has a second price here; gpuhunt has a second row, marked by this column.
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

/// The cheapest row of one card, terms and number of GPUs, and the range of the others.
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

/// Reads the rows of a CSV file; `provider` is its provider, by the catalog's name.
///
/// # Errors
/// If the header cannot be read.
pub(super) fn read(
    text: &str,
    columns: &Columns,
    provider: &str,
    catalog: &Catalog,
    intake: &mut Intake<'_>,
) -> Result<Vec<Rental>, String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let convention = conventions::for_cloud(provider);
    let mut found = Found::new();
    let mut record = csv::StringRecord::new();
    let (mut at, mut lines) = (0, 1);
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(error.to_string()),
        }
        // The CSV reader's line is where the previous record ended: too low after `\r\n` and empty lines.
        let start = record.position().and_then(|place| usize::try_from(place.byte()).ok()).unwrap_or(at);
        let blank =
            text.get(start..).map_or(0, |rest| rest.len() - rest.trim_start_matches(['\r', '\n']).len());
        lines += text.get(at..start + blank).map_or(0, |passed| passed.matches('\n').count());
        at = start + blank;
        let line = Some(lines);
        intake.rows += 1;
        let row = Row { columns, header: &header, record: &record, convention };
        let mut doubt = None;
        match row.read(provider, catalog, &mut found, &mut doubt) {
            Ok(None) => {}
            Ok(Some(reason)) => intake.skip(reason),
            Err(bad) => intake.refuse(line, row.get(columns.instance).unwrap_or_default(), bad),
        }
        if let Some(bad) = doubt {
            intake.refuse(line, row.get(columns.instance).unwrap_or_default(), bad);
        }
    }
    Ok(rentals(found, provider, convention, columns.flagged, intake))
}

/// The price of a single-GPU instance first; larger instances only if they make a GPU cheaper.
fn rentals(
    found: Found,
    provider: &str,
    convention: &Convention,
    flagged: bool,
    intake: &Intake<'_>,
) -> Vec<Rental> {
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
            note += "; the file does not state the card's form factor";
        }
        if let Some(convention) = convention.note.filter(|_| !flagged) {
            note = format!("{note}; {convention}");
        }
        rows.push(Rental {
            provider: provider.to_owned(),
            gpu,
            kind,
            usd_per_gpu_hour: best.usd,
            instance: Some(best.instance).filter(|name| !name.is_empty()),
            observed: Some(intake.observed),
            observed_precision: None,
            observed_from: None,
            observed_to: None,
            note: Some(note),
            source: intake.source.clone(),
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
    convention: &'static Convention,
}

/// The card that a row describes.
struct Card<'a> {
    gpu: &'a Gpu,
    count: u32,
    /// Whether its form factor had to be guessed.
    guessed: bool,
}

impl<'a> Row<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let at = self.header.iter().position(|column| column.trim() == name)?;
        self.record.get(at).map(str::trim).filter(|text| !text.is_empty())
    }

    fn bad(&self, name: &str, reason: impl Into<String>) -> BadField {
        let value = self.get(name).map_or("nothing".to_owned(), |text| format!("\"{}\"", shown(text)));
        BadField { field: name.to_owned(), value, reason: reason.into() }
    }

    /// Adds the row to `found`, or returns why it is skipped. An implausible second price goes into `doubt`, and the first
    /// one is used.
    fn read(
        &self,
        provider: &str,
        catalog: &Catalog,
        found: &mut Found,
        doubt: &mut Option<BadField>,
    ) -> Result<Option<String>, BadField> {
        let columns = self.columns;
        if self.record.len() != self.header.len() {
            let reason = format!("has {} columns and the header {}", self.record.len(), self.header.len());
            return Err(BadField { field: "row".to_owned(), value: String::new(), reason });
        }
        let Some(name) = self.get(columns.gpu) else { return Ok(Some("no GPU".to_owned())) };
        let Some(count) = self.count()? else { return Ok(Some("no GPU".to_owned())) };
        let Some(instance) = self.get(columns.instance) else {
            return Ok(Some("the price of an accelerator without a machine".to_owned()));
        };
        let card = match self.card(provider, catalog, name, instance, count) {
            Ok(Ok(card)) => card,
            Ok(Err(reason)) => return Ok(Some(reason)),
            Err(bad) => return Err(bad),
        };
        let price = self.price(columns.price, card.count)?;
        let spot = match (columns.flagged, self.get(columns.spot)) {
            (true, Some(word)) if word.eq_ignore_ascii_case("true") => true,
            (true, Some(word)) if word.eq_ignore_ascii_case("false") => false,
            (true, _) => return Err(self.bad(columns.spot, "is not True or False")),
            (false, _) => false,
        };
        let mut second = match self.price(columns.spot, card.count) {
            _ if columns.flagged => None,
            Err(bad) if price.is_some() => {
                *doubt = Some(bad);
                None
            }
            second => second?,
        };
        if let (Some(one), Some(other)) = (price, second)
            && self.convention.price == RentalKind::OnDemand
        {
            if one == other && self.convention.equal == Equal::Unknown {
                let reason = format!(
                    "repeats {}: unknown for {provider} whether that is the on-demand or the spot price",
                    columns.price
                );
                return Err(self.bad(columns.spot, reason));
            }
            if other > one {
                let reason = format!("is more than the on-demand price ({one} USD per GPU-hour)");
                *doubt = Some(self.bad(columns.spot, reason));
            }
            if other >= one {
                second = None;
            }
        }
        if price.is_none() && second.is_none() {
            return Ok(Some("no price".to_owned()));
        }
        let hosted = instance.contains("COMMUNITY") && self.convention.price == RentalKind::OnDemand;
        let standard = if hosted { RentalKind::Community } else { self.convention.price };
        let first = price.map(|usd| (if spot { RentalKind::Spot } else { standard }, usd));
        let second = second.map(|usd| (RentalKind::Spot, usd));
        // If both have the same terms, the row counts once, at the lower price.
        let second =
            second.filter(|(kind, usd)| first.is_none_or(|(one, first)| one != *kind || *usd < first));
        for (kind, usd) in first.into_iter().chain(second) {
            self.put(found, card.gpu, (kind, usd), card.count, card.guessed);
        }
        Ok(None)
    }

    /// The card and its count, on which name, instance and `GpuInfo` must agree; else the reason to skip the row.
    fn card<'c>(
        &self,
        provider: &str,
        catalog: &'c Catalog,
        name: &str,
        instance: &str,
        count: Decimal,
    ) -> Result<Result<Card<'c>, String>, BadField> {
        let column = self.columns.count;
        let named = Named::of(catalog, name);
        if count::is_partitioned(name) {
            return Err(self.bad(self.columns.gpu, IS_FRACTION));
        }
        if !named.known(catalog) {
            return Ok(Err(format!("GPU {} is not in the catalog", shown(name))));
        }
        let stated = count::stated(provider, instance, &named.core);
        if let Stated::Part(part) = &stated {
            let fraction = if part.contains('/') {
                format!("{part} of a GPU")
            } else {
                "a fraction of a GPU".to_owned()
            };
            return Err(self.bad(self.columns.instance, format!("has {fraction}, {NOT_WHOLE}")));
        }
        if !count.is_integer() {
            return Err(self.bad(column, IS_FRACTION));
        }
        let count = u32::try_from(count.normalize()).ok().filter(|count| *count <= MOST_GPUS);
        let count = count.ok_or_else(|| self.bad(column, "is not a number of GPUs"))?;
        if let Stated::Size(size, id) = stated {
            if count != size {
                let reason = format!("contradicts the instance {}, which has {size}", shown(instance));
                return Err(self.bad(column, reason));
            }
            if let Some(gpu) = catalog.gpus.iter().find(|gpu| gpu.id == id) {
                if named.is(catalog, gpu) {
                    return Ok(Ok(Card { gpu, count, guessed: false }));
                }
                let reason = format!("contradicts the instance {}, which has {}", shown(instance), gpu.name);
                return Err(self.bad(self.columns.gpu, reason));
            }
        } else if let Stated::Count(counts) = stated
            && !counts.contains(&count)
        {
            let says: Vec<String> = counts.iter().map(u32::to_string).collect();
            let reason = format!(
                "contradicts the instance's name {}, which says {}",
                shown(instance),
                says.join(" or ")
            );
            return Err(self.bad(column, reason));
        }
        let memory = self.memory(count)?;
        // SkyPilot may state the card's form factor in the memory column.
        let context = format!("{instance} {}", self.get(self.columns.memory).unwrap_or_default());
        match card::card(catalog, name, &context, &memory) {
            Ok((gpu, guessed)) => Ok(Ok(Card { gpu, count, guessed })),
            Err(NoMatch::Card(reason)) => Ok(Err(reason)),
            Err(NoMatch::Several(several, size)) => {
                let reason =
                    format!("contradicts {}: {size:.0} GB are the memory of {several}", self.columns.memory);
                Err(self.bad(column, reason))
            }
        }
    }

    /// The number of GPUs in the file; `None` without one.
    fn count(&self) -> Result<Option<Decimal>, BadField> {
        let name = self.columns.count;
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = parse(text).map_err(|reason| self.bad(name, reason))?;
        if number.is_sign_negative() && !number.is_zero() {
            return Err(self.bad(name, "is not a number of GPUs"));
        }
        Ok(Some(number).filter(|number| !number.is_zero()))
    }

    /// The price of one GPU; in the second price, zero means "none", as some clouds write it.
    fn price(&self, name: &str, count: u32) -> Result<Option<Decimal>, BadField> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let currency =
            self.get("Currency").or_else(|| self.get("currency")).unwrap_or(self.convention.currency);
        if !currency.eq_ignore_ascii_case("USD") {
            return Err(self.bad(name, format!("is in {}, but the catalog's prices are in USD; put the converted price into your own prices/rental.toml", shown(currency))));
        }
        let price = parse(text).and_then(|whole| {
            if whole.is_zero() && !self.columns.flagged && name == self.columns.spot {
                return Ok(None);
            }
            GPU_HOUR.check((whole / Decimal::from(count)).round_dp(6)).map(Some)
        });
        price.map_err(|reason| self.bad(name, reason))
    }

    /// Candidates for one GPU's memory, GB: one per interpretation of the file's number.
    fn memory(&self, count: u32) -> Result<Vec<f64>, BadField> {
        let Some(text) = self.get(self.columns.memory) else { return Ok(Vec::new()) };
        if self.columns.flagged {
            return Ok(text.parse::<f64>().into_iter().collect());
        }
        let text = text.to_lowercase().replace('"', "'");
        let [each, total, units] =
            ["sizeinmib", "totalgpumemoryinmib", "'count'"].map(|key| after(&text, key));
        let Some(size) = each else { return Ok(Vec::new()) };
        let number = f64::from(count);
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.02;
        let contradicts = |what: String| {
            Err(self.bad(self.columns.count, format!("contradicts {}, which {what}", self.columns.memory)))
        };
        // Yotta counts kinds of GPU there, but the total is right.
        let kinds = units == Some(1.0) && total.is_some_and(|total| near(total, size * number));
        if let Some(units) = units.filter(|units| *units > 0.0 && !near(*units, number) && !kinds) {
            return contradicts(format!("counts {units}"));
        }
        if let Some(total) = total
            && !near(total, size)
            && !near(total, size * number)
        {
            return contradicts(format!("has {total} MiB in total and {size} each"));
        }
        let gigabytes = if size >= 1024.0 { size / 1024.0 } else { size };
        Ok(match self.convention.memory {
            Memory::Each => vec![gigabytes],
            Memory::All => vec![gigabytes / number],
            Memory::Unknown if size < 1024.0 || count == 1 => vec![gigabytes],
            Memory::Unknown => vec![gigabytes, gigabytes / number],
        })
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
            region: shown(self.get(self.columns.region).unwrap_or("unknown region")),
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

const IS_FRACTION: &str = "is a fraction of a GPU, which does not give the price of a whole one";
const NOT_WHOLE: &str = "which does not give the price of a whole one";

/// The number above zero after a key: `'SizeInMiB': 81920`, `'Count': '1.0'`.
fn after(text: &str, key: &str) -> Option<f64> {
    let rest = &text[text.find(key)? + key.len()..];
    let rest = rest.trim_start_matches(['\'', '"', ':', ' ']);
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').take(12).collect();
    digits.parse().ok().filter(|number: &f64| *number > 0.0)
}
