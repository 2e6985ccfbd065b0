//! Streams and events.

use std::ffi::{c_int, c_void};

use super::super::code::Code;
use super::super::stream::{Callback, Capture, DEFAULT, Event, Stream, Work};
use super::super::{Needs, State, call};
use super::{functions, give, pointer};

const NON_BLOCKING: u32 = 1;
const UNTIMED: u32 = 2;

fn create(state: &mut State, to: *mut *mut c_void, flags: u32, priority: i32) -> Result<(), Code> {
    if flags > NON_BLOCKING {
        return Err(Code::INVALID_VALUE);
    }
    let id = state.handle();
    let stream = Stream { blocking: flags & NON_BLOCKING == 0, priority, ..Stream::default() };
    state.streams.all.insert(id, stream);
    give(to, pointer(id))
}

fn event(state: &State, handle: *mut c_void) -> Result<usize, Code> {
    let id = handle as usize;
    if state.streams.events.contains_key(&id) { Ok(id) } else { Err(Code::INVALID_HANDLE) }
}

/// Milliseconds between two events that have happened.
fn elapsed(state: &State, to: *mut f32, first: *mut c_void, last: *mut c_void) -> Result<(), Code> {
    let of = |handle| event(state, handle).map(|id| &state.streams.events[&id]);
    let (first, last) = (of(first)?, of(last)?);
    if first.untimed || last.untimed || first.recorded.is_none() || last.recorded.is_none() {
        return Err(Code::INVALID_HANDLE);
    }
    let (Some(first), Some(last)) = (first.done, last.done) else { return Err(Code::NOT_READY) };
    give(to, last.saturating_duration_since(first).as_secs_f32() * 1e3)
}

functions! { FUNCTIONS;
    Context fn cuStreamCreate(stream: *mut *mut c_void, flags: u32) |state| {
        create(state, stream, flags, 0)
    }
    Context fn cuStreamCreateWithPriority(stream: *mut *mut c_void, flags: u32, priority: c_int) |state| {
        create(state, stream, flags, priority)
    }
    Context fn cuStreamDestroy_v2(stream: *mut c_void) |state| {
        let id = state.stream(stream as usize)?;
        if id == DEFAULT {
            return Err(Code::INVALID_HANDLE);
        }
        state.finish(id)?;
        state.streams.all.remove(&id);
        Ok(())
    }
    Context fn cuStreamSynchronize(stream: *mut c_void) |state| {
        let id = state.stream(stream as usize)?;
        state.is_not_captured(id)?;
        state.finish(id)
    }
    Context fn cuStreamQuery(stream: *mut c_void) |state| {
        let id = state.stream(stream as usize)?;
        state.is_not_captured(id)?;
        if !state.is_busy(id) {
            return Ok(());
        }
        // Whoever asks again and again is to see an end: not yet now, done at the next question.
        state.finish(id)?;
        Err(Code::NOT_READY)
    }
    Context fn cuStreamGetPriority(stream: *mut c_void, priority: *mut c_int) |state| {
        let id = state.stream(stream as usize)?;
        give(priority, state.streams.all[&id].priority)
    }
    Context fn cuStreamGetFlags(stream: *mut c_void, flags: *mut u32) |state| {
        let id = state.stream(stream as usize)?;
        give(flags, u32::from(!state.streams.all[&id].blocking))
    }
    Context fn cuStreamWaitEvent(stream: *mut c_void, handle: *mut c_void, flags: u32) |state| {
        let _ = flags;
        let (id, event) = (state.stream(stream as usize)?, event(state, handle)?);
        let known = state.streams.events[&event].clone();
        match (state.capturing(id), known.captured) {
            // The stream joins the capture that the event was recorded in.
            (None, Some(capture)) => {
                state.streams.all.entry(id).or_default().capture = Some(capture);
                state.streams.captures.entry(capture).or_default().joined.push(id);
                Ok(())
            }
            (Some(of_stream), Some(of_event)) if of_stream == of_event => {
                // Work of a capture runs in the order of its calls, so the wait is no work; it brings a stream back.
                let capture = state.streams.captures.entry(of_stream).or_default();
                if let Some((from, _)) = known.recorded {
                    capture.joined.retain(|joined| *joined != from);
                }
                Ok(())
            }
            (Some(_), _) => Err(Code::CAPTURE_ISOLATION),
            (None, None) => match known.recorded {
                Some((stream, place)) => state.submit(id, Work::Wait { stream, place }),
                None => Ok(()),
            },
        }
    }
    Context fn cuStreamBeginCapture_v2(stream: *mut c_void, mode: c_int) |state| {
        let id = state.stream(stream as usize)?;
        if id == DEFAULT || state.capturing(id).is_some() || !(0..=2).contains(&mode) {
            return Err(Code::CAPTURE_UNSUPPORTED);
        }
        let capture = state.handle();
        let thread = Some(std::thread::current().id());
        state.streams.captures.insert(capture, Capture { origin: id, mode, thread, ..Capture::default() });
        state.streams.all.entry(id).or_default().capture = Some(capture);
        Ok(())
    }
    Context fn cuStreamEndCapture(stream: *mut c_void, graph: *mut *mut c_void) |state| {
        let id = state.stream(stream as usize)?;
        let capture = state.capturing(id).ok_or(Code::INVALID_VALUE)?;
        let done = state.streams.captures.remove(&capture).ok_or(Code::INVALID_VALUE)?;
        for stream in state.streams.all.values_mut().filter(|stream| stream.capture == Some(capture)) {
            stream.capture = None;
        }
        for event in state.streams.events.values_mut().filter(|event| event.captured == Some(capture)) {
            *event = Event { untimed: event.untimed, ..Event::default() };
        }
        give(graph, std::ptr::null_mut())?;
        if done.origin != id {
            return Err(Code::INVALID_VALUE);
        }
        if done.broken {
            return Err(Code::CAPTURE_INVALIDATED);
        }
        if !done.joined.is_empty() {
            return Err(Code::CAPTURE_UNJOINED);
        }
        let handle = state.handle();
        state.graphs.insert(handle, done.work);
        give(graph, pointer(handle))
    }
    Context fn cuStreamIsCapturing(stream: *mut c_void, status: *mut c_int) |state| {
        let id = state.stream(stream as usize)?;
        give(status, c_int::from(state.capturing(id).is_some()))
    }
    Context fn cuThreadExchangeStreamCaptureMode(mode: *mut c_int) |state| {
        if mode.is_null() { Err(Code::INVALID_VALUE) } else { Ok(()) }
    }
    Context fn cuLaunchHostFunc(stream: *mut c_void, function: Option<Callback>, data: *mut c_void) |state| {
        let id = state.stream(stream as usize)?;
        let function = function.ok_or(Code::INVALID_VALUE)?;
        state.submit(id, Work::Call { function, data: data as usize })
    }
    Context fn cuEventCreate(to: *mut *mut c_void, flags: u32) |state| {
        let id = state.handle();
        state.streams.events.insert(id, Event { untimed: flags & UNTIMED != 0, ..Event::default() });
        give(to, pointer(id))
    }
    Context fn cuEventDestroy_v2(handle: *mut c_void) |state| {
        let id = event(state, handle)?;
        state.streams.events.remove(&id);
        Ok(())
    }
    Context fn cuEventRecord(handle: *mut c_void, stream: *mut c_void) |state| {
        let (id, stream) = (event(state, handle)?, state.stream(stream as usize)?);
        if let Some(capture) = state.capturing(stream) {
            let known = state.streams.events.entry(id).or_default();
            (known.captured, known.recorded) = (Some(capture), Some((stream, 0)));
            return Ok(());
        }
        state.submit(stream, Work::Record { event: id })
    }
    Context fn cuEventQuery(handle: *mut c_void) |state| {
        let id = event(state, handle)?;
        let known = &state.streams.events[&id];
        if known.captured.is_some() {
            return Err(Code::CAPTURE_UNSUPPORTED);
        }
        let Some((stream, place)) = known.recorded.filter(|_| known.done.is_none()) else { return Ok(()) };
        state.drain(stream, place)?;
        Err(Code::NOT_READY)
    }
    Context fn cuEventSynchronize(handle: *mut c_void) |state| {
        let id = event(state, handle)?;
        let known = &state.streams.events[&id];
        if known.captured.is_some() {
            return Err(Code::CAPTURE_UNSUPPORTED);
        }
        match known.recorded {
            Some((stream, place)) => state.drain(stream, place),
            None => Ok(()),
        }
    }
    Context fn cuEventElapsedTime(to: *mut f32, first: *mut c_void, last: *mut c_void) |state| {
        elapsed(state, to, first, last)
    }
    Context fn cuEventElapsedTime_v2(to: *mut f32, first: *mut c_void, last: *mut c_void) |state| {
        elapsed(state, to, first, last)
    }
}
