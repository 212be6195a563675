//! Derivatives of high order of loops inside loops: stacks inside stacks, whose
//! cotangents are added up when several later loops read them.
#![allow(missing_docs)]

use backstitch::ir::plan::{Plan, Step};
use backstitch::prelude::*;
use backstitch::{Array, Compiled, DType, Options};
use ndarray::{Array2, arr1, arr2};

/// `x · a⁶` by three times two multiplications.
fn sixth_power<'t>(t: &'t Trace, a: Tensor<'t>, x: Tensor<'t>) -> Tensor<'t> {
    t.for_loop(3, x, |_, y| t.for_loop(2, y, |_, z| z * a))
}

/// The same, by loops that end when the value is large enough.
fn sixth_power_by_while<'t>(t: &'t Trace, a: Tensor<'t>, x: Tensor<'t>) -> Tensor<'t> {
    let (i, y) = t.while_loop(
        (t.scalar(0), x),
        |(i, _)| i.lt(3),
        |(i, y)| {
            let inner = t.while_loop((t.scalar(0), y), |(j, _)| j.lt(2), |(j, z)| (j + 1, z * a));
            (i + 1, inner.1)
        },
    );
    let _ = i;
    y
}

#[test]
fn every_derivative_of_nested_loops_up_to_the_fourth() {
    type Program = for<'t> fn(&'t Trace, Tensor<'t>, Tensor<'t>) -> Tensor<'t>;
    for program in [sixth_power as Program, sixth_power_by_while as Program] {
        let f = trace(Spec::f64([]), Spec::f64([]), program).unwrap();
        let (a, x) = (2.0, 3.0);
        let mut f = f.grad().unwrap();
        for (order, falling) in [6.0, 30.0, 120.0, 360.0].into_iter().enumerate() {
            let want = falling * x * 2f64.powi(5 - order as i32);
            assert_eq!(f.eval(&a, &x).unwrap().item::<f64>(), Some(want), "order {order}");
            let compiled = f.compile_with(&Options::default().unroll(0)).unwrap();
            assert_eq!(compiled.call(&a, &x).unwrap().item::<f64>(), Some(want), "order {order}");
            f = f.grad().unwrap();
        }
    }
}

/// A recurrence over rows in either direction, with a carry that goes out before it
/// changes.
fn recurrence<'t>(t: &'t Trace, back: bool, w: Tensor<'t>, x: Tensor<'t>) -> Tensor<'t> {
    let start = t.zeros(DType::F64, [2]);
    let step = |h: Tensor<'t>, row: Tensor<'t>| ((w * h + row).tanh(), (h, row * h));
    let (last, (before, products)) =
        if back { t.scan_back(start, x, step) } else { t.scan(start, x, step) };
    let weights = t.iota(DType::F64, [3, 2], 0) + 1.0;
    last.sum() + (before * weights).sum() + (products * weights).sum()
}

fn numbers() -> (ndarray::Array1<f64>, Array2<f64>) {
    (arr1(&[0.5, -1.5]), arr2(&[[0.1, 0.2], [-0.4, 0.3], [0.7, -0.9]]))
}

fn close(got: &[f64], want: &[f64]) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9)
}

/// The recurrence with rows as host values.
fn by_hand(back: bool, w: &[f64], x: &Array2<f64>) -> f64 {
    let (mut h, mut total) = ([0.0; 2], 0.0);
    for t in 0..3 {
        let i = if back { 2 - t } else { t };
        for j in 0..2 {
            total += (i + 1) as f64 * (h[j] + x[[i, j]] * h[j]);
            h[j] = (w[j] * h[j] + x[[i, j]]).tanh();
        }
    }
    total + h[0] + h[1]
}

#[test]
fn a_scan_reads_and_writes_rows_in_either_direction() {
    let (w, x) = numbers();
    for back in [false, true] {
        let f = trace(Spec::f64([2]), Spec::f64([3, 2]), |t, w, x| recurrence(t, back, w, x));
        let f = f.unwrap();
        let rolled = Options::default().unroll(0);
        let value = f.compile_with(&rolled).unwrap().call(&w, &x).unwrap().item::<f64>().unwrap();
        assert!(close(&[value], &[by_hand(back, w.as_slice().unwrap(), &x)]));

        let gradient = f.grad().unwrap();
        let written_out = gradient.compile().unwrap().call(&w, &x).unwrap().to_f64_vec();
        let gradient = gradient.compile_with(&rolled).unwrap();
        let gradient = gradient.call(&w, &x).unwrap().to_f64_vec();
        assert!(close(&written_out, &gradient));
        let difference = |i: usize| {
            let moved = |by: f64| {
                let mut w = w.to_vec();
                w[i] += by;
                by_hand(back, &w, &x)
            };
            (moved(1e-6) - moved(-1e-6)) / 2e-6
        };
        for (i, g) in gradient.iter().enumerate() {
            assert!((g - difference(i)).abs() < 1e-7, "{g} and {}", difference(i));
        }
        // Forward over reverse, and all rows of a Jacobian at once.
        let hessian = f.hessian().unwrap();
        let want = hessian.eval(&w, &x).unwrap().to_f64_vec();
        let got = hessian.compile_with(&rolled).unwrap().call(&w, &x).unwrap().to_f64_vec();
        assert!(close(&got, &want), "{got:?} and {want:?}");
        for i in 0..2 {
            let v = ndarray::Array1::from_shape_fn(2, |j| f64::from(u8::from(i == j)));
            let hvp = f.hvp().unwrap().compile().unwrap().call(&w, &(x.clone(), v)).unwrap();
            assert!(close(&hvp.to_f64_vec(), &want[2 * i..2 * i + 2]));
        }
    }
}

#[test]
fn a_loop_of_known_length_needs_no_stack() {
    let rolled = Options::default().unroll(0);
    let f = trace(Spec::f64([2]), Spec::f64([3, 2]), |t, w, x| recurrence(t, false, w, x)).unwrap();
    let compiled = f.value_and_grad().unwrap().compile_with(&rolled).unwrap();
    assert!(compiled.executable().plan().stores.is_empty(), "{compiled}");
    let f = trace(Spec::f64([]), Spec::f64([]), sixth_power).unwrap();
    let compiled = f.value_and_grad().unwrap().compile_with(&rolled).unwrap();
    assert!(compiled.executable().plan().stores.is_empty(), "{compiled}");
}

#[test]
fn scans_and_loops_of_unknown_length_inside_each_other() {
    // Σ_rows of a row that is halved until it is small, repeated while the sum is.
    let f = trace(Spec::f64([3]), (), |t, x, ()| {
        let total = t.while_loop(
            t.scalar(0.5),
            |s| s.lt(20.0),
            |s| {
                let (sum, _) = t.scan(s, x, |s, row| {
                    let y = t.while_loop(row * s, |y| y.gt(1.0), |y| y * 0.5);
                    (s + y, y)
                });
                sum
            },
        );
        total * x.sum()
    });
    let f = f.unwrap();
    let x = arr1(&[0.9, 1.7, 2.3]);
    let by_hand = |x: &[f64]| {
        let mut s = 0.5;
        while s < 20.0 {
            for row in x {
                let mut y = row * s;
                while y > 1.0 {
                    y *= 0.5;
                }
                s += y;
            }
        }
        s * x.iter().sum::<f64>()
    };
    let want = by_hand(x.as_slice().unwrap());
    let (value, gradient) = f.value_and_grad().unwrap().compile().unwrap().call(&x, &()).unwrap();
    assert!(close(&[value.item::<f64>().unwrap()], &[want]));
    for (i, g) in gradient.to_f64_vec().into_iter().enumerate() {
        let moved = |by: f64| {
            let mut x = x.to_vec();
            x[i] += by;
            by_hand(&x)
        };
        let difference = (moved(1e-7) - moved(-1e-7)) / 2e-7;
        assert!((g - difference).abs() < 1e-5 * (1.0 + g.abs()), "{g} and {difference}");
    }
    let second = f.hessian().unwrap();
    let want = second.eval(&x, &()).unwrap().to_f64_vec();
    assert!(close(&second.compile().unwrap().call(&x, &()).unwrap().to_f64_vec(), &want));
}

#[test]
fn a_scan_of_no_rows_gives_the_carry_and_no_rows() {
    let f = trace(Spec::f64([]), Spec::f64([0, 2]), |t, s, x| {
        let (last, rows) = t.scan(s, x, |s, row| (s * row.sum(), row * s));
        last + rows.sum()
    });
    let f = f.unwrap();
    let none = Array2::<f64>::zeros((0, 2));
    let (value, gradient) =
        f.value_and_grad().unwrap().compile().unwrap().call(&3.0, &none).unwrap();
    assert_eq!((value.item::<f64>(), gradient.item::<f64>()), (Some(3.0), Some(1.0)));
    let (value, _) = f.value_and_grad().unwrap().eval(&3.0, &none).unwrap();
    assert_eq!(value.item::<f64>(), Some(3.0));
}

#[test]
fn truth_values_and_whole_numbers_are_rows_too() {
    let f = trace((), Spec::f64([4]), |t, (), x| {
        let (count, above) = t.scan(t.scalar(0), x, |n, x| {
            let is = x.gt(0.5);
            (n + is.cast(DType::I32), is)
        });
        count * 100 + (above.cast(DType::I32) * t.range(1, 5, 1)).sum()
    });
    let x = arr1(&[0.1, 0.6, 0.7, 0.2]);
    let found = f.unwrap().compile().unwrap().call(&(), &x).unwrap();
    assert_eq!(found.item::<i32>(), Some(205));
}

#[test]
fn long_rows_are_copied_whole() {
    let f = trace(Spec::f64([]), Spec::f64([5, 41]), |t, a, x| {
        let (_, sums) = t.scan_back(t.zeros(DType::F64, [41]), x, |s, row| (s + a * row, s + row));
        sums.square().sum()
    });
    let f = f.unwrap().value_and_grad().unwrap();
    let x = Array2::from_shape_fn((5, 41), |(i, j)| 0.1 * i as f64 - 0.01 * j as f64);
    let (want, slope) = f.eval(&0.7, &x).unwrap();
    let (value, gradient) =
        f.compile_with(&Options::default().unroll(0)).unwrap().call(&0.7, &x).unwrap();
    assert!(close(&value.to_f64_vec(), &want.to_f64_vec()));
    assert!(close(&gradient.to_f64_vec(), &slope.to_f64_vec()));
    let mut total = 0.0;
    for j in 0..41 {
        let mut s = 0.0;
        for i in (0..5).rev() {
            total += (s + x[[i, j]]) * (s + x[[i, j]]);
            s += 0.7 * x[[i, j]];
        }
    }
    assert!(close(&[total], &want.to_f64_vec()));
}

/// Whether a loop over steps is left in a program.
fn loops(compiled: &Compiled<Spec, Spec, (Spec, Spec)>) -> bool {
    let is_loop =
        |s: &Step| matches!(s, Step::Scan { .. } | Step::Repeat { .. } | Step::While { .. });
    compiled.executable().plan().steps.iter().any(is_loop)
}

#[test]
fn short_loops_are_written_out_and_long_ones_are_not() {
    fn power<'t>(t: &'t Trace, n: i64, a: Tensor<'t>, x: Tensor<'t>) -> Tensor<'t> {
        t.for_loop(n, x, |_, y| y * a)
    }
    let short = trace(Spec::f64([]), Spec::f64([]), |t, a, x| power(t, 8, a, x)).unwrap();
    let long = trace(Spec::f64([]), Spec::f64([]), |t, a, x| power(t, 800, a, x)).unwrap();
    for (f, n) in [(short, 8), (long, 800)] {
        let compiled = f.value_and_grad().unwrap().compile().unwrap();
        assert_eq!(loops(&compiled), n > 100, "{compiled}");
        let (value, slope) = compiled.call(&1.01, &3.0).unwrap();
        let want = 3.0 * 1.01f64.powi(n);
        assert!((value.item::<f64>().unwrap() / want - 1.0).abs() < 1e-12);
        assert!((slope.item::<f64>().unwrap() / (want * f64::from(n) / 1.01) - 1.0).abs() < 1e-12);
    }
    // Rows that are read and written in opposite orders.
    let f = trace(Spec::f64([2]), Spec::f64([3, 2]), |t, w, x| recurrence(t, true, w, x)).unwrap();
    let compiled = f.value_and_grad().unwrap().compile().unwrap();
    assert!(!loops(&compiled), "{compiled}");
}

#[test]
fn an_associative_scan_of_any_length_is_a_running_combination() {
    // x -> a·x + b, composed: the running values of a linear recurrence.
    for n in 1..10 {
        let f = trace((Spec::f64([n]), Spec::f64([n, 2])), (), |t, (a, b), ()| {
            let a = a.expand_dims(1);
            let (_, y) = t.associative_scan((a, b), |(a, b), (c, d)| (a * c, b * c + d));
            (y * y).sum()
        });
        let g = trace((Spec::f64([n]), Spec::f64([n, 2])), (), |t, (a, b), ()| {
            let start = t.zeros(DType::F64, [2]);
            let (_, y) = t.scan(start, (a, b), |y, (a, b)| (y * a + b, y * a + b));
            (y * y).sum()
        });
        let (f, g) = (f.unwrap().value_and_grad().unwrap(), g.unwrap().value_and_grad().unwrap());
        let a = ndarray::Array1::from_shape_fn(n, |i| 0.5 + 0.2 * i as f64);
        let b = Array2::from_shape_fn((n, 2), |(i, j)| 1.0 - 0.3 * (i + j) as f64);
        let p = (a.into_dyn(), b.into_dyn());
        let (value, slopes) = f.compile().unwrap().call(&p, &()).unwrap();
        let (want, steps) = g.compile().unwrap().call(&p, &()).unwrap();
        assert!(close(&value.to_f64_vec(), &want.to_f64_vec()), "{n}");
        assert!(close(&slopes.0.to_f64_vec(), &steps.0.to_f64_vec()), "{n}");
        assert!(close(&slopes.1.to_f64_vec(), &steps.1.to_f64_vec()), "{n}");
    }
    let t = Trace::eager();
    let none = t.zeros(DType::F64, [0, 3]);
    assert_eq!(t.associative_scan(none, |x, y| x + y).shape().dims(), [0, 3]);
    let wrong = trace(Spec::f64([4]), (), |t, x, ()| t.associative_scan(x, |x, _| x.sum()));
    let message = wrong.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("the function takes f64[2] and gives f64[]"), "{message}");
}

#[test]
fn a_switch_runs_one_branch_and_clamps_its_number() {
    let f = trace(Spec::f64([]), Spec::i64([]), |t, x, i| {
        t.switch(
            i,
            [
                Box::new(|| x),
                Box::new(|| x * x),
                Box::new(|| t.while_loop(x, |y| y.lt(100.0), |y| y * x)),
                Box::new(|| x.sin()),
                Box::new(|| -x),
            ],
        )
    });
    let f = f.unwrap().value_and_grad().unwrap().compile().unwrap();
    let x = 3.0f64;
    let of = |i: i64| {
        let (value, slope) = f.call(&x, &i).unwrap();
        (value.item::<f64>().unwrap(), slope.item::<f64>().unwrap())
    };
    let power = (243.0, 5.0 * 81.0);
    let want = [(3.0, 1.0), (9.0, 6.0), power, (x.sin(), x.cos()), (-3.0, -1.0)];
    for (i, (value, slope)) in want.into_iter().enumerate() {
        let (v, s) = of(i as i64);
        assert!((v - value).abs() < 1e-12 && (s - slope).abs() < 1e-12, "branch {i}: {v}, {s}");
    }
    assert_eq!(of(-7), want[0]);
    assert_eq!(of(99), want[4]);
}

#[test]
fn a_loop_too_long_for_memory_has_a_derivative_that_compiles() {
    for n in [1 << 32, i64::MAX] {
        let f =
            trace(Spec::f64([]), Spec::f64([3]), |t, a, x| t.for_loop(n, x, |_, y| y * a).sum());
        let compiled = f.unwrap().value_and_grad().unwrap().compile().unwrap();
        assert!(compiled.executable().plan().arena_bytes < 1 << 20, "{n}");
        assert!(!compiled.executable().plan().stores.is_empty(), "{n}");
    }
}

#[test]
fn a_loop_of_which_only_the_length_is_kept_runs_once() {
    let f = trace(Spec::f64([]), (), |t, a, ()| {
        let start = (a * 2.0, a * 3.0);
        let (b, c) = t.while_loop(start, |(b, _)| b.abs().lt(1000.0), |(b, c)| (b * 2.0, c - b));
        t.cond(b.gt(0.0), || c, || b * 100.0)
    });
    let f = f.unwrap().value_and_grad().unwrap().compile().unwrap();
    assert_eq!(kinds_of_loops(f.executable().plan()), (1, 1), "{f}");
    let (value, slope) = f.call(&-0.37, &()).unwrap();
    assert_eq!(value.item::<f64>(), Some(-151_552.0));
    assert_eq!(slope.item::<f64>(), Some(409_600.0));
}

/// How many loops run as long as something holds, and how many so many times.
fn kinds_of_loops(plan: &Plan) -> (usize, usize) {
    let count = |is: fn(&Step) -> bool| plan.steps.iter().filter(|s| is(s)).count();
    let whiles = count(|s| matches!(s, Step::While { .. }));
    (whiles, count(|s| matches!(s, Step::Repeat { .. } | Step::Scan { .. })))
}

/// Newton's method for cube roots, from a start that is given or not.
fn cube_roots<'t>(t: &'t Trace, start: Tensor<'t>, a: Tensor<'t>) -> Tensor<'t> {
    let far = |x: Tensor<'t>| (x * x * x - a).abs().ge(1e-10).any();
    t.while_loop(start, far, |x| x - (x * x * x - a) / (3.0 * x * x))
}

#[test]
fn where_each_element_depends_on_one_a_tangent_is_carried() {
    let a = ndarray::Array1::linspace(1.0, 8.0, 29);
    let f =
        trace(Spec::f64([29]), (), |t, a, ()| (cube_roots(t, a.ones_like(), a) * a.sin()).sum());
    let f = f.unwrap();
    let slope = |a: f64| a.cbrt() * a.cos() + a.sin() * a.powf(-2.0 / 3.0) / 3.0;
    let gradient = f.value_and_grad().unwrap().compile().unwrap();
    let plan = gradient.executable().plan();
    assert_eq!((kinds_of_loops(plan), plan.stores.len()), ((1, 0), 0), "{gradient}");
    for (got, a) in gradient.call(&a, &()).unwrap().1.to_f64_vec().into_iter().zip(&a) {
        assert!((got - slope(*a)).abs() < 1e-12, "{got} at {a}");
    }
    // Of second derivatives the loop carries more tangents.
    let second = |a: f64| {
        let h = 1e-5;
        (slope(a + h) - slope(a - h)) / (2.0 * h)
    };
    let twice = f.grad().unwrap();
    let twice = trace(Spec::f64([29]), (), |t, a, ()| twice.apply(t, a, ()).sum()).unwrap();
    let twice = twice.grad().unwrap().compile().unwrap();
    for (got, a) in twice.call(&a, &()).unwrap().to_f64_vec().into_iter().zip(&a) {
        assert!((got - second(*a)).abs() < 1e-8, "{got} at {a}");
    }
}

#[test]
fn a_tangent_of_zero_wins_over_an_infinite_slope() {
    // The root of 0 is infinitely steep, but what it is taken of first depends on nothing.
    let f = trace(Spec::f64([3]), (), |t, a, ()| {
        let start = (a.zeros_like(), t.scalar(0i64));
        t.while_loop(start, |(_, n)| n.lt(3i64), |(x, n)| (x.sqrt() + a, n + 1i64)).0.sum()
    });
    let f = f.unwrap().value_and_grad().unwrap().compile().unwrap();
    let a = arr1(&[0.5f64, 1.0, 2.0]);
    let (_, gradient) = f.call(&a, &()).unwrap();
    for (got, a) in gradient.to_f64_vec().into_iter().zip(a) {
        let (mut x, mut dot) = (a, 1.0f64);
        for _ in 0..2 {
            (x, dot) = (x.sqrt() + a, 0.5 * dot / x.sqrt() + 1.0);
        }
        assert!((got - dot).abs() < 1e-14, "{got}, not {dot}");
    }
}

#[test]
fn an_operand_of_another_type_than_the_carry_gets_a_cotangent_of_its_own() {
    let f = trace(Spec::f32([3]), (), |t, a, ()| {
        let start = a.ones_like().cast(DType::F64).stop_gradient();
        t.while_loop(start, |x| x.lt(9.0).any(), |x| x * 1.5 + a.cast(DType::F64)).sum()
    });
    let f = f.unwrap().value_and_grad().unwrap();
    let a = arr1(&[0.1f32, 0.2, 0.3]);
    let (_, gradient) = f.compile().unwrap().call(&a, &()).unwrap();
    assert_eq!(gradient.dtype(), DType::F32);
    // x becomes 1.5 x + a until all are above 9: in six steps.
    let slope = (0..6).map(|k| 1.5f64.powi(k)).sum::<f64>();
    for got in gradient.to_f64_vec() {
        assert!((got - slope).abs() < 1e-5, "{got}, not {slope}");
    }
}

#[test]
fn where_elements_depend_on_several_the_loop_runs_backwards() {
    let specs = || vec![Spec::f64([3]), Spec::f64([3]), Spec::f64([])];
    type Body = for<'t> fn(&[Tensor<'t>], Tensor<'t>) -> Tensor<'t>;
    let steps: [Body; 3] = [
        // Of two operands, of its neighbours, of one number for all.
        |p, x| x * 1.5 + p[1],
        |_, x| x * 1.5 + x.flip([0]) * 0.1,
        |p, x| x * (1.5 + p[2] * 0.1),
    ];
    let p = [vec![0.3, -0.2, 0.5], vec![0.1, 0.2, -0.3]].map(ndarray::Array1::from_vec);
    let inputs: Vec<Array> =
        p.iter().cloned().map(Array::from).chain([ndarray::arr0(0.7).into()]).collect();
    for (i, step) in steps.into_iter().enumerate() {
        let f = trace(specs(), (), |t, p: Vec<Tensor<'_>>, ()| {
            let start = if i == 2 { p[0].ones_like() } else { p[0] };
            t.while_loop(start, |x| x.square().sum().lt(100.0), |x| step(&p, x)).square().sum()
        });
        let f = f.unwrap().value_and_grad().unwrap().compile().unwrap();
        assert_eq!(kinds_of_loops(f.executable().plan()), (1, 1), "{i}: {f}");
        let (_, grads) = f.call(&inputs, &()).unwrap();
        for (k, grad) in grads.iter().enumerate() {
            for (j, got) in grad.to_f64_vec().into_iter().enumerate() {
                let at = |h: f64| {
                    let mut moved = inputs.clone();
                    let mut x = moved[k].to_f64_vec();
                    x[j] += h;
                    moved[k] = Array::from_vec(&specs()[k].ty().shape, x).unwrap();
                    f.call(&moved, &()).unwrap().0.item::<f64>().unwrap()
                };
                let want = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!(
                    (got - want).abs() < 1e-5 * (1.0 + want.abs()),
                    "{i} {k} {j}: {got} {want}"
                );
            }
        }
    }
}

#[test]
fn a_scan_whose_rows_and_residuals_are_wanted_runs_once() {
    let f = trace(Spec::f64([100, 3]), Spec::f64([3]), |t, x, h| {
        let (h, ys) = t.scan(h, x, |h, x| {
            let h = (h * x).sin().exp();
            (h, h * x)
        });
        h.sum() + ys.square().sum()
    });
    let f = f.unwrap().value_and_grad().unwrap().compile().unwrap();
    let scans = |s: &&Step| matches!(s, Step::Scan { .. } | Step::Repeat { .. });
    assert_eq!(f.executable().plan().steps.iter().filter(scans).count(), 2, "{f}");
    let x = Array2::from_shape_fn((100, 3), |(i, k)| ((3 * i + k) as f64 * 0.1).cos());
    let h = arr1(&[0.1, 0.2, 0.3]);
    let value = |x: &Array2<f64>| {
        let mut h = h.clone();
        let mut sum = 0.0;
        for x in x.rows() {
            h = (&h * &x).mapv(|z| z.sin().exp());
            sum += (&h * &x).mapv(|y| y * y).sum();
        }
        sum + h.sum()
    };
    let (got, slope) = f.call(&x, &h).unwrap();
    assert!((got.item::<f64>().unwrap() / value(&x) - 1.0).abs() < 1e-12);
    let slope = slope.to_f64_vec();
    for at in [[0, 0], [50, 1], [99, 2]] {
        let moved = |by: f64| {
            let mut x = x.clone();
            x[at] += by;
            value(&x)
        };
        let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        let got = slope[at[0] * 3 + at[1]];
        assert!((got - difference).abs() < 1e-6 * (1.0 + got.abs()), "{at:?}: {got} {difference}");
    }
}
