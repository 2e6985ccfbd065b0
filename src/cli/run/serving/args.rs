//! Flags of a load, as typed. Their names are vLLM's where vLLM has one.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::base::units::Seconds;

use super::super::super::values::list::{List, list};
use super::super::super::values::share;
use super::super::super::values::time::time;

/// What the load is and how the server is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load, on the local engine or a server (--url)")]
pub(in crate::cli) struct ServingArgs {
    /// Measure the OpenAI-compatible server at this address (vLLM, SGLang, TensorRT-LLM, llama-server, a managed API)
    /// instead of an engine in this process: `http://localhost:8000`; /v1 is added if there is no path
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) url: Option<String>,
    /// Start this server, time its cold start, measure it and stop it: `--serve 'llama-server -m x.gguf --port
    /// 8080'`; it runs in a shell [default of --url: this machine and the command's --port]
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) serve: Option<String>,
    /// The model's name in requests [default: --model, or the only one that the server lists]
    #[arg(long, visible_alias = "served-model", value_name = "NAME")]
    pub(in crate::cli) served_model_name: Option<String>,
    /// Requests in flight, one row each: `1,8,32,128`; with --request-rate, a single limit [default: 1,8,32]
    #[arg(long, value_name = "N", value_parser = concurrency, allow_negative_numbers = true)]
    pub(in crate::cli) max_concurrency: Vec<List>,
    /// Requests per second, on a schedule that doesn't wait for answers, one row each: `0.5,1,2`
    #[arg(long, value_name = "R", value_parser = rates, allow_negative_numbers = true)]
    pub(in crate::cli) request_rate: Vec<Rates>,
    /// Shape of the Gamma distribution of the gaps between requests: 1 is Poisson, less is burstier, `inf` is constant
    /// [default: 1]
    #[arg(long, value_name = "SHAPE", value_parser = burstiness, allow_negative_numbers = true)]
    pub(in crate::cli) burstiness: Option<f64>,
    /// Requests per row; without --max-time, nothing else ends a row [default: 40 s a row]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub(in crate::cli) num_prompts: Option<u32>,
    /// Requests sent before measuring starts [default: as many as are in flight; with --request-rate, 15% of the time]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(in crate::cli) num_warmups: Option<u32>,
    /// Tokens of a prefix that all requests of a row share, so that the server's prefix cache hits, one row each:
    /// `0,1024` gives separate prices for input and cached input if the server reports cached tokens
    #[arg(long, value_name = "N", value_parser = list, allow_negative_numbers = true)]
    pub(in crate::cli) random_prefix_len: Vec<List>,
    /// Lengths uniformly distributed from L(1 − RATIO) to L(1 + RATIO), as in vLLM [default: 0]
    #[arg(long, value_name = "RATIO", value_parser = ratio, allow_negative_numbers = true)]
    pub(in crate::cli) random_range_ratio: Option<f64>,
    /// Lengths from a file with one object per line: `{"prompt_tokens": 512, "output_tokens": 128}`, or a trace with
    /// `input_length` and `output_length`
    #[arg(long, value_name = "FILE.jsonl")]
    pub(in crate::cli) lengths: Option<PathBuf>,
    /// Ask for full-length answers, ignoring the end-of-sequence token [default: if the server is known to support it]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(in crate::cli) ignore_eos: Option<bool>,
    /// Latency goals of a good request, in milliseconds: `ttft:2000,tpot:200,e2el:10000`
    #[arg(long, value_name = "GOAL:MS", value_parser = goal, value_delimiter = ',', num_args = 1..)]
    pub(in crate::cli) slo: Vec<Goal>,
    /// Find the highest request rate that keeps every --slo, and the price there: doubles the rate, then bisects
    /// between the highest that kept the goals and the lowest that missed them
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(in crate::cli) find: Option<Find>,
    /// Share of requests that must keep every --slo for --find max-rate [default: 90%]
    #[arg(long, value_name = "SHARE", value_parser = share::above_zero, allow_hyphen_values = true)]
    pub(in crate::cli) slo_share: Option<f64>,
    /// Seed of the prompts' text; a repeated one hits the server's prefix cache [default: random]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(in crate::cli) salt: Option<u64>,
    /// Use the chat completions API, with words as prompts [default: completions, with token ids]
    #[arg(long)]
    pub(in crate::cli) chat: bool,
    /// GPUs of the server, for the price; --price-per-hour is then per GPU
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), allow_negative_numbers = true)]
    pub(in crate::cli) gpus: Option<u32>,
    /// Header to send with every request; repeatable. Its value never appears in records or messages
    #[arg(long, value_name = "NAME: VALUE")]
    pub(in crate::cli) header: Vec<String>,
    /// File with the server's key
    #[arg(long, value_name = "FILE", conflicts_with = "api_key_env")]
    pub(in crate::cli) api_key_file: Option<PathBuf>,
    /// Environment variable with the server's key
    #[arg(long, value_name = "VARIABLE")]
    pub(in crate::cli) api_key_env: Option<String>,
    /// PEM file of certificate authorities to trust, instead of the public ones
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) cacert: Option<PathBuf>,
    /// Client threads; use more if the check `client_lag` says that one is not enough [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), allow_negative_numbers = true)]
    pub(in crate::cli) client_threads: Option<u32>,
    /// Longest wait for the first token, and between two tokens [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(in crate::cli) timeout: Option<Seconds>,
}

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Find {
    /// The highest rate that keeps the goals.
    MaxRate,
}

/// Rates; a type of its own, since clap gives `Vec` a meaning.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Rates(pub(in crate::cli) Vec<f64>);

/// A goal of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::cli) struct Goal {
    /// Of which time.
    pub(in crate::cli) name: GoalName,
    /// The most it may be.
    pub(in crate::cli) most: Seconds,
}

/// vLLM's names of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum GoalName {
    /// Time to first token.
    Ttft,
    /// Time per output token.
    Tpot,
    /// The whole request.
    E2el,
}

fn concurrency(text: &str) -> Result<List, String> {
    let list = list(text)?;
    if List::joined(std::slice::from_ref(&list)).contains(&0) {
        return Err("at least 1 request must be in flight".to_owned());
    }
    Ok(list)
}

fn rates(text: &str) -> Result<Rates, String> {
    let wrong = || "a rate is a number of requests a second above 0, such as `0.5`, or `inf`".to_owned();
    let one = |text: &str| text.trim().parse::<f64>().ok().filter(|rate| *rate > 0.0).ok_or_else(wrong);
    text.split(',').map(one).collect::<Result<_, _>>().map(Rates)
}

fn burstiness(text: &str) -> Result<f64, String> {
    let shape = text.trim().parse::<f64>().ok().filter(|shape| *shape > 0.0);
    shape.ok_or_else(|| {
        "a burstiness is a number above 0, such as `0.5`, or `inf` for constant gaps".to_owned()
    })
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.trim().parse::<f64>().ok().filter(|ratio| (0.0..1.0).contains(ratio));
    ratio.ok_or_else(|| "a ratio is from 0 to below 1, such as `0.2`".to_owned())
}

fn goal(text: &str) -> Result<Goal, String> {
    let wrong = || "a goal is ttft, tpot or e2el with milliseconds, such as `ttft:2000`".to_owned();
    let (name, milliseconds) = text.trim().split_once(':').ok_or_else(wrong)?;
    let name = match name.to_ascii_lowercase().as_str() {
        "ttft" => GoalName::Ttft,
        "tpot" => GoalName::Tpot,
        "e2el" => GoalName::E2el,
        _ => return Err(wrong()),
    };
    let most = milliseconds.trim().parse::<f64>().ok().filter(|ms| ms.is_finite() && *ms > 0.0);
    Ok(Goal { name, most: Seconds::new(most.ok_or_else(wrong)? / 1e3) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbers_within_their_bounds() {
        assert_eq!(rates("0.5, 2,inf"), Ok(Rates(vec![0.5, 2.0, f64::INFINITY])));
        assert_eq!(burstiness("inf"), Ok(f64::INFINITY));
        assert_eq!((ratio("0"), ratio("0.25")), (Ok(0.0), Ok(0.25)));
        assert_eq!(concurrency("1,4-16*2").map(|list| List::joined(&[list])), Ok(vec![1, 4, 8, 16]));
        assert_eq!(goal("TTFT:250"), Ok(Goal { name: GoalName::Ttft, most: Seconds::new(0.25) }));
        for wrong in ["0", "-1", "nan", "x", "1,,2", ""] {
            assert!(rates(wrong).is_err() && burstiness(wrong).is_err(), "{wrong}");
        }
        for wrong in ["1", "-0.1", "x"] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
        for wrong in ["ttft", "ttft:", "ttft:0", "itl:5", "ttft:inf", "2000"] {
            assert!(goal(wrong).is_err(), "{wrong}");
        }
        assert!(concurrency("0").is_err());
    }
}
