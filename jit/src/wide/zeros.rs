//! Choices between zero and something: instructions under a mask.
//!
//! Adjoints are full of products in which a zero wins over everything, infinity and NaN
//! too: `a = 0 ∨ b = 0 ? 0 : a·b`. With AVX-512 a comparison can be confined to lanes in
//! which another one holds, and any instruction can leave zeros in the lanes outside its
//! mask, so that such a product is two comparisons and a multiplication.

use backstitch_ir::nest::{Cmp, For, ScalarOp, Stmt, Var};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::code::{Encoding, Width};
use super::inst::{Class, Inst, Reg, Role, Source, Vector};
use super::lower::{Binding, Current, Lowering};
use super::ops::{Arg, blank, unary_inst};
use super::table as t;
use crate::nest::uses;

/// What the body of a vector loop defines by operations, and how often each is used.
#[derive(Default)]
pub(super) struct Definitions {
    known: FxHashMap<Var, (ScalarOp, SmallVec<[Var; 3]>)>,
    uses: FxHashMap<Var, usize>,
    /// Lanes in which a condition does not hold, by copy of the body.
    refuted: FxHashMap<(Var, usize), Reg>,
    /// The same for conditions that are made outside of the loop, where it is found too.
    outside: FxHashMap<Reg, Reg>,
    /// Whether the loop begins at 0.
    pub from_zero: bool,
}

impl Definitions {
    pub fn of(l: &For, body: &[&Stmt]) -> Self {
        let mut out = Self::default();
        for s in body {
            if let Stmt::Let { var, op, args } = s {
                out.known.insert(*var, (*op, args.clone()));
            }
            for v in uses(s) {
                *out.uses.entry(v).or_insert(0) += 1;
            }
        }
        for &v in l.accs.iter().flat_map(|a| a.term.values()) {
            *out.uses.entry(v).or_insert(0) += 1;
        }
        out
    }

    /// The operation that defines a variable in the loop, and its operands.
    pub fn known(&self, v: Var) -> Option<(ScalarOp, &[Var])> {
        self.known.get(&v).map(|(op, args)| (*op, &args[..]))
    }

    /// A new iteration begins.
    pub fn forget(&mut self) {
        self.refuted.clear();
    }
}

/// The number of a comparison of floats that holds where this one does not.
fn refutation(cmp: Cmp) -> u8 {
    match cmp {
        Cmp::Lt => 0x15,
        Cmp::Le => 0x16,
        Cmp::Gt => 0x1a,
        Cmp::Ge => 0x19,
        Cmp::Eq => 0x04,
        Cmp::Ne => 0x00,
    }
}

impl Lowering<'_> {
    /// `c ? 0 : v`, if that is an instruction under a mask.
    pub(super) fn zero_unless(
        &mut self,
        var: Var,
        args: &[Var],
        lanes: usize,
    ) -> Option<Option<Reg>> {
        let &[c, zero, v] = args else { unreachable!("three operands") };
        let to = self.nest.vars[var];
        let is_zero = matches!(self.bindings[zero], Binding::Const(c) if c.bits == 0);
        if self.ops.encoding == Encoding::Vex
            || self.current.is_none()
            || !is_zero
            || !to.is_float()
        {
            return Some(None);
        }
        if !self.definitions.known.contains_key(&c) {
            return Some(None);
        }
        let mask = self.refuted(c, None, lanes)?;
        let width = Width::of(lanes * to.size());
        let wide = to.size() == 8;
        let pick = |a, b| if wide { b } else { a };
        let once = self.definitions.uses.get(&v) == Some(&1);
        let operation = self.definitions.known.get(&v).filter(|_| once).cloned();
        let (row, second, source) = match operation {
            Some((op @ (ScalarOp::Add | ScalarOp::Sub | ScalarOp::Mul), args)) => {
                let row: &'static t::Row = match op {
                    ScalarOp::Add => pick(&t::ADDPS, &t::ADDPD),
                    ScalarOp::Sub => pick(&t::SUBPS, &t::SUBPD),
                    _ => pick(&t::MULPS, &t::MULPD),
                };
                let (a, b) = (self.value(args[0]), self.arg(args[1]));
                (row, Some(a), self.ops.source(b))
            }
            _ => {
                let v = self.value(v);
                (pick(&t::MOVAPS, &t::MOVAPD), None, Source::Reg(v))
            }
        };
        let def = self.ops.program.reg(Class::Vector);
        self.ops.push(Inst::Vector(Vector {
            width,
            reg: Some((def, Role::Def)),
            second,
            source,
            mask: Some((mask, true)),
            ..blank(row)
        }));
        Some(Some(def))
    }

    /// The lanes in which a condition does not hold, of those of a mask.
    fn refuted(&mut self, c: Var, within: Option<Reg>, lanes: usize) -> Option<Reg> {
        let copy = self.current.map_or(0, |Current { copy, .. }| copy);
        if within.is_none()
            && let Some(&known) = self.definitions.refuted.get(&(c, copy))
        {
            return Some(known);
        }
        let known = match self.bindings[c] {
            Binding::Lanes(_) => self.definitions.known.get(&c).cloned(),
            _ => None,
        };
        let outside = matches!(self.bindings[c], Binding::Uniform(_));
        let out = match known {
            Some((ScalarOp::Or, args)) => {
                let first = self.refuted(args[0], within, lanes)?;
                self.refuted(args[1], Some(first), lanes)?
            }
            Some((ScalarOp::Cmp(cmp), args)) if self.nest.vars[args[0]].is_float() => {
                let of = self.nest.vars[args[0]];
                let row: &'static t::Row = if of.size() == 8 { &t::CMPPD } else { &t::CMPPS };
                let (a, b) = match (self.arg(args[0]), self.arg(args[1])) {
                    (Arg::Const(c), b @ Arg::Reg(_)) if matches!(cmp, Cmp::Eq | Cmp::Ne) => {
                        (b, Arg::Const(c))
                    }
                    sides => sides,
                };
                let (a, b) = (self.ops.reg(a), self.ops.source(b));
                let width = Width::of(lanes * of.size());
                self.ops.compare_into(row, width, a, b, refutation(cmp), within)?
            }
            _ => {
                let k = self.value(c);
                if within.is_none()
                    && let Some(&known) = self.definitions.outside.get(&k)
                {
                    return Some(known);
                }
                let def = self.ops.program.reg(Class::Mask);
                let inst = match within {
                    None => unary_inst(&t::KNOT, Width::X128, def, Source::Reg(k)),
                    Some(within) => Inst::Vector(Vector {
                        reg: Some((def, Role::Def)),
                        second: Some(k),
                        source: Source::Reg(within),
                        ..blank(&t::KANDN)
                    }),
                };
                match &mut self.ops.hoist {
                    Some(hoist) if within.is_none() && outside => {
                        hoist.insts.push(inst);
                        self.definitions.outside.insert(k, def);
                    }
                    _ => self.ops.push(inst),
                }
                def
            }
        };
        if within.is_none() {
            self.definitions.refuted.insert((c, copy), out);
        }
        Some(out)
    }
}
