//! The epoch ticker: makes running guests yield.
//!
//! A thread of its own, because the guests' thread is the one that may be stuck. It sleeps without
//! a timer while nothing runs, so an idle worker costs nothing. Owns its thread, which ends with
//! the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// How long a guest runs before others get a turn; also the granularity of limits on processor
/// time.
const TICK: Duration = Duration::from_millis(2);

/// The idle ticks after which the thread goes to sleep.
const IDLE_TICKS: u32 = 500;

#[derive(Default)]
struct Shared {
    running: AtomicU64,
    asleep: AtomicBool,
    engines: Mutex<Vec<EngineWeak>>,
}

impl Shared {
    fn count_epoch(&self) {
        for engine in self.engines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
            }
        }
    }
}

/// Handle for the thread that counts epochs.
#[derive(Clone)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Ticker {
    pub(super) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ticker = Arc::clone(&shared);
        let handle = thread::Builder::new().name("epoch".into()).spawn(move || {
            let mut idle_ticks = 0;
            loop {
                if ticker.running.load(SeqCst) > 0 {
                    idle_ticks = 0;
                    ticker.count_epoch();
                } else {
                    idle_ticks += 1;
                }
                if idle_ticks < IDLE_TICKS {
                    thread::sleep(TICK);
                    continue;
                }
                ticker.asleep.store(true, SeqCst);
                // A guest that begins after the store above sees it and wakes this thread; one that
                // began before is seen here.
                while ticker.running.load(SeqCst) == 0 {
                    thread::park();
                }
                ticker.asleep.store(false, SeqCst);
                idle_ticks = 0;
            }
        })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Counts the epochs of `engine` too, for as long as it lives.
    pub(super) fn add(&self, engine: &Engine) {
        self.shared.engines.lock().unwrap_or_else(PoisonError::into_inner).push(engine.weak());
    }

    /// Counts epochs until the guard is dropped, because a guest may run.
    pub(super) fn count(&self) -> Counting {
        self.shared.running.fetch_add(1, SeqCst);
        if self.shared.asleep.load(SeqCst) {
            self.thread.unpark();
        }
        Counting(Arc::clone(&self.shared))
    }
}

/// A guard: while there is one, epochs are counted.
pub(super) struct Counting(Arc<Shared>);

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}
