//! Flags that people bring from llama-bench, vLLM, guidellm and hyperfine. Each becomes our own, or is refused by name
//! with the reason and the way out; none is read as something else.
//!
//! This happens before clap sees the words: it would read `-ngl 99` as `-n gl`.

mod tables;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::wrong;
use tables::{DATA, LLAMA, MEASURING, ONE_GPU, SCORING};

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
                "the whole model runs on one device; `-ngl 0` is the CPU, `-ngl 99` the GPU".to_owned()
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
        value.parse().map_err(|_| "expected the number of one GPU, as in `--device cuda:0`".to_owned())?;
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
        _ => {
            return Err(
                "expected none, auto or one of CUDA0, CUDA1 …; here it is `--device cuda:0`".to_owned()
            );
        }
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
        return Err("expected the name of a file in the repository given with -hf".to_owned());
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
            Err("a server is called through OpenAI's completions API, or with `--chat` its chat completions"
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
            ("bench run -ngl 20", "-ngl 20: the whole model runs on one device"),
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
            ("bench run --backend tgi", "--backend tgi: a server is called through OpenAI's completions API"),
            ("bench run --dataset-name sharegpt", "--dataset-name sharegpt: prompts are random"),
            ("bench run --api-key sk-secret", "--api-key: no key should be on a command line"),
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
