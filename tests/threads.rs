//! Calls on several threads: the same bits on any number of them, from inside pools and
//! from many callers at once.

use std::sync::Arc;

use backstitch::prelude::*;
use backstitch::runtime::testing;
use backstitch::{Array, Compiled, DType, Options, TraceError, Traced};

type Program = Traced<Vec<Spec>, (), Spec>;
type Gradients = Compiled<Vec<Spec>, (), (Spec, Vec<Spec>)>;

/// Factors of a product that is shared, and of a batch of them that is.
const PRODUCT: [&[usize]; 2] = [&[401, 260], &[260, 377]];
const PRODUCTS: [&[usize]; 2] = [&[7, 190, 165], &[7, 165, 191]];

/// Large enough that kernels and products are shared among threads.
fn programs() -> Vec<(&'static str, Result<Program, TraceError>)> {
    let f32s = |dims: &[&[usize]]| dims.iter().map(|&d| Spec::new(DType::F32, d)).collect();
    let f64s = |dims: &[&[usize]]| dims.iter().map(|&d| Spec::new(DType::F64, d)).collect();
    vec![
        (
            "sum of a long row",
            trace(f32s(&[&[300_001]]), (), |_, p: Vec<Tensor<'_>>, ()| {
                (p[0].tanh() * (-p[0] * p[0]).exp()).sum()
            }),
        ),
        (
            "product of every element",
            trace(f64s(&[&[100_003]]), (), |_, p: Vec<Tensor<'_>>, ()| {
                (p[0] * 1e-3 + 1.0).prod() + (p[0] - 0.5).max()
            }),
        ),
        (
            "softmax of rows",
            trace(f32s(&[&[513, 257], &[257]]), (), |_, p: Vec<Tensor<'_>>, ()| {
                (p[0].softmax(-1) * p[1]).square().sum()
            }),
        ),
        (
            "sums over columns",
            trace(f64s(&[&[1001, 129]]), (), |_, p: Vec<Tensor<'_>>, ()| {
                (p[0].sin().sum_over(0) * p[0].mean_over(1).sum()).sum()
            }),
        ),
        (
            "logistic regression",
            trace(f32s(&[&[5003, 31], &[31]]), (), |_, p: Vec<Tensor<'_>>, ()| {
                p[0].matmul(p[1]).softplus().mean()
            }),
        ),
        (
            "matrix products",
            trace(f64s(&PRODUCT), (), |_, p: Vec<Tensor<'_>>, ()| {
                p[0].matmul(p[1]).tanh().square().mean()
            }),
        ),
        (
            "a batch of products",
            trace(f32s(&PRODUCTS), (), |_, p: Vec<Tensor<'_>>, ()| p[0].matmul(p[1]).relu().mean()),
        ),
        (
            "steps of a loop",
            trace(f64s(&[&[60_001]]), (), |t, p: Vec<Tensor<'_>>, ()| {
                t.for_loop(5, p[0], |_, x| x + 0.1 * x.sin()).square().sum()
            }),
        ),
    ]
}

fn inputs(specs: &[Spec]) -> Vec<Array> {
    seeded(specs, 1)
}

fn seeded(specs: &[Spec], seed: u64) -> Vec<Array> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    };
    specs
        .iter()
        .map(|s| {
            let values = ndarray::ArrayD::from_shape_simple_fn(s.dims(), &mut next);
            match s.dtype() {
                DType::F32 => values.mapv(|x| x as f32).into(),
                _ => values.into(),
            }
        })
        .collect()
}

fn on(threads: usize, program: &Program) -> Gradients {
    let options = Options::default().threads(threads);
    program.value_and_grad().expect("a scalar").compile_with(&options).expect("compiles")
}

fn bits(f: &Gradients, x: &[Array]) -> Vec<Vec<u64>> {
    let (value, grads) = f.call(x, &()).expect("a call that fits");
    all_bits(&value, &grads)
}

fn all_bits(value: &Array, grads: &[Array]) -> Vec<Vec<u64>> {
    let bits = |a: &Array| a.to_f64_vec().into_iter().map(f64::to_bits).collect();
    std::iter::once(value).chain(grads).map(bits).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (name, program) in programs() {
        let program = program.expect(name);
        let x = inputs(program.params());
        let one = bits(&on(1, &program), &x);
        for threads in [0, 2, 3, 8, 1000] {
            let f = on(threads, &program);
            for _ in 0..3 {
                assert!(bits(&f, &x) == one, "{name}, {threads} threads");
            }
        }
    }
}

#[test]
fn narrow_products_are_the_same_bits_on_any_number_of_threads() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
    // The library adds up small products in another order: pieces are none.
    let sizes = [[2, 48, 107], [2, 64, 107], [2, 192, 107], [3, 219, 64], [130, 2, 107]];
    let layouts = ["ik,kj->ij", "ik,kj->ji", "ki,jk->ij", "ki,jk->ji"];
    pool.install(|| {
        for ([m, n, k], layout) in sizes.into_iter().flat_map(|s| layouts.map(|l| (s, l))) {
            let [a, b] = if layout.starts_with("ki") { [[k, m], [n, k]] } else { [[m, k], [k, n]] };
            let specs = vec![Spec::f64(a), Spec::f64(b)];
            let x = inputs(&specs);
            let f = trace(specs, (), |t, p: Vec<Tensor<'_>>, ()| t.einsum(layout, [p[0], p[1]]));
            let f = f.unwrap();
            let on = |threads| {
                let options = Options::default().threads(threads).share_all(64);
                f.compile_with(&options).unwrap().call(&x, &()).unwrap()
            };
            let one = on(1);
            for threads in 2..=8 {
                assert!(on(threads).same_bits(&one), "{layout} {m} {n} {k} on {threads}");
            }
        }
    });
}

#[test]
fn inside_a_pool_that_is_busy_with_itself() {
    for (name, program) in programs() {
        let program = program.expect(name);
        let x = inputs(program.params());
        let one = bits(&on(1, &program), &x);
        let f = on(4, &program);
        for size in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(size).build().expect("a pool");
            // Every thread of the pool is in a call, and each call wants four.
            pool.scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|_| assert!(bits(&f, &x) == one, "{name}, pool of {size}"));
                }
            });
        }
    }
}

#[test]
fn eight_callers_at_once() {
    for (name, program) in programs() {
        let program = program.expect(name);
        let x = Arc::new(inputs(program.params()));
        let f = on(2, &program);
        let one = bits(&f, &x);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let f = f.clone();
                scope.spawn(|| {
                    let f = f;
                    assert!(bits(&f, &x) == one, "{name}");
                });
            }
        });
    }
}

/// Programs whose calls keep state beside arrays: branches, loops of known and unknown
/// length with stacks, a stack in a stack, a factorisation.
fn with_control_flow() -> Vec<(&'static str, Result<Program, TraceError>)> {
    let f64s = |dims: &[&[usize]]| dims.iter().map(|&d| Spec::new(DType::F64, d)).collect();
    vec![
        (
            "a loop of unknown length",
            trace(f64s(&[&[5]]), (), |t, p: Vec<Tensor<'_>>, ()| {
                t.while_loop(p[0], |x| x.square().sum().lt(50.0), |x| x * 1.3 + x.sin() * 0.1)
                    .square()
                    .sum()
            }),
        ),
        (
            "loops in loops",
            trace(f64s(&[&[3]]), (), |t, p: Vec<Tensor<'_>>, ()| {
                t.for_loop(7, p[0], |_, x| {
                    t.while_loop(x, |x| x.square().sum().lt(3.0), |x| x * 1.5 + 0.01) * 0.5
                })
                .sum()
            }),
        ),
        (
            "a branch",
            trace(f64s(&[&[4]]), (), |t, p: Vec<Tensor<'_>>, ()| {
                let x = p[0];
                t.cond(x.sum().gt(0.3), || x.exp().sum(), || (x * x).sin().sum())
            }),
        ),
        (
            "rows of a scan",
            trace(f64s(&[&[40, 3], &[3]]), (), |t, p: Vec<Tensor<'_>>, ()| {
                let (last, rows) = t.scan(p[1], p[0], |c, x| {
                    let c = (c + x).tanh();
                    (c, c * x)
                });
                last.sum() + rows.square().sum()
            }),
        ),
        (
            "a factorisation",
            trace(f64s(&[&[6, 6], &[6]]), (), |_, p: Vec<Tensor<'_>>, ()| {
                p[0].solve(p[1]).tanh().sum()
            }),
        ),
    ]
}

#[test]
fn eight_callers_of_each_program_at_inputs_of_their_own() {
    for (name, program) in with_control_flow() {
        let program = program.expect(name);
        let f = on(1, &program);
        // Different inputs take different branches, and loops of different lengths.
        let all: Vec<Vec<Array>> = (0..8u64).map(|seed| seeded(program.params(), seed)).collect();
        let expected: Vec<Vec<Vec<u64>>> = all.iter().map(|x| bits(&f, x)).collect();
        assert!(expected.iter().any(|e| *e != expected[0]), "{name}");
        std::thread::scope(|scope| {
            for (x, expected) in all.iter().zip(&expected) {
                let f = f.clone();
                scope.spawn(move || {
                    let mut ws = f.workspace().expect("memory");
                    let mut value = Array::from(ndarray::arr0(0.0));
                    let mut grads = x.clone();
                    for _ in 0..50 {
                        f.call_into(&mut ws, x, &(), &mut (&mut value, &mut grads)).expect(name);
                        assert!(all_bits(&value, &grads) == *expected, "{name}");
                        assert!(bits(&f, x) == *expected, "{name}");
                    }
                });
            }
        });
    }
}

/// Runs a test again in a process of its own, with this in its environment; true in there.
fn alone(test: &str, variable: &str, others: &[(&str, &str)]) -> bool {
    if std::env::var_os(variable).is_some() {
        return true;
    }
    let run = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--test-threads=1"])
        .env(variable, "1")
        .envs(others.iter().copied())
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && text.contains("1 passed"), "{run:?}");
    false
}

/// In a process of its own, because callers wait for helpers from then on.
#[test]
fn helpers_take_part_in_all_that_is_large_enough() {
    let name = "helpers_take_part_in_all_that_is_large_enough";
    if !alone(name, "BACKSTITCH_TEST_WITH_HELPERS", &[]) {
        return;
    }
    testing::insist_on_helpers();
    let helped = |f: &dyn Fn()| {
        let before = testing::helped();
        f();
        testing::helped() - before
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("a pool");
    pool.install(|| {
        for (name, program) in programs() {
            let program = program.expect(name);
            let x = inputs(program.params());
            let (one, two) = (on(1, &program), on(2, &program));
            let expected = bits(&one, &x);
            assert_eq!(helped(&|| assert!(bits(&one, &x) == expected, "{name}")), 0, "{name}");
            assert!(helped(&|| assert!(bits(&two, &x) == expected, "{name}")) > 0, "{name}");
        }
        // Products alone, where no kernel is shared instead.
        for dims in [PRODUCT, PRODUCTS] {
            let specs: Vec<Spec> = dims.iter().map(|&d| Spec::new(DType::F32, d)).collect();
            let f = trace(specs, (), |_, p: Vec<Tensor<'_>>, ()| p[0].matmul(p[1])).expect("fits");
            let x = inputs(f.params());
            let [one, two] = [1, 2].map(|threads| {
                f.compile_with(&Options::default().threads(threads)).expect("compiles")
            });
            assert_eq!(two.executable().stats().kernels, 0);
            let expected = one.call(&x, &()).expect("a call that fits");
            let same = || assert!(two.call(&x, &()).expect("fits").same_bits(&expected));
            assert!(helped(&same) > 0, "{dims:?}");
        }
    });
}

/// A process that is refused threads: each is asked for with more stack than there can be.
#[cfg(unix)]
#[test]
fn a_process_without_threads_does_it_all_on_one() {
    let name = "a_process_without_threads_does_it_all_on_one";
    let stack = (1u64 << 50).to_string();
    if !alone(name, "BACKSTITCH_TEST_WITHOUT_THREADS", &[("RUST_MIN_STACK", &stack)]) {
        return;
    }
    assert!(std::thread::Builder::new().spawn(|| ()).is_err());
    let (name, program) = programs().remove(0);
    let program = program.expect(name);
    let x = inputs(program.params());
    assert!(bits(&on(2, &program), &x) == bits(&on(1, &program), &x), "{name}");
}
