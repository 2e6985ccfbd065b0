//! `bench regress history`: where the figures of a folder changed, and which files count how.

use std::path::PathBuf;

use clap::Args;

use crate::base::stats::ChangeRules;
use crate::base::text::{self, count, printable};
use crate::base::{env, redact};
use crate::cli::{Output, exit};
use crate::record;
use crate::regress::Error;
use crate::regress::history::{self, Acknowledged, Line};
use crate::regress::last_gate::last_gate;
use crate::regress::store::moved::Moved;
use crate::regress::store::{self, Point, Series, Store, Synced};
use crate::report::terminal;

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Folder of records and gates, or the URL of an object store
    #[arg(value_name = "DIR", default_value = "results")]
    folder: PathBuf,
    /// Only metrics whose name contains this
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Only series whose key starts with this
    #[arg(long, value_name = "KEY")]
    series: Option<String>,
    /// Skip series with fewer points
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    least_points: u16,
    /// Mark the change that begins at this commit as known; with --metric, only for that metric
    #[arg(long, value_name = "COMMIT")]
    acknowledge: Option<String>,
    /// Note to keep with --acknowledge
    #[arg(long, value_name = "TEXT", requires = "acknowledge")]
    note: Option<String>,
    /// Rebuild the index from all files
    #[arg(long)]
    reindex: bool,
    /// Also write the history as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl HistoryArgs {
    /// Whether a series is one of those that were named.
    fn named(&self, series: &Series) -> bool {
        self.metric.as_ref().is_none_or(|part| series.metric.contains(part.as_str()))
            && self.series.as_ref().is_none_or(|key| series.key.starts_with(key.as_str()))
    }

    fn wants(&self, series: &Series) -> bool {
        series.points >= usize::from(self.least_points) && self.named(series)
    }

    /// Why of these series none has a line, which is no all-clear.
    fn nothing(&self, all: &[Series]) -> String {
        let most = all.iter().filter(|series| self.named(series)).map(|series| series.points).max();
        match most {
            _ if all.is_empty() => {
                "there are no records here; bench run, bench regress gate and bench regress criterion write them".to_owned()
            }
            None => {
                let metric = self.metric.iter().map(|value| format!("--metric {value}"));
                let series = self.series.iter().map(|value| format!("--series {value}"));
                let given: Vec<String> = metric.chain(series).collect();
                let has = if all.len() == 1 { "the one series" } else { "any of the series" };
                format!("{} does not fit {has} here ({})", given.join(" with "), all.len())
            }
            Some(most) => format!(
                "no series here has {} or more points, the longest has {most}; lower --least-points to include it",
                self.least_points
            ),
        }
    }
}

pub(super) fn run(args: &HistoryArgs, output: &Output) -> anyhow::Result<()> {
    let cache = env::cache_folder();
    let named = args.folder.to_str().filter(|text| store::url::is_url(text));
    let folder = match named {
        Some(url) => {
            let mirror = store::url::mirror(url, &cache);
            let moved = store::url::pull(url, &mirror, env::object_store())?;
            let Moved { copied, there, gone } = moved;
            output.note(&format!("{} fetched, {there} known, {gone} gone", count(copied, "file")));
            mirror
        }
        None => args.folder.clone(),
    };
    let (store, synced) = Store::open(&folder, &cache, args.reindex)?;
    for line in remarks(&synced) {
        output.note(&line);
    }
    let (all, rules) = (store.series()?, ChangeRules::default());
    let chosen: Vec<&Series> = all.iter().filter(|series| args.wants(series)).collect();
    if let Some(label) = &args.acknowledge {
        let lines: Result<Vec<Line>, Error> = chosen
            .iter()
            .map(|series| history::line(&store, series, &rules, &[]).map(|(line, _)| line))
            .collect();
        history::begins(label, &lines?)?;
        let known = Acknowledged {
            label: label.clone(),
            metric: args.metric.clone(),
            note: args.note.as_deref().map(|note| redact::text(note).into_owned()),
        };
        let path = history::acknowledge(store.folder(), known)?;
        if let Some(url) = named {
            store::url::replace(store.folder(), history::ACKNOWLEDGED, url, env::object_store())?;
        }
        output.note(&format!("noted in {}", path.display()));
    }
    let known = history::acknowledged(store.folder())?;
    let mut lines = Vec::new();
    for series in chosen {
        lines.push(history::line(&store, series, &rules, &known)?);
    }
    if let Some(path) = &args.html {
        let place = named.map_or_else(|| text::path(store.folder()), str::to_owned);
        let last = last_gate(&store)?;
        let page = crate::report::page::history(&lines, last.as_ref(), &place);
        std::fs::write(path, page).map_err(|source| {
            let flag = "--html";
            record::Error::WriteTo { flag, path: path.clone(), source }
        })?;
        output.note(&format!("written to {}", path.display()));
    }
    let lines: Vec<(Line, Vec<Point>)> = lines;
    if output.json {
        let only: Vec<&Line> = lines.iter().map(|(line, _)| line).collect();
        let value = serde_json::json!({
            "schema": "infercost.history/1",
            "folder": named.map_or_else(|| text::path(store.folder()), str::to_owned),
            "files": { "read": synced.read, "known": synced.known, "gone": synced.gone, "broken": synced.broken.len(),
                "invalid": synced.invalid.len(), "copies": synced.copies.len(), "undated": synced.undated.len() },
            "series": only,
        });
        output.stdout(&(record::write::to_json(&value)? + "\n"))?;
    } else {
        output.human(&terminal::render_history(&lines, output.human_style()))?;
    }
    if lines.iter().any(|(line, _)| line.unknown_slowdowns().next().is_some()) {
        return Err(exit::Silent(10).into());
    }
    // Where no step of any size could be proven, that none was found says nothing.
    if !lines.iter().any(|(line, _)| line.can_see()) {
        let reason = if lines.is_empty() {
            args.nothing(&all)
        } else {
            let most = lines.iter().map(|(line, _)| line.n).max().unwrap_or_default();
            let needed = lines.iter().map(|(line, _)| line.points_needed).min().unwrap_or_default();
            format!(
                "no series here has enough points to prove a change: at most {most}, and {needed} are needed"
            )
        };
        let text = format!("inconclusive: {reason}");
        if output.json {
            output.note(&text);
        } else {
            output.human(&(text + "\n"))?;
        }
        return Err(exit::Silent(11).into());
    }
    Ok(())
}

/// Which files a history leaves out or counts in a way that needs saying, the first few by name.
fn remarks(synced: &Synced) -> Vec<String> {
    const NAMED: usize = 5;
    let more = |all: usize| (all > NAMED).then(|| format!("and {} more like this", all - NAMED));
    let mut lines = Vec::new();
    for (path, reason) in synced.broken.iter().take(NAMED) {
        lines.push(format!("{}: left out, {reason}", path.display()));
    }
    lines.extend(more(synced.broken.len()));
    for path in synced.invalid.iter().take(NAMED) {
        lines.push(format!("{}: left out, its record is invalid", path.display()));
    }
    lines.extend(more(synced.invalid.len()));
    for (path, counted) in synced.copies.iter().take(NAMED) {
        lines.push(format!("{}: the same as {}, counted once", path.display(), counted.display()));
    }
    lines.extend(more(synced.copies.len()));
    for (id, records) in synced.same_id.iter().take(NAMED) {
        lines.push(format!("{records} different records have the id {}; each is counted", printable(id)));
    }
    lines.extend(more(synced.same_id.len()));
    for path in synced.undated.iter().take(NAMED) {
        lines
            .push(format!("{}: its file had no date, so it counts on the day of its import", path.display()));
    }
    lines.extend(more(synced.undated.len()));
    lines
}
