//! Plans on both devices: the same bits.

mod common;

use backstitch_ir::text::parse_plan;
use backstitch_ir::{Array, Element};
use backstitch_runtime::{ArrayMut, ArrayRef, Backend, Error, Executable, Interpreter, Workspace};
use common::{BRANCH, MEAN, NESTED, SCALAR, SQUARING, plan};
use ndarray::{Array1, Array2, arr1, arr2};

fn load(text: &str) -> [Executable; 2] {
    [Backend::Cpu, Backend::Interpreter].map(|b| Executable::new(plan(text), b).unwrap())
}

/// What both devices give.
fn call(text: &str, inputs: &[Array]) -> Vec<Array> {
    let views: Vec<ArrayRef<'_>> = inputs.iter().map(|a| a.try_into().unwrap()).collect();
    let [cpu, interpreter] = load(text).map(|exe| exe.call(&views).unwrap());
    for (a, b) in cpu.iter().zip(&interpreter) {
        assert!(a.same_bits(b), "{a:?} and {b:?}");
    }
    assert_eq!(cpu.len(), interpreter.len());
    cpu
}

fn item<T: Element>(array: &Array) -> T {
    array.item().expect("one element")
}

#[test]
fn scalars() {
    let out = call(SCALAR, &[5f32.into(), 3f32.into()]);
    assert_eq!(out.iter().map(item).collect::<Vec<f32>>(), [105.0, 36.0, 10.0]);
}

#[test]
fn arrays() {
    let x = arr2(&[[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 20.0f64]]);
    let out = call(MEAN, &[x.into()]);
    assert_eq!(item::<f64>(&out[0]), 10.0);
    assert_eq!(out[1].dims(), [2, 5]);
    assert_eq!(out[1].view::<f64>().unwrap()[[1, 4]], 2.0);
}

#[test]
fn stacks() {
    for (x, limit) in [(3.0, 1e9), (1.5, 1.0), (1.0001, 1e300), (2.0, 0.0)] {
        let out = call(SQUARING, &[x.into(), limit.into()]);
        let (mut y, mut dy, mut n) = (x, 1.0, 0);
        while y < limit {
            (dy, y, n) = (dy * 2.0 * y, y * y, n + 1);
        }
        assert_eq!((item::<f64>(&out[0]), item::<i64>(&out[2])), (y, n));
        let got = item::<f64>(&out[1]);
        assert!(got == dy || ((got - dy) / dy).abs() < 1e-12, "{got} for {dy}");
    }
}

#[test]
fn stacks_of_stacks() {
    for (n, m) in [(0, 3), (3, 0), (1, 1), (4, 5)] {
        let out = call(NESTED, &[n.into(), m.into()]);
        let mut sum = 0i64;
        for i in (1..=n).rev() {
            for j in (0..m).rev() {
                sum = sum * 3 + i * j;
            }
        }
        assert_eq!(item::<i64>(&out[0]), sum, "{n} {m}");
    }
}

#[test]
fn branches_and_booleans() {
    let x = arr1(&[1.0f32, -2.0, 0.0]);
    for flag in [true, false] {
        let flags = arr1(&[false, flag, true, true]);
        let out = call(BRANCH, &[x.clone().into(), flags.clone().into()]);
        let want = if flag { x.clone() } else { -x.clone() };
        assert_eq!(out[0].to_array::<f32>().unwrap(), want.into_dyn());
        assert_eq!(out[1].to_array::<bool>().unwrap(), flags.mapv(|b| !b).into_dyn());
    }
}

#[test]
fn outputs_of_the_caller() {
    for exe in load(MEAN) {
        let mut ws = exe.workspace().unwrap();
        let x = Array2::from_shape_fn((2, 5), |(i, j)| (5 * i + j) as f64);
        let (mut value, mut gradient) = (f64::NAN, Array2::from_elem((2, 5), f64::NAN));
        for _ in 0..3 {
            exe.call_into(
                &mut ws,
                &[(&x).try_into().unwrap()],
                &mut [(&mut value).into(), (&mut gradient).try_into().unwrap()],
            )
            .unwrap();
            assert_eq!(value, 1.0);
            assert_eq!(gradient, Array2::from_elem((2, 5), -0.2));
        }
        // A view into a larger array: rows 1 and 2 of four.
        let mut rows = Array2::<f64>::zeros((4, 5));
        let mut middle = rows.slice_mut(ndarray::s![1..3, ..]);
        exe.call_into(
            &mut ws,
            &[(&x.view()).try_into().unwrap()],
            &mut [(&mut value).into(), (&mut middle).try_into().unwrap()],
        )
        .unwrap();
        assert_eq!(rows.column(0), Array1::from(vec![0.0, -0.2, -0.2, 0.0]));
    }
}

#[test]
fn a_workspace_serves_any_executable() {
    let mut ws = Workspace::new();
    for text in [SCALAR, MEAN, SQUARING, SCALAR, NESTED, MEAN, SQUARING] {
        for exe in load(text) {
            let inputs: Vec<Array> = exe
                .inputs()
                .iter()
                .map(|t| Array::full(&t.shape, backstitch_ir::Const::of_int(t.dtype, 3)))
                .collect();
            let views: Vec<ArrayRef<'_>> = inputs.iter().map(|a| a.try_into().unwrap()).collect();
            let want = exe.call(&views).unwrap();
            let mut got = want.clone();
            let mut places: Vec<ArrayMut<'_>> =
                got.iter_mut().map(|a| a.try_into().unwrap()).collect();
            exe.call_into(&mut ws, &views, &mut places).unwrap();
            assert!(want.iter().zip(&got).all(|(a, b)| a.same_bits(b)), "{text}");
        }
    }
}

#[test]
fn wrong_arguments_are_errors() {
    for exe in load(MEAN) {
        let x = Array2::<f64>::zeros((2, 5));
        let text = |inputs: &[ArrayRef<'_>], outputs: &mut [ArrayMut<'_>]| {
            let mut ws = exe.workspace().unwrap();
            exe.call_into(&mut ws, inputs, outputs).unwrap_err().to_string()
        };
        let (mut v, mut g) = (0f64, Array2::<f64>::zeros((2, 5)));
        let mut outputs: [ArrayMut<'_>; 2] = [(&mut v).into(), (&mut g).try_into().unwrap()];
        let input: ArrayRef<'_> = (&x).try_into().unwrap();
        assert_eq!(text(&[], &mut outputs), "expected 1 input, got 0");
        assert_eq!(text(&[input, input], &mut outputs), "expected 1 input, got 2");
        assert_eq!(text(&[input], &mut outputs[..1]), "expected 2 outputs, got 1");
        let floats = Array2::<f32>::zeros((2, 5));
        let wrong = (&floats).try_into().unwrap();
        assert_eq!(text(&[wrong], &mut outputs), "input 0: expected f64[2,5], got f32[2,5]");
        let flat = Array1::<f64>::zeros(10);
        let wrong = (&flat).try_into().unwrap();
        assert_eq!(text(&[wrong], &mut outputs), "input 0: expected f64[2,5], got f64[10]");
        assert_eq!(text(&[wrong, input], &mut outputs), "expected 1 input, got 2");
        assert_eq!(exe.call(&[wrong]).unwrap_err().to_string(), text(&[wrong], &mut outputs));
        let mut transposed = Array2::<f64>::zeros((5, 2));
        outputs[1] = (&mut transposed).try_into().unwrap();
        assert_eq!(text(&[input], &mut outputs), "output 1: expected f64[2,5], got f64[5,2]");
        let mut one = [0f64];
        outputs[0] = (&mut one[..]).into();
        assert_eq!(text(&[input], &mut outputs), "output 0: expected f64[], got f64[1]");
    }
}

#[test]
fn more_memory_than_there_is() {
    for arena in [1usize << 62, usize::MAX - 63, 1 << 50] {
        let text = "
            plan @huge arena ARENA {
              inputs f32[]
              outputs f32[]
              buffer b0 : f32[1] input 0
              buffer b1 : f32[1] output 0
              copy b0 to b1
            }"
        .replace("ARENA", &arena.to_string());
        let exe = Executable::new(plan(&text), Backend::Cpu).unwrap();
        assert_eq!(exe.stats().arena_bytes, arena);
        let e = exe.workspace().unwrap_err();
        assert!(matches!(e, Error::Memory { bytes, .. } if bytes == arena), "{e}");
        assert!(exe.call(&[(&1f32).into()]).is_err());
        let mut y = 0f32;
        let mut ws = Workspace::new();
        assert!(exe.call_into(&mut ws, &[(&1f32).into()], &mut [(&mut y).into()]).is_err());
        // The workspace is as good as new.
        let [small, _] = load(SCALAR);
        let (mut a, mut b) = (0f32, 0f32);
        let outputs = &mut [(&mut y).into(), (&mut a).into(), (&mut b).into()];
        small.call_into(&mut ws, &[(&1f32).into(), (&1f32).into()], outputs).unwrap();
        assert_eq!((y, a, b), (5.0, 8.0, 2.0));
    }
}

#[test]
fn threads_call_at_once() {
    for exe in load(SQUARING) {
        std::thread::scope(|scope| {
            for t in 0..8 {
                let exe = exe.clone();
                scope.spawn(move || {
                    let mut ws = exe.workspace().unwrap();
                    for i in 0..200 {
                        let x = 1.5 + f64::from(t) + f64::from(i) * 1e-3;
                        let (mut y, mut dy, mut n) = (0f64, 0f64, 0i64);
                        exe.call_into(
                            &mut ws,
                            &[(&x).into(), (&1e6f64).into()],
                            &mut [(&mut y).into(), (&mut dy).into(), (&mut n).into()],
                        )
                        .unwrap();
                        let want = (0..n).fold(x, |x, _| x * x);
                        assert!(y == want && y >= 1e6, "{x}: {y} {want}");
                        let again = exe.call(&[(&x).into(), (&1e6f64).into()]).unwrap();
                        assert_eq!(item::<f64>(&again[1]), dy);
                    }
                });
            }
        });
    }
}

#[test]
fn what_is_known_without_running() {
    let [cpu, interpreter] = load(SCALAR);
    assert_eq!((cpu.device(), interpreter.device()), ("cpu", "interpreter"));
    assert_eq!((cpu.name(), cpu.inputs().len(), cpu.outputs().len()), ("scalar", 2, 3));
    let stats = cpu.stats();
    assert_eq!((stats.kernels, stats.arena_bytes), (1, 0));
    assert!(stats.code_bytes > 0);
    assert_eq!(cpu.plan().to_string(), SCALAR.trim());
    assert_eq!(Executable::new(plan(SCALAR), Backend::Auto).unwrap().device(), "cpu");
    let workspace = Executable::new(plan(MEAN), Backend::Cpu).unwrap().workspace().unwrap();
    assert_eq!(workspace.bytes(), 192);
}

#[test]
fn a_plan_that_stores_outside_is_refused_in_every_build() {
    let text = SCALAR.replace("p2[0] = v7", "p2[9] = v7");
    assert_ne!(text, SCALAR);
    let plan = || parse_plan(text.trim()).expect("a plan, if a wrong one");
    let found = [
        Executable::new(plan(), Backend::Cpu),
        Executable::with_options(plan(), Backend::Interpreter, Default::default()),
        Executable::on(&Interpreter, plan()),
    ];
    for exe in found {
        assert!(matches!(exe, Err(Error::Internal { .. })), "{exe:?}");
    }
}
