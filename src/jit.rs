//! Programs that are compiled when they are called: once for each kind of arguments.

mod miss;
mod turn;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use backstitch_ir::Array;
use backstitch_runtime::Workspace;
use backstitch_trace::{Args, ArgsMut, Path, Signature, Spec, TraceError, Traced, Tree};

use crate::compile::Compile;
use crate::compiled::Compiled;
use crate::error::Error;
use crate::options::Options;

use turn::Turn;

pub use miss::{CacheInfo, CacheMiss, TypeChange};

/// Executables that are kept, unless [`Jit::limit`] says otherwise.
const LIMIT: usize = 64;

/// Misses whose reasons are kept.
const MISSES: usize = 32;

/// A program that is traced and compiled when it is called for the first time with
/// arguments of some types, and then kept: see [`jit`].
pub struct Jit<M, P, D, C> {
    make: M,
    options: Options,
    limit: usize,
    entries: RwLock<Entries<P, D, C>>,
    /// Counts calls, for what was used last.
    clock: AtomicU64,
    hits: AtomicU64,
    rest: Mutex<Rest>,
}

/// What only misses change.
#[derive(Default)]
struct Rest {
    misses: u64,
    evictions: u64,
    reasons: VecDeque<CacheMiss>,
}

type Entries<P, D, C> = Vec<Arc<Entry<P, D, C>>>;

struct Entry<P, D, C> {
    params: P,
    data: D,
    /// Set once it is compiled.
    compiled: OnceLock<Arc<C>>,
    used: AtomicU64,
}

/// A program that is compiled when it is called, once for each combination of types and
/// structure of its arguments.
///
/// `make` is told the types and gives the traced program: with its derivatives, or
/// whatever is wanted of it. It may call other programs, and this one for other types; for
/// the same types that is an [`Error::Recursion`]. It is called again when arguments come that differ in a
/// shape, an element type, their structure, or a part that is not an array
/// (`#[tree(skip)]`); so these are constants in it. What it takes from outside is as it was
/// when it was called. A call that finds its executable compares the types with those of
/// each that is there, and goes.
///
/// Structures of yours are `Clone` and `PartialEq`, for types are compared with types.
/// Where parameters are donated ([`Options::donate_parameters`]), call
/// [`update_into`](Jit::update_into).
///
/// ```
/// use backstitch::prelude::*;
/// use backstitch::{CacheMiss, jit};
/// use ndarray::{arr1, arr2};
///
/// let loss = jit(|w: Spec, x: Spec| {
///     trace(w, x, |_, w, x| x.matmul(w).square().sum())?.value_and_grad()
/// });
/// let w = arr1(&[1.0, 2.0]);
/// let (value, gradient) = loss.call(&w, &arr2(&[[3.0, 4.0]]))?;
/// assert_eq!((value.item::<f64>(), gradient.to_f64_vec()), (Some(121.0), vec![66.0, 88.0]));
///
/// loss.call(&w, &arr2(&[[5.0, 6.0]]))?;
/// loss.call(&w, &arr2(&[[1.0, 2.0], [3.0, 4.0]]))?;
/// let info = loss.cache_info();
/// assert_eq!((info.hits, info.misses, info.len), (1, 2, 2));
/// let reasons = loss.misses();
/// assert_eq!(reasons[0], CacheMiss::First);
/// assert_eq!(reasons[1].to_string(), "data: f64[1,2] before, now f64[2,2]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "tf.function")]
#[doc(alias = "filter_jit")]
#[doc(alias = "lru_cache")]
pub fn jit<M, P, D, P2, D2, O>(make: M) -> Jit<M, P, D, Compiled<P2, D2, O>>
where
    M: Fn(P, D) -> Result<Traced<P2, D2, O>, TraceError>,
{
    Jit {
        make,
        options: Options::default(),
        limit: LIMIT,
        entries: RwLock::default(),
        clock: AtomicU64::new(0),
        hits: AtomicU64::new(0),
        rest: Mutex::default(),
    }
}

impl<M, P, D, C> Jit<M, P, D, C> {
    /// Compiles with these options.
    #[must_use]
    pub fn options(self, options: Options) -> Self {
        Self { options, ..self }
    }

    /// Keeps at most so many executables, at least one: beyond, the one that was called
    /// the longest ago goes.
    #[must_use]
    #[doc(alias = "maxsize")]
    pub fn limit(self, executables: usize) -> Self {
        Self { limit: executables.max(1), ..self }
    }

    /// What the cache has done so far.
    pub fn cache_info(&self) -> CacheInfo {
        let len = {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            entries.iter().filter(|e| e.compiled.get().is_some()).count()
        };
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        CacheInfo {
            hits: self.hits.load(Ordering::Relaxed),
            misses: rest.misses,
            evictions: rest.evictions,
            len,
            limit: self.limit,
        }
    }

    /// Why the latest calls that had to compile had to, the last one at the end.
    pub fn misses(&self) -> Vec<CacheMiss> {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.reasons.iter().cloned().collect()
    }

    /// Forgets all executables. Counts stay.
    pub fn cache_clear(&self) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<M, P, D, P2, D2, O> Jit<M, P, D, Compiled<P2, D2, O>>
where
    M: Fn(P, D) -> Result<Traced<P2, D2, O>, TraceError>,
    P: Tree<Spec> + Clone + PartialEq,
    D: Tree<Spec> + Clone + PartialEq,
    P2: Tree<Spec> + Clone,
    D2: Tree<Spec> + Clone,
    O: Tree<Spec> + Clone,
{
    /// The executable for arguments of these types: compiled now, if it is not there. If
    /// several threads ask for the same one, one of them compiles.
    ///
    /// # Errors
    /// What tracing or compiling says. Errors are not kept: the next call tries again, also
    /// after a panic of `make`. [`Error::Recursion`] if the executable is being made, and
    /// whoever makes it waits for this call.
    pub fn compiled<A, B>(&self, params: &A, data: &B) -> Result<Arc<Compiled<P2, D2, O>>, Error>
    where
        A: Signature<Specs = P> + ?Sized,
        B: Signature<Specs = D> + ?Sized,
    {
        let (params, data) = (params.signature(), data.signature());
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let is_it =
            |e: &&Arc<Entry<P, D, Compiled<P2, D2, O>>>| e.params == params && e.data == data;
        let found = {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            entries.iter().find(is_it).map(|entry| {
                entry.used.store(now, Ordering::Relaxed);
                entry.compiled.get().cloned().ok_or_else(|| entry.clone())
            })
        };
        let entry = match found {
            Some(Ok(compiled)) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(compiled);
            }
            Some(Err(entry)) => entry,
            None => {
                let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
                let there = entries.iter().find(is_it).cloned();
                there.unwrap_or_else(|| {
                    let entry = Arc::new(Entry {
                        params: params.clone(),
                        data: data.clone(),
                        compiled: OnceLock::new(),
                        used: AtomicU64::new(now),
                    });
                    entries.push(entry.clone());
                    entry
                })
            }
        };
        self.compile(&entry, (params, data))
    }

    /// Compiles an entry, unless another thread has done so by the time it is our turn.
    #[cold]
    fn compile(
        &self,
        entry: &Arc<Entry<P, D, Compiled<P2, D2, O>>>,
        (params, data): (P, D),
    ) -> Result<Arc<Compiled<P2, D2, O>>, Error> {
        let Some(_turn) = Turn::take(Arc::as_ptr(entry).addr()) else {
            return Err(Error::Recursion { arguments: entry.arguments() });
        };
        if let Some(compiled) = entry.compiled.get() {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(compiled.clone());
        }
        let reason = self.reason(entry);
        {
            let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
            rest.misses += 1;
            if rest.reasons.len() == MISSES {
                rest.reasons.pop_front();
            }
            rest.reasons.push_back(reason);
        }
        let attempt = Attempt { entries: &self.entries, entry };
        let compiled = (self.make)(params, data)?.compile_with(&self.options)?;
        let compiled = entry.compiled.get_or_init(|| Arc::new(compiled)).clone();
        drop(attempt);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        // It may have been given up meanwhile, by an attempt that failed before this one.
        if !entries.iter().any(|e| e.params == entry.params && e.data == entry.data) {
            entries.push(entry.clone());
        }
        self.evict(&mut entries, entry);
        Ok(compiled)
    }

    /// Gives up what was called the longest ago, as long as there are too many.
    fn evict(
        &self,
        entries: &mut Entries<P, D, Compiled<P2, D2, O>>,
        keep: &Arc<Entry<P, D, Compiled<P2, D2, O>>>,
    ) {
        let there = |e: &&Arc<Entry<P, D, Compiled<P2, D2, O>>>| {
            e.compiled.get().is_some() && !Arc::ptr_eq(e, keep)
        };
        while entries.iter().filter(there).count() >= self.limit {
            let oldest =
                entries.iter().filter(there).min_by_key(|e| e.used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.cloned() else { return };
            entries.retain(|e| !Arc::ptr_eq(e, &oldest));
            self.rest.lock().unwrap_or_else(PoisonError::into_inner).evictions += 1;
        }
    }

    /// How an entry differs from the one that was called last before it.
    fn reason(&self, entry: &Arc<Entry<P, D, Compiled<P2, D2, O>>>) -> CacheMiss {
        let last = {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            let others = entries.iter().filter(|e| e.compiled.get().is_some());
            others.max_by_key(|e| e.used.load(Ordering::Relaxed)).cloned()
        };
        let Some(last) = last else { return CacheMiss::First };
        let (before, now) = (last.leaves(), entry.leaves());
        let paths = |all: &[(String, Spec)]| all.iter().map(|(p, _)| p.clone()).collect::<Vec<_>>();
        if !before.iter().map(|l| &l.0).eq(now.iter().map(|l| &l.0)) {
            return CacheMiss::Structure { before: paths(&before), now: paths(&now) };
        }
        let changes: Vec<TypeChange> = (before.into_iter().zip(now))
            .filter(|(before, now)| before.1 != now.1)
            .map(|(before, now)| TypeChange { path: now.0, before: before.1, now: now.1 })
            .collect();
        if changes.is_empty() { CacheMiss::Static } else { CacheMiss::Types(changes) }
    }

    /// Calls the program, compiling it before if need be; results are new arrays.
    ///
    /// # Errors
    /// What tracing or compiling says, and as for [`Compiled::call`].
    pub fn call<A, B>(&self, params: &A, data: &B) -> Result<O::With<Array>, Error>
    where
        A: Args + Signature<Specs = P> + ?Sized,
        B: Args + Signature<Specs = D> + ?Sized,
    {
        self.compiled(params, data)?.call(params, data)
    }

    /// Calls the program, compiling it before if need be; results go to where `outputs`
    /// says. The workspace is made to fit when another executable is called than before.
    ///
    /// # Errors
    /// What tracing or compiling says, and as for [`Compiled::call_into`].
    pub fn call_into<A, B, R>(
        &self,
        ws: &mut Workspace,
        params: &A,
        data: &B,
        outputs: &mut R,
    ) -> Result<(), Error>
    where
        A: Args + Signature<Specs = P> + ?Sized,
        B: Args + Signature<Specs = D> + ?Sized,
        R: ArgsMut + ?Sized,
    {
        self.compiled(params, data)?.call_into(ws, params, data, outputs)
    }

    /// Calls the program, which changes the parameters that are donated, compiling it before
    /// if need be: they hold their outputs when the call is over. All other outputs go to
    /// where `outputs` says.
    ///
    /// ```
    /// use backstitch::{Options, jit, prelude::*};
    ///
    /// // Steps towards the mean of what comes, in batches of any size.
    /// let step = jit(|w: Spec, x: Spec| {
    ///     trace_tree(w, x, |t, w, x| t.outputs(&(w + 0.5 * (x.mean() - w), w)))
    /// });
    /// let step = step.options(Options::default().donate_parameters());
    /// let (mut w, mut before, mut ws) = (0.0, 0.0, Workspace::new());
    /// step.update_into(&mut ws, &mut w, &ndarray::arr1(&[2.0, 6.0]), &mut before)?;
    /// assert_eq!((w, before), (2.0, 0.0));
    /// step.update_into(&mut ws, &mut w, &ndarray::arr1(&[2.0, 4.0, 6.0]), &mut before)?;
    /// assert_eq!((w, before), (3.0, 2.0));
    /// # Ok::<(), backstitch::Error>(())
    /// ```
    ///
    /// # Errors
    /// What tracing or compiling says, and as for [`Compiled::update_into`].
    pub fn update_into<A, B, R>(
        &self,
        ws: &mut Workspace,
        params: &mut A,
        data: &B,
        outputs: &mut R,
    ) -> Result<(), Error>
    where
        A: ArgsMut + Signature<Specs = P> + ?Sized,
        B: Args + Signature<Specs = D> + ?Sized,
        R: ArgsMut + ?Sized,
    {
        self.compiled(params, data)?.update_into(ws, params, data, outputs)
    }
}

/// An entry that is being compiled. If that comes to nothing, by an error or a panic, there
/// is no such entry.
struct Attempt<'a, P, D, C> {
    entries: &'a RwLock<Entries<P, D, C>>,
    entry: &'a Arc<Entry<P, D, C>>,
}

impl<P, D, C> Drop for Attempt<'_, P, D, C> {
    fn drop(&mut self) {
        if self.entry.compiled.get().is_none() {
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            entries.retain(|e| !Arc::ptr_eq(e, self.entry));
        }
    }
}

impl<P: Tree<Spec>, D: Tree<Spec>, C> Entry<P, D, C> {
    /// The types of all arrays, with their paths.
    fn leaves(&self) -> Vec<(String, Spec)> {
        let mut all = Vec::new();
        let mut add = |path: &Path, spec: &Spec| all.push((path.as_str().to_owned(), spec.clone()));
        self.params.visit(&mut Path::named("params"), &mut add);
        self.data.visit(&mut Path::named("data"), &mut add);
        all
    }

    /// The same in words.
    fn arguments(&self) -> String {
        let all = self.leaves();
        let texts: Vec<String> = all.iter().map(|(path, spec)| format!("{path}: {spec}")).collect();
        texts.join(", ")
    }
}

impl<M, P, D, C> fmt::Debug for Jit<M, P, D, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jit").field("cache", &self.cache_info()).finish_non_exhaustive()
    }
}
