//! Flags that people bring from llama-bench, vLLM, guidellm and hyperfine. Each becomes our own, or is refused by name
//! with the reason and the way out; none is read as something else.
//!
//! This happens before clap sees the words: it would read `-ngl 99` as `-n gl`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::wrong;

/// A flag of another tool.
struct Habit {
    /// Every spelling.
    names: &'static [&'static str],
    means: Means,
}

/// What becomes of it.
enum Means {
    /// This flag of ours, with the same value.
    Ours(&'static str),
    /// What happens anyway, whatever the value; a flag without one.
    Always,
    /// Its value decides.
    Reads(fn(&mut Asked, &str) -> Result<(), String>),
    /// Refused: the reason, and what to do instead.
    Refused(&'static str),
}

use Means::{Always, Ours, Reads, Refused};

const ONE_GPU: &str = "one GPU computes; `--device cuda:N` says which. To measure several, start a server on them: `bench run --url http://localhost:8000 --gpu h100 --gpus 4`";
const ADDRESS: &str = "the server's address is one flag: `--url http://localhost:8000`";
const DATA: &str = "prompts are random, unlike each other and those of the last run; their lengths are -p and -n, or of a trace: `--lengths FILE.jsonl`";
const PROFILE: &str = "a sweep is a list: `--max-concurrency 1,8,32,128`, or `--request-rate 0.5,1,2`";
const LOADING: &str =
    "how weights are loaded is not a choice here, and loading is outside the time measured; leave it out";
const PLACED: &str = "a model is computed as a whole on one device: `--device cpu` or `--device cuda`";
const PINNED: &str = "threads are pinned from outside: `taskset -c 0-7 bench run …`";
const WARMED: &str =
    "a row is warmed up until two trials agree, and those trials are not in its figures; leave it out";
const BATCH: &str = "llama-bench means tokens of a step, vLLM parallel sequences. Here `-b N` is N parallel sequences, and steps are the engine's choice";
const SAVED: &str = "a run always saves its record: `--output DIR`, or `--output FILE.json`";
const ROWS_OUT: &str = "rows go to stdout: `-o csv`, `-o md`, `-o json` or `-o jsonl`, then `> FILE`";
const COMMANDS: &str =
    "no command is run here but the model; set the machine up before and after `bench run` in your shell";

/// Flags of llama.cpp's programs, for every command that loads a model.
const LLAMA: &[Habit] = &[
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
        means: Refused("how many tokens a step takes is the engine's choice; leave it out"),
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
            "one machine computes. To measure several, start a server on them, and `bench run --url http://localhost:8000`",
        ),
    },
    Habit {
        names: &["--numa"],
        means: Refused("memory is bound from outside: `numactl --cpunodebind=0 --membind=0 bench run …`"),
    },
    Habit { names: &["-C", "--cpu-mask", "-Cr", "--cpu-range", "--cpu-strict"], means: Refused(PINNED) },
    Habit {
        names: &["--poll"],
        means: Refused("how threads wait for each other is not a choice here; leave it out"),
    },
    Habit { names: &["--prio"], means: Refused("priority is set from outside: `nice -n -5 bench run …`") },
    Habit { names: &["--list-devices"], means: Refused("`bench doctor` lists the devices of this machine") },
];

/// Flags for measuring: of llama-bench, vLLM, guidellm, AIPerf and hyperfine.
const MEASURING: &[Habit] = &[
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
            "rows follow each other at once, and the record says when clocks were held back by heat; leave it out",
        ),
    },
    Habit {
        names: &["--prepare", "--setup", "--cleanup", "--conclude", "--shell"],
        means: Refused(COMMANDS),
    },
    Habit {
        names: &["-c", "--ctx-size", "--max-model-len", "--max-seq-len"],
        means: Refused(
            "room for the context follows from the rows; `-d N` puts N tokens into the context before a row",
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
        means: Refused("as much memory is taken as the rows need; `--dry-run` prints how much that is"),
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
            "prompts are sent as token ids, and the server's usage counts what comes; leave it out",
        ),
    },
    Habit {
        names: &["--api-key"],
        means: Refused(
            "no key belongs on a command line, which others can read: `--api-key-file FILE` or `--api-key-env VARIABLE`",
        ),
    },
];

/// Flags of llama-perplexity.
const SCORING: &[Habit] = &[
    Habit { names: &["-f", "--file"], means: Ours("--text") },
    Habit {
        names: &["--kl-divergence", "--kl-divergence-base"],
        means: Refused(
            "`--reference MODEL` measures the KL divergence from that model; no file of logits is kept",
        ),
    },
    Habit {
        names: &["-b", "--batch-size"],
        means: Refused("how many tokens a step takes is the engine's choice; leave it out"),
    },
];

/// What several flags say together.
#[derive(Default)]
struct Asked {
    /// Where to compute, and the flag that says so.
    device: Option<(&'static str, String)>,
    key_type: Option<String>,
    value_type: Option<String>,
    repository: Option<String>,
    file: Option<String>,
    /// Whether attention is to be computed in blocks, which only `fused` does.
    in_blocks: bool,
    /// Whether a flag is about a server, which is then what is measured.
    server: bool,
    /// Words of ours, in order.
    words: Vec<OsString>,
}

/// The command line in our own words.
///
/// # Errors
/// One sentence with the flag, its value, the reason and the way out.
pub(super) fn translate(argv: &[OsString]) -> Result<Vec<OsString>, String> {
    let Some(at) = wrong::command_at(argv) else { return Ok(argv.to_vec()) };
    let tables: &[&[Habit]] = match argv[at].to_str() {
        Some("run") => &[LLAMA, MEASURING],
        Some("quality") => &[LLAMA, SCORING],
        _ => return Ok(argv.to_vec()),
    };
    let mut out = argv[..=at].to_vec();
    let end = argv.iter().position(|word| word == "--").unwrap_or(argv.len()).max(at + 1);
    let mut words = argv[at + 1..end].iter();
    let mut asked = Asked::default();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        let (name, inside) = match text.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name, Some(OsStr::new(value))),
            _ => (text, None),
        };
        let found = tables.iter().copied().flatten().find(|habit| habit.names.contains(&name));
        let Some(habit) = found else {
            out.push(word.clone());
            continue;
        };
        let mut value = || {
            let next = || words.next().map(OsString::as_os_str);
            inside.or_else(next).ok_or_else(|| format!("{name} needs a value"))
        };
        match habit.means {
            Always => {}
            Refused(reason) => return Err(format!("{name}: {reason}")),
            Ours(ours) => {
                out.push(ours.into());
                out.push(value()?.to_owned());
            }
            Reads(read) => {
                let value = value()?.to_string_lossy();
                read(&mut asked, &value).map_err(|reason| format!("{name} {value}: {reason}"))?;
            }
        }
    }
    out.extend(asked.together(&argv[at + 1..end])?);
    out.extend_from_slice(&argv[end..]);
    Ok(out)
}

impl Asked {
    /// The words that the flags make together.
    fn together(mut self, typed: &[OsString]) -> Result<Vec<OsString>, String> {
        if let Some((flag, device)) = &self.device {
            let given = |word: &OsString| {
                word.to_str().is_some_and(|word| word == "--device" || word.starts_with("--device="))
            };
            if typed.iter().any(given) {
                return Err(format!("{flag} and --device both say where the model runs; leave one out"));
            }
            self.words.extend(["--device".into(), device.into()]);
        }
        let candle = typed.iter().any(|word| word == "--engine=candle")
            || typed.windows(2).any(|pair| pair[0] == "--engine" && pair[1] == "candle");
        if self.in_blocks && candle {
            return Err(
                "-fa: `--engine candle` computes attention all at once; leave out one of them".to_owned()
            );
        }
        let engine = |word: &OsString| {
            word.to_str().is_some_and(|word| word == "--engine" || word.starts_with("--engine="))
        };
        if self.server && !typed.iter().any(engine) {
            self.words.extend(["--engine".into(), "endpoint".into()]);
        }
        // llama.cpp takes f16 for the one that is not given.
        if self.key_type.is_some() || self.value_type.is_some() {
            let typed = [("-ctk", &self.key_type), ("-ctv", &self.value_type)];
            let typed =
                typed.iter().filter_map(|(flag, format)| Some(format!("{flag} {}", format.as_ref()?)));
            let typed = typed.collect::<Vec<_>>().join(" ");
            let [key, value] =
                [self.key_type, self.value_type].map(|given| given.unwrap_or_else(|| "f16".to_owned()));
            if key != value {
                return Err(format!(
                    "{typed}: keys and values have one format here: `--kv-type f16` or `--kv-type q8_0`"
                ));
            }
            self.words.extend(["--kv-type".into(), key.into()]);
        }
        match (self.repository, self.file) {
            (Some(repository), Some(file)) => {
                let repository = repository.split(':').next().unwrap_or_default();
                self.words.extend(["--model".into(), format!("hf:{repository}/{file}").into()]);
            }
            (Some(repository), None) => {
                self.words.extend(["--model".into(), format!("hf:{repository}").into()]);
            }
            (None, Some(file)) => {
                return Err(format!("-hff {file}: a file of which repository? `--model hf:ORG/REPO/{file}`"));
            }
            (None, None) => {}
        }
        Ok(self.words)
    }
}

/// An error about a device, with the flag that asked for it where that was llama.cpp's.
pub(super) fn as_typed(text: String, argv: &[OsString]) -> String {
    let names = ["-ngl", "--n-gpu-layers", "--gpu-layers", "-mg", "--main-gpu", "-dev"];
    let is_one = |word: &&str| names.contains(&word.split('=').next().unwrap_or_default());
    let words: Vec<&str> = argv.iter().filter_map(|word| word.to_str()).collect();
    let found = words.iter().position(is_one).filter(|_| text.starts_with("--device "));
    let Some(at) = found else { return text };
    let value = if words[at].contains('=') { None } else { words.get(at + 1) };
    let typed: Vec<&str> = std::iter::once(words[at]).chain(value.copied()).collect();
    format!("{} (here {}", typed.join(" "), text.replacen(": ", "): ", 1))
}

fn gpu_layers(asked: &mut Asked, value: &str) -> Result<(), String> {
    let device = match value.parse::<i64>() {
        _ if matches!(value, "auto" | "-1") => return Ok(()),
        _ if matches!(value, "all" | "-2") => "cuda",
        Ok(0) => "cpu",
        Ok(layers) if layers >= 99 => "cuda",
        Ok(_) => {
            return Err(
                "a model is computed as a whole on one device; `-ngl 0` is the CPU, `-ngl 99` the GPU"
                    .to_owned(),
            );
        }
        Err(_) if value.contains([',', '-']) => {
            return Err("a run has one device; run it twice, with `-ngl 0` and with `-ngl 99`".to_owned());
        }
        Err(_) => return Err("`-ngl 0` is the CPU, `-ngl 99` the GPU".to_owned()),
    };
    // `-mg` has said which GPU.
    if device == "cpu" || asked.device.is_none() {
        asked.device = Some(("-ngl", device.to_owned()));
    }
    Ok(())
}

fn main_gpu(asked: &mut Asked, value: &str) -> Result<(), String> {
    let number: u32 =
        value.parse().map_err(|_| "expected the number of one GPU, as of `--device cuda:0`".to_owned())?;
    // On a CPU llama.cpp does not look at it.
    if asked.device.as_ref().is_none_or(|(_, device)| device != "cpu") {
        asked.device = Some(("-mg", format!("cuda:{number}")));
    }
    Ok(())
}

fn llama_device(asked: &mut Asked, value: &str) -> Result<(), String> {
    let cuda = value.strip_prefix("CUDA").and_then(|number| number.parse::<u32>().ok());
    let device = match (value, cuda) {
        ("auto", _) => return Ok(()),
        ("none", _) => "cpu".to_owned(),
        (_, Some(number)) => format!("cuda:{number}"),
        _ => return Err("expected none, auto or one of CUDA0, CUDA1 …; ours is `--device cuda:0`".to_owned()),
    };
    asked.device = Some(("-dev", device));
    Ok(())
}

fn split_mode(_: &mut Asked, value: &str) -> Result<(), String> {
    if value == "none" { Ok(()) } else { Err(ONE_GPU.to_owned()) }
}

fn flash_attention(asked: &mut Asked, value: &str) -> Result<(), String> {
    match value {
        "auto" => Ok(()),
        "1" | "on" => {
            asked.in_blocks = true;
            Ok(())
        }
        _ => Err("the `fused` engine always computes attention in blocks, as FlashAttention does; `--engine candle` computes it all at once".to_owned()),
    }
}

fn kv_format(value: &str) -> Result<Option<String>, String> {
    match value {
        "f16" | "q8_0" => Ok(Some(value.to_owned())),
        _ => Err("unknown; supported: f16, q8_0 (`--kv-type`)".to_owned()),
    }
}

fn key_type(asked: &mut Asked, value: &str) -> Result<(), String> {
    asked.key_type = kv_format(value)?;
    Ok(())
}

fn value_type(asked: &mut Asked, value: &str) -> Result<(), String> {
    asked.value_type = kv_format(value)?;
    Ok(())
}

fn hub_repository(asked: &mut Asked, value: &str) -> Result<(), String> {
    if value.contains('/') {
        asked.repository = Some(value.to_owned());
        return Ok(());
    }
    Err("expected ORG/REPO or ORG/REPO:QUANT".to_owned())
}

fn hub_file(asked: &mut Asked, value: &str) -> Result<(), String> {
    if value.contains("://") {
        return Err("expected a file's name inside the repository of -hf".to_owned());
    }
    asked.file = Some(value.to_owned());
    Ok(())
}

/// vLLM's and SGLang's names of APIs.
fn backend(asked: &mut Asked, value: &str) -> Result<(), String> {
    asked.server = true;
    match value {
        "vllm" | "sglang" | "openai" | "llamacpp" | "completions" | "/v1/completions" => Ok(()),
        "vllm-chat" | "sglang-oai-chat" | "openai-chat" | "chat" | "/v1/chat/completions" => {
            asked.words.push("--chat".into());
            Ok(())
        }
        _ => {
            Err("a server is asked by OpenAI's completions, or with `--chat` by its chat completions"
                .to_owned())
        }
    }
}

fn dataset(asked: &mut Asked, value: &str) -> Result<(), String> {
    asked.server = true;
    if value == "random" { Ok(()) } else { Err(DATA.to_owned()) }
}

fn json_file(asked: &mut Asked, value: &str) -> Result<(), String> {
    if Path::new(value).extension().is_none_or(|extension| extension != "json") {
        return Err("the record's file ends in .json: `--output FILE.json`".to_owned());
    }
    asked.words.extend(["--output".into(), value.into()]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::args::Cli;
    use super::*;

    fn translated(line: &str) -> Result<String, String> {
        let argv: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let words = translate(&argv)?;
        Ok(words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_flag_becomes_our_own() {
        for (typed, ours) in [
            ("bench run -m a.gguf -ngl 0", "bench run -m a.gguf --device cpu"),
            ("bench run -ngl 99 -m a.gguf", "bench run -m a.gguf --device cuda"),
            ("bench run -ngl=999", "bench run --device cuda"),
            ("bench run -ngl -1 -fa auto -sm none --progress", "bench run"),
            ("bench run -fa 1", "bench run"),
            ("bench run --flash-attn=on --engine fused", "bench run --engine fused"),
            ("bench run -ngl 99 -mg 1", "bench run --device cuda:1"),
            ("bench run -mg 1 -ngl 99", "bench run --device cuda:1"),
            ("bench run -mg 1 -ngl 0", "bench run --device cpu"),
            ("bench run -ngl 0 -mg 1", "bench run --device cpu"),
            ("bench run -dev CUDA2", "bench run --device cuda:2"),
            ("bench run -ctk q8_0 -ctv q8_0", "bench run --kv-type q8_0"),
            ("bench run -ctk f16", "bench run --kv-type f16"),
            ("bench run -hf o/r:Q4_K_M", "bench run --model hf:o/r:Q4_K_M"),
            ("bench run -hf o/r:Q4_K_M -hff f.gguf", "bench run --model hf:o/r/f.gguf"),
            ("bench run -pg 512,128 --n-prompt 8", "bench run --pg 512,128 --prompt-tokens 8"),
            ("bench run --input-len 8 --output-len=4", "bench run --prompt-tokens 8 --output-tokens 4"),
            ("bench run --runs 3 --max-seconds 30", "bench run --repetitions 3 --max-time 30"),
            ("bench run --export-json x.json", "bench run --output x.json"),
            (
                "bench run --base-url http://h:1 --backend openai-chat",
                "bench run --url http://h:1 --chat --engine endpoint",
            ),
            (
                "bench run --target http://h --rate 2 --goodput ttft:9",
                "bench run --url http://h --request-rate 2 --slo ttft:9",
            ),
            ("bench run --engine endpoint --dataset-name random", "bench run --engine endpoint"),
            ("bench run --concurrency 4 --request-count 9", "bench run --max-concurrency 4 --num-prompts 9"),
            ("bench --config run run -ngl 0", "bench --config run run --device cpu"),
            ("bench -q run -pg 1,2 -- -ngl 0", "bench -q run --pg 1,2 -- -ngl 0"),
            ("bench cost --target 0.2", "bench cost --target 0.2"),
            ("bench quality -ngl 0 -c 512 -f a.txt", "bench quality -c 512 --text a.txt --device cpu"),
        ] {
            assert_eq!(translated(typed).as_deref(), Ok(ours), "{typed}");
        }
    }

    #[test]
    fn what_has_no_meaning_here_is_refused_by_name() {
        for (typed, says) in [
            ("bench run -ngl 20", "-ngl 20: a model is computed as a whole"),
            ("bench run -ngl 0,99", "-ngl 0,99: a run has one device"),
            ("bench run -ngl", "-ngl needs a value"),
            ("bench run -fa 0", "-fa 0: the `fused` engine always computes attention in blocks"),
            ("bench run -fa 1 --engine candle", "-fa: `--engine candle` computes attention all at once"),
            ("bench run -ngl 0 --device cuda", "-ngl and --device both say"),
            ("bench run -ctk q8_0", "-ctk q8_0: keys and values have one format"),
            ("bench run -ctk q4_0 -ctv q4_0", "-ctk q4_0: unknown; supported: f16, q8_0"),
            ("bench run -hff f.gguf", "-hff f.gguf: a file of which repository"),
            ("bench run -hft hf_secret", "-hft: a token on a command line"),
            (
                "bench run --port 8000",
                "--port: the server's address is one flag: `--url http://localhost:8000`",
            ),
            ("bench run --backend tgi", "--backend tgi: a server is asked by OpenAI's completions"),
            ("bench run --dataset-name sharegpt", "--dataset-name sharegpt: prompts are random"),
            ("bench run --api-key sk-secret", "--api-key: no key belongs on a command line"),
            ("bench run --export-json out", "--export-json out: the record's file ends in .json"),
        ] {
            let said = translated(typed).expect_err(typed);
            assert!(said.starts_with(says) && !said.contains("secret"), "{typed}: {said}");
        }
    }

    #[test]
    fn an_error_about_a_device_names_the_flag_that_was_typed() {
        let said = |line: &str, text: &str| {
            let argv: Vec<OsString> = line.split(' ').map(Into::into).collect();
            as_typed(text.to_owned(), &argv)
        };
        let absent = "--device cuda:0: no such GPU: none found";
        for (line, expected) in [
            ("bench run -ngl 99", "-ngl 99 (here --device cuda:0): no such GPU: none found"),
            ("bench run -mg=1", "-mg=1 (here --device cuda:0): no such GPU: none found"),
            ("bench run --device cuda", absent),
        ] {
            assert_eq!(said(line, absent), expected);
        }
        assert_eq!(said("bench run -ngl 99", "no model: x"), "no model: x");
    }

    /// A flag of ours must never be taken for another tool's.
    #[test]
    fn no_flag_of_ours_is_in_the_tables() {
        let cli = Cli::command();
        for (name, tables) in [("run", &[LLAMA, MEASURING][..]), ("quality", &[LLAMA, SCORING])] {
            let command = cli.find_subcommand(name).expect("a command");
            for flag in command.get_arguments().chain(cli.get_arguments()) {
                let long = flag.get_long().map(|long| format!("--{long}"));
                let short = flag.get_short().map(|short| format!("-{short}"));
                for spelled in long.into_iter().chain(short) {
                    let taken =
                        tables.iter().copied().flatten().any(|habit| habit.names.contains(&&*spelled));
                    assert!(!taken, "{name} {spelled}");
                }
            }
        }
        let both = [LLAMA, MEASURING].into_iter().flatten();
        let names: Vec<&str> = both.flat_map(|habit| habit.names.iter().copied()).collect();
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len(), "a spelling stands twice");
    }
}
