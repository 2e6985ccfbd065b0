//! Property tests on untrusted files: real ones mutated at random, and random bytes.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::record::{read, write};
use infercost_testing::with_number;

const FILES: [&[u8]; 24] = [
    include_bytes!("../../../tests/data/exchange/aiperf.json"),
    include_bytes!("../../../tests/data/exchange/aiperf-early.json"),
    include_bytes!("../../../tests/data/exchange/genai-perf.json"),
    include_bytes!("../../../tests/data/exchange/guidellm.json"),
    include_bytes!("../../../tests/data/exchange/guidellm-0.3.json"),
    include_bytes!("../../../tests/data/exchange/guidellm-0.4.json"),
    include_bytes!("../../../tests/data/exchange/inferencex.json"),
    include_bytes!("../../../tests/data/exchange/inferencex-agentic.json"),
    include_bytes!("../../../tests/data/exchange/inferencex-power.json"),
    include_bytes!("../../../tests/data/exchange/llama-batched-bench.jsonl"),
    include_bytes!("../../../tests/data/exchange/llama-batched-bench-shared.jsonl"),
    include_bytes!("../../../tests/data/exchange/llama-bench.csv"),
    include_bytes!("../../../tests/data/exchange/llama-bench.json"),
    include_bytes!("../../../tests/data/exchange/llama-bench.jsonl"),
    include_bytes!("../../../tests/data/exchange/llama-bench.sql"),
    include_bytes!("../../../tests/data/exchange/llama-bench-devices.json"),
    include_bytes!("../../../tests/data/exchange/sglang-serving.jsonl"),
    include_bytes!("../../../tests/data/exchange/trtllm-bench.json"),
    include_bytes!("../../../tests/data/exchange/vllm-latency.json"),
    include_bytes!("../../../tests/data/exchange/vllm-serve.json"),
    include_bytes!("../../../tests/data/exchange/vllm-serve-0.4.json"),
    include_bytes!("../../../tests/data/exchange/vllm-serve-failed.json"),
    include_bytes!("../../../tests/data/exchange/vllm-serve-nan.json"),
    include_bytes!("../../../tests/data/exchange/vllm-throughput.json"),
];

fn catalog() -> &'static Catalog {
    static CATALOG: std::sync::OnceLock<Catalog> = std::sync::OnceLock::new();
    CATALOG.get_or_init(|| Catalog::load(None).expect("the bundled catalog"))
}

/// Imports, and looks at what came out: finite figures, and a record that can be read again.
fn import_all(bytes: &[u8], format: Option<Format>) -> Result<usize, String> {
    let options = Options {
        format,
        model: Some("smollm2-135m"),
        gpu: None,
        gpus: None,
        price_per_hour: Some(Decimal::ONE),
        catalog: catalog(),
        today: jiff::civil::date(2026, 11, 24),
        now: jiff::Timestamp::UNIX_EPOCH,
        argv: &[],
    };
    let records = import_from(Path::new("f"), bytes, &options).map_err(|error| error.to_string())?;
    for record in &records {
        for measured in &record.measurements {
            match *measured.value {
                Some(value) => {
                    assert!(value.is_finite() && value >= 0.0, "{} is {value}", measured.metric);
                }
                None => assert!(measured.value.reason().is_some(), "{} has no reason", measured.metric),
            }
            let samples = measured.samples.values.iter().flatten();
            assert!(samples.copied().all(f64::is_finite), "{}", measured.metric);
        }
        let text = write::to_json(record).expect("JSON");
        read::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        drop(llama_bench_rows(record));
        drop(vllm_objects(record));
    }
    Ok(records.len())
}

#[test]
fn every_file_is_read() {
    for bytes in FILES {
        let found = import_all(bytes, None);
        assert_eq!(found, Ok(1), "{}", String::from_utf8_lossy(&bytes[..60]));
    }
}

/// Puts `planted` as a member into the object that is the `nth` of a value, or takes `text` for the text that is the `nth`.
fn plant(value: &mut serde_json::Value, nth: &mut usize, planted: &(String, serde_json::Value), text: &str) {
    use serde_json::Value;
    let here = |nth: &mut usize| {
        *nth = nth.wrapping_sub(1);
        *nth == usize::MAX
    };
    match value {
        Value::Object(members) => {
            if here(nth) {
                members.insert(planted.0.clone(), planted.1.clone());
            }
            members.values_mut().for_each(|value| plant(value, nth, planted, text));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| plant(value, nth, planted, text)),
        Value::String(said) if here(nth) => text.clone_into(said),
        _ => {}
    }
}

/// Imports a file with a secret in it and looks for it in the record as it is stored.
fn import_planted(bytes: &[u8], secret: &str) {
    let argv = ["bench".to_owned(), "--api-key".to_owned(), secret.to_owned()];
    let options = Options {
        format: None,
        model: Some("smollm2-135m"),
        gpu: None,
        gpus: None,
        price_per_hour: None,
        catalog: catalog(),
        today: jiff::civil::date(2026, 11, 24),
        now: jiff::Timestamp::UNIX_EPOCH,
        argv: &argv,
    };
    let path = Path::new("f");
    match import_from(path, bytes, &options) {
        Ok(records) => {
            for record in records {
                let text = write::to_json(&record).expect("JSON");
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
        Err(error) => assert!(!error.to_string().contains(secret), "{error}"),
    }
}

/// Replacements for a number: what a broken tool or a malicious hand would put there.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1e308",
    "1e-308",
    "NaN",
    "-Infinity",
    "null",
    "\"\"",
    "[]",
    "{}",
    "18446744073709551615",
    "0.5",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_secret_planted_anywhere_is_not_in_the_record(
        file in 0..FILES.len(), nth in 0..400_usize, name in 0..8_usize, form in 0..8_usize, body in "[A-Za-z0-9]{24}",
    ) {
        let name = ["api_key", "apiKey", "X-API-Key", "PASSWORD", "client_secret", "authorization", "hf_token", "cookie"][name];
        let form = ["sk-", "hf_", "ghp_", "xoxb-", "gsk_", "nvapi-", "AIza", "r8_"][form];
        let (text, secret) = (String::from_utf8_lossy(FILES[file]).replace("Infinity", "1"), format!("{form}{body}"));
        let Ok(mut value) = serde_json::from_str::<serde_json::Value>(text.lines().next().unwrap_or_default())
            .or_else(|_| serde_json::from_str(&text))
        else {
            // CSV and SQL: in place of the commit.
            import_planted(text.replace("sdist", &secret).as_bytes(), &secret);
            return Ok(());
        };
        let by_name = (name.to_owned(), serde_json::json!([{ "of": body }, "b"]));
        plant(&mut value, &mut { nth }, &by_name, &format!("x {secret} --{name} {body}"));
        import_planted(value.to_string().as_bytes(), &body);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_changed_number_is_an_error_or_a_record(
        file in 0..FILES.len(), nth in any::<usize>(), with in 0..NUMBERS.len(), and in any::<usize>(),
    ) {
        let text = String::from_utf8_lossy(FILES[file]).into_owned();
        let text = with_number(&text, nth, NUMBERS[with]);
        let text = with_number(&text, and, NUMBERS[(with + nth % 7) % NUMBERS.len()]);
        drop(import_all(text.as_bytes(), None));
    }

    #[test]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a short file")]
    fn a_cut_or_spliced_file_is_an_error_or_a_record(
        file in 0..FILES.len(), other in 0..FILES.len(), cut in 0.0..1.0f64, from in 0.0..1.0f64, flip in any::<(u16, u8)>(),
    ) {
        let part = |bytes: &[u8], share: f64| (bytes.len() as f64 * share) as usize;
        let mut bytes = FILES[file][..part(FILES[file], cut)].to_vec();
        bytes.extend(&FILES[other][part(FILES[other], from)..]);
        let at = usize::from(flip.0) % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= flip.1;
        }
        drop(import_all(&bytes, None));
    }

    #[test]
    fn any_file_as_any_format(file in 0..FILES.len(), format in 0..Format::ALL.len()) {
        drop(import_all(FILES[file], Some(Format::ALL[format])));
    }

    #[test]
    fn bytes_that_nobody_wrote(bytes in prop::collection::vec(any::<u8>(), 0..2000), format in 0..20usize) {
        drop(import_all(&bytes, Format::ALL.get(format).copied()));
    }

    #[test]
    fn json_that_nobody_wrote(
        text in r#"[\[\{]{1,3}("(avg_ns|n_prompt|n_gen|pp|tg|pl|t_pp|t_tg|duration|completed|hw|isl)": ?(-?[0-9]{1,12}(\.[0-9]{1,3})?(e[0-9]{1,3})?|"x"|null|\[\]|\{\}),?){1,12}[\]\}]{1,3}"#,
        format in 0..20usize,
    ) {
        drop(import_all(text.as_bytes(), Format::ALL.get(format).copied()));
    }
}
