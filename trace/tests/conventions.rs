//! Derivatives where there is none or more than one: one test for each row of
//! `docs/conventions.md`.

use backstitch_trace::{DType, Pool, Problem, Spec, Status, Tensor, Trace, trace};
use ndarray::arr1;

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

type Function = for<'t> fn(&'t Trace, Tensor<'t>) -> Tensor<'t>;

#[track_caller]
fn same(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, (&a, &b)) in got.iter().zip(want).enumerate() {
        let near = (a - b).abs() <= 1e-14 * b.abs() || a == b || a.is_nan() && b.is_nan();
        assert!(near, "{i}: {a}, not {b}");
    }
}

/// The derivatives of the sum of the results, eager and traced.
#[track_caller]
fn slopes(f: Function, x: &[f64], want: &[f64]) {
    let traced = trace(Spec::f64([x.len()]), (), |t, x, ()| f(t, x).sum()).unwrap();
    same(&traced.grad().unwrap().eval(&arr1(x), &()).unwrap().to_f64_vec(), want);
    let t = Trace::eager();
    let x = t.constant(arr1(x));
    let tape = t.tape();
    tape.watch(&x);
    let y = f(&t, x).sum();
    same(&tape.gradient(&y, &x).or_zeros().array().unwrap().to_f64_vec(), want);
}

/// The derivative of the derivatives along a direction of ones.
#[track_caller]
fn bends(f: Function, x: &[f64], want: &[f64]) {
    let traced = trace(Spec::f64([x.len()]), (), |t, x, ()| f(t, x).sum()).unwrap();
    let ones = ndarray::Array1::<f64>::ones(x.len());
    same(&traced.hvp().unwrap().eval(&arr1(x), &((), ones)).unwrap().to_f64_vec(), want);
}

/// The two halves of a vector.
fn pair(x: Tensor<'_>) -> (Tensor<'_>, Tensor<'_>) {
    let halves = x.split_into(0, 2);
    (halves[0], halves[1])
}

macro_rules! conventions {
    ($($name:ident: $measure:ident($f:expr) at $x:expr => $want:expr;)*) => {$(
        #[test]
        fn $name() {
            $measure($f, &$x, &$want);
        }
    )*};
}

conventions! {
    abs_at_0: slopes(|_, x| x.abs()) at [0.0, -2.0] => [0.0, -1.0];
    sign_is_flat: slopes(|_, x| x.sign()) at [0.0, -2.0] => [0.0, 0.0];
    rounding_is_flat: slopes(|_, x| x.floor() + x.ceil() + x.round() + x.trunc()) at [0.5, 3.0] => [0.0; 2];
    relu_at_0: slopes(|_, x| x.relu()) at [0.0, 2.0] => [0.0, 1.0];
    maximum_of_x_and_0_at_0: slopes(|_, x| x.maximum(0.0)) at [0.0] => [0.5];
    maximum_of_equals: slopes(|_, x| pair(x).0.maximum(pair(x).1)) at [2.0, 2.0] => [0.5, 0.5];
    minimum_of_equals: slopes(|_, x| pair(x).0.minimum(pair(x).1)) at [2.0, 2.0] => [0.5, 0.5];
    largest_of_equals: slopes(|_, x| x.max()) at [2.0, 1.0, 2.0] => [0.5, 0.0, 0.5];
    smallest_of_equals: slopes(|_, x| x.min()) at [1.0, 1.0, 2.0] => [0.5, 0.5, 0.0];
    running_largest_of_equals: slopes(|_, x| x.cummax(0)) at [3.0, 3.0, 3.0] => [3.0, 0.0, 0.0];
    sqrt_at_0: slopes(|_, x| x.sqrt()) at [0.0] => [INF];
    zero_times_sqrt_at_0: slopes(|_, x| 0.0 * x.sqrt()) at [0.0] => [0.0];
    sqrt_of_a_square_at_0: slopes(|_, x| (x * x).sqrt()) at [0.0] => [0.0];
    norm_at_0: slopes(|_, x| x.norm()) at [0.0, 0.0] => [0.0, 0.0];
    norm1_at_0: slopes(|_, x| x.norm1()) at [0.0, 0.0] => [0.0, 0.0];
    norm_inf_of_equals: slopes(|_, x| x.norm_inf()) at [1.0, -1.0] => [0.5, -0.5];
    hypot_at_0: slopes(|_, x| pair(x).0.hypot(pair(x).1)) at [0.0, 0.0] => [0.0, 0.0];
    std_of_equals: slopes(|_, x| x.std()) at [0.1, 0.1, 0.1] => [0.0; 3];
    clip_at_a_bound: slopes(|_, x| x.clip(-1.0, 1.0)) at [-2.0, -1.0, 0.0, 1.0, 2.0] => [0.0, 1.0, 1.0, 1.0, 0.0];
    pow_0_0: slopes(|_, x| pair(x).0.pow(pair(x).1)) at [0.0, 0.0] => [0.0, 0.0];
    pow_0_2: slopes(|_, x| pair(x).0.pow(pair(x).1)) at [0.0, 2.0] => [0.0, 0.0];
    pow_0_half: slopes(|_, x| pair(x).0.pow(pair(x).1)) at [0.0, 0.5] => [INF, 0.0];
    pow_of_a_negative_number: slopes(|_, x| pair(x).0.pow(pair(x).1)) at [-1.0, 2.0] => [-2.0, NAN];
    powi_0_at_0: slopes(|_, x| x.powi(0)) at [0.0] => [0.0];
    select_shuts_out: slopes(|_, x| x.lt(1.0).select(x, x.sqrt())) at [0.0] => [1.0];
    x_log_x_at_0: slopes(|_, x| x * x.log()) at [0.0] => [-INF];
    xlogy_0_0: slopes(|_, x| pair(x).0.xlogy(pair(x).1)) at [0.0, 0.0] => [0.0, 0.0];
    logsumexp_of_nothing_but_minus_infinity: slopes(|_, x| x.logsumexp()) at [-INF, -INF] => [0.0, 0.0];
    logsumexp_with_infinity: slopes(|_, x| x.logsumexp()) at [INF, 0.0] => [1.0, 0.0];
    product_with_zeros: slopes(|_, x| x.prod()) at [0.0, 2.0, 3.0] => [6.0, 0.0, 0.0];
    running_product_with_zeros: slopes(|_, x| x.cumprod(0)) at [0.0, 2.0, 3.0] => [9.0, 0.0, 0.0];
    modulo_at_a_multiple: slopes(|_, x| pair(x).0.modulo(pair(x).1)) at [3.0, 3.0] => [1.0, -1.0];
    floor_divide_is_flat: slopes(|_, x| pair(x).0.floor_divide(pair(x).1)) at [7.5, 2.0] => [0.0, 0.0];
    leaky_relu_at_0: slopes(|_, x| x.leaky_relu(0.2)) at [0.0] => [0.2];
    elu_at_0: slopes(|_, x| x.elu(1.5)) at [0.0] => [1.0];
    elu_at_0_twice: bends(|_, x| x.elu(1.5)) at [0.0] => [0.0];
    selu_at_0: slopes(|_, x| x.selu()) at [0.0] => [1.050_700_987_355_480_5];
    hard_tanh_at_1: slopes(|_, x| x.hard_tanh()) at [-1.0, 1.0] => [0.0, 0.0];
    relu6_at_6: slopes(|_, x| x.relu6()) at [0.0, 6.0] => [0.0, 0.0];
    normalize_at_0: slopes(|_, x| x.normalize(0, 1e-12)) at [0.0, 0.0] => [0.0, 0.0];
    atan2_at_0: slopes(|_, x| pair(x).0.atan2(pair(x).1)) at [0.0, 0.0] => [0.0, 0.0];
    sort_of_equals: slopes(|t, x| x.sort(0) * t.range(1.0, 4.0, 1.0)) at [2.0, 2.0, 1.0] => [2.0, 3.0, 1.0];
    top_of_equals: slopes(|_, x| x.top_k(1).0) at [2.0, 1.0, 2.0] => [1.0, 0.0, 0.0];
    median_of_an_even_number: slopes(|_, x| x.median(0)) at [1.0, 2.0, 3.0, 4.0] => [0.0, 0.5, 0.5, 0.0];
    median_of_equals: slopes(|_, x| x.median(0)) at [1.0; 3] => [1.0 / 3.0; 3];
    quantile_of_equals: slopes(|_, x| x.quantile(0.25, 0)) at [1.0; 5] => [0.2; 5];
    largest_of_a_window_of_equals: slopes(|_, x| x.reshape([1, 1, 2]).max_pool(&Pool::new(2))) at [2.0, 2.0] => [0.5, 0.5];
    det_of_zeros: slopes(|_, x| x.reshape([2, 2]).det()) at [0.0; 4] => [0.0; 4];
    absolute_error_of_equals: slopes(|_, x| x.absolute_error(x.stop_gradient())) at [1.0] => [0.0];
    kl_div_of_nothing: slopes(|_, x| x.kl_div(x.stop_gradient())) at [0.0, 1.0] => [0.0, 1.0];
    a_product_twice: bends(|_, x| 2.0 * x) at [3.0] => [0.0];
}

#[test]
fn argmax_is_the_first() {
    let t = Trace::eager();
    let x = t.constant(arr1(&[1.0, 2.0, 2.0]));
    assert_eq!(x.argmax(0).item::<i64>().unwrap(), 1);
}

#[test]
fn cholesky_of_what_has_none() {
    let t = Trace::eager();
    let line = line!() + 1;
    let factor = t.zeros(DType::F64, [2, 2]).cholesky();
    let e = factor.array().unwrap_err();
    assert_eq!((e.first().problem, e.first().place.line()), (Problem::Value, line));
}

#[test]
fn a_flat_gradient_is_told() {
    let t = Trace::eager();
    let x = t.constant(arr1(&[1.5]));
    let tape = t.tape();
    tape.watch(&x);
    let y = x.floor();
    assert!(matches!(tape.gradient(&y, &x).status(), Status::Flat(_)));
}

#[test]
fn an_unused_input_is_unconnected() {
    let t = Trace::eager();
    let (x, y) = (t.constant(1.0), t.constant(2.0));
    let tape = t.tape();
    tape.watch(&(x, y));
    let loss = x * x;
    let gradient = tape.gradient(&loss, &y);
    assert!(matches!(gradient.status(), Status::Unconnected(_)));
    assert_eq!(gradient.or_zeros().item::<f64>().unwrap(), 0.0);
}

#[test]
fn an_integer_has_no_gradient() {
    let f = trace(Spec::i32([]), (), |_, n, ()| n.cast(DType::F64) * 2.0).unwrap();
    assert_eq!(f.grad().unwrap_err().first().problem, Problem::Gradient);
}

#[test]
fn each_row_of_the_table_is_tested() {
    let (table, tests) =
        (include_str!("../../docs/conventions.md"), include_str!("conventions.rs"));
    let rows = table.lines().map(|line| line.split('|').collect::<Vec<_>>());
    let rows: Vec<_> = rows.filter(|cells| cells.len() == 8).collect();
    let names: Vec<&str> = rows.iter().filter_map(|cells| cells[2].split('`').nth(1)).collect();
    assert!(names.len() > 40, "{names:?}");
    for name in &names {
        let row = format!("    {name}: ");
        assert!(tests.contains(&row) || tests.contains(&format!("fn {name}()")), "{name}");
    }
    let measured = tests.lines().filter(|l| l.contains(": slopes(") || l.contains(": bends("));
    let measured = measured.filter_map(|line| line.strip_prefix("    ")?.split(':').next());
    for name in measured.filter(|name| !name.contains(' ')) {
        assert!(names.contains(&name), "`{name}` has no row");
    }
}
