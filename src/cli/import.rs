//! `bench import FILE…`: other tools' results as records, which `cost` and `compare` then read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser as _};
use rust_decimal::Decimal;
use serde::Serialize;

use super::Output;
use super::destination::{Destination, of_records};
use super::values::money;
use crate::base::failure::Usage;
use crate::base::{clock, redact, text};
use crate::catalog::Catalog;
use crate::record::Record;
use crate::report::exchange::{self, Format, ImportError, Options};
use crate::report::terminal;

/// `bench import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Results of llama-bench, vLLM, SGLang, guidellm, AIPerf, trtllm-bench …; `-` reads stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The model, if the file doesn't name it or names it differently: catalog id with `:quant`, or
    /// `hf:ORGANISATION/NAME`
    #[arg(short, long, value_name = "ID")]
    model: Option<String>,
    /// The GPU it ran on, a catalog id, if the file doesn't name it
    #[arg(long, value_name = "ID")]
    gpu: Option<String>,
    /// Number of GPUs; --price-per-hour is then per GPU
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), allow_hyphen_values = true)]
    gpus: Option<u32>,
    /// Rent of the whole machine, or of one GPU with --gpus [default: the catalog's for the GPU]
    #[arg(long, value_name = "USD", value_parser = money::per_hour, allow_hyphen_values = true)]
    price_per_hour: Option<Decimal>,
    /// The tool that wrote the file, if it can't be detected
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name)))]
    input_format: Option<String>,
    /// Where to write the records: a folder, FILE.json for a single one, or `-` for stdout
    #[arg(short, long, value_name = "PATH", default_value = "results", value_parser = OsStringValueParser::new().try_map(of_records))]
    output: Destination,
}

pub(super) fn run(
    args: &ImportArgs,
    catalog: &Catalog,
    output: &Output,
    argv: &[OsString],
) -> anyhow::Result<()> {
    let argv = super::typed(argv);
    let options = Options {
        format: args.input_format.as_deref().and_then(Format::named),
        model: args.model.as_deref(),
        gpu: args.gpu.as_deref(),
        gpus: args.gpus,
        price_per_hour: args.price_per_hour,
        catalog,
        today: clock::today(),
        now: clock::wall(),
        argv: &argv,
    };
    // All are read before any is written: one bad file, and nothing is left half done.
    let read = |path: &PathBuf| {
        let (path, records) = if path == Path::new("-") {
            let stdin = PathBuf::from("stdin");
            let records = exchange::import_from(&stdin, std::io::stdin().lock(), &options);
            (stdin, records)
        } else {
            (path.clone(), exchange::import(path, &options))
        };
        records.map(|records| (path, records))
    };
    let found = args.files.iter().map(read).collect::<Result<Vec<(PathBuf, Vec<Record>)>, ImportError>>()?;
    for (file, records) in &found {
        for line in remarks(records) {
            output.note(&format!("{}: {line}", redact::text(&file.to_string_lossy())));
        }
    }
    let records: Vec<&Record> = found.iter().flat_map(|(_, records)| records).collect();
    if args.output.is_stdout() {
        return match records.as_slice() {
            [only] => output.stdout_json(only),
            several => output.stdout_json(&several),
        };
    }
    if matches!(args.output, Destination::File(_)) && records.len() > 1 {
        let reason = format!("there are {}; name a folder", text::count(records.len(), "record"));
        return Err(Usage::new("--output", reason).into());
    }
    args.output.probe()?;
    let mut views = Vec::new();
    for (file, records) in &found {
        for record in records {
            let path = args.output.keep(record)?.unwrap_or_default();
            if !output.json && !output.quiet {
                output.human(&view(file, &path, record, output))?;
            }
            views.push(View { file: redact::text(&file.to_string_lossy()).into_owned(), path, record });
        }
    }
    if output.json {
        output.stdout_json(&Views { imported: views })?;
    }
    Ok(())
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Views<'a> {
    imported: Vec<View<'a>>,
}

/// A record, the file it was made from, and its own.
#[derive(Debug, Serialize)]
struct View<'a> {
    file: String,
    path: PathBuf,
    record: &'a Record,
}

/// What a file's reader should know at once: rows left out, GPUs not counted. Records of one file share most of it.
fn remarks(records: &[Record]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for imported in records.iter().filter_map(|record| record.imported.as_ref()) {
        let rows = (imported.rows_left_out_count > 0).then(|| {
            let count = text::count(imported.rows_left_out_count, "row");
            format!("{count} left out: {}", imported.rows_left_out.join("; "))
        });
        for line in imported.notes.iter().cloned().chain(rows) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// What became of a file, for people.
fn view(file: &Path, path: &Path, record: &Record, output: &Output) -> String {
    let style = output.human_style();
    let imported = record.imported.as_ref();
    let tool = imported.map_or("", |imported| &imported.tool);
    let version =
        imported.and_then(|imported| imported.tool_version.as_deref()).unwrap_or("of an unknown version");
    let file = file.to_string_lossy();
    let head = style.dim(&format!("{}: {tool} {version}", redact::text(&file)));
    let (text, samples) = (terminal::render(record, style), super::run::show::samples_note(record, style));
    format!("{head}\n{text}{} {}\n{samples}", style.strong("Record  "), path.display())
}
