//! Real excerpts checked by hand, property tests on untrusted files, and the files an update writes.

use std::path::Path;

use jiff::civil::date;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::diff::{ChangeKind, diff};
use super::*;
use crate::{RentalKind, Trust};
use infercost_testing::with_number;

const TODAY: Date = date(2026, 11, 25);

macro_rules! files {
    ($($path:literal),+ $(,)?) => {
        [$(($path, include_bytes!(concat!("../../../../tests/data/prices/", $path)) as &[u8])),+]
    };
}

const FILES: [(&str, &[u8]); 16] = files![
    "litellm.json",
    "genai-prices.json",
    "models.dev.json",
    "openrouter.json",
    "gpuhunt/lambdalabs.csv",
    "skypilot/lambda/vms.csv",
    "skypilot/verda/vms.csv",
    "skypilot/vast/vms.csv",
    "skypilot/runpod/vms.csv",
    "skypilot/gcp/vms.csv",
    "skypilot/mithril/vms.csv",
    "skypilot/azure/vms.csv",
    "skypilot/hyperstack/vms.csv",
    "skypilot/spheron/vms.csv",
    "litellm-tiers.json",
    "openrouter-fees.json",
];

pub(super) fn catalog() -> &'static Catalog {
    static CATALOG: std::sync::OnceLock<Catalog> = std::sync::OnceLock::new();
    CATALOG.get_or_init(Catalog::bundled)
}

pub(super) fn options<'a>() -> Options<'a> {
    Options {
        filter: Filter::default(),
        observed: None,
        csv_provider: None,
        today: TODAY,
        catalog: catalog(),
    }
}

pub(super) fn offer_of(path: &str, bytes: &[u8], options: &Options<'_>) -> Result<Offer, Error> {
    read_bytes(Path::new(path), bytes.to_vec(), Some(TODAY), options)
}

pub(super) fn offer(path: &str) -> Offer {
    let (_, bytes) = FILES.iter().find(|(name, _)| *name == path).expect("a file of the tests");
    offer_of(path, bytes, &options()).expect(path)
}

pub(super) fn usd(text: &str) -> Decimal {
    text.parse().expect("a number")
}

pub(super) fn api<'a>(offer: &'a Offer, id: &str) -> &'a ApiPrice {
    let ids = || offer.api.iter().map(ApiPrice::id).collect::<Vec<_>>();
    offer.api.iter().find(|row| row.id() == id).unwrap_or_else(|| panic!("no {id} in {:?}", ids()))
}

pub(super) fn money(row: &ApiPrice) -> [Option<Decimal>; 4] {
    [
        Some(row.input_usd_per_mtok),
        Some(row.output_usd_per_mtok),
        row.cached_input_usd_per_mtok,
        row.cache_write_usd_per_mtok,
    ]
}

fn refused(offer: &Offer) -> Vec<(Option<usize>, &str, &str)> {
    offer.refused.iter().map(|row| (row.line, row.row.as_str(), row.field.as_str())).collect()
}

#[test]
fn litellms_prices_per_token_become_prices_per_million() {
    let offer = offer("litellm.json");
    assert_eq!(offer.format, Format::Litellm);
    let mini = api(&offer, "openai/gpt-4o-mini");
    assert_eq!(money(mini), [Some(usd("0.15")), Some(usd("0.6")), Some(usd("0.075")), None]);
    let batch = mini.batch.as_ref().expect("a batch price");
    assert_eq!((batch.input, batch.output), (usd("0.075"), usd("0.3")));
    assert_eq!((mini.as_of, mini.source_model_id.as_str()), (TODAY, "gpt-4o-mini"));
    // What has no word here is kept.
    let kept: serde_json::Value = serde_json::from_str(mini.kept.as_deref().expect("kept")).expect("JSON");
    assert_eq!(kept["deprecation_date"], "2027-01-14");
    assert_eq!(kept["input_cost_per_token_priority"], 2.5e-7);
    assert!(kept.get("input_cost_per_token").is_none());
    // DeepSeek's rows: a peak price with others off peak, and a host of the open weights.
    assert!(
        api(&offer, "deepseek/deepseek-flash").note.as_deref().is_some_and(|note| note.contains("off-peak"))
    );
    assert_eq!(api(&offer, "deepinfra/deepseek-v3").output_usd_per_mtok, usd("0.89"));
    // A claude of Bedrock above 200,000 tokens.
    let claude =
        offer.api.iter().find(|row| row.source_model_id.starts_with("anthropic.claude")).expect("a row");
    assert_eq!(claude.provider, "bedrock");
    assert_eq!(claude.long_context_tiers[0].above_input_tokens, 200_000);
    // Refused by name, with its line: free or unknown.
    let free = offer.refused.iter().find(|row| row.row.contains("gemma-2b-it-lora")).expect("refused");
    assert_eq!((free.field.as_str(), free.value.as_str()), ("input_cost_per_token", "0.0"));
    assert_eq!(free.reason, "is free or unknown");
    let text = String::from_utf8_lossy(FILES[0].1);
    let line = text.lines().position(|line| line.contains("gemma-2b-it-lora")).expect("a line") + 1;
    assert_eq!(free.line, Some(line));
    assert_eq!(offer.passed.get("mode image_generation"), Some(&1));
    assert_eq!(offer.passed.get("mode embedding"), Some(&1));
}

#[test]
fn genai_prices_of_today_are_taken_and_those_to_come_announced() {
    let offer = offer("genai-prices.json");
    assert_eq!(offer.format, Format::GenaiPrices);
    let pro = api(&offer, "google/gemini-2.5-pro");
    assert_eq!(money(pro)[..3], [Some(usd("1.25")), Some(usd("10")), Some(usd("0.125"))]);
    let tier = &pro.long_context_tiers[0];
    assert_eq!((tier.above_input_tokens, tier.input, tier.output), (200_000, usd("2.5"), usd("15")));
    // o3 is cheaper since 2025-06-10.
    let o3 = api(&offer, "openai/o3");
    assert_eq!((o3.input_usd_per_mtok, o3.effective_from), (usd("2"), Some(date(2025, 6, 10))));
    // gemini-3.7-flash becomes dearer on 2027-01-01.
    let flash = api(&offer, "google/gemini-3.7-flash");
    let change = flash.scheduled_change.as_ref().expect("announced");
    assert_eq!(
        (flash.input_usd_per_mtok, change.date, change.input),
        (usd("0.75"), date(2027, 1, 1), usd("1.5"))
    );
    // DeepSeek's day has two prices.
    let chat = api(&offer, "deepseek/deepseek-chat");
    assert_eq!(chat.input_usd_per_mtok, usd("0.135"));
    assert_eq!(
        (chat.time_of_day[0].from_utc.as_str(), chat.time_of_day[0].to_utc.as_str()),
        ("00:30", "16:30")
    );
    assert_eq!(chat.time_of_day[0].output, usd("1.1"));
    // The word of the catalog for Groq's id.
    assert_eq!(api(&offer, "groq/llama-3-70b").source_model_id, "llama3-70b-8192");
    assert_eq!(offer.passed.get("no price of output tokens"), Some(&3), "embeddings: {:?}", offer.passed);
}

#[test]
fn version_3_and_a_batch_variant_of_genai_prices() {
    let text = r#"{"units": {}, "future": 1, "providers": [{"id": "openai", "models": [{"id": "gpt-x", "future_field": [1],
        "prices": [{"prices": {"input_mtok": {"base": 4, "tiers": [], "f": 1}, "output_mtok": 8}},
                   {"constraint": {"type": "new", "region": "mars"}, "prices": {"input_mtok": 99, "output_mtok": 99}}],
        "price_variants": [{"when": {"processing": "batch"}, "prices": {"input_mtok": 2, "output_mtok": 4}}]}]}]}"#;
    let offer = offer_of("v3.json", text.as_bytes(), &options()).expect("version 3");
    let row = api(&offer, "openai/gpt-x");
    assert_eq!((row.input_usd_per_mtok, row.output_usd_per_mtok), (usd("4"), usd("8")));
    assert_eq!(row.batch.as_ref().map(|batch| batch.input), Some(usd("2")));
    assert!(row.kept.as_deref().is_some_and(|kept| kept.contains("future_field")), "{:?}", row.kept);
}

#[test]
fn models_dev_names_each_bad_row() {
    let offer = offer("models.dev.json");
    assert_eq!(offer.format, Format::ModelsDev);
    assert_eq!(api(&offer, "groq/llama-3.1-8b").output_usd_per_mtok, usd("0.08"));
    let tier = &api(&offer, "openai/gpt-5.4").long_context_tiers[0];
    assert_eq!((tier.above_input_tokens, tier.output), (272_000, usd("22.5")));
    assert_eq!(api(&offer, "groq/deepseek-r1-distill-llama-70b").open_weights, Some(true));
    assert!(api(&offer, "groq/deepseek-r1-distill-llama-70b").deprecated);
    let bad = refused(&offer);
    assert!(bad.iter().any(|row| (row.1, row.2) == ("allam-2-7b", "cost.input")), "{bad:?}");
    // Cached input dearer than new: 1.25 against 0.5.
    assert!(bad.iter().any(|row| (row.1, row.2) == ("gpt-3.5-turbo", "cost.cache_read")), "{bad:?}");
    assert!(bad.iter().all(|row| row.0.is_some_and(|line| line > 1)), "{bad:?}");
    assert_eq!(offer.passed.get("has no text output"), Some(&1));
}

#[test]
fn openrouters_routers_and_aliases_are_no_prices() {
    let offer = offer("openrouter.json");
    assert_eq!(offer.format, Format::OpenRouter);
    let opus = api(&offer, "openrouter/claude-opus-5");
    assert_eq!(money(opus), [Some(usd("5")), Some(usd("25")), Some(usd("0.5")), Some(usd("6.25"))]);
    assert_eq!(api(&offer, "openrouter/glm-5").open_weights, Some(true));
    assert_eq!(offer.passed.get("an alias of another model"), Some(&1));
    let router = &offer.refused[0];
    assert_eq!((router.row.as_str(), router.field.as_str()), ("openrouter/auto-beta", "pricing.prompt"));
    assert_eq!((router.value.as_str(), router.reason.as_str()), ("\"-1\"", "is negative"));
    let text = r#"[{"id": "a/b", "pricing": {"prompt": "0.000001", "completion": "0.000002", "overrides": [
        {"utc_start": 100, "utc_end": 430, "prompt": "0.000002", "completion": "0.000004"},
        {"min_prompt_tokens": 200000, "prompt": "0.000003", "completion": "0.000006"}]}},
        {"id": "a/b:free", "pricing": {"prompt": "0", "completion": "0"}}]"#;
    let offer = offer_of("list.json", text.as_bytes(), &options()).expect("the bare list");
    let row = api(&offer, "openrouter/b");
    assert_eq!(
        (row.time_of_day[0].from_utc.as_str(), row.time_of_day[0].to_utc.as_str()),
        ("01:00", "04:30")
    );
    assert_eq!(row.long_context_tiers[0].output, usd("6"));
    assert_eq!(offer.passed.get("a free tier"), Some(&1));
}

pub(super) fn rents(offer: &Offer) -> Vec<(&str, &str, RentalKind, String)> {
    let row = |row: &'_ Rental| (row.kind, row.usd_per_gpu_hour.normalize().to_string());
    offer.rents.iter().map(|r| (r.provider.as_str(), r.gpu.as_str(), row(r).0, row(r).1)).collect()
}

#[test]
fn gpuhunts_offers_become_rents_of_one_gpu() {
    let offer = offer("gpuhunt/lambdalabs.csv");
    assert_eq!(offer.format, Format::Gpuhunt);
    assert_eq!(
        rents(&offer),
        [
            ("lambda", "a10-24gb", RentalKind::OnDemand, "0.75".to_owned()),
            ("lambda", "a10-24gb", RentalKind::Spot, "0.3".to_owned()),
            ("lambda", "h100-pcie-80gb", RentalKind::OnDemand, "2.49".to_owned()),
            ("lambda", "h100-sxm5-80gb", RentalKind::OnDemand, "3.29".to_owned()),
            // Eight are cheaper than one.
            ("lambda", "h100-sxm5-80gb", RentalKind::OnDemand, "2.99".to_owned()),
        ]
    );
    let pcie = &offer.rents[2];
    assert_eq!(pcie.note.as_deref(), Some("1 GPU, lowest of 2 rows (us-west-3), highest 3.29"));
    assert!(pcie.kept.as_deref().is_some_and(|kept| kept.contains("provider_data")), "{:?}", pcie.kept);
    assert_eq!(offer.passed.get("GPU GH200 is not in the catalog"), Some(&1));
    assert_eq!(offer.passed.get("no GPU"), Some(&1));
}

#[test]
fn skypilots_clouds_are_read_by_their_headers() {
    let verda = offer("skypilot/verda/vms.csv");
    assert_eq!(verda.format, Format::Skypilot);
    assert_eq!(
        rents(&verda),
        [
            ("verda", "a100-sxm4-80gb", RentalKind::OnDemand, "1.29".to_owned()),
            // No on-demand price, and a spot price for two GPUs.
            ("verda", "b300-sxm-288gb", RentalKind::Spot, "2.4465".to_owned()),
            ("verda", "h100-sxm5-80gb", RentalKind::OnDemand, "2.29".to_owned()),
            ("verda", "h100-sxm5-80gb", RentalKind::Spot, "0.8015".to_owned()),
        ]
    );
    // The file does not say whether it is an SXM or a PCIe card.
    assert_eq!(verda.rents[0].trust, Trust::Medium);
    let vast = offer("skypilot/vast/vms.csv");
    assert_eq!(
        rents(&vast),
        [
            // The file says the memory of both cards, 80 GB.
            ("vast", "a100-sxm4-40gb", RentalKind::Community, "0.745".to_owned()),
            ("vast", "h100-nvl-94gb", RentalKind::Community, "2.08".to_owned()),
            ("vast", "h100-sxm5-80gb", RentalKind::Community, "1.87".to_owned()),
            ("vast", "rtx-4090-24gb", RentalKind::Community, "0.4".to_owned()),
            ("vast", "rtx-4090-24gb", RentalKind::Community, "0.3475".to_owned()),
        ]
    );
    assert_eq!(
        vast.passed.get("GPU RTX4090 with this form factor or memory is not in the catalog"),
        Some(&1)
    );
    // RunPod writes its on-demand price twice.
    let runpod = offer("skypilot/runpod/vms.csv");
    assert_eq!(rents(&runpod), [("runpod", "a100-pcie-80gb", RentalKind::OnDemand, "1.39".to_owned())]);
    let gcp = offer_of(FILES[9].0, FILES[9].1, &options()).expect_err("no row can be used").to_string();
    assert!(gcp.contains("can be used; the price of an accelerator without a machine (2 of them)"), "{gcp}");
    let empty = "InstanceType,AcceleratorName,AcceleratorCount,Price\n";
    let empty = offer_of("mine.csv", empty.as_bytes(), &options()).expect_err("no row at all").to_string();
    assert_eq!(empty, "mine.csv: none of its 0 rows can be used; it is empty");
}

/// A line that ends in `\r\n`, an empty line, and a value with a line's end in it.
#[test]
fn a_csv_row_is_told_by_its_own_line() {
    let text = "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region\r\na,H100-SXM,1,2.5,,us\r\n\r\n\
        b,H100-SXM,1,0,,us\r\n\"c\r\nd\",H100-SXM,1,2.5,,us\r\ne,H100-SXM,1,-1,,us\r\n";
    let offer = offer_of("mine.csv", text.as_bytes(), &options()).expect("two rows are good");
    assert_eq!(refused(&offer), [(Some(4), "b", "Price"), (Some(7), "e", "Price")]);
}

#[test]
fn two_files_that_disagree_on_one_day_are_both_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, output: u32| {
        let text = format!(
            r#"{{"p": {{"models": {{"m": {{"id": "m", "cost": {{"input": 1, "output": {output}}}}}}}}}}}"#
        );
        offer_of(name, text.as_bytes(), &options()).expect("a price")
    };
    let found =
        diff(&[file("a.json", 2), file("b.json", 3)], catalog(), folder.path(), TODAY).expect("a diff");
    assert_eq!((found.api.len(), found.api[0].after.as_str()), (1, "1/2"));
    assert_eq!(found.api[0].note.as_deref(), Some("of the same day, not used: 1/3 of b.json"));
    let csv = |name: &str, price: &str| {
        let text = format!(
            "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region\na,H100-SXM,1,{price},,us\n"
        );
        let options = Options { csv_provider: Some("mine"), ..options() };
        offer_of(name, text.as_bytes(), &options).expect("a rent")
    };
    let found =
        diff(&[csv("a.csv", "2.5"), csv("b.csv", "2.75")], catalog(), folder.path(), TODAY).expect("a diff");
    let note = found.rents[0].note.as_deref().unwrap_or_default();
    assert!(note.ends_with("of the same day, not used: 2.75 of b.csv"), "{note}");
}

#[test]
fn prices_that_cannot_be_are_refused_by_line_field_and_value() {
    let csv = "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region\n\
        a,H100-SXM,1,2.5,,us\nb,H100-SXM,1,-2.5,,us\nc,H100-SXM,1,0,,us\nd,H100-SXM,1,25000,,us\ne,H100-SXM,1,cheap,,us\n\
        f,H100-SXM,half,2.5,,us\ng,H100-SXM,1,2.5\nh,H100-SXM,8,0.01,,us\ni,H100-SXM,1,,,us\n";
    let offer = offer_of("mine.csv", csv.as_bytes(), &options()).expect("one row is good");
    assert_eq!(rents(&offer), [("mine", "h100-sxm5-80gb", RentalKind::OnDemand, "2.5".to_owned())]);
    let told: Vec<String> = offer
        .refused
        .iter()
        .map(|row| {
            format!("{} {} {} {} {}", row.line.unwrap_or(0), row.row, row.field, row.value, row.reason)
        })
        .collect();
    let expected = [
        "3 b Price \"-2.5\" is negative",
        "4 c Price \"0\" is free or unknown",
        "5 d Price \"25000\" makes 25000 USD per GPU-hour, more than anybody charges; wrong unit?",
        "6 e Price \"cheap\" is not a number",
        "7 f AcceleratorCount \"half\" is not a number",
        "8 g row  has 4 columns and the header 6",
        "9 h Price \"0.01\" makes 0.00125 USD per GPU-hour, less than anybody charges; wrong unit?",
    ];
    assert_eq!(told, expected);
    assert_eq!(offer.passed.get("no price"), Some(&1));
    // A price per million in a field of prices per token.
    let json = "{\n\"good\": {\"litellm_provider\": \"x\", \"input_cost_per_token\": 1e-6, \"output_cost_per_token\": 2e-6},\n\
        \"bad\": {\"litellm_provider\": \"x\", \"input_cost_per_token\": 1.5, \"output_cost_per_token\": 2e-6},\n\
        \"half\": {\"litellm_provider\": \"x\", \"input_cost_per_token\": 1e-6}\n}";
    let offer = offer_of("l.json", json.as_bytes(), &options()).expect("one row is good");
    assert_eq!(
        refused(&offer),
        [(Some(3), "bad", "input_cost_per_token"), (Some(4), "half", "output_cost_per_token")]
    );
    assert!(offer.refused[0].reason.starts_with("makes 1500000 USD per million tokens, more"));
    assert_eq!(offer.refused[1].reason, "is missing");
}

#[test]
fn a_file_as_windows_writes_it_is_read() {
    let (path, bytes) = FILES[0];
    let plain = offer_of(path, bytes, &options()).expect("a price file");
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    for mark in ["", "\u{feff}"] {
        let units: Vec<u16> = format!("{mark}{text}").encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for bytes in [little, big] {
            let read = offer_of(path, &bytes, &options()).expect("a price file");
            assert_eq!((read.rows, read.api.len()), (plain.rows, plain.api.len()));
        }
    }
    for (bytes, expected) in [
        (&b"\x1f\x8b\x08\x00"[..], "it is compressed (gzip); unpack it first: gunzip -k FILE"),
        (b"PK\x03\x04", "it is compressed (zip)"),
    ] {
        let error = offer_of("f.json", bytes, &options()).expect_err("packed").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_id_that_comes_twice_is_one_model() {
    let row = |price: &str| {
        format!(r#"{{"id": "a/b", "pricing": {{"prompt": "{price}", "completion": "0.000002"}}}}"#)
    };
    let text = format!(r#"{{"data": [{}, {}]}}"#, row("0.000001"), row("0.000003"));
    let offer = offer_of("openrouter.json", text.as_bytes(), &options()).expect("a list of models");
    let models: Vec<&str> = offer.api.iter().map(|row| row.model.as_str()).collect();
    assert_eq!(models, ["b"]);
    assert_eq!(offer.refused.len(), 1);
    assert_eq!(offer.refused[0].sentence(), "`id` \"a/b\" occurs twice for openrouter; the first is used");
}

#[test]
fn the_day_in_a_files_name_goes_before_the_day_of_the_copy() {
    let bytes = FILES[0].1;
    let read = |path: &str, observed| {
        let options = Options { observed, ..options() };
        let modified = Some(date(2026, 11, 24));
        let offer = super::read_bytes(Path::new(path), bytes.to_vec(), modified, &options);
        offer.expect("a price file").observed
    };
    assert_eq!(read("litellm-2026-11-02.json", None), (date(2026, 11, 2), Dated::Name));
    assert_eq!(read("20261103/litellm.json", None), (date(2026, 11, 3), Dated::Name));
    assert_eq!(read("litellm.json", None), (date(2026, 11, 24), Dated::Modified));
    // Not a date of prices: one in the future, part of a longer number, an invalid month.
    for other in ["29991102.json", "120261102.json", "litellm-2026-13-02.json"] {
        assert_eq!(read(other, None).1, Dated::Modified, "{other}");
    }
    let said = Some(date(2026, 10, 1));
    assert_eq!(read("litellm-2026-11-02.json", said), (date(2026, 10, 1), Dated::Flag));
}

#[test]
fn what_is_no_price_file_says_what_was_seen() {
    for (text, expected) in [
        ("", "the file is empty; supported: LiteLLM's"),
        ("a,b,c\n", "its first line is `a,b,c`, which matches no known price file"),
        ("[{\"n_prompt\": 1, \"avg_ns\": 5}]", "import results with `bench import FILE`"),
        ("{}", "its object is empty"),
        ("{\"speed\": 1}", "its object has `speed`, which matches no known price file"),
        ("[1, 2]", "it is a list that matches no known"),
        ("[{\"id\": 1}]", "it is a list that matches no known"),
        ("{\"a\": [1, 2", "the file ends in the middle"),
        ("{}\n{}", "a second JSON value begins here"),
    ] {
        let error = offer_of("f.json", text.as_bytes(), &options()).expect_err(text).to_string();
        assert!(error.starts_with("f.json") && error.contains(expected), "{text}: {error}");
    }
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/exchange");
    let results = std::fs::read_dir(results).expect("the samples of importers");
    for path in results.map(|entry| entry.expect("an entry").path()) {
        if path.extension().is_some_and(|ending| ending == "json") {
            let bytes = std::fs::read(&path).expect("a sample");
            let error = offer_of("f.json", &bytes, &options()).expect_err("not prices").to_string();
            assert!(error.contains("import results with `bench import FILE`"), "{}: {error}", path.display());
        }
    }
    let error = offer_of("f.json", b"{\n\"a\": \xff}", &options()).expect_err("bytes").to_string();
    assert!(error.starts_with("f.json:2: it is not UTF-8 or UTF-16 text"), "{error}");
    let all_bad =
        br#"{"m": {"litellm_provider": "x", "input_cost_per_token": -1, "output_cost_per_token": 1}}"#;
    let error = offer_of("f.json", all_bad, &options()).expect_err("nothing good").to_string();
    assert_eq!(
        error,
        "f.json: none of its 1 row can be used; the first: line 1, `m`: `input_cost_per_token` is -1.0: negative"
    );
    let nameless = offer_of("vms.csv", FILES[5].1, &options()).expect_err("whose is it?").to_string();
    assert!(nameless.contains("--csv-provider"), "{nameless}");
}

#[test]
fn only_what_is_asked_for_is_taken() {
    let mut asked = options();
    asked.filter = Filter { provider: Some("Together_AI".to_owned()), model: None };
    let error = offer_of("litellm.json", FILES[0].1, &asked).expect_err("none of theirs").to_string();
    assert!(error.contains("its providers are bedrock, cloudflare, deepinfra"), "{error}");
    asked.filter = Filter { provider: Some("deepinfra".to_owned()), model: Some("DEEPSEEK".to_owned()) };
    let offer = offer_of("litellm.json", FILES[0].1, &asked).expect("one of theirs");
    assert_eq!(offer.api.iter().map(ApiPrice::id).collect::<Vec<_>>(), ["deepinfra/deepseek-v3"]);
    assert!(offer.filtered_out > 5);
}

#[test]
fn the_day_is_the_flags_or_the_files_and_never_to_come() {
    let bytes = FILES[0].1.to_vec();
    let day = |options: &Options<'_>, modified| {
        read_bytes(Path::new("f"), bytes.clone(), modified, options).expect("a file").observed
    };
    assert_eq!(day(&options(), Some(date(2026, 11, 2))), (date(2026, 11, 2), Dated::Modified));
    assert_eq!(day(&options(), Some(date(2030, 1, 1))), (TODAY, Dated::Modified));
    let flag = Options { observed: Some(date(2026, 10, 1)), ..options() };
    assert_eq!(day(&flag, Some(date(2026, 11, 2))), (date(2026, 10, 1), Dated::Flag));
    // genai-prices once wrote the day of each row.
    let text = br#"[{"id": "p", "models": [{"id": "m", "prices_checked": "2026-07-01", "prices": {"input_mtok": 1, "output_mtok": 2}}]}]"#;
    assert_eq!(offer_of("f", text, &options()).expect("a row").api[0].as_of, date(2026, 7, 1));
}

#[test]
fn a_diff_says_what_becomes_of_each_row() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("prices")).expect("a folder");
    std::fs::write(
        folder.path().join("prices/api.toml"),
        "[[price]]\nprovider = \"openai\"\nmodel = \"o3\"\nsource_model_id = \"o3\"\ninput_usd_per_mtok = 1\n\
         output_usd_per_mtok = 4\nas_of = \"2026-01-01\"\nsource = \"our own contract\"\n",
    )
    .expect("a file");
    let text = r#"{"openai": {"models": {
        "gpt-4o-mini": {"id": "gpt-4o-mini", "cost": {"input": 0.15, "output": 0.6}},
        "o3": {"id": "o3", "cost": {"input": 2, "output": 8}},
        "gpt-4o": {"id": "gpt-4o", "cost": {"input": 2.5, "output": 9}},
        "gpt-new": {"id": "gpt-new", "cost": {"input": 1, "output": 2}}}}}"#;
    let base = Catalog::layered(folder.path(), None).expect("the user's row");
    let diff_on = |day: Date| {
        let options = Options { observed: Some(day), ..options() };
        let offer = offer_of("api.json", text.as_bytes(), &options).expect("prices");
        diff(&[offer], &base, folder.path(), TODAY).expect("a diff")
    };
    let found = diff_on(TODAY);
    let kinds: Vec<(&str, ChangeKind)> =
        found.api.iter().map(|change| (change.id.as_str(), change.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("openai/gpt-4o", ChangeKind::Changed),
            ("openai/gpt-new", ChangeKind::New),
            ("openai/gpt-4o-mini", ChangeKind::SeenAgain),
            ("openai/o3", ChangeKind::Yours),
        ]
    );
    // 10 to 9 is a tenth less, and input stays.
    let moves = &found.api[0].moves;
    assert!(moves[0] == ("input", 0.0) && moves[1].0 == "output", "{moves:?}");
    assert!((moves[1].1 + 0.1).abs() < 1e-12, "{moves:?}");
    assert!(
        found.api[0].note.as_deref().is_some_and(|note| note.contains("no cached input and no batch price"))
    );
    // The same price: what the file does not state is carried over, with its date.
    let mini = found.api_rows.iter().find(|row| row.model == "gpt-4o-mini").expect("taken");
    assert_eq!(mini.batch.as_ref().map(|batch| batch.output), Some(usd("0.3")));
    assert!(
        mini.note.as_deref().is_some_and(|note| note.contains("cached input, batch as of 2026-11-10")),
        "{:?}",
        mini.note
    );
    // A copy from before the bundled prices changes nothing that is known.
    let old = diff_on(date(2026, 5, 1));
    let kind = |id: &str| old.api.iter().find(|change| change.id == id).expect("a row").kind;
    assert_eq!((kind("openai/gpt-4o"), kind("openai/gpt-new")), (ChangeKind::Older, ChangeKind::New));
    assert_eq!(old.api_rows.len(), 1);
}

#[test]
fn what_is_written_is_what_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    // The last of them has no row that can be used.
    let offers: Vec<Offer> =
        FILES[..9].iter().map(|(path, bytes)| offer_of(path, bytes, &options()).expect(path)).collect();
    let found = diff(&offers, catalog(), folder.path(), TODAY).expect("a diff");
    assert!(found.api_rows.len() > 15 && found.rent_rows.len() > 10);
    // A GPU's default price moves with its rents, and the diff says so.
    assert!(found.defaults.iter().any(|moved| moved.gpu == "h100-sxm5-80gb" && moved.before != moved.after));
    let written = write::write(&found, folder.path()).expect("three files");
    assert_eq!(written.len(), 3);
    let after = Catalog::layered(folder.path(), None).expect("readable");
    for row in &found.api_rows {
        let read: Vec<&ApiPrice> = after.api_prices.iter().filter(|other| other.id() == row.id()).collect();
        assert_eq!(read, [row]);
    }
    for row in &found.rent_rows {
        assert!(after.rentals.contains(row), "{row:?}");
    }
    for moved in &found.defaults {
        let gpu = after.gpu(&moved.gpu).expect("a card");
        assert_eq!(after.rental_price(gpu, TODAY).map(|found| found.usd_per_hour.normalize()), moved.after);
    }
    // What was replaced is history, with the day on which it was last known.
    let known = |row: &&crate::PricePoint| row.provider == "groq" && row.model == "llama-3.1-8b";
    let points: Vec<Date> = after.price_history.iter().filter(known).map(|row| row.date).collect();
    assert!(points.contains(&date(2026, 11, 10)), "{points:?}");
    assert!(after.price_history.len() > catalog().price_history.len() + 5);
    // Again: nothing new, nothing changed, and the files stay as they are.
    let text = std::fs::read_to_string(&written[0]).expect("the file");
    let again = diff(&offers, &after, folder.path(), TODAY).expect("a diff");
    assert!(
        again.api.iter().chain(&again.rents).all(|change| change.kind == ChangeKind::SeenAgain),
        "{again:?}"
    );
    write::write(&again, folder.path()).expect("the same");
    assert!(
        std::fs::read_to_string(&written[0]).expect("the file") == text,
        "a second update changes nothing"
    );
    // Another update leaves the rows that it does not have.
    let text = br#"[{"id": "p", "models": [{"id": "m", "prices": {"input_mtok": 1, "output_mtok": 2}}]}]"#;
    let more = offer_of("f.json", text, &options()).expect("a row");
    write::write(&diff(&[more], &after, folder.path(), TODAY).expect("a diff"), folder.path())
        .expect("written");
    let last = Catalog::layered(folder.path(), None).expect("readable");
    assert!(last.api("p/m").is_ok() && last.api_prices.len() == after.api_prices.len() + 1);
}

/// Replacements for a number: what a broken tool or a malicious hand would put there.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1e308",
    "1e-308",
    "9e28",
    "-Infinity",
    "null",
    "\"\"",
    "[]",
    "{}",
    "79228162514264337593543950336",
    "0.5",
];

/// Reads, and looks at what came out: prices within bounds, and rows that can be written and read again.
fn read_all(path: &str, bytes: &[u8]) {
    let Ok(offer) = offer_of(path, bytes, &options()) else { return };
    for row in &offer.api {
        let all = money(row).into_iter().flatten();
        let all = all.chain(row.batch.iter().flat_map(|batch| [batch.input, batch.output]));
        for price in all.chain(row.long_context_tiers.iter().flat_map(|tier| [tier.input, tier.output])) {
            assert!(price > Decimal::ZERO && price <= Decimal::ONE_THOUSAND, "{row:?}");
        }
        assert!(!row.model.is_empty() && row.as_of <= TODAY);
    }
    for row in &offer.rents {
        assert!(
            row.usd_per_gpu_hour > Decimal::ZERO && row.usd_per_gpu_hour <= Decimal::ONE_HUNDRED,
            "{row:?}"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let found = diff(&[offer], catalog(), folder.path(), TODAY).expect("a diff");
    write::write(&found, folder.path()).expect("written");
    let after = Catalog::layered(folder.path(), None).unwrap_or_else(|error| panic!("{error}"));
    for row in &found.api_rows {
        assert!(after.api_prices.contains(row), "{row:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_changed_number_is_refused_or_a_price(file in 0..FILES.len(), nth in any::<usize>(), with in 0..NUMBERS.len()) {
        let (path, bytes) = FILES[file];
        let text = String::from_utf8_lossy(bytes);
        let changed = with_number(&text, nth, NUMBERS[with]);
        read_all(path, changed.as_bytes());
    }

    #[test]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a short file")]
    fn a_cut_or_spliced_file_is_an_error_or_an_offer(
        file in 0..FILES.len(), other in 0..FILES.len(), cut in 0.0..1.0f64, from in 0.0..1.0f64, flip in any::<(u16, u8)>(),
    ) {
        let part = |bytes: &[u8], share: f64| (bytes.len() as f64 * share) as usize;
        let mut bytes = FILES[file].1[..part(FILES[file].1, cut)].to_vec();
        bytes.extend(&FILES[other].1[part(FILES[other].1, from)..]);
        let at = usize::from(flip.0) % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= flip.1;
        }
        read_all(FILES[file].0, &bytes);
    }

    #[test]
    fn names_that_nobody_gave(id in "\\PC{0,40}", provider in "\\PC{0,20}", kept in "\\PC{0,60}") {
        let json = serde_json::json!({ &id: {
            "litellm_provider": provider, "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "x": kept,
        }});
        read_all("l.json", json.to_string().as_bytes());
    }
}
