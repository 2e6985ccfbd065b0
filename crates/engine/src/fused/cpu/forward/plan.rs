//! What a step has to do, written down before the threads begin: the pieces of its attention and the rows whose logits
//! are wanted.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::fused::kv::PAGE;
use crate::fused::network::Network;
use crate::{LogitsWanted, StepBatch, StepSequence};

use super::super::CpuEngine;
use super::super::attention::MOST_ROWS;

/// Tokens of an attention tile when a prompt is processed.
const TILE: usize = 8;
/// A piece of attention with no more positions than this is not cut: putting it together would cost what it saves.
const LEAST_CUT: usize = 2 * PAGE;
/// Pieces of attention that each thread shall have at least: then none is idle for long while another has one more.
const PIECES_EACH: usize = 2;

/// A piece of attention: `tokens` of a sequence against positions `from..to`, for one KV head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) sequence: usize,
    pub(super) head: usize,
    /// First token within the step's tokens of the sequence, and how many.
    pub(super) first: usize,
    pub(super) tokens: usize,
    pub(super) from: usize,
    pub(super) to: usize,
    /// Where its partial result goes, when it was cut.
    pub(super) part: Option<usize>,
}

impl Task {
    fn work(&self) -> usize {
        (self.to - self.from) * self.tokens
    }
}

/// A piece of attention that was cut by positions, to be put together when all its parts are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    /// Its tokens, as rows of the step.
    pub(super) tokens: Range<usize>,
    pub(super) head: usize,
    /// Its parts, by number.
    pub(super) parts: Range<usize>,
}

/// Writes down the pieces of attention and the rows whose logits are wanted.
pub(super) fn plan(engine: &mut CpuEngine, batch: &StepBatch<'_>) {
    let (network, buffers) = (&engine.network, &mut engine.buffers);
    buffers.wanted.clear();
    for queue in &buffers.queues {
        queue.store(0, Ordering::Relaxed);
    }
    pieces(batch.sequences, network, &mut buffers.tasks);
    cut(batch.sequences, buffers.threads, &mut buffers.tasks, &mut buffers.cuts);
    for (number, sequence) in batch.sequences.iter().enumerate() {
        let last = sequence.first_token + sequence.token_count - 1;
        match batch.logits {
            LogitsWanted::Every => {
                for row in sequence.first_token..=last {
                    let chosen = (row == last && sequence.yields).then_some(number);
                    buffers.wanted.push((row, chosen));
                }
            }
            _ if sequence.yields => buffers.wanted.push((last, Some(number))),
            _ => {}
        }
    }
    buffers.tasks.sort_unstable_by_key(|task| std::cmp::Reverse(task.work()));
}

/// The pieces of a step's attention: each tile of each sequence's tokens for each KV head, against all it may see.
fn pieces(sequences: &[StepSequence], network: &Network, tasks: &mut Vec<Task>) {
    tasks.clear();
    let tile = tile(network);
    for (number, sequence) in sequences.iter().enumerate() {
        for head in 0..network.kv_heads {
            for first in (0..sequence.token_count).step_by(tile) {
                let tokens = tile.min(sequence.token_count - first);
                let to = sequence.position as usize + first + tokens;
                tasks.push(Task { sequence: number, head, first, tokens, from: 0, to, part: None });
            }
        }
    }
}

/// Cuts every piece that is longer than a fair share, by positions and in whole pages.
///
/// A fair share is the step's attention over [`PIECES_EACH`] pieces a thread. So a long context among short ones, and
/// few contexts on many threads, keep no thread waiting; where there are pieces enough nothing is cut.
fn cut(sequences: &[StepSequence], threads: usize, tasks: &mut Vec<Task>, cuts: &mut Vec<Cut>) {
    cuts.clear();
    let whole = tasks.len();
    let all: usize = tasks.iter().map(Task::work).sum();
    let mut parts = 0;
    for number in 0..whole {
        let task = tasks[number];
        if threads == 1 || task.to <= LEAST_CUT {
            continue;
        }
        let pages = task.to.div_ceil(PAGE);
        let count = (PIECES_EACH * threads * task.work()).div_ceil(all).min(pages);
        if count < 2 {
            continue;
        }
        for part in 0..count {
            let (from, to) = (pages * part / count * PAGE, pages * (part + 1) / count * PAGE);
            let piece = Task { from, to: to.min(task.to), part: Some(parts + part), ..task };
            if part == 0 {
                tasks[number] = piece;
            } else {
                tasks.push(piece);
            }
        }
        let first = sequences[task.sequence].first_token + task.first;
        cuts.push(Cut { tokens: first..first + task.tokens, head: task.head, parts: parts..parts + count });
        parts += count;
    }
    debug_assert!(parts <= most_parts(threads), "{parts} parts for {threads} threads");
}

/// Tokens of an attention tile: so many that their rows fit into one call.
pub(super) fn tile(network: &Network) -> usize {
    TILE.min(MOST_ROWS / (network.heads / network.kv_heads)).max(1)
}

/// Parts of all pieces that are cut, at most: each is more than a half of what [`PIECES_EACH`] makes a fair share.
pub(super) fn most_parts(threads: usize) -> usize {
    2 * PIECES_EACH * threads
}

#[cfg(test)]
mod tests {
    use super::super::buffers::tests::network;
    use super::*;

    /// Sequences with this many positions before the step and tokens in it.
    fn sequences(shapes: &[(u32, usize)]) -> Vec<StepSequence> {
        let mut first_token = 0;
        let of = |(position, token_count): &(u32, usize)| {
            let sequence = StepSequence {
                first_token,
                token_count: *token_count,
                position: *position,
                first_page: 0,
                page_count: 0,
                yields: true,
            };
            first_token += token_count;
            sequence
        };
        shapes.iter().map(of).collect()
    }

    /// The tasks and cuts of a step, checked: every piece is there once, and no thread has to wait for a long one.
    fn planned(network: &Network, shapes: &[(u32, usize)], threads: usize) -> (Vec<Task>, Vec<Cut>) {
        let sequences = sequences(shapes);
        let (mut whole, mut cuts) = (Vec::new(), Vec::new());
        pieces(&sequences, network, &mut whole);
        let mut tasks = whole.clone();
        cut(&sequences, threads, &mut tasks, &mut cuts);
        for task in &whole {
            let mut parts: Vec<&Task> = tasks
                .iter()
                .filter(|part| {
                    (part.sequence, part.head, part.first) == (task.sequence, task.head, task.first)
                })
                .collect();
            parts.sort_by_key(|part| part.from);
            assert_eq!((parts[0].from, parts[parts.len() - 1].to), (task.from, task.to));
            for pair in parts.windows(2) {
                assert!(pair[0].to == pair[1].from && pair[1].from % PAGE == 0 && pair[0].from < pair[0].to);
            }
            let first = sequences[task.sequence].first_token + task.first;
            let cut = cuts.iter().find(|cut| cut.head == task.head && cut.tokens.contains(&first));
            assert_eq!(cut.map_or(1, |cut| cut.parts.len()), parts.len());
            assert!(
                parts.len() == 1
                    || parts.iter().map(|part| part.part).eq(cut.unwrap().parts.clone().map(Some))
            );
        }
        let all: usize = whole.iter().map(Task::work).sum();
        let longest = tasks.iter().filter(|task| task.to > LEAST_CUT).map(Task::work).max().unwrap_or(0);
        let page = PAGE * tile(network);
        assert!(
            longest <= (all / (PIECES_EACH * threads)).max(page) + page,
            "{shapes:?} {threads}: {longest} of {all}"
        );
        let parts: usize = cuts.iter().map(|cut| cut.parts.len()).sum();
        assert!(parts <= most_parts(threads), "{shapes:?} {threads}");
        (tasks, cuts)
    }

    #[test]
    fn few_contexts_on_many_threads_leave_none_idle() {
        let network = network("llama");
        for threads in [1, 2, 3, 8, 16, 61] {
            for shapes in [
                &[(4095, 1)][..],
                &[(4095, 1), (4095, 1)],
                // One long context among short ones.
                &[(8191, 1), (63, 1), (127, 1), (1, 1), (200, 1)],
                // The last tile of a long prompt, and a prompt next to sequences that decode.
                &[(4000, 5)],
                &[(2000, 100), (4095, 1), (77, 1)],
                &[(0, 512)],
                &[(0, 1)],
            ] {
                let (tasks, _) = planned(&network, shapes, threads);
                if shapes.len() <= 2 && shapes[0].0 == 4095 && threads > 1 {
                    assert!(tasks.len() >= threads, "{} tasks for {threads} threads", tasks.len());
                }
            }
        }
    }

    #[test]
    fn nothing_is_cut_where_there_are_pieces_enough() {
        let network = network("llama");
        assert_eq!(planned(&network, &[(4095, 1); 16], 2).1, []);
        assert_eq!(planned(&network, &[(0, 512)], 2).1, []);
        assert_eq!(planned(&network, &[(4095, 1)], 1).1, []);
        assert_eq!(planned(&network, &[(100, 1)], 16).1, [], "too short to be worth it");
    }
}
