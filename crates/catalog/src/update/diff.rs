//! What offers would change in the catalog: new rows, changed ones, ones seen again, and ones left as they are.
//!
//! A replaced price becomes a point of the price history, so that the curve keeps it under the day it was known.
//! Rows older than those they would replace are left out, and so are offers for rows that the user wrote by hand.
//! Secondary prices (batch, cached) that the newer file lacks are carried over while input and output are unchanged,
//! with their date in the note; if input or output changed they are dropped, and the change says so.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::Offer;
use crate::base::text::shown;
use crate::{ApiPrice, Catalog, DateKind, Error, Gpu, PricePoint, Rental, RentalKind, Trust};

/// How an offered row relates to the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Its price differs from the catalog's.
    Changed,
    /// The catalog has no such row.
    New,
    /// The same price, seen later.
    SeenAgain,
    /// Older than the catalog's row; left out.
    Older,
    /// The user's own file has this row; left out.
    Yours,
}

/// An offered row compared with the catalog.
#[derive(Debug, Clone)]
pub struct Change {
    /// `provider/model`, or provider, GPU and terms.
    pub id: String,
    /// How it relates to the catalog.
    pub kind: ChangeKind,
    /// The current prices, as text.
    pub before: Option<String>,
    /// The offered prices, as text.
    pub after: String,
    /// Offered ÷ current − 1 for each price that both have: `input`, `output`, `cached_input`, or for the lowest `rent`.
    pub moves: Vec<(&'static str, f64)>,
    /// A remark.
    pub note: Option<String>,
}

impl Change {
    /// The largest relative change, as an absolute value.
    fn size(&self) -> f64 {
        self.moves.iter().map(|(_, share)| share.abs()).fold(0.0, f64::max)
    }
}

/// Everything that a set of offers would change.
#[derive(Debug, Default)]
pub struct Diff {
    /// Prices of APIs.
    pub api: Vec<Change>,
    /// Rents of GPUs.
    pub rents: Vec<Change>,
    /// The API rows to import.
    pub api_rows: Vec<ApiPrice>,
    /// The rental rows to import.
    pub rent_rows: Vec<Rental>,
    /// The API prices that are replaced, as points of the price history.
    pub history: Vec<PricePoint>,
    /// Default hourly prices that would change.
    pub defaults: Vec<DefaultMove>,
}

/// A default hourly price that the rents would change.
#[derive(Debug, Clone, PartialEq)]
pub struct DefaultMove {
    /// The GPU.
    pub gpu: String,
    /// The current price.
    pub before: Option<Decimal>,
    /// The new price.
    pub after: Option<Decimal>,
    /// Why it needs `--accept`: it changes by more than [`MOST_MOVE`] or drops below every other price.
    pub needs_accept: Option<String>,
}

/// A default price that changes by more than this is more often an error in the file than a real change.
pub const MOST_MOVE: f64 = 0.30;

impl Diff {
    /// Removes the rents that make up each default price that needs `--accept`; returns how many. The other rows stay.
    ///
    /// A GPU's own rents are removed first: without them, a card priced as its family may no longer change much.
    pub fn hold_back(&mut self, catalog: &Catalog, today: Date) -> usize {
        let all = self.rent_rows.clone();
        let own = |gpu: &Gpu| {
            catalog.rentals.iter().chain(&all).any(|row| row.gpu == gpu.id && counts_for_default(row))
        };
        let mut held: Vec<DefaultMove> = Vec::new();
        for first in [true, false] {
            for moved in defaults(catalog, &self.rent_rows, today) {
                let gpu = catalog.gpus.iter().find(|gpu| gpu.id == moved.gpu && own(gpu) == first);
                if let Some(gpu) = gpu.filter(|_| moved.needs_accept.is_some()) {
                    self.rent_rows.retain(|row| !prices_default(catalog, &all, gpu, row));
                    held.push(moved);
                }
            }
        }
        for moved in defaults(catalog, &self.rent_rows, today) {
            if !held.iter().any(|other| other.gpu == moved.gpu) {
                held.push(moved);
            }
        }
        self.defaults = held;
        all.len() - self.rent_rows.len()
    }
}

/// Whether a rent counts toward a default price.
fn counts_for_default(row: &Rental) -> bool {
    row.kind == RentalKind::OnDemand && row.trust >= Trust::Medium
}

/// Whether `row` of an update counts toward the default price of `gpu`: a row of its own, or of its family if it has none.
fn prices_default(catalog: &Catalog, rows: &[Rental], gpu: &Gpu, row: &Rental) -> bool {
    if row.gpu == gpu.id || !counts_for_default(row) {
        return row.gpu == gpu.id && counts_for_default(row);
    }
    let own = catalog.rentals.iter().chain(rows).any(|row| row.gpu == gpu.id && counts_for_default(row));
    let family = |id: &str| catalog.gpus.iter().find(|gpu| gpu.id == id).map(|gpu| &gpu.family);
    !own && family(&row.gpu) == Some(&gpu.family)
}

/// Provider, GPU and terms: what a rent replaces.
pub(crate) fn rent_id(row: &Rental) -> String {
    format!("{}/{}/{}", row.provider, row.gpu, row.kind.label())
}

/// Compares `offers` with `catalog`; rows in the user's own files in `folder` are kept. If two files offer the same row,
/// the one seen later counts; on the same day, the one named first.
///
/// # Errors
/// If the user's files cannot be read.
pub fn diff(offers: &[Offer], catalog: &Catalog, folder: &Path, today: Date) -> Result<Diff, Error> {
    let own = Catalog::own_prices(folder)?;
    let mut found = Diff::default();

    let mut api: BTreeMap<String, &ApiPrice> = BTreeMap::new();
    let mut conflicts = Conflicts::default();
    for (offer, row) in offers.iter().flat_map(|offer| offer.api.iter().map(move |row| (offer, row))) {
        let id = row.id();
        let best = api.entry(id.clone()).or_insert(row);
        if row.as_of > best.as_of {
            *best = row;
            conflicts.0.remove(&id);
        } else if row.as_of == best.as_of && prices(row) != prices(best) {
            conflicts.add(id, offer, &prices(row));
        }
    }
    let mut known: BTreeMap<String, Vec<&ApiPrice>> = BTreeMap::new();
    for row in &catalog.api_prices {
        known.entry(row.id()).or_default().push(row);
    }
    for (id, row) in api {
        let old = known.get(&id).map_or(&[][..], Vec::as_slice);
        let conflicting = conflicts.0.remove(&id);
        let (mut change, row) = api_change(id, row, old, &own.0);
        note(&mut change, conflicting);
        if change.kind < ChangeKind::Older {
            let replaced = old.iter().filter(|old| old.as_of < row.as_of).map(|old| point(old, today));
            found.history.extend(replaced);
            found.api_rows.push(row);
        }
        found.api.push(change);
    }

    let mut rents: BTreeMap<String, Vec<&Rental>> = BTreeMap::new();
    for offer in offers {
        let mut groups: BTreeMap<String, Vec<&Rental>> = BTreeMap::new();
        for row in &offer.rents {
            groups.entry(rent_id(row)).or_default().push(row);
        }
        for (id, rows) in groups {
            let best = rents.entry(id.clone()).or_insert_with(|| rows.clone());
            if newest(&rows) > newest(best) {
                *best = rows;
                conflicts.0.remove(&id);
            } else if newest(&rows) == newest(best) && hourly(&rows) != hourly(best) {
                conflicts.add(id, offer, &words(&hourly(&rows)));
            }
        }
    }
    for (id, rows) in rents {
        let old: Vec<&Rental> = catalog.rentals.iter().filter(|row| rent_id(row) == id).collect();
        let conflicting = conflicts.0.remove(&id);
        let mut change = rent_change(id, &rows, &old, &own.1);
        note(&mut change, conflicting);
        if change.kind < ChangeKind::Older {
            found.rent_rows.extend(rows.into_iter().cloned());
        }
        found.rents.push(change);
    }
    found.defaults = defaults(catalog, &found.rent_rows, today);
    for list in [&mut found.api, &mut found.rents] {
        list.sort_by(|a, b| {
            a.kind.cmp(&b.kind).then(b.size().total_cmp(&a.size())).then_with(|| a.id.cmp(&b.id))
        });
    }
    Ok(found)
}

/// A replaced price, as it was last known.
fn point(row: &ApiPrice, today: Date) -> PricePoint {
    let (date, date_kind, date_basis) = match row.effective_from {
        Some(date) => (date, DateKind::Exact, "the source states when the price took effect"),
        None => (row.as_of, DateKind::OnOrBefore, "the last day on which the price may have been checked"),
    };
    PricePoint {
        model: row.model.clone(),
        provider: row.provider.clone(),
        date,
        date_kind,
        date_basis: date_basis.to_owned(),
        input_usd_per_mtok: row.input_usd_per_mtok,
        output_usd_per_mtok: row.output_usd_per_mtok,
        open_weights: row.open_weights,
        change: None,
        note: Some(format!("replaced by an update on {today}")),
        source: row.source.clone(),
        trust: Trust::High,
    }
}

fn newest(rows: &[&Rental]) -> Option<Date> {
    rows.iter().filter_map(|row| row.dated()).max()
}

fn api_change(id: String, row: &ApiPrice, old: &[&ApiPrice], own: &HashSet<String>) -> (Change, ApiPrice) {
    let mut row = row.clone();
    let same = |other: &&&ApiPrice| {
        (other.input_usd_per_mtok, other.output_usd_per_mtok)
            == (row.input_usd_per_mtok, row.output_usd_per_mtok)
    };
    let twin = old.iter().find(same).copied();
    let newest = old.iter().max_by_key(|row| row.as_of).copied();
    let mut note = None;
    if let Some(twin) = twin {
        note = carry(&mut row, twin);
    } else if let Some(newest) = newest {
        row.open_weights = row.open_weights.or(newest.open_weights);
        let gone = [
            (
                "cached input",
                newest.cached_input_usd_per_mtok.is_some() && row.cached_input_usd_per_mtok.is_none(),
            ),
            ("batch", newest.batch.is_some() && row.batch.is_none()),
            ("long-prompt", !newest.long_context_tiers.is_empty() && row.long_context_tiers.is_empty()),
        ];
        let gone: Vec<&str> = gone.iter().filter(|(_, gone)| *gone).map(|(name, _)| *name).collect();
        note = (!gone.is_empty()).then(|| format!("the file has no {} price", gone.join(" and no ")));
    }
    let kind = if own.contains(&id) {
        ChangeKind::Yours
    } else if newest.is_some_and(|newest| newest.as_of > row.as_of) {
        ChangeKind::Older
    } else if let Some(twin) = twin.filter(|_| old.len() == 1) {
        if prices(&row) == prices(twin) { ChangeKind::SeenAgain } else { ChangeKind::Changed }
    } else if old.is_empty() {
        ChangeKind::New
    } else {
        ChangeKind::Changed
    };
    let moves = newest.map_or_else(Vec::new, |old| {
        let cached = old.cached_input_usd_per_mtok.zip(row.cached_input_usd_per_mtok);
        let parts = [
            ("input", Some((old.input_usd_per_mtok, row.input_usd_per_mtok))),
            ("output", Some((old.output_usd_per_mtok, row.output_usd_per_mtok))),
            ("cached_input", cached),
        ];
        parts.into_iter().filter_map(|(name, pair)| Some((name, share(pair?.0, pair?.1)?))).collect()
    });
    let before: Vec<String> = old.iter().map(|row| prices(row)).collect();
    let change = Change {
        id,
        kind,
        before: (!before.is_empty()).then(|| before.join(" and ")),
        after: prices(&row),
        moves,
        note,
    };
    (change, row)
}

/// Copies what the older row states about the same price and the newer one lacks; returns a note about it.
fn carry(row: &mut ApiPrice, twin: &ApiPrice) -> Option<String> {
    row.open_weights = row.open_weights.or(twin.open_weights);
    let mut carried: Vec<&str> = Vec::new();
    if row.cached_input_usd_per_mtok.is_none() && twin.cached_input_usd_per_mtok.is_some() {
        row.cached_input_usd_per_mtok = twin.cached_input_usd_per_mtok;
        carried.push("cached input");
    }
    if row.cache_write_usd_per_mtok.is_none() && twin.cache_write_usd_per_mtok.is_some() {
        row.cache_write_usd_per_mtok = twin.cache_write_usd_per_mtok;
        carried.push("cache writes");
    }
    if row.batch.is_none() && twin.batch.is_some() {
        row.batch.clone_from(&twin.batch);
        carried.push("batch");
    }
    if row.usd_per_request.is_none() && twin.usd_per_request.is_some() {
        row.usd_per_request = twin.usd_per_request;
        carried.push("the request fee");
    }
    if row.long_context_tiers.is_empty() && !twin.long_context_tiers.is_empty() {
        row.long_context_tiers.clone_from(&twin.long_context_tiers);
        carried.push("long prompts");
    }
    // What the older row itself had carried over keeps its original date.
    let mut said: Vec<String> = Vec::new();
    let earlier = twin.note.iter().flat_map(|note| note.split("; ")).filter(|part| part.contains(AS_OF));
    for part in earlier {
        let before = carried.len();
        carried.retain(|field| !part.contains(field));
        if carried.len() < before {
            said.push(part.to_owned());
        }
    }
    if !carried.is_empty() {
        said.push(format!("{}{AS_OF}{} ({})", carried.join(", "), twin.as_of, first_word(&twin.source)));
    }
    if said.is_empty() {
        return None;
    }
    let said = said.join("; ");
    row.note = Some(row.note.take().map_or(said.clone(), |note| format!("{note}; {said}")));
    Some(said)
}

/// Separates what was carried over from its date; read back from notes of earlier updates.
const AS_OF: &str = " as of ";

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// Input, output and all other prices.
fn prices(row: &ApiPrice) -> String {
    let mut text = format!("{}/{}", row.input_usd_per_mtok.normalize(), row.output_usd_per_mtok.normalize());
    if let Some(cached) = row.cached_input_usd_per_mtok {
        text = format!("{text} cached {}", cached.normalize());
    }
    if let Some(batch) = &row.batch {
        text = format!("{text} batch {}/{}", batch.input.normalize(), batch.output.normalize());
    }
    if let Some(fee) = row.usd_per_request {
        text = format!("{text} and {} per request", fee.normalize());
    }
    if let Some(reasoning) = row.reasoning_usd_per_mtok {
        text = format!("{text} reasoning {}", reasoning.normalize());
    }
    if !row.long_context_tiers.is_empty() {
        let tier = |tier: &crate::api_prices::LongContextTier| {
            format!(
                "{}/{} above {}",
                tier.input.normalize(),
                tier.output.normalize(),
                tier.above_input_tokens
            )
        };
        let tiers: Vec<String> = row.long_context_tiers.iter().map(tier).collect();
        text = format!("{text}, {}", tiers.join(", "));
    }
    text
}

fn share(before: Decimal, after: Decimal) -> Option<f64> {
    use rust_decimal::prelude::ToPrimitive as _;
    (after.checked_div(before)? - Decimal::ONE).to_f64()
}

/// The prices of one rent, cheapest first.
fn hourly(rows: &[&Rental]) -> Vec<Decimal> {
    let mut usd: Vec<Decimal> = rows.iter().map(|row| row.usd_per_gpu_hour.normalize()).collect();
    usd.sort();
    usd.dedup();
    usd
}

fn words(usd: &[Decimal]) -> String {
    usd.iter().map(Decimal::to_string).collect::<Vec<_>>().join(SEVERAL)
}

/// Separates several prices of one rent.
pub const SEVERAL: &str = " or ";

/// Different prices in other files for the same row and day.
#[derive(Debug, Default)]
struct Conflicts(BTreeMap<String, Vec<String>>);

impl Conflicts {
    fn add(&mut self, id: String, offer: &Offer, prices: &str) {
        let file = offer.path.file_name().unwrap_or_default().to_string_lossy();
        let said = self.0.entry(id).or_default();
        let text = format!("{} of {}", prices, shown(&file));
        if said.len() < 4 && !said.contains(&text) {
            said.push(text);
        }
    }
}

/// Adds the conflicting prices of other files to a change's note.
fn note(change: &mut Change, conflicting: Option<Vec<String>>) {
    let Some(said) = conflicting else { return };
    let text = format!("of the same day, not used: {}", said.join(", "));
    change.note = Some(change.note.take().map_or(text.clone(), |note| format!("{note}; {text}")));
}

fn rent_change(id: String, rows: &[&Rental], old: &[&Rental], own: &HashSet<String>) -> Change {
    let (before, after) = (hourly(old), hourly(rows));
    let kind = if own.contains(&id) {
        ChangeKind::Yours
    } else if newest(old).is_some_and(|day| newest(rows).is_some_and(|new| day > new)) {
        ChangeKind::Older
    } else if old.is_empty() {
        ChangeKind::New
    } else if before == after {
        ChangeKind::SeenAgain
    } else {
        ChangeKind::Changed
    };
    let moved = before.first().zip(after.first()).and_then(|(old, new)| share(*old, *new));
    Change {
        id,
        kind,
        before: (!before.is_empty()).then(|| words(&before)),
        after: words(&after),
        moves: moved.map(|share| ("rent", share)).into_iter().collect(),
        note: match rows {
            [] | [_] => rows.first().and_then(|row| row.note.clone()),
            // Each instance size with a lower price per GPU has its own row.
            several => {
                let each = several.iter().map(|row| {
                    let note = row.note.as_deref().unwrap_or("unknown terms");
                    format!("{} for {note}", row.usd_per_gpu_hour.normalize())
                });
                Some(each.collect::<Vec<_>>().join("; "))
            }
        },
    }
}

/// The default hourly prices that these rents would change.
fn defaults(catalog: &Catalog, rows: &[Rental], today: Date) -> Vec<DefaultMove> {
    let mut after = catalog.clone();
    let replaced: HashSet<String> = rows.iter().map(rent_id).collect();
    after.rentals.retain(|row| !replaced.contains(&rent_id(row)));
    let others = after.rentals.clone();
    after.rentals.extend(rows.iter().cloned());
    let mut moved = Vec::new();
    for gpu in &catalog.gpus {
        let price =
            |catalog: &Catalog| catalog.rental_price(gpu, today).map(|price| price.usd_per_hour.normalize());
        let (before, after) = (price(catalog), price(&after));
        if before == after {
            continue;
        }
        let needs_accept = before.zip(after).and_then(|(before, after)| {
            let share = share(before, after)?;
            if share.abs() > MOST_MOVE {
                return Some(format!("changes by {:+.0}%", share * 100.0));
            }
            let rest = others.iter().filter(|row| prices_default(catalog, rows, gpu, row));
            let least = rest.map(|row| row.usd_per_gpu_hour.normalize()).min()?;
            (after < least).then(|| format!("is below every other on-demand price; the lowest is {least}"))
        });
        moved.push(DefaultMove { gpu: gpu.id.clone(), before, after, needs_accept });
    }
    moved
}
