//! The price of the hour: given, or the catalog's for such a machine.

use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use crate::base::known::Known;
use crate::catalog::{Catalog, Gpu, RentalPrice};
use crate::record::Price;

/// The price the user gave.
pub fn given_price(usd_per_hour: Decimal) -> Price {
    Price {
        usd_per_hour,
        label: "the price given with --price-per-hour".to_owned(),
        source: "--price-per-hour".to_owned(),
        observed: Known::unknown("given on the command line"),
        range_usd_per_hour: None,
        warnings: Vec::new(),
    }
}

/// The catalog's rental price of one GPU of this row.
///
/// # Errors
/// One sentence that says that the catalog has none, and the way out.
pub fn gpu_price(catalog: &Catalog, gpu: &Gpu, today: Date) -> Result<Price, String> {
    catalog.rental_price(gpu, today).map(of_catalog).ok_or_else(|| {
        format!("the catalog has no rental price for {}; give one with --price-per-hour USD", gpu.id)
    })
}

/// The catalog's price of a virtual machine with this many logical processors.
///
/// # Errors
/// One sentence that says that the catalog has none, and the way out.
pub fn cpu_price(catalog: &Catalog, logical_cpus: usize, today: Date) -> Result<Price, String> {
    catalog.vm_price(u32::try_from(logical_cpus).unwrap_or(u32::MAX), today).map(of_catalog).ok_or_else(
        || "the catalog has no price for a virtual machine; give one with --price-per-hour USD".to_owned(),
    )
}

/// The price of so many GPUs where `price` is of one.
///
/// # Errors
/// If the total is too large to represent.
pub fn of_gpus(price: Price, gpus: u32) -> Result<Price, String> {
    if gpus == 1 {
        return Ok(price);
    }
    let total = price.usd_per_hour.checked_mul(Decimal::from(gpus));
    Ok(Price {
        usd_per_hour: total.ok_or_else(|| TOO_LARGE.to_owned())?,
        label: format!("{gpus} × {}", price.label),
        range_usd_per_hour: price.range_usd_per_hour.map(|range| range.map(|end| end * f64::from(gpus))),
        ..price
    })
}

/// Why there is no price of all GPUs together.
pub const TOO_LARGE: &str = "the price of all GPUs together is too large";

fn of_catalog(price: RentalPrice) -> Price {
    Price {
        usd_per_hour: price.usd_per_hour,
        label: price.label,
        source: price.source,
        observed: price.observed.map(|day| day.to_string()).ok_or("its rows have no date").into(),
        range_usd_per_hour: price.min.to_f64().zip(price.max.to_f64()).map(|(min, max)| [min, max]),
        warnings: price.warning.into_iter().collect(),
    }
}
