//! Files that were once read falsely, and their relatives: each row here has its line in docs/catalog.md's table.

use jiff::civil::date;
use rust_decimal::Decimal;

use super::diff::diff;
use super::tests::{api, catalog, money, offer, offer_of, options, rents, usd};
use super::*;
use crate::RentalKind::{Community, OnDemand, Spot};
use crate::Trust;

fn csv(name: &str, rows: &str) -> Result<Offer, Error> {
    let text =
        format!("InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region,GpuInfo\n{rows}");
    offer_of(name, text.as_bytes(), &options())
}

/// Line, field and reason of each refused row.
fn told(offer: &Offer) -> Vec<String> {
    let line = |row: &Refused| row.line.map_or(String::new(), |line| line.to_string());
    offer
        .refused
        .iter()
        .map(|row| format!("{} {} {} {}", line(row), row.field, row.value, row.reason))
        .collect()
}

#[test]
fn an_auctions_lowest_bid_is_no_price_on_demand() {
    let mithril = offer("skypilot/mithril/vms.csv");
    assert_eq!(
        rents(&mithril),
        [
            ("mithril", "h100-sxm5-80gb", Spot, "1".to_owned()),
            ("mithril", "h200-sxm-141gb", Spot, "1".to_owned()),
        ]
    );
    let note = mithril.rents[0].note.as_deref().unwrap_or_default();
    assert!(note.contains("the lowest bid that its auction accepts"), "{note}");
    let folder = tempfile::tempdir().expect("a folder");
    let found = diff(&[mithril], catalog(), folder.path(), date(2026, 11, 25)).expect("a diff");
    assert_eq!(found.defaults, [], "no default price moves");
}

#[test]
fn equal_prices_are_on_demand_only_where_that_is_known() {
    let rows = "1x_H100-SXM,H100-SXM,1,2.5,2.5,us,\n2x_H100-SXM,H100-SXM,2,5,4,us,\n";
    let runpod = csv("runpod.csv", rows).expect("known");
    assert_eq!(
        rents(&runpod),
        [
            ("runpod", "h100-sxm5-80gb", OnDemand, "2.5".to_owned()),
            ("runpod", "h100-sxm5-80gb", Spot, "2".to_owned()),
        ]
    );
    for cloud in ["azure.csv", "nebius.csv", "somebody.csv"] {
        let offer = csv(cloud, rows).expect("one row is good");
        assert_eq!(offer.rents.len(), 2, "{cloud}");
        assert!(told(&offer)[0].starts_with("2 SpotPrice \"2.5\" repeats Price"), "{:?}", told(&offer));
    }
    // A spot price above the on-demand price is ignored; the on-demand price stays.
    let offer = csv("somebody.csv", "1x_H100-SXM,H100-SXM,1,2.5,3,us,\n").expect("a price on demand");
    assert_eq!(rents(&offer), [("somebody", "h100-sxm5-80gb", OnDemand, "2.5".to_owned())]);
    assert_eq!(told(&offer), ["2 SpotPrice \"3\" is more than the on-demand price (2.5 USD per GPU-hour)"]);
}

#[test]
fn a_part_of_a_gpu_is_not_billed_as_a_whole_one() {
    let azure = offer("skypilot/azure/vms.csv");
    assert_eq!(
        rents(&azure),
        [
            ("azure", "a10-24gb", OnDemand, "3.2".to_owned()),
            ("azure", "a10-24gb", Spot, "0.8".to_owned()),
            ("azure", "a100-sxm4-40gb", OnDemand, "3.399625".to_owned()),
            ("azure", "a100-sxm4-40gb", Spot, "0.373959".to_owned()),
        ]
    );
    let said = told(&azure);
    assert_eq!(said.len(), 4, "{said:?}");
    for (row, part) in said.iter().zip(["1/6", "1/3", "1/2"]) {
        assert!(
            row.contains("InstanceType \"Standard_NV") && row.contains(&format!("has {part} of a GPU")),
            "{row}"
        );
    }
    assert_eq!(
        said[3],
        "8 AcceleratorCount \"12\" contradicts the instance Standard_ND96isr_H100_v5, which has 8"
    );
    assert_eq!(azure.passed.get("no price"), Some(&1), "{:?}", azure.passed);
    let offer = csv(
        "aws.csv",
        "g6f.large,L4,0.125,0.2,,us,\ng6f.4xlarge,L4,1,0.8,,us,\ng6.xlarge,L4,1,0.8,,us,\nx,L4,0.5,0.4,,us,\n",
    )
    .expect("one row is whole");
    assert_eq!(rents(&offer), [("aws", "l4-24gb", OnDemand, "0.8".to_owned())]);
    let said = told(&offer);
    assert!(said[0].contains("has 1/8 of a GPU") && said[1].contains("has 1/2 of a GPU"), "{said:?}");
    assert_eq!(
        said[2],
        "5 AcceleratorCount \"0.5\" is a fraction of a GPU, which does not give the price of a whole one"
    );
    let mig =
        csv("m.csv", "x,A100-MIG-1g.10gb,1,0.5,,us,\ny,A100-80GB-SXM4,1,1.5,,us,\n").expect("one is whole");
    assert!(told(&mig)[0].starts_with("2 AcceleratorName"), "{:?}", told(&mig));
}

#[test]
fn a_count_agrees_with_the_name_and_the_memory() {
    let info = |each: u32, total: u32, count: u32| {
        format!(
            "\"{{'Gpus': [{{'Name': 'H100', 'Count': {count}, 'MemoryInfo': {{'SizeInMiB': {each}}}}}], 'TotalGpuMemoryInMiB': {total}}}\""
        )
    };
    let rows = [
        format!("n3-H100-SXM5x8,H100-SXM,4,19.2,,us,{}", info(81920, 327_680, 4)),
        format!("8xH100,H100-SXM,1,19.2,,us,{}", info(81920, 81920, 1)),
        format!("gpu_8x_h100,H100-SXM,2,19.2,,us,{}", info(81920, 163_840, 2)),
        format!("plain,H100-SXM,1,19.2,,us,{}", info(81920, 655_360, 8)),
        format!("plain,H100-SXM,4,19.2,,us,{}", info(81920, 655_360, 4)),
        format!("plain,H100-SXM,1,19.2,,us,{}", info(655_360, 655_360, 1)),
        format!("n3-H100-SXM5x8,H100-SXM,8,19.2,,us,{}", info(81920, 655_360, 8)),
        // Yotta counts kinds of GPU; Lambda says one card's memory as the total.
        format!("2x14v,H100-SXM,2,5,,us,{}", info(81920, 163_840, 1)),
        format!("gpu_8x_h100_sxm5,H100,8,20,,us,{}", info(81920, 81920, 8)),
    ];
    let offer = csv("somebody.csv", &rows.join("\n")).expect("three rows agree");
    let said = told(&offer);
    let expected = [
        "2 AcceleratorCount \"4\" contradicts the instance's name n3-H100-SXM5x8, which says 8",
        "3 AcceleratorCount \"1\" contradicts the instance's name 8xH100, which says 8",
        "4 AcceleratorCount \"2\" contradicts the instance's name gpu_8x_h100, which says 8",
        "5 AcceleratorCount \"1\" contradicts GpuInfo, which counts 8",
        "6 AcceleratorCount \"4\" contradicts GpuInfo, which has 655360 MiB in total and 81920 each",
        "7 AcceleratorCount \"1\" contradicts GpuInfo: 640 GB are the memory of 8",
    ];
    assert_eq!(said, expected);
    assert_eq!(
        rents(&offer),
        [
            ("somebody", "h100-sxm5-80gb", OnDemand, "2.5".to_owned()),
            ("somebody", "h100-sxm5-80gb", OnDemand, "2.4".to_owned()),
        ]
    );
}

#[test]
fn memory_and_link_in_a_name_lead_to_the_right_card() {
    let hyperstack = offer("skypilot/hyperstack/vms.csv");
    assert_eq!(
        rents(&hyperstack),
        [
            ("hyperstack", "a100-pcie-80gb", OnDemand, "1.35".to_owned()),
            ("hyperstack", "h100-pcie-80gb", OnDemand, "1.9".to_owned()),
            ("hyperstack", "h100-sxm5-80gb", OnDemand, "2.4".to_owned()),
            ("hyperstack", "l40-48gb", OnDemand, "1".to_owned()),
            ("hyperstack", "rtx-a6000-48gb", OnDemand, "0.5".to_owned()),
        ]
    );
    assert!(hyperstack.rents.iter().all(|row| row.trust == Trust::High), "every form is said");
    assert_eq!(hyperstack.refused, []);
    assert_eq!(hyperstack.passed.len(), 0, "{:?}", hyperstack.passed);
    let spheron = offer("skypilot/spheron/vms.csv");
    assert_eq!(
        rents(&spheron),
        [
            ("spheron", "h100-sxm5-80gb", OnDemand, "2.9124".to_owned()),
            ("spheron", "h100-sxm5-80gb", Spot, "0.8015".to_owned()),
            ("spheron", "rtx-5090-32gb", OnDemand, "0.924".to_owned()),
        ]
    );
    // An NVL card of 80 GB, and an ambiguous form factor.
    assert_eq!(spheron.passed.len(), 2, "{:?}", spheron.passed);
}

#[test]
fn a_marketplaces_hosts_and_a_price_in_euro() {
    let lium = csv("lium.csv", "H100_1x,H100-SXM,1,2.24,,US,\n").expect("a row");
    assert_eq!(rents(&lium), [("lium", "h100-sxm5-80gb", Community, "2.24".to_owned())]);
    let text = include_bytes!("../../../../tests/data/prices/skypilot/seeweb/vms.csv");
    let error = offer_of("skypilot/seeweb/vms.csv", text, &options()).expect_err("euro").to_string();
    assert!(error.contains("`Price` is \"2.6\": in EUR"), "{error}");
    let text = "InstanceType,AcceleratorName,AcceleratorCount,Price,Currency\na,H100-SXM,1,2.5,CNY\nb,H100-SXM,1,2.5,USD\n";
    let offer = offer_of("x.csv", text.as_bytes(), &options()).expect("one in USD");
    assert_eq!((offer.rents.len(), offer.refused[0].line), (1, Some(2)));
}

#[test]
fn litellms_tiers_of_every_kind() {
    let offer = offer("litellm-tiers.json");
    let tiers = |id: &str| -> Vec<(u64, Decimal, Decimal)> {
        let tiers = api(&offer, id).long_context_tiers.iter();
        tiers.map(|tier| (tier.above_input_tokens, tier.input, tier.output)).collect()
    };
    let qwen = api(&offer, "dashscope/qwen-a-tiered");
    assert_eq!(money(qwen)[..2], [Some(usd("0.3")), Some(usd("1.5"))]);
    assert_eq!(tiers("dashscope/qwen-a-tiered"), [(32_000, usd("0.5"), usd("2.5"))]);
    assert_eq!(tiers("anthropic/one-m"), [(1_000_000, usd("6"), usd("22.5"))]);
    assert_eq!(tiers("x/272k"), [(272_000, usd("10"), usd("45"))]);
    assert_eq!(money(api(&offer, "x/strings"))[..2], [Some(usd("1.5")), Some(usd("2"))]);
    let modeless = api(&offer, "x/modeless").note.as_deref().unwrap_or_default();
    assert!(modeless.contains("does not say"), "{modeless}");
    let fields: Vec<(&str, &str)> =
        offer.refused.iter().map(|row| (row.row.as_str(), row.field.as_str())).collect();
    assert_eq!(
        fields,
        [
            ("x/per-second", "input_cost_per_second"),
            ("x/per-million-by-mistake", "input_cost_per_token"),
            ("x/nullout", "output_cost_per_token"),
        ]
    );
}

/// One row of LiteLLM with these fields, or the field that refuses it.
fn litellm(fields: &str) -> Result<ApiPrice, String> {
    let good = r#""ok": {"litellm_provider": "y", "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}"#;
    let text = format!(r#"{{{good}, "m": {{"litellm_provider": "x", "mode": "chat", {fields}}}}}"#);
    let offer = offer_of("l.json", text.as_bytes(), &options()).expect("a good row");
    match offer.refused.first() {
        Some(row) => Err(format!("{}: {}", row.field, row.reason)),
        None => Ok(offer.api.iter().find(|row| row.provider == "x").expect("taken").clone()),
    }
}

#[test]
fn no_length_falls_back_to_the_price_of_a_short_prompt() {
    const BASE: &str = r#""input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 1e-7,
        "input_cost_per_token_batches": 5e-7, "output_cost_per_token_batches": 1e-6"#;
    let row = litellm(&format!(
        r#"{BASE}, "input_cost_per_token_above_32k_tokens": 2e-6, "output_cost_per_token_above_256k_tokens": 8e-6,
        "cache_read_input_token_cost_above_32k_tokens": 2e-7, "cache_creation_input_token_cost_above_32k_tokens": 2.5e-6,
        "cache_creation_input_token_cost_above_1hr_above_32k_tokens": 4e-6, "input_cost_per_token_above_32k_tokens_priority": 9e-6,
        "input_cost_per_token_above_256k_tokens_batches": 3e-6, "output_cost_per_token_above_256k_tokens_batches": 4e-6"#
    ))
    .expect("a price");
    let [short, long] = row.long_context_tiers.as_slice() else { panic!("{row:?}") };
    assert_eq!((short.above_input_tokens, short.input, short.output), (32_000, usd("2"), usd("2")));
    assert_eq!((short.cached_input, short.cache_write), (Some(usd("0.2")), Some(usd("2.5"))));
    // No batch price of 32,000 to 256,000 tokens is known, and no cached one above.
    assert_eq!(short.batch, None);
    assert_eq!((long.above_input_tokens, long.input, long.output), (256_000, usd("2"), usd("8")));
    assert_eq!(long.cached_input, None);
    assert_eq!(long.batch.as_ref().map(|batch| batch.output), Some(usd("4")));
    assert!(row.kept.as_deref().is_some_and(|kept| kept.contains("priority")), "{:?}", row.kept);
    for (fields, said) in [
        (r#""input_cost_per_token_above_1.5m_tokens": 2e-6"#, "a price above a length that cannot be parsed"),
        (r#""output_cost_per_token_above_128k": 2e-6"#, "a price above a length that cannot be parsed"),
        (r#""input_cost_per_token_above_200k_tokens": 0"#, "is free or unknown"),
        (r#""input_cost_per_token_above_200k_tokens": -1e-6"#, "is negative"),
        (
            r#""tiered_pricing": [{"range": [0, 10], "input_cost_per_token": 9e-6, "output_cost_per_token": 9e-6}]"#,
            "contradicts tiered_pricing",
        ),
        (
            r#""tiered_pricing": [{"range": [5, 10], "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}]"#,
            "begins at 5",
        ),
        (
            r#""tiered_pricing": [{"max_results_range": [0, 10], "input_cost_per_query": 1}]"#,
            "is not a range",
        ),
        (r#""tiered_pricing": "yes""#, "is not a list of tiers"),
        (r#""currency": "CNY""#, "is not USD"),
    ] {
        let error = litellm(&format!("{BASE}, {fields}")).expect_err(fields);
        assert!(error.contains(said), "{fields}: {error}");
    }
    for (fields, said) in [
        (r#""input_cost_per_character": 5e-7, "output_cost_per_character": 1e-6"#, "a price per character"),
        (r#""input_cost_per_second": 0.01"#, "a price per second"),
        (r#""input_cost_per_request": 0.005"#, "a price per request"),
    ] {
        let error = litellm(fields).expect_err(fields);
        assert!(error.contains(said), "{fields}: {error}");
    }
}

#[test]
fn a_fee_for_each_request_is_taken() {
    let offer = offer("openrouter-fees.json");
    let row = api(&offer, "openrouter/per-request");
    assert_eq!((row.usd_per_request, row.input_usd_per_mtok), (Some(usd("0.005")), usd("1")));
    let row = api(&offer, "openrouter/reasoning");
    assert_eq!((row.reasoning_usd_per_mtok, row.usd_per_request), (Some(usd("3")), None));
    let refused: Vec<(&str, &str)> =
        offer.refused.iter().map(|row| (row.row.as_str(), row.field.as_str())).collect();
    assert_eq!(
        refused,
        [
            ("openrouter/auto-beta", "pricing.prompt"),
            ("vendor/neg-cache", "pricing.input_cache_read"),
            ("vendor/free", "pricing.prompt"),
            ("vendor/discounted", "pricing.discount"),
            ("vendor/nan", "pricing.prompt"),
            ("vendor/:thinking", "id"),
        ]
    );
    // Perplexity's own models search for each request; the models of others that it sells do not.
    let base = r#""mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "search_context_cost_per_query": {
        "search_context_size_low": 0.005, "search_context_size_high": 0.012}"#;
    let text = format!(
        r#"{{"perplexity/sonar": {{"litellm_provider": "perplexity", {base}}},
        "perplexity/openai/gpt": {{"litellm_provider": "perplexity", {base}}}, "gpt": {{"litellm_provider": "openai", {base}}}}}"#
    );
    let offer = offer_of("l.json", text.as_bytes(), &options()).expect("three rows");
    let fee = |id: &str| api(&offer, id).usd_per_request;
    assert_eq!(
        (fee("perplexity/sonar"), fee("perplexity/gpt"), fee("openai/gpt")),
        (Some(usd("0.005")), None, None)
    );
    let text = br#"[{"id": "perplexity", "models": [{"id": "sonar", "prices": {"input_mtok": 1, "output_mtok": 1, "requests_kcount": 12}}]}]"#;
    let offer = offer_of("g.json", text, &options()).expect("a row");
    assert_eq!(api(&offer, "perplexity/sonar").usd_per_request, Some(usd("0.012")));
}

#[test]
fn tiers_of_the_other_files_are_whole() {
    let text = br#"[{"id": "p", "models": [{"id": "m", "prices": {
        "input_mtok": 1, "output_mtok": {"base": 2, "tiers": [{"start": 200000, "price": 6}]}, "cache_read_mtok": 0.1},
        "price_variants": [{"when": {"processing": "batch"}, "prices": {"input_mtok": 0.5, "output_mtok": {"base": 1, "tiers": [{"start": 200000, "price": 3}]}}},
            {"when": {"processing": "batch"}, "constraint": {"start_date": "2030-01-01"}, "prices": {"input_mtok": 9, "output_mtok": 9}}]}]}]"#;
    let offer = offer_of("g.json", text, &options()).expect("a row");
    let tier = &api(&offer, "p/m").long_context_tiers[0];
    // A tier of output alone: input and cached input cost the same at every length, as the file means it.
    assert_eq!((tier.input, tier.output, tier.cached_input), (usd("1"), usd("6"), Some(usd("0.1"))));
    assert_eq!(tier.batch.as_ref().map(|batch| (batch.input, batch.output)), Some((usd("0.5"), usd("3"))));
    assert_eq!(api(&offer, "p/m").batch.as_ref().map(|batch| batch.input), Some(usd("0.5")));
    let text = br#"{"p": {"models": {"m": {"id": "m", "cost": {"input": 1, "output": 2, "reasoning": 4, "context_over_200k": {"input": 3, "cache_read": 0.3}}},
        "n": {"id": "n", "cost": {"input": 1, "output": 2, "tiers": [{"input": 3, "output": 4, "tier": {"type": "moon", "size": 5}}]}}}}}"#;
    let offer = offer_of("m.json", text, &options()).expect("a row");
    let row = api(&offer, "p/m");
    let tier = &row.long_context_tiers[0];
    assert_eq!((tier.above_input_tokens, tier.input, tier.output), (200_000, usd("3"), usd("2")));
    assert_eq!((tier.cached_input, row.reasoning_usd_per_mtok), (Some(usd("0.3")), Some(usd("4"))));
    assert_eq!(offer.refused[0].field, "cost.tiers.tier");
}

#[test]
fn a_date_of_an_archive_is_no_day_of_a_price() {
    let bytes = include_bytes!("../../../../tests/data/prices/litellm.json");
    for day in [Some(date(1980, 1, 1)), Some(date(2020, 2, 2)), Some(date(2021, 12, 31)), None] {
        let error = read_bytes(Path::new("l.json"), bytes.to_vec(), day, &options()).expect_err("no day");
        assert!(
            matches!(error, Error::Usage { .. }) && error.to_string().contains("--observed DATE"),
            "{error}"
        );
        let said = Options { observed: Some(date(2026, 11, 1)), ..options() };
        let offer = read_bytes(Path::new("l.json"), bytes.to_vec(), day, &said).expect("a day");
        assert_eq!(offer.observed, (date(2026, 11, 1), Dated::Flag));
    }
    assert!(read_bytes(Path::new("l.json"), bytes.to_vec(), Some(date(2022, 1, 1)), &options()).is_ok());
}

/// Rents of the H100 SXM at 2.4, 2.5 and 2.6 in the catalog; the file has another price of `two`.
#[test]
fn a_default_price_that_moves_far_waits_to_be_accepted() {
    const GPU: &str = "h100-sxm5-80gb";
    let today = date(2026, 11, 25);
    let mut base = catalog().clone();
    let mut row = base.rentals.iter().find(|row| row.gpu == GPU).expect("a rent").clone();
    base.rentals.retain(|row| !row.gpu.starts_with("h100"));
    (row.kind, row.trust, row.observed) = (OnDemand, Trust::High, Some(date(2026, 11, 20)));
    (row.observed_from, row.observed_to) = (None, None);
    for (provider, price) in [("one", "2.4"), ("two", "2.5"), ("three", "2.6")] {
        (row.provider, row.usd_per_gpu_hour) = (provider.to_owned(), usd(price));
        base.rentals.push(row.clone());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let moved = |base: &Catalog, price: &str| {
        let text = format!("1x_H100,H100-SXM,1,{price},,us,\n1x_A10,A10,1,,0.1,us,\n");
        let offer = csv("two.csv", &text).expect("a rent");
        let mut found = diff(&[offer], base, folder.path(), today).expect("a diff");
        let needs = found.defaults.iter().find(|moved| moved.gpu == GPU);
        let needs = needs.and_then(|moved| moved.needs_accept.clone());
        let held = found.hold_back(base, today);
        assert_eq!(found.rent_rows.iter().any(|row| row.gpu == GPU), held == 0);
        assert!(found.rent_rows.iter().any(|row| row.kind == Spot), "the other rows stay");
        (needs, held)
    };
    // The median of 1.9, 2.4 and 2.6 is 2.4.
    assert_eq!(moved(&base, "1.9"), (None, 0));
    base.rentals.retain(|row| row.gpu != GPU || row.provider == "two");
    assert_eq!(moved(&base, "1.9"), (None, 0), "24% less, and there is no other row");
    assert_eq!(moved(&base, "1.6"), (Some("changes by -36%".to_owned()), 1));
    assert_eq!(moved(&base, "3.5"), (Some("changes by +40%".to_owned()), 1));
    // A row that is too old for the default still says that 1.9 is low.
    (row.provider, row.usd_per_gpu_hour, row.observed) =
        ("old".to_owned(), usd("2.2"), Some(date(2026, 1, 1)));
    base.rentals.push(row);
    let below = "is below every other on-demand price; the lowest is 2.2".to_owned();
    assert_eq!(moved(&base, "1.9"), (Some(below), 1));
    assert_eq!(moved(&base, "2.3"), (None, 0));
}

/// A row of each cloud as it is published: none is refused for what only another cloud means.
#[test]
fn every_clouds_own_form_is_read() {
    let text = include_str!("../../../../tests/data/prices/skypilot/clouds.csv");
    let (header, rows) = text.split_once('\n').expect("a header");
    let header = header.strip_prefix("Cloud,").expect("ours");
    let read = |line: &str| {
        let (cloud, row) = line.split_once(',').expect("a cloud");
        let file = format!("{header}\n{row}\n");
        let offer = offer_of(&format!("{cloud}.csv"), file.as_bytes(), &options())
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(offer.refused, [], "{line}");
        let row = &offer.rents[0];
        format!("{cloud} {} {} {}", row.gpu, row.kind.label(), row.usd_per_gpu_hour.normalize())
    };
    let found: Vec<String> = rows.lines().map(read).collect();
    let expected = [
        "yotta rtx-5090-32gb on_demand 0.65",
        "jarvislabs rtx-pro-6000-blackwell-96gb on_demand 2.19",
        "hyperbolic h100-sxm5-80gb community 1.29",
        "lambda v100-sxm2-16gb on_demand 0.79",
        "lium b300-sxm-288gb community 7.75",
        "runpod a100-pcie-80gb on_demand 1.39",
        "shadeform h100-sxm5-80gb on_demand 3.99",
        "shadeform l40s-48gb on_demand 1.5",
        "primeintellect h200-sxm-141gb on_demand 1.995",
        "primeintellect a100-sxm4-80gb on_demand 1.79",
        "oci a100-sxm4-80gb on_demand 4",
        "oci v100-sxm2-16gb on_demand 2.95",
        "nebius l40s-48gb on_demand 2.7516",
        "cudo h100-sxm5-80gb on_demand 1.9156",
        "cudo a100-pcie-80gb on_demand 1.4436",
        "vast h200-sxm-141gb community 2.235",
        "digitalocean h100-sxm5-80gb on_demand 5.95",
    ];
    assert_eq!(found, expected);
}
