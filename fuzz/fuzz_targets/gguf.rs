//! A stranger's bytes as the header of a GGUF file: no panic, no hang, no allocation far beyond their number.
//!
//! Run with `scripts/fuzz gguf`.
#![no_main]

use std::path::Path;

use infercost::model::gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Weights are not read here: a file may claim as many bytes as the largest models have.
    let length = bytes.len() as u64 + (1 << 40);
    for length in [bytes.len() as u64, length] {
        let Ok(file) = gguf::parse(bytes, length, Path::new("fuzzed.gguf")) else { continue };
        assert!(file.data_start.is_multiple_of(file.alignment), "{} at {}", file.data_start, file.alignment);
        for tensor in &file.header.tensors {
            let end = tensor.offset.checked_add(tensor.bytes().get());
            assert!(end.is_some_and(|end| end <= length), "{} lies outside the file", tensor.name);
        }
        let _parameters = file.header.parameters();
        let _bytes = file.header.weight_bytes();
    }
});
