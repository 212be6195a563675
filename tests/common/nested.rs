//! Random programs of loops and branches inside each other, as a user writes them.
//!
//! Numbers stay small, and functions smooth but for the decisions: how often a loop runs,
//! and which branch is taken, may depend on the data.

use std::cell::RefCell;

use backstitch::{DType, LoopOptions, Loops, Tensor, Trace, Unroll};

use super::random::Rng;

/// Parameters: `[]`, `[3]` and `[2, 3]`; an integer is data.
pub type Params<T> = (T, T, T);

const SHAPES: [&[usize]; 3] = [&[], &[3], &[2, 3]];

/// What may be used somewhere in a program.
#[derive(Clone)]
struct Scope<'t> {
    floats: Vec<Tensor<'t>>,
    whole: Vec<Tensor<'t>>,
}

/// A random program.
pub struct Program<'t> {
    t: &'t Trace,
    rng: RefCell<Rng>,
    dtype: DType,
}

/// The scalar that the program of this number gives.
pub fn program<'t>(
    (seed, depth, steps): (u64, usize, usize),
    t: &'t Trace,
    params: Params<Tensor<'t>>,
    n: Tensor<'t>,
) -> Tensor<'t> {
    let dtype = params.0.dtype();
    let p = Program { t, rng: RefCell::new(Rng(seed)), dtype };
    let scope = Scope { floats: vec![params.0, params.1, params.2], whole: vec![n] };
    let all = p.block(scope, depth, steps);
    // All that was made, each with a weight of its own.
    let parts = all.floats.iter().enumerate();
    let parts = parts.map(|(i, &x)| (p.flat(x) * (0.3 + 0.2 * i as f64)).sin());
    parts.reduce(|a, b| a + b).expect("there are parameters")
}

impl<'t> Program<'t> {
    fn below(&self, n: usize) -> usize {
        self.rng.borrow_mut().below(n)
    }

    fn number(&self, lo: f64, hi: f64) -> f64 {
        self.rng.borrow_mut().float(lo, hi)
    }

    /// Recent ones more often.
    fn pick(&self, from: &[Tensor<'t>]) -> Tensor<'t> {
        from[from.len() - 1 - self.below(from.len()).min(self.below(from.len()))]
    }

    /// One number of all elements.
    fn flat(&self, x: Tensor<'t>) -> Tensor<'t> {
        if x.shape().rank() == 0 { x } else { x.mean() }
    }

    /// As an array of that shape.
    fn fit(&self, x: Tensor<'t>, dims: &[usize]) -> Tensor<'t> {
        let mut x = x;
        while x.shape().rank() > dims.len() {
            x = x.mean_over(0);
        }
        if x.shape().dims() == dims { x } else { x.broadcast_to(dims) }
    }

    /// A whole number from 0 to 4, of an integer or of floats.
    fn count(&self, scope: &Scope<'t>) -> Tensor<'t> {
        if self.below(2) == 0 {
            return self.pick(&scope.whole).modulo(5i64);
        }
        let x = self.flat(self.pick(&scope.floats));
        ((x * 5.0).sin().abs() * 4.99).cast(DType::I64)
    }

    fn truth(&self, scope: &Scope<'t>) -> Tensor<'t> {
        match self.below(3) {
            0 => self.pick(&scope.whole).modulo(2i64).eq(0i64),
            1 => self.pick(&scope.whole).lt(2i64),
            _ => self.flat(self.pick(&scope.floats)).gt(self.number(-0.3, 0.3)),
        }
    }

    fn loops(&self) -> Loops<'t> {
        let unroll = match self.below(6) {
            0 => Unroll::Never,
            1 => Unroll::Fully,
            2 => Unroll::By(2),
            3 => Unroll::By(3),
            _ => Unroll::Auto,
        };
        let options = LoopOptions::new().unroll(unroll);
        self.t.loops(if self.below(3) == 0 { options.limit(50) } else { options })
    }

    /// What a few steps make of what there is.
    fn block(&self, mut scope: Scope<'t>, depth: usize, steps: usize) -> Scope<'t> {
        for _ in 0..steps {
            if depth > 0 && self.below(3) > 0 {
                let made = self.control(&scope, depth - 1);
                scope.floats.push(made);
            } else if self.below(5) == 0 {
                scope.whole.push(self.integer(&scope));
            } else {
                let made = self.smooth(&scope);
                scope.floats.push(made);
            }
        }
        scope
    }

    fn integer(&self, scope: &Scope<'t>) -> Tensor<'t> {
        let n = self.pick(&scope.whole);
        match self.below(3) {
            0 => (n + self.pick(&scope.whole)).modulo(7i64),
            1 => n * 3i64 + 1i64,
            _ => self.truth(scope).cast(DType::I64) + n,
        }
    }

    fn smooth(&self, scope: &Scope<'t>) -> Tensor<'t> {
        let (x, y) = (self.pick(&scope.floats), self.pick(&scope.floats));
        match self.below(8) {
            0 => (x * self.number(0.5, 2.0)).sin(),
            1 => x.tanh() * y,
            2 => x * 0.7 + y * self.number(-0.5, 0.5),
            3 => x.square() * 0.3 - y.cos(),
            4 => (x - y).tanh(),
            5 => self.fit(x, SHAPES[self.below(3)]) * 0.9,
            6 => x.softplus() + self.pick(&scope.whole).modulo(3i64).cast(self.dtype) * 0.1,
            _ => (x * y).tanh(),
        }
    }

    /// What a body makes of what it carries: numbers of the same shape, and an integer.
    fn body(
        &self,
        scope: &Scope<'t>,
        (x, n): (Tensor<'t>, Tensor<'t>),
        more: &[Tensor<'t>],
        depth: usize,
    ) -> (Tensor<'t>, Tensor<'t>) {
        let dims = x.shape().dims().to_vec();
        let mut inside = scope.clone();
        inside.floats.extend(more);
        inside.floats.push(x);
        inside.whole.push(n);
        let steps = 1 + self.below(3);
        let made = self.block(inside, depth, steps);
        let next = self.integer(&made);
        let last = *made.floats.last().expect("what is carried, at least");
        ((self.fit(last, &dims) + x * 0.5).tanh(), next)
    }

    fn control(&self, scope: &Scope<'t>, depth: usize) -> Tensor<'t> {
        let (t, x, n) = (self.t, self.pick(&scope.floats), self.pick(&scope.whole));
        let as_float = |n: Tensor<'t>| n.modulo(11i64).cast(self.dtype) * 0.05;
        match self.below(9) {
            kind @ (0 | 1) => {
                let count =
                    if kind == 0 { t.scalar(self.below(6) as i64) } else { self.count(scope) };
                let (x, n) = self.loops().for_loop(count, (x, n), |i, carry| {
                    let mut scope = scope.clone();
                    scope.whole.push(i);
                    self.body(&scope, carry, &[], depth)
                });
                x + as_float(n)
            }
            2 | 3 => {
                let most = self.count(scope);
                let bound = self.number(0.2, 1.5);
                let (x, n, _) = self.loops().while_loop(
                    (x, n, t.scalar(0i64)),
                    |(x, _, i)| self.flat(x).lt(bound).and(i.lt(most)),
                    |(x, n, i)| {
                        let (x, n) = self.body(scope, (x, n), &[], depth);
                        (x, n, i + 1i64)
                    },
                );
                x - as_float(n)
            }
            kind @ (4 | 5) => {
                let rows = self.fit(self.pick(&scope.floats), SHAPES[1 + self.below(2)]);
                let step = |carry, row| {
                    let (x, n) = self.body(scope, carry, &[row], depth);
                    ((x, n), (x * 0.8 + row.mean(), n))
                };
                let loops = self.loops();
                let ((x, n), (all, numbers)) = if kind == 4 {
                    loops.scan((x, n), rows, step)
                } else {
                    loops.scan_back((x, n), rows, step)
                };
                x * self.flat(all) + as_float(n) + as_float(numbers).sum()
            }
            6 => {
                let (a, b) = t.cond(
                    self.truth(scope),
                    || self.body(scope, (x, n), &[], depth),
                    || self.body(scope, (x, n), &[], depth),
                );
                a + as_float(b)
            }
            7 => {
                let of = self.fit(self.pick(&scope.floats), &[3]);
                let rows = self.loops().map_rows(of, |row| {
                    let (y, n) = self.body(scope, (row, n), &[], depth);
                    y + as_float(n)
                });
                x.tanh() * self.flat(rows)
            }
            _ => t.checkpoint(|| self.body(scope, (x, n), &[], depth).0),
        }
    }
}
