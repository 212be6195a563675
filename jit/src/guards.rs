//! Zeros that win over everything, in straight-line code.
//!
//! Adjoints are full of products that are 0 where a factor is 0, whatever the other one is:
//! `select (x = 0 or y = 0), 0, x·y`. As truth values in general registers, with a jump for
//! the choice, they take four times as many instructions as the product. So what is asked to
//! put a zero in a result's place is a mask, of ones where the result stays: then *or* and the
//! choice are one instruction each. Masks are made where they are wanted; truth values only if
//! something else asks for them.

use backstitch_ir::DType;
use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{Cmp, Const, Nest, ScalarOp, Stmt, Var};
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};

use crate::nest::{KEPT, NestEmitter, uses};

/// A truth value that can be a mask: whether numbers are equal, or one of two others.
#[derive(Clone, Copy)]
struct Guard {
    /// The type of the numbers.
    of: DType,
    either: bool,
    args: [Var; 2],
    /// Whether something asks for the truth value itself.
    asked: bool,
    /// The mask, and for which statement it was made.
    mask: Option<(Value, usize)>,
}

/// The truth values of a nest without loops that can be masks.
#[derive(Default)]
pub(crate) struct Guards(IndexVec<Var, Option<Guard>>);

impl Guards {
    /// Those of this nest, if any guards something.
    pub fn of(nest: &Nest) -> Self {
        let mut found: IndexVec<Var, Option<Guard>> = IndexVec::filled(None, nest.vars.len());
        let mut zeros = IndexVec::filled(false, nest.vars.len());
        for s in &nest.body {
            let Stmt::Let { var, op, args } = s else { continue };
            let guard =
                |of, either, a, b| Guard { of, either, args: [a, b], asked: false, mask: None };
            match (op, &args[..]) {
                (ScalarOp::Const(c), _) => zeros[*var] = is_zero(*c),
                (ScalarOp::Cmp(Cmp::Eq), &[a, b]) if nest.vars[a].is_float() => {
                    found[*var] = Some(guard(nest.vars[a], false, a, b));
                }
                (ScalarOp::Or, &[a, b]) => {
                    if let (Some(x), Some(y)) = (found[a], found[b])
                        && x.of == y.of
                    {
                        found[*var] = Some(guard(x.of, true, a, b));
                    }
                }
                _ => {}
            }
        }
        // Uses come after definitions: who asks for it is known before what it is made of.
        let mut guards = false;
        for s in nest.body.iter().rev() {
            let used = uses(s);
            let asked = match s {
                Stmt::Let { op: ScalarOp::Select, args, var }
                    if zeros[args[1]]
                        && found[args[0]].is_some_and(|g| g.of == nest.vars[*var]) =>
                {
                    guards = true;
                    &args[2..]
                }
                Stmt::Let { var, .. } if found[*var].is_some_and(|g| g.either && !g.asked) => &[],
                _ => &used,
            };
            asked.iter().for_each(|&v| found[v].iter_mut().for_each(|guard| guard.asked = true));
        }
        if guards { Self(found) } else { Self::default() }
    }

    fn get(&self, var: Var) -> Option<Guard> {
        if self.0.is_empty() { None } else { self.0[var] }
    }

    /// Whether nobody asks for a truth value but as a mask.
    pub fn only(&self, var: Var) -> bool {
        self.get(var).is_some_and(|guard| !guard.asked)
    }
}

/// Whether it is 0, and not -0.
fn is_zero(c: Const) -> bool {
    c.dtype.is_float() && c.bits == 0
}

impl NestEmitter<'_, '_> {
    /// The choice between zero and a number under a mask, if it is one.
    pub(crate) fn guarded(&mut self, var: Var, op: ScalarOp, args: &[Var]) -> Option<Value> {
        let (ScalarOp::Select, &[guard, zero, rest]) = (op, args) else { return None };
        let of = self.guards.get(guard)?.of;
        if of != self.nest.vars[var] || !self.bindings[zero].constant.is_some_and(is_zero) {
            return None;
        }
        let (mask, rest) = (self.keeping(guard), self.scalar(rest));
        Some(self.asm.ins().band(mask, rest))
    }

    /// Zeros where it is true, ones elsewhere; made again where it was made long ago.
    fn keeping(&mut self, var: Var) -> Value {
        let guard = self.guards.get(var).expect("a truth value that can be a mask");
        if let Some((mask, made)) = guard.mask
            && self.now <= made + KEPT
        {
            return mask;
        }
        let [a, b] = guard.args;
        let mask = if guard.either {
            let (a, b) = (self.keeping(a), self.keeping(b));
            self.asm.ins().band(a, b)
        } else {
            // There are no comparisons of scalars that leave a mask.
            let wide = wide(guard.of);
            let (a, b) = (self.everywhere(wide, a), self.everywhere(wide, b));
            let mask = self.asm.ins().fcmp(FloatCC::NotEqual, a, b);
            let mask = self.asm.cast(wide, mask);
            self.asm.ins().extractlane(mask, 0)
        };
        self.guards.0[var] = Some(Guard { mask: Some((mask, self.now)), ..guard });
        mask
    }

    /// A number in all lanes.
    fn everywhere(&mut self, wide: Type, var: Var) -> Value {
        if self.bindings[var].constant.is_some_and(is_zero) {
            return self.asm.zeros(wide);
        }
        let value = self.scalar(var);
        self.asm.ins().splat(wide, value)
    }
}

fn wide(of: DType) -> Type {
    if of == DType::F32 { types::F32X4 } else { types::F64X2 }
}
