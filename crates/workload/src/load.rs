//! The one driver of a load: when which request is sent, without a clock.
//!
//! The server side asks [`Load::next`] what to do at this moment, and reports to [`Load::ended`] what is over.
//!
//! Closed loop: a number of slots; a request is due when its slot becomes free. Open loop: requests are due by a schedule
//! that knows nothing of the server; with a limit of requests in flight one may have to wait for a slot, and stays due when
//! the schedule said, so that its latency holds the wait (what load generators omit who count from the actual send).
//!
//! A load ends by number or by time. By time, a request is sent when it was due *and* had a slot before the end, however
//! late the client asks: a slow client changes no schedule. What was due and never had a slot is counted as unsent.

use std::collections::{HashSet, VecDeque};

use crate::Error;
use crate::arrivals::Arrivals;
use crate::base::event::Tick;
use crate::base::requests::{MOST_REQUESTS, Planned};
use crate::base::units::Seconds;
use crate::lengths::Asked;

/// What makes a request due.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    /// The end of the one before it.
    Closed {
        /// Requests in flight.
        concurrency: u32,
    },
    /// A schedule.
    Open {
        /// The schedule.
        arrivals: Arrivals,
        /// The most requests in flight; `None` for no limit.
        most_in_flight: Option<u32>,
    },
}

/// How long a part of a load is: until the first of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Extent {
    /// Requests sent.
    pub requests: Option<u32>,
    /// Time in which they are due and have a slot.
    pub time: Option<Seconds>,
}

/// A request to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Send {
    /// Its index, from 0 on, warm-up and measured together.
    pub request: u32,
    /// Whether it belongs to the warm-up.
    pub warmup: bool,
    /// When it was due. Latencies count from here.
    pub intended: Tick,
    /// When it could be sent at the earliest: later than `intended` when there was no slot.
    pub released: Tick,
}

impl Send {
    /// The request as it is noted, of the lengths asked for.
    pub fn planned(self, asked: Asked) -> Planned {
        Planned {
            index: self.request,
            warmup: self.warmup,
            intended: self.intended,
            released: self.released,
            prompt_tokens: asked.prompt_tokens,
            output_tokens: asked.output_tokens,
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send this, and ask again.
    Send(Send),
    /// Nothing before this moment, unless a request ends before.
    WaitUntil(Tick),
    /// Nothing before a request ends.
    WaitForEnd,
    /// Nothing any more: all requests are sent and have ended.
    Over,
}

/// What ended the sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The number of requests.
    Requests,
    /// The time.
    Time,
    /// More requests than a log can take.
    LogFull,
    /// [`Load::stop`].
    Stopped,
}

/// A request that ended twice, or was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("request {0} is not in flight")]
pub struct NotInFlight(pub u32);

/// The driver.
#[derive(Debug, Clone)]
pub struct Load {
    schedule: Option<Schedule>,
    /// Slots of a closed loop.
    concurrency: Option<u32>,
    /// When each free slot became free; `None` when there are as many as it takes.
    slots: Option<VecDeque<Tick>>,
    begin: Tick,
    warmup: Extent,
    measured: Extent,
    measured_from: Option<Tick>,
    /// When the last request was released; the beginning before there is one.
    released: Tick,
    warmup_sent: u32,
    measured_sent: u32,
    in_flight: HashSet<u32>,
    over: Option<Over>,
}

/// An arrival drawn ahead, and those after it.
#[derive(Debug, Clone)]
struct Schedule {
    due: Tick,
    begin: Tick,
    arrivals: Arrivals,
}

impl Load {
    /// A load that begins at `begin`: first its warm-up (nothing when both of its ends are `None`), then what is measured,
    /// without a pause.
    ///
    /// # Errors
    ///
    /// A load without an end, without a slot, or with a length of time that is not above zero.
    pub fn new(pace: Pace, warmup: Extent, measured: Extent, begin: Tick) -> Result<Self, Error> {
        if measured == Extent::default() {
            return Err(Error::Endless);
        }
        for (name, extent) in [("warm-up time", warmup), ("time", measured)] {
            if let Some(value) =
                extent.time.map(Seconds::get).filter(|time| !(time.is_finite() && *time > 0.0))
            {
                return Err(Error::OutOfRange { name, value, expected: "above 0 and finite" });
            }
        }
        let (arrivals, limit) = match pace {
            Pace::Closed { concurrency } => (None, Some(concurrency)),
            Pace::Open { arrivals, most_in_flight } => (Some(arrivals), most_in_flight),
        };
        if limit == Some(0) {
            return Err(Error::OutOfRange { name: "concurrency", value: 0.0, expected: "at least 1" });
        }
        let concurrency = limit.filter(|_| arrivals.is_none());
        let schedule = arrivals.map(|arrivals| Schedule { due: begin, begin, arrivals }.after());
        let slots = limit.map(|limit| std::iter::repeat_n(begin, limit as usize).collect());
        Ok(Self {
            schedule,
            concurrency,
            slots,
            begin,
            warmup,
            measured,
            measured_from: None,
            released: begin,
            warmup_sent: 0,
            measured_sent: 0,
            in_flight: HashSet::new(),
            over: None,
        })
    }

    /// What to do at `now`. Ask again after each [`Next::Send`].
    pub fn next(&mut self, now: Tick) -> Next {
        if self.over.is_none() {
            let free = match &self.slots {
                Some(slots) => slots.front().copied(),
                None => Some(self.begin),
            };
            let Some(free) = free else { return Next::WaitForEnd };
            let intended = self.schedule.as_ref().map_or(free, |schedule| schedule.due);
            let released = intended.max(free);
            let warmup = self.is_warmup(released);
            self.over = if warmup { self.full() } else { self.end_of_measured(released) };
            if self.over.is_none() {
                return if released > now {
                    Next::WaitUntil(released)
                } else {
                    Next::Send(self.send(warmup, intended, released))
                };
            }
        }
        if self.in_flight.is_empty() { Next::Over } else { Next::WaitForEnd }
    }

    /// Takes note that `request` ended, however it did, and that this was known at `now`.
    ///
    /// # Errors
    ///
    /// [`NotInFlight`], and then nothing changes.
    pub fn ended(&mut self, request: u32, now: Tick) -> Result<(), NotInFlight> {
        if !self.in_flight.remove(&request) {
            return Err(NotInFlight(request));
        }
        if let Some(slots) = &mut self.slots {
            slots.push_back(now);
        }
        Ok(())
    }

    /// Sends nothing any more.
    pub fn stop(&mut self) {
        self.over.get_or_insert(Over::Stopped);
    }

    /// Slots of a closed loop; `None` for a schedule.
    pub fn concurrency(&self) -> Option<u32> {
        self.concurrency
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// When the measured part began; `None` before.
    pub fn measured_from(&self) -> Option<Tick> {
        self.measured_from
    }

    /// When the measured part ends by time; `None` without such an end or before it began.
    pub fn measured_to(&self) -> Option<Tick> {
        Some(after(self.measured_from?, self.measured.time?))
    }

    /// What ended the sending; `None` while it goes on.
    pub fn over(&self) -> Option<Over> {
        self.over
    }

    /// When those were due that never had a slot before the end by time. They belong to the load as those that failed do.
    pub fn unsent(&self) -> Vec<Tick> {
        let (Some(Over::Time), Some(schedule), Some(end)) = (self.over, &self.schedule, self.measured_to())
        else {
            return Vec::new();
        };
        let room = self.measured.requests.map_or(MOST_REQUESTS, |most| (most - self.measured_sent) as usize);
        let left = std::iter::successors(Some(schedule.clone()), |schedule| Some(schedule.clone().after()));
        left.map(|schedule| schedule.due).take_while(|due| *due < end).take(room).collect()
    }

    fn is_warmup(&self, released: Tick) -> bool {
        let Extent { requests, time } = self.warmup;
        let within = requests.is_none_or(|most| self.warmup_sent < most)
            && time.is_none_or(|time| released < after(self.begin, time));
        self.warmup != Extent::default() && self.measured_from.is_none() && within
    }

    /// Whether a request released then is past the end, and why.
    fn end_of_measured(&mut self, released: Tick) -> Option<Over> {
        // From the end of the warm-up: its time, or its last request, not the first one after it, which would always be in.
        let by_time = self.warmup.time.map(|time| after(self.begin, time)).filter(|end| *end <= released);
        let from = *self.measured_from.get_or_insert(by_time.unwrap_or(self.released));
        if self.measured.requests.is_some_and(|most| self.measured_sent >= most) {
            return Some(Over::Requests);
        }
        let late = self.measured.time.is_some_and(|time| released >= after(from, time));
        if late { Some(Over::Time) } else { self.full() }
    }

    fn full(&self) -> Option<Over> {
        (self.warmup_sent as usize + self.measured_sent as usize >= MOST_REQUESTS).then_some(Over::LogFull)
    }

    fn send(&mut self, warmup: bool, intended: Tick, released: Tick) -> Send {
        let request = self.warmup_sent + self.measured_sent;
        *(if warmup { &mut self.warmup_sent } else { &mut self.measured_sent }) += 1;
        self.in_flight.insert(request);
        self.released = released;
        if let Some(slots) = &mut self.slots {
            slots.pop_front();
        }
        self.schedule = self.schedule.take().map(Schedule::after);
        Send { request, warmup, intended, released }
    }
}

impl Schedule {
    /// The same with the next arrival.
    fn after(mut self) -> Self {
        if let Some(at) = self.arrivals.next() {
            self.due = after(self.begin, at);
        }
        self
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that is not below zero")]
fn after(from: Tick, time: Seconds) -> Tick {
    Tick::from_nanos(from.nanos().saturating_add((time.get() * 1e9).round() as u64))
}

#[cfg(test)]
mod tests;
