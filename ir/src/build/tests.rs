//! Where statements go, what is shared, and what is folded.

use super::*;
use crate::nest::Cmp;

fn at(strides: &[(Axis, i64)]) -> At {
    At { strides: strides.iter().copied().collect(), ..At::default() }
}

#[test]
fn invariants_leave_the_loop() {
    let mut b = NestBuilder::new("t");
    let x = b.param(DType::F32, 4, Access::In);
    let y = b.param(DType::F32, 12, Access::Out);
    let (i, j) = (b.axis(4), b.axis(3));
    b.open(i, Range::Whole, Mode::Sequential);
    b.open(j, Range::Whole, Mode::Sequential);
    let v = b.load(x, at(&[(i, 1)]));
    let two = b.float(DType::F32, 2.0);
    let v2 = b.mul(v, two);
    b.store(y, at(&[(i, 3), (j, 1)]), v2);
    b.close(&[]);
    b.close(&[]);
    let nest = b.finish();
    let [Stmt::Let { .. }, Stmt::For(outer)] = &nest.body[..] else { panic!("{nest:#?}") };
    let [Stmt::Load { .. }, Stmt::Let { .. }, Stmt::For(inner)] = &outer.body[..] else {
        panic!("{nest:#?}")
    };
    assert_eq!(inner.body.len(), 1);
}

#[test]
fn loads_stay_in_a_loop_without_iterations() {
    let mut b = NestBuilder::new("t");
    let x = b.param(DType::F32, 0, Access::In);
    let y = b.param(DType::F32, 1, Access::Out);
    let i = b.axis(0);
    b.open(i, Range::Whole, Mode::Sequential);
    let v = b.load(x, At::default());
    let sum = b.close(&[(Monoid::Sum, v)])[0];
    b.store(y, At::default(), sum);
    let nest = b.finish();
    assert!(matches!(&nest.body[..], [Stmt::For(_), Stmt::Store { .. }]));
}

#[test]
fn sharing_ends_with_the_block() {
    let mut b = NestBuilder::new("t");
    let x = b.param(DType::F32, 4, Access::In);
    let y = b.param(DType::F32, 4, Access::Out);
    let i = b.axis(4);
    for _ in 0..2 {
        b.open(i, Range::Whole, Mode::Sequential);
        let v = b.load(x, at(&[(i, 1)]));
        let w = b.load(x, at(&[(i, 1)]));
        assert_eq!(v, w);
        let (p, q) = (b.add(v, w), b.add(w, v));
        assert_eq!(p, q);
        b.store(y, at(&[(i, 1)]), p);
        b.close(&[]);
    }
    let nest = b.finish();
    assert_eq!(nest.vars.len(), 4);
}

#[test]
fn what_nobody_uses_is_removed() {
    let mut b = NestBuilder::new("t");
    let x = b.param(DType::F32, 4, Access::In);
    let y = b.param(DType::F32, 1, Access::Out);
    let i = b.axis(4);
    b.open(i, Range::Whole, Mode::Sequential);
    let v = b.load(x, at(&[(i, 1)]));
    let w = b.exp_like(v);
    let sums = b.close(&[(Monoid::Sum, v), (Monoid::Sum, w)]);
    b.store(y, At::default(), sums[0]);
    let nest = b.finish();
    let Stmt::For(l) = &nest.body[0] else { panic!("{nest:#?}") };
    assert_eq!((l.accs.len(), l.body.len(), nest.vars.len()), (1, 1, 2));
}

impl NestBuilder {
    fn exp_like(&mut self, x: Var) -> Var {
        let half = self.float(self.dtype(x), 0.5);
        let y = self.fma(x, half, x);
        self.sqrt(y)
    }
}

#[test]
fn constants_fold() {
    let mut b = NestBuilder::new("t");
    let (two, three) = (b.float(DType::F64, 2.0), b.float(DType::F64, 3.0));
    let six = b.mul(two, three);
    assert_eq!(b.const_of(six), Some(Const::of_float(DType::F64, 6.0)));
    let less = b.cmp(Cmp::Lt, two, three);
    assert_eq!(b.select(less, three, six), three);
}

/// Sums take the factors of products that nothing else is computed from, stored or not; those
/// of floats, and in the loop itself.
#[test]
fn sums_take_products() {
    let takes = |dtype: DType, stored: bool, used: bool| {
        let mut b = NestBuilder::new("t");
        let x = b.param(dtype, 4, Access::In);
        let y = b.param(dtype, 6, Access::Out);
        let z = b.param(dtype, 1, Access::InOut);
        let i = b.axis(4);
        b.open(i, Range::Whole, Mode::Sequential);
        let v = b.load(x, at(&[(i, 1)]));
        let square = b.mul(v, v);
        if stored {
            b.store(y, At { offset: 1, ..at(&[(i, 1)]) }, square);
        }
        let other = b.neg(square);
        if used {
            b.store(y, At { offset: 1, ..at(&[(i, 1)]) }, other);
        }
        let double = b.add(v, v);
        let cube = b.mul(v, double);
        b.accumulate(z, At::default(), Monoid::Sum, cube);
        let sum = b.close(&[(Monoid::Sum, square)])[0];
        b.store(y, At::default(), sum);
        let nest = b.finish();
        let Stmt::For(l) = &nest.body[0] else { panic!("{nest}") };
        let products = l.body.iter().filter(|s| matches!(s, Stmt::Let { op: ScalarOp::Mul, .. }));
        let is_product = |term: &Term| matches!(term, Term::Product(_));
        let element =
            l.body.iter().any(|s| matches!(s, Stmt::Accumulate { term, .. } if is_product(term)));
        (is_product(&l.accs[0].term), element, products.count())
    };
    assert_eq!(takes(DType::F32, false, false), (true, true, 0));
    assert_eq!(takes(DType::F64, true, false), (true, true, 1));
    assert_eq!(takes(DType::F64, false, true), (false, true, 1));
    assert_eq!(takes(DType::I32, false, false), (false, false, 2));
}

#[test]
fn sums_written_out_take_products() {
    let mut b = NestBuilder::new("t");
    let x = b.param(DType::F64, 3, Access::In);
    let y = b.param(DType::F64, 2, Access::Out);
    let v = [0, 1, 2].map(|k| b.load(x, At { offset: k, ..At::default() }));
    let products = [b.mul(v[0], v[1]), b.mul(v[1], v[2])];
    let plain = b.add(v[0], products[0]);
    let sum = b.take(Monoid::Sum, v[2], products[1]);
    b.store(y, At::default(), plain);
    b.store(y, At { offset: 1, ..At::default() }, sum);
    let ops: Vec<ScalarOp> = b
        .finish()
        .body
        .iter()
        .filter_map(|s| match s {
            Stmt::Let { op, .. } => Some(*op),
            _ => None,
        })
        .collect();
    assert_eq!(ops, [ScalarOp::Mul, ScalarOp::Add, ScalarOp::Fma]);
}
