//! Threads of the CPU backend: one job at a time, split beforehand, one barrier at its end.
//!
//! A decode step has some two hundred products of a few dozen microseconds each, so what a pool costs is its barrier.
//! Helpers therefore spin for the next job for a while before they sleep, and the caller works on its own share and then
//! spins for the helpers. There is no queue and no stealing: every share is known when the job starts.
//!
//! The threads themselves come from outside, since a browser only has workers: each calls [`help`] and stays in it. Native
//! programs use [`spawn`]. A helper that never arrives is simply not counted.

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Looks at an atomic before going to sleep: some 20 to 50 microseconds.
const SPINS: u32 = 20_000;

/// Most threads that a job is split for; beyond it memory is the limit.
pub const MAX_THREADS: usize = 16;

/// Bits of [`Pool::epoch`] that count helpers.
const HELPERS: u32 = 0xff;

/// What the helpers are to call: `call(data, index)` with `index` from 1.
#[derive(Clone, Copy)]
struct Job {
    call: unsafe fn(*const (), usize),
    data: *const (),
}

struct Pool {
    /// Number of the current job in the upper bits, how many helpers take part in the lower eight. In one word, so that
    /// a late helper that has no part in a job never looks at it: it may be replaced under its eyes.
    epoch: AtomicU32,
    /// Helpers that have not yet finished the current job.
    running: AtomicUsize,
    /// Helpers that have arrived.
    helpers: AtomicUsize,
    /// Helpers, and perhaps the caller, that sleep.
    sleepers: AtomicUsize,
    job: UnsafeCell<Job>,
    /// Held by whoever runs a job.
    busy: Mutex<()>,
    sleep: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written only by the holder of `busy` while no helper has a part in a job (`running` is 0), before
// `epoch` is released. It is read only by helpers that `epoch` gives a part, before they count themselves out.
unsafe impl Sync for Pool {}

/// Does nothing: the job before the first.
///
/// # Safety
/// Always safe to call.
unsafe fn idle(_data: *const (), _index: usize) {}

static POOL: Pool = Pool {
    epoch: AtomicU32::new(0),
    running: AtomicUsize::new(0),
    helpers: AtomicUsize::new(0),
    sleepers: AtomicUsize::new(0),
    job: UnsafeCell::new(Job {
        call: idle,
        data: std::ptr::null(),
    }),
    busy: Mutex::new(()),
    sleep: Mutex::new(()),
    wake: Condvar::new(),
};

impl Pool {
    /// Spins, then sleeps, until `ready`.
    fn wait(&self, ready: impl Fn() -> bool) {
        for _ in 0..SPINS {
            if ready() {
                return;
            }
            spin_loop();
        }
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !ready() {
            guard = self
                .wake
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes sleepers after something they wait for has changed.
    fn notify(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Taking the lock makes sure that a sleeper is in `wait` and not between its look and its sleep.
            drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }
}

/// Threads that a job can be split for: the caller and the helpers that have arrived.
pub fn threads() -> usize {
    (1 + POOL.helpers.load(Ordering::Acquire)).min(MAX_THREADS)
}

/// Makes the calling thread a helper. Never returns.
pub fn help() -> ! {
    let mut seen = POOL.epoch.load(Ordering::SeqCst);
    // A job that starts from now on may count on this helper; one that runs already does not.
    let index = POOL.helpers.fetch_add(1, Ordering::SeqCst) + 1;
    loop {
        POOL.wait(|| POOL.epoch.load(Ordering::SeqCst) != seen);
        seen = POOL.epoch.load(Ordering::SeqCst);
        if index <= (seen & HELPERS) as usize {
            // SAFETY: this helper has a part, so the job stays until it has counted itself out.
            let job = unsafe { *POOL.job.get() };
            // SAFETY: `run` keeps `data` alive and gives each index to one thread until `running` is 0.
            unsafe { (job.call)(job.data, index) };
            if POOL.running.fetch_sub(1, Ordering::SeqCst) == 1 {
                POOL.notify();
            }
        }
    }
}

/// Starts native helpers until jobs can be split for `count` threads.
#[cfg(not(target_family = "wasm"))]
pub fn spawn(count: usize) {
    static SPAWNED: Mutex<usize> = Mutex::new(1);
    let mut spawned = SPAWNED.lock().unwrap_or_else(PoisonError::into_inner);
    while *spawned < count.min(MAX_THREADS) {
        let builder = std::thread::Builder::new().name(format!("inkling-{spawned}"));
        if builder.spawn(|| help()).is_err() {
            return;
        }
        *spawned += 1;
    }
    while threads() < *spawned {
        std::thread::yield_now();
    }
}

/// Works on every task, one per thread, and returns when all are done. Runs them here, one after the other, when there
/// are more tasks than threads or another job is running.
pub fn run<T: Send>(tasks: &mut [T], work: impl Fn(&mut T) + Sync) {
    let Ok(_busy) = POOL.busy.try_lock() else {
        return tasks.iter_mut().for_each(work);
    };
    if tasks.len() < 2 || tasks.len() > threads() {
        return tasks.iter_mut().for_each(work);
    }
    let helpers = tasks.len() - 1;
    let first = tasks.as_mut_ptr();
    let share = Share { first, work: &work };
    let job = Job {
        call: call::<T>,
        data: (&raw const share).cast(),
    };
    // SAFETY: `busy` is held and the last job has ended, so nobody reads.
    unsafe { *POOL.job.get() = job };
    POOL.running.store(helpers, Ordering::SeqCst);
    let epoch = POOL.epoch.load(Ordering::SeqCst) & !HELPERS;
    POOL.epoch.store(
        epoch.wrapping_add(HELPERS + 1) | helpers as u32,
        Ordering::SeqCst,
    );
    POOL.notify();
    // SAFETY: index 0 is the caller's own; the helpers have the others.
    unsafe { call::<T>(job.data, 0) };
    POOL.wait(|| POOL.running.load(Ordering::SeqCst) == 0);
}

/// What [`call`] needs: the tasks and what to do with each.
struct Share<'a, T> {
    first: *mut T,
    work: &'a (dyn Fn(&mut T) + Sync),
}

/// Works on task `index`.
///
/// # Safety
/// `data` points to a live [`Share<T>`] with more than `index` tasks, and no other thread has this index.
unsafe fn call<T>(data: *const (), index: usize) {
    // SAFETY: the caller's promise.
    let share = unsafe { &*data.cast::<Share<'_, T>>() };
    // SAFETY: likewise; every index is given out once, so the tasks are borrowed apart from one another.
    let task = unsafe { &mut *share.first.add(index) };
    (share.work)(task);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_worked_on_once() {
        spawn(4);
        for round in 0..2000_usize {
            let mut tasks = vec![round; 1 + round % 5];
            run(&mut tasks, |task| *task += 1);
            assert!(tasks.iter().all(|task| *task == round + 1));
            if round % 500 == 0 {
                // Long enough for the helpers to fall asleep.
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}
