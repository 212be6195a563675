//! Short arrays that the iterations of a loop add to or read again, in registers for as
//! long as it runs.
//!
//! ```text
//! for i { …; for j vector { y[j] += r · x[i,j] } }
//! for i { …; for j vector (s = sum) { s += w[j] · x[i,j] } }
//! ```
//!
//! In memory, each row of the first would wait for what the row before has stored. What is
//! added to each element follows in the same order in registers, so bits are the same. Each
//! row of the second would read as much of `w` as of `x`: rows that begin anywhere take two
//! accesses for most vectors, so that loads are all that such a loop does.

use backstitch_ir::DType;
use backstitch_ir::nest::{At, For, Mode, Param, Range, Stmt};

use super::code::Encoding;
use super::inst::Reg;
use super::lower::Lowering;
use super::places::Int;
use super::vector::Shape;
use crate::vector_loop::split;

/// Statements of a loop up to which the other registers are enough for what it computes.
const FEW: usize = 4;

/// Vectors that are held at most for a single loop of few statements.
fn most_alone(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Evex => 24,
        Encoding::Vex => 8,
    }
}

/// Vectors of sums that are held at most.
fn most_sums(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Evex => 14,
        Encoding::Vex => 8,
    }
}

/// Vectors that are held at most, together.
fn most(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Evex => 20,
        Encoding::Vex => 8,
    }
}

/// Statements of a loop that is written out for it at most.
const WRITTEN_OUT: usize = 128;

/// An array that is held, or the beginning of one that is only read.
pub(super) struct Held<'n> {
    inner: &'n For,
    stmt: &'n Stmt,
    shape: Shape,
    regs: Vec<Reg>,
}

/// A loop in which something may be held.
struct Inside<'n> {
    inner: &'n For,
    stmts: Vec<&'n Stmt>,
    shape: Shape,
    vectors: usize,
}

impl Lowering<'_> {
    /// Loads what the iterations of a loop that is about to begin add to or read again.
    pub(super) fn hold<'l>(&mut self, l: &'l For) -> Option<Vec<Held<'l>>> {
        let mut out = Vec::new();
        if l.mode != Mode::Sequential {
            return Some(out);
        }
        let loops: Vec<Inside<'l>> = l.body.iter().filter_map(|s| self.inside(s)).collect();
        let inner = l.body.iter().filter(|s| matches!(s, Stmt::For(_))).count();
        let alone = inner == 1 && loops.iter().all(|inside| inside.stmts.len() <= FEW);
        let (mut room, mut sums) = match (alone, self.ops.encoding) {
            (true, encoding) => (most_alone(encoding), most_alone(encoding)),
            (false, encoding) => (most(encoding), most_sums(encoding)),
        };
        for inside in &loops {
            for &stmt in &inside.stmts {
                let Stmt::Accumulate { param, at, .. } = stmt else { continue };
                let vectors = inside.vectors;
                if vectors > sums || !self.is_own_sum(l, inside.inner, *param, at) {
                    continue;
                }
                (sums, room) = (sums - vectors, room - vectors);
                out.push(self.hold_vectors(inside, stmt, *param, at, vectors)?);
            }
        }
        for inside in &loops {
            for &stmt in &inside.stmts {
                let Stmt::Load { param, at, .. } = stmt else { continue };
                let vectors = inside.vectors.min(room);
                // A part of what is read helps if it is most of it.
                if 2 * vectors <= inside.vectors || !self.is_fixed(l, inside.inner, *param, at) {
                    continue;
                }
                room -= vectors;
                out.push(self.hold_vectors(inside, stmt, *param, at, vectors)?);
            }
        }
        Some(out)
    }

    /// Stores what was added to.
    pub(super) fn release(&mut self, all: Vec<Held<'_>>) -> Option<()> {
        for held in all {
            self.held.remove(&std::ptr::from_ref(held.stmt));
            let Stmt::Accumulate { param, at, .. } = held.stmt else { continue };
            let mut regs = held.regs.iter();
            self.each_vector(held.inner, held.shape, held.regs.len(), |this| {
                this.vector_store(*param, at, *regs.next()?)
            })?;
        }
        Some(())
    }

    /// A vector loop that runs as a whole, and is short enough to be written out.
    fn inside<'l>(&self, s: &'l Stmt) -> Option<Inside<'l>> {
        let Stmt::For(inner) = s else { return None };
        let Mode::Vector { lanes: partial } = inner.mode else { return None };
        if inner.range != Range::Whole {
            return None;
        }
        let (_, stmts) = split(inner);
        let shape = self.shape(inner, partial, &stmts)?;
        let vectors = self.nest.axes[inner.axis].div_ceil(shape.lanes);
        let fits = vectors > 0 && vectors * stmts.len() <= WRITTEN_OUT;
        fits.then_some(Inside { inner, stmts, shape, vectors })
    }

    /// Loads so many vectors of an array.
    fn hold_vectors<'l>(
        &mut self,
        inside: &Inside<'l>,
        stmt: &'l Stmt,
        param: Param,
        at: &At,
        vectors: usize,
    ) -> Option<Held<'l>> {
        let &Inside { inner, shape, .. } = inside;
        let mut regs = Vec::new();
        self.each_vector(inner, shape, vectors, |this| {
            regs.push(this.vector_load(param, at)?);
            Some(())
        })?;
        self.held.insert(std::ptr::from_ref(stmt), regs.clone());
        Some(Held { inner, stmt, shape, regs })
    }

    /// Does something for each of the first vectors of an array.
    fn each_vector(
        &mut self,
        inner: &For,
        shape: Shape,
        vectors: usize,
        mut f: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        let (axis, count) = (inner.axis, self.nest.axes[inner.axis]);
        for number in 0..vectors {
            let first = number * shape.lanes;
            let left = count - first;
            let tail = match left < shape.lanes {
                true => Some(self.ops.tail(Int::known(left as i64), shape.lanes, shape.size)?),
                false => None,
            };
            self.at.enter(axis, Int::known(first as i64));
            self.current = Some(shape.current(axis, 0, number, tail));
            f(self)?;
            self.current = None;
            self.at.leave(axis);
        }
        Some(())
    }

    /// Whether nothing in the loop touches the array but this sum, which adds the same
    /// elements in each iteration.
    fn is_own_sum(&self, l: &For, inner: &For, param: Param, at: &At) -> bool {
        self.is_same(l, inner, param, at) && touches(&l.body, param, &|_| true) == 1
    }

    /// Whether what is loaded is the same in each iteration.
    fn is_fixed(&self, l: &For, inner: &For, param: Param, at: &At) -> bool {
        let writes = |s: &Stmt| !matches!(s, Stmt::Load { .. });
        self.is_same(l, inner, param, at) && touches(&l.body, param, &writes) == 0
    }

    /// Whether consecutive elements are meant, the same in each iteration.
    fn is_same(&self, l: &For, inner: &For, param: Param, at: &At) -> bool {
        self.dtype(param) != DType::Bool
            && at.index.is_none()
            && at.stride(l.axis) == 0
            && at.stride(inner.axis) == 1
    }
}

/// How many statements of this kind touch a parameter.
fn touches(body: &[Stmt], p: Param, kind: &dyn Fn(&Stmt) -> bool) -> usize {
    let count = |s: &Stmt| match s {
        Stmt::Load { param, .. } | Stmt::Store { param, .. } | Stmt::Accumulate { param, .. } => {
            usize::from(*param == p && kind(s))
        }
        Stmt::For(l) => touches(&l.body, p, kind),
        Stmt::Let { .. } | Stmt::Index { .. } | Stmt::Call { .. } => 0,
    };
    body.iter().map(count).sum()
}
