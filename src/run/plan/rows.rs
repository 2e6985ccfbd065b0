//! Rows: the unit of a result table, in llama-bench's notation.

use serde::Serialize;

use crate::base::units::Seconds;
use crate::record::Cell;

/// What a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// `ppP`: a prompt of P tokens, up to its first output token.
    Prefill {
        /// Prompt tokens of each sequence.
        prompt_tokens: u32,
    },
    /// `tgN`: N decode steps after the context's own first token.
    Decode {
        /// Output tokens of each sequence.
        output_tokens: u32,
    },
    /// `ppP+tgN`: a prompt and its continuation, one after the other.
    Joint {
        /// Prompt tokens of each sequence.
        prompt_tokens: u32,
        /// Output tokens of each sequence, the prompt's own first token among them.
        output_tokens: u32,
    },
}

/// One row: a kind at a batch and a depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it measures.
    pub kind: RowKind,
    /// Parallel sequences.
    pub batch: u32,
    /// Tokens in the context before the row's clock starts.
    pub depth: u32,
}

impl Row {
    /// The row's name: `pp512`, `tg128 @ d4096 b8`.
    pub fn label(&self) -> String {
        self.cell().label()
    }

    /// Prompt tokens of each sequence under the row's clock.
    pub fn prompt_tokens(&self) -> u32 {
        match self.kind {
            RowKind::Prefill { prompt_tokens } | RowKind::Joint { prompt_tokens, .. } => prompt_tokens,
            RowKind::Decode { .. } => 0,
        }
    }

    /// Output tokens of each sequence; a prefill row's single one is not its object and counts as none.
    pub fn output_tokens(&self) -> u32 {
        match self.kind {
            RowKind::Decode { output_tokens } | RowKind::Joint { output_tokens, .. } => output_tokens,
            RowKind::Prefill { .. } => 0,
        }
    }

    /// Tokens of context fed before the clock: a decode row needs one to start from.
    pub fn context_tokens(&self) -> u32 {
        match self.kind {
            RowKind::Decode { .. } => self.depth.max(1),
            _ => self.depth,
        }
    }

    /// The same row with prompt and outputs `divisor` times as short, at least one token and two steps; `None` when that
    /// is no shorter.
    pub fn part(&self, divisor: u32) -> Option<Self> {
        let prompt = |tokens: u32| (tokens / divisor).max(1);
        let steps = |steps: u32| (steps / divisor).clamp(steps.min(2), steps);
        let kind = match self.kind {
            RowKind::Prefill { prompt_tokens } => RowKind::Prefill { prompt_tokens: prompt(prompt_tokens) },
            RowKind::Decode { output_tokens } => RowKind::Decode { output_tokens: steps(output_tokens) },
            RowKind::Joint { prompt_tokens, output_tokens } => RowKind::Joint {
                prompt_tokens: prompt(prompt_tokens),
                output_tokens: output_tokens.min(1 + steps(output_tokens.saturating_sub(1))),
            },
        };
        (kind != self.kind).then_some(Self { kind, ..*self })
    }

    /// How long this row takes when a [`part`](Self::part) of it took so long for its input and its output.
    pub fn from_part(&self, part: &Self, [input, output]: [Seconds; 2]) -> Seconds {
        let share = |whole: u32, part: u32| f64::from(whole) / f64::from(part.max(1));
        input * share(self.prompt_tokens(), part.prompt_tokens())
            + output * share(self.decode_steps(), part.decode_steps())
    }

    /// Decode steps: a prompt yields the first output token itself.
    pub fn decode_steps(&self) -> u32 {
        match self.prompt_tokens() {
            0 => self.output_tokens(),
            _ => self.output_tokens().saturating_sub(1),
        }
    }

    /// Positions each sequence takes at the end of the row.
    pub fn positions(&self) -> u64 {
        u64::from(self.context_tokens()) + u64::from(self.prompt_tokens()) + u64::from(self.output_tokens())
    }

    /// The row as a record names it.
    pub fn cell(&self) -> Cell {
        Cell {
            prompt_tokens: self.prompt_tokens(),
            output_tokens: self.output_tokens(),
            batch: self.batch,
            depth: self.depth,
            phase: match self.kind {
                RowKind::Prefill { .. } => crate::record::Phase::Prefill,
                RowKind::Decode { .. } => crate::record::Phase::Decode,
                RowKind::Joint { .. } => crate::record::Phase::Joint,
            },
            requests_per_second: None,
        }
    }
}

/// The shapes as they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shapes {
    /// `-p`: prompt lengths.
    pub prompt_tokens: Vec<u32>,
    /// `-n`: output lengths.
    pub output_tokens: Vec<u32>,
    /// `--pg`: joint rows.
    pub joint: Vec<(u32, u32)>,
    /// `-b`: batches.
    pub batch: Vec<u32>,
    /// `-d`: depths.
    pub depth: Vec<u32>,
}

/// Every row that the shapes stand for: depths outermost, then batches, then prefill, decode and joint
/// rows; a length of zero asks for no row, as in llama-bench.
pub fn expand(shapes: &Shapes) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for &depth in &shapes.depth {
        for &batch in &shapes.batch {
            let prefill =
                shapes.prompt_tokens.iter().map(|&prompt_tokens| RowKind::Prefill { prompt_tokens });
            let decode = shapes.output_tokens.iter().map(|&output_tokens| RowKind::Decode { output_tokens });
            let joint = shapes
                .joint
                .iter()
                .map(|&(prompt_tokens, output_tokens)| RowKind::Joint { prompt_tokens, output_tokens });
            for kind in prefill.chain(decode).chain(joint) {
                let row = Row { kind, batch, depth };
                if row.prompt_tokens() + row.output_tokens() > 0 && !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_order_and_once() {
        let rows = expand(&Shapes {
            prompt_tokens: vec![0, 128, 128],
            output_tokens: vec![32],
            joint: vec![(64, 16)],
            batch: vec![1, 8],
            depth: vec![0],
        });
        let labels: Vec<String> = rows.iter().map(Row::label).collect();
        assert_eq!(labels, ["pp128", "tg32", "pp64+tg16", "pp128 b8", "tg32 b8", "pp64+tg16 b8"]);
    }

    #[test]
    fn a_part_of_a_row_foretells_it() {
        let row = |kind| Row { kind, batch: 2, depth: 64 };
        let prompt = row(RowKind::Prefill { prompt_tokens: 128 });
        let output = row(RowKind::Decode { output_tokens: 32 });
        let joint = row(RowKind::Joint { prompt_tokens: 64, output_tokens: 17 });
        let parts = |row: Row| [16, 4].map(|divisor| row.part(divisor).map(|part| part.label()));
        let some = |label: &str| Some(format!("{label} @ d64 b2"));
        assert_eq!(parts(prompt), [some("pp8"), some("pp32")]);
        assert_eq!(parts(output), [some("tg2"), some("tg8")]);
        assert_eq!(parts(joint), [some("pp4+tg3"), some("pp16+tg5")]);
        assert_eq!(parts(row(RowKind::Decode { output_tokens: 2 })), [None, None]);
        assert_eq!(parts(row(RowKind::Prefill { prompt_tokens: 1 })), [None, None]);
        let took = |row: Row, input: f64, output: f64| {
            let split = [Seconds::new(input), Seconds::new(output)];
            row.from_part(&row.part(4).expect("shorter"), split).get()
        };
        assert!((took(prompt, 2.0, 0.0) - 8.0).abs() < 1e-9);
        assert!((took(output, 0.0, 3.0) - 12.0).abs() < 1e-9);
        // 64 of 16 tokens and 16 of 4 steps.
        assert!((took(joint, 1.0, 0.5) - 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_decode_row_needs_a_token_to_start_from() {
        let row = Row { kind: RowKind::Decode { output_tokens: 32 }, batch: 1, depth: 0 };
        assert_eq!((row.context_tokens(), row.positions()), (1, 33));
        let deep = Row { depth: 4096, ..row };
        assert_eq!(
            (deep.context_tokens(), deep.positions(), deep.label()),
            (4096, 4128, "tg32 @ d4096".into())
        );
    }
}
