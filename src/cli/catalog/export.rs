//! `bench catalog models --export synthetic:PRESET:QUANT FILE`: a synthetic model as a GGUF file for other programs.

use std::path::Path;

use serde_json::{Value, json};

use super::super::{Output, exit};
use crate::base::sys::Interrupt;
use crate::base::text;
use crate::base::units::Bytes;
use crate::catalog::Catalog;
use crate::model::hub::FetchProgress as _;
use crate::model::request::DEFAULT_SYNTHETIC_QUANT;
use crate::model::{self, Request, Synthetic};

/// Writes the file, and says what it wrote for people and for machines.
///
/// # Errors
/// [`model::Error::BadName`] when `name` is no synthetic model, else as [`Synthetic::export`].
pub(super) fn export(
    name: &str,
    path: &Path,
    seed: u64,
    catalog: &Catalog,
    output: &Output,
) -> anyhow::Result<(String, Value)> {
    let request = Request::parse(name)?;
    let Request::Synthetic { preset, quant } = &request else {
        let reason = "only synthetic models can be exported, such as synthetic:llama-3.2-1b:q4_k_m; others are already files";
        return Err(model::Error::BadName { name: name.to_owned(), reason: reason.to_owned() }.into());
    };
    let row = catalog.model(preset)?;
    let synthetic = Synthetic::new(row, quant.as_deref().unwrap_or(DEFAULT_SYNTHETIC_QUANT), seed)?;
    let interrupt = Interrupt::install()?;
    let bar = output.bar();
    bar.writing(&text::path(path), Bytes::new(synthetic.length()));
    let written = synthetic.export(path, &interrupt, &|bytes| bar.advance(bytes));
    bar.done();
    bar.clear();
    let written = match written {
        Err(model::Error::Interrupted) => {
            output.note("interrupted; no file was written");
            return Err(exit::Silent(interrupt.exit_code().unwrap_or(130)).into());
        }
        other => other?,
    };
    let id = format!("synthetic:{}:{}", row.id, synthetic.header().quantization.to_lowercase());
    let text = format!(
        "{}: {id}, seed {seed}, {}, random weights and no vocabulary\nsha256 {}\n",
        path.display(),
        written.bytes,
        written.sha256
    );
    let value = json!({
        "file": text::path(path),
        "model": id,
        "seed": seed,
        "bytes": written.bytes.get(),
        "sha256": written.sha256,
    });
    Ok((text, value))
}
