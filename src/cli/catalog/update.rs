//! `bench catalog update --from FILE…`: shows what users' own copies of price files would change, then applies it.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::base::text::{self, printable};
use crate::base::{clock, env};
use crate::catalog::Catalog;
use crate::catalog::update::diff::{Change, ChangeKind, Diff, SEVERAL, diff};
use crate::catalog::update::{self, Dated, Filter, Offer, Options};
use crate::cli::Output;
use crate::cli::values::time::date;
use crate::record;
use crate::report::format::signed_percent;

/// Lines of a list that are shown without --verbose.
const SHOWN: usize = 12;

/// `bench catalog update`.
#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    /// Copies of LiteLLM's price map, genai-prices' data, models.dev's api.json, OpenRouter's list of models, gpuhunt's or
    /// SkyPilot's CSV catalogs
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    from: Vec<PathBuf>,
    /// Only prices of this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only API prices of models whose name contains this
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Day on which the prices were seen [default: each file's own date]
    #[arg(long, value_name = "DATE", value_parser = date)]
    observed: Option<Date>,
    /// Provider of a CSV catalog [default: the file's name, or its folder's for a vms.csv]
    #[arg(long, value_name = "NAME")]
    csv_provider: Option<String>,
    /// Apply the changes without asking; without it and without a terminal, nothing is written (exit code 0)
    #[arg(short, long)]
    yes: bool,
    /// Also apply rents that move the default price of a GPU-hour by more than 30% or below every other on-demand
    /// price; without it they are held back, and with --yes the exit code is then 1
    #[arg(long)]
    accept: bool,
}

pub(super) fn run(args: &UpdateArgs, config: Option<&Path>, output: &Output) -> anyhow::Result<()> {
    let today = clock::today();
    if let Some(day) = args.observed.filter(|day| *day > today) {
        return Err(super::super::usage("--observed", &format!("{day} is in the future")));
    }
    let catalog = Catalog::load_for_update(config)?;
    let folder = config.map_or_else(env::config_folder, Path::to_owned);
    let options = Options {
        filter: Filter { provider: args.provider.clone(), model: args.model.clone() },
        observed: args.observed,
        csv_provider: args.csv_provider.as_deref(),
        today,
        catalog: &catalog,
    };
    let read = args.from.iter().map(|path| update::read(path, &options));
    let offers = read.collect::<Result<Vec<Offer>, update::Error>>()?;
    let mut diff = diff(&offers, &catalog, &folder, today)?;
    let held = if args.accept { 0 } else { diff.hold_back(&catalog, today) };
    let taken = diff.api_rows.len() + diff.rent_rows.len();
    if !output.json {
        output.human(&shown(&offers, &diff, args.accept, output))?;
    }
    let (written, reason) = if taken == 0 {
        let reason =
            if held > 0 { "nothing was written: everything is held back" } else { "nothing to import" };
        (None, Some(reason.to_owned()))
    } else if args.yes || (!output.json && agreed(taken, &folder)?) {
        (Some(update::write::write(&diff, &folder)?), None)
    } else {
        (None, Some("nothing was written; --yes applies the changes".to_owned()))
    };
    let wanted = args.yes || written.is_some();
    if output.json {
        let value = machine(&offers, &diff, held, written.as_deref(), reason.as_deref());
        output.stdout(&(record::write::to_json(&value)? + "\n"))?;
    } else {
        let said = match (&written, reason) {
            (Some(paths), _) => {
                let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                format!("\n{} written to {}\n", rows(taken), names.join(" and "))
            }
            (None, reason) => format!("\n{}\n", reason.unwrap_or_default()),
        };
        output.human(&said)?;
    }
    if held > 0 && wanted {
        anyhow::bail!(
            "{} held back: the default price of {} would move by more than 30% or below every other on-demand price; apply it with --accept if it is right",
            rows(held),
            gpus(&diff).join(", ")
        );
    }
    Ok(())
}

/// The GPUs whose default price waits to be accepted.
fn gpus(diff: &Diff) -> Vec<&str> {
    diff.defaults
        .iter()
        .filter(|moved| moved.needs_accept.is_some())
        .map(|moved| moved.gpu.as_str())
        .collect()
}

/// Asks, if stdin and stdout are a terminal.
fn agreed(taken: usize, folder: &Path) -> io::Result<bool> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Ok(false);
    }
    print!("\nWrite {} to {}? [y/N] ", rows(taken), text::path(folder));
    io::Write::flush(&mut io::stdout())?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What was read and what it would change, for people.
fn shown(offers: &[Offer], diff: &Diff, accept: bool, output: &Output) -> String {
    let style = output.human_style();
    let most = if output.verbose > 0 { usize::MAX } else { SHOWN };
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    for offer in offers {
        let from = match offer.observed.1 {
            Dated::Flag => "by --observed",
            Dated::Name => "from the file's name; --observed DATE overrides it",
            Dated::Modified => {
                "the file's modification time, which copying changes: the file itself has no date; --observed DATE says when the prices were seen"
            }
        };
        line(&style.strong(&format!(
            "{}: {}, {}",
            offer.path.display(),
            offer.format.name(),
            rows(offer.rows)
        )));
        line(&format!("  prices of {}, {from}", offer.observed.0));
        if offer.filtered_out > 0 {
            let are = if offer.filtered_out == 1 { "is" } else { "are" };
            line(&format!("  {} {are} filtered out", rows(offer.filtered_out)));
        }
        if !offer.refused.is_empty() {
            let all = offer.refused.len() + offer.refused_more;
            line(&format!("  {} refused:", style.warn(&all.to_string())));
            for row in offer.refused.iter().take(most) {
                let at = row.line.map_or(String::new(), |line| format!("line {line}, "));
                let said = format!("{at}{}: {}", row.row, row.sentence());
                line(&format!("    {}", printable(&said)));
            }
            more(&mut line, all, most.min(offer.refused.len()));
        }
        let passed: usize = offer.passed.values().sum();
        if passed > 0 {
            line(&format!("  {passed} skipped:"));
            let mut reasons: Vec<(&String, &usize)> = offer.passed.iter().collect();
            reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), (*reason).clone()));
            for (reason, count) in reasons.iter().take(most) {
                line(&format!("    {count:>5} {}", printable(reason)));
            }
            more(&mut line, reasons.len(), most);
        }
    }
    for (what, changes) in [
        ("API prices, USD per million input/output tokens", &diff.api),
        ("rents, USD per GPU-hour", &diff.rents),
    ] {
        if changes.is_empty() {
            continue;
        }
        line("");
        line(&style.strong(what));
        for (kind, words) in [
            (ChangeKind::Changed, "changed"),
            (ChangeKind::New, "new"),
            (ChangeKind::SeenAgain, "the same, seen later"),
            (ChangeKind::Older, "older than the catalog's, left as they are"),
            (ChangeKind::Yours, "in your own files, left as they are"),
        ] {
            let found: Vec<&Change> = changes.iter().filter(|change| change.kind == kind).collect();
            if found.is_empty() {
                continue;
            }
            line(&format!("  {} {words}", found.len()));
            if kind > ChangeKind::New && output.verbose == 0 {
                continue;
            }
            for change in found.iter().take(most) {
                line(&one(change));
            }
            more(&mut line, found.len(), most);
        }
    }
    if !diff.defaults.is_empty() {
        line("");
        line(&style.strong("default prices of a GPU-hour, USD"));
        for moved in &diff.defaults {
            let word = |usd: Option<Decimal>| usd.map_or("none".to_owned(), |usd| usd.to_string());
            let held = moved.needs_accept.as_ref().map_or_else(String::new, |why| {
                let held = if accept { "accepted" } else { "held back, needs --accept" };
                format!("  {}", style.warn(&format!("{why}: {held}")))
            });
            line(&format!("    {}: {} → {}{held}", moved.gpu, word(moved.before), word(moved.after)));
        }
    }
    text
}

fn more(line: &mut impl FnMut(&str), all: usize, shown: usize) {
    if all > shown {
        line(&format!("    … and {} more (--verbose lists them, --json as well)", all - shown));
    }
}

fn rows(count: usize) -> String {
    text::count(count, "row")
}

fn one(change: &Change) -> String {
    // Where there are several prices of one rent, the lowest ones are compared.
    let several = change.before.iter().chain([&change.after]).any(|usd| usd.contains(SEVERAL));
    let of = |name: &str| {
        if several && name == "rent" { "lowest rent".to_owned() } else { name.replace('_', " ") }
    };
    let moved = change.moves.iter().filter(|(_, share)| *share != 0.0 && change.kind == ChangeKind::Changed);
    let moved: Vec<String> =
        moved.map(|(name, share)| format!("{} {}", of(name), signed_percent(*share))).collect();
    let moved = if moved.is_empty() { String::new() } else { format!("  {}", moved.join(", ")) };
    let note = change.note.as_ref().map_or(String::new(), |note| format!("  ({})", printable(note)));
    let id = printable(&change.id);
    match &change.before {
        Some(before) if change.kind != ChangeKind::SeenAgain => {
            format!("    {id}: {before} → {}{moved}{note}", change.after)
        }
        _ => format!("    {id}: {}{note}", change.after),
    }
}

fn machine(
    offers: &[Offer],
    diff: &Diff,
    held: usize,
    written: Option<&[PathBuf]>,
    reason: Option<&str>,
) -> Value {
    let files: Vec<Value> = offers
        .iter()
        .map(|offer| {
            let refused: Vec<Value> = offer
                .refused
                .iter()
                .map(|row| {
                    json!({ "line": row.line, "row": row.row, "field": row.field, "value": row.value, "reason": row.reason })
                })
                .collect();
            json!({
                "file": text::path(&offer.path), "format": offer.format.name(), "sha256": offer.sha256, "rows": offer.rows,
                "observed": offer.observed.0,
                "observed_from": match offer.observed.1 { Dated::Flag => "--observed", Dated::Name => "name", Dated::Modified => "modified" },
                "not_asked_for": offer.filtered_out, "refused": refused, "refused_more": offer.refused_more,
                "passed_over": offer.passed,
            })
        })
        .collect();
    let changes = |list: &[Change]| -> Vec<Value> {
        list.iter()
            .map(|change| {
                let kind = match change.kind {
                    ChangeKind::Changed => "changed",
                    ChangeKind::New => "new",
                    ChangeKind::SeenAgain => "seen_again",
                    ChangeKind::Older => "older",
                    ChangeKind::Yours => "yours",
                };
                let mut value = json!({
                    "id": change.id, "fate": kind, "before": change.before, "after": change.after,
                    "note": change.note,
                });
                if let Some(object) = value.as_object_mut() {
                    let moves = change.moves.iter();
                    object.extend(moves.map(|(name, share)| (format!("{name}_change"), json!(share))));
                }
                value
            })
            .collect()
    };
    let defaults: Vec<Value> = diff
        .defaults
        .iter()
        .map(|moved| {
            json!({
                "gpu": moved.gpu, "before": moved.before, "after": moved.after, "needs_accept": moved.needs_accept,
            })
        })
        .collect();
    json!({
        "files": files,
        "api": changes(&diff.api),
        "rental": changes(&diff.rents),
        "defaults": defaults,
        "held_back": held,
        "written": written,
        "written_reason": reason,
    })
}
