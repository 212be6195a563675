//! Linear algebra end to end: residuals, derivatives of first and second order
//! against differences, compiled against eager bits, singular and empty matrices,
//! faults.
#![allow(missing_docs)]

use backstitch::prelude::*;
use backstitch::runtime::Error as RuntimeError;
use backstitch::{Backend, Error, Options, Problem, Triangle};
use ndarray::{Array2, Array3, ArrayD, Axis, arr1, arr2};

/// Numbers in (-1, 1) that look random.
fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn stack(batch: usize, n: usize, m: usize, seed: u64) -> Array3<f64> {
    Array3::from_shape_vec((batch, n, m), numbers(batch * n * m, seed)).unwrap()
}

/// Positive definite matrices.
fn definite(batch: usize, n: usize, seed: u64) -> Array3<f64> {
    let mut a = stack(batch, n, n, seed);
    for mut a in a.outer_iter_mut() {
        let product = a.dot(&a.t()) + 0.1 * Array2::<f64>::eye(n);
        a.assign(&product);
    }
    a
}

fn array(x: Tensor<'_>) -> ArrayD<f64> {
    x.to_array::<f64>().unwrap()
}

fn largest(a: impl IntoIterator<Item = f64>) -> f64 {
    a.into_iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// Sizes on both sides of a block, and several blocks.
const SIZES: [usize; 8] = [0, 1, 2, 5, 31, 33, 64, 131];

#[test]
fn factors_and_solutions_have_small_residuals() {
    for n in SIZES {
        let t = Trace::eager();
        let (s, a, b) = (definite(2, n, 1), stack(2, n, n, 2), stack(2, n, 3, 3));
        let scale = 1e-10 * (n as f64 + 1.0);
        let [ts, ta, tb] = [&s, &a, &b].map(|x| t.constant(x.clone()));
        let l = ts.cholesky();
        let llt = l.matmul(l.swap_axes(-1, -2));
        assert!(largest(array(llt - ts)) < scale, "{n}");
        assert!(largest(array(l.triu(1))) == 0.0);
        assert!(largest(array(ts.matmul(l.cholesky_solve(tb)) - tb)) < 10.0 * scale, "{n}");
        assert!(largest(array(ta.matmul(ta.solve(tb)) - tb)) < 100.0 * scale, "{n}");
        let inverse = ts.inverse();
        let eye = t.eye(backstitch::DType::F64, n, n);
        assert!(largest(array(ts.matmul(inverse) - eye)) < 10.0 * scale, "{n}");
        for lower in [false, true] {
            for transpose in [false, true] {
                for unit_diagonal in [false, true] {
                    let triangle = Triangle { lower, transpose, unit_diagonal };
                    // Small off the diagonal: triangular matrices are ill-conditioned.
                    let matrix = ta * (1.0 / (n as f64 + 1.0)) + eye;
                    let x = matrix.triangular_solve(tb, triangle);
                    let mut read = if lower { matrix.tril(0) } else { matrix.triu(0) };
                    if unit_diagonal {
                        read = if lower { matrix.tril(-1) } else { matrix.triu(1) } + eye;
                    }
                    let read = if transpose { read.swap_axes(-1, -2) } else { read };
                    assert!(largest(array(read.matmul(x) - tb)) < scale, "{n} {triangle}");
                }
            }
        }
    }
}

#[test]
fn determinants_are_those_of_elimination() {
    let t = Trace::eager();
    for n in [1, 2, 3, 7, 40] {
        let a = t.constant(stack(3, n, n, 5));
        let (sign, log) = a.slogdet();
        let (got, want) = (array(a.det()), array(sign * log.exp()));
        for (x, y) in got.iter().zip(&want) {
            assert!((x - y).abs() <= 1e-11 * y.abs(), "{n}: {x} and {y}");
        }
        // The product of two matrices has the product of their determinants.
        let square = array(a.matmul(a).det());
        for (x, y) in square.iter().zip(&got) {
            assert!((x - y * y).abs() <= 1e-9 * y * y, "{n}");
        }
    }
    let empty = t.constant(Array3::<f64>::zeros((2, 0, 0)));
    assert_eq!(array(empty.det()).into_raw_vec_and_offset().0, [1.0, 1.0]);
    let (sign, log) = empty.slogdet();
    assert_eq!((array(sign).sum(), array(log).sum()), (2.0, 0.0));
    let exchange = t.constant(arr2(&[[0.0, 1.0], [1.0, 0.0]]));
    assert_eq!(exchange.det().item::<f64>().unwrap(), -1.0);
    let singular = t.constant(arr2(&[[1.0, 2.0], [2.0, 4.0]]));
    let (sign, log) = singular.slogdet();
    assert_eq!((sign.item().unwrap(), log.item().unwrap()), (0.0, f64::NEG_INFINITY));
}

/// A scalar of a matrix and a right-hand side.
type Loss = for<'t> fn(Tensor<'t>, Tensor<'t>) -> Tensor<'t>;

const LOSSES: [(&str, Loss); 9] = [
    ("cholesky", |a, b| (a.cholesky().matmul(b)).sin().sum()),
    ("cholesky_solve", |a, b| a.cholesky().cholesky_solve(b).sin().sum()),
    ("solve", |a, b| (a + a.triu(1)).solve(b).sin().sum()),
    ("lower", |a, b| a.triangular_solve(b, Triangle::LOWER).sin().sum()),
    ("unit", |a, b| {
        a.triangular_solve(b, Triangle::UPPER.transposed().with_unit_diagonal()).sin().sum()
    }),
    ("inverse", |a, b| (a.inverse().matmul(b)).sin().sum()),
    ("det", |a, _| (a * 0.3).det().sin().sum()),
    ("slogdet", |a, _| a.slogdet().1.sin().sum()),
    ("sign", |a, b| (a.slogdet().0 * b.sum_over([-1, -2])).sum()),
];

#[test]
fn derivatives_are_differences_and_compiled_is_eager() -> Result<(), Error> {
    let (a, b) = (definite(2, 4, 7), stack(2, 4, 2, 8));
    let da = stack(2, 4, 4, 9);
    for (name, loss) in LOSSES {
        let spec = Spec::of(&a);
        let f = trace(spec, Spec::of(&b), |_, a, b| loss(a, b))?;
        let value = |a: &Array3<f64>| f.eval(a, &b).unwrap().item::<f64>().unwrap();
        let h = 1e-5;
        let slope = (value(&(&a + h * &da)) - value(&(&a - h * &da))) / (2.0 * h);

        let g = f.value_and_grad()?;
        let (_, gradient) = g.eval(&a, &b)?;
        let gradient = gradient.to_array::<f64>().unwrap();
        let along = |g: &ArrayD<f64>| (g * &da).sum();
        let got = along(&gradient);
        assert!((got - slope).abs() < 1e-6 * (1.0 + slope.abs()), "{name}: {got} and {slope}");
        let (_, tangent) = f.jvp()?.eval(&a, &(&b, &da))?;
        let tangent = tangent.item::<f64>().unwrap();
        assert!((tangent - got).abs() < 1e-9 * (1.0 + got.abs()), "{name}: {tangent} and {got}");

        // Second order.
        let gradient_at = |a: Array3<f64>| g.eval(&a, &b).unwrap().1.to_array::<f64>().unwrap();
        let want = (gradient_at(&a + h * &da) - gradient_at(&a - h * &da)) / (2.0 * h);
        let hvp = f.hvp()?.eval(&a, &(&b, &da))?.to_array::<f64>().unwrap();
        let error = largest(&hvp - &want);
        assert!(error < 1e-5 * (1.0 + largest(want)), "{name}: {error}");

        // Machine code and interpreter run the same routines.
        for backend in [Backend::Cpu, Backend::Interpreter] {
            let compiled = g.compile_with(&Options::default().backend(backend))?;
            let (_, again) = compiled.call(&a, &b)?;
            let again = again.to_array::<f64>().unwrap();
            assert!(largest(&again - &gradient) < 1e-9, "{name}");
        }
    }
    Ok(())
}

#[test]
fn routines_give_the_same_bits_everywhere() -> Result<(), Error> {
    let (a, b) = (definite(2, 45, 3), stack(2, 45, 5, 4));
    let f = trace_tree(Spec::of(&a), Spec::of(&b), |t, a, b| {
        let (sign, log) = a.slogdet();
        let x = (a.cholesky(), (a.solve(b), a.inverse()), (a.det(), (sign, log)));
        t.outputs(&x)
    })?;
    let (l, (x, i), (d, (s, log))) = f.eval(&a, &b)?;
    let (l2, (x2, i2), (d2, (s2, log2))) = f.compile()?.call(&a, &b)?;
    for (want, got) in [(l, l2), (x, x2), (i, i2), (d, d2), (s, s2), (log, log2)] {
        assert!(want.same_bits(&got));
    }
    Ok(())
}

fn det_gradient(a: &Array2<f64>) -> Vec<f64> {
    let f = trace(Spec::of(a), (), |_, a, ()| a.det()).unwrap();
    f.value_and_grad().unwrap().eval(a, &()).unwrap().1.to_f64_vec()
}

#[test]
fn determinants_of_singular_matrices_have_their_derivatives() -> Result<(), Error> {
    // Rank 0: the determinant is of second order in the elements.
    assert_eq!(det_gradient(&Array2::zeros((2, 2))), [0.0; 4]);
    assert_eq!(det_gradient(&Array2::zeros((1, 1))), [1.0]);
    assert_eq!(det_gradient(&arr2(&[[1.0, 2.0], [2.0, 4.0]])), [4.0, -2.0, -2.0, 1.0]);
    // The zero pivot first, in the middle, and last.
    let a = arr2(&[[0.0, 1.0, 2.0], [0.0, 3.0, 4.0], [0.0, 5.0, 7.0]]);
    let want = [1.0, 0.0, 0.0, 3.0, 0.0, 0.0, -2.0, 0.0, 0.0];
    for (x, want) in det_gradient(&a).into_iter().zip(want) {
        assert!((x - want).abs() < 1e-14, "{x} and {want}");
    }
    let a = arr2(&[[1.0, 2.0, 3.0], [2.0, 4.0, 1.0], [1.0, 2.0, 5.0]]);
    let cofactors = |i: usize, j: usize| {
        let [r, s] = [[1, 2], [0, 2], [0, 1]][i];
        let [p, q] = [[1, 2], [0, 2], [0, 1]][j];
        let sign = if (i + j).is_multiple_of(2) { 1.0 } else { -1.0 };
        sign * (a[(r, p)] * a[(s, q)] - a[(r, q)] * a[(s, p)])
    };
    for (k, x) in det_gradient(&a).into_iter().enumerate() {
        assert!((x - cofactors(k / 3, k % 3)).abs() < 1e-14, "{k}: {x}");
    }
    // Second derivatives at the zero matrix: ad - bc.
    let zero = Array2::<f64>::zeros((2, 2));
    let f = trace(Spec::of(&zero), (), |_, a, ()| a.det())?;
    let h = f.hessian()?.eval(&zero, &())?.to_f64_vec();
    let mut want = [0.0; 16];
    (want[3], want[6], want[9], want[12]) = (1.0, -1.0, -1.0, 1.0);
    assert_eq!(h, want);
    // Of 3×3 they are of first order in the elements, so zero there.
    let zero = Array2::<f64>::zeros((3, 3));
    let f = trace(Spec::of(&zero), (), |_, a, ()| a.det())?;
    let g = f.grad()?;
    let d = arr2(&[[1.0, 2.0, 3.0], [0.0, 1.0, 4.0], [5.0, 6.0, 0.0]]);
    assert_eq!(g.eval(&zero, &())?.to_f64_vec(), [0.0; 9]);
    assert_eq!(f.hvp()?.eval(&zero, &((), &d))?.to_f64_vec(), [0.0; 9]);
    Ok(())
}

#[test]
fn a_column_of_zeros_has_cofactors_in_any_place() {
    for (n, zero) in [(2, 0), (5, 3), (40, 0), (40, 17), (40, 38), (40, 39), (131, 64)] {
        let mut a = stack(1, n, n, 13).index_axis_move(Axis(0), 0) * (2.0 / (n as f64).sqrt());
        a.column_mut(zero).fill(0.0);
        let gradient = Array2::from_shape_vec((n, n), det_gradient(&a)).unwrap();
        // The determinant is linear in that column, and its gradient is nothing elsewhere.
        let column = ndarray::Array1::from(numbers(n, 14));
        let got = gradient.column(zero).dot(&column);
        a.column_mut(zero).assign(&column);
        let want = Trace::eager().constant(a).det().item::<f64>().unwrap();
        assert!((got - want).abs() < 1e-10 * want.abs(), "{n}, {zero}: {got} and {want}");
        let elsewhere = gradient.indexed_iter().filter(|((_, j), _)| *j != zero);
        assert!(elsewhere.into_iter().all(|(_, &x)| x == 0.0), "{n}, {zero}");
    }
}

#[test]
fn lanes_of_a_batch_are_independent() -> Result<(), Error> {
    let (a, b) = (definite(3, 6, 11), stack(3, 6, 2, 12));
    let t = Trace::eager();
    let all = array(t.constant(a.clone()).solve(t.constant(b.clone())));
    for i in 0..3 {
        let [ai, bi] = [&a, &b].map(|x| t.constant(x.index_axis(Axis(0), i).to_owned()));
        assert_eq!(array(ai.solve(bi)), all.index_axis(Axis(0), i));
    }
    // One matrix for all right-hand sides; vectors.
    let one = t.constant(a.index_axis(Axis(0), 0).to_owned());
    assert_eq!(array(one.solve(t.constant(b.clone()))).shape(), [3, 6, 2]);
    let vector = t.constant(numbers(6, 1).into_iter().collect::<ndarray::Array1<f64>>());
    assert_eq!(array(t.constant(a).solve(vector)).shape(), [3, 6]);
    Ok(())
}

#[test]
fn singular_systems_give_what_is_not_finite() {
    let t = Trace::eager();
    let a = t.constant(arr2(&[[1.0, 2.0], [2.0, 4.0]]));
    let x = array(a.solve(t.constant(arr1(&[1.0, 1.0]))));
    assert!(x.iter().any(|x| !x.is_finite()), "{x}");
    assert!(array(a.inverse()).iter().any(|x| !x.is_finite()));
}

#[test]
fn a_matrix_that_is_not_positive_definite_is_told() -> Result<(), Error> {
    let bad = arr2(&[[1.0, 2.0], [2.0, 1.0]]);
    let both = ndarray::stack![Axis(0), arr2(&[[2.0, 1.0], [1.0, 2.0]]), bad];
    let t = Trace::eager();
    let line = line!() + 1;
    let l = t.constant(both.clone()).cholesky();
    let e = (l * 2.0).array().unwrap_err();
    assert_eq!((e.mistakes.len(), e.first().problem), (1, Problem::Value));
    assert_eq!(e.first().place.line(), line);
    assert_eq!(e.first().message, "matrix 1 is not positive definite");
    // What does not follow from it goes on.
    assert_eq!(t.constant(1.0).exp().item::<f64>().unwrap(), 1f64.exp());

    let line = line!() + 1;
    let f = trace(Spec::of(&both), (), |_, a, ()| a.cholesky().sum())?.value_and_grad()?;
    let e = f.eval(&both, &()).unwrap_err();
    assert_eq!((e.first().problem, e.first().place.line()), (Problem::Value, line));
    for backend in [Backend::Cpu, Backend::Interpreter] {
        let g = f.compile_with(&Options::default().backend(backend))?;
        let Err(Error::Runtime(e)) = g.call(&both, &()) else { panic!("{backend:?}") };
        let text = e.to_string();
        let RuntimeError::NotPositiveDefinite { operation, matrix, place } = e else {
            panic!("{e}")
        };
        assert_eq!((operation, matrix), ("cholesky", 1));
        assert_eq!(place.map(|p| p.line()), Some(line), "{text}");
        assert!(text.contains("tests/linalg.rs"), "{text}");
        // The next call is none the worse.
        assert!(g.call(&definite(2, 2, 1), &()).is_ok());
    }
    Ok(())
}

#[test]
fn nan_is_not_positive_definite_and_f32_works() {
    let t = Trace::eager();
    assert!(t.constant(arr2(&[[f64::NAN]])).cholesky().array().is_err());
    assert!(t.constant(arr2(&[[0.0]])).cholesky().array().is_err());
    let a = t.constant(arr2(&[[4.0f32, 2.0], [2.0, 5.0]]));
    assert_eq!(a.cholesky().array().unwrap().to_f64_vec(), [2.0, 0.0, 1.0, 2.0]);
    assert_eq!(a.det().item::<f32>().unwrap(), 16.0);
}

#[test]
fn mistakes_are_recorded() {
    let t = Trace::eager();
    let wide = t.constant(Array2::<f64>::zeros((2, 3)));
    let square = t.constant(Array2::<f64>::eye(2));
    let whole = t.constant(arr2(&[[1i64]]));
    let three = t.constant(arr1(&[1.0, 2.0, 3.0]));
    let single = t.constant(arr1(&[1.0f32, 2.0]));
    let told = |x: Tensor<'_>| x.array().unwrap_err().mistakes.last().unwrap().clone();
    for x in [wide.cholesky(), wide.inverse(), wide.det(), wide.slogdet().0, three.det()] {
        assert_eq!(told(x).problem, Problem::Shape);
    }
    assert_eq!(told(wide.solve(three)).operation, "solve");
    for x in [whole.cholesky(), whole.det(), whole.solve(whole), square.solve(single)] {
        assert!(x.array().is_err());
    }
    for x in [square.solve(three), square.solve(t.constant(1.0)), square.cholesky_solve(three)] {
        assert!(x.array().is_err());
    }
    let e = t.check().unwrap_err();
    assert_eq!(e.mistakes.len(), 13, "{e}");
    let last = e.mistakes.last().unwrap();
    assert!(last.message.contains("do not fit: expected 2 rows"), "{}", last.message);
}
