//! How long each request's prompt is and how many tokens of output it asks for.

use std::io::BufRead;

use serde_json::Value;

use crate::base::random::SplitMix64;
use crate::{Error, stream};

/// The most tokens a length may have.
const MOST: u32 = 1 << 24;

/// The lengths of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of output asked for.
    pub output_tokens: u32,
}

/// Lengths by a request's index: the same for the same seed, in whatever order they are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Lengths {
    seed: u64,
    kind: Kind,
    /// Tokens that every prompt has before its own.
    shared: u32,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// Each length on its own, every whole number between two ends equally often.
    Uniform { prompt: [u32; 2], output: [u32; 2] },
    /// These, one after the other, and again from the first.
    Listed(Vec<Asked>),
}

impl Lengths {
    /// The same lengths for every request.
    pub fn fixed(asked: Asked) -> Self {
        let Asked { prompt_tokens, output_tokens } = asked;
        Self {
            seed: 0,
            kind: Kind::Uniform { prompt: [prompt_tokens; 2], output: [output_tokens; 2] },
            shared: 0,
        }
    }

    /// vLLM's `--random-range-ratio`: whole numbers from ⌊L(1 − r)⌋ to ⌈L(1 + r)⌉, at least 1, both ends as likely as the
    /// rest. (SGLang's flag of the same name means r·L to L.)
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] when `ratio` is below 0 or not below 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and MOST")]
    pub fn uniform(around: Asked, ratio: f64, seed: u64) -> Result<Self, Error> {
        if !(0.0..1.0).contains(&ratio) {
            return Err(Error::OutOfRange {
                name: "random range ratio",
                value: ratio,
                expected: "from 0 to below 1",
            });
        }
        let ends = |length: u32| {
            let ends =
                [(f64::from(length) * (1.0 - ratio)).floor(), (f64::from(length) * (1.0 + ratio)).ceil()];
            ends.map(|end| end.clamp(1.0, f64::from(MOST)) as u32)
        };
        let kind = Kind::Uniform { prompt: ends(around.prompt_tokens), output: ends(around.output_tokens) };
        Ok(Self { seed, kind, shared: 0 })
    }

    /// Lengths from a file of one JSON object a line, in an order that the seed decides. Mooncake's and vLLM's names for
    /// lengths in traces (`input_length`, `output_length`) are known; other fields and empty lines are passed over.
    ///
    /// # Errors
    ///
    /// A line that has no such lengths, a file without any, or one that can't be read.
    pub fn read(file: &str, mut lines: impl BufRead, seed: u64) -> Result<Self, Error> {
        let (mut listed, mut bytes) = (Vec::new(), Vec::new());
        for line in 1.. {
            bytes.clear();
            let read = lines.read_until(b'\n', &mut bytes);
            let read = read.map_err(|source| Error::Read { file: file.to_owned(), source })?;
            if read == 0 {
                break;
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let problem = |problem| Error::Line { file: file.to_owned(), line, problem };
            listed.push(lengths_of(&bytes).map_err(problem)?);
        }
        if listed.is_empty() {
            return Err(Error::Empty { file: file.to_owned() });
        }
        SplitMix64::new(seed).branch(stream::LENGTHS).shuffle(&mut listed);
        Ok(Self { seed, kind: Kind::Listed(listed), shared: 0 })
    }

    /// The same after a prefix of this many tokens that all prompts share, as vLLM's `--random-prefix-len` has it: a
    /// prompt is that much longer.
    #[must_use]
    pub fn with_prefix(self, shared: u32) -> Self {
        Self { shared, ..self }
    }

    /// The lengths of request `index`.
    pub fn at(&self, index: u32) -> Asked {
        let own = self.own(index);
        Asked { prompt_tokens: own.prompt_tokens.saturating_add(self.shared), ..own }
    }

    fn own(&self, index: u32) -> Asked {
        match &self.kind {
            Kind::Uniform { prompt, output } => {
                let mut random = SplitMix64::new(self.seed).branch(stream::LENGTHS).branch(u64::from(index));
                let mut draw = |[low, high]: [u32; 2]| low + random.below(high - low + 1);
                Asked { prompt_tokens: draw(*prompt), output_tokens: draw(*output) }
            }
            Kind::Listed(listed) => listed[index as usize % listed.len()],
        }
    }

    /// The longest prompt and the longest output that any request has; their sum bounds the context.
    pub fn longest(&self) -> Asked {
        let own = self.longest_own();
        Asked { prompt_tokens: own.prompt_tokens.saturating_add(self.shared), ..own }
    }

    fn longest_own(&self) -> Asked {
        match &self.kind {
            Kind::Uniform { prompt, output } => Asked { prompt_tokens: prompt[1], output_tokens: output[1] },
            Kind::Listed(listed) => {
                listed.iter().fold(Asked { prompt_tokens: 0, output_tokens: 0 }, |most, asked| Asked {
                    prompt_tokens: most.prompt_tokens.max(asked.prompt_tokens),
                    output_tokens: most.output_tokens.max(asked.output_tokens),
                })
            }
        }
    }
}

/// What is wrong, without the line and column that serde counts from the start of this one line.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or(text.clone(), |(what, _)| what.to_owned())
}

fn lengths_of(line: &[u8]) -> Result<Asked, String> {
    let value: Value =
        serde_json::from_slice(line).map_err(|error| format!("not JSON ({})", without_place(&error)))?;
    let length = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| Some((*name, value.get(name)?)));
        let (name, value) = found.ok_or_else(|| format!("no {} (nor {})", names[0], names[1]))?;
        let fits = value.as_u64().and_then(|length| u32::try_from(length).ok());
        let fits = fits.filter(|length| (1..=MOST).contains(length));
        fits.ok_or_else(|| format!("{name} is {value}, not a whole number from 1 to {MOST}"))
    };
    Ok(Asked {
        prompt_tokens: length(["prompt_tokens", "input_length"])?,
        output_tokens: length(["output_tokens", "output_length"])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Asked = Asked { prompt_tokens: 100, output_tokens: 9 };

    fn read(text: &str, seed: u64) -> Result<Lengths, Error> {
        Lengths::read("lengths.jsonl", text.as_bytes(), seed)
    }

    #[test]
    fn fixed_lengths_are_those_asked_for() {
        assert_eq!(Lengths::fixed(AROUND).at(0), AROUND);
        assert_eq!(Lengths::fixed(AROUND).at(u32::MAX), AROUND);
    }

    #[test]
    fn a_range_ratio_means_what_it_means_in_vllm() {
        let lengths = Lengths::uniform(AROUND, 0.25, 5).expect("a ratio below 1");
        let all: Vec<Asked> = (0..20_000).map(|index| lengths.at(index)).collect();
        let ends = |of: fn(&Asked) -> u32| (all.iter().map(of).min(), all.iter().map(of).max());
        // 9 × 0.75 = 6.75 down to 6, 9 × 1.25 = 11.25 up to 12.
        assert_eq!(ends(|asked| asked.prompt_tokens), (Some(75), Some(125)));
        assert_eq!(ends(|asked| asked.output_tokens), (Some(6), Some(12)));
        assert_eq!(lengths.longest(), Asked { prompt_tokens: 125, output_tokens: 12 });
        // Seven outputs, each a seventh of the time: 2,857 ± 49.
        let sixes = all.iter().filter(|asked| asked.output_tokens == 6).count();
        assert!(sixes.abs_diff(2857) < 200, "{sixes}");
        let mean = all.iter().map(|asked| f64::from(asked.prompt_tokens)).sum::<f64>() / 20_000.0;
        assert!((mean - 100.0).abs() < 0.5, "{mean}");
    }

    #[test]
    fn no_ratio_gives_a_request_of_no_tokens() {
        let lengths =
            Lengths::uniform(Asked { prompt_tokens: 1, output_tokens: 1 }, 0.9, 1).expect("a ratio");
        assert!((0..100).map(|index| lengths.at(index)).all(|asked| asked.output_tokens > 0));
        for ratio in [-0.1, 1.0, f64::NAN] {
            assert!(Lengths::uniform(AROUND, ratio, 1).is_err(), "{ratio}");
        }
    }

    #[test]
    fn lengths_depend_on_the_index_and_the_seed_alone() {
        let [one, same, other] = [1, 1, 2].map(|seed| Lengths::uniform(AROUND, 0.5, seed).expect("a ratio"));
        let at = |lengths: &Lengths| (0..50).map(|index| lengths.at(index)).collect::<Vec<_>>();
        assert_eq!(at(&one), at(&same));
        assert_ne!(at(&one), at(&other));
        assert_eq!(one.at(49), at(&one)[49]);
    }

    #[test]
    fn a_file_gives_its_lengths_in_an_order_of_the_seed() {
        let lines: Vec<String> = (1..=100)
            .map(|n| format!("{{\"timestamp\":{n},\"input_length\":{n},\"output_length\":7}}"))
            .collect();
        let text = lines.join("\n\n");
        let lengths = read(&text, 3).expect("a hundred lines");
        let mut round: Vec<u32> = (0..100).map(|index| lengths.at(index).prompt_tokens).collect();
        assert!(!round.is_sorted());
        assert_eq!(lengths.at(0), lengths.at(100));
        round.sort_unstable();
        assert_eq!(round, (1..=100).collect::<Vec<_>>());
        assert_eq!(lengths.longest(), Asked { prompt_tokens: 100, output_tokens: 7 });
        assert_eq!(read(&text, 3).expect("the same"), lengths);
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong() {
        let good = "{\"prompt_tokens\": 8, \"output_tokens\": 4}\n";
        for (bad, problem) in [
            ("{\"prompt_tokens\": 8}", "no output_tokens (nor output_length)"),
            (
                "{\"prompt_tokens\": 0, \"output_tokens\": 4}",
                "prompt_tokens is 0, not a whole number from 1 to 16777216",
            ),
            ("{\"prompt_tokens\": 8, \"output_tokens\": 1.5}", "output_tokens is 1.5, not a whole number"),
            ("[8, 4]", "no prompt_tokens (nor input_length)"),
            ("{", "not JSON (EOF while parsing"),
        ] {
            let message = read(&format!("{good}\n{bad}\n"), 1).expect_err(bad).to_string();
            assert!(message.starts_with(&format!("lengths.jsonl, line 3: {problem}")), "{message}");
        }
        assert_eq!(
            read("\n", 1).expect_err("nothing").to_string(),
            "lengths.jsonl is empty; expected one JSON object per request"
        );
    }
}
