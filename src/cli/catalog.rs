//! `bench catalog`: lists the rows of the catalog and shows one with every field and its source.
//!
//! The JSON forms are described in docs/catalog.md; they hold whole rows, the tables a choice of columns.

mod classes;
mod export;
mod prices;
mod tables;
mod update;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde_json::{Value, json};

use super::Output;
use crate::base::clock;
use crate::catalog::{Catalog, Error, Gpu, ModelRow};

/// `bench catalog`.
#[derive(Debug, Args)]
pub(super) struct CatalogArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// GPUs: memory, bandwidth, dense peaks, power
    Gpus {
        /// Only rows whose id, name, alias or family contains this
        filter: Option<String>,
    },
    /// Models: parameters and where their files are
    Models {
        /// Only rows whose id, name or alias contains this
        filter: Option<String>,
        /// Write a synthetic model, `synthetic:PRESET[:QUANT]`, as a GGUF file, to measure other programs on the same
        /// bytes
        #[arg(long, num_args = 2, value_names = ["MODEL", "FILE"], conflicts_with = "filter")]
        export: Vec<PathBuf>,
        /// Seed of the exported weights, as in `bench run` [default: 0]
        #[arg(long, value_name = "N", requires = "export")]
        seed: Option<u64>,
    },
    /// Prices: GPU rents, API tokens, virtual machines, electricity
    Prices(prices::PricesArgs),
    /// Import prices from your own copies of public price files; shows the changes first
    Update(update::UpdateArgs),
    /// Capability classes: the threshold, the models that reach it, and their published scores
    Classes,
    /// Every field of one row, with its source
    Show {
        /// A GPU, a model, an API price (`provider/model`), a virtual machine or an electricity price
        id: String,
    },
}

/// Prints what was asked for: a table of at most 80 columns, or JSON; takes prices; with `--export` writes a model.
///
/// # Errors
/// [`Error::Unknown`] when nothing has the name asked for; a price file that cannot be read; an I/O error; what
/// exporting meets.
pub(super) fn run(args: &CatalogArgs, config: Option<&Path>, output: &Output) -> anyhow::Result<()> {
    if let What::Update(args) = &args.what {
        return update::run(args, config, output);
    }
    let catalog = Catalog::load(config)?;
    let mut text = Vec::new();
    if let What::Models { export, seed, .. } = &args.what
        && let [name, path] = &export[..]
    {
        let (said, value) =
            export::export(&name.to_string_lossy(), path, seed.unwrap_or(0), &catalog, output)?;
        write(&said, &value, &mut text, output.json)?;
    } else {
        view(args, &catalog, &mut text, output.json, clock::today())?;
    }
    output.stdout(&String::from_utf8_lossy(&text))
}

fn view(
    args: &CatalogArgs,
    catalog: &Catalog,
    out: &mut dyn Write,
    json: bool,
    today: Date,
) -> anyhow::Result<()> {
    let (text, value) = match &args.what {
        What::Gpus { filter } => {
            let rows = gpus(catalog, filter.as_deref())?;
            (tables::gpus(&rows), json!({ "gpus": rows }))
        }
        What::Models { filter, .. } => {
            let rows = models(catalog, filter.as_deref())?;
            (tables::models(&rows, catalog), json!({ "models": rows }))
        }
        What::Prices(args) => {
            let args = &args.resolved(catalog)?;
            let prices = prices::Prices::select(args, catalog)?;
            (prices.tables(args, catalog, today)?, prices.json())
        }
        What::Classes => classes::view(catalog),
        What::Update(_) => unreachable!("an update is no view"),
        What::Show { id } => {
            let value = find(catalog, id)?;
            (tables::fields(&value), value)
        }
    };
    write(&text, &value, out, json)
}

fn write(text: &str, value: &Value, out: &mut dyn Write, json: bool) -> anyhow::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, value).context("writing JSON")?;
        writeln!(out)?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn gpus<'a>(catalog: &'a Catalog, filter: Option<&str>) -> Result<Vec<&'a Gpu>, Error> {
    let Some(filter) = filter else { return Ok(catalog.gpus.iter().collect()) };
    let part = filter.to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&part);
    let matches = |row: &&Gpu| {
        has(&row.id) || has(&row.family) || has(&row.name) || row.aliases.iter().any(|alias| has(alias))
    };
    let rows: Vec<&Gpu> = catalog.gpus.iter().filter(matches).collect();
    if rows.is_empty() { catalog.gpu(filter).map(|row| vec![row]) } else { Ok(rows) }
}

fn models<'a>(catalog: &'a Catalog, filter: Option<&str>) -> Result<Vec<&'a ModelRow>, Error> {
    let Some(filter) = filter else { return Ok(catalog.models.iter().collect()) };
    let part = filter.to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&part);
    let matches =
        |row: &&ModelRow| has(&row.id) || has(&row.name) || row.aliases.iter().any(|alias| has(alias));
    let rows: Vec<&ModelRow> = catalog.models.iter().filter(matches).collect();
    if rows.is_empty() { catalog.model(filter).map(|row| vec![row]) } else { Ok(rows) }
}

/// The row called `id`, of whatever kind, as `{kind, rows}`: two sources may disagree about one API price.
fn find(catalog: &Catalog, id: &str) -> Result<Value, Error> {
    let mut candidates = Vec::new();
    let mut miss = |error: Error| {
        if let Error::Unknown { nearest, .. } = error {
            candidates.extend(nearest);
        }
    };
    match catalog.gpu(id) {
        Ok(row) => return Ok(json!({ "kind": "gpu", "rows": [row] })),
        Err(error) => miss(error),
    }
    match catalog.model(id) {
        Ok(row) => return Ok(json!({ "kind": "model", "rows": [row] })),
        Err(error) => miss(error),
    }
    match catalog.api(id) {
        Ok(found) => {
            let rows: Vec<_> = catalog.api_prices.iter().filter(|row| row.id() == found.id()).collect();
            return Ok(json!({ "kind": "api", "rows": rows }));
        }
        Err(error) => miss(error),
    }
    match catalog.vm(id) {
        Ok(row) => return Ok(json!({ "kind": "vm", "rows": [row] })),
        Err(error) => miss(error),
    }
    match catalog.electricity(id) {
        Ok(row) => return Ok(json!({ "kind": "electricity", "rows": [row] })),
        Err(error) => miss(error),
    }
    candidates.truncate(3);
    Err(Error::Unknown { kind: "row", listing: "gpus|models|prices", id: id.to_owned(), nearest: candidates })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::base::failure::Usage;

    #[derive(Debug, Parser)]
    struct Bench {
        #[command(flatten)]
        catalog: CatalogArgs,
    }

    const TODAY: Date = jiff::civil::date(2026, 11, 23);

    fn output(arguments: &str, json: bool) -> anyhow::Result<String> {
        let args =
            Bench::try_parse_from(std::iter::once("catalog").chain(arguments.split(' '))).unwrap().catalog;
        let mut out = Vec::new();
        view(&args, &Catalog::bundled(), &mut out, json, TODAY)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn tables_fit_eighty_columns_and_cut_nothing() {
        for arguments in [
            "gpus",
            "models",
            "classes",
            "prices",
            "prices rental",
            "prices api",
            "prices vms",
            "prices electricity",
            "prices --gpu h100",
            "prices --terms spot --sort price",
        ] {
            let text = output(arguments, false).unwrap();
            for line in text.lines() {
                // An address is for copying: it is never broken.
                let address = line.split_whitespace().last().filter(|word| word.contains("://"));
                let alone = address.is_some_and(|word| word.len() > 74 && line.len() < word.len() + 8);
                assert!(
                    alone || line.chars().count() <= 80,
                    "{arguments}: {} columns: {line}",
                    line.chars().count()
                );
                assert!(!line.ends_with(' '), "{arguments}: trailing space in {line:?}");
            }
        }
        let gpus = output("gpus", false).unwrap();
        let h100 = gpus.lines().find(|line| line.starts_with("h100-sxm5-80gb")).unwrap();
        for word in ["80", "3350", "989.4", "1978.9", "700", "high"] {
            assert!(h100.split_whitespace().any(|found| found == word), "{word} is not in {h100}");
        }
        // What is computed and not printed by the maker is marked.
        assert!(
            gpus.lines().any(|line| line.starts_with("rtx-3090-24gb") && line.contains("~71.2")),
            "{gpus}"
        );
    }

    #[test]
    fn json_holds_whole_rows() {
        let value: Value = serde_json::from_str(&output("gpus h100", true).unwrap()).unwrap();
        assert_eq!(value["gpus"].as_array().unwrap().len(), 3);
        assert_eq!(value["gpus"][0]["memory_bandwidth_gb_s"], 3350.0);
        assert!(value["gpus"][0]["sources"][0].as_str().unwrap().starts_with("https://"));
        let value: Value = serde_json::from_str(&output("prices", true).unwrap()).unwrap();
        let sizes = ["rental", "api", "vms", "electricity"].map(|kind| value[kind].as_array().unwrap().len());
        assert_eq!(sizes, [177, 141, 22, 8]);
        let value: Value =
            serde_json::from_str(&output("prices --gpu v100-sxm2-16gb", true).unwrap()).unwrap();
        assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["rental"]);
        assert!(value["rental"].as_array().unwrap().iter().any(|row| row["usd_per_gpu_hour"] == 0.196));
    }

    #[test]
    fn filters_narrow_the_prices() {
        let text = output("prices rental --gpu h100 --provider lambda", false).unwrap();
        assert!(
            text.contains("4.29") && text.contains("h100-pcie-80gb") && !text.contains("nebius"),
            "{text}"
        );
        let text = output("prices --terms spot", false).unwrap();
        assert!(text.contains("verda") && !text.contains("on_demand") && !text.contains("API"), "{text}");
        let text = output("prices --model llama-3.1-8b", false).unwrap();
        assert!(text.contains("groq/llama-3.1-8b") && !text.contains("openai/"), "{text}");
    }

    #[test]
    fn prices_are_sorted_within_what_belongs_together() {
        let rows = |arguments: &str| -> Vec<Value> {
            let value: Value = serde_json::from_str(&output(arguments, true).unwrap()).unwrap();
            value.as_object().unwrap().values().next().unwrap().as_array().unwrap().clone()
        };
        // In whole millionths, so that equal prices are equal whatever they are the sum of.
        #[allow(clippy::cast_possible_truncation, reason = "prices of some dollars")]
        let blended = |row: &Value| {
            let price = |name: &str| (row[name].as_f64().unwrap() * 1e6).round() as i64;
            3 * price("input_usd_per_mtok") + price("output_usd_per_mtok")
        };
        assert!(rows("prices api --sort price").is_sorted_by_key(blended));
        assert!(!rows("prices api").is_sorted_by_key(blended));
        assert!(rows("prices api --sort output").is_sorted_by_key(|row| row["output_usd_per_mtok"].as_f64()));
        let h100: Vec<Value> = rows("prices --gpu h100 --sort price")
            .into_iter()
            .filter(|row| row["gpu"] == "h100-sxm5-80gb")
            .collect();
        assert!(h100.len() > 10 && h100.is_sorted_by_key(|row| row["usd_per_gpu_hour"].as_f64()));
        let seen = |row: &Value| std::cmp::Reverse(row["as_of"].as_str().unwrap().to_owned());
        assert!(rows("prices api --sort date").is_sorted_by_key(seen));
    }

    #[test]
    fn cached_input_and_batch_stand_beside_the_price_and_old_ones_are_marked() {
        let text = output("prices --model gpt-4o-mini --provider openai", false).unwrap();
        let line = text.lines().find(|line| line.starts_with("openai/gpt-4o-mini ")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1..5], ["0.15", "0.075", "0.6", "50%"], "{text}");
        assert!(text.contains("1 genai-prices 0.2.3"), "{text}");
        let text = output("prices rental --gpu h100", false).unwrap();
        assert!(text.contains("2026-05-07 old") && text.contains("more than 90 days ago"), "{text}");
    }

    #[test]
    fn every_price_has_the_number_of_its_source() {
        for (arguments, first) in [
            ("prices rental --gpu h200", "verda"),
            ("prices vms", "azure/d4s-v5"),
            ("prices electricity", "us-commercial"),
        ] {
            let text = output(arguments, false).unwrap();
            let line = text.lines().find(|line| line.trim_start().starts_with(first)).unwrap_or_default();
            let number = line.split_whitespace().last().unwrap_or_default();
            assert!(number.parse::<usize>().is_ok(), "{arguments}: {line}");
            let source = text.lines().find(|line| line.starts_with(&format!("  {number} ")));
            assert!(source.is_some_and(|line| line.len() > 10), "{arguments}: {text}");
        }
    }

    #[test]
    fn a_users_names_do_not_steer_the_terminal() {
        let mut catalog = Catalog::bundled();
        catalog.rentals[0].provider = "ev\u{1b}[31mil\nx".to_owned();
        catalog.rentals[0].source = "a\u{1b}]0;title\u{7} list".to_owned();
        catalog.api_prices[0].model = "m\u{1b}[2J".to_owned();
        let args = Bench::try_parse_from(["catalog", "prices"]).unwrap().catalog;
        let mut out = Vec::new();
        view(&args, &catalog, &mut out, false, TODAY).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("ev [31mil x") && text.contains("m [2J"), "{text}");
        assert!(!text.contains(|sign: char| sign.is_control() && sign != '\n'), "{text}");
    }

    #[test]
    fn a_gpus_rents_end_with_the_price_a_run_would_take() {
        let text = output("prices --gpu h100", false).unwrap();
        assert!(text.contains("default for h100-sxm5-80gb: 4.41 USD/h (3.2 to 12.29)"), "{text}");
        let tail = text.split("default for").nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(tail.contains("the oldest of them seen 2026-10-04, 50 days ago"), "{tail}");
        let text = output("prices --gpu a10g-24gb", false).unwrap();
        assert!(text.contains("no price of the last 90 days is known"), "{text}");
    }

    #[test]
    fn show_prints_every_field_of_any_kind() {
        let text = output("show h200", false).unwrap();
        for needle in ["gpu", "memory_bandwidth_gb_s", "4800", "sources", "conflict", "trust", "checked"] {
            assert!(text.contains(needle), "{needle} is not in {text}");
        }
        assert!(output("show llama-3.1-8b", false).unwrap().contains("rope_factors"));
        assert!(output("show azure/d4s-v5", false).unwrap().contains("0.192"));
        assert!(output("show eu-household", false).unwrap().contains("ECB reference rate"));
        let value: Value =
            serde_json::from_str(&output("show together/llama-3.3-70b", true).unwrap()).unwrap();
        assert_eq!((value["kind"].as_str(), value["rows"].as_array().unwrap().len()), (Some("api"), 2));
    }

    /// A filter that a table doesn't know is an error; it must not leave everything in.
    #[test]
    fn a_filter_of_another_table_is_refused_with_the_table_that_has_it() {
        for (arguments, expected) in [
            (
                "prices rental --model gpt-4o",
                "--model: rents have no model; `bench catalog prices api` has it",
            ),
            ("prices api --gpu h100", "--gpu: API prices have no gpu; `bench catalog prices rental` has it"),
            ("prices vms --terms spot", "--terms: virtual machines have no terms"),
            ("prices electricity --provider openai", "--provider: electricity has no provider"),
        ] {
            let error = output(arguments, false).unwrap_err();
            assert!(matches!(error.downcast_ref(), Some(Usage { .. })), "{error:?}");
            assert!(error.to_string().contains(expected), "{arguments}: {error}");
        }
    }

    #[test]
    fn an_unknown_name_is_the_catalogs_error() {
        for (arguments, expected) in [
            ("show h1000", "h100"),
            ("gpus h1000", "h100"),
            ("prices --gpu h1000", "h100"),
            ("models llamma-3-8b", "llama-3-8b"),
            ("prices --provider opnai", "openai"),
            ("prices api --model gpt-4o-min1", "gpt-4o-mini"),
        ] {
            let error = output(arguments, false).unwrap_err();
            assert!(matches!(error.downcast_ref(), Some(Error::Unknown { .. })), "{error:?}");
            assert!(error.to_string().contains(&format!("`{expected}`")), "{arguments}: {error}");
        }
    }
}
