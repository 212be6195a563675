//! Calling compiled programs: what is asked of the arguments, and what is said
//! when they are something else.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use backstitch::prelude::*;
use backstitch::{Array, Backend, DType, Error, Options};
use ndarray::{Array1, Array2, ShapeBuilder, arr1, arr2};

type Outcome = Result<(), Error>;

#[derive(Tree, Clone, Debug, PartialEq)]
struct Linear<T> {
    w: T,
    b: T,
}

fn linear() -> Linear<Spec> {
    Linear { w: Spec::f64([3, 2]), b: Spec::f64([2]) }
}

fn loss<'t>(_: &'t Trace, p: Linear<Tensor<'t>>, (x, y): (Tensor<'t>, Tensor<'t>)) -> Tensor<'t> {
    (x.matmul(p.w) + p.b - y).square().mean()
}

fn text<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.expect_err("this is a mistake").to_string()
}

#[test]
fn structures_go_in_and_come_out() -> Outcome {
    let f = trace(linear(), (Spec::f64([4, 3]), Spec::f64([4, 2])), loss)?;
    let f = f.value_and_grad()?.compile()?;
    let p = Linear { w: Array2::<f64>::ones((3, 2)).into_dyn(), b: Array1::zeros(2).into_dyn() };
    let (x, y) = (Array2::<f64>::ones((4, 3)), Array2::<f64>::zeros((4, 2)));
    let (value, gradient) = f.call(&p, &(&x, &y))?;
    assert_eq!(value.item::<f64>(), Some(9.0));
    assert_eq!(gradient.w.to_f64_vec(), [3.0; 6]);
    assert_eq!(gradient.b.to_f64_vec(), [3.0; 2]);

    // The same structure, in place.
    let mut ws = f.workspace()?;
    let mut value = 0.0;
    let mut gradient = p.clone();
    f.call_into(&mut ws, &p, &(&x, &y), &mut (&mut value, &mut gradient))?;
    assert_eq!((value, gradient.b.as_slice()), (9.0, Some(&[3.0, 3.0][..])));
    Ok(())
}

#[test]
fn maps_are_arguments_by_name() -> Outcome {
    let specs = BTreeMap::from([("a".to_string(), Spec::f64([])), ("b".into(), Spec::f64([]))]);
    let f = trace(specs, (), |_, p, ()| p["a"] * p["b"].square())?.grad()?.compile()?;
    let at = BTreeMap::from([("a".to_string(), 2.0), ("b".into(), 3.0)]);
    let g = f.call(&at, &())?;
    assert_eq!((g["a"].item::<f64>(), g["b"].item::<f64>()), (Some(9.0), Some(12.0)));
    Ok(())
}

#[test]
fn an_argument_of_another_type_is_an_error_that_names_both() -> Outcome {
    let f = trace(Spec::f64([2, 3]), Spec::f64([2]), |_, x, y| x.sum() * y.sum())?.compile()?;
    let (x, y) = (Array2::<f64>::zeros((2, 3)), Array1::<f64>::zeros(2));
    let e = text(f.call(&Array2::<f64>::zeros((3, 2)), &y));
    assert!(e.contains("f64[2,3]") && e.contains("f64[3,2]"), "{e}");
    let e = text(f.call(&x, &Array1::<f32>::zeros(2)));
    assert!(e.contains("f64[2]") && e.contains("f32[2]"), "{e}");
    let e = text(f.call(&x, &()));
    assert!(e.contains('2') && e.contains('1'), "{e}");
    let e = text(f.call(&x, &(&y, &y)));
    assert!(e.contains('2') && e.contains('3'), "{e}");
    let mut ws = f.workspace()?;
    let mut wrong = arr1(&[0.0]);
    let e = text(f.call_into(&mut ws, &x, &y, &mut wrong));
    assert!(e.contains("f64[]") && e.contains("f64[1]"), "{e}");
    Ok(())
}

#[test]
fn strided_arrays_are_copied_by_call_and_refused_by_call_into() -> Outcome {
    let f = trace(Spec::f64([2, 3]), (), |_, x, ()| x.index(0, 1).sum())?.compile()?;
    let columns = Array2::from_shape_vec((2, 3).f(), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let columns = columns.expect("six elements");
    assert_eq!(columns.row(1).sum(), 12.0);
    assert_eq!(f.call(&columns, &())?.item::<f64>(), Some(12.0));
    let reversed = arr2(&[[6.0, 5.0, 4.0], [3.0, 2.0, 1.0]]);
    assert_eq!(f.call(&reversed.slice(ndarray::s![..;-1, ..;-1]), &())?.item(), Some(15.0));
    let mut ws = f.workspace()?;
    let e = text(f.call_into(&mut ws, &columns, &(), &mut 0.0));
    assert!(e.contains("row-major") && e.contains("[2,3]"), "{e}");
    Ok(())
}

#[test]
fn empty_arrays_are_arrays() -> Outcome {
    let f = trace(Spec::f64([0, 3]), Spec::f64([3]), |_, x, y| {
        x.matmul(y).sum() + x.exp().sum() + y.sum()
    })?;
    let f = f.value_and_grad()?.compile()?;
    let (value, gradient) = f.call(&Array2::<f64>::zeros((0, 3)), &arr1(&[1.0, 2.0, 3.0]))?;
    assert_eq!(value.item::<f64>(), Some(6.0));
    assert_eq!(gradient.dims(), [0, 3]);
    // There is no greatest of no numbers.
    let e = trace(Spec::f64([0, 3]), (), |_, x, ()| x.max()).expect_err("no element");
    assert!(e.to_string().contains("f64[0,3]"), "{e}");
    Ok(())
}

#[test]
fn nan_comes_out_where_it_went_in() -> Outcome {
    let f = trace(Spec::f64([5]), (), |_, x, ()| x.max())?.compile()?;
    let x = arr1(&[1.0, f64::NAN, 3.0, -2.0, 0.0]);
    assert!(f.call(&x, &())?.item::<f64>().is_some_and(f64::is_nan));
    Ok(())
}

#[test]
fn a_program_larger_than_memory_is_refused_before_it_runs() -> Outcome {
    // The arena would need 2⁴⁶ bytes and more; the traced function none.
    let f = trace(Spec::f64([]), (), |t, x, ()| {
        let big = t.range(0.0, (1u64 << 43) as f64, 1.0) * x;
        let other = big.reshape([1 << 21, 1 << 22]);
        (other.transpose() * 2.0).reshape([1usize << 43]).sum() + big.sum()
    })?;
    let e = text(f.compile()?.workspace());
    assert!(e.contains("memory"), "{e}");
    Ok(())
}

#[test]
fn one_executable_serves_many_threads() -> Outcome {
    let f =
        trace(Spec::f64([64, 32]), Spec::f64([32]), |_, x, y| x.matmul(y).tanh().square().sum())?;
    let f = f.value_and_grad()?.compile()?;
    let input = |k: usize| Array2::from_shape_fn((64, 32), |(i, j)| ((i * j + k) as f64).sin());
    let y = Array1::from_shape_fn(32, |i| (i as f64).cos());
    let want: Vec<(Array, Array)> =
        (0..8).map(|k| f.call(&input(k), &y)).collect::<Result<_, _>>()?;
    std::thread::scope(|s| {
        for (k, want) in want.iter().enumerate() {
            let (f, y) = (f.clone(), &y);
            s.spawn(move || {
                let mut ws = f.workspace().expect("there is memory");
                let (x, mut value) = (input(k), 0.0);
                let mut gradient = Array2::<f64>::zeros((64, 32));
                for _ in 0..50 {
                    let out = &mut (&mut value, &mut gradient);
                    f.call_into(&mut ws, &x, y, out).expect("it runs");
                    assert!(Array::from(value).same_bits(&want.0));
                    assert!(Array::from(gradient.clone()).same_bits(&want.1));
                }
            });
        }
    });
    Ok(())
}

#[test]
fn the_interpreter_and_machine_code_give_the_same_bits() -> Outcome {
    let f = trace(Spec::f32([1000]), (), |_, x, ()| {
        (x.tanh() * (-x * x).exp() + x.sin().square() * x.sigmoid()).sum()
    })?;
    let f = f.value_and_grad()?;
    let slow = f.compile_with(&Options::default().backend(Backend::Interpreter))?;
    let fast = f.compile()?;
    let x = Array1::from_shape_fn(1000, |i| (i as f32 - 500.0) / 100.0);
    let (a, b) = (slow.call(&x, &())?, fast.call(&x, &())?);
    assert!(a.0.same_bits(&b.0) && a.1.same_bits(&b.1));
    Ok(())
}

#[test]
fn the_same_bits_without_fusion_for_elementwise_programs() -> Outcome {
    let f = trace_tree(Spec::f64([33]), (), |t, x, ()| {
        let y = x.sin() * x.exp() + x.sqrt() / (x + 2.0);
        t.outputs(&(y, y.floor()))
    })?;
    let plain = f.compile_with(&Options::default().optimise(false))?;
    let fused = f.compile()?;
    assert!(plain.executable().stats().kernels > fused.executable().stats().kernels);
    let x = Array1::from_shape_fn(33, |i| i as f64 / 7.0);
    let (a, b) = (plain.call(&x, &())?, fused.call(&x, &())?);
    assert!(a.0.same_bits(&b.0) && a.1.same_bits(&b.1));
    Ok(())
}

#[test]
fn text_and_pictures_show_forward_and_backward() -> Outcome {
    let f = trace(Spec::f64([4]), (), |_, x, ()| x.tanh().sum())?;
    let f = f.value_and_grad()?.compile()?;
    let plan = f.to_string();
    assert!(plan.contains("kernel k0") && plan.contains("run k0"), "{plan}");
    let dot = f.to_dot();
    assert!(dot.starts_with("digraph") && dot.contains("cluster"), "{dot}");
    Ok(())
}

#[test]
fn outputs_that_depend_on_no_input_are_constants() -> Outcome {
    let sum = trace(Spec::f64([3]), (), |_, x, ()| x.sum())?;
    let x = arr1(&[1.0, 2.0, 3.0]);
    assert_eq!(sum.grad()?.compile()?.call(&x, &())?.to_f64_vec(), [1.0; 3]);
    assert_eq!(sum.hessian()?.compile()?.call(&x, &())?.to_f64_vec(), [0.0; 9]);

    let slope = trace_tree(Spec::f64([3]), (), |t, x, ()| {
        let tape = t.tape();
        tape.watch(&x);
        let dx = tape.gradient(&x.sum(), &x).expect_connected();
        t.outputs(&(dx, t.eye(DType::F64, 2, 2)))
    })?;
    for optimise in [true, false] {
        let f = slope.compile_with(&Options::default().optimise(optimise))?;
        let (dx, eye) = f.call(&x, &())?;
        assert_eq!((dx.to_f64_vec(), eye.to_f64_vec()), (vec![1.0; 3], vec![1.0, 0.0, 0.0, 1.0]));
    }
    Ok(())
}
