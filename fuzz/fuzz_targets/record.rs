//! Untrusted bytes as a record: no panic, and what is read is written and read again as the same record.
//!
//! Run with `scripts/fuzz record`.
#![no_main]

use infercost::record::{read, write};
use infercost::report::exchange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(record) = read::parse(text) else { return };
    let written = write::to_json(&record).expect("a record can be written");
    let again = read::parse(&written).expect("what is written must be readable");
    assert_eq!(record, again);
    drop(exchange::llama_bench_rows(&record));
    drop(exchange::vllm_objects(&record));
});
