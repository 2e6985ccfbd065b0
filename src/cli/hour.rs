//! What an hour costs, from flags and record: a rent, or an owned machine. Shared by `cost` and `compare`.

use clap::Args;
use rust_decimal::Decimal;

use super::usage;
use super::values::{money, number, share};
use crate::base::text::count;
use crate::cost::assumption::{Chosen, Origin};
use crate::cost::owned::{Owned, Residual};
use crate::cost::scenario::{Basis, MEAN_PUE, Scenario};
use crate::cost::{self, KwhPrice};
use crate::record::{Price, Record};

/// What an hour costs, as far as flags say.
#[derive(Debug, Args)]
pub(super) struct HourArgs {
    /// Rent, USD per hour [default: the record's own price]; without a record, also a list: `2.00,2.49`
    #[arg(long, visible_alias = "hourly-cost", value_name = "USD", value_parser = money::per_hour, value_delimiter = ',', conflicts_with = "purchase", allow_hyphen_values = true, help_heading = "Hourly price")]
    pub(super) price_per_hour: Vec<Decimal>,
    /// GPUs that the record ran on; --price-per-hour, --purchase and --watts are then per GPU [default: 1, prices
    /// are for the whole machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), allow_hyphen_values = true, help_heading = "Hourly price")]
    pub(super) gpus: Option<u32>,
    /// Other costs per hour for the whole deployment: staff, storage, spares
    #[arg(long, value_name = "USD", value_parser = money::usd, allow_hyphen_values = true, help_heading = "Hourly price")]
    pub(super) overhead_per_hour: Option<Decimal>,
    /// Purchase price of an owned machine, including everything bought with it
    #[arg(long, value_name = "USD", value_parser = money::usd_above_zero, requires = "years", allow_hyphen_values = true, help_heading = "Hourly price")]
    purchase: Option<Decimal>,
    /// Years in use
    #[arg(long, value_name = "N", value_parser = number::above_zero, requires = "purchase", allow_hyphen_values = true, help_heading = "Hourly price")]
    years: Option<f64>,
    /// Resale value at the end: USD, or a share of the purchase price [default: 0]
    #[arg(long, value_name = "USD|%", value_parser = money::residual, requires = "purchase", allow_hyphen_values = true, help_heading = "Hourly price")]
    residual: Option<Residual>,
    /// Interest per year [default: 10%]
    #[arg(long, value_name = "SHARE", value_parser = share::interest, requires = "purchase", allow_hyphen_values = true, help_heading = "Hourly price")]
    interest: Option<f64>,
    /// Colocation (space, cooling, network), USD/month per provisioned kW [default: 0]
    #[arg(long, value_name = "USD", value_parser = money::usd, requires = "provisioned_kw", requires = "purchase", allow_hyphen_values = true, help_heading = "Hourly price")]
    colocation: Option<Decimal>,
    /// Provisioned power, not average draw
    #[arg(long, value_name = "KW", value_parser = number::above_zero, requires = "colocation", allow_hyphen_values = true, help_heading = "Hourly price")]
    provisioned_kw: Option<f64>,
    /// Power drawn, including the host [default: what the record measured, the device alone]
    #[arg(long, value_name = "W", value_parser = number::above_zero, requires = "purchase", allow_hyphen_values = true, help_heading = "Hourly price")]
    watts: Option<f64>,
    /// Power usage effectiveness of the building [default: 1.54 if owned, 1 if rented]
    #[arg(long, value_name = "X", value_parser = number::pue, allow_hyphen_values = true, help_heading = "Hourly price")]
    pue: Option<f64>,
    /// Electricity: USD per kWh, or a row of `bench catalog prices electricity` [default: us-commercial]
    #[arg(long, value_name = "ID|USD", value_parser = money::electricity, allow_hyphen_values = true, help_heading = "Hourly price")]
    electricity: Option<String>,
}

impl HourArgs {
    /// Whether the machine was bought.
    pub(super) fn owned(&self) -> bool {
        self.purchase.is_some()
    }

    /// Whether the power drawn is given.
    pub(super) fn says_watts(&self) -> bool {
        self.watts.is_some()
    }

    /// The price of a kWh, as typed.
    pub(super) fn electricity(&self) -> Option<&str> {
        self.electricity.as_deref()
    }

    /// The building's share, as typed.
    pub(super) fn pue(&self) -> Option<f64> {
        self.pue
    }
}

/// The rent of the flag, else the record's own.
pub(super) fn record_price(hour: &HourArgs, record: &Record) -> Chosen<Result<Price, String>> {
    if let Some(usd) = hour.price_per_hour.first() {
        return Chosen::flag(Some(Ok(cost::given_price(*usd))), "--price-per-hour", Err(String::new()), "");
    }
    let none = || "the record has no price; give one with --price-per-hour USD".to_owned();
    let price = record.cost.price.as_ref();
    Chosen {
        source: price.map_or_else(none, |price| price.source.clone()),
        observed: price.and_then(|price| price.observed.clone().into_option()),
        value: price.cloned().ok_or_else(none),
        origin: Origin::Record,
    }
}

/// The hour's part of a scenario, the rest at its defaults.
pub(super) fn hour(
    args: &HourArgs,
    rent: Chosen<Result<Price, String>>,
    kwh: &KwhPrice,
    record: Option<&Record>,
) -> anyhow::Result<Scenario> {
    if let (Some(gpus), Some(record)) = (args.gpus, record) {
        let used = record.environment.gpus.iter().filter(|gpu| gpu.used).count();
        let on_cpu = record.engine.device.as_deref() == Some("cpu");
        if (used > 0 && used != gpus as usize) || on_cpu {
            let ran = if on_cpu { "the CPU".to_owned() } else { count(used, "GPU") };
            return Err(usage(
                &format!("--gpus {gpus}"),
                &format!(
                    "the record ran on {ran}; replicas cost more and serve more, so a million tokens costs the same"
                ),
            ));
        }
    }
    let basis = match (args.purchase, args.years) {
        (Some(purchase_usd), Some(years)) => Basis::Owned {
            owned: Owned {
                purchase_usd,
                years,
                residual: args.residual.unwrap_or(Residual::Share(0.0)),
                interest: args.interest.unwrap_or(0.10),
                colocation_usd_per_kw_month: args.colocation.unwrap_or_default(),
                provisioned_kw: args.provisioned_kw.unwrap_or_default(),
            },
            residual: Chosen::flag(args.residual.map(|_| ()), "--residual", (), "no resale value"),
            interest: Chosen::flag(args.interest.map(|_| ()), "--interest", (), "a typical cost of capital"),
        },
        _ => Basis::Rent(rent),
    };
    let owned = matches!(basis, Basis::Owned { .. });
    let usd_per_kwh = match args.electricity {
        Some(_) => {
            Chosen { observed: kwh.observed.clone(), ..Chosen::flag(Some(kwh.usd), &kwh.source, 0.0, "") }
        }
        None => Chosen {
            value: kwh.usd,
            origin: Origin::Catalog,
            source: format!("{}: {}", kwh.label, kwh.source),
            observed: kwh.observed.clone(),
        },
    };
    let (pue, why) = if owned {
        (MEAN_PUE, "weighted mean of data centres in 2025 (Uptime Institute, as reported on 2026-01-19)")
    } else {
        (1.0, "of the device alone; a rent includes the building")
    };
    Ok(Scenario {
        basis,
        gpus: Chosen::flag(args.gpus, "--gpus", 1, "the price covers the whole deployment"),
        overhead_usd_per_hour: Chosen::flag(
            args.overhead_per_hour,
            "--overhead-per-hour",
            Decimal::ZERO,
            "nothing on top",
        ),
        usd_per_kwh,
        pue: Chosen::flag(args.pue, "--pue", pue, why),
        watts: args.watts,
        idle_watts: record.and_then(|record| *record.energy.idle_watts),
        ..Scenario::as_measured(Err(String::new()))
    })
}
