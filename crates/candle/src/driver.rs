//! The loop that is measured: a schedule of equal sequences as one static batch.
//!
//! One step is one call of the network, the greedy choice on the device, and the token ids on the
//! host; only that lies between a step's two ticks. Two things happen between steps: the logits are
//! summed to see whether they are finite, and the events are handed over. On a processor both together
//! took 0.03% of a decode step of 45 ms (SmolLM2-135M in `Q4_1`, 2 cores, 2026-11-23).

use std::ops::Range;
use std::sync::Arc;

use candle_core::{D, DType, Tensor};

use crate::base::clock;
use crate::base::event::{Event, EventSink, Phase, StepEvent, TokenEvent};
use crate::base::sys::Interrupt;

use super::facts::{Facts, Shape, common_shape};
use super::network::Network;
use super::{NAME, first_line};
use crate::engine::{Capabilities, Engine, Error, Outcome, Schedule, SequencePlan};

/// Contexts from this length on are kept for the next schedule; shorter ones are fed again sooner
/// than copied.
pub(super) const KEEP_CONTEXT_FROM: u64 = 32;

/// The engine: a network, and a copy of it as it was after the last context.
pub(super) struct Driver {
    /// `None` only where `kept` holds the network.
    network: Option<Box<dyn Network>>,
    kept: Option<Kept>,
    facts: Arc<Facts>,
    capabilities: Capabilities,
    device: candle_core::Device,
    vocabulary: u32,
}

/// A network after a context.
struct Kept {
    contexts: Vec<Vec<u32>>,
    network: Box<dyn Network>,
    /// The greedy choice after the context, `[batch]`.
    next: Tensor,
}

/// One run's bookkeeping.
struct Run<'a> {
    shape: Shape,
    events: &'a mut dyn EventSink,
    interrupt: &'a Interrupt,
    outcome: Outcome,
}

impl Driver {
    pub(super) fn new(
        network: Box<dyn Network>,
        facts: Arc<Facts>,
        capabilities: Capabilities,
        device: candle_core::Device,
        vocabulary: u32,
    ) -> Self {
        Self { network: Some(network), kept: None, facts, capabilities, device, vocabulary }
    }

    /// Empties the cache and forgets the kept context.
    fn start_afresh(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.network.get_or_insert(kept.network);
        }
        if let Some(network) = self.network.as_mut() {
            network.reset();
        }
    }

    /// Feeds the schedule's contexts and returns the greedy choices after them.
    fn enter_context(&mut self, schedule: &Schedule, run: &mut Run<'_>) -> Result<Tensor, Error> {
        let same = |kept: &Kept| {
            kept.contexts.len() == schedule.sequences.len()
                && kept.contexts.iter().zip(&schedule.sequences).all(|(kept, plan)| *kept == plan.context)
        };
        if let Some(kept) = self.kept.as_ref().filter(|kept| same(kept)) {
            // The old cache goes before the copy is made: some architectures copy it whole.
            self.network = None;
            self.network = kept.network.fork();
            if self.network.is_some() {
                return Ok(kept.next.clone());
            }
        }
        self.start_afresh();
        let mut next = None;
        for range in self.facts.context_steps(run.shape) {
            let feed = Feed::Host(schedule, |plan| &plan.context, range.clone());
            next = Some(self.step(Phase::Context, &feed, range.start, run)?);
        }
        let next = next.ok_or_else(|| failed("the context", "it is empty"))?;
        if run.shape.context as u64 >= KEEP_CONTEXT_FROM
            && let Some(copy) = self.network.as_ref().and_then(|network| network.fork())
        {
            let contexts = schedule.sequences.iter().map(|plan| plan.context.clone()).collect();
            self.kept = Some(Kept { contexts, network: copy, next: next.clone() });
        }
        Ok(next)
    }

    /// Feeds a part of the contexts and returns the logits after its last token, on the host.
    fn logits_behind(
        &mut self,
        schedule: &Schedule,
        range: Range<usize>,
        interrupt: &Interrupt,
    ) -> Result<Vec<Vec<f32>>, Error> {
        if interrupt.requested() {
            return Err(Error::Interrupted);
        }
        let network = self.network.as_mut().ok_or_else(|| failed("the logits", "the network is gone"))?;
        let position = range.start;
        let feed = Feed::Host(schedule, |plan| &plan.context, range);
        let logits = feed.tensor(&self.device).and_then(|tokens| network.forward(&tokens, position));
        let on_host =
            logits.and_then(|logits| logits.to_dtype(DType::F32)).and_then(|logits| logits.to_vec2());
        on_host.map_err(|error| failed("the logits", &first_line(&error)))
    }

    /// One step from the feed to the token ids on the host; gives the choices on the device.
    fn step(
        &mut self,
        phase: Phase,
        feed: &Feed<'_>,
        position: usize,
        run: &mut Run<'_>,
    ) -> Result<Tensor, Error> {
        if run.interrupt.requested() {
            return Err(Error::Interrupted);
        }
        let Some(network) = self.network.as_mut() else {
            return Err(failed(phase_name(phase), "the network is gone after an earlier failure"));
        };
        let what = |error: candle_core::Error| {
            failed(&format!("{} at position {position}", phase_name(phase)), &first_line(&error))
        };
        let start = clock::now();
        let tokens = feed.tensor(&self.device).map_err(what)?;
        let logits = network.forward(&tokens, position).map_err(what)?;
        let next = logits.argmax(D::Minus1).map_err(what)?;
        let ids: Vec<u32> = next.to_vec1().map_err(what)?;
        self.device.synchronize().map_err(what)?;
        let end = clock::now();

        if !is_finite(&logits).map_err(what)? {
            run.outcome.non_finite_steps += 1;
        }
        let batch = count(run.shape.batch);
        let yields = match phase {
            Phase::Context => false,
            Phase::Prefill => run.shape.output > 0,
            Phase::Decode | Phase::Mixed => true,
        };
        let fed = if phase == Phase::Decode { 0 } else { count(tokens.elem_count()) };
        run.events.take(Event::Step(StepEvent {
            phase,
            start,
            end,
            sequences: batch,
            prompt_tokens: fed,
            fed_output_tokens: if phase == Phase::Decode { batch } else { 0 },
            recomputed_tokens: 0,
            output_tokens: if yields { batch } else { 0 },
        }));
        if yields {
            for ((sequence, token), tokens) in (0u32..).zip(&ids).zip(&mut run.outcome.tokens) {
                run.events.take(Event::Token(TokenEvent { sequence, at: end, token: *token }));
                tokens.push(*token);
            }
        }
        Ok(next)
    }
}

impl Engine for Driver {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn accepts(&self, schedule: &Schedule) -> Result<(), Error> {
        self.facts.check(schedule, self.vocabulary).map(drop)
    }

    fn run(
        &mut self,
        schedule: &Schedule,
        events: &mut dyn EventSink,
        interrupt: &Interrupt,
    ) -> Result<Outcome, Error> {
        let shape = self.facts.check(schedule, self.vocabulary)?;
        let outcome =
            Outcome { tokens: vec![Vec::with_capacity(shape.output); shape.batch], non_finite_steps: 0 };
        let mut run = Run { shape, events, interrupt, outcome };
        let mut next = None;
        let mut position = shape.context;
        let mut left = shape.output;
        if shape.context > 0 {
            next = Some(self.enter_context(schedule, &mut run)?);
        } else {
            self.start_afresh();
        }
        if shape.prompt > 0 {
            let feed = Feed::Host(schedule, |plan| &plan.prompt, 0..shape.prompt);
            next = Some(self.step(Phase::Prefill, &feed, position, &mut run)?);
            position += shape.prompt;
            left = left.saturating_sub(1);
        }
        for _ in 0..left {
            let Some(last) = next.take() else { break };
            next = Some(self.step(Phase::Decode, &Feed::Device(last), position, &mut run)?);
            position += 1;
        }
        Ok(run.outcome)
    }

    fn logits(&mut self, contexts: &[Vec<u32>], interrupt: &Interrupt) -> Result<Vec<Vec<f32>>, Error> {
        let of = |context: &Vec<u32>| SequencePlan {
            context: context.clone(),
            prompt: Vec::new(),
            output_tokens: 1,
        };
        let schedule = Schedule { sequences: contexts.iter().map(of).collect() };
        let shape = self.facts.check(&schedule, self.vocabulary)?;
        self.start_afresh();
        let mut last = None;
        for range in self.facts.context_steps(shape) {
            last = Some(self.logits_behind(&schedule, range, interrupt)?);
        }
        last.ok_or_else(|| failed("the logits", "there are no tokens"))
    }

    // candle's networks give the last position's logits only, so from `from` on each token is a step of its own.
    fn every_logits(
        &mut self,
        tokens: &[u32],
        from: usize,
        each: &mut dyn FnMut(usize, &[f32]),
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let plan = |tokens: &[u32]| Schedule {
            sequences: vec![SequencePlan { context: tokens.to_vec(), prompt: Vec::new(), output_tokens: 0 }],
        };
        let schedule = plan(tokens);
        self.facts.check(&schedule, self.vocabulary)?;
        self.start_afresh();
        let together = tokens.len().min(from + 1);
        let shape = common_shape(&plan(&tokens[..together]))?;
        let alone = (together..tokens.len()).map(|at| at..at + 1);
        for range in self.facts.context_steps(shape).into_iter().chain(alone) {
            let end = range.end;
            let rows = self.logits_behind(&schedule, range, interrupt)?;
            if let (true, Some(row)) = (end > from, rows.first()) {
                each(end - 1, row);
            }
        }
        Ok(())
    }
}

/// Where a step's tokens are.
enum Feed<'a> {
    /// A part of each sequence's context or prompt.
    Host(&'a Schedule, fn(&SequencePlan) -> &Vec<u32>, Range<usize>),
    /// The choices of the step before, `[batch]`, on the device already.
    Device(Tensor),
}

impl Feed<'_> {
    /// The tokens as `[batch, length]`.
    fn tensor(&self, device: &candle_core::Device) -> candle_core::Result<Tensor> {
        match self {
            Self::Host(schedule, part, range) => {
                let rows = schedule.sequences.iter();
                let tokens: Vec<u32> = rows.flat_map(|plan| &part(plan)[range.clone()]).copied().collect();
                Tensor::from_vec(tokens, (schedule.sequences.len(), range.len()), device)
            }
            Self::Device(tokens) => tokens.unsqueeze(1),
        }
    }
}

/// Whether all logits are finite: a NaN or an infinity anywhere makes their sum one.
fn is_finite(logits: &Tensor) -> candle_core::Result<bool> {
    let sum = logits.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
    Ok(sum.is_finite())
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Context => "a context step",
        Phase::Prefill => "a prefill step",
        Phase::Decode => "a decode step",
        Phase::Mixed => "a mixed step",
    }
}

fn failed(what: &str, reason: &str) -> Error {
    let (what, reason) = (what.to_owned(), reason.to_owned());
    // CUDA's words, which candle passes on as text.
    if ["OUT_OF_MEMORY", "out of memory"].iter().any(|words| reason.contains(words)) {
        return Error::OutOfMemory { engine: NAME, what, reason };
    }
    Error::Step { engine: NAME, what, reason }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
