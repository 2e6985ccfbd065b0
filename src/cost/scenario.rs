//! Everything besides the measurements that prices a record, each value with its origin.
//!
//! A scenario is plain data: change a value, [`Scenario::assess`] again, and the difference is what that
//! assumption does. A price that is given, the purchase, the provisioned power and `--watts` are of one GPU and are
//! multiplied by `gpus`; the measured tokens per second are always those of the whole deployment, and so are the
//! record's own price and the overhead.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use crate::base::known::Known;
use crate::record::{Cell, Cost, Figure, Measurement, Price};

use super::assess::{assess_hour, at_mix, mix};
use super::assumption::{Assumption, Chosen, Origin};
use super::cells::Assumptions;
use super::hour::{Drawn, Hour};
use super::owned::{Owned, electricity_usd_per_hour};

/// The weighted mean of data centres in 2025 (Uptime Institute's survey, as reported on 2026-01-19).
pub const MEAN_PUE: f64 = 1.54;

/// Rented or owned.
#[derive(Debug, Clone)]
pub enum Basis {
    /// The rent of one GPU or of the machine.
    Rent(Chosen<Result<Price, String>>),
    /// A machine that was bought, with the origins of residual and interest.
    Owned {
        /// What was paid and what owning costs.
        owned: Owned,
        /// Where the residual comes from.
        residual: Chosen<()>,
        /// Where the interest comes from.
        interest: Chosen<()>,
    },
}

/// All assumptions.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Rented or owned.
    pub basis: Basis,
    /// GPUs of the deployment that gave the tokens.
    pub gpus: Chosen<u32>,
    /// What comes on top each hour: staff, storage, spares.
    pub overhead_usd_per_hour: Chosen<Decimal>,
    /// Share of the hour in which the engine is busy.
    pub utilization: Chosen<f64>,
    /// Input tokens for each output token in the blended figure.
    pub blend_ratio: Chosen<f64>,
    /// Share of prompt tokens found in the prefix cache.
    pub cached_share: Chosen<f64>,
    /// What a cached prompt token takes, as a share of a computed one.
    pub cached_cost_share: Chosen<f64>,
    /// Price ratio at which mixed totals are shared out.
    pub price_ratio: Option<f64>,
    /// USD per kWh.
    pub usd_per_kwh: Chosen<f64>,
    /// Power of the building for each watt of the device.
    pub pue: Chosen<f64>,
    /// Power of one GPU with its share of the host, when it was given.
    pub watts: Option<f64>,
    /// Idle power that the record measured.
    pub idle_watts: Option<f64>,
}

impl Scenario {
    /// A rent and nothing else said: as busy as it was measured, without a cache; what a record is priced under when it is
    /// written.
    pub fn as_measured(price: Result<Price, String>) -> Self {
        let rent = Chosen { value: price, origin: Origin::Record, source: String::new(), observed: None };
        Self {
            basis: Basis::Rent(rent),
            gpus: Chosen::flag(None, "--gpus", 1, "the price covers the whole deployment"),
            overhead_usd_per_hour: Chosen::flag(None, "--overhead-per-hour", Decimal::ZERO, "nothing on top"),
            utilization: Chosen::flag(None, "--utilization", 1.0, "as measured: always busy"),
            blend_ratio: Chosen::flag(None, "--blend", 3.0, "the ratio that price trackers use"),
            cached_share: Chosen::flag(None, "--cached", 0.0, "prompts were measured without a cache"),
            cached_cost_share: Chosen::flag(
                None,
                "--cached-cost-share",
                0.0,
                "fetching from the cache counted as free",
            ),
            price_ratio: None,
            usd_per_kwh: Chosen::flag(None, "--electricity", 0.0, "a rent includes it"),
            pue: Chosen::flag(None, "--pue", 1.0, "of the device alone; a rent includes the building"),
            watts: None,
            idle_watts: None,
        }
    }

    /// What an hour of the deployment costs.
    pub fn hour(&self) -> Hour {
        let drawn = match self.basis {
            Basis::Owned { .. } if self.watts.is_none() => Some(Drawn {
                usd_per_kwh: self.usd_per_kwh.value,
                pue: self.pue.value,
                idle_watts: self.idle_watts,
            }),
            _ => None,
        };
        Hour { price: self.price(), drawn }
    }

    /// The assumptions of the arithmetic on cells.
    pub fn assume(&self) -> Assumptions {
        Assumptions {
            blend_ratio: self.blend_ratio.value,
            utilization: self.utilization.value,
            cached_share: self.cached_share.value,
            cached_cost_share: self.cached_cost_share.value,
            price_ratio: self.price_ratio,
        }
    }

    /// Prices a record's measurements.
    pub fn assess(&self, measurements: &[Measurement]) -> Cost {
        assess_hour(measurements, &self.hour(), self.assume())
    }

    /// USD per million tokens of one cell, at its own mix or at `ratio` input tokens for each output token.
    pub fn usd_per_million(
        &self,
        measurements: &[Measurement],
        cell: &Cell,
        ratio: Option<f64>,
    ) -> Option<Figure> {
        let cost = self.assess(measurements);
        let cell = cost.cells.iter().find(|found| found.cell == *cell)?;
        ratio.map_or_else(|| mix(cell), |ratio| at_mix(cell, ratio))
    }

    /// The same with another utilization.
    pub fn at_utilization(&self, utilization: f64) -> Self {
        let mut other = self.clone();
        other.utilization.value = utilization;
        other
    }

    /// The price of one hour of the whole deployment.
    fn price(&self) -> Result<Price, String> {
        let times = match &self.basis {
            // A record's own price is of all that gave its tokens.
            Basis::Rent(Chosen { origin: Origin::Record, .. }) => 1,
            _ => self.gpus.value,
        };
        let gpus = Decimal::from(times);
        let overhead = self.overhead_usd_per_hour.value;
        let mut price = match &self.basis {
            Basis::Rent(price) => price.value.clone()?,
            Basis::Owned { owned, .. } => self.owned_price(owned)?,
        };
        price.usd_per_hour = price.usd_per_hour * gpus + overhead;
        let [gpus, extra] = [gpus, overhead].map(|amount| amount.to_f64().unwrap_or(f64::NAN));
        price.range_usd_per_hour = price.range_usd_per_hour.map(|range| range.map(|end| end * gpus + extra));
        if times > 1 {
            price.label = format!("{times} x {}", price.label);
        }
        if overhead > Decimal::ZERO {
            price.label = format!("{}, and {} USD of overhead", price.label, overhead.normalize());
        }
        Ok(price)
    }

    fn owned_price(&self, owned: &Owned) -> Result<Price, String> {
        let electricity =
            self.watts.map(|watts| electricity_usd_per_hour(watts, self.pue.value, self.usd_per_kwh.value));
        let hour =
            owned.capital_usd_per_hour() + owned.colocation_usd_per_hour() + electricity.unwrap_or(0.0);
        let part = |name: &str, usd: f64| (usd > 0.0).then(|| format!("{name} {usd:.4}"));
        let parts = [
            part("capital", owned.capital_usd_per_hour()),
            part("colocation", owned.colocation_usd_per_hour()),
            electricity.and_then(|usd| part("electricity", usd)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        Ok(Price {
            usd_per_hour: Decimal::from_f64_retain(hour).filter(|hour| *hour > Decimal::ZERO).ok_or_else(
                || "the owned machine would cost nothing an hour, which cannot be right".to_owned(),
            )?,
            label: format!("owned: {} USD an hour", parts.join(" + ")),
            source: "--purchase".to_owned(),
            observed: Known::unknown("given on the command line"),
            range_usd_per_hour: None,
            warnings: Vec::new(),
        })
    }

    /// Every assumption with its value and origin.
    pub fn assumptions(&self) -> Vec<Assumption> {
        let mut all = Vec::new();
        let given = |flag: &str| Chosen::flag(Some(()), flag, (), "");
        let number = |usd: Decimal| usd.to_f64().unwrap_or(f64::NAN);
        match &self.basis {
            Basis::Rent(price) => {
                if let Ok(found) = &price.value {
                    all.push(price.listed("price_per_hour", "USD/h", number(found.usd_per_hour)));
                }
            }
            Basis::Owned { owned, residual, interest } => {
                all.push(given("--purchase").listed("purchase", "USD", number(owned.purchase_usd)));
                all.push(given("--years").listed("years", "years", owned.years));
                all.push(residual.listed("residual", "USD", owned.residual_usd()));
                all.push(interest.listed("interest", "share/year", owned.interest));
                let colocation = number(owned.colocation_usd_per_kw_month);
                if colocation > 0.0 {
                    all.push(given("--colocation").listed("colocation", "USD/kW/month", colocation));
                    all.push(given("--provisioned-kw").listed(
                        "provisioned_power",
                        "kW",
                        owned.provisioned_kw,
                    ));
                }
                if let Some(watts) = self.watts {
                    all.push(given("--watts").listed("watts", "W", watts));
                } else if let Some(watts) = self.idle_watts {
                    let record = Chosen {
                        value: (),
                        origin: Origin::Record,
                        source: "measured before the model was loaded".to_owned(),
                        observed: None,
                    };
                    all.push(record.listed("idle_watts", "W", watts));
                }
            }
        }
        let owned = matches!(self.basis, Basis::Owned { .. });
        if owned || self.usd_per_kwh.origin == Origin::Flag || self.pue.origin == Origin::Flag {
            all.push(self.usd_per_kwh.listed("electricity", "USD/kWh", self.usd_per_kwh.value));
            all.push(self.pue.listed("pue", "x", self.pue.value));
        }
        all.push(self.gpus.listed("gpus", "GPUs", f64::from(self.gpus.value)));
        all.push(self.overhead_usd_per_hour.listed(
            "overhead",
            "USD/h",
            number(self.overhead_usd_per_hour.value),
        ));
        all.push(self.utilization.listed("utilization", "share", self.utilization.value));
        all.push(self.cached_share.listed("cached_share", "share", self.cached_share.value));
        if self.cached_share.value > 0.0 {
            let share = self.cached_cost_share.value;
            all.push(self.cached_cost_share.listed("cached_cost_share", "share", share));
        }
        all.push(self.blend_ratio.listed("blend_ratio", "input : 1", self.blend_ratio.value));
        if let Some(ratio) = self.price_ratio {
            all.push(given("--price-ratio").listed("price_ratio", "output : input", ratio));
        }
        all
    }
}
