//! The engine's own threads: pinned, spinning between the parts of a step, asleep when nothing comes.
//!
//! A decode step is some hundred parallel parts of a few microseconds. Waking a sleeping thread costs as much as such
//! a part, so the threads wait by looking (2,000 times, then letting others run) and sleep only once a whole
//! step's length has passed without work. A step is one region ([`Pool::run`]); its parts are told apart by a
//! [`Barrier`] inside.
#![allow(unsafe_code, reason = "work on the caller's stack is lent to threads that outlive it")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use crate::base::sys;

/// Looks before a waiting thread lets others run.
const LOOKS: u32 = 2_000;
/// Times that it lets others run before it sleeps: about a millisecond on an idle machine.
const YIELDS: u32 = 2_000;

/// A part of a region's work: called with the thread's number.
type Work<'a> = &'a (dyn Fn(usize) + Sync + 'a);

/// Threads that run the same function together.
#[derive(Debug)]
pub(in crate::fused) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    sleepers: Vec<Thread>,
    /// The calling thread's processor while it works, and those that it may use else.
    caller: Option<(usize, Vec<usize>)>,
}

struct Shared {
    threads: usize,
    /// Counts regions; a change means that `work` is there.
    region: AtomicUsize,
    /// Workers that are still at it.
    busy: AtomicUsize,
    work: UnsafeCell<Option<Work<'static>>>,
    asleep: Vec<AtomicBool>,
    stop: AtomicBool,
    barrier: Barrier,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("threads", &self.threads).finish_non_exhaustive()
    }
}

// SAFETY: `work` is written only by the caller of `run` while no worker is busy, and read by workers only between the
// release of `region` and their count down of `busy`; all else is atomic or behind a lock.
unsafe impl Sync for Shared {}
// SAFETY: as above; a reference to work is Sync, so it may be used from any thread.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads`, each pinned to a processor of its own: the calling thread is one of them while it works.
    ///
    /// # Errors
    /// What the system says when it gives no more threads.
    pub(in crate::fused) fn new(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            threads,
            region: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            asleep: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            barrier: Barrier::new(threads),
            panic: Mutex::new(None),
        });
        let cpus = sys::allowed_cpus_core_by_core();
        // More threads than processors are left to the system.
        let place = |thread: usize| (threads <= cpus.len()).then(|| cpus.get(thread).copied()).flatten();
        let caller = place(0).map(|cpu| (cpu, sys::allowed_cpus()));
        let mut pool = Self { shared, workers: Vec::new(), sleepers: Vec::new(), caller };
        for thread in 1..threads {
            let (shared, cpu) = (pool.shared.clone(), place(thread));
            let worker = thread::Builder::new().name(format!("engine-{thread}")).spawn(move || {
                if let Some(cpu) = cpu {
                    sys::pin_thread(cpu);
                }
                shared.serve(thread);
            })?;
            pool.sleepers.push(worker.thread().clone());
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// The barrier of the region that is running: every thread must come to it.
    pub(in crate::fused) fn barrier(&self) -> &Barrier {
        &self.shared.barrier
    }

    /// Runs `work` on every thread with its number and returns when all are done.
    ///
    /// # Panics
    /// When `work` panicked on any thread, with what it said.
    pub(in crate::fused) fn run(&mut self, work: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        // SAFETY: the reference is used until `busy` is 0, which is waited for below before this function returns or
        // unwinds, so it does not outlive the caller's.
        let lent: Work<'static> = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        // SAFETY: `&mut self` and the wait below: no region runs, so no worker reads this now.
        unsafe { *shared.work.get() = Some(lent) };
        shared.busy.store(shared.threads - 1, Ordering::Relaxed);
        shared.region.fetch_add(1, Ordering::SeqCst);
        for (asleep, sleeper) in shared.asleep.iter().skip(1).zip(&self.sleepers) {
            if asleep.load(Ordering::SeqCst) {
                sleeper.unpark();
            }
        }
        // Not for longer: threads that the caller makes between two regions would inherit it.
        if let Some((cpu, _)) = &self.caller {
            sys::pin_thread(*cpu);
        }
        shared.part(0, work);
        let mut waiting = Waiting::default();
        while shared.busy.load(Ordering::Acquire) > 0 {
            waiting.look();
        }
        if let Some((_, allowed)) = &self.caller {
            sys::pin_thread_to(allowed);
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            shared.barrier.repair();
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.region.fetch_add(1, Ordering::SeqCst);
        for (worker, sleeper) in self.workers.drain(..).zip(&self.sleepers) {
            sleeper.unpark();
            // Its panic, if any, was carried to the caller of `run` already.
            drop(worker.join());
        }
    }
}

impl Shared {
    /// What a worker does: wait for a region, work, count down.
    fn serve(&self, thread: usize) {
        let mut seen = 0;
        loop {
            let mut waiting = Waiting::default();
            while self.region.load(Ordering::Acquire) == seen {
                if waiting.look() {
                    continue;
                }
                self.asleep[thread].store(true, Ordering::SeqCst);
                // Whoever counts a region up looks at `asleep` afterwards, so one of the two sees the other.
                if self.region.load(Ordering::SeqCst) == seen {
                    thread::park();
                }
                self.asleep[thread].store(false, Ordering::SeqCst);
            }
            seen += 1;
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: the region was released after `work` was written, and it is not written again before this
            // thread counts `busy` down.
            if let Some(work) = unsafe { *self.work.get() } {
                self.part(thread, work);
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    fn part(&self, thread: usize, work: Work<'_>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(thread))) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            // The threads that a broken barrier throws out say nothing new.
            if first.is_none() || !panic.is::<Broken>() {
                *first = Some(panic);
            }
            self.barrier.broken.store(true, Ordering::Release);
        }
    }
}

/// A thread that waits: first by looking, then by letting others run.
#[derive(Default)]
struct Waiting {
    looks: u32,
}

impl Waiting {
    /// One more look; says whether it is worth looking on.
    fn look(&mut self) -> bool {
        self.looks = self.looks.saturating_add(1);
        if self.looks < LOOKS {
            std::hint::spin_loop();
        } else {
            thread::yield_now();
        }
        self.looks < LOOKS + YIELDS
    }
}

/// Where the threads of a region wait for each other.
#[derive(Debug)]
pub(in crate::fused) struct Barrier {
    threads: usize,
    here: AtomicUsize,
    round: AtomicUsize,
    broken: AtomicBool,
}

/// What a thread panics with that waited for one that panicked.
struct Broken;

impl Barrier {
    fn new(threads: usize) -> Self {
        Self {
            threads,
            here: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Waits until all threads are here; what each wrote before, all read after.
    ///
    /// # Panics
    /// When another thread of the region panicked and will never come.
    #[inline]
    pub(in crate::fused) fn wait(&self) {
        if self.threads == 1 {
            return;
        }
        let round = self.round.load(Ordering::Acquire);
        if self.here.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.here.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut waiting = Waiting::default();
        while self.round.load(Ordering::Acquire) == round {
            if self.broken.load(Ordering::Acquire) {
                std::panic::panic_any(Broken);
            }
            waiting.look();
        }
    }

    fn repair(&self) {
        self.here.store(0, Ordering::Relaxed);
        self.broken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_works_in_every_region_and_sees_what_came_before_the_barrier() {
        for threads in [1, 2, 3, 8] {
            let mut pool = Pool::new(threads).unwrap();
            let written: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            for region in 1..=300 {
                let pool_ref = pool.shared.clone();
                pool.run(&|thread| {
                    written[thread].store(region, Ordering::Relaxed);
                    pool_ref.barrier.wait();
                    assert!(written.iter().all(|number| number.load(Ordering::Relaxed) == region));
                    pool_ref.barrier.wait();
                });
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let mut pool = Pool::new(3).unwrap();
        for thrower in 0..3 {
            let shared = pool.shared.clone();
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&|thread| {
                    assert_ne!(thread, thrower, "thread {thrower} fell");
                    shared.barrier.wait();
                });
            }));
            let said = caught.unwrap_err();
            let said = said.downcast_ref::<String>().expect("the assertion's text");
            assert!(said.contains(&format!("thread {thrower} fell")), "{said}");
            let count = AtomicUsize::new(0);
            let shared = pool.shared.clone();
            pool.run(&|_| {
                shared.barrier.wait();
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 3);
        }
    }

    #[test]
    fn a_pool_that_slept_wakes_up() {
        let mut pool = Pool::new(2).unwrap();
        for _ in 0..3 {
            crate::base::clock::sleep(std::time::Duration::from_millis(30));
            let count = AtomicUsize::new(0);
            pool.run(&|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 2);
        }
    }
}
