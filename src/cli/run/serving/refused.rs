//! Flags that have no meaning with a load, and those that have none without: refused by name with the way out.

use crate::base::failure::Usage;
use crate::hardware::device::DeviceRequest;

use super::super::flags::RunArgs;
use super::args::ServingArgs;

fn first(given: &[(bool, &str, &str)]) -> Result<(), Usage> {
    match given.iter().find(|(given, ..)| *given) {
        Some((_, flag, reason)) => Err(Usage::new(*flag, *reason)),
        None => Ok(()),
    }
}

const CHOICE: &str =
    "with --url this is up to the server; set it when you start the server, and leave it out here";
const SETTING: &str = "with --url no GPU setting is changed; use `nvidia-smi` on the server's machine";

/// Refuses what no load has a place for.
fn with_a_load(args: &RunArgs) -> Result<(), Usage> {
    const TRIALS: &str = "a load has no trials; set the length of a row with --num-prompts or --max-time";
    first(&[
        (
            args.output.rows().is_some(),
            "--output",
            "llama-bench's rows cannot hold the figures of a load; give a folder, FILE.json or `-`",
        ),
        (
            args.batch.is_some(),
            "--batch",
            "a load has no batch; leave it out, and limit the requests in flight with --max-concurrency",
        ),
        (
            !args.depth.is_empty(),
            "--depth",
            "a load sends whole requests, so the context is part of the prompt: -p",
        ),
        (args.repetitions.is_some(), "--repetitions", TRIALS),
        (args.precision.is_some(), "--precision", TRIALS),
        (args.tier.is_some(), "--tier", "set the length of a row with --max-time or --num-prompts"),
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
        (args.no_graphs, "--no-graphs", CHOICE),
        (args.debug_kernels, "--debug-kernels", CHOICE),
        (args.lock_clocks.is_some(), "--lock-clocks", SETTING),
        (!args.power_limit.is_empty(), "--power-limit", SETTING),
    ])
}

/// Refuses what is for a server, with a load on an engine in this process.
pub(super) fn in_process(args: &RunArgs) -> Result<(), Usage> {
    with_a_load(args)?;
    of_a_server(&args.serving)?;
    first(&[(
        args.power_limit.len() > 1,
        "--power-limit",
        "a load makes one record; give one limit, and run it again for another",
    )])
}

/// Refuses what only a server has.
fn of_a_server(args: &ServingArgs) -> Result<(), Usage> {
    const SERVER: &str = "it is for a server; name one with --url http://localhost:8000";
    first(&[
        (args.served_model_name.is_some(), "--served-model-name", SERVER),
        (args.chat, "--chat", SERVER),
        (
            args.gpus.is_some(),
            "--gpus",
            "the engine in this process uses one GPU; for a server on several, give its address with --url",
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
    const LOAD: &str = "it is for a load; start one with --max-concurrency N or --request-rate R on the local engine, or on a server with --url http://localhost:8000";
    of_a_server(args)?;
    first(&[
        (args.burstiness.is_some(), "--burstiness", LOAD),
        (args.num_prompts.is_some(), "--num-prompts", LOAD),
        (
            args.num_warmups.is_some(),
            "--num-warmups",
            "a row warms up until two trials agree, and warm-up trials are not counted; leave it out",
        ),
        (args.random_range_ratio.is_some(), "--random-range-ratio", LOAD),
        (!args.random_prefix_len.is_empty(), "--random-prefix-len", LOAD),
        (args.lengths.is_some(), "--lengths", LOAD),
        (
            args.ignore_eos.is_some(),
            "--ignore-eos",
            "without a load the engine always generates as many tokens as requested; leave it out",
        ),
        (!args.slo.is_empty(), "--slo", LOAD),
        (args.salt.is_some(), "--salt", LOAD),
    ])
}
