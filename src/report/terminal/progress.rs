//! How far a command is, on stderr: on a terminal a line that is drawn over itself, in a log one every few seconds; and
//! each row as it finishes.
//!
//! It is drawn on progress events, between trials, and never by a separate thread: what measures must not share
//! the processor with what prints. It is one line however narrow the terminal is and whatever it is resized to: the
//! width is asked for at each drawing, and what does not fit is said in fewer words.

use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::event::Tick;
use crate::base::units::{Bytes, Seconds};
use crate::base::{clock, sys, text};
use crate::model::hub::FetchProgress;
use crate::run::runner::{LeftOut, MeasuredRow, Observer, Progress, Stage};
use crate::run::session::Watch;

use super::result::row_line;

/// What the line says while weights are read.
const LOADING: &str = "loading the model";
/// Columns of the bar: the most, and the fewest that say anything.
const BAR: (usize, usize) = (24, 8);
/// Columns of a terminal that does not say how many it has.
const UNKNOWN_COLUMNS: usize = 40;
/// The line is not drawn more often than this while bytes or weights come.
const PAUSE: Seconds = Seconds::new(0.1);

/// A log gets no more than a line in this time.
const LOG_PAUSE: Seconds = Seconds::new(5.0);

/// A line on the terminal, lines in a log, or nothing at all.
pub struct Bar {
    line: Option<Line>,
    /// When the log got its last line.
    log: Option<Arc<Mutex<Option<Tick>>>>,
    total: Option<Seconds>,
}

impl Bar {
    /// A line when `visible`, else an observer that shows nothing.
    pub fn new(visible: bool) -> Self {
        Self { line: visible.then(Line::default), log: None, total: None }
    }

    /// Lines in a log, where stderr is no terminal; a short run needs none.
    pub fn for_a_log() -> Self {
        Self { line: None, log: Some(Arc::new(Mutex::new(Some(clock::now())))), total: None }
    }

    /// A line that stays.
    fn say(&self, text: &str) {
        if self.line.is_some() || self.log.is_some() {
            self.clear();
            // A terminal that is gone is no reason to stop.
            drop(std::io::stderr().write_all(format!("{text}\n").as_bytes()));
        }
    }

    /// Takes the line off the terminal.
    pub fn clear(&self) {
        if let Some(line) = &self.line {
            line.clear();
        }
    }

    /// Shows what is being done, for work that is not measured.
    pub fn spin(&self, message: &str) {
        self.show(None, vec![message.to_owned()]);
    }

    /// Shows `words`, the longest form first; the share stays where none is given.
    fn show(&self, share: Option<f64>, words: Vec<String>) {
        if let Some(line) = &self.line {
            line.change(true, |shown| {
                shown.share = share.unwrap_or(shown.share);
                shown.words = words;
                shown.fetch = None;
            });
        } else if let Some(said) = words.first() {
            log_now_and_then(self.log.as_deref(), said);
        }
    }
}

/// Writes `text` to the log unless it got a line a moment ago.
fn log_now_and_then(log: Option<&Mutex<Option<Tick>>>, text: &str) {
    let Some(log) = log else { return };
    let mut last = log.lock().unwrap_or_else(PoisonError::into_inner);
    let now = clock::now();
    if last.is_none_or(|last| now.since(last) >= LOG_PAUSE) {
        *last = Some(now);
        drop(std::io::stderr().write_all(format!("{text}\n").as_bytes()));
    }
}

/// Which share of the weights is ready, and how long the rest takes at this pace.
fn loading_words(share: f64, since: Seconds) -> Vec<String> {
    let short = format!("{LOADING}, {:.0}%", share * 100.0);
    if share < 0.05 {
        return vec![short];
    }
    let left = Seconds::new((since.get() * (1.0 - share) / share).ceil());
    vec![format!("{short}, {:.0} s left", left.get()), short]
}

impl Observer for Bar {
    fn update(&mut self, progress: &Progress) {
        if progress.stage == Stage::Load {
            self.total = progress.left;
            self.spin(LOADING);
            return;
        }
        let share = self.total.zip(progress.left).map(|(total, left)| 1.0 - left.get() / total.get());
        self.show(share, words(progress));
    }

    fn measured(&mut self, row: &MeasuredRow) {
        if let Some(text) = row_line(&row.trials) {
            self.say(&text);
        }
    }

    fn left_out(&mut self, row: &LeftOut) {
        self.say(&format!("{} left out: {row}", row.row.label()));
    }
}

impl Watch for Bar {
    fn busy(&self, what: &str) {
        self.spin(what);
    }

    fn parts(&self, done: usize, all: usize, what: &str) {
        self.show(Some(done as f64 / all.max(1) as f64), vec![what.to_owned()]);
    }

    fn clear(&self) {
        Self::clear(self);
    }

    fn loading(&self) -> Box<dyn Fn(f64)> {
        let (line, log, begin) = (self.line.clone(), self.log.clone(), clock::now());
        Box::new(move |share| {
            let words = loading_words(share, clock::now().since(begin));
            if let Some(line) = &line {
                line.change(false, |shown| shown.words.clone_from(&words));
            }
            log_now_and_then(log.as_deref(), &words[0]);
        })
    }
}

impl Bar {
    /// A file that is written here.
    pub fn writing(&self, file: &str, total: Bytes) {
        self.transfer("writing", file, total, Bytes::default());
    }

    fn transfer(&self, verb: &str, file: &str, total: Bytes, already: Bytes) {
        let file = text::shown(file.rsplit('/').next().unwrap_or(file));
        if self.log.is_some() {
            self.say(&format!("{verb} {file}, {total}"));
        }
        if let Some(line) = &self.line {
            let fetch = Fetch { file, total, already, came: already, since: clock::now() };
            line.change(true, |shown| shown.fetch = Some(fetch));
        }
    }
}

impl FetchProgress for Bar {
    fn start(&self, file: &str, total: Bytes, already: Bytes) {
        self.transfer("downloading", file, total, already);
    }

    fn advance(&self, bytes: Bytes) {
        if let Some(line) = &self.line {
            line.change(false, |shown| {
                if let Some(fetch) = &mut shown.fetch {
                    fetch.came = fetch.came + bytes;
                }
            });
        }
    }

    fn done(&self) {
        self.show(Some(0.0), vec!["downloaded".to_owned()]);
    }

    fn waiting(&self, file: &str) {
        let file = text::printable(file);
        self.spin(&format!("waiting for another process that is fetching {file}"));
    }
}

/// The line as all who draw it share it.
#[derive(Debug, Clone, Default)]
struct Line(Arc<Mutex<Shown>>);

/// What the line shows.
#[derive(Debug, Default)]
struct Shown {
    /// How full the bar is.
    share: f64,
    /// The message, the longest form first.
    words: Vec<String>,
    /// The file that is being downloaded, instead of both.
    fetch: Option<Fetch>,
    drawn: Option<Tick>,
}

/// A file on its way.
#[derive(Debug, Clone)]
struct Fetch {
    file: String,
    total: Bytes,
    /// Bytes that were here when the transfer began, at `since`.
    already: Bytes,
    came: Bytes,
    since: Tick,
}

impl Line {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is shown, and draws it: always, or when the last drawing was a while ago.
    fn change(&self, always: bool, change: impl FnOnce(&mut Shown)) {
        let mut shown = self.shown();
        change(&mut shown);
        let now = clock::now();
        if !always && shown.drawn.is_some_and(|drawn| now.since(drawn) < PAUSE) {
            return;
        }
        shown.drawn = Some(now);
        let columns = sys::terminal_columns().unwrap_or(UNKNOWN_COLUMNS);
        let line = shown.line(columns.saturating_sub(1), now);
        // A terminal that is gone is no reason to stop.
        drop(std::io::stderr().write_all(format!("\r{line}\x1b[K").as_bytes()));
    }

    fn clear(&self) {
        if self.shown().drawn.take().is_some() {
            drop(std::io::stderr().write_all(b"\r\x1b[K"));
        }
    }
}

impl Shown {
    /// The line in at most `room` columns.
    fn line(&self, room: usize, now: Tick) -> String {
        match &self.fetch {
            Some(fetch) => fitted(fetch.share(), &fetch.words(now), room),
            None => fitted(self.share, &self.words, room),
        }
    }
}

impl Fetch {
    fn share(&self) -> f64 {
        self.came.get() as f64 / self.total.get().max(1) as f64
    }

    fn words(&self, now: Tick) -> Vec<String> {
        let Self { file, total, came, .. } = self;
        let percent = format!("{:.0}%", self.share() * 100.0);
        let per_second = came.get().saturating_sub(self.already.get()) as f64 / now.since(self.since).get();
        let mut words = vec![format!("{came} of {total}"), format!("{came}/{total}"), percent];
        if per_second.is_finite() && per_second >= 1.0 {
            let left = Seconds::new(total.get().saturating_sub(came.get()) as f64 / per_second);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a second")]
            let rate = Bytes::new(per_second as u64);
            let left = Seconds::new(left.get().ceil());
            words.insert(0, format!("{came} of {total}, {left} left"));
            words.insert(0, format!("{came} of {total}, {rate}/s, {left} left"));
        }
        words.insert(0, format!("{file} {}", words[0]));
        words
    }
}

/// Most columns of `text`: non-Latin characters may be two wide.
fn columns(text: &str) -> usize {
    text.chars().map(|sign| if sign < '\u{300}' || matches!(sign, '━' | '╸' | '…') { 1 } else { 2 }).sum()
}

/// The bar with the longest of `words` that fits after it, else the longest that fits alone, else the shortest, cut.
fn fitted(share: f64, words: &[String], room: usize) -> String {
    let Some(shortest) = words.last() else { return String::new() };
    if let Some(first) = words.first()
        && let Some(bar) = room.checked_sub(columns(first) + 1).filter(|bar| *bar >= BAR.1)
    {
        return format!("{} {first}", drawn_bar(share, bar.min(BAR.0)));
    }
    if let Some(fits) = words.iter().find(|text| columns(text) <= room) {
        return fits.clone();
    }
    let mut cut = String::new();
    for sign in shortest.chars() {
        if columns(&cut) + columns(sign.encode_utf8(&mut [0; 4])) + 1 > room {
            break;
        }
        cut.push(sign);
    }
    if room > 0 {
        cut.push('…');
    }
    cut
}

/// A bar of `width` columns, `share` of them full.
fn drawn_bar(share: f64, width: usize) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the width")]
    let full = (share.clamp(0.0, 1.0) * width as f64) as usize;
    let head = usize::from(full < width);
    format!("{}{}{}", "━".repeat(full), "╸".repeat(head), " ".repeat(width - full - head))
}

/// What is being done, from all of it to the least.
fn words(progress: &Progress) -> Vec<String> {
    let stage = progress.stage.name();
    let mut full = stage.to_owned();
    let mut short = full.clone();
    if let Some(row) = &progress.row {
        full = format!("{full} {row} (row {} of {})", progress.rows.0 + 1, progress.rows.1);
        short = format!("{short} {row}");
    }
    let brief = short.clone();
    if progress.trials > 0 {
        full = format!("{full}, {}", text::count(progress.trials, "trial"));
    }
    if let Some(left) = progress.left {
        let left = left.get().ceil();
        full = format!("{full}, {left:.0} s left at most");
        short = format!("{short}, {left:.0} s left");
    }
    vec![full, short, brief, stage.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            stage: Stage::Measure,
            row: Some("pp512".into()),
            rows: (0, 2),
            trials: 3,
            left: Some(Seconds::new(41.2)),
        }
    }

    #[test]
    fn the_message_says_phase_row_and_time_left() {
        assert_eq!(words(&progress())[0], "measuring pp512 (row 1 of 2), 3 trials, 42 s left at most");
    }

    #[test]
    fn loading_says_how_long_it_still_takes() {
        assert_eq!(loading_words(0.01, Seconds::new(3.0)), ["loading the model, 1%"]);
        let [full, short] = &loading_words(0.25, Seconds::new(5.0))[..] else { panic!("two forms") };
        assert_eq!(
            (full.as_str(), short.as_str()),
            ("loading the model, 25%, 15 s left", "loading the model, 25%")
        );
    }

    #[test]
    fn a_narrow_terminal_gets_fewer_words() {
        let words = words(&progress());
        let line = |room| fitted(0.5, &words, room);
        let full = "measuring pp512 (row 1 of 2), 3 trials, 42 s left at most";
        assert_eq!(line(120), format!("{}╸{} {full}", "━".repeat(12), " ".repeat(11)));
        assert_eq!(line(full.len() + 9), format!("━━━━╸    {full}"));
        assert_eq!(line(full.len() + 8), full);
        assert_eq!(line(39), "measuring pp512, 42 s left");
        assert_eq!(line(19), "measuring pp512");
        assert_eq!(line(12), "measuring");
        assert_eq!(line(5), "meas…");
        assert_eq!(line(0), "");
    }

    #[test]
    fn no_line_is_wider_than_its_terminal() {
        let fetch = Fetch {
            file: "模型-an-unusually-long-name-of-a-file-with-many-parts-Q4_K_M-00001.gguf".into(),
            total: Bytes::new(123 << 30),
            already: Bytes::new(0),
            came: Bytes::new(45 << 30),
            since: Tick::from_nanos(0),
        };
        let now = Tick::from_nanos(1_000_000_000_000);
        let fetched = Shown { fetch: Some(fetch), ..Shown::default() };
        let said = Shown { words: words(&progress()), ..Shown::default() };
        for room in 0..200 {
            for shown in [&fetched, &said] {
                let line = shown.line(room, now);
                assert!(columns(&line) <= room, "{room}: {line}");
            }
        }
        assert_eq!(fetched.line(18, now), "45.0 GiB/123 GiB");
        assert_eq!(fetched.line(9, now), "37%");
    }
}
