//! Programs of any size: what compilation is measured with.

use backstitch::prelude::*;
use backstitch::{Array, DType, Traced};

/// Value and gradient of a program whose size is a number.
pub struct Sized {
    pub name: &'static str,
    /// The value: of a number that says how large, and parameters.
    pub value: for<'t> fn(&'t Trace, &[Tensor<'t>], usize) -> Tensor<'t>,
    /// The parameters for this size.
    pub params: fn(usize) -> Vec<Spec>,
    /// A small size.
    pub least: usize,
}

impl Sized {
    /// The value of this size.
    pub fn forward(&self, n: usize) -> Traced<Vec<Spec>, (), Spec> {
        trace((self.params)(n), (), |t, p, ()| (self.value)(t, &p, n)).expect("no mistake")
    }

    /// Parameters for this size: small numbers that differ.
    pub fn arguments(&self, n: usize) -> Vec<Array> {
        let each = |(k, spec): (usize, Spec)| {
            let element = |i: usize| ((k * 31 + i) as f64 * 0.7).sin() * 0.3;
            let values = (0..spec.ty().len()).map(element).collect();
            Array::from_vec(&spec.ty().shape, values).expect("as many as there are")
        };
        (self.params)(n).into_iter().enumerate().map(each).collect()
    }
}

fn one_scalar(_: usize) -> Vec<Spec> {
    vec![Spec::f64([])]
}

fn one_vector(_: usize) -> Vec<Spec> {
    vec![Spec::f64([100])]
}

/// All programs.
pub const SIZED: &[Sized] = &[
    // Operations on scalars, each on the result of the last.
    Sized {
        name: "chain",
        least: 500,
        params: one_scalar,
        value: |_, p, n| (0..n.div_ceil(4)).fold(p[0], |x, _| -(x + x.sin() * 1e-4)),
    },
    // The same on arrays.
    Sized {
        name: "array_chain",
        least: 300,
        params: one_vector,
        value: |_, p, n| (0..n.div_ceil(4)).fold(p[0], |x, _| -(x + x.sin() * 1e-4)).sum(),
    },
    // Operations on scalars, each on two of all before.
    Sized {
        name: "scalars",
        least: 500,
        params: |_| vec![Spec::f64([]); 10],
        value: |_, p, n| scalars(p, n),
    },
    // The same with functions of all kinds, of many parameters, all of which count.
    Sized {
        name: "functions",
        least: 500,
        params: |_| vec![Spec::f64([]); 100],
        value: |_, p, n| functions(p, n),
    },
    // The same with parameters that are elements of a vector.
    Sized {
        name: "elements",
        least: 500,
        params: one_vector,
        value: |_, p, n| functions(&p[0].unstack(0), n),
    },
    // Equal layers with parameters of their own.
    Sized {
        name: "layers",
        least: 10,
        params: |n| (0..n).flat_map(|_| [Spec::f64([8, 8]), Spec::f64([8])]).collect(),
        value: |t, p, _| {
            let x = t.ones(DType::F64, [4, 8]) * 0.5;
            p.chunks(2).fold(x, |x, wb| (x.matmul(wb[0]) + wb[1]).tanh()).sum()
        },
    },
    // A recurrent network, its steps written out.
    Sized {
        name: "steps",
        least: 10,
        params: |_| vec![Spec::f64([16, 16]), Spec::f64([16]), Spec::f64([3, 16])],
        value: |_, p, n| (0..n).fold(p[2], |h, _| (h.matmul(p[0]) + p[1]).tanh()).sum(),
    },
    // Products of matrices that are worth a call, each of the last.
    Sized {
        name: "products",
        least: 10,
        params: |_| vec![Spec::f64([32, 32]); 2],
        value: |_, p, n| (0..n).fold(p[0], |x, _| x.matmul(p[1])).sum(),
    },
    // Loops that cannot be one: each divides by the sum of the last.
    Sized {
        name: "kernels",
        least: 5,
        params: |_| vec![Spec::f64([20_000])],
        value: |_, p, n| (0..n).fold(p[0], |x, _| (x / (1.0 + x.square().sum())).sin() + 0.5).sum(),
    },
    // The same, but for constants and lengths, which differ.
    Sized {
        name: "different_kernels",
        least: 5,
        params: |_| vec![Spec::f64([20_000])],
        value: |t, p, n| {
            let step = |i: usize| {
                let x = p[0].slice(0, (i % 100) as i64..10_000, 1);
                (x * (1.0 + i as f64)).sin().sum()
            };
            (0..n).fold(t.scalar(0.0), |sum, i| sum + step(i))
        },
    },
    // Each parameter once.
    Sized {
        name: "inputs",
        least: 30,
        params: |n| vec![Spec::f64([10]); n],
        value: |t, p, _| p.iter().fold(t.scalar(0.0), |sum, x| sum + x.sin().sum()),
    },
    // Many users of one value.
    Sized {
        name: "fan_out",
        least: 200,
        params: one_vector,
        value: |_, p, n| {
            let y = p[0].exp();
            (0..n).fold(y, |sum, i| sum + (y * (i as f64 * 1e-3)).sin()).sum()
        },
    },
    // Arrays of many small lengths.
    Sized {
        name: "small_arrays",
        least: 10,
        params: |_| vec![Spec::f64([64])],
        value: |t, p, n| {
            let part = |i: usize| {
                let x = p[0].slice(0, (i % 50) as i64..(i % 50 + 2 + i % 7) as i64, 1);
                (x * x.sum()).cos().sum()
            };
            (0..n).fold(t.scalar(0.0), |sum, i| sum + part(i))
        },
    },
    // Loops one after the other.
    Sized {
        name: "loops",
        least: 5,
        params: one_scalar,
        value: |t, p, n| {
            let each = |x| t.for_loop(1000, x, |_, x: Tensor<'_>| (x * 0.9 + p[0]).sin());
            (0..n).fold(p[0], |x, _| each(x))
        },
    },
    // Loops in loops.
    Sized {
        name: "loops_in_loops",
        least: 2,
        params: one_scalar,
        value: |t, p, n| {
            let inner = |x| t.for_loop(100, x, |_, x: Tensor<'_>| (x * 0.9 + p[0]).sin());
            let outer = |x| t.for_loop(100, x, |_, x: Tensor<'_>| inner(x) + inner(x * 0.5));
            (0..n).fold(p[0], |x, _| outer(x))
        },
    },
    // One loop with a long body.
    Sized {
        name: "body",
        least: 10,
        params: one_scalar,
        value: |t, p, n| {
            t.for_loop(1000, p[0], |_, x| (0..n).fold(x, |x, _| (x * 0.9 + p[0]).sin()))
        },
    },
    // Branches one after the other.
    Sized {
        name: "branches",
        least: 10,
        params: one_scalar,
        value: |t, p, n| {
            (0..n).fold(p[0], |x, _| t.cond(x.gt(p[0]), || x.sin() - p[0], || x.cos() + p[0]))
        },
    },
];

/// Numbers below others that look random and are the same each time.
fn random() -> impl FnMut(usize) -> usize {
    let mut state = 1u64;
    move |n| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    }
}

/// A sum of products, sines and differences of earlier ones.
fn scalars<'t>(p: &[Tensor<'t>], n: usize) -> Tensor<'t> {
    let mut all = p.to_vec();
    let mut below = random();
    for i in 0..n {
        // Mostly of what is recent, as programs are.
        let near = all.len() - 1 - below(all.len().min(20));
        let (x, y) = (all[near], all[below(all.len())]);
        all.push(match i % 4 {
            0 => x + y * 0.5,
            1 => (x * y).sin(),
            2 => x - y,
            _ => x.tanh(),
        });
    }
    all[all.len() - 10..].iter().fold(all[all.len() - 1], |sum, &x| sum + x)
}

/// Functions of earlier ones, of which each is used.
fn functions<'t>(p: &[Tensor<'t>], n: usize) -> Tensor<'t> {
    let mut open = p.to_vec();
    let mut below = random();
    for i in 0..n {
        // Those not used yet first, so that all lead to the result.
        let at = below(open.len());
        let x = open[at];
        let y = open[below(open.len())];
        open[at] = match i % 16 {
            0 | 8 => x + y,
            1 | 9 => x * y,
            2 | 10 => x - y * 0.5,
            3 => x.sin(),
            4 => (x * 0.1).exp(),
            5 => (x.square() + 1.0).log(),
            6 => x.tanh(),
            7 => x / (y.square() + 1.0),
            11 => (x.square() + 2.0).sqrt(),
            12 => x.cos(),
            13 => x.sigmoid(),
            14 => x.atan2(y + 3.0),
            _ => x.abs().log1p(),
        };
    }
    open.iter().skip(1).fold(open[0], |sum, &x| sum + x)
}
