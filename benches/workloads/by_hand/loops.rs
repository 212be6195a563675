//! Loops, and their derivatives by reverse mode.
//!
//! Each is the loop that the formula says, in plain variables. For the gradient it
//! is run once more backwards: over a tape (a [`Vec`], with room for all that is
//! known of its length) of the carries at the beginning of each iteration, from which
//! whatever else the derivative takes is computed again. The doubling keeps no tape:
//! its derivative asks for the number of iterations alone.

use ndarray::ArrayD;

use crate::formulas::{STEP, STEPS};

#[inline(always)]
fn doublings(a: f32) -> (f32, u64) {
    let (mut b, mut n) = (2.0 * a, 0);
    while b.abs() < 1000.0 {
        b *= 2.0;
        n += 1;
    }
    (b, n)
}

#[inline(never)]
pub fn doubling_forward(params: &[ArrayD<f32>], value: &mut f32, _: &mut [ArrayD<f32>]) {
    let (b, _) = doublings(params[0][[]]);
    *value = if b > 0.0 { b } else { 100.0 * b };
}

#[inline(never)]
pub fn doubling(params: &[ArrayD<f32>], value: &mut f32, grads: &mut [ArrayD<f32>]) {
    let (b, n) = doublings(params[0][[]]);
    let (c, mut ct) = if b > 0.0 { (b, 1.0) } else { (100.0 * b, 100.0) };
    for _ in 0..n {
        ct *= 2.0;
    }
    *value = c;
    grads[0][[]] = 2.0 * ct;
}

/// Runs until all have converged; `begin` sees each iterate before the next.
#[inline(always)]
fn newton(a: &[f64], mut begin: impl FnMut(&[f64])) -> Vec<f64> {
    let mut x = vec![1.0; a.len()];
    while x.iter().zip(a).any(|(x, a)| (x * x * x - a).abs() >= 1e-10) {
        begin(&x);
        for (x, a) in x.iter_mut().zip(a) {
            *x -= (*x * *x * *x - a) / (3.0 * *x * *x);
        }
    }
    x
}

#[inline(never)]
pub fn cube_roots_forward(params: &[ArrayD<f64>], value: &mut f64, _: &mut [ArrayD<f64>]) {
    let a = params[0].as_slice().expect("standard layout");
    *value = newton(a, |_| ()).iter().sum();
}

#[inline(never)]
pub fn cube_roots(params: &[ArrayD<f64>], value: &mut f64, grads: &mut [ArrayD<f64>]) {
    let a = params[0].as_slice().expect("standard layout");
    let da = grads[0].as_slice_mut().expect("standard layout");
    let mut tape = Vec::with_capacity(16 * a.len());
    let x = newton(a, |x| tape.extend_from_slice(x));
    *value = x.iter().sum();
    let mut ct = vec![1.0; a.len()];
    da.fill(0.0);
    for x in tape.chunks_exact(a.len()).rev() {
        for ((ct, da), (x, a)) in ct.iter_mut().zip(da.iter_mut()).zip(x.iter().zip(a)) {
            // x - (x³ - a) / (3x²) = ⅔x + a / (3x²)
            let square = 3.0 * x * x;
            *da += *ct / square;
            *ct *= 2.0 / 3.0 - 2.0 * a / (square * x);
        }
    }
}

#[inline(never)]
pub fn nested_forward(params: &[ArrayD<f64>], value: &mut f64, _: &mut [ArrayD<f64>]) {
    let (mut x, c, mut total) = (params[0][[]], params[1][[]], 0.0);
    while total < 20.0 {
        let mut y = x * x + 0.3;
        while y > 0.1 {
            y = c * y / (1.0 + y * 0.1);
        }
        x = x + 0.1 * y - 0.01 * x;
        total += y;
    }
    *value = x + total;
}

#[inline(never)]
pub fn nested(params: &[ArrayD<f64>], value: &mut f64, grads: &mut [ArrayD<f64>]) {
    let (mut x, c, mut total) = (params[0][[]], params[1][[]], 0.0);
    let mut ys = Vec::with_capacity(1024);
    let mut rounds = Vec::with_capacity(256);
    while total < 20.0 {
        let mut y = x * x + 0.3;
        let first = ys.len();
        while y > 0.1 {
            ys.push(y);
            y = c * y / (1.0 + y * 0.1);
        }
        rounds.push((x, ys.len() - first));
        x = x + 0.1 * y - 0.01 * x;
        total += y;
    }
    *value = x + total;
    let (mut dx, mut dc) = (1.0, 0.0);
    for &(x, steps) in rounds.iter().rev() {
        let mut dy = 1.0 + 0.1 * dx;
        for _ in 0..steps {
            let y = ys.pop().expect("as many as were pushed");
            let below = 1.0 + y * 0.1;
            let slope = dy / below;
            dc += slope * y;
            dy = slope * c / below;
        }
        dx = 0.99 * dx + 2.0 * x * dy;
    }
    grads[0][[]] = dx;
    grads[1][[]] = dc;
}

/// The parameters of the differential equation.
#[derive(Clone, Copy)]
struct Rates {
    alpha: f64,
    beta: f64,
    gamma: f64,
    delta: f64,
}

impl Rates {
    fn new(params: &[ArrayD<f64>]) -> (Self, f64, f64) {
        let [alpha, beta, gamma, delta, x, y] = std::array::from_fn(|i| params[i][[]]);
        (Self { alpha, beta, gamma, delta }, x, y)
    }

    #[inline(always)]
    fn slope(self, x: f64, y: f64) -> (f64, f64) {
        let meet = x * y;
        (self.alpha * x - self.beta * meet, self.delta * meet - self.gamma * y)
    }

    /// One step.
    #[inline(always)]
    fn step(self, x: f64, y: f64) -> (f64, f64) {
        let (a, b) = self.slope(x, y);
        let (c, d) = self.slope(x + a * (0.5 * STEP), y + b * (0.5 * STEP));
        let (e, f) = self.slope(x + c * (0.5 * STEP), y + d * (0.5 * STEP));
        let (g, h) = self.slope(x + e * STEP, y + f * STEP);
        let sixth = STEP / 6.0;
        (x + (a + 2.0 * (c + e) + g) * sixth, y + (b + 2.0 * (d + f) + h) * sixth)
    }

    /// The adjoint of [`slope`](Self::slope) at (x, y): adds to the derivatives by the
    /// rates, gives those by x and y.
    #[inline(always)]
    fn pull(self, x: f64, y: f64, da: f64, db: f64, sums: &mut [f64; 4]) -> (f64, f64) {
        let meet = x * y;
        sums[0] += da * x;
        sums[1] -= da * meet;
        sums[2] -= db * y;
        sums[3] += db * meet;
        let dmeet = db * self.delta - da * self.beta;
        (da * self.alpha + dmeet * y, dmeet * x - db * self.gamma)
    }

    /// The adjoint of [`step`](Self::step).
    #[inline(always)]
    fn pull_step(self, x: f64, y: f64, dx: f64, dy: f64, sums: &mut [f64; 4]) -> (f64, f64) {
        let (half, sixth) = (0.5 * STEP, STEP / 6.0);
        let (a, b) = self.slope(x, y);
        let (x1, y1) = (x + a * half, y + b * half);
        let (c, d) = self.slope(x1, y1);
        let (x2, y2) = (x + c * half, y + d * half);
        let (e, f) = self.slope(x2, y2);
        let (x3, y3) = (x + e * STEP, y + f * STEP);
        let (mut to_x, mut to_y) = (dx, dy);
        let (px, py) = self.pull(x3, y3, dx * sixth, dy * sixth, sums);
        (to_x, to_y) = (to_x + px, to_y + py);
        let (de, df) = (2.0 * dx * sixth + px * STEP, 2.0 * dy * sixth + py * STEP);
        let (px, py) = self.pull(x2, y2, de, df, sums);
        (to_x, to_y) = (to_x + px, to_y + py);
        let (dc, dd) = (2.0 * dx * sixth + px * half, 2.0 * dy * sixth + py * half);
        let (px, py) = self.pull(x1, y1, dc, dd, sums);
        (to_x, to_y) = (to_x + px, to_y + py);
        let (da, db) = (dx * sixth + px * half, dy * sixth + py * half);
        let (px, py) = self.pull(x, y, da, db, sums);
        (to_x + px, to_y + py)
    }
}

#[inline(never)]
pub fn predators_forward(params: &[ArrayD<f64>], value: &mut f64, _: &mut [ArrayD<f64>]) {
    let (rates, mut x, mut y) = Rates::new(params);
    for _ in 0..STEPS {
        (x, y) = rates.step(x, y);
    }
    *value = (x - 10.0) * (x - 10.0) + (y - 5.0) * (y - 5.0);
}

#[inline(never)]
pub fn predators(params: &[ArrayD<f64>], value: &mut f64, grads: &mut [ArrayD<f64>]) {
    let (rates, mut x, mut y) = Rates::new(params);
    let mut tape = Vec::with_capacity(STEPS);
    for _ in 0..STEPS {
        tape.push((x, y));
        (x, y) = rates.step(x, y);
    }
    *value = (x - 10.0) * (x - 10.0) + (y - 5.0) * (y - 5.0);
    let (mut dx, mut dy) = (2.0 * (x - 10.0), 2.0 * (y - 5.0));
    let mut sums = [0.0; 4];
    for &(x, y) in tape.iter().rev() {
        (dx, dy) = rates.pull_step(x, y, dx, dy, &mut sums);
    }
    for (grad, d) in grads.iter_mut().zip(sums.into_iter().chain([dx, dy])) {
        grad[[]] = d;
    }
}
