//! The root of the command line: the commands, and the flags that all of them take. Each command has its own flags; how their
//! values are written is in `values`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// What does a million tokens of this model cost here, and is that cheaper than buying them?
#[derive(Debug, Parser)]
#[command(name = "bench", version, about, long_about = None, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// How to say it. In a help text they come after the command's own flags.
#[derive(Debug, Clone, Args)]
pub(super) struct OutputArgs {
    /// Print only JSON on stdout; human output goes to stderr
    #[arg(long, global = true, display_order = 900)]
    pub(super) json: bool,
    /// Say less: no progress, no notes
    #[arg(short, long, global = true, display_order = 901)]
    pub(super) quiet: bool,
    /// Say more
    #[arg(short, long, global = true, display_order = 902, action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// Colours
    #[arg(long, global = true, display_order = 903, value_enum, default_value_t = Color::Auto)]
    pub(super) color: Color,
    /// Folder with your own catalog files (gpus.toml, models.toml, prices/*.toml); overrides the one in the
    /// XDG config folder
    #[arg(long, global = true, display_order = 904, value_name = "DIR")]
    pub(super) config: Option<PathBuf>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure a model on this machine or a server, write a record, print what it costs
    Run(Box<super::run::flags::RunArgs>),
    /// Compare a record with API prices, or records with each other
    Compare(Box<super::compare::CompareArgs>),
    /// Price records again: other rents, utilization, owned hardware, margins, targets
    Cost(Box<super::cost::CostArgs>),
    /// Score a text: perplexity, KL divergence and top-1 agreement with a reference
    Quality(Box<super::quality::QualityArgs>),
    /// Check what this machine can do, and how to fix the rest
    Doctor(super::doctor::DoctorArgs),
    /// Compile the GPU kernels without a GPU, or check what they compute on one
    Kernels(super::kernels::KernelsArgs),
    /// How fast prices of a class of models fall, and when a use case pays off
    Forecast(Box<super::forecast::ForecastArgs>),
    /// Write records in another tool's format: llama-bench's rows, vLLM's keys
    Export(super::export::ExportArgs),
    /// Import another tool's results as a record: llama-bench, vLLM, SGLang, guidellm, AIPerf …
    Import(super::import::ImportArgs),
    /// List and show GPUs, models and prices, each with its source
    Catalog(super::catalog::CatalogArgs),
    /// Detect performance regressions: gate, check, history
    Regress(Box<super::regress::RegressArgs>),
    /// Print the JSON Schema of a record
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
