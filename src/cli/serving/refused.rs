//! Flags that have no meaning with a load, and those that have none without: refused by name with the way out.

use crate::base::failure::Usage;
use crate::hardware::device::DeviceRequest;

use super::super::run::RunArgs;
use super::ServingArgs;

fn first(given: &[(bool, &str, &str)]) -> Result<(), Usage> {
    match given.iter().find(|(given, ..)| *given) {
        Some((_, flag, reason)) => Err(Usage::new(*flag, *reason)),
        None => Ok(()),
    }
}

const CHOICE: &str =
    "with --url it is the server's choice; set it where the server starts, and leave it out here";
const SETTING: &str =
    "with --url no setting of a GPU is touched; `nvidia-smi` on the server's machine changes it";

/// Refuses what no load has a place for.
fn with_a_load(args: &RunArgs) -> Result<(), Usage> {
    const TRIALS: &str = "a row of a load has no trials; --num-prompts or --max-time says how long it is";
    first(&[
        (
            args.output.rows().is_some(),
            "--output",
            "llama-bench's rows have no place for the figures of a load; name a folder, FILE.json or `-`",
        ),
        (args.batch.is_some(), "--batch", "requests in flight are the load: --max-concurrency 1,8,32"),
        (
            !args.depth.is_empty(),
            "--depth",
            "a load is of whole requests, so what is in the context is part of the prompt: -p",
        ),
        (args.repetitions.is_some(), "--repetitions", TRIALS),
        (args.precision.is_some(), "--precision", TRIALS),
        (args.tier.is_some(), "--tier", "--max-time or --num-prompts says how long a row of a load is"),
    ])
}

/// Refuses what is for an engine in this process.
pub(super) fn with_a_server(args: &RunArgs) -> Result<(), Usage> {
    with_a_load(args)?;
    first(&[
        (args.device != DeviceRequest::Auto, "--device", CHOICE),
        (args.threads.is_some(), "--threads", CHOICE),
        (args.isa.is_some(), "--isa", CHOICE),
        (args.kv_type.is_some(), "--kv-type", CHOICE),
        (args.lock_clocks.is_some(), "--lock-clocks", SETTING),
        (!args.power_limit.is_empty(), "--power-limit", SETTING),
    ])
}

/// Refuses what is for a server, with a load on an engine in this process.
pub(super) fn in_process(args: &RunArgs) -> Result<(), Usage> {
    const SETTING: &str =
        "a load changes no setting of a GPU; `nvidia-smi` does, and the record says what was set";
    with_a_load(args)?;
    of_a_server(&args.serving)?;
    first(&[
        (args.lock_clocks.is_some(), "--lock-clocks", SETTING),
        (!args.power_limit.is_empty(), "--power-limit", SETTING),
    ])
}

/// Refuses what only a server has.
fn of_a_server(args: &ServingArgs) -> Result<(), Usage> {
    const SERVER: &str = "it is said to a server; name one with --url http://localhost:8000";
    first(&[
        (args.served_model_name.is_some(), "--served-model-name", SERVER),
        (args.chat, "--chat", SERVER),
        (
            args.gpus.is_some(),
            "--gpus",
            "one GPU computes in this process; for a server on several give its address with --url",
        ),
        (!args.header.is_empty(), "--header", SERVER),
        (args.api_key_file.is_some(), "--api-key-file", SERVER),
        (args.api_key_env.is_some(), "--api-key-env", SERVER),
        (args.cacert.is_some(), "--cacert", SERVER),
        (args.client_threads.is_some(), "--client-threads", SERVER),
        (args.timeout.is_some(), "--timeout", SERVER),
    ])
}

/// Refuses what is for a load.
pub(super) fn without_a_load(args: &ServingArgs) -> Result<(), Usage> {
    const LOAD: &str = "it is part of a load; --max-concurrency N or --request-rate R puts one on an engine here, and --url http://localhost:8000 on a server";
    of_a_server(args)?;
    first(&[
        (args.burstiness.is_some(), "--burstiness", LOAD),
        (args.num_prompts.is_some(), "--num-prompts", LOAD),
        (
            args.num_warmups.is_some(),
            "--num-warmups",
            "a row is warmed up until two trials agree, and those trials are not in its figures; leave it out",
        ),
        (args.random_range_ratio.is_some(), "--random-range-ratio", LOAD),
        (!args.random_prefix_len.is_empty(), "--random-prefix-len", LOAD),
        (args.lengths.is_some(), "--lengths", LOAD),
        (
            args.ignore_eos.is_some(),
            "--ignore-eos",
            "without a load an engine in this process writes as many tokens as are asked for; leave it out",
        ),
        (!args.slo.is_empty(), "--slo", LOAD),
        (args.salt.is_some(), "--salt", LOAD),
    ])
}
