//! Instructions on virtual registers, as many as a kernel likes.
//!
//! A [`Program`] is a list of them in the order in which they run, with labels and the
//! extents of loops. A virtual register may be written several times (accumulators,
//! counters). [`alloc`](super::alloc) finds places for them, [`emit`](super::emit) writes
//! the bytes.

use super::code::{Alu, Cond, Label, PoolSlot, Width};
use super::table::Row;

/// A virtual register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Reg(pub u32);

/// Which registers of the machine a virtual register can be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Class {
    Vector,
    Mask,
    General,
}

/// A place in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub base: Reg,
    /// Another register (a vector, for gathers and scatters) times `1 << scale`.
    pub index: Option<(Reg, u8)>,
    pub disp: i32,
}

impl Place {
    /// Whether it is somewhere else when that register is.
    pub fn mentions(&self, reg: Reg) -> bool {
        self.base == reg || self.index.is_some_and(|(index, _)| index == reg)
    }
}

/// The last operand of an instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Reg(Reg),
    Place(Place),
    Pool(PoolSlot),
    /// One element of the pool, in all lanes.
    Repeated(PoolSlot),
}

/// What `fma` is to do: `a · b + c`. At most one is not a register. Under a mask `c` is
/// what is written, and lanes outside stay what they were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fma {
    pub double: bool,
    pub width: Width,
    pub def: Reg,
    pub args: [Source; 3],
    pub mask: Option<Reg>,
}

/// A vector or mask instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vector {
    pub row: &'static Row,
    pub width: Width,
    /// The operand in the field `reg`, and whether it is written, read, or both.
    pub reg: Option<(Reg, Role)>,
    /// The operand in the prefix.
    pub second: Option<Reg>,
    pub source: Source,
    /// Whether the last operand is written instead of read.
    pub to_source: bool,
    pub immediate: Option<u8>,
    /// The mask; lanes outside stay what they were, or become zero.
    pub mask: Option<(Reg, bool)>,
    /// Whether the mask is used up.
    pub gathers: bool,
}

/// What is done with a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Use,
    Def,
    /// Read and written.
    Change,
}

/// The second operand of an instruction on general registers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Reg(Reg),
    Known(i64),
    Place(Place),
}

/// An instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inst {
    Vector(Vector),
    Fma(Fma),
    /// `to = op(to, from)`; moves and comparisons do the one half only.
    Alu {
        op: Alu,
        to: Reg,
        from: Value,
    },
    /// `to = from · by`.
    Multiply {
        to: Reg,
        from: Reg,
        by: i32,
    },
    /// `to = address`.
    Address {
        to: Reg,
        place: Place,
    },
    Negate {
        to: Reg,
    },
    /// `to = from` if the last comparison came out so.
    MoveIf {
        cond: Cond,
        to: Reg,
        from: Reg,
    },
    /// `to = ` the low `count` bits of `from`.
    LowBits {
        to: Reg,
        from: Reg,
        count: Reg,
    },
    /// `to = ` the byte there.
    LoadByte {
        to: Reg,
        place: Place,
    },
    StoreByte {
        place: Place,
        from: Reg,
    },
    /// Asks for the line of the cache that is there; no place is wrong.
    Prefetch {
        place: Place,
    },
    Jump(Label),
    JumpIf(Cond, Label),
    Label(Label),
    /// The head of a loop; ends at the matching [`LoopEnd`](Self::LoopEnd).
    LoopStart(Label),
    LoopEnd,
    /// Waits until all that was stored past the caches can be seen.
    Fence,
}

impl Inst {
    /// Calls `f` for each register that is read or written.
    pub fn visit(&self, mut f: impl FnMut(Reg, Role)) {
        let source = |s: &Source, f: &mut dyn FnMut(Reg, Role)| match s {
            Source::Reg(r) => f(*r, Role::Use),
            Source::Place(p) => visit_place(p, f),
            Source::Pool(_) | Source::Repeated(_) => {}
        };
        match self {
            Self::Vector(v) => {
                match v.source {
                    Source::Reg(r) if v.to_source => f(r, Role::Def),
                    ref s => source(s, &mut f),
                }
                if let Some(second) = v.second {
                    f(second, Role::Use);
                }
                if let Some((mask, _)) = v.mask {
                    f(mask, if v.gathers { Role::Change } else { Role::Use });
                }
                if let Some((r, role)) = v.reg {
                    f(r, role);
                }
            }
            Self::Fma(fma) => {
                fma.args.iter().for_each(|s| source(s, &mut f));
                if let Some(mask) = fma.mask {
                    f(mask, Role::Use);
                }
                f(fma.def, if fma.mask.is_some() { Role::Change } else { Role::Def });
            }
            Self::Alu { op, to, from } => {
                match from {
                    Value::Reg(r) => f(*r, Role::Use),
                    Value::Place(p) => visit_place(p, &mut f),
                    Value::Known(_) => {}
                }
                let role = match op {
                    Alu::Mov => Role::Def,
                    Alu::Cmp => Role::Use,
                    Alu::Add | Alu::And | Alu::Sub => Role::Change,
                };
                f(*to, role);
            }
            Self::Multiply { to, from, .. } => {
                f(*from, Role::Use);
                f(*to, Role::Def);
            }
            Self::Address { to, place } | Self::LoadByte { to, place } => {
                visit_place(place, &mut f);
                f(*to, Role::Def);
            }
            Self::Negate { to } => f(*to, Role::Change),
            Self::MoveIf { to, from, .. } => {
                f(*from, Role::Use);
                f(*to, Role::Change);
            }
            Self::LowBits { to, from, count } => {
                f(*from, Role::Use);
                f(*count, Role::Use);
                f(*to, Role::Def);
            }
            Self::StoreByte { place, from } => {
                visit_place(place, &mut f);
                f(*from, Role::Use);
            }
            Self::Prefetch { place } => visit_place(place, &mut f),
            Self::Jump(_)
            | Self::JumpIf(..)
            | Self::Label(_)
            | Self::LoopStart(_)
            | Self::LoopEnd
            | Self::Fence => {}
        }
    }
}

fn visit_place(p: &Place, f: &mut dyn FnMut(Reg, Role)) {
    f(p.base, Role::Use);
    if let Some((index, _)) = p.index {
        f(index, Role::Use);
    }
}

/// A kernel's instructions.
#[derive(Default)]
pub(crate) struct Program {
    pub insts: Vec<Inst>,
    pub classes: Vec<Class>,
    pub labels: u32,
    pub pool: super::code::Pool,
    /// The function's parameters.
    pub params: Vec<Reg>,
}

impl Program {
    pub fn reg(&mut self, class: Class) -> Reg {
        self.classes.push(class);
        Reg(self.classes.len() as u32 - 1)
    }

    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }
}
