//! Bytes of a stranger as a price file: no panic, no hang, no price that cannot be, rows that can be written and read.
//!
//! Run with `scripts/fuzz prices`.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use infercost::catalog::Catalog;
use infercost::catalog::update::{Filter, Options, diff, read_bytes, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    let catalog = CATALOG.get_or_init(Catalog::bundled);
    let today = jiff::civil::date(2026, 11, 25);
    let options =
        Options { filter: Filter::default(), observed: None, csv_provider: Some("fuzzed"), today, catalog };
    let Ok(offer) = read_bytes(Path::new("fuzzed"), bytes.to_vec(), None, &options) else { return };
    let folder = std::env::temp_dir().join(format!("infercost-fuzz-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    let found = diff::diff(&[offer], catalog, &folder, today).expect("the bundled catalog");
    write::write(&found, &folder).expect("a temporary folder");
    let after = Catalog::load_for_update(Some(&folder)).expect("what is written must be readable");
    for row in &found.api_rows {
        assert!(after.api_prices.contains(row), "{row:?}");
    }
});
