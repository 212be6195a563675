//! Loops and branches as a host writes them, compiled with their derivatives.
#![allow(missing_docs)]

use backstitch::prelude::*;

/// Doubles until it is large, skips what is near a multiple of three, gives up when negative;
/// the host says how often at most, the data after how many steps it is enough.
#[control_flow]
fn walk<'t>(t: &'t Trace, w: Tensor<'t>, x: Tensor<'t>, most: usize) -> Tensor<'t> {
    let mut y = x * w;
    if y.sum().lt(0.0) {
        return y.square().sum();
    }
    let (mut total, mut steps) = (t.scalar(0.0), t.scalar(0));
    while y.norm().lt(1000.0) && steps.lt(100) {
        steps = steps + 1;
        if y.norm().gt(100.0) {
            total = total + 7.0 * w;
            y = y * w;
            break;
        }
        for _ in 0..steps {
            if y.max().gt(50.0) {
                break;
            }
            y = y * w + 1.0;
        }
        for i in 0..most {
            if (y.sum() - i as f64).abs().lt(0.25) {
                continue;
            }
            total = total + y.mean() * (i + 1) as f64;
        }
    }
    if total.gt(1000.0) { y.sum() } else { y.sum() * 2.0 + total }
}

/// The same with numbers.
fn by_hand(w: f64, x: &[f64], most: usize) -> f64 {
    let mut y: Vec<f64> = x.iter().map(|x| x * w).collect();
    let sum = |y: &[f64]| y.iter().sum::<f64>();
    let norm = |y: &[f64]| y.iter().map(|y| y * y).sum::<f64>().sqrt();
    if sum(&y) < 0.0 {
        return norm(&y).powi(2);
    }
    let (mut total, mut steps) = (0.0, 0);
    while norm(&y) < 1000.0 && steps < 100 {
        steps += 1;
        if norm(&y) > 100.0 {
            total += 7.0 * w;
            y.iter_mut().for_each(|y| *y *= w);
            break;
        }
        for _ in 0..steps {
            if y.iter().any(|&y| y > 50.0) {
                break;
            }
            y.iter_mut().for_each(|y| *y = *y * w + 1.0);
        }
        for i in 0..most {
            if (sum(&y) - i as f64).abs() >= 0.25 {
                total += sum(&y) / y.len() as f64 * (i + 1) as f64;
            }
        }
    }
    if total > 1000.0 { sum(&y) } else { sum(&y) * 2.0 + total }
}

#[test]
fn compiled_values_and_gradients_are_those_of_the_host() {
    for most in [0, 2] {
        let f = trace(Spec::f64([]), Spec::f64([3]), |t, w, x| walk(t, w, x, most)).unwrap();
        let compiled = f.value_and_grad().unwrap().compile().unwrap();
        for (w, x) in [(1.5, [1.0, 2.0, 0.3]), (3.0, [0.5, -0.1, 0.2]), (2.0, [-1.0, 0.0, 0.5])] {
            let (value, slope) = compiled.call(&w, &ndarray::arr1(&x)).unwrap();
            let (value, slope) = (value.item::<f64>().unwrap(), slope.item::<f64>().unwrap());
            let want = by_hand(w, &x, most);
            assert!((value - want).abs() <= 1e-12 * want.abs(), "{value} and {want}");
            let h = 1e-6;
            let want = (by_hand(w + h, &x, most) - by_hand(w - h, &x, most)) / (2.0 * h);
            assert!((slope - want).abs() <= 1e-6 * want.abs().max(1.0), "{slope} and {want}");

            let t = Trace::eager();
            let (weight, data) = (t.variable(w), t.constant(ndarray::arr1(&x)));
            let tape = t.tape();
            let y = walk(&t, weight, data, most);
            let eager = tape.gradient(&y, &weight).expect_connected();
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs().max(1.0);
            assert!(close(y.item().unwrap(), value) && close(eager.item().unwrap(), slope));
        }
    }
}
