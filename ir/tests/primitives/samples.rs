//! Samples, operands for them, and what they are run with.

use backstitch_ir::eval::eval_arrays;
use backstitch_ir::op::{Family, Primitive, Sample};
use backstitch_ir::ops::{Lu, Map};
use backstitch_ir::{Array, DType, Graph, Op, Type, Value, with_dtype};
use ndarray::{ArrayD, IxDyn, SliceInfoElem};

/// Numbers that look random and are the same each time.
pub struct Random(u64);

impl Random {
    pub fn for_sample(i: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (i as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    /// In `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In `[lo, hi]`; whole for integers.
    pub fn number(&mut self, dtype: DType, (lo, hi): (f64, f64)) -> f64 {
        match dtype {
            DType::F32 => f64::from((lo + (hi - lo) * self.unit()) as f32),
            DType::F64 => lo + (hi - lo) * self.unit(),
            DType::I32 | DType::I64 => (lo.ceil() + ((hi - lo.ceil() + 1.0) * self.unit())).floor(),
            DType::Bool => f64::from(self.unit() < 0.5),
        }
    }

    pub fn array(&mut self, ty: &Type, domain: (f64, f64)) -> Array {
        array(ty, (0..ty.len()).map(|_| self.number(ty.dtype, domain)).collect())
    }

    /// Operands for a sample, away from the kinks of a scalar function.
    pub fn operands(&mut self, s: &Sample) -> Vec<Array> {
        let mut columns: Vec<Vec<f64>> = vec![Vec::new(); s.args.len()];
        // All operands of a map have as many elements; others are filled in turn.
        if let Op::Map(Map { f }) = s.op {
            for _ in 0..s.args[0].len() {
                let tuple = loop {
                    let each = s.args.iter().zip(&s.domain);
                    let tuple: Vec<f64> = each.map(|(t, &d)| self.number(t.dtype, d)).collect();
                    if !s.args[0].is_float() || !(f.def().kink)(&tuple) {
                        break tuple;
                    }
                };
                columns.iter_mut().zip(tuple).for_each(|(c, x)| c.push(x));
            }
            return s.args.iter().zip(columns).map(|(t, c)| array(t, c)).collect();
        }
        let arrays = s.args.iter().zip(&s.domain).map(|(t, &d)| self.array(t, d));
        let mut x: Vec<Array> = arrays.collect();
        if let Op::Cholesky(_) | Op::TriangularSolve(_) | Op::Lu(_) = s.op {
            x[0] = regular(&x[0]);
        } else if takes_factor(&s.op) {
            x[0] = regular(&x[0]);
            settle(&s.op, &mut x);
        }
        x
    }
}

/// Square matrices with something added to the diagonal, so that they are
/// regular, and positive definite.
pub fn regular(a: &Array) -> Array {
    let n = a.dims()[a.dims().len() - 1];
    let shifted = |(i, x): (usize, f64)| {
        let (row, column) = (i / n % n, i % n);
        x + if row == column { 4.0 } else { 0.0 }
    };
    array(&a.ty(), a.to_f64_vec().into_iter().enumerate().map(shifted).collect())
}

/// Whether the second operand is the factor of the first.
pub const fn takes_factor(op: &Op) -> bool {
    matches!(op, Op::LuSolve(_) | Op::Det(_) | Op::Cofactors(_))
}

/// Makes the operands fit each other, after one was changed.
pub fn settle(op: &Op, x: &mut [Array]) {
    if takes_factor(op) {
        x[1] = Lu.eval(&[&x[0]]);
    }
}

pub fn array(ty: &Type, data: Vec<f64>) -> Array {
    with_dtype!(ty.dtype, T => {
        let constant = |x| backstitch_ir::Const::of_float(ty.dtype, x);
        let data = data.into_iter().map(|x| <T as backstitch_ir::Element>::from_const(constant(x)));
        Array::from_vec(&ty.shape, data.collect::<Vec<T>>()).expect("as many as the shape has")
    })
}

/// All samples with their number, to name a failure by and to seed with.
pub fn samples() -> impl Iterator<Item = (usize, Sample)> {
    Op::samples().into_iter().enumerate()
}

pub fn primitive(op: &Op) -> &dyn Primitive {
    match op.family() {
        Family::Array(p) => p,
        _ => {
            unreachable!("samples are of array primitives")
        }
    }
}

pub fn describe(i: usize, s: &Sample) -> String {
    format!("sample {i}: {:?} of {:?}", s.op, s.args)
}

/// A graph that applies the operation to inputs.
pub fn apply(s: &Sample) -> (Graph, Vec<Value>, Value) {
    let mut g = Graph::new("sample");
    let inputs: Vec<Value> = s.args.iter().map(|t| g.input(t.clone(), None)).collect();
    let out = g.push(s.op.clone(), &inputs);
    (g, inputs, out)
}

pub fn run(g: &Graph, inputs: &[Array]) -> Vec<Array> {
    eval_arrays(g, inputs)
}

pub fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 1e-4,
        DType::F64 => 1e-11,
        _ => 0.0,
    }
}

pub fn assert_close(got: &Array, want: &Array, tolerance: f64, what: &str) {
    assert_eq!(got.ty(), want.ty(), "{what}");
    for (x, y) in got.to_f64_vec().into_iter().zip(want.to_f64_vec()) {
        let same = x == y || x.is_nan() && y.is_nan();
        let close = (x - y).abs() <= tolerance * (1.0 + x.abs().max(y.abs()));
        assert!(same || close, "{what}:\ngot  {got:?}\nwant {want:?}");
    }
}

/// The same elements as slices of something larger, or with axes in another
/// order in memory.
pub fn other_layouts(a: &Array) -> Vec<Array> {
    pub fn of<T: backstitch_ir::Element>(a: &Array) -> Vec<Array> {
        let a = a.view::<T>().expect("of this type");
        let turned = a.t().as_standard_layout().into_owned();
        let turned = T::wrap(turned.reversed_axes().into_shared());
        let Some(&filler) = a.first() else { return vec![turned] };
        let wider: Vec<usize> = a.shape().iter().map(|n| 2 * n).collect();
        let mut host = ArrayD::from_elem(IxDyn(&wider), filler).into_shared();
        let part = SliceInfoElem::Slice { start: 0, end: None, step: -2 };
        let parts = vec![part; a.ndim()];
        host.slice_mut(&parts[..]).assign(&a);
        vec![turned, T::wrap(host.slice_move(&parts[..]))]
    }
    with_dtype!(a.dtype(), T => of::<T>(a))
}
