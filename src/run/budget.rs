//! The time of a run: what `--max-time` leaves, and when a schedule that cannot end in time is cut.
//!
//! Time is read from the moment the model is loaded. A schedule is cut between two steps, as soon as the steps so far
//! say that it would end too late; what it has reported until then is dropped.

use crate::base::event::{Event, EventSink, Phase, StepEvent, Tick};
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;
use crate::engine::Schedule;

/// A run may exceed its bound by this share before a schedule is cut: cutting a slow trial makes the others look
/// fast.
const OVER: f64 = 0.1;

/// What a run may take.
pub(super) struct Budget<'a> {
    now: &'a dyn Fn() -> Tick,
    begin: Tick,
    most: Option<Seconds>,
}

impl<'a> Budget<'a> {
    /// Begins now.
    pub(super) fn begin(now: &'a dyn Fn() -> Tick, most: Option<Seconds>) -> Self {
        Self { now, begin: now(), most }
    }

    pub(super) fn now(&self) -> Tick {
        (self.now)()
    }

    pub(super) fn spent(&self) -> Seconds {
        self.now().since(self.begin)
    }

    /// Time left; `None` when nothing bounds it.
    pub(super) fn left(&self) -> Option<Seconds> {
        Some(self.begin.after(self.most?).since(self.now()))
    }

    /// The moment at which whatever still runs is cut.
    pub(super) fn end(&self) -> Option<Tick> {
        Some(self.begin.after(self.most? * (1.0 + OVER)))
    }

    /// The moment `share` of the whole time is over.
    pub(super) fn moment(&self, share: f64) -> Option<Tick> {
        Some(self.begin.after(self.most? * share))
    }
}

/// Keeps a schedule's events, and has it cut when it cannot end in time.
pub(super) struct Watch<'a> {
    pub(super) events: Vec<Event>,
    parts: [Part; 3],
    begin: Option<Tick>,
    end: Option<Tick>,
    stop: &'a Interrupt,
    /// What the schedule would have taken, where it was cut.
    pub(super) cut: Option<Seconds>,
}

/// One phase of a schedule: its units (tokens fed or steps), and how many are done.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    units: f64,
    done: f64,
    begin: Option<Tick>,
}

impl<'a> Watch<'a> {
    /// Room for `capacity` events, so that no allocation falls between two steps.
    pub(super) fn new(schedule: &Schedule, end: Option<Tick>, stop: &'a Interrupt, capacity: usize) -> Self {
        let units = |units: usize| Part { units: units as f64, ..Part::default() };
        let context = schedule.sequences.iter().map(|plan| plan.context.len()).sum();
        let prompt: usize = schedule.sequences.iter().map(|plan| plan.prompt.len()).sum();
        let outputs = schedule.sequences.first().map_or(0, |plan| plan.output_tokens as usize);
        let steps = outputs.saturating_sub(usize::from(prompt > 0));
        let parts = [units(context), units(prompt), units(steps)];
        Self { events: Vec::with_capacity(capacity), parts, begin: None, end, stop, cut: None }
    }

    fn look(&mut self, step: &StepEvent) {
        let begin = *self.begin.get_or_insert(step.start);
        let (index, done) = match step.phase {
            Phase::Context => (0, f64::from(step.prompt_tokens)),
            Phase::Prefill => (1, f64::from(step.prompt_tokens)),
            Phase::Decode => (2, 1.0),
            Phase::Mixed => return,
        };
        let part = &mut self.parts[index];
        part.done += done;
        let (from, part) = (*part.begin.get_or_insert(step.start), *part);
        let Some(end) = self.end.filter(|_| self.cut.is_none()) else { return };
        let units = (part.units - part.done).max(0.0);
        // The first of several steps may be slower than the others: it speaks for the next one alone.
        let (per_unit, units) = if part.done >= 2.0 {
            (step.end.since(from) * (1.0 / part.done), units)
        } else {
            (step.end.since(step.start), units.min(1.0))
        };
        let left = per_unit * units;
        let more = self.parts[index..].iter().any(|part| part.done < part.units);
        if more && step.end.after(left) > end {
            self.cut = Some(step.end.since(begin) + left);
            self.stop.request();
        }
    }
}

impl EventSink for Watch<'_> {
    fn take(&mut self, event: Event) {
        if let Event::Step(step) = &event {
            self.look(step);
        }
        self.events.push(event);
    }
}
