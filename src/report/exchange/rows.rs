//! Streams another tool's file as rows: JSON, JSONL, CSV or SQL.
//!
//! Only one row is held at a time, so memory is bounded by what a record keeps of the file and not by the file. Log lines
//! around and between the rows are skipped and counted (`noise`).

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::base::text;
use crate::catalog::update;

use super::fields::Row;
use super::json::{Limits, Node, Parser, Source, Stop, shown};
use super::lines::{Skipped, io_error};
use super::noise::{self, Start};
use super::prefix::Unprefixed;
use super::table::{self, Csv};
use super::{Error, detect};

/// Rows examined in advance to detect the tool.
const AHEAD: usize = 64;
/// Bytes of the file after which no further row is examined in advance.
const AHEAD_BYTES: u64 = 4 << 20;
/// Bytes of a line examined to classify it.
const LOOK: usize = 64 << 10;

const LIMITS: Limits =
    Limits { text: 4 << 10, list: 8 << 10, tree: 256 << 20, numbers: 1 << 27, tables: true };

/// The rows of a file.
pub(super) struct Rows<'a> {
    path: &'a Path,
    parser: Parser<Unprefixed<Input<'a>>>,
    form: Form,
    ahead: VecDeque<Row>,
    ended: bool,
    skipped: Skipped,
}

/// What is known after reading all rows.
#[derive(Debug)]
pub(super) struct Finished {
    /// `json`, `jsonl`, `csv` or `sql`.
    pub(super) form: &'static str,
    /// sha256 of the whole file.
    pub(super) sha256: String,
    pub(super) skipped: Skipped,
}

#[derive(Debug)]
enum Form {
    Json {
        /// The next row's index within a list, and whether a comma is expected.
        list: Option<(usize, bool)>,
        /// Values so far.
        values: usize,
    },
    Csv(Csv),
    Sql,
}

/// A file that is measured and hashed while it is read.
struct Input<'a> {
    file: Box<dyn Read + 'a>,
    hash: Sha256,
    bytes: u64,
    most: u64,
}

impl Read for Input<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.hash.update(&into[..count]);
        self.bytes += count as u64;
        if self.bytes > self.most {
            let reason = format!(
                "it is larger than {} GiB; import the summary instead of the per-request data",
                self.most >> 30
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        Ok(count)
    }
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Input").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<'a> Rows<'a> {
    /// Opens a file and reads its first rows.
    pub(super) fn open(path: &'a Path, file: impl Read + 'a, most: u64) -> Result<Self, Error> {
        let input = Input { file: Box::new(file), hash: Sha256::new(), bytes: 0, most };
        let mut rows = Self {
            path,
            parser: Parser::new(Source::new(Unprefixed::new(input)), LIMITS),
            form: Form::Json { list: None, values: 0 },
            ahead: VecDeque::new(),
            ended: false,
            skipped: Skipped::default(),
        };
        rows.form = rows.find_form()?;
        while rows.ahead.len() < 2
            || (rows.ahead.len() < AHEAD && rows.parser.source().reader().inner().bytes < AHEAD_BYTES)
        {
            match rows.read() {
                Ok(Some(row)) => rows.ahead.push_back(row),
                Ok(None) => {
                    rows.ended = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if rows.ahead.is_empty() {
            return Err(rows.nothing());
        }
        if let (true, Form::Json { values: 1, .. }, [row]) =
            (rows.ended, &rows.form, rows.ahead.make_contiguous())
            && row.place.starts_with("line")
        {
            row.place.clear();
        }
        Ok(rows)
    }

    /// The first rows, at least one.
    pub(super) fn first(&mut self) -> &[Row] {
        self.ahead.make_contiguous()
    }

    /// What is known after reading all rows.
    ///
    /// # Errors
    /// If one of the remaining rows is invalid.
    pub(super) fn finish(mut self) -> Result<Finished, Error> {
        for row in self.by_ref() {
            row?;
        }
        let form = match self.form {
            Form::Json { values, .. } if values > 1 => "jsonl",
            Form::Json { .. } => "json",
            Form::Csv(_) => "csv",
            Form::Sql => "sql",
        };
        let reader = self.parser.source().reader();
        self.skipped.prefix = reader.prefix().map(shown);
        let hash = reader.inner().hash.clone().finalize();
        let sha256 = hash.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Ok(Finished { form, sha256, skipped: self.skipped })
    }

    /// Skips lines until a known form begins.
    fn find_form(&mut self) -> Result<Form, Error> {
        if let Some(reason) = self.source(|source| source.ahead(16).map(other_file))? {
            return Err(Error::Refused { path: self.path.to_owned(), reason });
        }
        let (mut open, mut headless) = (0, None);
        loop {
            self.source(Source::blank_around)?;
            if self.source(Source::peek)?.is_none() {
                return Err(self.nothing());
            }
            if self.start()? != Start::Noise {
                let Some(line) = headless else { return Ok(Form::Json { list: None, values: 0 }) };
                let reason = "it begins in the middle of JSON; is its beginning missing?".to_owned();
                return Err(Error::Syntax { path: self.path.to_owned(), line: Some(line), reason });
            }
            let (line, _) =
                self.parser.source().line_ahead(LOOK).map_err(|error| io_error(self.path, error))?;
            let line = String::from_utf8_lossy(line).into_owned();
            if table::is_markdown(&line) {
                return Err(Error::Refused {
                    path: self.path.to_owned(),
                    reason: table::MARKDOWN.to_owned(),
                });
            }
            if table::starts_statement(&line) {
                return Ok(Form::Sql);
            }
            if table::is_header(&line) {
                return Ok(Form::Csv(Csv::new(self.path, self.parser.source())?));
            }
            open += noise::opened(&line);
            // A log may print a value, whose brackets are balanced.
            if open < 0 || (self.skipped.lines == 0 && noise::headless(&line)) {
                headless = headless.or(Some(self.parser.source().line()));
            }
            self.pass_line()?;
        }
    }

    /// The next row; `None` at the end of the file.
    fn read(&mut self) -> Result<Option<Row>, Error> {
        match &mut self.form {
            Form::Csv(csv) => csv.row(self.path, self.parser.source(), &mut self.skipped),
            Form::Sql => table::sql_row(self.path, self.parser.source()),
            Form::Json { list: None, .. } => self.value(),
            Form::Json { list: Some((index, due)), .. } => {
                let (index, due) = (*index, *due);
                self.element(index, due)
            }
        }
    }

    /// The next row outside of a list.
    fn value(&mut self) -> Result<Option<Row>, Error> {
        loop {
            self.source(Source::blank_around)?;
            if self.source(Source::peek)?.is_none() {
                return Ok(None);
            }
            let start = self.start()?;
            let line = self.parser.source().line();
            match start {
                Start::Object => {}
                Start::List => {
                    self.parser.source().advance(1);
                    self.form = Form::Json { list: Some((0, false)), values: self.values() + 1 };
                    if let Some(row) = self.element(0, false)? {
                        return Ok(Some(row));
                    }
                    continue;
                }
                Start::Noise => {
                    self.pass_line()?;
                    continue;
                }
            }
            if self.is_broken_object()? {
                self.pass_line()?;
                continue;
            }
            let node = self.parser.value().map_err(|stop| stopped(self.path, stop))?;
            let Node::Object(fields) = node else { continue };
            if noise::logged(&fields) || (self.skipped.lines > 0 && noise::unfamiliar(&fields)) {
                self.skipped.take(b"an object");
                continue;
            }
            self.form = Form::Json { list: None, values: self.values() + 1 };
            return Ok(Some(Row { place: format!("line {line}"), quoted: false, fields }));
        }
    }

    /// The next row of a list; at its end the next one after it.
    fn element(&mut self, index: usize, mut due: bool) -> Result<Option<Row>, Error> {
        loop {
            let line = self.parser.source().line();
            self.source(Source::blank)?;
            let same_line = self.parser.source().line() == line;
            match self.source(Source::peek)? {
                None => return Err(stopped(self.path, self.parser.cut())),
                Some(b']') => {
                    self.parser.source().advance(1);
                    self.form = Form::Json { list: None, values: self.values() };
                    return self.value();
                }
                Some(b',') if due => {
                    self.parser.source().advance(1);
                    due = false;
                    continue;
                }
                Some(_) => {}
            }
            if self.start()? == Start::Object && !self.is_broken_object()? {
                if due {
                    let reason = format!("it is not JSON (expected `,` or `]` before row {})", index + 1);
                    return Err(stopped(self.path, self.parser.broken(reason)));
                }
                let node = self.parser.value().map_err(|stop| stopped(self.path, stop))?;
                let Node::Object(fields) = node else { continue };
                if noise::logged(&fields) {
                    self.skipped.take(b"an object");
                    continue;
                }
                self.form = Form::Json { list: Some((index + 1, true)), values: self.values() };
                return Ok(Some(Row { place: format!("row {}", index + 1), quoted: false, fields }));
            }
            let (line, _) =
                self.parser.source().line_ahead(LOOK).map_err(|error| io_error(self.path, error))?;
            if !due && (same_line || noise::other_element(line)) {
                return Err(detect::unrecognised(self.path, format!("row {} is not an object", index + 1)));
            }
            self.pass_line()?;
        }
    }

    fn values(&self) -> usize {
        if let Form::Json { values, .. } = self.form { values } else { 0 }
    }

    fn start(&mut self) -> Result<Start, Error> {
        let ahead = self.parser.source().ahead(LOOK).map_err(|error| io_error(self.path, error))?;
        Ok(noise::start(&ahead[..ahead.len().min(LOOK)]))
    }

    fn is_broken_object(&mut self) -> Result<bool, Error> {
        let (line, whole) =
            self.parser.source().line_ahead(LOOK).map_err(|error| io_error(self.path, error))?;
        Ok(whole && line.len() <= LOOK && noise::broken_object(line))
    }

    fn pass_line(&mut self) -> Result<(), Error> {
        let (line, _) = self.parser.source().line_ahead(LOOK).map_err(|error| io_error(self.path, error))?;
        let line = &line[..line.len().min(LOOK)];
        let row = noise::row_within(line);
        self.skipped.take(&line[..row.unwrap_or(line.len())]);
        match row {
            Some(at) => {
                self.parser.source().advance(at);
                Ok(())
            }
            None => self.source(Source::skip_line),
        }
    }

    fn source<T>(
        &mut self,
        ask: impl FnOnce(&mut Source<Unprefixed<Input<'a>>>) -> io::Result<T>,
    ) -> Result<T, Error> {
        ask(self.parser.source()).map_err(|error| io_error(self.path, error))
    }

    /// The error that the file has no rows.
    fn nothing(&self) -> Error {
        detect::unrecognised(
            self.path,
            match &self.skipped.first {
                _ if !matches!(self.form, Form::Json { values: 0, .. }) => "it has no rows".to_owned(),
                None => "the file is empty".to_owned(),
                Some(first) if update::csv_of(first).is_some() => {
                    return Error::Refused { path: self.path.to_owned(), reason: detect::PRICES.to_owned() };
                }
                Some(first) if first == "an object" => "it contains only log output".to_owned(),
                Some(first) => format!("it begins with `{}`, which matches no known format", shown(first)),
            },
        )
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.ahead.pop_front() {
            return Some(Ok(row));
        }
        if self.ended {
            return None;
        }
        let row = self.read().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

/// Recognizes files that are not benchmark results, and says what to do.
fn other_file(begin: &[u8]) -> Option<String> {
    if let Some((kind, how)) = text::compression(begin) {
        return Some(format!("it is compressed ({kind}); unpack it first: {how}"));
    }
    let kinds: [(&[u8], &str); 3] = [
        (b"GGUF", "it is a model; measure it with `bench run --model FILE`"),
        (b"SQLite format 3", "it is an SQLite database; export its rows as JSON or CSV"),
        (b"PAR1", "it is a Parquet file; export its rows as JSON or CSV"),
    ];
    kinds.iter().find(|(mark, _)| begin.starts_with(mark)).map(|(_, reason)| (*reason).to_owned())
}

/// Converts the error that stopped reading.
fn stopped(path: &Path, stop: Stop) -> Error {
    match stop {
        Stop::Io(error) => io_error(path, error),
        Stop::Broken(broken) => {
            Error::Syntax { path: path.to_owned(), line: Some(broken.line), reason: broken.reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"n_prompt": 1, "n_gen": 0, "avg_ns": 1}"#;

    /// Form, places of the rows, number of skipped lines.
    fn read(bytes: &[u8]) -> Result<(&'static str, Vec<String>, u64), String> {
        let path = Path::new("f");
        let mut rows = Rows::open(path, bytes, 1 << 20).map_err(|error| error.to_string())?;
        let mut places = Vec::new();
        for row in rows.by_ref() {
            let row = row.map_err(|error| error.to_string())?;
            assert_eq!(row.fields.len(), 3);
            places.push(row.place);
        }
        let finished = rows.finish().map_err(|error| error.to_string())?;
        let digest = Sha256::digest(bytes);
        let digest: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(finished.sha256, digest.concat());
        Ok((finished.form, places, finished.skipped.lines))
    }

    fn found(text: &str) -> (&'static str, Vec<String>, u64) {
        read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn places(places: &[&str]) -> Vec<String> {
        places.iter().map(|place| (*place).to_owned()).collect()
    }

    #[test]
    fn a_log_before_between_and_after_the_rows_is_skipped() {
        let one =
            found(&format!("[INFO] loading\n[2026-01-01 10:00] x\n{{not json}}\n{ROW}\nllama_perf: done\n"));
        assert_eq!(one, ("json", places(&[""]), 4));
        let lines =
            found(&format!("{{'a': 1}}\n{ROW}\n[1/2] next\n{ROW}llama_perf: 5 ms\n{{\"x\": y}}\n{ROW}"));
        assert_eq!(lines, ("jsonl", places(&["line 2", "line 4", "line 6"]), 4));
        // llama-bench opens its list before it measures, and closes each row without a line's end.
        let list =
            found(&format!("ggml: x\n[\nload: [1, 2]\n  {ROW}llama_perf: x\n  load: y\n,\n  {ROW}\n]\nbye"));
        assert_eq!(list, ("json", places(&["row 1", "row 2"]), 5));
        // A row after log output on the same line, or after a time stamp.
        let after_log = found(&format!(
            "load: {{\"a\": 1}} {ROW}\n2026-01-01T00:00:00Z {ROW}\n[INFO] {{\"completed\": 5}}\n"
        ));
        assert_eq!(after_log, ("jsonl", places(&["line 1", "line 2"]), 4));
        let structured = found(&format!(
            "{{\"level\": \"INFO\", \"message\": \"{{}}\"}}\n{ROW}\n{{\"lvl\":\"i\",\"msg\":\"x\"}}"
        ));
        assert_eq!(structured, ("json", places(&[""]), 2));
        // Each line of a value after a task's number, and the job's own line before it.
        let pretty = ROW.replace(", ", ",\n  ");
        let list = format!("[\n{pretty},\n{pretty}\n]");
        let task = list.lines().fold(String::new(), |all, line| all + "0: " + line + "\n");
        assert_eq!(found(&task), ("json", places(&["row 1", "row 2"]), 0));
        assert_eq!(found(&format!("srun: queued\n{task}")), ("json", places(&["row 1", "row 2"]), 1));
        // A model's configuration, as a library logs it.
        let config = found(&format!(
            "config LlamaConfig {{\n  \"a\": [\n    1\n  ],\n  \"b\": [\n {{\n \"c\": 1\n }}\n ]\n}}\n{ROW}"
        ));
        assert_eq!((config.0, config.1), ("json", places(&[""])));
        assert_eq!(found("WARN a, b\nbuild,n_prompt,n_gen\n1,2,3\n\n").2, 1);
    }

    #[test]
    fn what_a_windows_shell_writes_is_read() {
        let text = format!("load: ok\r\n[\r\n  {ROW},\r\n  {ROW}\r\n]\r\n");
        let expected = ("json", places(&["row 1", "row 2"]), 1);
        assert_eq!(found(&text), expected);
        assert_eq!(found(&format!("\u{feff}{text}\u{1a}")), expected);
        for units in
            [text.encode_utf16().collect::<Vec<_>>(), format!("\u{feff}{text}").encode_utf16().collect()]
        {
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            assert_eq!(read(&little).as_ref(), Ok(&expected));
            assert_eq!(read(&big).as_ref(), Ok(&expected));
        }
        // Two files put together, each with its mark; a log in another code page.
        assert_eq!(found(&format!("\u{feff}{ROW}\n\u{feff}{ROW}")).1, places(&["line 1", "line 2"]));
        assert_eq!(read(&[b"50 \xb0C\n".as_slice(), ROW.as_bytes()].concat()).map(|found| found.2), Ok(1));
        assert_eq!(found(&format!("10%\r20%\r{ROW}\r")), ("json", places(&[""]), 2));
    }

    #[test]
    fn what_is_broken_stays_an_error() {
        for (text, expected) in [
            (format!("log\n{}", &ROW[..20]), "f:2: the file ends in the middle of a value, at `n_prompt`"),
            (format!("[\n{ROW},\n"), "f:3: the file ends in the middle"),
            (
                format!("{ROW}\n{}", ROW.replace("\"n_gen\": 0", "\"n_gen\": 0x")),
                "f:2: `n_gen`: `0x`: invalid number",
            ),
            (format!("{ROW}\n{}", ROW.replace(": 1,", ": 1")), "f:2: it is not JSON (expected `,` or `}`"),
            (format!("[{ROW} {ROW}]"), "f:1: it is not JSON (expected `,` or `]` before row 2)"),
            (format!("[{ROW}, 1]"), "f: row 2 is not an object"),
            (format!("  \"n_gen\": 0\n}},\n{ROW}\n]"), "f:1: it begins in the middle of JSON"),
            (format!("}}\n{ROW}"), "f:1: it begins in the middle of JSON"),
            (format!("  000.5,\n 1\n ]\n}},\n{ROW}"), "f:1: it begins in the middle of JSON"),
            (format!(" of a text\",\n \"n_gen\": 8\n}},\n{ROW}"), "f:3: it begins in the middle of JSON"),
        ] {
            let message = read(text.as_bytes()).expect_err(&text);
            assert!(message.starts_with(expected), "{text}: {message}");
        }
        // Wherever it is cut, also within a number or a word.
        let row = ROW.replace(": 0", ": -0.5e-3, \"t\": true").replace(": 1}", ": \"\\u00e9\"}");
        for whole in [format!("[{row}, {row}]"), row.clone()] {
            for cut in 1..whole.len() {
                let message = read(&whole.as_bytes()[..cut]).expect_err(&whole[..cut]);
                assert!(
                    message.starts_with("f:1: the file ends in the middle"),
                    "{}: {message}",
                    &whole[..cut]
                );
            }
        }
        for (bytes, expected) in [
            (&b"\x1f\x8b\x08\x00"[..], "f: it is compressed (gzip); unpack it first: gunzip -k FILE"),
            (b"PK\x03\x04", "f: it is compressed (zip)"),
            (b"GGUF\x03", "f: it is a model; measure it with `bench run --model FILE`"),
            (b"InstanceType,vCPUs,AcceleratorName,AcceleratorCount,Price\n", "f: it is a price file"),
        ] {
            let message = read(bytes).expect_err("another file");
            assert!(message.starts_with(expected), "{message}");
        }
        let message = read(&vec![b'x'; (1 << 20) + 1]).expect_err("too large");
        assert!(message.contains("larger than"), "{message}");
    }
}
