//! The element-wise workload in `f64`, eight elements at a time (AVX-512).
//!
//! `exp(x) = 2^(n + j/16)·(1 + q)`, where the sixteen powers are in registers, so that `q` is a
//! polynomial of degree six; with what is missing from the powers as rounded, and without
//! adding the 1, this is `exp(x) - 1` as well, of which tanh and sigmoid are made. They
//! share one division. Sine and cosine are asked for their squares and their product alone.
//! Polynomials were fitted in extended precision, to errors below a tenth of a unit in the
//! last place; arguments are below 10⁴.

use std::arch::x86_64::*;

use ndarray::ArrayD;

/// What is written by hand, where the processor can run it.
pub fn elementwise() -> Option<super::ByHand<f64>> {
    let can = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
    can.then_some(run)
}

/// Reached through [`elementwise`] alone, which asks the processor first.
fn run(params: &[ArrayD<f64>], value: &mut f64, grads: &mut [ArrayD<f64>]) {
    let xs = params[0].as_slice().expect("standard layout");
    let slopes = grads[0].as_slice_mut().expect("standard layout");
    // SAFETY: the processor has been asked.
    *value = unsafe { sum(xs, slopes) };
}

/// The sum of values; derivatives to `slopes`.
#[target_feature(enable = "avx512f,avx512dq")]
fn sum(xs: &[f64], slopes: &mut [f64]) -> f64 {
    assert_eq!(xs.len(), slopes.len());
    let mut sums = _mm512_setzero_pd();
    for (x, slope) in xs.chunks(8).zip(slopes.chunks_mut(8)) {
        // The value at 0 is 0.
        let mask = 0xff >> (8 - x.len());
        // SAFETY: as many elements as the mask has.
        let x = unsafe { _mm512_maskz_loadu_pd(mask, x.as_ptr()) };
        let (y, dy) = value_and_slope(x);
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_pd(slope.as_mut_ptr(), mask, dy) };
        sums = _mm512_add_pd(sums, y);
    }
    _mm512_reduce_add_pd(sums)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn splat(x: f64) -> __m512d {
    _mm512_set1_pd(x)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn polynomial(x: __m512d, coefficients: &[f64]) -> __m512d {
    let (&first, rest) = coefficients.split_first().expect("a coefficient");
    let mut p = splat(first);
    for &c in rest {
        p = _mm512_fmadd_pd(p, x, splat(c));
    }
    p
}

/// `2^(j/16)`.
const POWERS: [f64; 16] = [
    1.0,
    1.0442737824274138,
    1.0905077326652577,
    1.1387886347566916,
    1.189207115002721,
    1.241857812073484,
    1.2968395546510096,
    1.3542555469368927,
    std::f64::consts::SQRT_2,
    1.4768261459394993,
    1.5422108254079407,
    1.6104903319492543,
    1.681792830507429,
    1.7562521603732995,
    1.8340080864093424,
    1.9152065613971474,
];

/// By how much of themselves these are too small.
const MISSING: [f64; 16] = [
    0.0,
    8.189317638195515e-17,
    -2.7939114859515733e-17,
    7.826573258636076e-17,
    3.3484623336251524e-17,
    3.750854201303127e-17,
    1.9572585293112036e-17,
    5.68648095791174e-17,
    -6.835808657661922e-17,
    -2.3591094770850053e-17,
    5.1548301170786783e-17,
    1.5341410053603723e-17,
    4.875160526227062e-17,
    1.685487290628973e-17,
    1.790126907604513e-17,
    -5.545065618639427e-17,
];

/// One of the sixteen numbers for each element.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn choose(table: &[f64; 16], which: __m512i) -> __m512d {
    // SAFETY: the table has twice eight elements.
    let (low, high) =
        unsafe { (_mm512_loadu_pd(table.as_ptr()), _mm512_loadu_pd(table.as_ptr().add(8))) };
    _mm512_permutex2var_pd(low, which, high)
}

/// A power of two, which of the sixteen it is, and by how much of it `exp(x)` is more.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn powers(x: __m512d) -> (__m512d, __m512i, __m512d) {
    // In this number's neighbourhood steps are of 1/16.
    let steps = splat((3u64 << 47) as f64);
    let n = _mm512_fmadd_pd(x, splat(std::f64::consts::LOG2_E), steps);
    let which = _mm512_castpd_si512(n);
    let n = _mm512_sub_pd(n, steps);
    let r = _mm512_fnmadd_pd(n, splat(std::f64::consts::LN_2), x);
    let r = _mm512_fnmadd_pd(n, splat(2.3190468138462996e-17), r);
    const P: [f64; 5] = [
        0.0013889129211729875,
        0.008333472202311924,
        0.041666666659651144,
        0.16666666664408786,
        0.5000000000000006,
    ];
    let q = _mm512_fmadd_pd(polynomial(r, &P), _mm512_mul_pd(r, r), r);
    (_mm512_scalef_pd(choose(&POWERS, which), n), which, q)
}

/// `y = tanh(x)·exp(-x²) + sin(x)²·sigmoid(x)`, and `dy/dx`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn value_and_slope(x: __m512d) -> (__m512d, __m512d) {
    let (one, two, sign_bit) = (splat(1.0), splat(2.0), splat(-0.0));
    let sign = _mm512_and_pd(x, sign_bit);

    // e = exp(-|x|), m = e - 1, and from it e² - 1.
    let (power, which, q) = powers(_mm512_or_pd(x, sign_bit));
    let q = _mm512_add_pd(q, choose(&MISSING, which));
    let e = _mm512_fmadd_pd(power, q, power);
    let m = _mm512_fmadd_pd(power, q, _mm512_sub_pd(power, one));
    let upper = _mm512_add_pd(m, two);
    let square = _mm512_mul_pd(m, upper);
    let below = _mm512_add_pd(square, two);
    let both = _mm512_div_pd(one, _mm512_mul_pd(upper, below));
    let tanh = _mm512_mul_pd(_mm512_mul_pd(square, upper), both);
    let tanh = _mm512_xor_pd(tanh, _mm512_xor_pd(sign, sign_bit));
    let more = _mm512_mul_pd(below, both);
    let less = _mm512_mul_pd(e, more);
    let negative = _mm512_movepi64_mask(_mm512_castpd_si512(x));
    let sigmoid = _mm512_mask_blend_pd(negative, more, less);
    let rest = _mm512_mask_blend_pd(negative, less, more);

    let (power, _, q) = powers(_mm512_fnmadd_pd(x, x, splat(0.0)));
    let bell = _mm512_fmadd_pd(power, q, power);

    // In odd quadrants sine and cosine change places, and their product its sign.
    let steps = splat((3u64 << 51) as f64);
    let k = _mm512_fmadd_pd(x, splat(std::f64::consts::FRAC_2_PI), steps);
    let quadrant = _mm512_castpd_si512(k);
    let k = _mm512_sub_pd(k, steps);
    let r = _mm512_fnmadd_pd(k, splat(std::f64::consts::FRAC_PI_2), x);
    let r = _mm512_fnmadd_pd(k, splat(6.123233995736766e-17), r);
    let z = _mm512_mul_pd(r, r);
    const SIN: [f64; 6] = [
        1.5896666572021065e-10,
        -2.505075596189405e-08,
        2.7557313678663433e-06,
        -0.00019841269829771137,
        0.00833333333332237,
        -0.16666666666666632,
    ];
    const COS: [f64; 6] = [
        -1.1359559595705707e-11,
        2.087572162903361e-09,
        -2.7557314340700875e-07,
        2.4801587289443638e-05,
        -0.0013888888888874066,
        0.0416666666666666,
    ];
    let sin = _mm512_fmadd_pd(_mm512_mul_pd(polynomial(z, &SIN), z), r, r);
    let cos = _mm512_fmadd_pd(polynomial(z, &COS), z, splat(-0.5));
    let cos = _mm512_fmadd_pd(cos, z, one);
    let odd = _mm512_slli_epi64::<63>(quadrant);
    let product = _mm512_xor_pd(_mm512_mul_pd(sin, cos), _mm512_castsi512_pd(odd));
    let sin = _mm512_mask_blend_pd(_mm512_movepi64_mask(odd), sin, cos);
    let wave = _mm512_mul_pd(_mm512_mul_pd(sin, sin), sigmoid);

    let y = _mm512_fmadd_pd(tanh, bell, wave);
    // (1 - t²)·g - 2·x·t·g + 2·s·c·σ + s²·σ·(1 - σ)
    let slope = _mm512_fnmadd_pd(tanh, _mm512_add_pd(tanh, _mm512_add_pd(x, x)), one);
    let turn = _mm512_mul_pd(_mm512_add_pd(product, product), sigmoid);
    let turn = _mm512_fmadd_pd(wave, rest, turn);
    (y, _mm512_fmadd_pd(slope, bell, turn))
}
