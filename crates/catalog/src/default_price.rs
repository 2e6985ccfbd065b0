//! The default price per hour when the user gives none: a rule over dated rows, as of a stated day.
//!
//! Rows count when they are on demand and of trust high or medium. Of those, the median of the fresh ones: at most
//! [`FRESH_DAYS`] days old, counted from the last day on which the price was seen. No fresh row: the newest dated
//! one, else the median of the undated, each with a warning. A GPU without any such row is priced as its family.
//! A median hides the spread, so the lowest and the highest price are reported with it.

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::provenance::Trust;
use super::rentals::RentalKind;
use super::{Catalog, Gpu, VmClass, age_days};

/// A price older than this many days no longer counts as current.
pub const FRESH_DAYS: i64 = 90;

/// A price per hour, with what is needed to judge it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RentalPrice {
    /// USD per hour: of one GPU, or of a machine with the stated CPUs.
    pub usd_per_hour: Decimal,
    /// The lowest price among the rows it is based on.
    pub min: Decimal,
    /// The highest price among the rows it is based on.
    pub max: Decimal,
    /// How many rows it is based on.
    pub rows: usize,
    /// Providers and where their prices were read.
    pub source: String,
    /// The oldest day among the rows; absent when they are undated.
    pub observed: Option<Date>,
    /// Why the price may be off.
    pub warning: Option<String>,
    /// What it is a price of and how it was derived, in one line.
    pub label: String,
}

/// The part of a row that the rule looks at.
struct Quote<'a> {
    usd_per_hour: Decimal,
    dated: Option<Date>,
    provider: &'a str,
    source: &'a str,
}

impl Catalog {
    /// The default price per hour of `gpu` on the day `today`; `None` when not even its family has a row.
    pub fn rental_price(&self, gpu: &Gpu, today: Date) -> Option<RentalPrice> {
        let quotes = |wanted: &dyn Fn(&str) -> bool| -> Vec<Quote<'_>> {
            let rows = self.rentals.iter().filter(|row| {
                wanted(&row.gpu) && row.kind == RentalKind::OnDemand && row.trust >= Trust::Medium
            });
            rows.map(|row| Quote {
                usd_per_hour: row.usd_per_gpu_hour,
                dated: row.dated(),
                provider: &row.provider,
                source: &row.source,
            })
            .collect()
        };
        let own = quotes(&|id| id == gpu.id);
        if !own.is_empty() {
            return price(own, &format!("on-demand rent of {}", gpu.id), today);
        }
        let family = quotes(&|id| self.gpus.iter().any(|other| other.id == id && other.family == gpu.family));
        let mut price = price(family, &format!("on-demand rent of the {} family", gpu.family), today)?;
        let warning = format!("no price known for {}, using other cards of its family", gpu.id);
        price.warning = Some(price.warning.map_or(warning.clone(), |stale| format!("{warning}; {stale}")));
        Some(price)
    }

    /// The default price of one hour of a machine with `logical_cpus` hardware threads and no GPU.
    ///
    /// The rule is over USD per vCPU-hour of general and compute instances, scaled by the CPUs.
    pub fn vm_price(&self, logical_cpus: u32, today: Date) -> Option<RentalPrice> {
        let cpus = Decimal::from(logical_cpus.max(1));
        let rows = self.vms.iter().filter(|row| {
            row.kind == RentalKind::OnDemand && row.trust >= Trust::Medium && row.class != VmClass::Memory
        });
        let quotes = rows.map(|row| Quote {
            usd_per_hour: row.usd_per_hour * cpus / Decimal::from(row.vcpus),
            dated: row.observed,
            provider: &row.id,
            source: &row.source,
        });
        let what = format!("virtual machine, general or compute class, USD per vCPU-hour x {cpus} vCPU");
        let mut price = price(quotes.collect(), &what, today)?;
        for amount in [&mut price.usd_per_hour, &mut price.min, &mut price.max] {
            *amount = amount.round_dp(6).normalize();
        }
        Some(price)
    }
}

/// The rule of this module over rows that already count.
fn price(mut quotes: Vec<Quote<'_>>, what: &str, today: Date) -> Option<RentalPrice> {
    let newest = quotes.iter().filter_map(|quote| quote.dated).max();
    let age = newest.map(|day| age_days(day, today));
    let (how, warning) = match (newest, age) {
        (Some(_), Some(age)) if age <= FRESH_DAYS => {
            quotes.retain(|quote| quote.dated.is_some_and(|day| age_days(day, today) <= FRESH_DAYS));
            (format!("at most {FRESH_DAYS} days old"), None)
        }
        (Some(newest), Some(age)) => {
            quotes.retain(|quote| quote.dated == Some(newest));
            let warning = format!(
                "no price of the last {FRESH_DAYS} days is known, the newest is {age} days old ({newest}); give \
                 yours with --price-per-hour"
            );
            ("the newest dated".to_owned(), Some(warning))
        }
        _ => {
            let warning = "none of the prices is dated; give yours with --price-per-hour".to_owned();
            ("undated".to_owned(), Some(warning))
        }
    };
    quotes.sort_by_key(|quote| quote.usd_per_hour);
    let (min, max) = (quotes.first()?.usd_per_hour, quotes.last()?.usd_per_hour);
    let rows = quotes.len();
    let label = match rows {
        1 => format!("{what}, 1 row, {how}"),
        _ => format!("{what}, median of {rows} rows, {how}"),
    };
    Some(RentalPrice {
        usd_per_hour: median(&quotes),
        min,
        max,
        rows,
        source: sources(&quotes),
        observed: quotes.iter().filter_map(|quote| quote.dated).min(),
        warning,
        label,
    })
}

/// The middle price of sorted quotes, or the mean of the middle two.
fn median(sorted: &[Quote<'_>]) -> Decimal {
    let middle = sorted.len() / 2;
    let upper = sorted[middle].usd_per_hour;
    if sorted.len() % 2 == 1 { upper } else { (sorted[middle - 1].usd_per_hour + upper) / Decimal::TWO }
}

/// Each source once, after the providers that it covers.
fn sources(quotes: &[Quote<'_>]) -> String {
    let mut by_source: Vec<(&str, Vec<&str>)> = Vec::new();
    for quote in quotes {
        match by_source.iter_mut().find(|(source, _)| *source == quote.source) {
            Some((_, providers)) if providers.contains(&quote.provider) => {}
            Some((_, providers)) => providers.push(quote.provider),
            None => by_source.push((quote.source, vec![quote.provider])),
        }
    }
    let parts: Vec<String> =
        by_source.iter().map(|(source, providers)| format!("{}: {source}", providers.join(", "))).collect();
    parts.join("; ")
}
