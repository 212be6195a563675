//! Arrays that are put together of pieces.
//!
//! A piece that a group has at hand is an item of it, a copy that is stored where the piece
//! belongs ([`Part`]): then putting the array together takes no kernel, and a piece that
//! nobody else wants is nowhere else in memory. What no group has at hand is copied by a
//! kernel of its own, and so is everything where the rest is filled.
//!
//! The array is there once the last of these groups has run. It may have several, so
//! that all but the first leave what is stored already.

use backstitch_ir::nest::Access;
use backstitch_ir::op::Piece;
use backstitch_ir::ty::{Shape, Type};
use backstitch_ir::{Const, Node, Value};
use smallvec::smallvec;

use super::groups::{Item, ItemOp};
use super::kernels;
use super::operand::{Operand, Part, Val, contiguous};
use super::scope::{Home, Library, Scope};

impl Scope<'_> {
    /// Pieces with what they are.
    pub(super) fn pieces(
        &mut self,
        pieces: impl IntoIterator<Item = Piece>,
        args: &[Value],
    ) -> Vec<(Piece, (Operand, Shape))> {
        let g = self.g;
        let read = |(piece, &a)| (piece, (self.operand(a), g.ty(a).shape.clone()));
        pieces.into_iter().zip(args).map(read).collect()
    }

    /// A val that is put together of pieces. Without a fill, a group that has a piece at
    /// hand stores it where it belongs; the others are copied.
    pub(super) fn assemble(
        &mut self,
        n: Node,
        ty: &Type,
        fill: Option<Const>,
        mut pieces: Vec<(Piece, (Operand, Shape))>,
    ) -> Operand {
        let out = self.val(ty, Home::Open);
        if fill.is_none() && self.groups.fuse {
            pieces.retain(|(_, (_, shape))| !shape.is_empty());
            // One that nobody has at hand goes with one that somebody has.
            let mut stored = vec![false; pieces.len()];
            for least in [1, 0] {
                let any = stored.contains(&true);
                for (i, (piece, (x, shape))) in pieces.iter().enumerate() {
                    if (least > 0 || any) && !stored[i] {
                        stored[i] = self.store_piece(n, out, piece, x, shape, least);
                    }
                }
            }
            let mut stored = stored.into_iter();
            pieces.retain(|_| !stored.next().unwrap_or(false));
        }
        if pieces.is_empty() && !ty.is_empty() {
            let id = self.groups.barrier([]);
            self.groups.made_by(out, id);
        } else {
            let (pieces, reads): (Vec<_>, Vec<_>) = pieces.into_iter().unzip();
            let vals: Vec<Val> =
                reads.iter().filter_map(|r: &(Operand, Shape)| r.0.val()).collect();
            let lib = kernels::Assemble { out, fill, pieces, reads };
            self.call(Library::Assemble(lib), &vals, &[out]);
        }
        Operand::whole(out, &ty.shape)
    }

    /// Lets a group store a piece of a val, if that saves at least so many bytes.
    fn store_piece(
        &mut self,
        n: Node,
        out: Val,
        piece: &Piece,
        x: &Operand,
        shape: &Shape,
        least: usize,
    ) -> bool {
        let own = contiguous(&self.vals[out].shape);
        let offset = piece.offset.iter().zip(&own).map(|(&o, &s)| o as i64 * s).sum();
        let places = piece.steps.iter().zip(&own).zip(shape.dims());
        let places = places.filter(|&(_, &extent)| extent != 1);
        let strides = places.map(|((&step, &stride), _)| step as i64 * stride).collect();
        let ty = Type::new(self.dtype(out), shape.clone());
        let val = self.val(&ty, Home::Open);
        self.vals[val].part = Some(Part { of: out, offset, strides }.into());
        let (node, adjoint) = (self.top.then_some(n), self.g.origin(n).adjoint);
        let args = smallvec![x.clone()];
        let item = Item { op: ItemOp::Copy, domain: shape.clone(), args, out: val, node, adjoint };
        let stored = self.groups.add_if(&self.vals, item, least);
        self.groups.stored[val] = stored;
        stored
    }

    /// Several kernels store parts of a val, or of what it is part of; this is the first.
    pub fn begin(&mut self, val: Val, kernel: usize) {
        let of = self.vals[val].part.as_ref().map_or(val, |part| part.of);
        self.begun.entry(of).or_insert(kernel);
    }

    /// How a kernel takes the memory of a val to store it, or parts of it: what others have
    /// stored there stays.
    pub fn access_to_store(&mut self, val: Val, kernel: usize) -> Access {
        let of = self.vals[val].part.as_ref().map_or(val, |part| part.of);
        if of == val && !self.begun.contains_key(&val) {
            return Access::Out;
        }
        let first = *self.begun.entry(of).or_insert(kernel);
        if first == kernel { Access::Out } else { Access::InOut }
    }
}
