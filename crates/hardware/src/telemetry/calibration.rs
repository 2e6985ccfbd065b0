//! A device's calibration, stored between runs: `bench doctor --calibrate-power` writes it, `bench run` reads it.
//!
//! It belongs to a device and the driver of its sensors: another driver may publish differently. It can always be measured
//! again, so a file that cannot be read counts as absent.

use std::io;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Description;
use crate::record::Sensor;

const SCHEMA: &str = "infercost.sensor/1";

#[derive(Serialize, Deserialize)]
struct Kept {
    schema: String,
    device: String,
    driver: String,
    sensor: Sensor,
}

/// Stores the calibration of `described` under `cache`; returns the file.
///
/// # Errors
/// If the file cannot be written, or the driver is unknown.
pub fn store(cache: &Path, described: &Description, today: Date, sensor: &Sensor) -> io::Result<PathBuf> {
    let driver =
        described.driver.clone().ok_or_else(|| io::Error::other("the driver's version is unknown"))?;
    let path = file(cache, &described.device, &driver);
    let origin = format!("calibrated on {today} with driver {driver}");
    let kept = Kept {
        schema: SCHEMA.to_owned(),
        device: described.device.clone(),
        driver,
        sensor: Sensor { origin, ..sensor.clone() },
    };
    let text = serde_json::to_string_pretty(&kept).map_err(io::Error::other)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Written to a temporary file first, so that a reader never sees half of it.
    let partial = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&partial, text + "\n").and_then(|()| std::fs::rename(&partial, &path))?;
    Ok(path)
}

/// The stored calibration of `described`, if this driver was calibrated.
pub fn find(cache: &Path, described: &Description) -> Option<Sensor> {
    let driver = described.driver.as_deref()?;
    let text = std::fs::read_to_string(file(cache, &described.device, driver)).ok()?;
    let kept: Kept = serde_json::from_str(&text).ok()?;
    let same = kept.schema == SCHEMA && kept.device == described.device && kept.driver == driver;
    same.then_some(kept.sensor)
}

fn file(cache: &Path, device: &str, driver: &str) -> PathBuf {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' }).collect()
    };
    cache.join("sensors").join(format!("{}_{}.json", plain(device), plain(driver)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Trace;
    use crate::telemetry::{Scope, sensor};

    #[test]
    fn it_is_found_again_by_device_and_driver_alone() {
        let cache = tempfile::tempdir().expect("a folder");
        let described = Description {
            name: "nvml",
            device: "GPU-1/2".to_owned(),
            driver: Some("580.65.06".to_owned()),
            scope: Scope::Gpu,
            no_counter: None,
            no_power: None,
        };
        let found = sensor::analyse(&Trace::default(), None, Err("none"));
        let day = jiff::civil::date(2026, 11, 23);
        let path = store(cache.path(), &described, day, &found).expect("written");
        let again = find(cache.path(), &described).expect("kept");
        assert_eq!(again.origin, "calibrated on 2026-11-23 with driver 580.65.06");
        assert_eq!(Sensor { origin: String::new(), ..again }, found);
        for other in [
            Description { driver: Some("581.1".to_owned()), ..described.clone() },
            Description { device: "GPU-1".to_owned(), ..described.clone() },
            Description { driver: None, ..described.clone() },
        ] {
            assert_eq!(find(cache.path(), &other), None, "{other:?}");
        }
        std::fs::write(path, "{").expect("spoilt");
        assert_eq!(find(cache.path(), &described), None);
    }
}
