//! Generalised matrix products.

use std::fmt;

use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{ArcArray, Array3, ArrayView2, ArrayViewMut2, IxDyn, LinalgScalar};
use smallvec::smallvec;

use crate::array::{Array, Element};
use crate::graph::{Graph, Value};
use crate::op::{
    Cotangents, Definition, Lane, Primitive, Sample, Site, Structure, TypeError, Types, arity,
    mistake, sum_parts,
};
use crate::ops::Axes;
use crate::ops::permute::{inverse, permute};
use crate::range::Range;
use crate::text::{Attrs, Commas, ParseError};
use crate::ty::{DType, Shape, Type};

/// `r[b…, m…, n…] = Σ_k x[b…, m…, k…] · y[b…, n…, k…]`, each operand's axes in any
/// order. The result's axes are the batch axes in the order listed, then `x`'s
/// remaining axes in their order, then `y`'s.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Contract {
    /// Pairs of an axis of `x` and one of `y` that run together and stay.
    pub batch: [Axes; 2],
    /// Pairs of an axis of `x` and one of `y` that are summed over.
    pub over: [Axes; 2],
}

impl Contract {
    /// The axes of one operand that are neither batched nor summed over.
    pub fn free(&self, side: usize, rank: usize) -> Axes {
        let taken = |axis| self.batch[side].contains(&axis) || self.over[side].contains(&axis);
        (0..rank).filter(|&axis| !taken(axis)).collect()
    }

    /// An operand's axes in the order of a batch of matrices (batch, free, summed
    /// over), and the extents of each of the three.
    fn lined_up(&self, side: usize, dims: &[usize]) -> (Axes, (usize, usize, usize)) {
        let free = self.free(side, dims.len());
        let groups = [&self.batch[side], &free, &self.over[side]];
        let [b, m, k] = groups.map(|axes| axes.iter().map(|&i| dims[i]).product());
        (groups.into_iter().flatten().copied().collect(), (b, m, k))
    }

    fn result(&self, x: &[usize], y: &[usize]) -> Shape {
        let batch = self.batch[0].iter().map(|&i| x[i]);
        let rows = self.free(0, x.len()).into_iter().map(|i| x[i]);
        let columns = self.free(1, y.len()).into_iter().map(|i| y[i]);
        batch.chain(rows).chain(columns).collect()
    }

    /// The cotangent of operand `side`, given the other operand.
    fn cotangent(&self, g: &mut Graph, ct: Value, side: usize, x: Value, other: Value) -> Value {
        let free = self.free(side, g.ty(x).rank());
        let other_free = self.free(1 - side, g.ty(other).rank());
        // In the result: batch axes, free axes of the first, those of the second.
        let nb = self.batch[0].len();
        let start = if side == 0 { nb + free.len() } else { nb };
        let ct_batch: Axes = (0..nb).collect();
        let ct_over: Axes = (start..start + other_free.len()).collect();
        let (batch, over) = ([ct_batch, self.batch[1 - side].clone()], [ct_over, other_free]);

        // What was summed over is now free, in the order the other operand has it.
        let mut pairs: Axes = (0..self.over[0].len()).collect();
        pairs.sort_by_key(|&p| self.over[1 - side][p]);
        let summed: Axes = pairs.into_iter().map(|p| self.over[side][p]).collect();
        let order = |parts: [&Axes; 3]| -> Axes { parts.into_iter().flatten().copied().collect() };

        // The operands may stand in either order; take the one, if there is one,
        // whose result needs no transposition.
        let ct_first = order([&self.batch[side], &free, &summed]);
        let ct_last = order([&self.batch[side], &summed, &free]);
        if ct_last.is_sorted() {
            let swap = |[a, b]: [Axes; 2]| [b, a];
            return g.push(Self { batch: swap(batch), over: swap(over) }, &[other, ct]);
        }
        let product = g.push(Self { batch, over }, &[ct, other]);
        permute(g, product, inverse(&ct_first))
    }
}

/// `out[i, j] = Σ_k x[i, k] · y[j, k]`.
type Kernel<T> = fn(ArrayView2<'_, T>, ArrayView2<'_, T>, ArrayViewMut2<'_, T>);

fn product<T: Element>(
    op: &Contract,
    x: &ArcArray<T, IxDyn>,
    y: &Array,
    zero: T,
    kernel: Kernel<T>,
) -> Array {
    let y = T::unwrap(y).expect("contract: element types were checked");
    let (x_order, x_sizes) = op.lined_up(0, x.shape());
    let (y_order, y_sizes) = op.lined_up(1, y.shape());
    let shape = op.result(x.shape(), y.shape());
    // Strides, not copies, but where axes of one group are apart in memory.
    let (x, y) = (x.view().permuted_axes(IxDyn(&x_order)), y.view().permuted_axes(IxDyn(&y_order)));
    let x = x.to_shape(x_sizes).expect("contract: same number of elements");
    let y = y.to_shape(y_sizes).expect("contract: same number of elements");
    let mut out = Array3::from_elem((x_sizes.0, x_sizes.1, y_sizes.1), zero);
    for ((x, y), out) in x.outer_iter().zip(y.outer_iter()).zip(out.outer_iter_mut()) {
        kernel(x, y, out);
    }
    let out = out.into_shape_with_order(IxDyn(shape.dims()));
    out.expect("contract: as many elements as the shape has").into()
}

fn floats<T: LinalgScalar>(
    x: ArrayView2<'_, T>,
    y: ArrayView2<'_, T>,
    mut out: ArrayViewMut2<'_, T>,
) {
    if y.nrows() == 1 {
        general_mat_vec_mul(T::one(), &x, &y.row(0), T::zero(), &mut out.column_mut(0));
    } else if x.nrows() == 1 {
        general_mat_vec_mul(T::one(), &y, &x.row(0), T::zero(), &mut out.row_mut(0));
    } else {
        general_mat_mul(T::one(), &x, &y.t(), T::zero(), &mut out);
    }
}

macro_rules! integers {
    ($t:ty) => {
        |x, y, mut out| {
            for ((i, j), o) in out.indexed_iter_mut() {
                let terms = x.row(i).into_iter().zip(y.row(j));
                *o = terms.fold(0, |o: $t, (x, y)| o.wrapping_add(x.wrapping_mul(*y)));
            }
        }
    };
}

impl Primitive for Contract {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y] = &self.over;
        write!(f, "over ({}) ({})", Commas(x), Commas(y))?;
        let [x, y] = &self.batch;
        write!(f, " batch ({}) ({})", Commas(x), Commas(y))
    }

    fn infer(&self, args: &[&Type]) -> Result<Types, TypeError> {
        arity(Self::NAME, 2, args)?;
        let wrong = |expected: String| Err(mistake(Self::NAME, expected, args));
        if args[0].dtype != args[1].dtype || args[0].dtype == DType::Bool {
            return wrong("numbers of one type".into());
        }
        if self.batch[0].len() != self.batch[1].len() || self.over[0].len() != self.over[1].len() {
            return wrong("axes in pairs, to run together or to sum over".into());
        }
        for (side, operand) in ["first", "second"].into_iter().enumerate() {
            let mut axes: Axes = self.batch[side].iter().chain(&self.over[side]).copied().collect();
            axes.sort_unstable();
            let distinct = axes.is_sorted_by(|a, b| a < b);
            if !distinct || axes.last().is_some_and(|&a| a >= args[side].rank()) {
                let axes = axes.as_slice();
                return wrong(format!("{axes:?} to be distinct axes of the {operand} operand"));
            }
        }
        for [x, y] in [&self.batch, &self.over] {
            for (&i, &j) in x.iter().zip(y) {
                if args[0].dims()[i] != args[1].dims()[j] {
                    return wrong(format!("axis {i} of the first as long as {j} of the second"));
                }
            }
        }
        Ok(smallvec![args[0].with_shape(self.result(args[0].dims(), args[1].dims()))])
    }

    fn eval(&self, args: &[&Array]) -> Array {
        match args[0] {
            Array::F32(x) => product(self, x, args[1], 0.0, floats),
            Array::F64(x) => product(self, x, args[1], 0.0, floats),
            Array::I32(x) => product(self, x, args[1], 0, integers!(i32)),
            Array::I64(x) => product(self, x, args[1], 0, integers!(i64)),
            Array::Bool(_) => unreachable!("contract: element type was checked"),
        }
    }

    fn range(&self, args: &[Range]) -> Range {
        args[0].mul(args[1]).sum()
    }

    fn jvp(&self, g: &mut Graph, at: &Site<'_>, tangents: &[Option<Value>]) -> Option<Value> {
        let x = tangents[0].map(|t| g.push(self.clone(), &[t, at.args[1]]));
        let y = tangents[1].map(|t| g.push(self.clone(), &[at.args[0], t]));
        sum_parts(g, [x, y])
    }

    fn vjp(&self, g: &mut Graph, at: &Site<'_>, ct: Value) -> Cotangents {
        let (x, y) = (at.args[0], at.args[1]);
        let mut side =
            |i: usize, own, other| at.wanted[i].then(|| self.cotangent(g, ct, i, own, other));
        smallvec![side(0, x, y), side(1, y, x)]
    }

    fn vmap(&self, g: &mut Graph, args: &[Lane], _: usize) -> Value {
        let both = args[0].batched && args[1].batched;
        let shifted = |axes: &[Axes; 2], lead: Option<usize>| {
            [0, 1].map(|side| {
                let by = usize::from(args[side].batched);
                lead.into_iter().chain(axes[side].iter().map(|a| a + by)).collect::<Axes>()
            })
        };
        let op = Self {
            batch: shifted(&self.batch, both.then_some(0)),
            over: shifted(&self.over, None),
        };
        let r = g.push(op, &[args[0].value, args[1].value]);
        if both {
            return r;
        }
        // The batch is the first free axis of the operand that has it.
        let rank = g.ty(r).rank();
        let x_free = if args[0].batched {
            0
        } else {
            g.ty(args[0].value).rank() - self.batch[0].len() - self.over[0].len()
        };
        let at = self.batch[0].len() + x_free;
        let perm = std::iter::once(at).chain((0..rank).filter(|&i| i != at)).collect();
        permute(g, r, perm)
    }

    fn structure(&self, _: &[&Type]) -> Structure {
        Structure::Contract(self.clone())
    }

    fn carries(&self, _: usize) -> Option<bool> {
        Some(true)
    }
}

impl Definition for Contract {
    const NAME: &'static str = "contract";

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, ParseError> {
        let mut pair = |word| -> Result<[Axes; 2], ParseError> {
            attrs.expect(word)?;
            Ok([attrs.numbers()?.into(), attrs.numbers()?.into()])
        };
        Ok(Self { over: pair("over")?, batch: pair("batch")? })
    }

    fn samples() -> Vec<Sample> {
        type Pair = [&'static [usize]; 2];
        const NONE: Pair = [&[], &[]];
        let cases: [(DType, Pair, Pair, Pair); 19] = [
            // dot, matrix · vector, vector · matrix, outer product
            (DType::F64, [&[3], &[3]], [&[0], &[0]], NONE),
            (DType::F64, [&[2, 3], &[3]], [&[1], &[0]], NONE),
            (DType::F64, [&[2, 3], &[2]], [&[0], &[0]], NONE),
            (DType::F64, [&[3], &[3, 2]], [&[0], &[0]], NONE),
            (DType::F64, [&[3], &[2, 3]], [&[0], &[1]], NONE),
            (DType::F64, [&[2], &[3]], NONE, NONE),
            (DType::F64, [&[], &[]], NONE, NONE),
            // products of matrices, each transposed or not
            (DType::F64, [&[2, 3], &[3, 4]], [&[1], &[0]], NONE),
            (DType::F64, [&[3, 2], &[4, 3]], [&[0], &[1]], NONE),
            (DType::F64, [&[2, 3], &[4, 3]], [&[1], &[1]], NONE),
            // batches
            (DType::F64, [&[2, 3, 2], &[2, 2, 4]], [&[2], &[1]], [&[0], &[0]]),
            (DType::F64, [&[3, 2, 2], &[4, 2, 3]], [&[0], &[2]], [&[2], &[1]]),
            (DType::F64, [&[2, 3], &[3, 2]], NONE, [&[0, 1], &[1, 0]]),
            // several axes, listed in any order
            (DType::F64, [&[2, 3, 2], &[3, 4, 2]], [&[0, 1], &[2, 0]], NONE),
            (DType::F64, [&[2, 3, 1, 2], &[3, 2, 2]], [&[3, 1], &[2, 0]], [&[0], &[1]]),
            // nothing to sum over, nothing to give
            (DType::F64, [&[2, 0], &[0, 3]], [&[1], &[0]], NONE),
            (DType::F64, [&[0, 2], &[2, 3]], [&[1], &[0]], NONE),
            (DType::F32, [&[2, 3], &[3, 2]], [&[1], &[0]], NONE),
            (DType::I64, [&[2, 3], &[3, 2]], [&[1], &[0]], NONE),
        ];
        let sample = |(dtype, args, over, batch): (DType, Pair, Pair, Pair)| Sample {
            op: Self { over: over.map(Axes::from), batch: batch.map(Axes::from) }.into(),
            args: args.iter().map(|&dims| Type::new(dtype, dims)).collect(),
            domain: vec![(-2.0, 2.0); 2],
        };
        cases.into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{elements, whole};

    /// The definition, element by element.
    fn naive(op: &Contract, x: &Array, y: &Array) -> ndarray::ArrayD<f64> {
        let operands = [elements(x), elements(y)];
        let over: Axes = op.over[0].iter().map(|&i| x.dims()[i]).collect();
        let free = [op.free(0, x.dims().len()), op.free(1, y.dims().len())];
        let term = |at: &[usize], k: &[usize], side: usize| {
            let (batch, rest) = at.split_at(op.batch[0].len());
            let (rows, columns) = rest.split_at(free[0].len());
            let mut place: Axes = smallvec![0; operands[side].ndim()];
            let mut put = |axes: &[usize], values: &[usize]| {
                axes.iter().zip(values).for_each(|(&axis, &i)| place[axis] = i);
            };
            put(&op.batch[side], batch);
            put(&free[side], [rows, columns][side]);
            put(&op.over[side], k);
            operands[side][&place[..]]
        };
        let shape = op.result(x.dims(), y.dims());
        ndarray::ArrayD::from_shape_fn(IxDyn(shape.dims()), |at| {
            let at = ndarray::Dimension::slice(&at).to_vec();
            ndarray::indices(IxDyn(&over)).into_iter().fold(0.0, |sum, k| {
                let k = ndarray::Dimension::slice(&k);
                sum + term(&at, k, 0) * term(&at, k, 1)
            })
        })
    }

    #[test]
    fn agrees_with_the_definition() {
        for s in Contract::samples() {
            let crate::Op::Contract(op) = &s.op else { unreachable!("a sample of contract") };
            let (x, y) = (whole(&s.args[0], 0), whole(&s.args[1], 1));
            let r = elements(&op.eval(&[&x, &y]));
            assert_eq!(r, naive(op, &x, &y), "{op:?} of {:?}", s.args);
        }
    }

    #[test]
    fn integers_wrap() {
        let big = Array::from(ndarray::arr1(&[i32::MAX, 1]));
        let op = Contract { over: [smallvec![0], smallvec![0]], batch: Default::default() };
        assert_eq!(op.eval(&[&big, &big]).item(), Some(2i32));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let expected = |x: &[usize], y: &[usize], over: [&[usize]; 2]| {
            let op = Contract { over: over.map(Axes::from), batch: Default::default() };
            let (x, y) = (Type::new(DType::F32, x), Type::new(DType::F32, y));
            op.infer(&[&x, &y]).unwrap_err().expected
        };
        assert_eq!(
            expected(&[2, 3], &[4], [&[1], &[0]]),
            "axis 1 of the first as long as 0 of the second"
        );
        assert_eq!(
            expected(&[2], &[2, 2], [&[0, 0], &[0, 1]]),
            "[0, 0] to be distinct axes of the first operand"
        );
        assert_eq!(
            expected(&[2], &[2], [&[0], &[1]]),
            "[1] to be distinct axes of the second operand"
        );
        assert_eq!(
            expected(&[2], &[2], [&[0], &[]]),
            "axes in pairs, to run together or to sum over"
        );
    }

    #[test]
    fn cotangents_of_common_products_need_no_transposition() {
        let products: [[&[usize]; 4]; 4] = [
            [&[2, 3], &[3, 4], &[1], &[0]],
            [&[3, 2], &[3, 4], &[0], &[0]],
            [&[2, 3], &[4, 3], &[1], &[1]],
            [&[2, 3], &[3], &[1], &[0]],
        ];
        for [x, y, over_x, over_y] in products {
            let mut g = Graph::new("product");
            let mut input = |dims| g.input(Type::new(DType::F32, dims), None);
            let args = [input(x), input(y)];
            let over = [over_x.into(), over_y.into()];
            let op = Contract { over, batch: Default::default() };
            let r = g.push(op.clone(), &args);
            let ct = g.like(r, 1.0);
            let at = Site { node: g.source(r).0, args: &args, results: &[r], wanted: &[true; 2] };
            for ct in op.vjp(&mut g, &at, ct).into_iter().flatten() {
                assert!(matches!(g.op_of(ct), crate::Op::Contract(_)), "{op:?}");
            }
        }
    }
}
