//! Locking without a check for poison.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Locks a [`Mutex`] whether or not a thread panicked while holding it.
///
/// Poison is ignored for two reasons. A panic ends the process, or the request or task in which it happened, so
/// it is already reported. Every section under a lock in this crate leaves the guarded value consistent after
/// each statement, so the next holder finds a usable value.
pub trait LockExt<T: ?Sized> {
    /// Blocks until the lock is free and returns its guard, even if the lock is poisoned.
    fn lock_anyway(&self) -> MutexGuard<'_, T>;
}

impl<T: ?Sized> LockExt<T> for Mutex<T> {
    fn lock_anyway(&self) -> MutexGuard<'_, T> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks a [`RwLock`] whether or not a thread panicked while writing, for the reasons given at [`LockExt`].
pub trait RwLockExt<T: ?Sized> {
    /// Blocks until no thread writes and returns a shared guard, even if the lock is poisoned.
    fn read_anyway(&self) -> RwLockReadGuard<'_, T>;

    /// Blocks until no thread reads or writes and returns the exclusive guard, even if the lock is poisoned.
    fn write_anyway(&self) -> RwLockWriteGuard<'_, T>;
}

impl<T: ?Sized> RwLockExt<T> for RwLock<T> {
    fn read_anyway(&self) -> RwLockReadGuard<'_, T> {
        self.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_anyway(&self) -> RwLockWriteGuard<'_, T> {
        self.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poisoned_lock_still_gives_its_value() {
        let (mutex, shared) = (Mutex::new(1), RwLock::new(2));
        let poisoned = std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let _guards = (mutex.lock().unwrap(), shared.write().unwrap());
                panic!("while both locks are held");
            });
            holder.join().is_err()
        });
        assert!(poisoned && mutex.is_poisoned() && shared.is_poisoned());
        *shared.write_anyway() += 1;
        assert_eq!((*mutex.lock_anyway(), *shared.read_anyway()), (1, 3));
    }
}
