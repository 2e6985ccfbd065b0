//! Ends a process that runs out of memory or threads with one sentence and exit code 1, never an abort.
//!
//! std aborts when an allocation fails and panics when a thread cannot be started, also within dependencies. So the
//! program's allocator is the system's plus a check of the result ([`Allocator`]), and a panic caused by exhausted
//! resources ends the process the same way ([`install`]); every other panic is unchanged. Whatever the program changed on
//! the machine is restored first ([`undo`]). Planning rejects what is known to fail ([`super::memory`]); this is for the
//! rest.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; this one only checks the system allocator's result"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sys::{self, Resource};
use super::undo;

/// Stack of the first thread that is touched in advance when the address space is limited: the stack grows on use, and
/// growth that fails is a segmentation fault.
const STACK: usize = 512 << 10;

/// The system's allocator; an allocation that fails ends the process.
#[derive(Debug)]
pub struct Allocator;

// SAFETY: every call is forwarded to the system's allocator, and a null pointer is never returned.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `GlobalAlloc`'s contract for this method, which is the one called.
        checked(unsafe { System.alloc(layout) }, layout.size())
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `GlobalAlloc`'s contract for this method, which is the one called.
        checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller upholds `GlobalAlloc`'s contract for this method, which is the one called.
        checked(unsafe { System.realloc(pointer, layout, size) }, size)
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds `GlobalAlloc`'s contract for this method, which is the one called.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[inline]
fn checked(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null() {
        out_of_memory(bytes);
    }
    pointer
}

#[cold]
fn out_of_memory(bytes: usize) -> ! {
    claim_exit();
    let mut line = Line::new();
    // Only formatting that does not allocate.
    _ = write!(line, "error: out of memory: the system cannot provide another {bytes} bytes");
    for (resource, flag) in [(Resource::AddressSpace, "-v"), (Resource::Data, "-d")] {
        if let Some(limit) = sys::limit(resource) {
            _ = write!(line, " (this process is limited to {} KiB: ulimit {flag})", limit >> 10);
        }
    }
    _ = line.write_str(
        "; use a smaller model or quantization, lower --batch, --depth or --threads, or free memory\n",
    );
    exit_with(line.text())
}

/// Makes a panic caused by a lack of threads or memory end the process with a sentence, and prepares for tight limits.
///
/// Must be called once, before any other thread exists.
pub fn install() {
    if sys::limit(Resource::AddressSpace).is_some() || sys::limit(Resource::Data).is_some() {
        sys::share_one_heap();
        touch_stack();
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match exhausted_resource(panic) {
        Some(what) => {
            claim_exit();
            let mut line = Line::new();
            _ = writeln!(
                line,
                "error: the system cannot provide more {what}; lower --threads, or raise the limit (ulimit -u, ulimit -v, \
                 pids.max and memory.max of a container)"
            );
            exit_with(line.text())
        }
        None => usual(panic),
    }));
}

/// The resource that a panic reports as exhausted.
fn exhausted_resource(panic: &PanicHookInfo<'_>) -> Option<&'static str> {
    let payload = panic.payload();
    let said = payload.downcast_ref::<String>().map(String::as_str);
    exhausted_resource_in(said.or_else(|| payload.downcast_ref::<&str>().copied())?)
}

/// The same from the panic's message, which contains the system's error formatted with `{}` or `{:?}`.
fn exhausted_resource_in(said: &str) -> Option<&'static str> {
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
#[allow(clippy::large_stack_arrays, reason = "its purpose is to use that much stack")]
fn touch_stack() {
    let mut stack = [0_u8; STACK];
    std::hint::black_box(&mut stack);
}

thread_local! {
    /// Whether this is the thread that ends the process.
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// Makes this thread the one that ends the process; any other thread that gets here waits.
fn claim_exit() {
    static ENDING: AtomicBool = AtomicBool::new(false);
    if ENDS.get() {
        // Ending the process itself ran out of memory: skip the message and the restoring.
        sys::exit_now(1);
    }
    if ENDING.swap(true, Ordering::SeqCst) {
        loop {
            std::thread::park();
        }
    }
    ENDS.set(true);
}

/// Prints `line` on stderr and ends the process with exit code 1, after restoring what it changed on the machine.
fn exit_with(line: &[u8]) -> ! {
    sys::write_stderr(line);
    undo::before_giving_up();
    sys::exit_now(1)
}

/// A line that is formatted without allocating; what does not fit is dropped.
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
        assert_eq!(exhausted_resource_in(spawn), Some("threads"));
        assert_eq!(exhausted_resource_in(pool), Some("threads"));
        assert_eq!(exhausted_resource_in(stack), Some("memory"));
        for fault in [
            "index out of bounds: the len is 11 but the index is 12",
            "called `Result::unwrap()` on an `Err` value: Os { code: 2, kind: NotFound, message: \"thread\" }",
            "called `Result::unwrap()` on an `Err` value: Os { code: 11, kind: WouldBlock, message: \"again\" }",
            "thread engine-1 fell (os error 111)",
        ] {
            assert_eq!(exhausted_resource_in(fault), None, "{fault}");
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
