//! Bytes of a stranger through every importer: no panic, no hang, no allocation far beyond their number.
//!
//! Run with `scripts/fuzz import`.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use infercost::catalog::Catalog;
use infercost::report::exchange::{Format, Options, import_from};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    static CATALOG: OnceLock<Option<Catalog>> = OnceLock::new();
    let Some(catalog) = CATALOG.get_or_init(|| Catalog::load(None).ok()) else { return };
    // The first byte says which format to take it for, or to detect it.
    let (choice, bytes) = bytes.split_first().map_or((255, bytes), |(first, rest)| (*first, rest));
    let format = match choice {
        b'{' | b'[' => None,
        other => Format::ALL.get(usize::from(other)).copied(),
    };
    let bytes = if format.is_none() && choice != 255 { [&[choice], bytes].concat() } else { bytes.to_vec() };
    let options = Options {
        format,
        model: Some("smollm2-135m"),
        gpu: None,
        gpus: None,
        price_per_hour: None,
        catalog,
        today: jiff::civil::date(2026, 11, 24),
        now: jiff::Timestamp::UNIX_EPOCH,
        argv: &[],
    };
    if let Ok(records) = import_from(Path::new("fuzzed"), bytes.as_slice(), &options) {
        for record in &records {
            let text = infercost::record::write::to_json(record).unwrap_or_default();
            assert!(infercost::record::read::parse(&text).is_ok(), "what is written must be readable");
            drop(infercost::report::exchange::llama_bench_rows(record));
            drop(infercost::report::exchange::vllm_objects(record));
        }
    }
});
