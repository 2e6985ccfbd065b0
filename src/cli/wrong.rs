//! Explains a wrong command line in one sentence: what is wrong, the value, what would be right.
//!
//! clap finds the fault; its own words ("unexpected argument", "invalid value … for `'<N>'`", "is not in 1..=65535") speak
//! of the parser and not of the program.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::Path;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _};

use super::args::Cli;
use crate::base::text::shown;

/// Global flags whose next word is their value.
const WITH_VALUE: [&str; 2] = ["--color", "--config"];

/// Words that are no command of ours, and what was meant.
const MEANT: &[(&[&str], &str)] = &[
    (
        &["bench", "benchmark", "measure", "test", "start", "latency", "throughput", "perf"],
        "`bench run` measures a model",
    ),
    (&["serve", "server"], "for a server: `bench run --url http://localhost:8000 --gpu h100`"),
    (
        &["gpus", "gpu", "models", "classes", "update", "show"],
        "the catalog has it: `bench catalog gpus`, `models`, `prices`, `show ID`",
    ),
    (
        &["prices", "price", "rent", "rents"],
        "`bench catalog prices --gpu h100` lists rents, `bench cost RECORD` prices a record",
    ),
    (
        &["gate", "check", "history", "criterion", "regression"],
        "`bench regress gate`, `bench regress check` and `bench regress history` look for a slowdown",
    ),
    (
        &["report", "html"],
        "`bench regress history DIR --html FILE` draws a history; `bench cost RECORD` shows one record",
    ),
    (
        &["list", "ls", "results", "records"],
        "records are files under results/: `bench cost results/` shows them",
    ),
    (&["diff"], "`bench compare A B` compares two records"),
    (&["perplexity", "ppl", "eval"], "`bench quality --model MODEL --text FILE` scores a text"),
    (&["version"], "`bench --version` prints it"),
];

/// Flags that are not ours, where they are typed, and what was meant; an empty command is any that has the flag.
const MEANT_FLAGS: &[(&[&str], &str, &str, &str)] = &[
    (
        &[
            "--price",
            "--rent",
            "--hourly",
            "--hourly-price",
            "--usd-per-hour",
            "--cost-per-hour",
            "--gpu-price",
        ],
        "",
        "price-per-hour",
        "the rent is --price-per-hour USD",
    ),
    (
        &["--tokens-per-month", "--monthly-tokens"],
        "bench cost",
        "input-per-month",
        "monthly tokens are --input-per-month N --output-per-month N; `bench compare` also takes --tokens-per-month with --mix",
    ),
];

/// Position of the command among the words: the first that is neither a flag nor a flag's value.
pub(super) fn command_at(argv: &[OsString]) -> Option<usize> {
    let mut value = false;
    for (index, word) in argv.iter().enumerate().skip(1) {
        let text = word.to_str().unwrap_or_default();
        if std::mem::take(&mut value) {
            continue;
        }
        if !text.starts_with('-') {
            return Some(index);
        }
        value = WITH_VALUE.contains(&text);
    }
    None
}

/// What is wrong, in one sentence; `None` where clap's own text is the answer: help, and the version.
pub(super) fn explained(error: &clap::Error, argv: &[OsString]) -> Option<String> {
    let cli = Cli::command();
    let (path, command) = commands(&cli, argv);
    let text = |kind| error.get(kind).map(value_text).unwrap_or_default();
    let argument = text(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue);
    Some(match error.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with('-') => surplus(&path, &argument),
        ErrorKind::UnknownArgument if let Some(meant) = meant_flag(command, &path, &argument) => {
            format!("unknown flag {argument} for `{path}`; {meant}")
        }
        ErrorKind::UnknownArgument => {
            let flags = command.get_arguments().chain(cli.get_arguments()).filter_map(clap::Arg::get_long);
            let near = nearest(argument.trim_start_matches('-'), flags).map(|near| format!("--{near}"));
            let near = near.unwrap_or_else(|| text(ContextKind::SuggestedArg));
            unknown_flag(&cli, &path, &typed(argv, &argument), &near)
        }
        ErrorKind::InvalidSubcommand => {
            // Behind `help` stand the commands themselves.
            let (path, command) =
                if path == "bench help" { ("bench".to_owned(), &cli) } else { (path, command) };
            unknown_command(command, &path, &text(ContextKind::InvalidSubcommand))
        }
        ErrorKind::MissingSubcommand => format!("`{path}` needs a command: {}", names(command)),
        ErrorKind::InvalidValue if value.is_empty() => match text(ContextKind::ValidValue) {
            none if none.is_empty() => {
                let value = argument.split(['<', '>']).nth(1);
                format!(
                    "{} needs a value{}",
                    name(&argument),
                    value.map_or(String::new(), |value| format!(": {value}"))
                )
            }
            supported => format!("{} needs a value: {supported}", name(&argument)),
        },
        ErrorKind::InvalidValue => {
            let near = text(ContextKind::SuggestedValue);
            let near = if near.is_empty() { near } else { format!("; did you mean `{near}`?") };
            let supported = text(ContextKind::ValidValue);
            let (name, value) = (name(&argument), shown(&value));
            if name.starts_with('-') {
                format!("{name} {value}: unknown; supported: {supported}{near}")
            } else {
                format!("unknown {} `{value}`; supported: {supported}{near}", name.to_lowercase())
            }
        }
        ErrorKind::ValueValidation => {
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            wrong_value(&name(&argument), &value, &source)
        }
        ErrorKind::MissingRequiredArgument => missing(&path, &argument),
        ErrorKind::ArgumentConflict => conflict(&path, &name(&argument), &text(ContextKind::PriorArg)),
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("{} needs {} values", name(&argument), expected(error))
        }
        ErrorKind::TooManyValues => format!("{} {}: one value too many", name(&argument), shown(&value)),
        ErrorKind::NoEquals => {
            format!("{0} takes its value after an equals sign: {0}=VALUE", name(&argument))
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8 text, and here it must be".to_owned(),
        _ => return None,
    })
}

fn value_text(value: &ContextValue) -> String {
    let plain = |styled: &StyledStr| styled.to_string();
    match value {
        ContextValue::StyledStrs(several) => several.iter().map(plain).collect::<Vec<_>>().join(", "),
        ContextValue::Strings(several) => several.join(", "),
        other => other.to_string(),
    }
}

/// The command that the words name, `bench catalog prices`, as far as they name one.
fn commands<'a>(cli: &'a Command, argv: &[OsString]) -> (String, &'a Command) {
    let (mut path, mut command) = ("bench".to_owned(), cli);
    let words = command_at(argv).map_or(&[][..], |at| &argv[at..]);
    for word in words {
        let Some(found) = word.to_str().and_then(|word| command.find_subcommand(word)) else {
            if word.to_str().is_some_and(|word| word.starts_with('-')) {
                continue;
            }
            break;
        };
        command = found;
        path = format!("{path} {}", found.get_name());
    }
    (path, command)
}

/// `--max-time <TIME>` is `--max-time`, `<RECORD>...` is `RECORD`.
fn name(argument: &str) -> String {
    let first = argument.split([' ', '=']).next().unwrap_or(argument);
    first.trim_end_matches("...").trim_matches(['<', '>', '[', ']']).to_owned()
}

/// The word that clap calls `-n`, as it was typed: `-ngl`.
fn typed(argv: &[OsString], argument: &str) -> String {
    let is_short = argument.len() == 2;
    let words = argv.iter().skip(1).filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    let whole = words.filter(|word| is_short && word.starts_with(argument)).map(str::to_owned).next();
    whole.unwrap_or_else(|| argument.to_owned())
}

fn surplus(path: &str, word: &str) -> String {
    let word = shown(word);
    if path == "bench run" || path == "bench quality" {
        return format!(
            "`{word}` is one too many: a run measures one model. For several: `for m in A.gguf B.gguf; do {path} -m $m; done`, then `bench compare`"
        );
    }
    format!("`{word}` is one too many for `{path}`; `{path} --help` says what it takes")
}

fn meant_flag(command: &Command, path: &str, flag: &str) -> Option<&'static str> {
    let has = |long: &str| command.get_arguments().any(|argument| argument.get_long() == Some(long));
    let found = MEANT_FLAGS
        .iter()
        .find(|(names, of, ours, _)| names.contains(&flag) && (of.is_empty() || path == *of) && has(ours));
    found.map(|(.., meant)| *meant)
}

fn unknown_flag(cli: &Command, path: &str, flag: &str, near: &str) -> String {
    let flag = &*shown(flag);
    let bare = flag.split('=').next().unwrap_or(flag);
    let at_top = path == "bench";
    let has = |command: &Command| {
        command.get_arguments().any(|argument| {
            let long = argument.get_long().is_some_and(|long| bare == format!("--{long}"));
            long || argument.get_short().is_some_and(|short| bare == format!("-{short}"))
        })
    };
    let of: Vec<String> = cli
        .get_subcommands()
        .filter(|found| has(found))
        .map(|found| format!("`bench {}`", found.get_name()))
        .collect();
    match of.as_slice() {
        // A single letter of another command is hardly ever what was meant.
        _ if !near.is_empty() && (!at_top || of.is_empty()) => {
            format!("unknown flag {flag} for `{path}`; did you mean {near}?")
        }
        [_, ..] if at_top && has(cli.find_subcommand("run").unwrap_or(cli)) => {
            format!("{flag} needs a command before it: `bench run {flag} …`")
        }
        [_, ..] if at_top => format!("{flag} needs a command before it: {}", of.join(" or ")),
        [_, ..] if bare.starts_with("--") => {
            format!("unknown flag {flag} for `{path}`; it is a flag of {}", listed(&of))
        }
        _ => format!("unknown flag {flag} for `{path}`; `{path} --help` lists its flags"),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[String]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        names => names.concat(),
    }
}

/// The name that differs from `word` by a typo: two characters at most.
fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = |name: &&str| strsim::damerau_levenshtein(word, name);
    names.min_by_key(far).filter(|name| far(name) <= 2.min(word.len() / 2))
}

fn unknown_command(command: &Command, path: &str, word: &str) -> String {
    let said = shown(word);
    let near = nearest(word, command.get_subcommands().map(Command::get_name));
    let has = |endings: &[&str]| {
        let extension = Path::new(word).extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| endings.iter().any(|ending| extension.eq_ignore_ascii_case(ending)))
    };
    let known = if path == "bench" { word } else { "" };
    let meant =
        MEANT.iter().find(|(words, _)| words.contains(&&*known.to_lowercase())).map(|(_, meant)| *meant);
    let hint = match meant {
        Some(meant) => meant.to_owned(),
        None if path != "bench" || near.is_some() => match near {
            Some(near) => format!("did you mean `{path} {near}`?"),
            None => format!("supported: {}", names(command)),
        },
        None if has(&["gguf", "safetensors"])
            || word.starts_with("hf:")
            || word.starts_with("synthetic:") =>
        {
            format!("to measure a model: `bench run {said}`")
        }
        None if has(&["json", "jsonl", "csv"]) => {
            format!(
                "`bench cost {said}` prices a record again, `bench import {said}` reads another tool's results"
            )
        }
        // An id of the catalog.
        None if word.contains([':', '-']) && word.contains(|sign: char| sign.is_ascii_digit()) => {
            format!("to measure a model: `bench run {said}`")
        }
        None => format!("supported: {}", names(command)),
    };
    format!("unknown command `{said}`; {hint}")
}

fn names(command: &Command) -> String {
    let shown = command.get_subcommands().filter(|found| !found.is_hide_set());
    shown.map(Command::get_name).collect::<Vec<_>>().join(", ")
}

fn wrong_value(name: &str, value: &str, source: &str) -> String {
    let reason = whole_number(value, source);
    let value = shown(value);
    // Some sentences begin with the value.
    if reason.contains(&format!("`{value}`")) {
        format!("{name}: {reason}")
    } else {
        format!("{name} {value}: {reason}")
    }
}

/// The messages of the standard library and of clap about numbers, in words.
fn whole_number(value: &str, source: &str) -> String {
    let range = source.strip_prefix(value).and_then(|rest| rest.strip_prefix(" is not in "));
    if let Some((from, to)) = range.and_then(|range| range.split_once("..")) {
        let to = to.trim_start_matches('=');
        // The largest number of its type is not a meaningful bound.
        let endless =
            to.parse::<i64>().map_or(true, |to| to == i64::from(u16::MAX) || to >= i64::from(u32::MAX));
        return if endless {
            format!("expected a whole number of at least {from}")
        } else {
            format!("expected a whole number from {from} to {to}")
        };
    }
    match source {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "expected a whole number".to_owned()
        }
        "number too large to fit in target type" => "the number is too large".to_owned(),
        "invalid float literal" | "cannot parse float from empty string" => "expected a number".to_owned(),
        other => other.to_owned(),
    }
}

fn missing(path: &str, arguments: &str) -> String {
    if path == "bench regress gate" {
        // clap would name only the last of three ways.
        return format!(
            "`{path}` needs two commands (--baseline-command CMD --candidate-command CMD), two servers (--baseline-url URL \
             --candidate-url URL) or two builds of bench (--baseline BENCH --candidate BENCH); `{path} --help` says more"
        );
    }
    let needed: Vec<String> =
        arguments.split(", ").map(|one| one.replace(['<', '>'], "").replace("...", "")).collect();
    format!("`{path}` needs {}; `{path} --help` says more", listed(&needed))
}

fn conflict(path: &str, argument: &str, prior: &str) -> String {
    let prior: Vec<String> = prior.split(", ").map(name).collect();
    match prior.as_slice() {
        [one] if one == argument && argument == "--model" => format!(
            "--model is given twice, and a record covers one model. For several: `for m in A.gguf B.gguf; do {path} -m $m; done`, then `bench compare`"
        ),
        [one] if one == argument => format!("{argument} is given twice; give it once"),
        [one] if argument == "MODEL" && one == "--model" || argument == "--model" && one == "MODEL" => {
            "the model is given twice, with --model and without; give it once".to_owned()
        }
        several => format!("{argument} cannot be used with {}; leave one out", listed(several)),
    }
}

fn expected(error: &clap::Error) -> String {
    let number = |kind| error.get(kind).map(ToString::to_string);
    number(ContextKind::ExpectedNumValues)
        .or_else(|| number(ContextKind::MinValues))
        .unwrap_or_else(|| "more".to_owned())
}
