//! `bench export RECORD…`: records in other tools' formats, for scripts that read those.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::Output;
use crate::record;
use crate::report::exchange;

/// `bench export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Records to convert, or folders of them
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// Target format
    #[arg(long, value_enum, value_name = "NAME")]
    format: ExportFormat,
    /// Export invalid records too; other tools' formats have no field for the verdict
    #[arg(long)]
    allow_invalid: bool,
}

/// A format that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// llama-bench's JSON rows, one list for all records
    LlamaBench,
    /// `vllm bench serve`'s key names, one object per line
    Vllm,
}

pub(super) fn run(args: &ExportArgs, output: &Output) -> anyhow::Result<()> {
    let mut found: Vec<Value> = Vec::new();
    for (_, record) in super::cost::open_all(&args.records, args.allow_invalid, output)? {
        let exported = match args.format {
            ExportFormat::LlamaBench => exchange::llama_bench_rows(&record)?,
            ExportFormat::Vllm => exchange::vllm_objects(&record)?,
        };
        for note in exported.notes(&record) {
            output.note(&note);
        }
        found.extend(exported.rows);
    }
    let text = match (args.format, found.as_slice()) {
        (ExportFormat::LlamaBench, rows) => record::write::to_json(&rows)? + "\n",
        (ExportFormat::Vllm, [only]) => record::write::to_json(only)? + "\n",
        (ExportFormat::Vllm, several) => {
            let lines: Vec<String> = several.iter().map(Value::to_string).collect();
            lines.join("\n") + "\n"
        }
    };
    output.stdout(&text)
}
