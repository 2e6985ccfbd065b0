//! Streams, events and graphs. Work is done as late as it may: when someone waits for it.
//!
//! So a result that is read before its stream was waited for is not there yet, and a source that is overwritten
//! too early is read overwritten. Each stream is done up to what is waited for, with what that depends on and
//! nothing else.
#![allow(unsafe_code, reason = "copies between the caller's memory and the device's")]

use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Instant;

use super::State;
use super::code::Code;
use super::launch::Shape;
use super::memory::Owner;
use crate::ptx::decode::Kernel;
use crate::ptx::fault::Kind;
use crate::ptx::machine::{Launch, Options, run};

/// The default stream.
pub const DEFAULT: usize = 0;

/// A callback of the caller's.
pub type Callback = unsafe extern "C" fn(*mut c_void);

/// A piece of work.
#[derive(Debug, Clone)]
pub enum Work {
    ToDevice {
        from: Source,
        to: u64,
        size: u64,
    },
    ToHost {
        from: u64,
        to: usize,
        size: u64,
    },
    Within {
        from: u64,
        to: u64,
        size: u64,
    },
    Fill {
        to: u64,
        pattern: Vec<u8>,
        count: u64,
    },
    Launch {
        kernel: Arc<Kernel>,
        shape: Shape,
        parameters: Arc<[u8]>,
        device: usize,
    },
    Record {
        event: usize,
    },
    /// Waits for a place of another stream.
    Wait {
        stream: usize,
        place: u64,
    },
    Free {
        address: u64,
    },
    Call {
        function: Callback,
        data: usize,
    },
}

/// Where a copy to the device reads.
#[derive(Debug, Clone)]
pub enum Source {
    /// Pinned memory, read when the copy is done.
    Late(usize),
    /// Other memory was read when the copy was asked for.
    Taken(Arc<[u8]>),
}

/// A stream.
#[derive(Debug, Default)]
pub struct Stream {
    pub queue: VecDeque<(u64, Work)>,
    /// Whether it takes turns with the default stream.
    pub blocking: bool,
    pub priority: i32,
    /// The capture that its work goes to.
    pub capture: Option<usize>,
}

/// An event.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// Stream and place of its last record.
    pub recorded: Option<(usize, u64)>,
    pub done: Option<Instant>,
    pub untimed: bool,
    /// The capture in which it was recorded.
    pub captured: Option<usize>,
    /// Times that someone looked.
    pub looks: u32,
}

/// Work that is captured.
#[derive(Debug, Default)]
pub struct Capture {
    pub origin: usize,
    pub work: Vec<Work>,
    /// Streams that joined it and have not come back.
    pub joined: Vec<usize>,
    /// Something was asked for meanwhile that may not be; nothing comes of it any more.
    pub broken: bool,
    pub mode: i32,
    /// The thread that began it; `None` for the default of this type alone.
    pub thread: Option<ThreadId>,
}

/// What all streams share.
#[derive(Debug, Default)]
pub struct Streams {
    pub all: HashMap<usize, Stream>,
    pub events: HashMap<usize, Event>,
    pub captures: HashMap<usize, Capture>,
    place: u64,
}

impl State {
    /// Puts work on a stream, or into the capture that the stream is part of.
    pub fn submit(&mut self, stream: usize, work: Work) -> Result<(), Code> {
        let streams = &mut self.streams;
        if let Some(capture) = streams.all.get(&stream).ok_or(Code::INVALID_HANDLE)?.capture {
            let capture = streams.captures.get_mut(&capture).ok_or(Code::UNKNOWN)?;
            if capture.broken {
                return Err(Code::CAPTURE_INVALIDATED);
            }
            capture.work.push(work);
            return Ok(());
        }
        streams.place += 1;
        let place = streams.place;
        if let Work::Record { event } = work
            && let Some(event) = streams.events.get_mut(&event)
        {
            *event = Event { recorded: Some((stream, place)), untimed: event.untimed, ..Event::default() };
        }
        streams.all.get_mut(&stream).ok_or(Code::INVALID_HANDLE)?.queue.push_back((place, work));
        Ok(())
    }

    /// Whether a stream's work is being captured.
    pub fn capturing(&self, stream: usize) -> Option<usize> {
        self.streams.all.get(&stream)?.capture
    }

    /// Ends all captures; nothing comes of them.
    pub fn abandon_captures(&mut self) {
        self.streams.captures.clear();
        self.streams.all.values_mut().for_each(|stream| stream.capture = None);
    }

    /// Refuses to wait for a stream whose work is being captured, or to ask how far it is. The capture then fails as a whole.
    pub fn is_not_captured(&mut self, stream: usize) -> Result<(), Code> {
        let Some(capture) = self.capturing(stream) else { return Ok(()) };
        self.streams.captures.entry(capture).or_default().broken = true;
        Err(Code::CAPTURE_UNSUPPORTED)
    }

    /// Refuses what may wait for all streams, where a capture forbids that: one in global mode to every thread, one in the mode
    /// of a thread to that one, a relaxed one to none. The capture then fails as a whole.
    pub fn may_wait(&mut self) -> Result<(), Code> {
        let here = std::thread::current().id();
        let forbids = |capture: &Capture| match capture.mode {
            0 => true,
            1 => capture.thread == Some(here),
            _ => false,
        };
        let mut forbidding = self.streams.captures.values_mut().filter(|capture| forbids(capture)).peekable();
        if forbidding.peek().is_none() {
            return Ok(());
        }
        forbidding.for_each(|capture| capture.broken = true);
        Err(Code::CAPTURE_UNSUPPORTED)
    }

    /// Does the work of a stream up to a place, with all that it depends on.
    pub fn drain(&mut self, stream: usize, upto: u64) -> Result<(), Code> {
        loop {
            let Some(of) = self.streams.all.get_mut(&stream) else { return Ok(()) };
            let blocking = of.blocking;
            let Some((place, work)) = of.queue.pop_front_if(|(place, _)| *place <= upto) else {
                return Ok(());
            };
            // The default stream and the blocking ones take turns in the order of the calls.
            if stream == DEFAULT {
                let others: Vec<usize> = (self.streams.all.iter())
                    .filter(|(id, other)| **id != DEFAULT && other.blocking)
                    .map(|(id, _)| *id)
                    .collect();
                for other in others {
                    self.drain(other, place)?;
                }
            } else if blocking {
                self.drain(DEFAULT, place)?;
            }
            self.perform(work)?;
        }
    }

    /// Does all the work of a stream.
    pub fn finish(&mut self, stream: usize) -> Result<(), Code> {
        if stream == DEFAULT {
            // Whoever waits for the default stream waits for what it would wait for.
            let blocking: Vec<usize> =
                self.streams.all.iter().filter(|(_, of)| of.blocking).map(|(id, _)| *id).collect();
            for other in blocking {
                self.drain(other, u64::MAX)?;
            }
        }
        self.drain(stream, u64::MAX)
    }

    /// Does everything.
    pub fn finish_all(&mut self) -> Result<(), Code> {
        let mut all: Vec<usize> = self.streams.all.keys().copied().collect();
        all.sort_unstable();
        all.into_iter().try_for_each(|stream| self.drain(stream, u64::MAX))
    }

    /// Whether a stream has work left.
    pub fn is_busy(&self, stream: usize) -> bool {
        self.streams.all.get(&stream).is_some_and(|stream| !stream.queue.is_empty())
    }

    fn perform(&mut self, work: Work) -> Result<(), Code> {
        match work {
            Work::ToDevice { from, to, size } => {
                let to = self.reach(to, size)?;
                // SAFETY: `reach` gave a pointer to `size` bytes; the source has as many, by the caller's word
                // where it is pinned memory.
                unsafe {
                    match from {
                        Source::Late(from) => std::ptr::copy(from as *const u8, to, size as usize),
                        Source::Taken(bytes) => std::ptr::copy(bytes.as_ptr(), to, bytes.len()),
                    }
                }
            }
            Work::ToHost { from, to, size } => {
                let from = self.reach(from, size)?;
                // SAFETY: `reach` gave a pointer to `size` bytes; the target has as many by the caller's word.
                unsafe { std::ptr::copy(from, to as *mut u8, size as usize) };
            }
            Work::Within { from, to, size } => {
                let (from, to) = (self.reach(from, size)?, self.reach(to, size)?);
                // SAFETY: both are pointers to `size` bytes.
                unsafe { std::ptr::copy(from, to, size as usize) };
            }
            Work::Fill { to, pattern, count } => {
                let to = self.reach(to, count * pattern.len() as u64)?;
                for at in 0..count as usize {
                    // SAFETY: `reach` gave a pointer to `count` patterns.
                    unsafe {
                        std::ptr::copy_nonoverlapping(
                            pattern.as_ptr(),
                            to.add(at * pattern.len()),
                            pattern.len(),
                        );
                    }
                }
            }
            Work::Launch { kernel, shape, parameters, device } => {
                self.execute(&kernel, shape, &parameters, device)?
            }
            Work::Record { event } => {
                if let Some(event) = self.streams.events.get_mut(&event) {
                    event.done = Some(now());
                }
            }
            Work::Wait { stream, place } => self.drain(stream, place)?,
            Work::Free { address } => self.memory.free(address, |owner| matches!(owner, Owner::Device(_)))?,
            // SAFETY: the caller gave a function and what to call it with.
            Work::Call { function, data } => unsafe { function(data as *mut c_void) },
        }
        Ok(())
    }

    /// A pointer to device memory, or the fault that a real card would raise.
    fn reach(&mut self, address: u64, size: u64) -> Result<*mut u8, Code> {
        match self.memory.at(address, size) {
            Some(pointer) => Ok(pointer),
            None => {
                let what = format!("a copy of {size} bytes at {address:#x}, which is in no allocation");
                Err(self.die(Code::ILLEGAL_ADDRESS, &what))
            }
        }
    }

    fn execute(
        &mut self,
        kernel: &Kernel,
        shape: Shape,
        parameters: &[u8],
        device: usize,
    ) -> Result<(), Code> {
        let launch = Launch {
            kernel,
            grid: shape.grid,
            block: shape.block,
            dynamic_shared: shape.dynamic_shared,
            parameters,
            multiprocessors: self.script.cards[device].multiprocessors as u32,
        };
        let options = Options { seed: self.script.seed, races: self.script.races, ..Options::default() };
        let start = now();
        match run(&launch, &self.memory.regions(), options) {
            Ok(counts) => {
                if self.script.log.is_some() {
                    let summary = counts.summary(kernel);
                    let line = format!(
                        "launch {} grid={:?} block={:?} shared={} instructions={} lanes={} global_bytes={} sectors={} wavefronts={} ms={:.3}",
                        kernel.name,
                        shape.grid,
                        shape.block,
                        shape.dynamic_shared,
                        summary.instructions,
                        summary.lanes,
                        summary.global.bytes,
                        summary.global.sectors,
                        summary.shared.wavefronts,
                        start.elapsed().as_secs_f64() * 1e3,
                    );
                    self.log(&line);
                }
                Ok(())
            }
            Err(fault) => {
                let code = match fault.kind {
                    Kind::Address => Code::ILLEGAL_ADDRESS,
                    Kind::Misaligned => Code::MISALIGNED_ADDRESS,
                    _ => Code::LAUNCH_FAILED,
                };
                Err(self.die(code, &fault.to_string()))
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "events of the stand-in have times of their own")]
fn now() -> Instant {
    Instant::now()
}
