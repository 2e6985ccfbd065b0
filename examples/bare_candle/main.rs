//! A bare loop over stock candle that uses nothing of this project.
//!
//! It is here to be compared with: its greedy tokens must be the engine's, and its speed the harness's.
//! So a step does what the engine's step does: tokens to a tensor, one forward pass, argmax on the
//! device, ids back on the host.
//!
//! ```text
//! bare_candle greedy MODEL.gguf --prompt-ids 1,2,3 [-n 32]         the first greedy ids, as JSON
//! bare_candle bench  MODEL.gguf [-p 128] [-n 32] [-d 1] [-r 5]     seconds of each repetition, as JSON
//! ```
//!
//! `bench` times the prompt of P tokens in one forward pass (`-p 0`: not at all), and N decode steps
//! after an untimed context of D tokens. Architecture: llama.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]
#![allow(clippy::disallowed_methods, reason = "it may not use base::clock, so it reads time itself")]

mod bare;

use bare::{Bare, Outcome};

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, path, flags @ ..] = arguments.as_slice() else {
        return Err(
            "usage: bare_candle greedy|bench MODEL.gguf [-p P] [-n N] [-d D] [-r R] [--prompt-ids a,b,c]"
                .into(),
        );
    };
    let flag = |name: &str| flags.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str());
    let number = |name: &str, default: usize| flag(name).map_or(Ok(default), str::parse);
    let output = number("-n", 32)?;
    let mut bare = Bare::load(path)?;
    match mode.as_str() {
        "greedy" => {
            let ids = flag("--prompt-ids").ok_or("greedy needs --prompt-ids")?;
            let prompt = ids.split(',').map(|id| id.trim().parse()).collect::<Result<Vec<u32>, _>>()?;
            println!("{{\"tokens\": {:?}}}", bare.greedy(&prompt, output)?);
        }
        "bench" => {
            let (prompt, depth) = (number("-p", 128)?, number("-d", 1)?);
            let mut prefill = Vec::new();
            let mut decode = Vec::new();
            for _ in 0..number("-r", 5)? {
                if prompt > 0 {
                    prefill.push(bare.time_prefill(prompt)?);
                }
                if output > 0 {
                    decode.push(bare.time_decode(depth, output)?);
                }
            }
            println!(
                "{{\"prompt_tokens\": {prompt}, \"output_tokens\": {output}, \"depth\": {depth}, \
                 \"threads\": {}, \"prefill_seconds\": {prefill:?}, \"decode_seconds\": {decode:?}}}",
                candle_core::utils::get_num_threads()
            );
        }
        other => return Err(format!("unknown mode `{other}`: greedy or bench").into()),
    }
    Ok(())
}
