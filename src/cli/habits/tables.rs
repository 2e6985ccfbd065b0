//! The flags of other tools, and what each becomes.

use super::Means::{Always, Ours, Reads, Refused};
use super::{
    Habit, backend, dataset, flash_attention, gpu_layers, hub_file, hub_repository, json_file, key_type,
    llama_device, main_gpu, split_mode, value_type,
};

pub(super) const ONE_GPU: &str = "a run uses one GPU, `--device cuda:N` says which. To measure several, start a server on them: `bench run --url http://localhost:8000 --gpu h100 --gpus 4`";
const ADDRESS: &str = "the server's address is one flag: `--url http://localhost:8000`";
pub(super) const DATA: &str = "prompts are random and never repeat; their lengths are -p and -n, or come from a trace: `--lengths FILE.jsonl`";
const PROFILE: &str = "a sweep is a list: `--max-concurrency 1,8,32,128`, or `--request-rate 0.5,1,2`";
const LOADING: &str = "how weights are loaded cannot be chosen, and loading is not timed; leave it out";
const PLACED: &str = "the whole model runs on one device: `--device cpu` or `--device cuda`";
const PINNED: &str = "pin threads from outside: `taskset -c 0-7 bench run …`";
const WARMED: &str =
    "a row warms up until two trials agree, and warm-up trials are not counted; leave it out";
const BATCH: &str = "in llama-bench this is tokens per step, in vLLM parallel sequences. Here `-b N` is N parallel sequences, and the engine chooses the tokens per step";
const SAVED: &str = "a run always saves its record: `--output DIR`, or `--output FILE.json`";
const ROWS_OUT: &str = "rows go to stdout: `-o csv`, `-o md`, `-o json` or `-o jsonl`, then `> FILE`";
const COMMANDS: &str =
    "bench runs no other commands; set up the machine before and after `bench run` in your shell";

/// Flags of llama.cpp's programs, for every command that loads a model.
pub(super) const LLAMA: &[Habit] = &[
    Habit { names: &["-ngl", "--n-gpu-layers", "--gpu-layers"], means: Reads(gpu_layers) },
    Habit { names: &["-mg", "--main-gpu"], means: Reads(main_gpu) },
    Habit { names: &["-dev"], means: Reads(llama_device) },
    Habit { names: &["-sm", "--split-mode"], means: Reads(split_mode) },
    Habit { names: &["-ts", "--tensor-split"], means: Refused(ONE_GPU) },
    Habit { names: &["-fa", "--flash-attn"], means: Reads(flash_attention) },
    Habit { names: &["-ctk", "--cache-type-k"], means: Reads(key_type) },
    Habit { names: &["-ctv", "--cache-type-v"], means: Reads(value_type) },
    Habit {
        names: &["-ub", "--ubatch-size"],
        means: Refused("the engine chooses the tokens per step; leave it out"),
    },
    Habit { names: &["-hf", "-hfr", "--hf-repo"], means: Reads(hub_repository) },
    Habit { names: &["-hff", "--hf-file"], means: Reads(hub_file) },
    Habit {
        names: &["-hft", "--hf-token"],
        means: Refused("a token on a command line can be read by others; set HF_TOKEN in the environment"),
    },
    Habit { names: &["--offline"], means: Refused("set HF_HUB_OFFLINE=1 in the environment") },
    Habit {
        names: &[
            "-lm",
            "--load-mode",
            "-lzm",
            "--lazy-mode",
            "-mmp",
            "--mmap",
            "--no-mmap",
            "--mlock",
            "--repack",
            "-dio",
            "--direct-io",
        ],
        means: Refused(LOADING),
    },
    Habit {
        names: &[
            "-nkvo",
            "--no-kv-offload",
            "-ncmoe",
            "--n-cpu-moe",
            "-cmoe",
            "--cpu-moe",
            "-ot",
            "--override-tensor",
            "-nopo",
            "--no-op-offload",
            "--no-host",
            "-fitt",
            "--fit-target",
            "-fitc",
            "--fit-ctx",
        ],
        means: Refused(PLACED),
    },
    Habit {
        names: &["-rpc", "--rpc"],
        means: Refused(
            "a run uses one machine. To measure several, start a server on them and use `bench run --url http://localhost:8000`",
        ),
    },
    Habit {
        names: &["--numa"],
        means: Refused("bind memory from outside: `numactl --cpunodebind=0 --membind=0 bench run …`"),
    },
    Habit { names: &["-C", "--cpu-mask", "-Cr", "--cpu-range", "--cpu-strict"], means: Refused(PINNED) },
    Habit {
        names: &["--poll"],
        means: Refused("how threads wait for each other cannot be chosen; leave it out"),
    },
    Habit { names: &["--prio"], means: Refused("set the priority from outside: `nice -n -5 bench run …`") },
    Habit { names: &["--list-devices"], means: Refused("`bench doctor` lists the devices of this machine") },
];

/// Flags for measuring: of llama-bench, vLLM, guidellm, AIPerf and hyperfine.
pub(super) const MEASURING: &[Habit] = &[
    Habit { names: &["-pg"], means: Ours("--pg") },
    Habit {
        names: &["--n-prompt", "--input-len", "--random-input-len", "--isl"],
        means: Ours("--prompt-tokens"),
    },
    Habit {
        names: &["--n-gen", "--output-len", "--random-output-len", "--osl"],
        means: Ours("--output-tokens"),
    },
    Habit { names: &["--n-depth"], means: Ours("--depth") },
    Habit { names: &["--runs", "--num-iters", "--num-runs"], means: Ours("--repetitions") },
    Habit { names: &["--max-seconds", "--duration", "--benchmark-duration"], means: Ours("--max-time") },
    Habit { names: &["--export-json", "--output-json"], means: Reads(json_file) },
    Habit {
        names: &[
            "--export-markdown",
            "--export-csv",
            "--export-asciidoc",
            "--export-orgmode",
            "-oe",
            "--output-err",
        ],
        means: Refused(ROWS_OUT),
    },
    Habit { names: &["--progress", "--streaming"], means: Always },
    Habit { names: &["--batch-size"], means: Refused(BATCH) },
    Habit {
        names: &["--warmup", "--no-warmup", "--num-iters-warmup", "--warmup-percent"],
        means: Refused(WARMED),
    },
    Habit {
        names: &["--min-runs", "--max-runs"],
        means: Refused(
            "`--repetitions N` asks for N trials; without it a row stops when its interval is as tight as `--precision`",
        ),
    },
    Habit {
        names: &["--delay", "--cooldown", "--profile-run-cooldown-seconds"],
        means: Refused(
            "rows run back to back, and the record says if heat throttled the clocks; leave it out",
        ),
    },
    Habit {
        names: &["--prepare", "--setup", "--cleanup", "--conclude", "--shell"],
        means: Refused(COMMANDS),
    },
    Habit {
        names: &["-c", "--ctx-size", "--max-model-len", "--max-seq-len"],
        means: Refused(
            "the context size follows from the rows; `-d N` puts N tokens into the context before a row",
        ),
    },
    Habit {
        names: &["-embd", "--embeddings"],
        means: Refused(
            "embeddings are not measured here; `llama-bench -embd 1 -o json`, then `bench import`",
        ),
    },
    Habit {
        names: &["-tp", "--tensor-parallel-size", "--pipeline-parallel-size", "-pp"],
        means: Refused(ONE_GPU),
    },
    Habit {
        names: &["--dtype", "--quantization"],
        means: Refused(
            "weights stay in the format of their file; name another file, or `--model llama-3.2-1b:q8_0`",
        ),
    },
    Habit { names: &["--kv-cache-dtype"], means: Refused("`--kv-type f16` or `--kv-type q8_0`") },
    Habit {
        names: &["--gpu-memory-utilization"],
        means: Refused("a run takes as much memory as its rows need; `--dry-run` prints how much that is"),
    },
    Habit {
        names: &[
            "--save-result",
            "--save-detailed",
            "--result-dir",
            "--result-filename",
            "--output-path",
            "--output-dir",
            "--artifact-dir",
        ],
        means: Refused(SAVED),
    },
    Habit { names: &["--target", "--base-url", "-u"], means: Ours("--url") },
    Habit { names: &["--rate"], means: Ours("--request-rate") },
    Habit { names: &["--concurrency"], means: Ours("--max-concurrency") },
    Habit { names: &["--max-requests", "--request-count"], means: Ours("--num-prompts") },
    Habit { names: &["--warmup-requests", "--warmup-request-count"], means: Ours("--num-warmups") },
    Habit { names: &["--goodput"], means: Ours("--slo") },
    Habit { names: &["--backend", "--endpoint-type", "--endpoint"], means: Reads(backend) },
    Habit { names: &["--dataset-name"], means: Reads(dataset) },
    Habit { names: &["--host", "--port"], means: Refused(ADDRESS) },
    Habit { names: &["--dataset", "--dataset-path", "--data"], means: Refused(DATA) },
    Habit { names: &["--profile", "--rate-type", "--ramp-up-strategy"], means: Refused(PROFILE) },
    Habit {
        names: &["--tokenizer"],
        means: Refused(
            "prompts are sent as token ids, and the server's usage block counts the answers; leave it out",
        ),
    },
    Habit {
        names: &["--api-key"],
        means: Refused(
            "no key should be on a command line, where others can read it: `--api-key-file FILE` or `--api-key-env VARIABLE`",
        ),
    },
];

/// Flags of llama-perplexity.
pub(super) const SCORING: &[Habit] = &[
    Habit { names: &["-f", "--file"], means: Ours("--text") },
    Habit {
        names: &["--kl-divergence", "--kl-divergence-base"],
        means: Refused(
            "`--reference MODEL` measures the KL divergence from that model; no file of logits is written",
        ),
    },
    Habit {
        names: &["-b", "--batch-size"],
        means: Refused("the engine chooses the tokens per step; leave it out"),
    },
];
