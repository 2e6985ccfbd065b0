//! A stranger's bytes as the answer of a server: no panic, the same events however they are cut, and chunks that say what
//! `serde_json` says.
//!
//! Run with `scripts/fuzz stream`.
#![no_main]

use std::ops::ControlFlow;

use infercost::endpoint::scan;
use infercost::endpoint::sse::Splitter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says into pieces of how many bytes the rest is cut.
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    let whole = events(bytes, bytes.len());
    assert_eq!(whole, events(bytes, usize::from(piece)));

    let mut reader = scan::Reader::default();
    for (data, _) in &whole {
        let chunk = scan::chunk(data);
        assert_eq!(chunk, reader.read(data), "a chunk after another one is read as if it came alone");
        let json = serde_json::from_slice::<serde_json::Value>(data);
        assert_eq!(chunk.is_ok(), json.is_ok(), "{:?}", String::from_utf8_lossy(data));
        let (Ok(chunk), Ok(json)) = (chunk, json) else { continue };
        let text = chunk.text.decoded().collect::<String>();
        assert_eq!(text.len(), chunk.text.bytes as usize);
        let choice = &json["choices"][0];
        let said = if choice["delta"].is_object() { &choice["delta"]["content"] } else { &choice["text"] };
        assert_eq!(text, said.as_str().unwrap_or_default());
    }
});

/// The events in `bytes` when they arrive in pieces of `size` bytes: the data, and whether the server named it an error.
fn events(bytes: &[u8], size: usize) -> Vec<(Vec<u8>, bool)> {
    let (mut splitter, mut events) = (Splitter::default(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        let fed = splitter.feed(piece, |event| {
            events.push((event.data.to_vec(), event.named_error));
            ControlFlow::<()>::Continue(())
        });
        if fed.is_err() {
            break;
        }
    }
    events
}
