//! Bytes that a kernel moves, and operations it does.
//!
//! What a loop touches of an array has a size, its *footprint*. Where that is no more
//! than what stays in the caches of a core, it moves once, however often the loop goes
//! over it: it is read if the first access to it is a load, and written if it is stored
//! at all. What is larger moves as often as the loops inside move their parts of it. A
//! constant stands for the caches, and each array is looked at by itself.

use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{At, Axis, For, FuncDecl, Nest, Param, Range, ScalarOp, Stmt, Term};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::Bytes;

/// Bytes of an array that are taken to stay near the core while a loop is at them.
const CACHE: f64 = (128 << 10) as f64;

/// What is moved of each parameter, and the operations on floating-point numbers.
pub(super) fn of(nest: &Nest) -> (IndexVec<Param, Bytes>, u64) {
    let mut bytes = IndexVec::filled(Bytes::default(), nest.params.len());
    let whole = block(nest, &nest.body);
    for (param, t) in whole.touched {
        let size = nest.params[param].dtype.size() as f64;
        bytes[param] = Bytes {
            read: (t.read * size).round() as u64,
            written: (t.written * size).round() as u64,
        };
    }
    (bytes, whole.flops.round() as u64)
}

/// What some statements do in one run through. Numbers are averages where chunks are not
/// all of one length.
#[derive(Default)]
struct Block {
    touched: FxHashMap<Param, Touched>,
    flops: f64,
}

/// What some statements do to a parameter, in elements.
#[derive(Default)]
struct Touched {
    loads: Vec<Reach>,
    stores: Vec<Reach>,
    /// Whether the first access is a load.
    loaded_first: bool,
    read: f64,
    written: f64,
}

/// The first element of some, and the last.
type Span = (i64, i64);

/// How many elements accesses of one kind touch.
struct Reach {
    /// Axes along which the element moves.
    axes: SmallVec<[Axis; 4]>,
    /// Whether the element is known at run time only.
    indexed: bool,
    /// Which column of a narrow array it is: others are other elements.
    column: i64,
    /// The first element and the last, if none is known at run time only.
    span: Span,
    elements: f64,
}

/// The column that an access stays in, if it goes through an array in strides.
fn column(at: &At) -> i64 {
    let strides = at.strides.iter().map(|s| s.1.saturating_abs());
    match strides.min() {
        Some(width) => at.offset.rem_euclid(width),
        None => 0,
    }
}

/// How many elements some accesses touch together. Those of one column are the same, or the
/// ones of the larger among the others', unless they are elsewhere in it.
fn together(list: &[Reach]) -> f64 {
    let mut columns: SmallVec<[(i64, Span, f64); 8]> = SmallVec::new();
    for r in list {
        let meets = |span: Span| span.0 <= r.span.1 && r.span.0 <= span.1;
        match columns.iter_mut().find(|c| c.0 == r.column && (r.indexed || meets(c.1))) {
            Some(c) => {
                c.1 = (c.1.0.min(r.span.0), c.1.1.max(r.span.1));
                c.2 = c.2.max(r.elements);
            }
            None => columns.push((r.column, r.span, r.elements)),
        }
    }
    columns.iter().map(|c| c.2).sum()
}

impl Touched {
    fn access(&mut self, nest: &Nest, at: &At, is_store: bool) {
        if self.loads.is_empty() && self.stores.is_empty() {
            self.loaded_first = !is_store;
        }
        let axes = at.strides.iter().map(|s| s.0).collect();
        let indexed = at.index.is_some();
        // Of a row that is looked up, each element is a column.
        let column = if indexed { at.offset } else { column(at) };
        let span = at.strides.iter().fold((at.offset, at.offset), |(low, high), &(axis, s)| {
            let reach = s.saturating_mul((nest.axes[axis] as i64 - 1).max(0));
            (low.saturating_add(reach.min(0)), high.saturating_add(reach.max(0)))
        });
        let reach = Reach { axes, indexed, column, span, elements: 1.0 };
        if is_store {
            self.written += 1.0;
            add(&mut self.stores, reach);
        } else {
            self.read += 1.0;
            add(&mut self.loads, reach);
        }
    }

    /// What comes after what is here.
    fn then(&mut self, next: Self) {
        if self.loads.is_empty() && self.stores.is_empty() {
            self.loaded_first = next.loaded_first;
        }
        self.read += next.read;
        self.written += next.written;
        next.loads.into_iter().for_each(|r| add(&mut self.loads, r));
        next.stores.into_iter().for_each(|r| add(&mut self.stores, r));
    }

    /// All iterations of a loop.
    fn repeat(&mut self, l: &For, times: f64) {
        let chunks = match l.range {
            Range::Chunk { of, .. } => Some(of),
            Range::Whole => None,
        };
        for r in self.loads.iter_mut().chain(&mut self.stores) {
            if r.indexed || r.axes.contains(&l.axis) {
                r.elements *= times;
                // The next chunk is elsewhere.
                if let Some(of) = chunks.filter(|of| !r.axes.contains(of)) {
                    r.axes.push(of);
                }
            }
        }
        self.read *= times;
        self.written *= times;
    }

    /// What stays in the caches moves once.
    fn stay(&mut self, len: usize, size: usize) {
        let (loaded, stored) = (together(&self.loads), together(&self.stores));
        let (loaded, stored) = (loaded.min(len as f64), stored.min(len as f64));
        if loaded.max(stored) * size as f64 <= CACHE {
            self.read = if self.loaded_first { self.read.min(loaded) } else { 0.0 };
            self.written = self.written.min(stored);
        }
    }
}

/// Adds a reach to a list, which has one of each kind.
fn add(list: &mut Vec<Reach>, reach: Reach) {
    let alike = |r: &&mut Reach| {
        r.axes == reach.axes && r.indexed == reach.indexed && r.column == reach.column
    };
    match list.iter_mut().find(alike) {
        Some(r) => {
            r.elements = r.elements.max(reach.elements);
            r.span = (r.span.0.min(reach.span.0), r.span.1.max(reach.span.1));
        }
        None => list.push(reach),
    }
}

/// One run through the body of a loop, or of all there is.
fn block(nest: &Nest, body: &[Stmt]) -> Block {
    let mut all = Block::default();
    for stmt in body {
        match stmt {
            Stmt::Let { var, op, .. } if nest.vars[*var].is_float() => all.flops += flops(*op),
            Stmt::Let { .. } | Stmt::Index { .. } => {}
            Stmt::Call { func, .. } => {
                let FuncDecl { vars, body, .. } = &*nest.funcs[*func];
                let operation = |s: &Stmt| match s {
                    Stmt::Let { var, op, .. } if vars[*var].is_float() => flops(*op),
                    _ => 0.0,
                };
                all.flops += body.iter().map(operation).sum::<f64>();
            }
            Stmt::Load { param, at, .. } => all.touch(nest, *param, at, &[false]),
            Stmt::Store { param, at, .. } => all.touch(nest, *param, at, &[true]),
            Stmt::Accumulate { param, at, term } => {
                all.flops += taking(nest, term);
                all.touch(nest, *param, at, &[false, true]);
            }
            Stmt::For(l) => {
                let times = trips(nest, l);
                let mut inside = block(nest, &l.body);
                let combined: f64 = l.accs.iter().map(|a| taking(nest, &a.term)).sum();
                all.flops += (inside.flops + combined) * times;
                for (param, t) in &mut inside.touched {
                    t.repeat(l, times);
                    let decl = &nest.params[*param];
                    t.stay(decl.len, decl.dtype.size());
                }
                for (param, t) in inside.touched {
                    all.touched.entry(param).or_default().then(t);
                }
            }
        }
    }
    // Statements of one run through may be several loops over the same elements.
    for (param, t) in &mut all.touched {
        let decl = &nest.params[*param];
        t.stay(decl.len, decl.dtype.size());
    }
    all
}

impl Block {
    fn touch(&mut self, nest: &Nest, param: Param, at: &At, stores: &[bool]) {
        let mut now = Touched::default();
        for &is_store in stores {
            now.access(nest, at, is_store);
        }
        self.touched.entry(param).or_default().then(now);
    }
}

/// Iterations of a loop; of chunks, on average.
fn trips(nest: &Nest, l: &For) -> f64 {
    let extent = nest.axes[l.axis] as f64;
    match l.range {
        Range::Whole => extent,
        Range::Chunk { of, .. } => extent / (nest.axes[of] as f64).max(1.0),
    }
}

/// Operations on floats that take in a term: a product is one, a sum another.
fn taking(nest: &Nest, term: &Term) -> f64 {
    let values = term.values();
    if nest.vars[values[0]].is_float() { values.len() as f64 } else { 0.0 }
}

fn flops(op: ScalarOp) -> f64 {
    match op {
        ScalarOp::Add | ScalarOp::Sub | ScalarOp::Mul | ScalarOp::Div | ScalarOp::Sqrt => 1.0,
        ScalarOp::Fma => 2.0,
        _ => 0.0,
    }
}
