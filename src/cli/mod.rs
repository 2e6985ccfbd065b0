//! The command line: one thin file per subcommand, `args` its root, `values` how values are written, `exit` from
//! error to code.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this room and report talk to the user")]

mod args;
mod catalog;
mod compare;
mod cost;
mod destination;
mod doctor;
mod exit;
mod export;
mod forecast;
mod habits;
mod hour;
mod import;
mod kernels;
#[cfg(test)]
mod one_verdict;
mod quality;
mod regress;
mod run;
mod values;
mod wrong;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::base::failure::Usage;
use crate::base::{env, exhausted, redact};
use crate::report::terminal::{Bar, Style};
use crate::{catalog as rows, record};

use args::{Cli, Color, Command, OutputArgs};
use values::Form;

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    exhausted::install();
    let argv: Vec<OsString> = std::env::args_os().collect();
    let words = match habits::translate(&argv) {
        Ok(words) => words,
        Err(said) => return misread(&said),
    };
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(said) = wrong::explained(&error, &argv) {
                return misread(&said);
            }
            // clap's own code for usage errors is 2, the contract's as well; help and version are 0.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let said = error.render().to_string();
            let printed = match redact::text(&said) {
                std::borrow::Cow::Owned(without) if error.use_stderr() => write!(io::stderr(), "{without}"),
                _ => error.print(),
            };
            return match printed {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    let output = Output::new(&cli.output);
    match dispatch(cli, &output, &argv) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.downcast_ref::<exit::Silent>().is_none() {
                output.failed(&error, |text| habits::as_typed(text, &argv));
            }
            ExitCode::from(exit::code(&error))
        }
    }
}

/// The command line is wrong: says how.
fn misread(said: &str) -> ExitCode {
    let style = Style::new(io::stderr().is_terminal() && !env::no_color());
    eprintln!("{} {}", style.bad("error:"), redact::text(said));
    ExitCode::from(2)
}

fn dispatch(cli: Cli, output: &Output, argv: &[OsString]) -> anyhow::Result<()> {
    let catalog = || rows::Catalog::load(cli.output.config.as_deref());
    match cli.command {
        Command::Run(args) => run::run(*args, &catalog, output, argv),
        Command::Compare(args) => compare::run(&args, &catalog()?, output),
        Command::Cost(args) => cost::run(&args, &catalog()?, output),
        Command::Doctor(args) => doctor::run(args, output),
        Command::Kernels(args) => kernels::run(&args, &catalog, output),
        Command::Forecast(args) => forecast::run(&args, &catalog()?, output),
        Command::Quality(args) => quality::run(&args, &catalog, output, argv),
        Command::Export(args) => export::run(&args, output),
        Command::Import(args) => import::run(&args, &catalog()?, output, argv),
        Command::Catalog(args) => catalog::run(&args, cli.output.config.as_deref(), output),
        Command::Regress(args) => regress::run(*args, &catalog, output, argv),
        Command::Schema => output.stdout(&(record::write::to_json(&record::json_schema())? + "\n")),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bench", &mut script);
            output.stdout(&String::from_utf8_lossy(&script))
        }
    }
}

/// The command line as typed, without the secrets in it.
fn typed(argv: &[OsString]) -> Vec<String> {
    redact::words(&argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>())
}

/// A flag's value is wrong whatever the machine.
fn usage(flag: &str, reason: &str) -> anyhow::Error {
    Usage::new(flag, reason).into()
}

/// Where human and machine output go.
#[derive(Debug, Clone)]
pub(super) struct Output {
    json: bool,
    quiet: bool,
    verbose: u8,
    color: Color,
}

impl Output {
    fn new(args: &OutputArgs) -> Self {
        Self { json: args.json, quiet: args.quiet, verbose: args.verbose, color: args.color }
    }

    /// The same for a view that was asked for in this form.
    ///
    /// # Errors
    /// When `--json` asks for another one.
    fn in_form(&self, form: Option<Form>) -> anyhow::Result<Self> {
        if self.json && form == Some(Form::Md) {
            return Err(usage("-o md", "it conflicts with --json; give only one of them"));
        }
        Ok(Self { json: self.json || form == Some(Form::Json), ..self.clone() })
    }

    fn style(&self, terminal: bool) -> Style {
        Style::new(match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !env::no_color(),
        })
    }

    /// The style of human output.
    fn human_style(&self) -> Style {
        self.style(if self.json { io::stderr().is_terminal() } else { io::stdout().is_terminal() })
    }

    /// What shows how far a run is: a bar on a terminal, lines in a log.
    fn bar(&self) -> Bar {
        if self.quiet || io::stderr().is_terminal() { Bar::new(self.progress()) } else { Bar::for_a_log() }
    }

    /// Whether a bar can be shown.
    fn progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Text for people: stdout, or stderr when stdout is for a machine.
    ///
    /// # Errors
    /// When stdout is full or closed for another reason than a reader that has had enough.
    fn human(&self, text: &str) -> anyhow::Result<()> {
        let text = &redact::text(text);
        if self.json {
            eprint!("{text}");
            return Ok(());
        }
        self.stdout(text)
    }

    /// A remark on the way, never in the machine's stream.
    fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{}", redact::text(text));
        }
    }

    /// Text for a program, or for people who read stdout.
    ///
    /// # Errors
    /// When stdout cannot be written; a closed pipe is none, the reader has had enough.
    #[allow(clippy::unused_self, reason = "one door for all output")]
    fn stdout(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other.map_err(|source| record::Error::Write { path: "stdout".into(), source })?),
        }
    }

    /// A value for a machine, as it is written: it may be too large to be a text first.
    ///
    /// # Errors
    /// As [`Output::stdout`].
    #[allow(clippy::unused_self, reason = "one door for all output")]
    fn stdout_json(&self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let mut stdout = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let written = serde_json::to_writer_pretty(&mut stdout, value).map_err(io::Error::from);
        match written.and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other.map_err(|source| record::Error::Write { path: "stdout".into(), source })?),
        }
    }

    /// Prints an error, its flags as `as_typed` names them.
    fn failed(&self, error: &anyhow::Error, as_typed: impl Fn(String) -> String) {
        let style = self.style(io::stderr().is_terminal());
        let mut text = error.to_string();
        // Many a message names its cause already.
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        eprintln!("{} {}", style.bad("error:"), redact::text(&as_typed(text)));
    }
}
