//! Arrays that are put together of others and that nobody stores.
//!
//! An array with elements around it, or one made of slices of others, is read a piece at a
//! time: the loops of whoever reads it are cut where a piece ends, and each part of them
//! reads what is there, at its own place or the constant that fills it. So what shifts an
//! array (`concat` of a border and a slice) and the adjoint of a slice (`pad`) take no pass
//! over memory. Parts are boxes: the product of the pieces along each axis.

use backstitch_ir::op::{Piece, Structure};
use backstitch_ir::ty::{Shape, Type};
use backstitch_ir::{Const, Node, Op, Value, threshold};
use smallvec::{SmallVec, smallvec};

use super::groups::Level;
use super::operand::{Operand, Strides, Val};
use super::scope::Scope;

/// Boxes at most into which the loops of a group are cut.
pub(crate) const MOST_SECTIONS: usize = 9;

/// Lines of the cache from which a loop begins at one.
const LONG: usize = threshold(16, 1);

/// Other operands, one after the other along an axis. Each is looked at from the indices of
/// the whole.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Joined {
    axis: usize,
    /// Where each ends.
    ends: SmallVec<[usize; 4]>,
    parts: SmallVec<[Operand; 4]>,
    /// All vals in them.
    vals: SmallVec<[Val; 4]>,
}

impl Joined {
    /// Of parts that are not empty, given with where they end.
    fn of(axis: usize, parts: SmallVec<[(usize, Operand); 4]>) -> Operand {
        let (ends, mut parts): (SmallVec<[usize; 4]>, SmallVec<[Operand; 4]>) =
            parts.into_iter().unzip();
        if parts.len() == 1 {
            return parts.swap_remove(0);
        }
        let vals = parts.iter().flat_map(Operand::vals).copied().collect();
        Operand::Joined(Self { axis, ends, parts, vals }.into())
    }

    /// All vals in it.
    pub fn vals(&self) -> &[Val] {
        &self.vals
    }

    /// What is looked at from an index: an operand that is not joined itself.
    pub fn at(&self, index: &[i64]) -> &Operand {
        let at = index.get(self.axis).map_or(0, |&i| i as usize);
        match &self.parts[self.ends.partition_point(|&end| end <= at)] {
            Operand::Joined(joined) => joined.at(index),
            part => part,
        }
    }

    /// The same over a domain without its axes of extent 1.
    pub fn squeezed(&self, dims: &[usize]) -> Self {
        let axis = dims[..self.axis].iter().filter(|&&d| d != 1).count();
        let parts = self.parts.iter().map(|p| p.squeezed(dims)).collect();
        Self { axis, parts, ..self.clone() }
    }
}

/// Where the loops over a domain are cut: axes and indices, in order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Cuts(SmallVec<[(usize, usize); 4]>);

impl Cuts {
    /// Those that an operand asks for, besides those that are there.
    pub fn add(&mut self, x: &Operand) {
        let Operand::Joined(joined) = x else { return };
        for &end in &joined.ends[..joined.ends.len() - 1] {
            let cut = (joined.axis, end);
            if let Err(place) = self.0.binary_search(&cut) {
                self.0.insert(place, cut);
            }
        }
        joined.parts.iter().for_each(|part| self.add(part));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The axes that are cut.
    pub fn axes(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|cut| cut.0)
    }

    /// How many sections there are.
    pub fn count(&self) -> usize {
        let along = |cuts: &[(usize, usize)]| cuts.len() + 1;
        self.0.chunk_by(|a, b| a.0 == b.0).map(along).product()
    }

    /// The sections, in the order of their first elements. So many elements are a line of the
    /// cache.
    pub fn sections(&self, domain: &Shape, line: usize) -> Vec<Section> {
        let whole = Section { start: smallvec![0; domain.rank()], shape: domain.clone() };
        self.0.chunk_by(|a, b| a.0 == b.0).fold(vec![whole], |sections, cuts| {
            let axis = cuts[0].0;
            let starts = std::iter::once(0).chain(cuts.iter().map(|cut| cut.1));
            let ends = cuts.iter().map(|cut| cut.1).chain([domain.dims()[axis]]);
            let mut along: SmallVec<[(usize, usize); 4]> = starts.zip(ends).collect();
            if axis + 1 == domain.rank() {
                along = along.into_iter().flat_map(|section| aligned(section, line)).collect();
            }
            let split = |b: &Section| along.iter().map(|&p| b.along(axis, p)).collect::<Vec<_>>();
            sections.iter().flat_map(split).collect()
        })
    }
}

/// A section along the last axis, or what stands in it before the first element that begins
/// a line of the cache, and the rest: a long loop does not store across lines.
fn aligned((from, to): (usize, usize), line: usize) -> SmallVec<[(usize, usize); 2]> {
    let next = from.next_multiple_of(line);
    match next > from && next + LONG * line <= to {
        true => smallvec![(from, next), (next, to)],
        false => smallvec![(from, to)],
    }
}

/// A section of a domain.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Its first element.
    pub start: Strides,
    pub shape: Shape,
}

impl Section {
    fn along(&self, axis: usize, (from, to): (usize, usize)) -> Self {
        let mut start = self.start.clone();
        start[axis] = from as i64;
        let dims = self.shape.dims().iter().enumerate();
        Self { start, shape: dims.map(|(a, &d)| if a == axis { to - from } else { d }).collect() }
    }
}

impl Scope<'_> {
    /// What is put together of pieces, to be read a piece at a time: where all that is done
    /// with it is element by element, and not every piece can be stored in place by whoever
    /// has it at hand.
    pub(super) fn joined(
        &self,
        n: Node,
        ty: &Type,
        fill: Option<Const>,
        pieces: &[(Piece, (Operand, Shape))],
    ) -> Option<Operand> {
        let dense = |p: &Piece, from: &Shape| {
            p.steps.iter().zip(from.dims()).all(|(&step, &d)| step == 1 || d <= 1)
        };
        if !self.groups.fuse
            || ty.is_empty()
            || !pieces.iter().all(|(p, (_, from))| dense(p, from))
            || !self.g.users(n).all(|user| matches!(self.g.op(user), Op::Map(_)))
            || fill.is_none() && pieces.iter().all(|(_, (x, from))| self.is_at_hand(x, from))
        {
            return None;
        }
        let whole = match fill {
            Some(c) => {
                let (piece, (x, from)) = &pieces[0];
                around(piece, x, from, &ty.shape, c)
            }
            None => {
                let pieces = pieces.iter().filter(|(_, (_, from))| !from.is_empty());
                let along = |p: &Piece| p.offset.iter().position(|&o| o > 0);
                let axis = pieces.clone().find_map(|(p, _)| along(p)).unwrap_or(0);
                let end = |p: &Piece, from: &Shape| p.offset[axis] + from.dims()[axis];
                let part =
                    |(p, (x, from)): &(Piece, (Operand, Shape))| (end(p, from), x.moved(&p.offset));
                Joined::of(axis, pieces.map(part).collect())
            }
        };
        let mut cuts = Cuts::default();
        cuts.add(&whole);
        (cuts.count() <= MOST_SECTIONS).then_some(whole)
    }

    /// Whether a group makes it, element by element of its own loops, or nobody has to.
    fn is_at_hand(&self, x: &Operand, shape: &Shape) -> bool {
        let Operand::At { val, .. } = x else { return true };
        let made = self.groups.made[*val];
        x.is_whole(shape)
            && self.vals[*val].shape == *shape
            && made.is_some_and(|m| m.item.is_some() && m.level != Level::Side)
    }

    /// The operands of a map, as many of them in pieces as loops can be cut for.
    pub(super) fn operands_of_a_map(&mut self, args: &[Value]) -> SmallVec<[Operand; 3]> {
        let looks: SmallVec<[Operand; 3]> = args.iter().map(|&a| self.look(a)).collect();
        let mut cuts = Cuts::default();
        looks.iter().for_each(|x| cuts.add(x));
        if cuts.count() <= MOST_SECTIONS {
            return looks;
        }
        args.iter().map(|&a| self.operand(a)).collect()
    }

    /// What was to be read a piece at a time, stored after all.
    pub(super) fn put_together(&mut self, v: Value) -> Operand {
        let g = self.g;
        let (n, ty) = (g.source(v).0, g.ty(v).clone());
        let args = g.args(n);
        let types: SmallVec<[&Type; 4]> = args.iter().map(|&a| g.ty(a)).collect();
        let backstitch_ir::op::Family::Array(p) = g.op(n).family() else {
            unreachable!("only arrays are put together")
        };
        let Structure::Assemble { fill, pieces } = p.structure(&types) else {
            unreachable!("only what is put together is joined")
        };
        let pieces = self.pieces(pieces, &args);
        let x = self.assemble(n, &ty, fill, pieces);
        self.operands[v] = Some(x.clone());
        x
    }
}

/// An operand with a constant around it.
fn around(piece: &Piece, x: &Operand, from: &Shape, to: &Shape, fill: Const) -> Operand {
    if from.is_empty() {
        return Operand::Splat(fill);
    }
    let mut whole = x.moved(&piece.offset);
    for (axis, (&lo, &len)) in piece.offset.iter().zip(from.dims()).enumerate() {
        let (hi, extent) = (lo + len, to.dims()[axis]);
        let mut parts: SmallVec<[(usize, Operand); 4]> = SmallVec::new();
        if lo > 0 {
            parts.push((lo, Operand::Splat(fill)));
        }
        parts.push((hi, whole));
        if hi < extent {
            parts.push((extent, Operand::Splat(fill)));
        }
        whole = Joined::of(axis, parts);
    }
    whole
}
