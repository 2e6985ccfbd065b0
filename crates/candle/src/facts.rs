//! What a loaded network computes correctly: the limits that a schedule is checked against.

use candle_transformers::models::quantized_llama;

use crate::model::Header;

use super::family::{Family, is_gguf, quantized_head};
use super::unsupported;
use crate::engine::{Error, Schedule};

/// Largest batch: candle has no limit of its own, and memory ends long before.
pub(super) const NO_BATCH_LIMIT: u32 = 1 << 16;

/// Tokens of a context step: large enough for full speed, and the attention scores stay small.
pub(super) const CONTEXT_CHUNK: u32 = 512;

/// Steps of several tokens after a filled cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// The mask is right.
    Right,
    /// Right when every step before had several tokens too: the prefill's cache misses the positions
    /// that single-token steps wrote to the decode cache.
    AfterChunksOnly,
    /// The mask is wrong or the step fails.
    Wrong,
}

/// Limits of one loaded network.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Name of the architecture for messages.
    pub(super) architecture: String,
    /// Most sequences in a batch.
    pub(super) max_batch: u32,
    /// Most positions of a sequence.
    pub(super) max_context: u32,
    /// Where `max_context` comes from.
    pub(super) max_context_reason: String,
    /// Whether several tokens may follow a filled cache.
    pub(super) chunks: Chunks,
    /// Whether a step may have several tokens of several sequences; without it a batch decodes only.
    pub(super) batched_prompts: bool,
    /// Format of the KV cache.
    pub(super) kv_type: &'static str,
}

/// The common shape of a schedule's sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) batch: usize,
    pub(super) context: usize,
    pub(super) prompt: usize,
    pub(super) output: usize,
}

impl Shape {
    /// Positions that the cache holds at the end.
    fn positions(self) -> usize {
        // The last output token is never fed; with no prompt the context's own choice is fed first.
        let fed = if self.prompt > 0 { self.output.saturating_sub(1) } else { self.output };
        self.context + self.prompt + fed
    }
}

impl Facts {
    /// What is known of the network from the header alone; a loader adds what else the files say.
    pub(super) fn of(family: Family, header: &Header, on_cpu: bool) -> Self {
        let (spec, gguf) = (&header.spec, is_gguf(header));
        let mut facts = Self {
            architecture: format!("{}{}", if gguf { "quantized " } else { "" }, spec.architecture),
            max_batch: NO_BATCH_LIMIT,
            max_context: spec.context_length,
            max_context_reason: format!("the model was made for {} positions", spec.context_length),
            chunks: Chunks::Right,
            batched_prompts: !gguf || !quantized_head(header),
            kv_type: "f32",
        };
        match family {
            Family::Llama if gguf => {
                let limit = u32::try_from(quantized_llama::MAX_SEQ_LEN).unwrap_or(u32::MAX);
                facts.at_most(limit, format!("candle's quantized Llama holds {limit} positions"));
            }
            Family::Qwen3 if gguf && on_cpu => {
                facts.max_batch = 1;
                facts.chunks = Chunks::AfterChunksOnly;
            }
            Family::Gemma3 if gguf => {
                facts.chunks = Chunks::Wrong;
                // The last position goes into a norm, which refuses strides whatever the head is.
                facts.batched_prompts = false;
            }
            Family::Llama | Family::Qwen2 | Family::Qwen3 | Family::Gemma3 | Family::Phi3 => {}
        }
        facts
    }

    /// Lowers the number of positions.
    pub(super) fn at_most(&mut self, positions: u32, reason: String) {
        if positions < self.max_context {
            self.max_context = positions;
            self.max_context_reason = reason;
        }
    }

    /// The schedule's shape, when this network can run it.
    pub(super) fn check(&self, schedule: &Schedule, vocabulary: u32) -> Result<Shape, Error> {
        let shape = common_shape(schedule)?;
        self.check_shape(shape)?;
        for sequence in &schedule.sequences {
            if let Some(token) = sequence.context.iter().chain(&sequence.prompt).find(|t| **t >= vocabulary) {
                return Err(unsupported(
                    format!("take token {token}"),
                    format!("the model's vocabulary ends at {}", vocabulary.saturating_sub(1)),
                ));
            }
        }
        Ok(shape)
    }

    /// Whether this network can run sequences of this shape.
    pub(super) fn check_shape(&self, shape: Shape) -> Result<(), Error> {
        if shape.batch > self.max_batch as usize {
            return Err(unsupported(
                format!("run a batch of {} on {}", shape.batch, self.architecture),
                format!(
                    "candle's {} knows batches of {} here; ask for `-b {}`",
                    self.architecture, self.max_batch, self.max_batch
                ),
            ));
        }
        if shape.positions() > self.max_context as usize {
            let parts = [(shape.context, "context"), (shape.prompt, "prompt"), (shape.output, "output")];
            let sum: Vec<String> = parts
                .into_iter()
                .filter(|(tokens, _)| *tokens > 0)
                .map(|(tokens, what)| format!("{tokens} of {what}"))
                .collect();
            let sum = sum.join(" + ");
            return Err(unsupported(
                format!("run sequences of {} positions ({sum})", shape.positions()),
                format!("{}; ask for fewer tokens", self.max_context_reason),
            ));
        }
        if shape.prompt > 1 && shape.context > 0 {
            let wrong = match self.chunks {
                Chunks::Right => false,
                Chunks::AfterChunksOnly => shape.context == 1,
                Chunks::Wrong => true,
            };
            if wrong {
                return Err(unsupported(
                    format!(
                        "process a prompt of {} tokens after {} tokens of context on {}",
                        shape.prompt, shape.context, self.architecture
                    ),
                    format!(
                        "candle's {} masks or caches such a step wrongly; ask for the prompt without `-d` (`-d 0`)",
                        self.architecture
                    ),
                ));
            }
        }
        if shape.prompt > 1 && shape.batch > 1 && !self.batched_prompts {
            return Err(unsupported(
                format!(
                    "process {} prompts of {} tokens in one step on {}",
                    shape.batch, shape.prompt, self.architecture
                ),
                "candle takes the last position of each as a strided view, which its next operation refuses; \
                 batches can decode: ask for `-b 1` with `-p`, or for `-p 0`",
            ));
        }
        Ok(())
    }

    /// The steps in which contexts of this shape are fed.
    pub(super) fn context_steps(&self, shape: Shape) -> Vec<std::ops::Range<usize>> {
        const CHUNK: usize = CONTEXT_CHUNK as usize;
        let length = shape.context;
        if shape.batch > 1 && !self.batched_prompts {
            return (0..length).map(|at| at..at + 1).collect();
        }
        if self.chunks == Chunks::Wrong || length <= CHUNK {
            return std::iter::once(0..length).collect();
        }
        let mut steps: Vec<_> = (0..length).step_by(CHUNK).map(|at| at..(at + CHUNK).min(length)).collect();
        // A step of one token takes the decode path of some architectures; let the step before have it.
        if length % CHUNK == 1 {
            steps.pop();
            if let Some(last) = steps.last_mut() {
                last.end = length;
            }
        }
        steps
    }
}

/// The shape that all sequences of a schedule have.
pub(super) fn common_shape(schedule: &Schedule) -> Result<Shape, Error> {
    let Some(first) = schedule.sequences.first() else {
        return Err(unsupported("run an empty schedule", "there must be at least one sequence"));
    };
    let shape_of = |sequence: &crate::engine::SequencePlan| Shape {
        batch: schedule.sequences.len(),
        context: sequence.context.len(),
        prompt: sequence.prompt.len(),
        output: sequence.output_tokens as usize,
    };
    let shape = shape_of(first);
    if let Some(other) = schedule.sequences.iter().map(shape_of).find(|other| *other != shape) {
        return Err(unsupported(
            format!(
                "run sequences of different lengths together ({}+{}+{} and {}+{}+{} tokens of context, prompt and output)",
                shape.context, shape.prompt, shape.output, other.context, other.prompt, other.output
            ),
            "candle has one position for the whole batch; give all sequences the same lengths",
        ));
    }
    if shape.context + shape.prompt == 0 {
        return Err(unsupported("run a sequence without a token", "give it a context or a prompt"));
    }
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SequencePlan;

    fn facts(chunks: Chunks) -> Facts {
        Facts {
            architecture: "llama".to_owned(),
            max_batch: 2,
            max_context: 100,
            max_context_reason: "it holds 100 positions".to_owned(),
            chunks,
            batched_prompts: false,
            kv_type: "f32",
        }
    }

    fn plan(batch: usize, context: usize, prompt: usize, output_tokens: u32) -> Schedule {
        let sequence = SequencePlan { context: vec![1; context], prompt: vec![2; prompt], output_tokens };
        Schedule { sequences: vec![sequence; batch] }
    }

    #[test]
    fn positions_end_where_the_last_fed_token_stands() {
        for (schedule, chunks, allowed) in [
            (plan(1, 0, 100, 1), Chunks::Right, true),
            (plan(1, 0, 100, 0), Chunks::Right, true),
            (plan(1, 0, 100, 2), Chunks::Right, false),
            (plan(2, 0, 100, 1), Chunks::Right, false),
            (plan(2, 0, 1, 1), Chunks::Right, true),
            (plan(2, 1, 0, 99), Chunks::Right, true),
            (plan(2, 1, 0, 100), Chunks::Right, false),
            (plan(3, 1, 0, 1), Chunks::Right, false),
            (plan(1, 4, 4, 1), Chunks::Right, true),
            (plan(1, 4, 4, 1), Chunks::Wrong, false),
            (plan(1, 4, 1, 1), Chunks::Wrong, true),
            (plan(1, 1, 4, 1), Chunks::AfterChunksOnly, false),
            (plan(1, 2, 4, 1), Chunks::AfterChunksOnly, true),
            (plan(1, 0, 0, 4), Chunks::Right, false),
            (plan(0, 1, 1, 1), Chunks::Right, false),
        ] {
            let result = facts(chunks).check(&schedule, 10);
            assert_eq!(result.is_ok(), allowed, "{schedule:?} {chunks:?}: {result:?}");
        }
    }

    #[test]
    fn refusals_name_the_number_and_the_way_out() {
        let message = |schedule: &Schedule| facts(Chunks::Wrong).check(schedule, 10).unwrap_err().to_string();
        let long = message(&plan(1, 40, 60, 5));
        assert!(long.contains("104 positions (40 of context + 60 of prompt + 5 of output)"), "{long}");
        assert!(message(&plan(7, 0, 1, 1)).contains("`-b 2`"));
        let mut uneven = plan(2, 0, 4, 1);
        uneven.sequences[1].prompt.pop();
        assert!(message(&uneven).contains("0+4+1 and 0+3+1"));
        let mut outside = plan(1, 0, 4, 1);
        outside.sequences[0].prompt[2] = 10;
        assert!(message(&outside).contains("token 10"));
    }

    #[test]
    fn context_steps_cover_the_context_and_never_end_on_a_single_token() {
        let check = |chunks, batch, context, expected: &[(usize, usize)]| {
            let steps = facts(chunks).context_steps(Shape { batch, context, prompt: 0, output: 1 });
            let steps: Vec<_> = steps.into_iter().map(|step| (step.start, step.end)).collect();
            assert_eq!(steps, expected);
        };
        check(Chunks::Right, 1, 1, &[(0, 1)]);
        check(Chunks::Right, 1, 512, &[(0, 512)]);
        check(Chunks::Right, 1, 513, &[(0, 513)]);
        check(Chunks::Right, 1, 1100, &[(0, 512), (512, 1024), (1024, 1100)]);
        check(Chunks::Right, 1, 1025, &[(0, 512), (512, 1025)]);
        check(Chunks::Wrong, 1, 1100, &[(0, 1100)]);
        check(Chunks::Right, 2, 3, &[(0, 1), (1, 2), (2, 3)]);
    }
}
