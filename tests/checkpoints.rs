//! Checkpoints with policies: what they keep, and that derivatives are the same bits.
#![allow(missing_docs)]

use backstitch::ir::ops::Rule;
use backstitch::ir::{Graph, Op};
use backstitch::prelude::*;
use backstitch::{Array, DType, Options, Policy};

const ROWS: usize = 24;
const WIDTH: usize = 8;

fn policies() -> Vec<Option<Policy>> {
    vec![
        None,
        Some(Policy::nothing()),
        Some(Policy::keep(["mixed"])),
        Some(Policy::products()),
        Some(Policy::fewest_bytes()),
        Some(Policy::fewest_bytes().limit(1 << 20)),
    ]
}

/// A layer with products, sums and functions of elements.
fn layer<'t>(x: Tensor<'t>, [w, v]: [Tensor<'t>; 2]) -> Tensor<'t> {
    let mixed = x.matmul(w).named("mixed");
    let soft = (mixed * 1.5).softmax(-1);
    let y = (soft - 0.1).tanh() * mixed.sin() + (mixed * 0.5).exp() * 0.1;
    let z = y.matmul(v).relu();
    z - z.mean_keep(-1) + x
}

fn wrapped<'t>(
    t: &'t Trace,
    policy: Option<&Policy>,
    body: impl FnOnce() -> Tensor<'t>,
) -> Tensor<'t> {
    match policy {
        Some(policy) => t.checkpoint_with(policy.clone(), body),
        None => body(),
    }
}

type Program = Traced<(Spec, [Spec; 2]), (), Spec>;

fn deep(dtype: DType, layers: usize, policy: Option<&Policy>) -> Program {
    let square = Spec::new(dtype, [WIDTH, WIDTH]);
    let specs = (Spec::new(dtype, [ROWS, WIDTH]), [square.clone(), square]);
    let f = trace(specs, (), |t, (x, w), ()| {
        (0..layers).fold(x, |x, _| wrapped(t, policy, || layer(x, w))).square().sum()
    });
    f.unwrap()
}

fn looped(dtype: DType, policy: Option<&Policy>) -> Program {
    let square = Spec::new(dtype, [WIDTH, WIDTH]);
    let specs = (Spec::new(dtype, [ROWS, WIDTH]), [square.clone(), square]);
    let f = trace(specs, (), |t, (x, w), ()| {
        let y = t.for_loop(6, x, |i, x| {
            let even = i.lt(3);
            wrapped(t, policy, || {
                let y = layer(x, w);
                t.cond(even, || layer(y, w), || y * 1.1)
            })
        });
        y.square().sum()
    });
    f.unwrap()
}

fn numbers(dtype: DType) -> (Array, [Array; 2]) {
    let fill = |rows: usize, columns: usize, by: f64| {
        let of = |(i, j)| ((i * columns + j) as f64 * by).sin() * 0.7;
        let x = ndarray::Array2::from_shape_fn((rows, columns), of);
        if dtype == DType::F32 { Array::from(x.mapv(|v| v as f32)) } else { Array::from(x) }
    };
    (fill(ROWS, WIDTH, 0.37), [fill(WIDTH, WIDTH, 1.3), fill(WIDTH, WIDTH, 0.9)])
}

/// Value and gradients as numbers, and the bytes of the arena.
fn run(f: &Program, dtype: DType, options: &Options) -> (Vec<f64>, usize) {
    let args = numbers(dtype);
    let compiled = f.value_and_grad().unwrap().compile_with(options).unwrap();
    let (value, (x, [w, v])) = compiled.call(&args, &()).unwrap();
    let all = [value, x, w, v].map(|a| a.to_f64_vec()).concat();
    assert!(all.iter().all(|v| v.is_finite()));
    (all, compiled.executable().plan().arena_bytes)
}

#[test]
fn no_policy_changes_a_bit() {
    type Make = fn(DType, Option<&Policy>) -> Program;
    let programs: [Make; 2] = [|dtype, policy| deep(dtype, 3, policy), looped];
    for program in programs {
        for dtype in [DType::F32, DType::F64] {
            for options in [Options::default(), Options::default().optimise(false)] {
                let want = run(&program(dtype, None), dtype, &options).0;
                for policy in policies() {
                    let f = program(dtype, policy.as_ref());
                    assert!(run(&f, dtype, &options).0 == want, "{dtype} {policy:?}");
                }
            }
        }
    }
}

/// Bytes that the regions of a program keep, each on its own.
fn kept(g: &Graph) -> Vec<usize> {
    let regions = g.nodes().filter_map(|n| match g.op(n) {
        Op::Region(r) => Some(r),
        _ => None,
    });
    let kept = regions.filter_map(|r| match r.rule {
        Rule::Checkpoint { kept } => {
            let outputs = r.body.outputs();
            let kept = &outputs[outputs.len() - kept..];
            Some(kept.iter().map(|&v| r.body.ty(v).bytes()).sum())
        }
        _ => None,
    });
    kept.collect()
}

#[test]
fn each_policy_keeps_what_it_says() {
    let row = ROWS * WIDTH * 8;
    let bytes = |policy: Option<&Policy>| kept(deep(DType::F64, 2, policy).graph());
    assert_eq!(bytes(None), [0usize; 0]);
    assert_eq!(bytes(Some(&Policy::nothing())), [0; 2]);
    assert_eq!(bytes(Some(&Policy::keep(["mixed"]))), [row; 2]);
    assert_eq!(bytes(Some(&Policy::products())), [2 * row; 2]);
    // One product, of the other the sign; two sums of rows.
    let fewest = bytes(Some(&Policy::fewest_bytes()));
    assert_eq!(fewest, [row + row / 8 + ROWS * 8; 2]);
}

#[test]
fn a_deep_chain_of_layers_needs_less_memory() {
    let arena = |policy: Option<&Policy>| {
        run(&deep(DType::F64, 16, policy), DType::F64, &Options::default()).1
    };
    let all = arena(None);
    let nothing = arena(Some(&Policy::nothing()));
    let named = arena(Some(&Policy::keep(["mixed"])));
    let products = arena(Some(&Policy::products()));
    let fewest = arena(Some(&Policy::fewest_bytes()));
    assert!(
        nothing < named && named < products && products < all,
        "{nothing} {named} {products} {all}"
    );
    assert!(nothing < fewest && fewest < products, "{nothing} {fewest} {products} {all}");
    assert!(nothing * 2 < all, "{nothing} {all}");
}

#[test]
fn second_derivatives_and_forward_mode() {
    let f = |policy: Option<Policy>| {
        let f = trace(Spec::f64([2, 3]), (), move |t, x, ()| {
            let policy = policy.as_ref();
            let y = t.for_loop(3, x, |_, x| {
                wrapped(t, policy, || {
                    let mixed = (x * 0.8).sin().named("mixed");
                    let z = mixed.matmul(x.transpose()).matmul(x).exp();
                    t.cond(z.sum().gt(1.0), || z * mixed * 0.1, || z)
                })
            });
            (y * x).sum()
        });
        f.unwrap()
    };
    let x = ndarray::arr2(&[[0.3, -0.2, 0.5], [0.1, 0.7, -0.4]]);
    let v = ndarray::arr2(&[[1.0, 0.5, -1.0], [0.25, 0.0, 2.0]]);
    let plain = f(None);
    let want = plain.hessian().unwrap().compile().unwrap().call(&x, &()).unwrap().to_f64_vec();
    let along = plain.jvp().unwrap().compile().unwrap().call(&x, &((), v.clone())).unwrap();
    for policy in policies().into_iter().skip(1) {
        let f = f(policy.clone());
        let hessians = [
            f.hessian().unwrap().compile().unwrap().call(&x, &()).unwrap(),
            f.hessian().unwrap().eval(&x, &()).unwrap(),
            f.grad().unwrap().jacobian_reverse().unwrap().compile().unwrap().call(&x, &()).unwrap(),
        ];
        for got in hessians {
            close(&got.to_f64_vec(), &want, &policy);
        }
        let got = f.jvp().unwrap().compile().unwrap().call(&x, &((), v.clone())).unwrap();
        close(&got.1.to_f64_vec(), &along.1.to_f64_vec(), &policy);
        let product = f.hvp().unwrap().compile().unwrap().call(&x, &((), v.clone())).unwrap();
        let by_hand: Vec<f64> =
            want.chunks(6).map(|row| row.iter().zip(&v).map(|(h, v)| h * v).sum()).collect();
        close(&product.to_f64_vec(), &by_hand, &policy);
    }
}

#[track_caller]
fn close(got: &[f64], want: &[f64], policy: &Option<Policy>) {
    assert_eq!(got.len(), want.len());
    for (a, b) in got.iter().zip(want) {
        assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{policy:?}: {got:?} and {want:?}");
    }
}

#[test]
fn a_batch_of_checkpoints_keeps_the_same() {
    let f = |policy: Option<Policy>| {
        let f = trace(Spec::f64([4]), Spec::f64([5, 4]), move |t, w, rows| {
            let y = t.vmap(rows, |x| {
                wrapped(t, policy.as_ref(), || {
                    let mixed = (x * w).tanh().named("mixed");
                    (mixed * mixed.sum()).exp().relu()
                })
            });
            y.sum()
        });
        f.unwrap()
    };
    let w = ndarray::arr1(&[0.5, -0.25, 1.0, 0.125]);
    let x = ndarray::Array2::from_shape_fn((5, 4), |(i, j)| 0.1 * i as f64 - 0.3 * j as f64);
    let run = |f: Traced<Spec, Spec, Spec>| {
        f.grad().unwrap().compile().unwrap().call(&w, &x).unwrap().to_f64_vec()
    };
    let want = run(f(None));
    for policy in policies().into_iter().skip(1) {
        let got = run(f(policy.clone()));
        close(&got, &want, &policy);
    }
}

fn error(policy: Policy) -> String {
    let f = trace(Spec::f64([4, 4]), (), move |t, x, ()| {
        let y = t.checkpoint_with(policy, || {
            let a = x.matmul(x).named("a").named("first");
            let b = t.for_loop(2, a, |_, y| y.sin().named("inside"));
            b.exp().named("a")
        });
        y.sum()
    });
    match f {
        Ok(_) => String::new(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn what_a_policy_cannot_do_is_a_mistake_at_its_line() {
    assert_eq!(error(Policy::keep(["first", "a"])), "");
    let e = error(Policy::keep(["a", "attn"]));
    assert!(e.contains("(`a`, `first`), got `attn`"), "{e}");
    assert!(e.contains("checkpoints.rs"), "{e}");
    // What is inside of a loop is the loop's.
    assert!(error(Policy::keep(["inside"])).contains("got `inside`"));
    let e = error(Policy::products().limit(100));
    assert!(e.contains("at most 100 bytes; the policy keeps 128"), "{e}");
    let e = error(Policy::fewest_bytes().limit(100));
    assert!(e.contains("at most 100 bytes; the least possible") && e.contains("is 256"), "{e}");
    assert_eq!(error(Policy::fewest_bytes().limit(256)), "");
}

#[test]
fn names_are_in_the_text_of_programs() {
    let f = trace(Spec::f64([3]), (), |_, x, ()| x.sin().named("sine").sum()).unwrap();
    assert!(f.graph().to_string().contains("sine = sin params"), "{}", f.graph());
}
