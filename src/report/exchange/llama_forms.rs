//! Writes llama-bench's rows in its own output formats: JSON, JSONL, CSV and its Markdown table.
//!
//! As in llama-bench, only JSON and JSONL contain the samples. An unknown value is `null`, or empty in CSV.

use serde_json::Value;

/// An output format for rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowForm {
    /// One list.
    Json,
    /// One object per line.
    Jsonl,
    /// With a header, all values quoted.
    Csv,
    /// A table for people.
    Markdown,
}

impl RowForm {
    /// The format by llama-bench's name for it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "jsonl" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "md" => Some(Self::Markdown),
            _ => None,
        }
    }

    /// The text of these rows; empty without rows.
    pub fn text(self, rows: &[Value]) -> String {
        if rows.is_empty() {
            return String::new();
        }
        match self {
            Self::Json => format!("{:#}\n", Value::from(rows)),
            Self::Jsonl => rows.iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect(),
            Self::Csv => csv(rows),
            Self::Markdown => markdown(rows),
        }
    }
}

fn csv(rows: &[Value]) -> String {
    let names = |row: &Value| -> Vec<String> {
        let fields = row.as_object().into_iter().flat_map(serde_json::Map::keys);
        fields.filter(|name| !name.starts_with("samples")).cloned().collect()
    };
    let header = rows.first().map(names).unwrap_or_default();
    let line = |row: &Value| {
        let values = header.iter().map(|name| format!("\"{}\"", cell(&row[name]).replace('"', "\"\"")));
        values.collect::<Vec<_>>().join(",") + "\n"
    };
    header.join(",") + "\n" + &rows.iter().map(line).collect::<String>()
}

/// A value as in llama-bench's CSV: a boolean is 0 or 1.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(truth) => u8::from(*truth).to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// llama-bench's column widths; numbers are right-aligned.
const TABLE: [(&str, usize, bool); 7] = [
    ("model", 30, false),
    ("size", 10, true),
    ("params", 10, true),
    ("backend", 10, false),
    ("threads", 7, true),
    ("test", 15, true),
    ("t/s", 20, true),
];

fn markdown(rows: &[Value]) -> String {
    let mut lines = Vec::new();
    let mut put = |cells: Vec<String>| lines.push(format!("| {} |", cells.join(" | ")));
    let aligned = |text: &str, width: usize, right: bool| {
        let text = text.replace('|', "\\|");
        if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
    };
    put(TABLE.map(|(name, width, right)| aligned(name, width, right)).to_vec());
    put(TABLE
        .map(
            |(_, width, right)| if right { format!("{}:", "-".repeat(width - 1)) } else { "-".repeat(width) },
        )
        .to_vec());
    for row in rows {
        let values = [
            cell(&row["model_type"]),
            row["model_size"].as_f64().map_or_else(String::new, size),
            row["model_n_params"].as_f64().map_or_else(String::new, parameters),
            cell(&row["backends"]),
            cell(&row["n_threads"]),
            test(row),
            rate(row),
        ];
        put(TABLE
            .iter()
            .zip(&values)
            .map(|((_, width, right), text)| aligned(text, *width, *right))
            .collect());
    }
    let build = rows.first().map(|row| cell(&row["build_commit"])).unwrap_or_default();
    lines.join("\n") + "\n\nbuild: " + &build + " (infercost)\n"
}

fn size(bytes: f64) -> String {
    let (unit, name) = if bytes < 1024.0 * 1024.0 * 1024.0 {
        (1024.0 * 1024.0, "MiB")
    } else {
        (1024.0 * 1024.0 * 1024.0, "GiB")
    };
    format!("{:.2} {name}", bytes / unit)
}

fn parameters(count: f64) -> String {
    let (unit, name) = if count < 1e9 { (1e6, "M") } else { (1e9, "B") };
    format!("{:.2} {name}", count / unit)
}

fn test(row: &Value) -> String {
    let count = |name: &str| row[name].as_u64().unwrap_or(0);
    let depth = match count("n_depth") {
        0 => String::new(),
        depth => format!(" @ d{depth}"),
    };
    let test = match (count("n_prompt"), count("n_gen")) {
        (prompt, 0) => format!("pp{prompt}"),
        (0, output) => format!("tg{output}"),
        (prompt, output) => format!("pp{prompt}+tg{output}"),
    };
    test + &depth
}

fn rate(row: &Value) -> String {
    let figure = |name: &str| row[name].as_f64().unwrap_or(0.0);
    format!("{:.2} ± {:.2}", figure("avg_ts"), figure("stddev_ts"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The expected table is what llama-bench b11434 printed for such rows.
    #[test]
    fn the_table_is_llama_benchs() {
        let row = |prompt: u32, output: u32, rate: f64, deviation: f64| {
            json!({"model_type": "llama 256M Q4_1", "model_size": 96_576_768, "model_n_params": 134_515_008,
                "backends": "CPU", "n_threads": 2, "n_prompt": prompt, "n_gen": output, "n_depth": 0,
                "build_commit": "sdist", "avg_ts": rate, "stddev_ts": deviation})
        };
        let text = RowForm::Markdown.text(&[row(8, 0, 52.594, 1.72), row(0, 4, 14.14, 1.571)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "| model                          |       size |     params | backend    | threads |            test |                  t/s |",
                "| ------------------------------ | ---------: | ---------: | ---------- | ------: | --------------: | -------------------: |",
                "| llama 256M Q4_1                |  92.10 MiB |   134.52 M | CPU        |       2 |             pp8 |         52.59 ± 1.72 |",
                "| llama 256M Q4_1                |  92.10 MiB |   134.52 M | CPU        |       2 |             tg4 |         14.14 ± 1.57 |",
            ]
        );
        assert_eq!(test(&json!({"n_prompt": 512, "n_gen": 128, "n_depth": 4096})), "pp512+tg128 @ d4096");
    }

    #[test]
    fn csv_quotes_every_value_and_leaves_the_samples_out() {
        let row = json!({"a": "x, \"y\"", "b": null, "c": true, "d": 1.5, "samples_ns": [1, 2]});
        assert_eq!(RowForm::Csv.text(&[row]), "a,b,c,d\n\"x, \"\"y\"\"\",\"\",\"1\",\"1.5\"\n");
        assert_eq!(RowForm::Json.text(&[]), "");
        assert_eq!(RowForm::Jsonl.text(&[json!({"a": 1}), json!({"a": 2})]), "{\"a\":1}\n{\"a\":2}\n");
    }
}
