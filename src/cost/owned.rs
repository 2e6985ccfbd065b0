//! A machine that was bought: what an hour of owning it costs.
//!
//! The purchase is paid off in equal yearly amounts (capital recovery factor), less what the machine is
//! sold for at the end, put back by its sinking fund; every hour of the year carries its share. Space and
//! power connection follow the kilowatts provisioned, not those drawn. Electricity is not here.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

/// Hours in a year, and in the twelfth part of one.
const HOURS_PER_YEAR: f64 = 8760.0;
/// Hours in a month: 8760 ÷ 12.
pub const HOURS_PER_MONTH: f64 = 730.0;

/// What was paid and what owning costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Owned {
    /// Purchase, all that had to be bought included.
    pub purchase_usd: Decimal,
    /// Years until it is sold or thrown away.
    pub years: f64,
    /// What it is sold for then.
    pub residual: Residual,
    /// Interest a year, as a share; what the money would earn elsewhere.
    pub interest: f64,
    /// Space, cooling and connection, USD for each kW provisioned and month.
    pub colocation_usd_per_kw_month: Decimal,
    /// Kilowatts provisioned.
    pub provisioned_kw: f64,
}

/// What is left at the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Residual {
    /// An amount.
    Usd(Decimal),
    /// A share of the purchase.
    Share(f64),
}

/// The share of a loan that is due each year, interest included: `r (1 + r)^n ÷ ((1 + r)^n − 1)`.
pub fn capital_recovery_factor(interest: f64, years: f64) -> f64 {
    if interest.abs() < 1e-12 {
        return 1.0 / years;
    }
    let growth = (1.0 + interest).powf(years);
    interest * growth / (growth - 1.0)
}

impl Owned {
    /// What it is sold for at the end.
    pub fn residual_usd(&self) -> f64 {
        match self.residual {
            Residual::Usd(usd) => usd.to_f64().unwrap_or(f64::NAN),
            Residual::Share(share) => share * self.purchase_usd.to_f64().unwrap_or(f64::NAN),
        }
    }

    /// Paying it off, USD for each hour of the year.
    pub fn capital_usd_per_hour(&self) -> f64 {
        let recovery = capital_recovery_factor(self.interest, self.years);
        // The residual, `years` from now, is worth its payments into a sinking fund: recovery − interest.
        let yearly = self.purchase_usd.to_f64().unwrap_or(f64::NAN) * recovery
            - self.residual_usd() * (recovery - self.interest);
        yearly / HOURS_PER_YEAR
    }

    /// Space and connection, USD an hour.
    pub fn colocation_usd_per_hour(&self) -> f64 {
        self.colocation_usd_per_kw_month.to_f64().unwrap_or(f64::NAN) * self.provisioned_kw / HOURS_PER_MONTH
    }
}

/// Electricity at a constant power, USD an hour.
pub fn electricity_usd_per_hour(watts: f64, pue: f64, usd_per_kwh: f64) -> f64 {
    watts / 1000.0 * pue * usd_per_kwh
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(residual: Residual, interest: f64) -> Owned {
        Owned {
            purchase_usd: Decimal::from(40_000),
            years: 4.0,
            residual,
            interest,
            colocation_usd_per_kw_month: Decimal::from(150),
            provisioned_kw: 1.73,
        }
    }

    /// The factor of 10% over 4 years is 0.3154708 (any table of annuities); 40,000 USD are 1.4405 an hour
    /// with it and 1.1416 in a straight line.
    #[test]
    fn capital_is_recovered_with_interest() {
        assert!((capital_recovery_factor(0.10, 4.0) - 0.315_470_8).abs() < 1e-7);
        assert!((capital_recovery_factor(0.0, 4.0) - 0.25).abs() < 1e-15);
        let none = Residual::Usd(Decimal::ZERO);
        assert!((owned(none, 0.10).capital_usd_per_hour() - 1.440_506_8).abs() < 1e-6);
        assert!((owned(none, 0.0).capital_usd_per_hour() - 1.141_552_5).abs() < 1e-6);
    }

    /// The payments, discounted year by year, are the purchase less the discounted residual.
    #[test]
    fn the_payments_are_worth_what_was_paid() {
        for residual in [Residual::Share(0.10), Residual::Usd(Decimal::from(4000))] {
            let machine = owned(residual, 0.08);
            let yearly = machine.capital_usd_per_hour() * HOURS_PER_YEAR;
            let worth: f64 = (1..=4).map(|year| yearly / 1.08f64.powi(year)).sum();
            assert!((worth - (40_000.0 - 4000.0 / 1.08f64.powi(4))).abs() < 1e-6, "{residual:?}");
        }
    }

    /// 150 × 1.73 ÷ 730 = 0.35548; 700 W × 1.54 × 0.083 = 0.0895.
    #[test]
    fn space_follows_provisioned_power_and_electricity_the_power_drawn() {
        let machine = owned(Residual::Share(0.0), 0.1);
        assert!((machine.colocation_usd_per_hour() - 0.355_479).abs() < 1e-6);
        assert!((electricity_usd_per_hour(700.0, 1.54, 0.083) - 0.089_474).abs() < 1e-6);
    }
}
