//! The catalog's rows as tables of at most 80 columns, and one row as a list of fields.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::base::text::printable;
use crate::catalog::api_prices::API_PRICE_STALE_AFTER_DAYS;
use crate::catalog::default_price::FRESH_DAYS;
use crate::catalog::{
    ApiPrice, Catalog, Electricity, Gpu, ModelRow, Rental, RentalPrice, Trust, Vm, age_days,
};

const WIDTH: u16 = 80;
/// The column with the numbers of the sources.
const SOURCE: &str = "s>";

/// `rows` under `header`; a column whose header ends in `>` is flush right.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(header.iter().map(|name| name.trim_end_matches('>')));
    for (index, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            // Two columns of air between neighbours, one before a source's number, none at the edges.
            let air = match (index, *name) {
                (0, _) => 0,
                (_, SOURCE) => 1,
                _ => 2,
            };
            column.set_padding((air, 0));
            if index == 0 {
                // Names are for copying: they are never broken.
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            if name.ends_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Sources in the order in which rows first name them, each with its number in the tables.
#[derive(Default)]
struct Numbered<'a>(Vec<&'a str>);

impl<'a> Numbered<'a> {
    fn number(&mut self, source: &'a str) -> String {
        let at = self.0.iter().position(|other| *other == source).unwrap_or_else(|| {
            self.0.push(source);
            self.0.len() - 1
        });
        (at + 1).to_string()
    }

    /// The list below the table.
    fn lines(&self) -> String {
        let lines = self.0.iter().enumerate();
        lines.map(|(index, source)| indented(&format!("{} {source}", index + 1))).collect()
    }
}

fn trust(trust: Trust) -> &'static str {
    match trust {
        Trust::High => "high",
        Trust::Medium => "medium",
        Trust::Low => "low",
    }
}

/// A number as in the file, `~` before it if it is derived, a dash if there is none.
fn number(printed: Option<f64>, derived: Option<f64>) -> String {
    match (printed, derived) {
        (Some(number), _) => number.to_string(),
        (None, Some(number)) => format!("~{number}"),
        (None, None) => "-".to_owned(),
    }
}

pub(super) fn gpus(rows: &[&Gpu]) -> String {
    let header = ["id", "GB>", "GB/s>", "BF16>", "FP8>", "W>", "sources>", "trust"];
    let body = rows.iter().map(|row| {
        vec![
            row.id.clone(),
            row.memory_gb.to_string(),
            row.memory_bandwidth_gb_s.to_string(),
            number(row.bf16_dense_tflops, row.bf16_tflops()),
            number(row.fp8_dense_tflops, row.fp8_tflops()),
            number(row.tdp_watts, None),
            row.sources.len().to_string(),
            trust(row.trust).to_owned(),
        ]
    });
    table(&header, body)
        + "\nBF16 and FP8 are dense TFLOPS; ~ is computed, not a published value.\n\
           `bench catalog show ID` prints every field with its sources.\n"
}

pub(super) fn models(rows: &[&ModelRow], catalog: &Catalog) -> String {
    let body = rows.iter().map(|row| {
        let billions = row.shape.matrix_parameters() as f64 / 1e9;
        let (owner, quantizations) = row.hub.as_ref().map_or(("-", String::new()), |hub| {
            let names: Vec<&str> = hub.files.keys().map(String::as_str).collect();
            (hub.repo.split('/').next().unwrap_or_default(), names.join(" "))
        });
        let hosts = row.api_model.as_ref().map_or(0, |model| catalog.api_hosts(model).len());
        vec![row.id.clone(), format!("{billions:.2}"), hosts.to_string(), owner.to_owned(), quantizations]
    });
    table(&["id", "10^9>", "APIs>", "GGUF by", "known files"], body)
        + "\n10^9: billion weights. `--model ID:QUANT` takes any file of the GGUF repository,\n\
           `--model synthetic:ID:QUANT` only the shape. `bench catalog show ID` prints all.\n"
}

/// When a rent was last seen: the day or the month; marked when that is long ago.
fn seen(row: &Rental, today: Date) -> String {
    let by_month = row.observed_precision == Some(crate::catalog::rentals::Precision::Month);
    let text = match row.dated() {
        Some(day) if by_month && row.observed == Some(day) => format!("{:04}-{:02}", day.year(), day.month()),
        Some(day) => day.to_string(),
        None => "undated".to_owned(),
    };
    aged(text, row.dated(), today)
}

/// `text`, with `old` after it if its day is history and no quote.
fn aged(text: String, day: Option<Date>, today: Date) -> String {
    if day.is_some_and(|day| age_days(day, today) > FRESH_DAYS) { format!("{text} old") } else { text }
}

pub(super) fn rental(rows: &[&Rental], default: Option<(&Gpu, Option<RentalPrice>)>, today: Date) -> String {
    let mut body = Vec::new();
    let mut sources = Numbered::default();
    let mut gpu = "";
    for row in rows {
        if row.gpu != gpu {
            gpu = &row.gpu;
            body.push(vec![gpu.to_owned()]);
        }
        body.push(vec![
            format!("  {}", row.provider),
            row.usd_per_gpu_hour.to_string(),
            row.kind.label().to_owned(),
            seen(row, today),
            trust(row.trust).to_owned(),
            sources.number(&row.source),
        ]);
    }
    let mut text = table(&["rent of a GPU", "USD/h>", "terms", "seen", "trust", SOURCE], body);
    if rows.iter().any(|row| row.dated().is_some_and(|day| age_days(day, today) > FRESH_DAYS)) {
        let old = format!("old: seen more than {FRESH_DAYS} days ago; history, not a quote");
        text = format!("{text}\n{old}\n");
    } else if !rows.is_empty() {
        text.push('\n');
    }
    text += &sources.lines();
    let default = match default {
        Some((gpu, Some(price))) => {
            let spread = match price.rows {
                1 => String::new(),
                _ => format!(" ({} to {})", price.min, price.max),
            };
            let warning = price.warning.map(|warning| indented(&format!("warning: {warning}")));
            let seen = price.observed.map_or_else(String::new, |day| {
                let oldest = if price.rows == 1 { "seen" } else { "the oldest of them seen" };
                format!("; {oldest} {day}, {} days ago", age_days(day, today))
            });
            format!(
                "\ndefault for {}: {} USD/h{spread}\n{}{}",
                gpu.id,
                price.usd_per_hour,
                indented(&(price.label + &seen)),
                warning.unwrap_or_default()
            )
        }
        Some((gpu, None)) => format!("\nno price of {} or its family is known\n", gpu.id),
        None => String::new(),
    };
    text + &default
}

pub(super) fn api(rows: &[&ApiPrice], today: Date) -> String {
    let mut sources = Numbered::default();
    let mut body = Vec::new();
    for row in rows {
        let old = if row.is_stale(today) { " old" } else { "" };
        body.push(vec![
            row.id(),
            row.input_usd_per_mtok.to_string(),
            row.cached_input_usd_per_mtok.map_or("-".to_owned(), |usd| usd.normalize().to_string()),
            row.output_usd_per_mtok.to_string(),
            batch(row),
            format!("{}{old}", row.as_of),
            sources.number(&row.source),
        ]);
    }
    let mut text = table(
        &["API, USD per 10^6 tokens", "input>", "cached>", "output>", "batch>", "checked by", SOURCE],
        body,
    );
    if rows.is_empty() {
        return text;
    }
    text += "\nbatch: share of the standard price, blended 3:1.";
    if rows.iter().any(|row| row.is_stale(today)) {
        text = format!("{text} old: more than {API_PRICE_STALE_AFTER_DAYS} days.");
    }
    text.push('\n');
    text + &sources.lines()
}

/// What the batch tier takes of the standard price, at three input tokens to one of output.
fn batch(row: &ApiPrice) -> String {
    let Some(batch) = &row.batch else { return "-".to_owned() };
    let blend = |input: Decimal, output: Decimal| input * Decimal::from(3) + output;
    let share = blend(batch.input, batch.output)
        .checked_div(blend(row.input_usd_per_mtok, row.output_usd_per_mtok))
        .map(|share| (share * Decimal::ONE_HUNDRED).round_dp(0));
    share.map_or("-".to_owned(), |share| format!("{share}%"))
}

pub(super) fn vms(rows: &[&Vm], today: Date) -> String {
    let mut sources = Numbered::default();
    let body = rows.iter().map(|row| {
        let each = (row.usd_per_hour / Decimal::from(row.vcpus)).round_dp(5).normalize();
        let seen = row.observed.map_or("undated".to_owned(), |day| day.to_string());
        vec![
            row.id.clone(),
            row.vcpus.to_string(),
            row.memory_gb.to_string(),
            row.usd_per_hour.to_string(),
            each.to_string(),
            aged(seen, row.observed, today),
            sources.number(&row.source),
        ]
    });
    let text = table(&["virtual machine", "vCPU>", "GB>", "USD/h>", "per vCPU>", "seen", SOURCE], body);
    below(text, &sources)
}

/// A table with its sources below it.
fn below(table: String, sources: &Numbered<'_>) -> String {
    if sources.0.is_empty() { table } else { format!("{table}\n{}", sources.lines()) }
}

pub(super) fn electricity(rows: &[&Electricity]) -> String {
    let mut sources = Numbered::default();
    let body = rows.iter().map(|row| {
        vec![
            row.id.clone(),
            row.usd_per_kwh.to_string(),
            row.region.clone(),
            row.observed.to_string(),
            trust(row.trust).to_owned(),
            sources.number(&row.source),
        ]
    });
    let text = table(&["electricity", "USD/kWh>", "region", "seen", "trust", SOURCE], body);
    below(text, &sources)
}

/// `{kind, rows}` as fields, one a line; what is absent is left out.
pub(super) fn fields(value: &Value) -> String {
    let mut lines = Vec::new();
    for row in value["rows"].as_array().into_iter().flatten() {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(field("kind", &value["kind"]));
        object(&mut lines, row, 0);
    }
    lines.join("\n") + "\n"
}

fn object(lines: &mut Vec<String>, value: &Value, depth: usize) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let key = format!("{:indent$}{key}", "", indent = 2 * depth);
        match value {
            Value::Null => {}
            Value::Object(inner) if inner.is_empty() => {}
            Value::Object(_) => {
                lines.push(key);
                object(lines, value, depth + 1);
            }
            Value::Array(items) => {
                let keys = std::iter::once(key.as_str()).chain(std::iter::repeat(""));
                lines.extend(keys.zip(items).map(|(key, item)| field(key, item)));
            }
            other => lines.push(field(&key, other)),
        }
    }
}

fn field(key: &str, value: &Value) -> String {
    format!("{key:<28}{}", plain(value))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), printable)
}

/// `text` on lines of at most 80 columns, two of them indent, broken at spaces alone.
fn indented(text: &str) -> String {
    let mut lines = vec![String::from(" ")];
    for word in printable(text).split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        // An address may be longer than a line: it follows its number, unbroken.
        if line + 1 + word.chars().count() > usize::from(WIDTH) && line > 4 {
            lines.push(String::from(" "));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}
