//! What an hour costs: a price that runs whatever the machine does, and electricity that follows the work.
//!
//! A rent contains its electricity, so for it there is only the price. An owned machine's electricity is
//! added by the power that was measured in each part of a cell; where a constant power was given, it is
//! in the price already.

use rust_decimal::prelude::ToPrimitive as _;

use crate::record::Price;

const JOULES_PER_KWH: f64 = 3.6e6;

/// What one hour of the whole deployment costs.
#[derive(Debug, Clone)]
pub struct Hour {
    /// What runs whatever the machine does; else why it is not known.
    pub price: Result<Price, String>,
    /// What follows the work; only of owned hardware.
    pub drawn: Option<Drawn>,
}

/// Electricity by measured power.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// USD per kWh.
    pub usd_per_kwh: f64,
    /// Power of the building for each watt of the device.
    pub pue: f64,
    /// Power in the idle part of the hour; without it that of the work is taken.
    pub idle_watts: Option<f64>,
}

impl Hour {
    /// A rent: all is in the price.
    pub fn rent(price: Result<Price, String>) -> Self {
        Self { price, drawn: None }
    }

    /// What a busy second costs at this utilization.
    pub(super) fn rate(&self, utilization: f64) -> Option<Rate> {
        let price = self.price.as_ref().ok()?.usd_per_hour.to_f64()?;
        Some(Rate { fixed: price / 3600.0 / utilization, drawn: self.drawn, idle: 1.0 / utilization - 1.0 })
    }
}

/// USD for a busy second, the idle ones that come with it included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Utilization divides throughput: an idle hour is paid like a busy one.
    fixed: f64,
    drawn: Option<Drawn>,
    /// Idle seconds for each busy one.
    idle: f64,
}

impl Rate {
    /// Of a second in which the device draws `watts`.
    pub(super) fn usd_per_second(&self, watts: Option<f64>) -> f64 {
        let electricity = self.drawn.zip(watts).map_or(0.0, |(drawn, watts)| {
            let joules = watts + self.idle * drawn.idle_watts.unwrap_or(watts);
            joules * drawn.pue * drawn.usd_per_kwh / JOULES_PER_KWH
        });
        self.fixed + electricity
    }

    /// Whether power must be known for the figure to be whole.
    pub(super) fn needs_watts(&self) -> bool {
        self.drawn.is_some()
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::cost::given_price;

    /// By hand: 1 kW at 0.10 USD/kWh and PUE 1.5 is 0.15 USD an hour; at half utilization an idle hour at
    /// 200 W comes with each busy one, 0.03 USD, and the price counts twice: 2 + 2 + 0.15 + 0.03.
    #[test]
    fn idle_hours_draw_idle_power() {
        let drawn = Drawn { usd_per_kwh: 0.1, pue: 1.5, idle_watts: Some(200.0) };
        let hour = Hour { price: Ok(given_price(Decimal::TWO)), drawn: Some(drawn) };
        let usd = |utilization, watts| hour.rate(utilization).expect("priced").usd_per_second(watts) * 3600.0;
        assert!((usd(1.0, Some(1000.0)) - 2.15).abs() < 1e-12);
        assert!((usd(0.5, Some(1000.0)) - 4.18).abs() < 1e-12);
        assert!((usd(0.5, None) - 4.0).abs() < 1e-12);
        let rent = Hour::rent(Ok(given_price(Decimal::TWO)));
        let second = rent.rate(1.0).expect("priced").usd_per_second(Some(1000.0));
        assert!((second * 3600.0 - 2.0).abs() < 1e-12, "a rent includes its electricity");
    }
}
