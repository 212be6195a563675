//! What one would write by hand, for some of the workloads: the value and its
//! derivatives, with the derivatives worked out on paper; for loops
//! ([`loops`]) also the value alone (`handwritten_forward`).
//!
//! The element-wise one is written once over vectors ([`Lanes`]) and run with
//! those of four (`handwritten`: SSE registers and fused multiply-add, the widest
//! that Cranelift makes) and of sixteen (`handwritten512`: AVX-512). Polynomials
//! are those of the Cephes library, good to about one unit in the last place;
//! sine and cosine share their reduction, which is for arguments below 10⁴; tanh
//! and sigmoid share one exponential, which stops at the smallest normal number.
//! Sums are of blocks, which are added in `f64`. In `f64` it is [`doubles`].

#[cfg(target_arch = "x86_64")]
mod doubles;
mod loops;

use ndarray::ArrayD;

/// Parameters, and where the value and the gradients go.
/// Those for the value alone leave the gradients as they are.
pub type ByHand<T> = fn(&[ArrayD<T>], &mut T, &mut [ArrayD<T>]);

/// What is written by hand for a workload, where the processor can run it.
pub fn functions(workload: &str) -> Vec<(&'static str, ByHand<f32>)> {
    let mut all: Vec<(&'static str, ByHand<f32>)> = vec![];
    match workload {
        "W01_scalar" => all.push(("handwritten", scalar)),
        "W02_while" => {
            all.push(("handwritten", loops::doubling));
            all.push((FORWARD, loops::doubling_forward));
        }
        #[cfg(target_arch = "x86_64")]
        "W06a_elem_1e3" | "W06b_elem_1e5" | "W06c_elem_1e7" => {
            if is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("fma") {
                all.push(("handwritten", x86::elementwise_128));
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                all.push(("handwritten512", x86::elementwise_512));
            }
        }
        _ => {}
    }
    all
}

/// The mode of what computes the value alone.
const FORWARD: &str = "handwritten_forward";

/// The same for workloads of `f64`.
pub fn functions_f64(workload: &str) -> Vec<(&'static str, ByHand<f64>)> {
    let (both, forward): (ByHand<f64>, ByHand<f64>) = match workload {
        #[cfg(target_arch = "x86_64")]
        "W06d_elem_1e5_f64" => {
            return doubles::elementwise().map(|f| ("handwritten512", f)).into_iter().collect();
        }
        "W17_newton" => (loops::cube_roots, loops::cube_roots_forward),
        "W18_nested" => (loops::nested, loops::nested_forward),
        "W19_ode" => (loops::predators, loops::predators_forward),
        _ => return vec![],
    };
    vec![("handwritten", both), (FORWARD, forward)]
}

#[inline(never)]
fn scalar(params: &[ArrayD<f32>], value: &mut f32, grads: &mut [ArrayD<f32>]) {
    let (w1, w2) = (params[0][[]], params[1][[]]);
    *value = w1 * (3.0 * w1 + 2.0 * w2);
    grads[0][[]] = 6.0 * w1 + 2.0 * w2;
    grads[1][[]] = 2.0 * w1;
}

/// Several `f32` at once. A lane is chosen by the sign bit of a mask's.
#[cfg(target_arch = "x86_64")]
trait Lanes: Copy {
    const N: usize;
    fn splat(x: f32) -> Self;
    fn load(from: &[f32]) -> Self;
    fn store(self, to: &mut [f32]);
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    /// `self · b + c`
    fn fma(self, b: Self, c: Self) -> Self;
    fn max(self, b: Self) -> Self;
    fn nearest(self) -> Self;
    fn and(self, b: Self) -> Self;
    fn xor(self, b: Self) -> Self;
    /// `a` where the mask is negative, otherwise `b`.
    fn pick(mask: Self, a: Self, b: Self) -> Self;
    /// `self · 2ⁿ` for whole `n`.
    fn scale(self, n: Self) -> Self;
    /// For the number of a quadrant: a mask of the odd ones, and the sign bits of
    /// sine and cosine there.
    fn quadrant(self) -> (Self, Self, Self);
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn polynomial<V: Lanes>(x: V, coefficients: &[f32]) -> V {
    let (&first, rest) = coefficients.split_first().expect("a coefficient");
    rest.iter().fold(V::splat(first), |p, &c| p.fma(x, V::splat(c)))
}

/// `exp(x)` for `x <= 0`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn exp<V: Lanes>(x: V) -> V {
    let x = x.max(V::splat(-87.33));
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).nearest();
    let r = n.fma(V::splat(-std::f32::consts::LN_2), x);
    let r = n.fma(V::splat(1.904_654_2e-9), r);
    const P: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let p = polynomial(r, &P);
    p.fma(r.mul(r), r).add(V::splat(1.0)).scale(n)
}

/// `sin(x)` and `cos(x)`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn sin_cos<V: Lanes>(x: V) -> (V, V) {
    let k = x.mul(V::splat(std::f32::consts::FRAC_2_PI)).nearest();
    // π/2 in three parts.
    let r = k.fma(V::splat(-std::f32::consts::FRAC_PI_2), x);
    let r = k.fma(V::splat(4.371_139e-8), r);
    let r = k.fma(V::splat(1.715_124_5e-15), r);
    let z = r.mul(r);
    let sin = polynomial(z, &[-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1]);
    let sin = sin.mul(z).fma(r, r);
    let cos = polynomial(z, &[2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2]);
    let cos = cos.mul(z).fma(z, z.fma(V::splat(-0.5), V::splat(1.0)));
    let (odd, sign_of_sin, sign_of_cos) = k.quadrant();
    (V::pick(odd, cos, sin).xor(sign_of_sin), V::pick(odd, sin, cos).xor(sign_of_cos))
}

/// `y = tanh(x)·exp(-x²) + sin(x)²·sigmoid(x)`, and `dy/dx`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn elementwise<V: Lanes>(x: V) -> (V, V) {
    let one = V::splat(1.0);
    let sign = x.and(V::splat(-0.0));
    let (a, z) = (x.xor(sign), x.mul(x));
    let e = exp(a.xor(V::splat(-0.0)));

    let e2 = e.mul(e);
    let far = one.sub(e2).div(one.add(e2));
    const P: [f32; 5] =
        [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    let near = polynomial(z, &P).mul(z).fma(a, a);
    let tanh = V::pick(a.sub(V::splat(0.625)), near, far).xor(sign);

    let upper = one.div(one.add(e));
    let sigmoid = V::pick(x, e.mul(upper), upper);
    let bell = exp(z.xor(V::splat(-0.0)));
    let (sin, cos) = sin_cos(x);

    let wave = sin.mul(sigmoid);
    let y = tanh.fma(bell, sin.mul(wave));
    // (1 - t²)·g - 2·x·t·g + 2·s·c·σ + s²·σ·(1 - σ)
    let slope = one.sub(tanh.mul(tanh.add(x.add(x))));
    let turn = cos.add(cos).add(sin.mul(one.sub(sigmoid)));
    (y, slope.fma(bell, wave.mul(turn)))
}

/// Elements of a block.
#[cfg(target_arch = "x86_64")]
const BLOCK: usize = 8192;

/// The sum of values; derivatives to `slopes`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn sum<V: Lanes>(xs: &[f32], slopes: &mut [f32]) -> f32 {
    let mut all = 0.0;
    for (x, slope) in xs.chunks(BLOCK).zip(slopes.chunks_mut(BLOCK)) {
        all += f64::from(block::<V>(x, slope));
    }
    all as f32
}

/// The same for a block.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn block<V: Lanes>(xs: &[f32], slopes: &mut [f32]) -> f32 {
    let mut sums = [V::splat(0.0); 2];
    let pairs = xs.chunks_exact(2 * V::N);
    let rest = pairs.remainder();
    let done = xs.len() - rest.len();
    for (x, slope) in pairs.zip(slopes.chunks_exact_mut(2 * V::N)) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let at = i * V::N..(i + 1) * V::N;
            let (y, dy) = elementwise(V::load(&x[at.clone()]));
            dy.store(&mut slope[at]);
            *sum = sum.add(y);
        }
    }
    // The value at 0 is 0.
    for (x, slope) in rest.chunks(V::N).zip(slopes[done..].chunks_mut(V::N)) {
        let mut lanes = [0f32; 16];
        lanes[..x.len()].copy_from_slice(x);
        let (y, dy) = elementwise(V::load(&lanes[..V::N]));
        dy.store(&mut lanes[..V::N]);
        slope.copy_from_slice(&lanes[..x.len()]);
        sums[0] = sums[0].add(y);
    }
    let mut lanes = [0f32; 16];
    sums[0].add(sums[1]).store(&mut lanes[..V::N]);
    lanes.iter().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Vectors of this architecture. Nothing here is reached but through
    //! `functions`, which asks the processor first.

    use std::arch::x86_64::*;

    use ndarray::ArrayD;

    use super::{Lanes, sum};

    pub fn elementwise_128(params: &[ArrayD<f32>], value: &mut f32, grads: &mut [ArrayD<f32>]) {
        #[target_feature(enable = "sse4.1,fma")]
        fn run(xs: &[f32], slopes: &mut [f32]) -> f32 {
            sum::<X4>(xs, slopes)
        }
        let (xs, slopes) = slices(params, grads);
        // SAFETY: the processor has been asked.
        *value = unsafe { run(xs, slopes) };
    }

    pub fn elementwise_512(params: &[ArrayD<f32>], value: &mut f32, grads: &mut [ArrayD<f32>]) {
        #[target_feature(enable = "avx512f,avx512dq")]
        fn run(xs: &[f32], slopes: &mut [f32]) -> f32 {
            sum::<X16>(xs, slopes)
        }
        let (xs, slopes) = slices(params, grads);
        // SAFETY: the processor has been asked.
        *value = unsafe { run(xs, slopes) };
    }

    fn slices<'a>(
        params: &'a [ArrayD<f32>],
        grads: &'a mut [ArrayD<f32>],
    ) -> (&'a [f32], &'a mut [f32]) {
        let slopes = grads[0].as_slice_mut().expect("standard layout");
        (params[0].as_slice().expect("standard layout"), slopes)
    }

    #[derive(Clone, Copy)]
    struct X4(__m128);

    #[derive(Clone, Copy)]
    struct X16(__m512);

    /// Methods that are one expression over the registers inside.
    macro_rules! lanes {
        ($($v:ident($n:expr) {
            $(fn $name:ident($($arg:ident),*) = $e:expr;)*
            load($from:ident) = $load:expr;
            store($x:ident, $to:ident) = $store:expr;
            splat($s:ident) = $splat:expr;
            pick($mask:ident, $then:ident, $els:ident) = $pick:expr;
            quadrant($k:ident) = $quadrant:expr;
        })*) => {$(
            impl Lanes for $v {
                const N: usize = $n;
                $(#[inline(always)]
                fn $name(self $(, $arg: Self)*) -> Self {
                    $(let $arg = $arg.0;)*
                    // SAFETY: the processor has been asked.
                    unsafe { Self(($e)(self.0)) }
                })*
                #[inline(always)]
                fn load($from: &[f32]) -> Self {
                    assert_eq!($from.len(), $n);
                    let $from = $from.as_ptr();
                    // SAFETY: the processor has been asked; there are that many.
                    unsafe { Self($load) }
                }
                #[inline(always)]
                fn store(self, $to: &mut [f32]) {
                    assert_eq!($to.len(), $n);
                    let ($x, $to) = (self.0, $to.as_mut_ptr());
                    // SAFETY: the processor has been asked; there are that many.
                    unsafe { $store }
                }
                #[inline(always)]
                fn splat($s: f32) -> Self {
                    // SAFETY: the processor has been asked.
                    unsafe { Self($splat) }
                }
                #[inline(always)]
                fn pick(mask: Self, a: Self, b: Self) -> Self {
                    let ($mask, $then, $els) = (mask.0, a.0, b.0);
                    // SAFETY: the processor has been asked.
                    unsafe { Self($pick) }
                }
                #[inline(always)]
                fn quadrant(self) -> (Self, Self, Self) {
                    let $k = self.0;
                    // SAFETY: the processor has been asked.
                    let (odd, sin, cos) = unsafe { $quadrant };
                    (Self(odd), Self(sin), Self(cos))
                }
            }
        )*};
    }

    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

    lanes! {
        X4(4) {
            fn add(b) = |a| _mm_add_ps(a, b);
            fn sub(b) = |a| _mm_sub_ps(a, b);
            fn mul(b) = |a| _mm_mul_ps(a, b);
            fn div(b) = |a| _mm_div_ps(a, b);
            fn fma(b, c) = |a| _mm_fmadd_ps(a, b, c);
            fn max(b) = |a| _mm_max_ps(b, a);
            fn nearest() = |a| _mm_round_ps::<NEAREST>(a);
            fn and(b) = |a| _mm_and_ps(a, b);
            fn xor(b) = |a| _mm_xor_ps(a, b);
            fn scale(n) = |a| {
                let exponent = _mm_add_epi32(_mm_cvtps_epi32(n), _mm_set1_epi32(127));
                _mm_mul_ps(a, _mm_castsi128_ps(_mm_slli_epi32::<23>(exponent)))
            };
            load(from) = _mm_loadu_ps(from);
            store(x, to) = _mm_storeu_ps(to, x);
            splat(s) = _mm_set1_ps(s);
            pick(mask, a, b) = _mm_blendv_ps(b, a, mask);
            quadrant(k) = {
                let k = _mm_cvtps_epi32(k);
                let second = |k| _mm_castsi128_ps(_mm_slli_epi32::<30>(_mm_and_si128(k, _mm_set1_epi32(2))));
                let odd = _mm_castsi128_ps(_mm_slli_epi32::<31>(k));
                (odd, second(k), second(_mm_add_epi32(k, _mm_set1_epi32(1))))
            };
        }
        X16(16) {
            fn add(b) = |a| _mm512_add_ps(a, b);
            fn sub(b) = |a| _mm512_sub_ps(a, b);
            fn mul(b) = |a| _mm512_mul_ps(a, b);
            fn div(b) = |a| _mm512_div_ps(a, b);
            fn fma(b, c) = |a| _mm512_fmadd_ps(a, b, c);
            fn max(b) = |a| _mm512_max_ps(b, a);
            fn nearest() = |a| _mm512_roundscale_ps::<NEAREST>(a);
            fn and(b) = |a| _mm512_and_ps(a, b);
            fn xor(b) = |a| _mm512_xor_ps(a, b);
            fn scale(n) = |a| _mm512_scalef_ps(a, n);
            load(from) = _mm512_loadu_ps(from);
            store(x, to) = _mm512_storeu_ps(to, x);
            splat(s) = _mm512_set1_ps(s);
            pick(mask, a, b) = {
                let mask = _mm512_movepi32_mask(_mm512_castps_si512(mask));
                _mm512_mask_blend_ps(mask, b, a)
            };
            quadrant(k) = {
                let k = _mm512_cvtps_epi32(k);
                let second = |k| {
                    let second = _mm512_and_si512(k, _mm512_set1_epi32(2));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<30>(second))
                };
                let odd = _mm512_castsi512_ps(_mm512_slli_epi32::<31>(k));
                (odd, second(k), second(_mm512_add_epi32(k, _mm512_set1_epi32(1))))
            };
        }
    }
}
