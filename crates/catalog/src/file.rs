//! One catalog file: TOML text in, rows out, and an error that names file, line, field and value.
//!
//! Owns the files' outer structure (`schema_version`, `[sources]`, one array of rows). What a row may contain is up to
//! the row type; unknown fields are rejected everywhere, since a misspelt field would silently drop a price.

use serde::Deserialize;

use super::error::Error;
use super::find::nearest;
use super::provenance::{Sources, resolve};
use super::{ApiPrice, Class, Electricity, Gpu, ModelRow, PricePoint, Rental, Score, Vm};

/// The only form of catalog files so far.
const SCHEMA_VERSION: u32 = 1;

/// Prices of APIs that an update took; rows as in `prices/api.toml`.
pub(super) const IMPORTED_API: &str = "prices/imported-api.toml";
/// Prices of APIs that an update replaced; rows as in `prices/history.toml`.
pub(super) const IMPORTED_HISTORY: &str = "prices/imported-history.toml";
/// Rents that an update took; rows as in `prices/rental.toml`.
pub(super) const IMPORTED_RENTAL: &str = "prices/imported-rental.toml";

/// A type of row: its file, and the fields that name its sources.
pub(super) trait Row: Sized {
    /// Path below the configuration folder.
    const FILE: &'static str;
    /// The file that comes with the program.
    const BUNDLED: &'static str;
    /// Version, sources and rows of a file.
    fn read(text: &str) -> Result<(u32, Sources, Vec<Self>), toml::de::Error>;
    /// The fields that may hold a key of `[sources]`.
    fn sources_mut(&mut self) -> &mut [String];
}

macro_rules! rows {
    ($($row:ident: $file:literal, [[$table:ident]], $this:ident => $sources:expr;)+) => {
        $(impl Row for $row {
            const FILE: &'static str = $file;
            const BUNDLED: &'static str = include_str!(concat!("../../../configs/", $file));

            fn read(text: &str) -> Result<(u32, Sources, Vec<Self>), toml::de::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct File {
                    #[serde(default = "current_version")]
                    schema_version: u32,
                    #[serde(default)]
                    sources: Sources,
                    #[serde(default)]
                    $table: Vec<$row>,
                }
                let file: File = toml::from_str(text)?;
                Ok((file.schema_version, file.sources, file.$table))
            }

            fn sources_mut(&mut self) -> &mut [String] {
                let $this = self;
                $sources
            }
        })+

        /// Every file that a configuration folder may hold.
        pub(super) const FILES: &[&str] = &[$($file),+, IMPORTED_API, IMPORTED_HISTORY, IMPORTED_RENTAL];
    };
}

rows! {
    Gpu: "gpus.toml", [[gpu]], row => &mut row.sources;
    ModelRow: "models.toml", [[model]], row => std::slice::from_mut(&mut row.source);
    Rental: "prices/rental.toml", [[rental]], row => std::slice::from_mut(&mut row.source);
    ApiPrice: "prices/api.toml", [[price]], row => std::slice::from_mut(&mut row.source);
    Vm: "prices/vms.toml", [[vm]], row => std::slice::from_mut(&mut row.source);
    Electricity: "prices/electricity.toml", [[electricity]], row => std::slice::from_mut(&mut row.source);
    PricePoint: "prices/history.toml", [[point]], row => std::slice::from_mut(&mut row.source);
    Class: "classes.toml", [[class]], row => std::slice::from_mut(&mut row.source);
    Score: "scores.toml", [[score]], row => std::slice::from_mut(&mut row.source);
}

fn current_version() -> u32 {
    SCHEMA_VERSION
}

/// The rows of one file. `file` is how messages call it.
///
/// # Errors
/// [`Error::Invalid`] with the line.
pub(super) fn parse<R: Row>(file: &str, text: &str) -> Result<Vec<R>, Error> {
    let invalid = |at: usize, reason: String| Error::Invalid {
        file: file.to_owned(),
        line: text[..at].matches('\n').count() + 1,
        reason,
    };
    let (version, sources, mut rows) = R::read(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        invalid(at, explain(text, at, error.message()))
    })?;
    if version != SCHEMA_VERSION {
        let reason = format!("schema_version = {version}: this version of bench reads {SCHEMA_VERSION} only");
        return Err(invalid(text.find("schema_version").unwrap_or(0), reason));
    }
    for row in &mut rows {
        let fields = row.sources_mut();
        if fields.is_empty() {
            let reason =
                "sources = []: a row needs at least one source; write where its numbers were read".to_owned();
            return Err(invalid(text.find("sources = []").unwrap_or(0), reason));
        }
        for source in fields {
            *source = resolve(source, &sources)
                .map_err(|reason| invalid(text.find(&format!("{source:?}")).unwrap_or(0), reason))?;
        }
    }
    Ok(rows)
}

/// What the parser said, with the line it means and the nearest field when one is misspelt.
fn explain(text: &str, at: usize, message: &str) -> String {
    let message = message.trim_end().replace('\n', "; ");
    if let Some((unknown, known)) = unknown_name(&message) {
        let kind = if message.starts_with("unknown field") { "field" } else { "value" };
        return match nearest(unknown, known.iter().copied()).first() {
            Some(name) => format!("unknown {kind} `{unknown}` (did you mean `{name}`?)"),
            None => format!("unknown {kind} `{unknown}`; known: {}", known.join(", ")),
        };
    }
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let line = text[start..].lines().next().unwrap_or_default().trim();
    let line: String = line.chars().take(80).collect();
    if line.is_empty() {
        return format!("{message}; docs/catalog.md describes every field");
    }
    format!("`{line}`: {message}; docs/catalog.md describes every field")
}

/// The misspelt name and the names that were possible, from serde's `unknown field` or `unknown variant`.
fn unknown_name(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut names = rest.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    Some((unknown, names.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<R: Row + std::fmt::Debug>(text: &str, line: usize, needles: &[&str]) {
        let message = match parse::<R>("mine.toml", text) {
            Err(Error::Invalid { file, line: found, reason }) => {
                assert_eq!((file.as_str(), found), ("mine.toml", line), "{reason}");
                reason
            }
            other => panic!("expected a refusal of {text:?}, found {other:?}"),
        };
        for needle in needles {
            assert!(message.contains(needle), "{message:?} does not say {needle:?}");
        }
    }

    const RENT: &str =
        "[[rental]]\nprovider = \"mine\"\ngpu = \"h100\"\nkind = \"on_demand\"\nsource = \"my invoice\"\n";

    #[test]
    fn a_misspelt_field_suggests_the_right_one() {
        let text = format!("{RENT}usd_per_gpu_hour = 2.0\nobservd = \"2026-11-01\"\n");
        refused::<Rental>(&text, 7, &["unknown field `observd`", "did you mean `observed`?"]);
    }

    #[test]
    fn a_price_is_a_number_above_zero() {
        refused::<Rental>(
            &format!("{RENT}usd_per_gpu_hour = 0\n"),
            6,
            &["usd_per_gpu_hour = 0", "above zero"],
        );
        refused::<Rental>(&format!("{RENT}usd_per_gpu_hour = -1.5\n"), 6, &["-1.5", "above zero"]);
        refused::<Rental>(&format!("{RENT}usd_per_gpu_hour = nan\n"), 6, &["usd_per_gpu_hour = nan"]);
        refused::<Rental>(&format!("{RENT}usd_per_gpu_hour = \"cheap\"\n"), 6, &["cheap"]);
    }

    #[test]
    fn a_missing_field_is_named_with_the_row() {
        refused::<Rental>(RENT, 1, &["missing field `usd_per_gpu_hour`", "[[rental]]"]);
    }

    #[test]
    fn an_unknown_kind_suggests_the_right_one() {
        let text = RENT.replace("on_demand", "on-demand") + "usd_per_gpu_hour = 2.0\n";
        refused::<Rental>(&text, 4, &["unknown value `on-demand`", "did you mean `on_demand`?"]);
    }

    #[test]
    fn a_date_is_text_or_a_date() {
        let text = format!("{RENT}usd_per_gpu_hour = 2.0\nobserved = ");
        for written in ["\"2026-11-01\"", "2026-11-01"] {
            let rows: Vec<Rental> = parse("mine.toml", &format!("{text}{written}\n")).unwrap();
            assert_eq!(rows[0].observed, Some(jiff::civil::date(2026, 11, 1)), "{written}");
        }
        refused::<Rental>(&format!("{text}\"last week\"\n"), 7, &["last week", "expected a date"]);
        refused::<Rental>(&format!("{text}2026-13-01\n"), 7, &["2026-13-01"]);
    }

    #[test]
    fn an_empty_word_is_no_source() {
        let text = RENT.replace("my invoice", "invoice") + "usd_per_gpu_hour = 2.0\n";
        refused::<Rental>(&text, 5, &["source = \"invoice\"", "[sources]"]);
        let with_key = format!("[sources]\ninvoice = \"invoice 17 of 2026-11-01\"\n\n{text}");
        let rows: Vec<Rental> = parse("mine.toml", &with_key).unwrap();
        assert_eq!(rows[0].source, "invoice 17 of 2026-11-01");
    }

    #[test]
    fn another_files_rows_and_another_version_are_refused() {
        refused::<Gpu>(&format!("{RENT}usd_per_gpu_hour = 2.0\n"), 1, &["unknown field `rental`", "gpu"]);
        refused::<Rental>("schema_version = 2\n", 1, &["schema_version = 2", "reads 1 only"]);
        refused::<Rental>("[[rental]\n", 1, &["[[rental]"]);
    }

    #[test]
    fn a_shape_has_no_zero() {
        let text = ModelRow::BUNDLED.replacen("layers = 30", "layers = 0", 1);
        let line = text.lines().position(|line| line == "layers = 0").unwrap() + 1;
        refused::<ModelRow>(&text, line, &["layers = 0", "above zero"]);
        let text = ModelRow::BUNDLED.replacen("layers = 30", "layers = 99999999999", 1);
        refused::<ModelRow>(&text, line, &["layers = 99999999999"]);
    }

    #[test]
    fn money_keeps_its_decimals() {
        let rows: Vec<Rental> = parse("mine.toml", &format!("{RENT}usd_per_gpu_hour = 0.8015\n")).unwrap();
        assert_eq!(rows[0].usd_per_gpu_hour.to_string(), "0.8015");
    }
}
