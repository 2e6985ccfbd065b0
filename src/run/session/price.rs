//! What an hour of the machine costs: the rent that was given, else the catalog's for what computes.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::catalog::Catalog;
use crate::cost;
use crate::hardware::device;
use crate::hardware::nvml::GpuFound;
use crate::record::Price;

/// The hour of a machine, as far as its rent goes.
#[derive(Debug, Clone, Copy)]
pub struct Hour<'a> {
    /// The rent, where it was given.
    pub given_usd: Option<Decimal>,
    /// The GPU that computes; `None` where the processors do.
    pub gpu: Option<&'a GpuFound>,
    /// The catalog's id of a GPU whose driver does not say its name.
    pub named: Option<&'a str>,
    /// Logical processors of the machine.
    pub logical_cpus: usize,
}

impl Hour<'_> {
    /// Its price on the day `today`.
    ///
    /// # Errors
    /// Why there is none, and the flag that gives one.
    pub fn price(&self, catalog: &Catalog, today: Date) -> Result<Price, String> {
        if let Some(usd) = self.given_usd {
            return Ok(cost::given_price(usd));
        }
        let Some(gpu) = self.gpu else {
            return cost::cpu_price(catalog, self.logical_cpus, today);
        };
        let asked = || gpu.name.is_err().then(|| catalog.gpu(self.named?).ok()).flatten();
        let row = device::row(gpu, catalog).or_else(asked).ok_or_else(|| match &gpu.name {
            Ok(name) => {
                format!("the catalog has no row for `{name}`; give the rent with --price-per-hour USD")
            }
            Err(reason) => format!(
                "this GPU is not known ({reason}); name it with --gpu, or give the rent with --price-per-hour USD"
            ),
        })?;
        cost::gpu_price(catalog, row, today)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Bytes;

    fn gpu(name: Result<&str, &str>) -> GpuFound {
        GpuFound {
            index: 0,
            id: "GPU-0".to_owned(),
            name: name.map(str::to_owned).map_err(str::to_owned),
            uuid: Ok("GPU-0".to_owned()),
            memory_total: Ok(Bytes::new(80 << 30)),
            memory_free: Ok(Bytes::new(80 << 30)),
        }
    }

    #[test]
    fn the_rent_that_was_given_comes_first_and_a_gpu_without_a_name_needs_one() {
        let (catalog, today) = (Catalog::bundled(), jiff::civil::date(2026, 11, 29));
        let cpu = Hour { given_usd: None, gpu: None, named: None, logical_cpus: 2 };
        let price = |hour: Hour<'_>| hour.price(&catalog, today);
        let given = price(Hour { given_usd: Some(Decimal::TWO), ..cpu }).expect("given");
        assert_eq!((given.usd_per_hour, given.source.as_str()), (Decimal::TWO, "--price-per-hour"));
        assert!(price(cpu).is_ok_and(|price| price.usd_per_hour < Decimal::ONE));

        let (known, other, nameless) =
            (gpu(Ok("NVIDIA H100 80GB HBM3")), gpu(Ok("NVIDIA X1")), gpu(Err("no permission")));
        let of = |gpu, named| price(Hour { gpu: Some(gpu), named, ..cpu });
        let h100 = of(&known, None).expect("a row");
        assert!(h100.usd_per_hour > Decimal::ONE, "{h100:?}");
        assert_eq!(of(&nameless, Some("h100")), Ok(h100.clone()));
        // What the driver says comes before the flag.
        assert_eq!(of(&known, Some("a100")), Ok(h100));
        assert!(of(&other, Some("h100")).is_err_and(|said| said.contains("no row for `NVIDIA X1`")));
        assert!(of(&nameless, None).is_err_and(|said| said.contains("(no permission); name it with --gpu")));
    }
}
