//! Who compiles what, and who waits for whom.
//!
//! A program is compiled by one thread, and others that ask for it meanwhile wait. What makes
//! a program may itself call compiled programs: others, or for other types. If it asks for
//! the very one that it makes, or if two threads each make what the other waits for, nobody
//! would ever be done. So before a thread waits it looks along the chain of those who make and
//! what these wait for; where that ends at itself, it does not begin.
//!
//! A thread makes what it has asked for last, so it waits for one program at a time. There are
//! few threads at this at once, and all are in one list.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// What is compiled: an address that is its own as long as it is compiled.
pub(crate) type Key = usize;

static TURNS: Mutex<Turns> = Mutex::new(Turns { making: Vec::new(), waiting: Vec::new() });
static OVER: Condvar = Condvar::new();

struct Turns {
    making: Vec<(ThreadId, Key)>,
    waiting: Vec<(ThreadId, Key)>,
}

impl Turns {
    fn maker(&self, key: Key) -> Option<ThreadId> {
        self.making.iter().find(|(_, made)| *made == key).map(|(thread, _)| *thread)
    }

    /// Whether this is made by the thread, or by one that waits for what the thread makes.
    fn ends_at(&self, thread: ThreadId, mut key: Key) -> bool {
        // Threads that wait have each looked before, so no chain without this one is a circle.
        while let Some(maker) = self.maker(key) {
            if maker == thread {
                return true;
            }
            match self.waiting.iter().find(|(waits, _)| *waits == maker) {
                Some((_, next)) => key = *next,
                None => return false,
            }
        }
        false
    }
}

/// The right to compile something, until it is dropped.
pub(crate) struct Turn(Key);

impl Turn {
    /// Waits until nobody else compiles it. None if that would be never.
    pub(crate) fn take(key: Key) -> Option<Self> {
        let this = thread::current().id();
        let mut turns = lock();
        while turns.maker(key).is_some() {
            if turns.ends_at(this, key) {
                return None;
            }
            turns.waiting.push((this, key));
            turns = OVER.wait(turns).unwrap_or_else(PoisonError::into_inner);
            turns.waiting.retain(|(waits, _)| *waits != this);
        }
        turns.making.push((this, key));
        Some(Self(key))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock().making.retain(|(_, made)| *made != self.0);
        OVER.notify_all();
    }
}

fn lock() -> MutexGuard<'static, Turns> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}
