//! Changes to the machine that must be undone when the program ends, however it ends.
//!
//! A change to the machine (clocks, a power limit) is made together with the step that undoes it. The
//! step runs once: when its [`Undo`] is dropped, also during unwinding, or by [`before`] when a signal
//! ends the process at once. Steps run on ordinary threads, never in a signal handler. Only SIGKILL and
//! an abort leave a change in place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::clock;

/// How often a held lock is retried, and the pause between attempts: two seconds in total.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

type Step = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Steps {
    last_id: u64,
    pending: Vec<(u64, Step)>,
}

// Held while the machine is changed or a change is undone, so that a process that is ending waits for a
// step in progress, and no change is made after the last step.
static STEPS: Mutex<Steps> = Mutex::new(Steps { last_id: 0, pending: Vec::new() });

fn steps() -> MutexGuard<'static, Steps> {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes a change when it is dropped.
#[derive(Debug)]
#[must_use = "the change is undone as soon as this is dropped"]
pub struct Undo {
    id: u64,
}

impl Undo {
    /// Makes a change and registers how to undo it; neither may create another [`Undo`].
    ///
    /// # Errors
    /// The error of `change`; nothing is registered then.
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

    /// Makes a further change that this also undoes, unless the process is already ending.
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

/// Undoes every change still in effect, the latest first, and then calls `last`.
pub fn before<T>(last: impl FnOnce() -> T) -> T {
    let mut steps = steps();
    while let Some((_, step)) = steps.pending.pop() {
        // A step that panics must not keep the others from running.
        drop(catch_unwind(AssertUnwindSafe(step)));
    }
    last()
}

/// [`before`] for a process that is out of memory: changes are undone unless the lock is held by this very thread, or by one
/// that hangs.
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
