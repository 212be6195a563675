//! A caller and its helpers.
//!
//! Waking a thread takes some 50 microseconds, as long as many a kernel. So nobody waits
//! for a helper to wake: work is cut into pieces that are taken one by one, the caller
//! takes pieces from the start, and helpers take what is left when they come. And a
//! helper stays awake a little longer than its work, so that it is there at once for the
//! next kernel, and for the next call if that comes soon: it looks for work for
//! [`LINGER`], about as long as waking it again takes, and then gives its thread
//! back to the pool.
//!
//! Each member begins with the part of the work that has its number, so that it finds in
//! its cache what it had the last time, and then takes from the others' parts.
//!
//! # The protocol
//!
//! Work is *open* while `open` is not 0. A helper counts itself in `active` before it
//! looks whether work is open, and out after it has done its pieces. The caller closes
//! the work before it looks whether anybody is `active`. These four accesses are in one
//! order for all threads (`SeqCst`), so a helper that sees open work is seen by the
//! caller, who waits for it, and one that is not seen finds nothing open. So what the
//! work borrows is read by nobody after [`Team::run`] has returned, and the job is only
//! written while no helper reads it.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a helper without work looks for some.
const LINGER: Duration = Duration::from_micros(50);

/// Turns of a waiting loop between looks at the clock, or before the thread yields.
const TURNS: u32 = 32;

/// Whether callers leave helpers their parts, however long that takes: so tests make sure
/// that there are several threads also where there is little to do.
pub(crate) static INSIST: AtomicBool = AtomicBool::new(false);

/// How often a helper took part since.
pub(crate) static HELPED: AtomicU64 = AtomicU64::new(0);

/// What there is to do.
#[derive(Clone, Copy)]
struct Job {
    work: *const (dyn Fn(Range<usize>) + Sync),
    count: usize,
    threads: usize,
    /// Elements of a piece.
    piece: usize,
    /// Whether nobody takes from the part of another.
    apart: bool,
}

/// On a cache line of its own, and off the one that is fetched along with it.
#[repr(align(128))]
struct Apart<T>(T);

/// A helper, or the caller.
struct Seat {
    /// Whether a helper is here, or on its way.
    taken: AtomicBool,
    /// The first of its part that nobody has taken.
    next: AtomicUsize,
}

/// A caller and its helpers.
pub(crate) struct Team {
    /// The number of the work that is open, or 0.
    open: Apart<AtomicU64>,
    /// How many helpers may be looking at the job.
    active: Apart<AtomicUsize>,
    job: UnsafeCell<Job>,
    /// How often there was work; the caller's.
    runs: AtomicU64,
    /// What a helper panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// The caller's is the first.
    seats: Box<[Apart<Seat>]>,
}

// SAFETY: the job is written by the caller while no helper reads it, as the module
// comment says; its work is `Sync` and outlives the reading.
unsafe impl Send for Team {}
// SAFETY: as above.
unsafe impl Sync for Team {}

impl Team {
    /// So many at most, the caller among them.
    pub fn new(members: usize) -> Arc<Self> {
        let seat = |_| Apart(Seat { taken: AtomicBool::new(false), next: AtomicUsize::new(0) });
        Arc::new(Self {
            open: Apart(AtomicU64::new(0)),
            active: Apart(AtomicUsize::new(0)),
            job: UnsafeCell::new(Job {
                work: &|_| {},
                count: 0,
                threads: 0,
                piece: 1,
                apart: false,
            }),
            runs: AtomicU64::new(0),
            panic: Mutex::new(None),
            seats: (0..members.max(1)).map(seat).collect(),
        })
    }

    /// Runs `work` on pieces of `0..count`, each once, with the helpers that there are,
    /// and wakes those that are not; each thread's part is about so many pieces. By one
    /// thread at a time.
    pub fn run(
        self: &Arc<Self>,
        threads: usize,
        count: usize,
        pieces: usize,
        work: &(dyn Fn(Range<usize>) + Sync),
    ) {
        let threads = threads.min(self.seats.len());
        // SAFETY: this forgets how long the work lives. It is looked at by this thread,
        // and by helpers that `Open` waits for.
        let work = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(Range<usize>) + Sync + '_),
                *const (dyn Fn(Range<usize>) + Sync + 'static),
            >(work)
        };
        let piece = (count / (pieces * threads)).max(1);
        let job = Job { work, count, threads, piece, apart: INSIST.load(Relaxed) };
        // SAFETY: nothing is open, and nobody is active that has seen it open.
        unsafe { *self.job.get() = job };
        for (i, seat) in self.seats[..threads].iter().enumerate() {
            seat.0.next.store(job.part(i).start, Relaxed);
        }
        let number = self.runs.load(Relaxed) + 1;
        self.runs.store(number, Relaxed);
        self.open.0.store(number, SeqCst);
        let open = Open(self);
        self.wake(threads);
        self.take_part(job, 0);
        while job.apart && !self.is_all_taken(job) {
            thread::yield_now();
            self.wake(threads);
        }
        drop(open);
        let mut panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = panic.take() {
            resume_unwind(panic);
        }
    }

    /// Calls helpers to seats that are empty.
    fn wake(self: &Arc<Self>, threads: usize) {
        for (i, seat) in self.seats[..threads].iter().enumerate().skip(1) {
            if !seat.0.taken.load(Relaxed) {
                seat.0.taken.store(true, Relaxed);
                let (team, called) = (self.clone(), Instant::now());
                rayon::spawn(move || team.help(i, called));
            }
        }
    }

    /// Pieces of one's own part, then of the others', until there are none.
    fn take_part(&self, job: Job, me: usize) {
        for i in 0..if job.apart { 1 } else { job.threads } {
            let whose = (me + i) % job.threads;
            let (next, end) = (&self.seats[whose].0.next, job.part(whose).end);
            loop {
                let from = next.fetch_add(job.piece, Relaxed);
                if from >= end {
                    break;
                }
                // SAFETY: the work is open, and is not closed before this returns.
                unsafe { (*job.work)(from..end.min(from + job.piece)) };
            }
        }
    }

    /// Whether nothing is left to be taken.
    fn is_all_taken(&self, job: Job) -> bool {
        (0..job.threads).all(|i| self.seats[i].0.next.load(Relaxed) >= job.part(i).end)
    }

    /// Helps for as long as there is something to do every now and then.
    fn help(&self, me: usize, called: Instant) {
        // Who comes late, because the pool had other things to do, does not stay.
        let mut idle_since = called;
        let mut seen = 0;
        loop {
            for _ in 0..TURNS {
                let number = self.open.0.load(Relaxed);
                if number != 0 && number != seen && self.join(me, &mut seen) {
                    idle_since = Instant::now();
                }
                hint::spin_loop();
            }
            if idle_since.elapsed() > LINGER {
                break;
            }
        }
        self.seats[me].0.taken.store(false, Relaxed);
    }

    /// Takes part in the open work, if there is some that it has not seen and that is for
    /// so many; whether it did.
    fn join(&self, me: usize, seen: &mut u64) -> bool {
        let mut helps = false;
        self.active.0.fetch_add(1, SeqCst);
        let number = self.open.0.load(SeqCst);
        if number != 0 && number != *seen {
            *seen = number;
            // SAFETY: the work is open, and is not closed before this thread has left.
            let job = unsafe { *self.job.get() };
            helps = me < job.threads;
            if helps {
                HELPED.fetch_add(u64::from(job.apart), Relaxed);
                let done = catch_unwind(AssertUnwindSafe(|| self.take_part(job, me)));
                if let Err(panic) = done {
                    *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                }
            }
        }
        self.active.0.fetch_sub(1, Release);
        helps
    }
}

impl Job {
    /// The part of one of them.
    fn part(&self, i: usize) -> Range<usize> {
        i * self.count / self.threads..(i + 1) * self.count / self.threads
    }
}

/// Work that is open. Dropping this closes it and waits for who is at it, also where the
/// caller's own pieces panic.
struct Open<'a>(&'a Team);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.0.store(0, SeqCst);
        let mut turns = 0;
        while self.0.active.0.load(SeqCst) != 0 {
            match turns < TURNS {
                true => hint::spin_loop(),
                false => thread::yield_now(),
            }
            turns += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on pieces of so many; how often each was run, and on how many threads.
    fn run(team: &Arc<Team>, threads: usize, count: usize) -> usize {
        let times: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        let who = Mutex::new(std::collections::HashSet::new());
        team.run(threads, count, 16, &|part: Range<usize>| {
            who.lock().unwrap().insert(thread::current().id());
            for time in &times[part] {
                time.fetch_add(1, Relaxed);
            }
        });
        assert!(times.iter().all(|n| n.load(Relaxed) == 1), "{count} on {threads} threads");
        who.into_inner().unwrap().len()
    }

    fn seats_taken(team: &Team) -> usize {
        team.seats.iter().filter(|seat| seat.0.taken.load(Relaxed)).count()
    }

    #[test]
    fn every_piece_is_run_once() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(5).build().expect("a pool");
        pool.install(|| {
            let team = Team::new(5);
            for count in (0..100).chain([1000, 4097]) {
                for threads in [1, 2, 3, 5, 9] {
                    assert!(run(&team, threads, count) <= threads.min(5));
                }
            }
        });
    }

    #[test]
    fn helpers_come_and_go() {
        let team = Team::new(2);
        // Somebody comes, if there is enough to do.
        team.run(2, 2, 16, &|part| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while part.start == 0 && seats_taken(&team) < 1 && Instant::now() < deadline {
                thread::yield_now();
            }
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        while Arc::strong_count(&team) > 1 && Instant::now() < deadline {
            thread::yield_now();
        }
        assert_eq!((Arc::strong_count(&team), seats_taken(&team)), (1, 0));
    }

    #[test]
    fn pieces_run_at_once() {
        let team = Team::new(2);
        let here = AtomicUsize::new(0);
        team.run(2, 2, 16, &|_| {
            // Each waits for the other.
            here.fetch_add(1, SeqCst);
            let deadline = Instant::now() + Duration::from_secs(60);
            while here.load(SeqCst) < 2 && Instant::now() < deadline {
                thread::yield_now();
            }
            assert_eq!(here.load(SeqCst), 2);
        });
    }

    #[test]
    fn panics_come_back_and_leave_the_team_whole() {
        let team = Team::new(2);
        for bad in 0..8 {
            let panicking = catch_unwind(AssertUnwindSafe(|| {
                team.run(2, 8, 16, &|part| {
                    thread::sleep(Duration::from_micros(200));
                    assert!(!part.contains(&bad), "piece {bad}");
                });
            }));
            let panic = panicking.expect_err("a panic");
            assert_eq!(panic.downcast_ref::<String>(), Some(&format!("piece {bad}")));
            run(&team, 2, 100);
        }
    }
}
