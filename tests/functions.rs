//! Programs that use more scalar functions than are worth writing out call them, and give
//! the same bits as those that have them written out.
#![allow(missing_docs)]

use backstitch::ir::Const;
use backstitch::ir::nest::Stmt;
use backstitch::prelude::*;
use backstitch::{Array, Backend, Compiled, DType, Options};

/// One function after the other, of arguments where they have values.
fn value<'t>(i: usize, x: Tensor<'t>) -> Tensor<'t> {
    let y = x.abs() + 0.5;
    match i % 12 {
        0 => x.sin(),
        1 => x.cos(),
        2 => x.exp(),
        3 => y.log(),
        4 => x.tanh(),
        5 => y.pow(x),
        6 => x.erf(),
        7 => x.atan2(y),
        8 => x.sigmoid(),
        9 => x.sinh(),
        10 => y.lgamma(),
        _ => x.tan(),
    }
}

fn arguments(dtype: DType, n: usize) -> Vec<Array> {
    let one = |i| Array::scalar(Const::of_float(dtype, (i as f64 * 0.731).sin() * 3.0));
    (0..n).map(one).collect()
}

type Program = Compiled<Vec<Spec>, (), (Spec, Vec<Spec>)>;

/// Value and gradient of a sum of these functions, each of a parameter.
fn program(dtype: DType, which: std::ops::Range<usize>, options: &Options) -> Program {
    let params = vec![Spec::new(dtype, []); which.len()];
    let traced = trace(params, (), |t, p: Vec<Tensor<'_>>, ()| {
        let values = p.iter().zip(which).map(|(&x, i)| value(i, x));
        values.fold(t.scalar(0.0).cast(dtype), |sum, x| sum + x)
    });
    let gradient = traced.expect("no mistake").value_and_grad().expect("floats");
    gradient.compile_with(options).expect("it compiles")
}

fn calls(program: &Program) -> usize {
    let kernels = program.executable().plan().kernels.iter();
    kernels.flat_map(|nest| &nest.body).filter(|s| matches!(s, Stmt::Call { .. })).count()
}

#[test]
fn functions_that_are_called_give_the_bits_of_those_that_are_written_out() {
    const N: usize = 240;
    for dtype in [DType::F64, DType::F32] {
        let args = arguments(dtype, N);
        for options in [Options::default(), Options::default().backend(Backend::Interpreter)] {
            let all = program(dtype, 0..N, &options);
            assert!(calls(&all) > N, "{}", calls(&all));
            let (_, gradients) = all.call(&args, &()).unwrap();
            for i in 0..12 {
                let one = program(dtype, i..i + 1, &options);
                assert_eq!(calls(&one), 0);
                for k in (i..N).step_by(12) {
                    let (_, gradient) = one.call(&args[k..k + 1].to_vec(), &()).unwrap();
                    assert!(gradient[0].same_bits(&gradients[k]), "function {i} of {}", args[k]);
                }
            }
        }
    }
}

#[test]
fn without_fusion_results_are_as_close() {
    let args = arguments(DType::F64, 200);
    let [plain, code] = [false, true].map(|optimise| {
        let program = program(DType::F64, 0..200, &Options::default().optimise(optimise));
        assert!(calls(&program) > 200);
        program.call(&args, &()).unwrap().1
    });
    let pairs = plain.iter().zip(&code);
    let close = |a: &Array, b: &Array| {
        let (a, b) = (a.to_f64_vec()[0], b.to_f64_vec()[0]);
        (a - b).abs() <= 1e-12 * (1.0 + b.abs())
    };
    assert!(pairs.clone().all(|(a, b)| close(a, b)));
}

#[test]
fn a_loop_with_a_long_body_calls_too() {
    let traced = trace(Spec::f64([]), (), |t, x: Tensor<'_>, ()| {
        let body = |x| (0..200).fold(x, |x: Tensor<'_>, i| value(i % 9, x) * 0.9 + 0.1);
        t.for_loop(3, x, |_, x| body(x))
    });
    let traced = traced.unwrap().value_and_grad().unwrap();
    let kernels = |options: &Options| {
        let compiled = traced.compile_with(options).unwrap();
        let plan = compiled.executable().plan();
        let calls = plan.kernels.iter().flat_map(|k| &k.body);
        let calls = calls.filter(|s| matches!(s, Stmt::Call { .. })).count();
        let at = Array::scalar(Const::of_float(DType::F64, 0.4));
        (calls, compiled.call(&at, &()).unwrap())
    };
    let (code, (value, gradient)) = kernels(&Options::default());
    let (same, slow) = kernels(&Options::default().backend(Backend::Interpreter));
    assert!(code >= 200 && code == same, "{code} and {same} calls");
    assert!(value.same_bits(&slow.0) && gradient.same_bits(&slow.1));
}
