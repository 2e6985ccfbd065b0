//! What must be put back when the program ends, however it ends.
//!
//! A change to the machine (clocks, a power limit) is made together with the step that takes it back. The
//! step runs once: when its [`Undo`] is dropped, also by a panic that unwinds, or by [`before`] when a
//! signal ends the process at once. Steps run on ordinary threads, never in a signal handler. Only SIGKILL
//! and an abort leave a change behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::clock;

/// How often a lock that is held is tried again, and the pause between two tries: two seconds.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

type Step = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Steps {
    last_id: u64,
    pending: Vec<(u64, Step)>,
}

// Whoever changes the machine or takes a change back holds this lock meanwhile, so that a process that is
// being ended waits for a step that has begun, and no change slips in behind the last step.
static STEPS: Mutex<Steps> = Mutex::new(Steps { last_id: 0, pending: Vec::new() });

fn steps() -> MutexGuard<'static, Steps> {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a change back when it is dropped.
#[derive(Debug)]
#[must_use = "the change is taken back as soon as this is dropped"]
pub struct Undo {
    id: u64,
}

impl Undo {
    /// Makes a change and remembers how to take it back; neither may make another [`Undo`].
    ///
    /// # Errors
    /// That of `change`; nothing is remembered then.
    pub fn after<E>(
        change: impl FnOnce() -> Result<(), E>,
        take_back: impl FnOnce() + Send + 'static,
    ) -> Result<Self, E> {
        let mut steps = steps();
        change()?;
        steps.last_id += 1;
        let id = steps.last_id;
        steps.pending.push((id, Box::new(take_back)));
        Ok(Self { id })
    }

    /// Changes once more what this takes back; not behind the last step of a process that is being ended.
    pub fn again<T>(&self, change: impl FnOnce() -> T) -> T {
        let _steps = steps();
        change()
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let mut steps = steps();
        if let Some(at) = steps.pending.iter().position(|(id, _)| *id == self.id) {
            let (_, step) = steps.pending.remove(at);
            step();
        }
    }
}

/// Takes back every change that still stands, the latest first, and then does the last thing.
pub fn before<T>(last: impl FnOnce() -> T) -> T {
    let mut steps = steps();
    while let Some((_, step)) = steps.pending.pop() {
        // A step that panics must not keep the others from running.
        drop(catch_unwind(AssertUnwindSafe(step)));
    }
    last()
}

/// [`before`] for a process that gets no more memory: what stands is taken back unless whoever holds the lock is this
/// very thread, or hangs.
pub fn before_giving_up() {
    for _ in 0..TRIES {
        let held = matches!(STEPS.try_lock(), Err(TryLockError::WouldBlock));
        if !held {
            return before(|| ());
        }
        clock::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn counted(counter: &Arc<AtomicU32>) -> Undo {
        let counter = Arc::clone(counter);
        Undo::after(|| Ok::<(), ()>(()), move || _ = counter.fetch_add(1, Ordering::SeqCst)).expect("made")
    }

    // One test: the steps are the process's own.
    #[test]
    fn a_step_runs_once_whatever_ends_its_scope() {
        let ran = Arc::new(AtomicU32::new(0));
        drop(counted(&ran));
        assert_eq!(ran.load(Ordering::SeqCst), 1, "dropped");

        let held = counted(&ran);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            let _inner = counted(&ran);
            panic!("a panic that unwinds");
        }));
        assert!(failed.is_err());
        assert_eq!(ran.load(Ordering::SeqCst), 2, "unwound");

        before(|| assert_eq!(ran.load(Ordering::SeqCst), 3, "ended at once"));
        drop(held);
        assert_eq!(ran.load(Ordering::SeqCst), 3, "not twice");
    }

    #[test]
    fn a_change_that_failed_is_not_taken_back() {
        let refused = Undo::after(|| Err("not permitted"), || unreachable!("nothing was changed"));
        assert_eq!(refused.expect_err("refused"), "not permitted");
    }
}
