//! The bundled rows as a user meets them, the layers over them, and the price rule.

use std::path::Path;

use jiff::civil::{Date, date};
use rust_decimal::Decimal;

use super::{Catalog, Error, Rental, RentalKind, RentalPrice, Trust, Vm, VmClass};

fn usd(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn load(files: &[(&str, &str)]) -> Result<Catalog, Error> {
    Catalog::layered(Path::new("/nowhere"), Some(folder(files).path()))
}

#[test]
fn the_bundled_rows_are_all_there_with_source_and_date() {
    let catalog = Catalog::bundled();
    let says = |source: &str| source.len() > 10;
    assert_eq!((catalog.gpus.len(), catalog.models.len(), catalog.api_prices.len()), (30, 39, 141));
    assert_eq!((catalog.rentals.len(), catalog.vms.len(), catalog.electricity.len()), (177, 22, 8));
    assert_eq!((catalog.price_history.len(), catalog.classes.len(), catalog.scores.len()), (113, 3, 35));
    assert!(catalog.price_history.iter().all(|row| says(&row.source) && says(&row.date_basis)));
    assert!(catalog.scores.iter().all(|row| says(&row.source)));
    assert!(catalog.classes.iter().all(|row| says(&row.source)));
    assert!(
        catalog
            .gpus
            .iter()
            .all(|row| !row.sources.is_empty() && row.sources.iter().all(|source| says(source)))
    );
    assert!(catalog.models.iter().all(|row| says(&row.source)));
    assert!(catalog.api_prices.iter().all(|row| says(&row.source)));
    assert!(catalog.electricity.iter().all(|row| says(&row.source)));
    assert!(catalog.vms.iter().all(|row| says(&row.source) && row.observed.is_some()));
    assert!(catalog.rentals.iter().all(|row| row.dated().is_some()));
    assert!(catalog.rentals.iter().all(|row| says(&row.source)));
    assert!(
        catalog.vms.iter().map(|row| &row.provider).collect::<std::collections::BTreeSet<_>>().len() >= 3
    );
}

#[test]
fn bundled_rows_refer_to_each_other() {
    let catalog = Catalog::bundled();
    catalog.check().unwrap();
    for rent in &catalog.rentals {
        assert_eq!(catalog.gpu(&rent.gpu).unwrap().id, rent.gpu);
    }
    for model in catalog.models.iter().filter_map(|row| row.api_model.as_ref()) {
        assert!(!catalog.api_hosts(model).is_empty(), "{model}");
    }
    for gpu in &catalog.gpus {
        assert_eq!(catalog.gpu(&gpu.family).unwrap().family, gpu.family, "{}", gpu.family);
    }
}

#[test]
fn names_lead_to_rows() {
    let catalog = Catalog::bundled();
    for name in ["h100", "H100 SXM", "NVIDIA H100 80GB HBM3", "h100_sxm5", "h100-sxm5-80gb"] {
        let gpu = catalog.gpu(name).unwrap();
        assert_eq!((gpu.id.as_str(), gpu.memory_bandwidth_gb_s), ("h100-sxm5-80gb", 3350.0), "{name}");
    }
    assert_eq!(catalog.gpu("rtx-6000-ada").unwrap().bf16_tflops(), Some(364.0));
    assert_eq!(catalog.gpu_family("h100").unwrap().len(), 3);
    assert_eq!(catalog.model("Llama-3.1-8B-Instruct").unwrap().id, "llama-3.1-8b");
    let mini = catalog.api("openai/gpt-4o-mini").unwrap();
    assert_eq!((mini.input_usd_per_mtok, mini.output_usd_per_mtok), (usd("0.15"), usd("0.6")));
    assert_eq!(catalog.api_hosts("llama-3.1-8b").len(), 6);
    // Two packages disagree about this price; the one checked last is taken, alone or among the model's hosts.
    let hosts = catalog.api_hosts("llama-3.3-70b");
    let of_together: Vec<_> = hosts.iter().filter(|row| row.provider == "together").collect();
    assert!(matches!(of_together[..], [row] if row.input_usd_per_mtok == usd("1.04")), "{of_together:?}");
    assert_eq!(catalog.api("together/llama-3.3-70b").unwrap().input_usd_per_mtok, usd("1.04"));
    assert_eq!(
        catalog.api("together/meta-llama/Llama-3.3-70B-Instruct-Turbo").unwrap().input_usd_per_mtok,
        usd("0.88")
    );
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let catalog = Catalog::bundled();
    let cases = [
        (catalog.gpu("h10").unwrap_err(), "h100", "gpus"),
        (catalog.gpu("rtx4900").unwrap_err(), "RTX4090", "gpus"),
        (catalog.model("lama-3-70b").unwrap_err(), "llama-3-70b", "models"),
        (catalog.model("smollm-135m").unwrap_err(), "smollm2-135m", "models"),
        (catalog.api("gpt-4o-mini").unwrap_err(), "openai/gpt-4o-mini", "prices api"),
        (catalog.api("openai/gpt-4o-mni").unwrap_err(), "openai/gpt-4o-mini", "prices api"),
        (catalog.electricity("us-comercial").unwrap_err(), "us-commercial", "prices electricity"),
    ];
    for (error, expected, listing) in cases {
        let Error::Unknown { ref nearest, .. } = error else { panic!("{error}") };
        assert_eq!(nearest.first().map(String::as_str), Some(expected), "{error}");
        assert!(error.to_string().contains(&format!("did you mean `{expected}`")), "{error}");
        assert!(error.to_string().contains(&format!("`bench catalog {listing}`")), "{error}");
    }
    let error = catalog.gpu("qqqq").unwrap_err();
    assert!(!error.to_string().contains("did you mean"), "{error}");
}

#[test]
fn a_device_is_found_by_name_and_memory() {
    const MIB: u64 = 1 << 20;
    let catalog = Catalog::bundled();
    let found =
        |name: &str, mib: u64| catalog.gpu_by_device_name(name, Some(mib * MIB)).map(|gpu| gpu.id.as_str());
    assert_eq!(found("NVIDIA H100 80GB HBM3", 81_559), Some("h100-sxm5-80gb"));
    assert_eq!(found("NVIDIA H100 PCIe", 81_559), Some("h100-pcie-80gb"));
    assert_eq!(found("NVIDIA H200", 143_771), Some("h200-sxm-141gb"));
    assert_eq!(found("Tesla T4", 15_360), Some("t4-16gb"));
    assert_eq!(found("NVIDIA L40S", 46_068), Some("l40s-48gb"));
    assert_eq!(found("NVIDIA GeForce RTX 4090", 24_564), Some("rtx-4090-24gb"));
    // A slice of a card is not the card.
    assert_eq!(found("NVIDIA H100 80GB HBM3", 10_000), None);
    assert_eq!(found("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9_984), None);
    assert_eq!(found("NVIDIA GeForce GTX 1080", 8_192), None);
}

#[test]
fn shapes_give_the_parameters_that_the_models_are_named_for() {
    let catalog = Catalog::bundled();
    // Published parameter counts, in millions; norms and biases are the rest.
    let published = [
        ("smollm2-135m", 134.5),
        ("llama-3.2-1b", 1235.8),
        ("llama-3.1-8b", 8030.3),
        ("llama-3-70b", 70_553.7),
        ("qwen3-30b-a3b", 30_532.1),
        ("mixtral-8x7b", 46_702.8),
        ("gpt-oss-20b", 20_914.8),
        ("gpt-oss-120b", 116_829.2),
        ("smollm3-3b", 3075.1),
        ("phi-4-mini", 3836.0),
    ];
    for (id, millions) in published {
        let ours = catalog.model(id).unwrap().shape.matrix_parameters() as f64 / 1e6;
        assert!((ours / millions - 1.0).abs() < 1e-3, "{id}: {ours} against {millions}");
    }
    for row in &catalog.models {
        let shape = &row.shape;
        assert_eq!(shape.heads % shape.kv_heads, 0, "{}", row.id);
        let biases = ["qwen2", "gpt-oss"].contains(&shape.architecture.as_str());
        assert_eq!(shape.qkv_bias, biases, "{}", row.id);
        assert_eq!(
            shape.qk_norm,
            ["qwen3", "qwen3moe", "gemma3"].contains(&shape.architecture.as_str()),
            "{}",
            row.id
        );
    }
}

const RENT: &str = "[[rental]]\nprovider = \"lambda\"\ngpu = \"h100\"\nkind = \"on_demand\"\n\
                    usd_per_gpu_hour = 1.11\nobserved = \"2026-11-20\"\nsource = \"my invoice of November\"\n";

#[test]
fn a_users_rows_replace_bundled_ones_of_the_same_identity() {
    let bundled = Catalog::bundled();
    let catalog = load(&[("prices/rental.toml", RENT)]).unwrap();
    let lambda = |catalog: &Catalog| -> Vec<String> {
        let rows = catalog.rentals.iter().filter(|row| {
            row.provider == "lambda" && row.gpu == "h100-sxm5-80gb" && row.kind == RentalKind::OnDemand
        });
        rows.map(|row| row.usd_per_gpu_hour.to_string()).collect()
    };
    assert_eq!(lambda(&bundled), ["4.29"]);
    assert_eq!(lambda(&catalog), ["1.11"]);
    assert_eq!(catalog.rentals.len(), bundled.rentals.len());
    assert_eq!(catalog.rentals.last().unwrap().trust, Trust::High);
    assert_eq!(catalog.gpus.len(), bundled.gpus.len());
}

#[test]
fn a_later_folder_wins_over_an_earlier_one() {
    let power = |usd: &str| {
        format!(
            "[[electricity]]\nid = \"us-commercial\"\ncountry = \"US\"\nregion = \"here\"\nsector = \"commercial\"\n\
             usd_per_kwh = {usd}\nobserved = 2026-11-01\nsource = \"my bill\"\n"
        )
    };
    let price = |catalog: &Catalog| catalog.electricity("us-commercial").unwrap().usd_per_kwh;
    let (first, second) = (power("0.11"), power("0.22"));
    let user = folder(&[("prices/electricity.toml", &first)]);
    let flag = folder(&[("prices/electricity.toml", &second)]);
    let nowhere = Path::new("/nowhere");
    assert_eq!(price(&Catalog::layered(nowhere, None).unwrap()), usd("0.146"));
    assert_eq!(price(&Catalog::layered(user.path(), None).unwrap()), usd("0.11"));
    let both = Catalog::layered(user.path(), Some(flag.path())).unwrap();
    assert_eq!(price(&both), usd("0.22"));
    assert_eq!(both.electricity.len(), Catalog::bundled().electricity.len());
}

/// A GPU row of a user's own.
fn gpu(id: &str, alias: &str) -> String {
    format!(
        "[[gpu]]\nid = \"{id}\"\nfamily = \"mine\"\nname = \"NVIDIA Mine\"\naliases = [\"{alias}\"]\narchitecture = \"hopper\"\n\
         compute_capability = \"9.0\"\nmemory_gb = 96\nmemory_type = \"HBM3\"\nmemory_bandwidth_gb_s = 4000\n\
         sources = [\"https://example.org/data-sheet\"]\nchecked = \"2026-11-01\"\n"
    )
}

#[test]
fn a_rent_may_name_a_gpu_of_the_same_folder() {
    let rent = RENT.replace("\"h100\"", "\"Mine SXM\"");
    let catalog =
        load(&[("gpus.toml", &gpu("mine-96gb", "mine-sxm")), ("prices/rental.toml", &rent)]).unwrap();
    assert_eq!(catalog.rentals.last().unwrap().gpu, "mine-96gb");
    assert_eq!(catalog.gpu("mine").unwrap().id, "mine-96gb");
}

#[test]
fn bad_folders_are_refused_with_the_way_out() {
    let check = |result: Result<Catalog, Error>, needles: &[&str]| {
        let message = result.unwrap_err().to_string();
        for needle in needles {
            assert!(message.contains(needle), "{message:?} does not say {needle:?}");
        }
    };
    check(
        Catalog::layered(Path::new("/nowhere"), Some(Path::new("/nowhere/at/all"))),
        &["/nowhere/at/all", "no such folder"],
    );
    check(load(&[("gpu.toml", "")]), &["none of gpus.toml", "prices/rental.toml"]);
    check(
        load(&[("prices/rental.toml", &RENT.replace("h100", "h1000"))]),
        &["unknown GPU `h1000`", "did you mean `h100`"],
    );
    check(
        load(&[("prices/rental.toml", &RENT.replace("1.11", "0"))]),
        &["prices/rental.toml:5", "above zero"],
    );
    check(
        load(&[("gpus.toml", &gpu("mine-96gb", "H100 SXM"))]),
        &["h100-sxm5-80gb", "mine-96gb", "`H100 SXM`", "rename"],
    );
    check(load(&[("gpus.toml", "[[gpu]]\nid = 7\n")]), &["gpus.toml:2", "id = 7"]);
    check(load(&[("models.toml", "[[model]]\nid = \"x\"\nshape = 3\n")]), &["models.toml:3", "shape = 3"]);
    check(load(&[("prices/vms.toml", "schema_version = 9\n")]), &["prices/vms.toml:1", "schema_version = 9"]);
    check(
        load(&[("prices/api.toml", "[[price]]\nprovider = \"a\"\n")]),
        &["prices/api.toml:1", "missing field `model`"],
    );
    // A folder where a file should be.
    check(load(&[("gpus.toml/x", "")]), &["cannot read", "gpus.toml"]);
}

#[test]
fn a_row_that_takes_the_id_takes_the_aliases_too() {
    let catalog = load(&[("gpus.toml", &gpu("h100-sxm5-80gb", "h100"))]).unwrap();
    assert_eq!(catalog.gpu("h100").unwrap().family, "mine");
    assert!(catalog.gpu("H100-80GB-HBM3").is_err());
}

// ---- the price rule

const TODAY: Date = date(2026, 11, 23);

fn rent(gpu: &str, usd_per_gpu_hour: &str, observed: Option<Date>) -> Rental {
    Rental {
        provider: format!("host-{usd_per_gpu_hour}"),
        gpu: gpu.to_owned(),
        kind: RentalKind::OnDemand,
        usd_per_gpu_hour: usd(usd_per_gpu_hour),
        instance: None,
        observed,
        observed_precision: None,
        observed_from: None,
        observed_to: None,
        note: None,
        source: "a list".to_owned(),
        trust: Trust::Medium,
        kept: None,
    }
}

fn priced(rentals: Vec<Rental>) -> Option<RentalPrice> {
    let catalog = Catalog { rentals, ..Catalog::bundled() };
    catalog.rental_price(catalog.gpu("h100").unwrap(), TODAY)
}

const H100: &str = "h100-sxm5-80gb";

#[test]
fn the_default_is_the_median_of_fresh_rows() {
    let day = |days: i8| Some(date(2026, 11, days));
    let price =
        priced(vec![rent(H100, "3.00", day(1)), rent(H100, "2.00", day(10)), rent(H100, "7.00", day(20))])
            .unwrap();
    assert_eq!((price.usd_per_hour, price.min, price.max, price.rows), (usd("3"), usd("2"), usd("7"), 3));
    assert_eq!((price.observed, &price.warning), (day(1), &None));
    assert_eq!(price.source, "host-2.00, host-3.00, host-7.00: a list");
    assert!(price.label.contains("median of 3 rows") && price.label.contains(H100), "{}", price.label);
    let price = priced(vec![rent(H100, "3.00", day(1)), rent(H100, "2.05", day(1))]).unwrap();
    assert_eq!(price.usd_per_hour, usd("2.525"));
}

#[test]
fn other_terms_low_trust_and_old_rows_do_not_count_beside_a_fresh_one() {
    let fresh = Some(date(2026, 8, 25));
    assert_eq!(super::age_days(date(2026, 8, 25), TODAY), 90);
    let mut rows = vec![rent(H100, "3.00", fresh), rent(H100, "1.00", Some(date(2026, 8, 24)))];
    rows.push(Rental { kind: RentalKind::Spot, ..rent(H100, "0.50", fresh) });
    rows.push(Rental { trust: Trust::Low, ..rent(H100, "0.60", fresh) });
    rows.push(rent(H100, "0.70", None));
    rows.push(rent("h100-pcie-80gb", "0.80", fresh));
    let price = priced(rows).unwrap();
    assert_eq!((price.usd_per_hour, price.rows, price.warning), (usd("3"), 1, None));
}

/// A row seen from A to B has the age of B, whatever else is known of it.
#[test]
fn the_age_of_a_price_counts_from_the_last_day_it_was_seen() {
    let seen =
        |observed, from, to| Rental { observed_from: from, observed_to: to, ..rent(H100, "4.00", observed) };
    let (march, october) = (Some(date(2026, 3, 1)), Some(date(2026, 10, 1)));
    for (row, last) in [
        (seen(october, None, None), october),
        (seen(None, march, october), october),
        (seen(None, None, october), october),
        (seen(None, october, None), october),
        (seen(march, march, october), october),
        (seen(october, march, march), october),
        (seen(None, None, None), None),
    ] {
        assert_eq!(row.dated(), last, "{row:?}");
        let price = priced(vec![row, rent(H100, "9.00", march)]).unwrap();
        let fresh = if last.is_some() { ("4", october) } else { ("9", march) };
        assert_eq!((price.usd_per_hour, price.observed), (usd(fresh.0), fresh.1));
    }
    // The day on which a row turns to history is that of its last day.
    let catalog = Catalog { rentals: vec![seen(None, march, october)], ..Catalog::bundled() };
    let warned = |today| catalog.rental_price(catalog.gpu(H100).unwrap(), today).unwrap().warning;
    assert_eq!(warned(date(2026, 12, 30)), None);
    assert!(warned(date(2026, 12, 31)).unwrap().contains("91 days old (2026-10-01)"));
}

#[test]
fn without_a_fresh_row_the_newest_dated_one_is_taken_with_a_warning() {
    let rows = vec![
        rent(H100, "2.69", Some(date(2026, 5, 22))),
        rent(H100, "6.88", Some(date(2026, 5, 13))),
        rent(H100, "2.29", None),
    ];
    let price = priced(rows).unwrap();
    assert_eq!(
        (price.usd_per_hour, price.min, price.max, price.rows),
        (usd("2.69"), usd("2.69"), usd("2.69"), 1)
    );
    let warning = price.warning.unwrap();
    assert!(warning.contains("no price of the last 90 days is known"), "{warning}");
    assert!(warning.contains("185 days old") && warning.contains("2026-05-22"), "{warning}");
    assert!(warning.contains("--price-per-hour"), "{warning}");
}

#[test]
fn undated_rows_give_their_median_with_a_warning() {
    let undated = |usd: &str| rent(H100, usd, None);
    let price = priced(vec![undated("1"), undated("2"), undated("9")]).unwrap();
    assert_eq!((price.usd_per_hour, price.rows, price.observed), (usd("2"), 3, None));
    assert!(price.warning.unwrap().contains("none of the prices is dated"));
}

#[test]
fn the_family_is_asked_only_when_the_card_has_no_row() {
    let fresh = Some(date(2026, 11, 1));
    let old = Some(date(2026, 1, 1));
    let price =
        priced(vec![rent("h100-pcie-80gb", "1.90", fresh), rent("h100-nvl-94gb", "2.10", fresh)]).unwrap();
    assert_eq!((price.usd_per_hour, price.rows), (usd("2"), 2));
    assert!(
        price.warning.as_ref().unwrap().contains("no price known for h100-sxm5-80gb"),
        "{:?}",
        price.warning
    );
    assert!(price.label.contains("h100 family"), "{}", price.label);
    let price = priced(vec![rent("h100-pcie-80gb", "1.90", fresh), rent(H100, "4.00", old)]).unwrap();
    assert_eq!(price.usd_per_hour, usd("4"));
    assert_eq!(priced(vec![rent("h200-sxm-141gb", "1.90", fresh)]), None);
    assert_eq!(priced(Vec::new()), None);
}

#[test]
fn a_day_still_to_come_counts_as_today() {
    let price = priced(vec![rent(H100, "3.00", Some(date(2027, 1, 1)))]).unwrap();
    assert_eq!((price.usd_per_hour, price.warning), (usd("3"), None));
}

#[test]
fn every_bundled_price_can_be_asked_for() {
    let catalog = Catalog::bundled();
    for gpu in &catalog.gpus {
        if let Some(price) = catalog.rental_price(gpu, TODAY) {
            assert!(price.min <= price.usd_per_hour && price.usd_per_hour <= price.max, "{}", gpu.id);
            assert!(price.rows > 0 && !price.source.is_empty(), "{}", gpu.id);
        }
    }
}

/// The bundled rows as of the day on which they were last refreshed: the test is of the rows, not of the calendar.
#[test]
fn the_cards_that_are_rented_most_have_three_fresh_prices_of_different_providers() {
    const REFRESHED: Date = date(2026, 11, 28);
    let catalog = Catalog::bundled();
    let fresh = |gpu: &str| {
        let rows = catalog
            .rentals
            .iter()
            .filter(|row| row.gpu == gpu && row.kind == RentalKind::OnDemand && row.trust >= Trust::Medium);
        let days = |row: &&Rental| row.dated().is_some_and(|day| super::age_days(day, REFRESHED) <= 90);
        rows.filter(days).map(|row| &row.provider).collect::<std::collections::BTreeSet<_>>().len()
    };
    for gpu in [
        "h100-sxm5-80gb",
        "h100-pcie-80gb",
        "h200-sxm-141gb",
        "b200-sxm-180gb",
        "b300-sxm-288gb",
        "a100-sxm4-80gb",
        "a100-pcie-80gb",
        "l40s-48gb",
    ] {
        assert!(fresh(gpu) >= 3, "{gpu}: {}", fresh(gpu));
    }
    // Hosts of others rent these; one provider rents its own.
    for gpu in ["rtx-4090-24gb", "rtx-5090-32gb", "rtx-3090-24gb"] {
        assert_eq!(fresh(gpu), 1, "{gpu}");
    }
    for gpu in &catalog.gpus {
        let price = catalog.rental_price(gpu, REFRESHED).unwrap();
        let said = price.warning.unwrap_or_default();
        assert!(
            fresh(&gpu.id) > 0 || said.contains("is known") || said.contains("no price known for"),
            "{}: {said}",
            gpu.id
        );
    }
    let h100 = catalog.rental_price(catalog.gpu("h100").unwrap(), REFRESHED).unwrap();
    assert_eq!((h100.usd_per_hour, h100.rows, h100.warning), (usd("4.41"), 13, None));
}

fn vm(class: VmClass, vcpus: u32, usd_per_hour: &str, observed: Option<Date>) -> Vm {
    Vm {
        id: format!("host/{vcpus}"),
        provider: "host".to_owned(),
        instance: vcpus.to_string(),
        kind: RentalKind::OnDemand,
        class,
        vcpus,
        memory_gb: 16.0,
        cpu: None,
        usd_per_hour: usd(usd_per_hour),
        region: "here".to_owned(),
        observed,
        note: None,
        source: "a list".to_owned(),
        trust: Trust::Medium,
    }
}

#[test]
fn a_cpu_is_priced_by_the_median_vcpu_hour() {
    let fresh = Some(date(2026, 9, 6));
    let vms = vec![
        vm(VmClass::General, 4, "0.20", fresh),
        vm(VmClass::Compute, 2, "0.08", fresh),
        vm(VmClass::General, 8, "0.48", fresh),
        vm(VmClass::Memory, 4, "9.00", fresh),
        vm(VmClass::General, 4, "0.01", Some(date(2026, 1, 1))),
    ];
    let catalog = Catalog { vms, ..Catalog::bundled() };
    let price = catalog.vm_price(6, TODAY).unwrap();
    // Per vCPU-hour: 0.05, 0.04, 0.06.
    assert_eq!((price.usd_per_hour, price.min, price.max), (usd("0.3"), usd("0.24"), usd("0.36")));
    assert_eq!((price.rows, price.observed, &price.warning), (3, fresh, &None));
    assert!(price.label.contains("x 6 vCPU"), "{}", price.label);
    let later = catalog.vm_price(6, date(2026, 12, 31)).unwrap();
    assert_eq!(later.usd_per_hour, usd("0.3"));
    assert!(later.warning.unwrap().contains("116 days old"));
    assert_eq!(catalog.vm_price(0, TODAY), catalog.vm_price(1, TODAY));
}

#[test]
fn the_bundled_vm_price_of_two_cpus() {
    let price = Catalog::bundled().vm_price(2, TODAY).unwrap();
    // Per vCPU-hour, seen from 2026-09-06 to 2026-09-11: 0.0275, 0.03, 0.03225, 0.0324375, 0.04225 twice, 0.04365, 0.048
    // twice, 0.0485, 0.058575.
    assert_eq!((price.usd_per_hour, price.rows), (usd("0.0845"), 11));
    assert_eq!((price.min, price.max), (usd("0.055"), usd("0.11715")));
    assert_eq!((price.observed, price.warning), (Some(date(2026, 9, 6)), None));
}

#[test]
fn an_api_price_goes_stale_after_half_a_year() {
    let catalog = Catalog::bundled();
    let row = catalog.api("openai/gpt-4o-mini").unwrap();
    assert_eq!(row.as_of, date(2026, 11, 10));
    assert!(!row.is_stale(date(2027, 5, 9)));
    assert!(row.is_stale(date(2027, 5, 10)));
}

#[test]
fn a_class_takes_the_models_whose_published_score_passes_its_gate() {
    let catalog = Catalog::bundled();
    let class = catalog.class("GPT-4-class").unwrap();
    assert_eq!((class.id.as_str(), class.gate().as_str()), ("gpt-4", "MMLU of at least 83"));
    for (model, passes) in
        [("gpt-4", true), ("llama-3.3-70b", true), ("gpt-4o-mini", false), ("llama-3.1-8b", false)]
    {
        let score = catalog.score(model, &class.benchmark).unwrap();
        assert_eq!(score.percent >= class.at_least, passes, "{model}: {}", score.percent);
    }
    // The weights under that name have changed, and no score has been published for it.
    assert_eq!(catalog.score("mistral-large", "mmlu"), None);
    let Error::Unknown { nearest, .. } = catalog.class("gpt-4-clas").unwrap_err() else { panic!() };
    assert_eq!(nearest.first().map(String::as_str), Some("gpt-4-class"));
}

#[test]
fn every_score_belongs_to_a_price_and_no_point_is_of_the_future() {
    let catalog = Catalog::bundled();
    let priced = |name: &String| {
        catalog.price_history.iter().any(|row| row.model == *name)
            || catalog.api_prices.iter().any(|row| row.model == *name)
    };
    for score in &catalog.scores {
        assert!(std::iter::once(&score.model).chain(&score.aliases).any(priced), "{}", score.model);
    }
    assert!(catalog.price_history.iter().all(|row| row.date <= TODAY));
    let ids: std::collections::BTreeSet<String> =
        catalog.price_history.iter().map(super::PricePoint::id).collect();
    assert_eq!(ids.len(), catalog.price_history.len());
}

#[test]
fn a_point_of_the_user_replaces_the_one_of_that_day() {
    let point = "[[point]]\nmodel = \"gpt-4\"\nprovider = \"openai\"\ndate = \"2023-03-14\"\ndate_kind = \"exact\"\n\
         date_basis = \"my own bill\"\ninput_usd_per_mtok = 31\noutput_usd_per_mtok = 62\nsource = \"bill 7, page 1\"\n";
    let catalog = load(&[("prices/history.toml", point)]).unwrap();
    let rows: Vec<_> = catalog.price_history.iter().filter(|row| row.model == "gpt-4").collect();
    assert_eq!((rows.len(), rows[0].input_usd_per_mtok, rows[0].trust), (1, usd("31"), Trust::High));
    let wrong = point.replace("\"exact\"", "\"about\"");
    let error = load(&[("prices/history.toml", wrong.as_str())]).unwrap_err().to_string();
    assert!(error.contains("prices/history.toml:5") && error.contains("unknown value `about`"), "{error}");
}
