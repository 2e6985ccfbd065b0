//! Memory of the largest step on the device, taken once, and what a step sends there.

use std::sync::Arc;

use crate::fused::kv::PAGE;
use crate::fused::network::Network;
use crate::fused::rotary::Angles;
use crate::hardware::cuda::{DevicePlace, Fault, Memory, Pinned, Queue};
use crate::{LogitsWanted, PAGE_POSITIONS, StepBatch};

use super::launch::{Halves, Rows, Sorted, Tokens, part_bytes};

/// Rows of logits that are computed at once: more would need memory in proportion to the vocabulary.
pub(super) const LOGIT_ROWS: usize = 64;

/// Bytes for the parts of attention, unless a single token needs more: then tokens wait for each other.
const MOST_PARTS: usize = 64 << 20;

/// Bytes of each part of a step's memory, in the order of [`Buffers`].
pub(super) fn sizes(network: &Network, tokens: usize, pages: usize, positions: usize) -> [usize; 20] {
    let pairs = network.experts.map_or(0, |experts| tokens * experts.used);
    let experts = network.experts.map_or(0, |experts| experts.count);
    // Without experts a token has one row of its own.
    let rows = pairs.max(tokens);
    let [halves, block_sums, factors] = halves(network, tokens);
    let [slots, segments] = Sorted::sizes(pairs, experts);
    [
        sent_words(tokens, pages),
        tokens * network.width,
        tokens * network.width,
        tokens * qkv_width(network),
        tokens * network.heads * network.head_size,
        rows * network.feed_forward,
        rows * network.feed_forward,
        rows * network.width,
        LOGIT_ROWS * network.width,
        LOGIT_ROWS * network.vocabulary,
        2 * tokens,
        tokens * experts,
        pairs,
        pairs,
        attention_bytes(network.heads, network.head_size, tokens, positions) / 4,
        halves.div_ceil(4),
        block_sums.div_ceil(4),
        factors.div_ceil(4),
        slots / 4,
        segments / 4,
    ]
    .map(|numbers| numbers * 4)
}

/// Words that a step sends at most: four for each token, its pages, and the one that fills a bucket.
fn sent_words(tokens: usize, pages: usize) -> usize {
    4 * tokens + pages + 1
}

/// Bytes for the widest input of a matrix in half precision.
fn halves(network: &Network, tokens: usize) -> [usize; 3] {
    let inputs = [network.width, network.heads * network.head_size, network.feed_forward];
    let [of_width, of_heads, of_feed] = inputs.map(|columns| Halves::sizes(tokens, columns));
    // A pair's input is the activation of its expert.
    let of_pairs =
        Halves::sizes(network.experts.map_or(0, |experts| tokens * experts.used), network.feed_forward);
    std::array::from_fn(|part| of_width[part].max(of_heads[part]).max(of_feed[part]).max(of_pairs[part]))
}

/// Bytes for the parts of attention: all tokens', unless that is more than [`MOST_PARTS`] and than one token's.
pub(super) fn attention_bytes(heads: usize, head_size: usize, tokens: usize, positions: usize) -> usize {
    let one = part_bytes(heads, head_size, positions.div_ceil(PAGE));
    (tokens * one).min(MOST_PARTS.max(one))
}

/// Width of the queries, keys and values of a token.
pub(super) fn qkv_width(network: &Network) -> usize {
    (network.heads + 2 * network.kv_heads) * network.head_size
}

/// A step's memory on the device.
#[derive(Debug)]
pub(super) struct Buffers {
    memory: [Memory; 20],
    /// Tables of angles, one for each rotation of the network.
    pub(super) angles: Vec<(Memory, usize)>,
    tokens: usize,
    /// What the step sends, as it lies there; and where the device copies it from.
    sent: Vec<u32>,
    to_device: Pinned,
    /// Where the device copies to what the step found.
    found: Pinned,
    /// Rows of the step that logits are wanted of, with the sequence that a token is chosen for.
    pub(super) wanted: Vec<(usize, Option<usize>)>,
}

/// The shape that a decode step is brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Its tokens. Those beyond the step's own are at position 0 of a page that is nobody's.
    pub(super) tokens: usize,
    /// Pages that hold what any of them sees, rounded up to parts of attention.
    pub(super) pages_seen: usize,
    /// Words of the list of pages, with that page.
    pub(super) page_words: usize,
    pub(super) spare_page: u32,
}

/// Where the parts lie, and how many rows each has: all that the launches of a step depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) tokens: Tokens,
    /// Words that are sent.
    sent: usize,
    /// Rows that logits are wanted of.
    pub(super) wanted_count: usize,
    /// Rows that logits are wanted of, `u32` each.
    pub(super) wanted: DevicePlace,
    pub(super) residual: Rows,
    pub(super) normed: Rows,
    pub(super) qkv: Rows,
    pub(super) attended: Rows,
    pub(super) gate: Rows,
    pub(super) up: Rows,
    pub(super) out: Rows,
    /// Normed rows that logits are computed of.
    pub(super) last: Rows,
    pub(super) logits: Rows,
    /// Tokens that were chosen, one for each wanted row, and behind them their logits.
    pub(super) places: DevicePlace,
    pub(super) values: DevicePlace,
    pub(super) router: Rows,
    pub(super) chosen: DevicePlace,
    pub(super) shares: DevicePlace,
    /// Parts of attention.
    pub(super) attention: DevicePlace,
    /// Pairs in the order of their experts.
    pub(super) sorted: Sorted,
    /// The input of the matrices that come next.
    pub(super) halves: Halves,
}

impl Buffers {
    /// Takes memory for steps of `tokens` tokens and lists of `pages` pages, and makes the tables of angles.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn new(
        queue: &Arc<Queue>,
        network: &Network,
        (tokens, pages): (usize, usize),
        (positions, factors): (usize, Option<&[f32]>),
    ) -> Result<Self, Fault> {
        let mut memory = Vec::new();
        for size in sizes(network, tokens, pages, positions) {
            memory.push(queue.alloc(size)?);
        }
        let memory = memory.try_into().map_err(|_| Fault::Failed("as many parts as sizes".to_owned()))?;
        let mut angles = Vec::new();
        for rotation in &network.rotations {
            let table = Angles::new(rotation, factors, positions);
            let numbers = table.numbers();
            let on_device = queue.alloc(numbers.len() * 4)?;
            queue.write(&numbers, on_device.place())?;
            angles.push((on_device, table.pairs()));
        }
        let words = sent_words(tokens, pages);
        Ok(Self {
            memory,
            angles,
            tokens,
            sent: Vec::with_capacity(words),
            to_device: Pinned::new(queue, words)?,
            found: Pinned::new(queue, 2 * tokens)?,
            wanted: Vec::with_capacity(tokens),
        })
    }

    /// Makes ready what the step sends, brought to a bucket's shape where it has one, and says where everything lies.
    ///
    /// # Errors
    /// What the driver says, or that the step is larger than one can be.
    pub(super) fn begin(
        &mut self,
        network: &Network,
        batch: &StepBatch<'_>,
        bucket: Option<Bucket>,
    ) -> Result<Parts, Fault> {
        self.wanted.clear();
        let fed = batch.tokens.len();
        let count = bucket.map_or(fed, |bucket| bucket.tokens);
        // The list of pages begins with the one of the tokens that only fill the bucket.
        let spare = bucket.map(|bucket| bucket.spare_page);
        let before = usize::from(spare.is_some());
        let (mut positions, mut first_pages) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (number, sequence) in batch.sequences.iter().enumerate() {
            let last = sequence.first_token + sequence.token_count - 1;
            for token in 0..sequence.token_count {
                positions.push(sequence.position + u32::try_from(token).unwrap_or(u32::MAX));
                first_pages.push(u32::try_from(sequence.first_page + before).unwrap_or(u32::MAX));
                let row = sequence.first_token + token;
                let chosen = (row == last && sequence.yields).then_some(number);
                if chosen.is_some() || batch.logits == LogitsWanted::Every {
                    self.wanted.push((row, chosen));
                }
            }
        }
        // A token's row is its place in the order of the sequences.
        let in_order = batch.sequences.iter().try_fold(0, |next, sequence| {
            (sequence.first_token == next).then_some(next + sequence.token_count)
        });
        if in_order != Some(fed) || fed > count || count > self.tokens {
            return Err(Fault::Failed(
                "the tokens of a step do not follow the order of its sequences".to_owned(),
            ));
        }
        let last = positions.iter().copied().max().unwrap_or(0) as usize;
        positions.resize(count, 0);
        first_pages.resize(count, 0);
        self.wanted.extend((fed..count).map(|row| (row, None)));
        self.sent.clear();
        self.sent.extend(batch.tokens);
        self.sent.resize(count, 0);
        self.sent.extend(&positions);
        self.sent.extend(&first_pages);
        self.sent.extend(self.wanted.iter().map(|(row, _)| u32::try_from(*row).unwrap_or(u32::MAX)));
        let pages = self.sent.len();
        self.sent.extend(spare);
        self.sent.extend(batch.pages);
        self.to_device.fill(&self.sent)?;
        let words = bucket.map_or(self.sent.len(), |bucket| pages + bucket.page_words);
        let pages_seen = bucket.map_or(last / PAGE + 1, |bucket| bucket.pages_seen);
        let apart = batch.sequences.iter().take_while(|sequence| sequence.token_count == 1).count();
        // Those that only fill a bucket count as the others.
        let apart = if apart == fed { count } else { apart };
        Ok(self.parts(network, (count, apart), (pages, words), pages_seen))
    }

    /// Where a step's logits lie, the first wanted row in front.
    pub(super) fn logits(&self) -> DevicePlace {
        self.memory[9].place()
    }

    /// Asks for the copy to the device of what the step sends.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn send(&self, parts: &Parts) -> Result<(), Fault> {
        self.to_device.send(parts.sent, self.memory[0].place())
    }

    /// Asks for the copy of the chosen tokens and their logits to the host.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn fetch(&self, parts: &Parts) -> Result<(), Fault> {
        self.found.fetch(parts.places, 2 * parts.wanted_count)
    }

    /// Waits for the step, and gives what [`fetch`](Self::fetch) copied.
    ///
    /// # Errors
    /// What the driver says of any of it.
    pub(super) fn found(&self, parts: &Parts) -> Result<Vec<u32>, Fault> {
        let mut found = vec![0; 2 * parts.wanted_count];
        self.found.take(&mut found)?;
        Ok(found)
    }

    /// Where the parts lie in a step of `count` tokens whose pages stand at number `pages` of the `words` that are sent.
    fn parts(
        &self,
        network: &Network,
        (count, apart): (usize, usize),
        (pages, words): (usize, usize),
        pages_seen: usize,
    ) -> Parts {
        let place = |part: usize| self.memory[part].place();
        let rows = |part: usize, stride: usize| Rows { place: place(part), stride };
        let sent = |from: usize| place(0).skip(from * 4);
        let queries = network.heads * network.head_size;
        Parts {
            tokens: Tokens {
                count,
                ids: sent(0),
                positions: sent(count),
                first_page: sent(2 * count),
                pages: sent(pages),
                pages_seen,
                apart,
            },
            sent: words,
            wanted_count: self.wanted.len(),
            wanted: sent(3 * count),
            residual: rows(1, network.width),
            normed: rows(2, network.width),
            qkv: rows(3, qkv_width(network)),
            attended: rows(4, queries),
            gate: rows(5, network.feed_forward),
            up: rows(6, network.feed_forward),
            out: rows(7, network.width),
            last: rows(8, network.width),
            logits: rows(9, network.vocabulary),
            places: place(10),
            values: place(10).skip(self.wanted.len() * 4),
            router: rows(11, network.experts.map_or(0, |experts| experts.count)),
            chosen: place(12),
            shares: place(13),
            attention: place(14),
            sorted: Sorted { slots: place(18), segments: place(19) },
            halves: Halves { elements: place(15), block_sums: place(16), factors: place(17) },
        }
    }
}

/// Pages that hold `positions` positions.
pub(super) fn pages_of(positions: u32) -> u32 {
    positions.div_ceil(PAGE_POSITIONS)
}
