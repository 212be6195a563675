//! Items: what has loops.

use backstitch_ir::nest::{Const, Monoid};
use backstitch_ir::ty::{DType, Shape};
use backstitch_ir::{Node, Scalar};
use smallvec::SmallVec;

use crate::lower::operand::{Operand, Val, squeezed};

/// What an item computes at each element of its domain.
#[derive(Clone, Debug)]
pub(crate) enum ItemOp {
    /// A scalar function of the operands.
    Map(Scalar),
    /// The operand.
    Copy,
    /// The index along an axis.
    Iota { axis: usize },
    /// Combination along axes; the result has the others.
    Reduce { monoid: Monoid, axes: SmallVec<[usize; 4]> },
    /// `x[… + step·clamp(index, 0, last)]`; operands `x`, `index`.
    Gather { step: i64, last: i64 },
}

/// Something with loops.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub op: ItemOp,
    pub domain: Shape,
    pub args: SmallVec<[Operand; 3]>,
    pub out: Val,
    pub node: Option<Node>,
    /// Whether differentiation made it.
    pub adjoint: bool,
}

impl ItemOp {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Map(f) => f.name(),
            Self::Copy => "copy",
            Self::Iota { .. } => "iota",
            Self::Reduce { monoid, .. } => monoid.name(),
            Self::Gather { .. } => "gather",
        }
    }
}

impl Item {
    /// The same without axes of extent 1, which need no loop: then what has the same
    /// loops has the same domain.
    pub fn squeezed(self, dtype: DType) -> Self {
        let dims = self.domain.dims();
        if !dims.contains(&1) {
            return self;
        }
        let place = |axis: usize| dims[..axis].iter().filter(|&&d| d != 1).count();
        let mut args: SmallVec<[Operand; 3]> =
            self.args.iter().map(|arg| arg.squeezed(dims)).collect();
        let op = match self.op {
            ItemOp::Iota { axis } if dims[axis] == 1 => {
                args.push(Operand::Splat(Const::of_int(dtype, 0)));
                ItemOp::Copy
            }
            ItemOp::Iota { axis } => ItemOp::Iota { axis: place(axis) },
            ItemOp::Reduce { monoid, axes } => {
                let long = axes.iter().filter(|&&a| dims[a] != 1);
                let axes: SmallVec<[usize; 4]> = long.map(|&a| place(a)).collect();
                if axes.is_empty() { ItemOp::Copy } else { ItemOp::Reduce { monoid, axes } }
            }
            op => op,
        };
        Self { op, domain: squeezed(&self.domain), args, ..self }
    }
}
