//! Flags that have no meaning with a server, and those that have none without: refused by name with the way out.

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

/// Refuses what is for an engine in this process.
pub(super) fn with_a_server(args: &RunArgs) -> Result<(), Usage> {
    first(&[
        (
            args.output.rows().is_some(),
            "--output",
            "llama-bench's rows have no place for a server's figures; name a folder, FILE.json or `-`",
        ),
        (
            args.batch.is_some(),
            "--batch",
            "with --url requests in flight are the load: --max-concurrency 1,8,32",
        ),
        (
            !args.depth.is_empty(),
            "--depth",
            "a server is asked whole requests, so what is in the context is part of the prompt: -p",
        ),
        (args.device != DeviceRequest::Auto, "--device", CHOICE),
        (args.threads.is_some(), "--threads", CHOICE),
        (args.isa.is_some(), "--isa", CHOICE),
        (args.kv_type.is_some(), "--kv-type", CHOICE),
        (args.lock_clocks.is_some(), "--lock-clocks", SETTING),
        (!args.power_limit.is_empty(), "--power-limit", SETTING),
        (
            args.repetitions.is_some(),
            "--repetitions",
            "a row of a load has no trials; --num-prompts or --max-time says how long it is",
        ),
        (
            args.precision.is_some(),
            "--precision",
            "a row of a load has no trials; --num-prompts or --max-time says how long it is",
        ),
        (args.tier.is_some(), "--tier", "with --url --max-time or --num-prompts says how long a row is"),
    ])
}

/// Refuses what is for a server.
pub(super) fn without_a_server(args: &ServingArgs) -> Result<(), Usage> {
    const LOAD: &str = "it is part of a load on a server; name the server with --url http://localhost:8000";
    first(&[
        (args.served_model_name.is_some(), "--served-model-name", LOAD),
        (!args.max_concurrency.is_empty(), "--max-concurrency", LOAD),
        (!args.request_rate.is_empty(), "--request-rate", LOAD),
        (args.burstiness.is_some(), "--burstiness", LOAD),
        (args.num_prompts.is_some(), "--num-prompts", LOAD),
        (
            args.num_warmups.is_some(),
            "--num-warmups",
            "a row is warmed up until two trials agree, and those trials are not in its figures; leave it out",
        ),
        (args.random_range_ratio.is_some(), "--random-range-ratio", LOAD),
        (args.lengths.is_some(), "--lengths", LOAD),
        (
            args.ignore_eos.is_some(),
            "--ignore-eos",
            "an engine in this process writes as many tokens as are asked for; leave it out",
        ),
        (!args.slo.is_empty(), "--slo", LOAD),
        (args.salt.is_some(), "--salt", LOAD),
        (args.chat, "--chat", LOAD),
        (
            args.gpus.is_some(),
            "--gpus",
            "one GPU computes in this process; for a server on several give its address with --url",
        ),
        (!args.header.is_empty(), "--header", LOAD),
        (args.api_key_file.is_some(), "--api-key-file", LOAD),
        (args.api_key_env.is_some(), "--api-key-env", LOAD),
        (args.cacert.is_some(), "--cacert", LOAD),
        (args.timeout.is_some(), "--timeout", LOAD),
    ])
}
