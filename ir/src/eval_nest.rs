//! Interpreter of nests: what a kernel means, one operation at a time.
//!
//! The statements are first turned into `Code`, in which operations are
//! functions on bits (see [`apply`]) and variables are positions; then they are
//! run, loops in order. Parallel loops run in order too, which is one of the
//! orders they allow.
//!
//! Memory is bytes in cells, so that parameters may share a buffer and a whole
//! plan may live in one arena. Anything wrong (an element outside its
//! parameter, an ill-typed operation) panics: nests come from the compiler, not
//! from its users.

use std::cell::Cell;

use smallvec::SmallVec;

use crate::apply::{self, Function};
use crate::array::Element;
use crate::index::{Idx, IndexVec};
use crate::nest::{
    At, Axis, Carry, Const, Func, FuncDecl, Mode, Nest, Param, Range, ScalarOp, Stmt, Term, Var,
};
use crate::ty::DType;

/// The memory of a parameter: its elements in native byte order, and possibly
/// more after them.
pub type Mem<'a> = &'a [Cell<u8>];

/// Bytes as memory of a parameter; slices of it are memory as well.
pub fn cells(bytes: &mut [u8]) -> Mem<'_> {
    Cell::from_mut(bytes).as_slice_of_cells()
}

/// The bytes of these elements.
pub fn pack<T: Element>(elements: &[T]) -> Vec<u8> {
    let size = T::DTYPE.size();
    let mut bytes = vec![0; elements.len() * size];
    let mem = cells(&mut bytes);
    for (i, x) in elements.iter().enumerate() {
        write(mem, size, i, x.to_const().bits);
    }
    bytes
}

/// The elements in these bytes.
pub fn unpack<T: Element>(bytes: &[u8]) -> Vec<T> {
    let mut bytes = bytes.to_vec();
    let (size, count) = (T::DTYPE.size(), bytes.len() / T::DTYPE.size());
    let mem = cells(&mut bytes);
    let at = |i| T::from_const(Const { dtype: T::DTYPE, bits: read(mem, size, i) });
    (0..count).map(at).collect()
}

/// Runs a nest on these parameters.
pub fn eval(nest: &Nest, args: &[Mem<'_>]) {
    assert_eq!(args.len(), nest.params.len(), "{}: number of arguments", nest.name);
    for (decl, arg) in nest.params.iter().zip(args) {
        assert!(arg.len() >= decl.len * decl.dtype.size(), "{}: argument too short", nest.name);
    }
    let code = compile(nest, &nest.body);
    let mut machine = Machine {
        nest,
        args,
        funcs: nest.funcs.iter().map(|f| (&**f, straight(&f.vars, &f.body))).collect(),
        axes: IndexVec::filled(0, nest.axes.len()),
        vars: IndexVec::filled(0, nest.vars.len()),
    };
    machine.run(&code);
}

/// A statement made ready to run.
enum Code {
    Set { var: Var, bits: u64 },
    Apply { var: Var, f: Function, args: [Var; 3] },
    Call { var: Var, func: Func, args: SmallVec<[Var; 3]> },
    Index { var: Var, axis: Axis },
    Load { var: Var, from: Place },
    Store { to: Place, value: Var },
    Accumulate { to: Place, step: Step },
    For(Loop),
}

/// Where an element is, and its size in bytes.
struct Place {
    param: Param,
    at: At,
    size: usize,
}

struct Loop {
    axis: Axis,
    range: Range,
    /// Partial results per accumulator.
    lanes: usize,
    carries: Vec<Carry>,
    accs: Vec<Reduction>,
    body: Vec<Code>,
}

struct Reduction {
    result: Var,
    step: Step,
    /// The combination of partial results.
    f: Function,
    identity: u64,
}

/// How a term is taken in.
struct Step {
    /// Of what there is so far, and of the term's values.
    f: Function,
    values: [Var; 2],
}

fn compile(nest: &Nest, stmts: &[Stmt]) -> Vec<Code> {
    let element = |param: Param, at: &At| Place {
        param,
        at: at.clone(),
        size: nest.params[param].dtype.size(),
    };
    let stmt = |s: &Stmt| match s {
        Stmt::Let { var, op, args } => operation(&nest.vars, *var, *op, args),
        Stmt::Call { var, func, args } => Code::Call { var: *var, func: *func, args: args.clone() },
        Stmt::Index { var, axis } => Code::Index { var: *var, axis: *axis },
        Stmt::Load { var, param, at } => Code::Load { var: *var, from: element(*param, at) },
        Stmt::Store { param, at, value } => Code::Store { to: element(*param, at), value: *value },
        Stmt::Accumulate { param, at, term } => Code::Accumulate {
            to: element(*param, at),
            step: step_of(*term, nest.params[*param].dtype),
        },
        Stmt::For(l) => Code::For(Loop {
            axis: l.axis,
            range: l.range,
            lanes: match l.mode {
                Mode::Vector { lanes } => lanes,
                Mode::Sequential | Mode::Parallel => 1,
            },
            carries: l.carries.clone(),
            accs: l
                .accs
                .iter()
                .map(|acc| {
                    let (dtype, op) = (nest.vars[acc.result], acc.term.op());
                    Reduction {
                        result: acc.result,
                        step: step_of(acc.term, dtype),
                        f: step_of(Term::One(op, acc.result), dtype).f,
                        identity: op.identity(dtype).bits,
                    }
                })
                .collect(),
            body: compile(nest, &l.body),
        }),
    };
    stmts.iter().map(stmt).collect()
}

fn operation(vars: &IndexVec<Var, DType>, var: Var, op: ScalarOp, args: &[Var]) -> Code {
    if let ScalarOp::Const(c) = op {
        return Code::Set { var, bits: c.bits };
    }
    let last = *args.last().expect("operands");
    let (operand, result) = (vars[last], vars[var]);
    let f = apply::function(op, operand, result)
        .unwrap_or_else(|| panic!("no {} from {operand} to {result}", op.name()));
    let arg = |i: usize| args.get(i).copied().unwrap_or(last);
    Code::Apply { var, f, args: [arg(0), arg(1), arg(2)] }
}

/// The body of a function.
fn straight(vars: &IndexVec<Var, DType>, body: &[Stmt]) -> Vec<Code> {
    let stmt = |s: &Stmt| match s {
        Stmt::Let { var, op, args } => operation(vars, *var, *op, args),
        _ => panic!("a function is operations alone"),
    };
    body.iter().map(stmt).collect()
}

fn step_of(term: Term, dtype: DType) -> Step {
    let f = apply::taking(&term, dtype);
    let f = f.unwrap_or_else(|| panic!("no {} of {dtype}", term.op().name()));
    let values = match term {
        Term::One(_, value) => [value; 2],
        Term::Product(factors) => factors,
    };
    Step { f, values }
}

/// One operation.
fn step(vars: &mut IndexVec<Var, u64>, c: &Code) {
    match c {
        Code::Set { var, bits } => vars[*var] = *bits,
        Code::Apply { var, f, args: [x, y, z] } => vars[*var] = f(vars[*x], vars[*y], vars[*z]),
        _ => unreachable!("no operation"),
    }
}

struct Machine<'a> {
    nest: &'a Nest,
    args: &'a [Mem<'a>],
    funcs: IndexVec<Func, (&'a FuncDecl, Vec<Code>)>,
    axes: IndexVec<Axis, usize>,
    vars: IndexVec<Var, u64>,
}

impl Machine<'_> {
    fn run(&mut self, code: &[Code]) {
        for c in code {
            match c {
                Code::Set { .. } | Code::Apply { .. } => step(&mut self.vars, c),
                Code::Call { var, func, args } => {
                    let (decl, code) = &self.funcs[*func];
                    let mut vars = IndexVec::filled(0, decl.vars.len());
                    for (i, &arg) in args.iter().enumerate() {
                        vars[Var::new(i)] = self.vars[arg];
                    }
                    code.iter().for_each(|c| step(&mut vars, c));
                    self.vars[*var] = vars[decl.result];
                }
                Code::Index { var, axis } => self.vars[*var] = self.axes[*axis] as u64,
                Code::Load { var, from } => {
                    let (mem, i) = self.locate(from);
                    self.vars[*var] = read(mem, from.size, i);
                }
                Code::Store { to, value } => {
                    let (mem, i) = self.locate(to);
                    write(mem, to.size, i, self.vars[*value]);
                }
                Code::Accumulate { to, step } => {
                    let (mem, i) = self.locate(to);
                    write(mem, to.size, i, self.take(step, read(mem, to.size, i)));
                }
                Code::For(l) => self.repeat(l),
            }
        }
    }

    fn repeat(&mut self, l: &Loop) {
        let extent = self.nest.axes[l.axis];
        let range = match l.range {
            Range::Whole => 0..extent,
            Range::Chunk { of, size } => {
                let start = self.axes[of] * size;
                start..extent.min(start + size)
            }
        };
        let start = |acc: &Reduction| SmallVec::<[u64; 8]>::from_elem(acc.identity, l.lanes);
        let mut partials: SmallVec<[_; 4]> = l.accs.iter().map(start).collect();
        let mut carried: SmallVec<[u64; 2]> = l.carries.iter().map(|c| self.vars[c.init]).collect();
        for (t, i) in range.enumerate() {
            self.axes[l.axis] = i;
            for (c, &bits) in l.carries.iter().zip(&carried) {
                self.vars[c.var] = bits;
            }
            self.run(&l.body);
            for (c, bits) in l.carries.iter().zip(&mut carried) {
                *bits = self.vars[c.next];
            }
            for (acc, partial) in l.accs.iter().zip(&mut partials) {
                let p = &mut partial[t % l.lanes];
                *p = self.take(&acc.step, *p);
            }
        }
        for (acc, mut p) in l.accs.iter().zip(partials) {
            let mut s = l.lanes / 2;
            while s > 0 {
                for j in 0..s {
                    p[j] = (acc.f)(p[j], p[j + s], 0);
                }
                s /= 2;
            }
            self.vars[acc.result] = p[0];
        }
    }

    /// What a term makes of what there is so far.
    fn take(&self, step: &Step, old: u64) -> u64 {
        let [a, b] = step.values.map(|v| self.vars[v]);
        (step.f)(old, a, b)
    }

    fn locate(&self, e: &Place) -> (Mem<'_>, usize) {
        let mut i = e.at.offset;
        for &(axis, stride) in &e.at.strides {
            i += stride * self.axes[axis] as i64;
        }
        if let Some(index) = e.at.index {
            i += self.vars[index] as i64;
        }
        let len = self.nest.params[e.param].len;
        match usize::try_from(i) {
            Ok(i) if i < len => (self.args[e.param.index()], i),
            _ => panic!("{}: element {i} of {}, which has {len}", self.nest.name, e.param),
        }
    }
}

/// The bits of element `i`, each of `size` bytes.
pub(crate) fn read(mem: Mem<'_>, size: usize, i: usize) -> u64 {
    let byte = |k: usize| mem[i * size + k].get();
    match size {
        1 => byte(0).into(),
        4 => u32::from_ne_bytes(std::array::from_fn(byte)).into(),
        _ => u64::from_ne_bytes(std::array::from_fn(byte)),
    }
}

/// Sets the bits of element `i`, each of `size` bytes.
pub(crate) fn write(mem: Mem<'_>, size: usize, i: usize, bits: u64) {
    let mem = &mem[i * size..][..size];
    let set = |bytes: &[u8]| mem.iter().zip(bytes).for_each(|(cell, &b)| cell.set(b));
    match size {
        1 => set(&[bits as u8]),
        4 => set(&(bits as u32).to_ne_bytes()),
        _ => set(&bits.to_ne_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::NestBuilder;
    use crate::nest::{Access, Monoid};

    fn at(strides: &[(Axis, i64)]) -> At {
        At { strides: strides.iter().copied().collect(), ..At::default() }
    }

    #[test]
    fn a_vector_loop_combines_as_a_tree() {
        let mut b = NestBuilder::new("sum");
        let x = b.param(DType::F32, 6, Access::In);
        let y = b.param(DType::F32, 1, Access::Out);
        let i = b.axis(6);
        b.open(i, Range::Whole, Mode::Vector { lanes: 4 });
        let v = b.load(x, at(&[(i, 1)]));
        let sum = b.close(&[(Monoid::Sum, v)])[0];
        b.store(y, At::default(), sum);
        let xs = [1e8f32, 1.0, -1e8, 3.0, 0.5, 1e-3];
        let want = ((xs[0] + xs[4]) + xs[2]) + ((xs[1] + xs[5]) + xs[3]);
        let (mut p, mut q) = (pack(&xs), pack(&[0f32]));
        eval(&b.finish(), &[cells(&mut p), cells(&mut q)]);
        assert_eq!(unpack::<f32>(&q), [want]);
    }

    #[test]
    fn chunks_end_with_the_axis() {
        let mut b = NestBuilder::new("rows");
        let x = b.param(DType::I64, 5, Access::In);
        let y = b.param(DType::I64, 3, Access::InOut);
        let (c, i) = (b.axis(3), b.axis(5));
        b.open(c, Range::Whole, Mode::Parallel);
        b.open(i, Range::Chunk { of: c, size: 2 }, Mode::Sequential);
        let v = b.load(x, at(&[(i, 1)]));
        b.accumulate(y, at(&[(c, 1)]), Monoid::Sum, v);
        b.close(&[]);
        b.close(&[]);
        let (mut p, mut q) = (pack(&[1i64, 2, 3, 4, 5]), pack(&[10i64, 20, 30]));
        eval(&b.finish(), &[cells(&mut p), cells(&mut q)]);
        assert_eq!(unpack::<i64>(&q), [13, 27, 35]);
    }

    #[test]
    fn carried_variables_change_at_once() {
        let mut b = NestBuilder::new("fibonacci");
        let y = b.param(DType::I64, 6, Access::Out);
        let i = b.axis(6);
        let (zero, one) = (b.int(DType::I64, 0), b.int(DType::I64, 1));
        b.open(i, Range::Whole, Mode::Sequential);
        let (p, q) = (b.carry(zero), b.carry(one));
        b.store(y, at(&[(i, 1)]), p);
        let next = b.add(p, q);
        b.hand_on(p, q);
        b.hand_on(q, next);
        b.close(&[]);
        let mut bytes = pack(&[0i64; 6]);
        eval(&b.finish(), &[cells(&mut bytes)]);
        assert_eq!(unpack::<i64>(&bytes), [0, 1, 1, 2, 3, 5]);
    }

    #[test]
    fn no_iterations_give_the_identity() {
        let mut b = NestBuilder::new("max");
        let x = b.param(DType::F64, 0, Access::In);
        let y = b.param(DType::F64, 1, Access::Out);
        let i = b.axis(0);
        b.open(i, Range::Whole, Mode::Sequential);
        let v = b.load(x, at(&[(i, 1)]));
        let max = b.close(&[(Monoid::Max, v)])[0];
        b.store(y, At::default(), max);
        let mut q = pack(&[0f64]);
        eval(&b.finish(), &[&[], cells(&mut q)]);
        assert_eq!(unpack::<f64>(&q), [f64::NEG_INFINITY]);
    }

    #[test]
    fn a_parameter_may_be_read_at_a_computed_element() {
        let mut b = NestBuilder::new("gather");
        let x = b.param(DType::Bool, 3, Access::In);
        let k = b.param(DType::I32, 4, Access::In);
        let y = b.param(DType::Bool, 4, Access::Out);
        let i = b.axis(4);
        b.open(i, Range::Whole, Mode::Sequential);
        let index = b.load(k, at(&[(i, 1)]));
        let index = b.convert(index, DType::I64);
        let v = b.load(x, At { index: Some(index), ..At::default() });
        b.store(y, at(&[(i, 1)]), v);
        b.close(&[]);
        let (mut p, mut r) = (pack(&[true, false, true]), pack(&[2i32, 1, 0, 1]));
        let mut q = pack(&[false; 4]);
        eval(&b.finish(), &[cells(&mut p), cells(&mut r), cells(&mut q)]);
        assert_eq!(unpack::<bool>(&q), [true, false, true, false]);
    }
}
