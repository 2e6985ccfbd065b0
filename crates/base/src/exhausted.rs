//! The end of a process that gets no more memory or threads: one sentence and exit code 1, never an abort.
//!
//! std aborts when an allocation fails, and panics when a thread cannot be started, in crates that we do not write too.
//! So the program's allocator is the system's with one look at what it gave ([`Allocator`]), and a panic that says the
//! system has no more to give ends the process as well ([`install`]); every other panic stays what it is. Whatever the
//! program changed on the machine is put back first ([`undo`]). Planning refuses what can be foreseen to fail
//! ([`super::memory`]); this is for the rest.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; this one only looks at what the system gave"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sys::{self, Resource};
use super::undo;

/// Stack of the first thread that is taken beforehand where addresses are limited: it grows as it is used, and growth
/// that is refused would be a fault.
const STACK: usize = 512 << 10;

/// The system's allocator; a request that it does not grant ends the process.
#[derive(Debug)]
pub struct Allocator;

// SAFETY: every call is the system's allocator's own, and a null pointer is never returned.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        granted(unsafe { System.alloc(layout) }, layout.size())
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        granted(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        granted(unsafe { System.realloc(pointer, layout, size) }, size)
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[inline]
fn granted(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null() {
        refused(bytes);
    }
    pointer
}

#[cold]
fn refused(bytes: usize) -> ! {
    begin_the_end();
    let mut line = Line::new();
    // Only what is formatted without allocating.
    _ = write!(line, "error: out of memory: the system gives no {bytes} bytes more");
    for (resource, flag) in [(Resource::AddressSpace, "-v"), (Resource::Data, "-d")] {
        if let Some(limit) = sys::limit(resource) {
            _ = write!(line, " (this process is limited to {} KiB: ulimit {flag})", limit >> 10);
        }
    }
    _ = line.write_str(
        "; take a smaller model or a smaller quantization, lower --batch, --depth or --threads, or free memory\n",
    );
    end(line.text())
}

/// Makes a panic for want of threads or memory end the process with a sentence, and prepares for a tight limit.
///
/// To be called once, before any other thread exists.
pub fn install() {
    if sys::limit(Resource::AddressSpace).is_some() || sys::limit(Resource::Data).is_some() {
        sys::share_one_heap();
        touch_stack();
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match want(panic) {
        Some(what) => {
            begin_the_end();
            let mut line = Line::new();
            _ = writeln!(
                line,
                "error: the system gives no more {what}; lower --threads, or raise the limit (ulimit -u, ulimit -v, \
                 pids.max and memory.max of a container)"
            );
            end(line.text())
        }
        None => usual(panic),
    }));
}

/// What a panic says the system has too little of.
fn want(panic: &PanicHookInfo<'_>) -> Option<&'static str> {
    let payload = panic.payload();
    let said = payload.downcast_ref::<String>().map(String::as_str);
    wanted_by(said.or_else(|| payload.downcast_ref::<&str>().copied())?)
}

/// The same by the panic's message, which has the system's error as `{}` or `{:?}` shows it.
fn wanted_by(said: &str) -> Option<&'static str> {
    let has =
        |code: &str| said.contains(&format!("os error {code})")) || said.contains(&format!("code: {code},"));
    // EAGAIN and ENOMEM.
    match (has("11"), has("12")) {
        (true, _) | (_, true) if said.contains("thread") || said.contains("Thread") => Some("threads"),
        (_, true) => Some("memory"),
        _ => None,
    }
}

#[inline(never)]
#[allow(clippy::large_stack_arrays, reason = "taking that much stack is its purpose")]
fn touch_stack() {
    let mut stack = [0_u8; STACK];
    std::hint::black_box(&mut stack);
}

thread_local! {
    /// Whether this is the thread that ends the process.
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// Makes this thread the one that ends the process; any other that comes here waits for that.
fn begin_the_end() {
    static ENDING: AtomicBool = AtomicBool::new(false);
    if ENDS.get() {
        // Even ending takes more than there is: whatever was to be said and put back stays so.
        sys::exit_now(1);
    }
    if ENDING.swap(true, Ordering::SeqCst) {
        loop {
            std::thread::park();
        }
    }
    ENDS.set(true);
}

/// Says `line` on stderr and ends the process with exit code 1, after what it changed on the machine is put back.
fn end(line: &[u8]) -> ! {
    sys::write_stderr(line);
    undo::before_giving_up();
    sys::exit_now(1)
}

/// A line that is written without allocating; what does not fit is left out.
struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Line {
    fn new() -> Self {
        Self { bytes: [0; 512], length: 0 }
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let count = text.len().min(room.len());
        room[..count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_for_want_of_threads_or_memory_is_told_from_a_fault_of_ours() {
        let spawn = "failed to spawn thread: Os { code: 11, kind: WouldBlock, message: \"Resource temporarily unavailable\" }";
        let pool = "The global thread pool has not been initialized.: ThreadPoolBuildError { kind: IOError(Os { code: 11, \
                    kind: WouldBlock, message: \"Resource temporarily unavailable\" }) }";
        let stack = "failed to allocate an alternative stack: Cannot allocate memory (os error 12)";
        assert_eq!(wanted_by(spawn), Some("threads"));
        assert_eq!(wanted_by(pool), Some("threads"));
        assert_eq!(wanted_by(stack), Some("memory"));
        for fault in [
            "index out of bounds: the len is 11 but the index is 12",
            "called `Result::unwrap()` on an `Err` value: Os { code: 2, kind: NotFound, message: \"thread\" }",
            "called `Result::unwrap()` on an `Err` value: Os { code: 11, kind: WouldBlock, message: \"again\" }",
            "thread engine-1 fell (os error 111)",
        ] {
            assert_eq!(wanted_by(fault), None, "{fault}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let mut line = Line::new();
        for _ in 0..100 {
            line.write_str("0123456789").unwrap();
        }
        assert_eq!(line.text().len(), 512);
    }
}
