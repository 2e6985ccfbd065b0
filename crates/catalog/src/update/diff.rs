//! What offers would change in the catalog: new rows, changed ones, ones seen again, and ones that stay as they are.
//!
//! A price that is replaced becomes a point of the price history, so that the curve keeps the day on which it was known.
//! Rows older than those they would replace stay out, and so do rows that the user wrote by hand. What a price list
//! says besides (batch, cached) and the newer file does not is carried over while input and output are the same, with
//! its day in the note; when they moved it is gone, and the change says so.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::Offer;
use crate::base::text::shown;
use crate::{ApiPrice, Catalog, DateKind, Error, Gpu, PricePoint, Rental, RentalKind, Trust};

/// What becomes of an offered row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Its price differs from the catalog's.
    Changed,
    /// The catalog has none like it.
    New,
    /// The same price, seen later.
    SeenAgain,
    /// Older than the catalog's; stays out.
    Older,
    /// The user's own file has it; stays out.
    Yours,
}

/// One row and its fate.
#[derive(Debug, Clone)]
pub struct Change {
    /// `provider/model`, or provider, GPU and terms.
    pub id: String,
    /// What becomes of it.
    pub fate: Fate,
    /// The prices so far, as text.
    pub before: Option<String>,
    /// The offered prices, as text.
    pub after: String,
    /// Offered ÷ so far − 1 of each price that both have: `input`, `output`, `cached_input`, or of the lowest `rent`.
    pub moves: Vec<(&'static str, f64)>,
    /// What else is to be said.
    pub note: Option<String>,
}

impl Change {
    /// The largest of its moves, without its sign.
    fn size(&self) -> f64 {
        self.moves.iter().map(|(_, share)| share.abs()).fold(0.0, f64::max)
    }
}

/// All that would become of some offers.
#[derive(Debug, Default)]
pub struct Diff {
    /// Prices of APIs.
    pub api: Vec<Change>,
    /// Rents of GPUs.
    pub rents: Vec<Change>,
    /// The rows to take.
    pub api_rows: Vec<ApiPrice>,
    /// The rows to take.
    pub rent_rows: Vec<Rental>,
    /// What the taken prices of APIs replace, as points of the price history.
    pub history: Vec<PricePoint>,
    /// Default prices of an hour that would move.
    pub defaults: Vec<DefaultMove>,
}

/// A default price of an hour that the rents would move.
#[derive(Debug, Clone, PartialEq)]
pub struct DefaultMove {
    /// The GPU.
    pub gpu: String,
    /// The price so far.
    pub before: Option<Decimal>,
    /// The price then.
    pub after: Option<Decimal>,
    /// Why it is taken only with `--accept`: it moves by more than [`MOST_MOVE`] or below every other price.
    pub needs_accept: Option<String>,
}

/// A default price that moves by a larger share of itself is more often a mistake of the file than news.
pub const MOST_MOVE: f64 = 0.30;

impl Diff {
    /// Takes out the rents behind each default price that needs to be accepted; returns how many. The other rows stay.
    ///
    /// A GPU's own rents come first: without them, a card that is priced as its family may not move far any more.
    pub fn hold_back(&mut self, catalog: &Catalog, today: Date) -> usize {
        let all = self.rent_rows.clone();
        let own = |gpu: &Gpu| catalog.rentals.iter().chain(&all).any(|row| row.gpu == gpu.id && steady(row));
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

/// Whether a rent counts for a default price.
fn steady(row: &Rental) -> bool {
    row.kind == RentalKind::OnDemand && row.trust >= Trust::Medium
}

/// Whether `row` of an update is behind the default price of `gpu`: a row of its own, or of its family where it has none.
fn prices_default(catalog: &Catalog, rows: &[Rental], gpu: &Gpu, row: &Rental) -> bool {
    if row.gpu == gpu.id || !steady(row) {
        return row.gpu == gpu.id && steady(row);
    }
    let own = catalog.rentals.iter().chain(rows).any(|row| row.gpu == gpu.id && steady(row));
    let family = |id: &str| catalog.gpus.iter().find(|gpu| gpu.id == id).map(|gpu| &gpu.family);
    !own && family(&row.gpu) == Some(&gpu.family)
}

/// Provider, GPU and terms: what a rent replaces.
pub(crate) fn rent_id(row: &Rental) -> String {
    format!("{}/{}/{}", row.provider, row.gpu, row.kind.label())
}

/// Holds `offers` against `catalog`; rows that `folder` has in files of the user's own stay. With two files for one
/// row the one seen later counts, of one day the one named first.
///
/// # Errors
/// The user's files cannot be read.
pub fn diff(offers: &[Offer], catalog: &Catalog, folder: &Path, today: Date) -> Result<Diff, Error> {
    let own = Catalog::own_prices(folder)?;
    let mut found = Diff::default();

    let mut api: BTreeMap<String, &ApiPrice> = BTreeMap::new();
    let mut rivals = Rivals::default();
    for (offer, row) in offers.iter().flat_map(|offer| offer.api.iter().map(move |row| (offer, row))) {
        let id = row.id();
        let seat = api.entry(id.clone()).or_insert(row);
        if row.as_of > seat.as_of {
            *seat = row;
            rivals.0.remove(&id);
        } else if row.as_of == seat.as_of && prices(row) != prices(seat) {
            rivals.add(id, offer, &prices(row));
        }
    }
    let mut known: BTreeMap<String, Vec<&ApiPrice>> = BTreeMap::new();
    for row in &catalog.api_prices {
        known.entry(row.id()).or_default().push(row);
    }
    for (id, row) in api {
        let old = known.get(&id).map_or(&[][..], Vec::as_slice);
        let rival = rivals.0.remove(&id);
        let (mut change, row) = api_change(id, row, old, &own.0);
        note(&mut change, rival);
        if change.fate < Fate::Older {
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
            let seat = rents.entry(id.clone()).or_insert_with(|| rows.clone());
            if newest(&rows) > newest(seat) {
                *seat = rows;
                rivals.0.remove(&id);
            } else if newest(&rows) == newest(seat) && hourly(&rows) != hourly(seat) {
                rivals.add(id, offer, &words(&hourly(&rows)));
            }
        }
    }
    for (id, rows) in rents {
        let old: Vec<&Rental> = catalog.rentals.iter().filter(|row| rent_id(row) == id).collect();
        let rival = rivals.0.remove(&id);
        let mut change = rent_change(id, &rows, &old, &own.1);
        note(&mut change, rival);
        if change.fate < Fate::Older {
            found.rent_rows.extend(rows.into_iter().cloned());
        }
        found.rents.push(change);
    }
    found.defaults = defaults(catalog, &found.rent_rows, today);
    for list in [&mut found.api, &mut found.rents] {
        list.sort_by(|a, b| {
            a.fate.cmp(&b.fate).then(b.size().total_cmp(&a.size())).then_with(|| a.id.cmp(&b.id))
        });
    }
    Ok(found)
}

/// A price that is replaced, as it was last known.
fn point(row: &ApiPrice, today: Date) -> PricePoint {
    let (date, date_kind, date_basis) = match row.effective_from {
        Some(date) => (date, DateKind::Exact, "the source says since when the price holds"),
        None => (row.as_of, DateKind::OnOrBefore, "the last day on which the price can have been checked"),
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
    let fate = if own.contains(&id) {
        Fate::Yours
    } else if newest.is_some_and(|newest| newest.as_of > row.as_of) {
        Fate::Older
    } else if let Some(twin) = twin.filter(|_| old.len() == 1) {
        if prices(&row) == prices(twin) { Fate::SeenAgain } else { Fate::Changed }
    } else if old.is_empty() {
        Fate::New
    } else {
        Fate::Changed
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
        fate,
        before: (!before.is_empty()).then(|| before.join(" and ")),
        after: prices(&row),
        moves,
        note,
    };
    (change, row)
}

/// What the older row says of the same price and the newer does not; returns the note about it.
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
        carried.push("the fee of a request");
    }
    if row.long_context_tiers.is_empty() && !twin.long_context_tiers.is_empty() {
        row.long_context_tiers.clone_from(&twin.long_context_tiers);
        carried.push("long prompts");
    }
    // What the older row had carried itself keeps the day of then.
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

/// Between what was carried over and its day.
const AS_OF: &str = " as of ";

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// Input and output, and what else has a price.
fn prices(row: &ApiPrice) -> String {
    let mut text = format!("{}/{}", row.input_usd_per_mtok.normalize(), row.output_usd_per_mtok.normalize());
    if let Some(cached) = row.cached_input_usd_per_mtok {
        text = format!("{text} cached {}", cached.normalize());
    }
    if let Some(batch) = &row.batch {
        text = format!("{text} batch {}/{}", batch.input.normalize(), batch.output.normalize());
    }
    if let Some(fee) = row.usd_per_request {
        text = format!("{text} and {} a request", fee.normalize());
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

/// Between several prices of one rent.
pub const SEVERAL: &str = " or ";

/// What other files say of the same row and day.
#[derive(Debug, Default)]
struct Rivals(BTreeMap<String, Vec<String>>);

impl Rivals {
    fn add(&mut self, id: String, offer: &Offer, prices: &str) {
        let file = offer.path.file_name().unwrap_or_default().to_string_lossy();
        let said = self.0.entry(id).or_default();
        let text = format!("{} of {}", prices, shown(&file));
        if said.len() < 4 && !said.contains(&text) {
            said.push(text);
        }
    }
}

/// Adds to a change what other files say instead.
fn note(change: &mut Change, rival: Option<Vec<String>>) {
    let Some(said) = rival else { return };
    let text = format!("of the same day, not taken: {}", said.join(", "));
    change.note = Some(change.note.take().map_or(text.clone(), |note| format!("{note}; {text}")));
}

fn rent_change(id: String, rows: &[&Rental], old: &[&Rental], own: &HashSet<String>) -> Change {
    let (before, after) = (hourly(old), hourly(rows));
    let fate = if own.contains(&id) {
        Fate::Yours
    } else if newest(old).is_some_and(|day| newest(rows).is_some_and(|new| day > new)) {
        Fate::Older
    } else if old.is_empty() {
        Fate::New
    } else if before == after {
        Fate::SeenAgain
    } else {
        Fate::Changed
    };
    let moved = before.first().zip(after.first()).and_then(|(old, new)| share(*old, *new));
    Change {
        id,
        fate,
        before: (!before.is_empty()).then(|| words(&before)),
        after: words(&after),
        moves: moved.map(|share| ("rent", share)).into_iter().collect(),
        note: match rows {
            [] | [_] => rows.first().and_then(|row| row.note.clone()),
            // Each number of GPUs at which one is cheaper has a price of its own.
            several => {
                let each = several.iter().map(|row| {
                    let note = row.note.as_deref().unwrap_or("terms not said");
                    format!("{} for {note}", row.usd_per_gpu_hour.normalize())
                });
                Some(each.collect::<Vec<_>>().join("; "))
            }
        },
    }
}

/// The default prices of an hour that these rents would move.
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
                return Some(format!("moves by {:+.0}%", share * 100.0));
            }
            let rest = others.iter().filter(|row| prices_default(catalog, rows, gpu, row));
            let least = rest.map(|row| row.usd_per_gpu_hour.normalize()).min()?;
            (after < least).then(|| format!("is below every other on-demand price, the lowest is {least}"))
        });
        moved.push(DefaultMove { gpu: gpu.id.clone(), before, after, needs_accept });
    }
    moved
}
