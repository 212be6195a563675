//! Random numbers from explicit keys.
//!
//! Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw, *Parallel Random
//! Numbers: As Easy as 1, 2, 3*, 2011): a key turns a counter into two random
//! words. Element `i` of an array is made from counter `i` alone, so the stream
//! does not depend on the mode, on fusion or on threads. A key makes the same
//! numbers each time it is used; split it to have others.
//!
//! Bits, uniform numbers, and what is chosen by comparing them are exact: the same in
//! eager mode, compiled, and compiled without optimisation, to the bit. Where a
//! logarithm or a cosine takes part, modes differ in the last places.

use backstitch_ir::{DType, Scalar, Shape, Type};

use crate::mistake::Problem;
use crate::number::Operand;
use crate::tensor::Tensor;
use crate::trace::Trace;

mod distributions;

/// Where random numbers come from.
///
/// ```
/// # use backstitch_trace::{DType, Trace};
/// let t = Trace::eager();
/// let [a, b] = t.key(42).split();
/// let x = a.normal(DType::F64, [1000]);
/// let y = b.normal(DType::F64, [1000]);
/// assert!((x * y).mean().item::<f64>()?.abs() < 0.1);
/// assert!((x.square().mean().item::<f64>()? - 1.0).abs() < 0.2);
/// # Ok::<(), backstitch_trace::TraceError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Key<'t> {
    trace: &'t Trace,
    words: Words<'t>,
}

#[derive(Clone, Copy)]
enum Words<'t> {
    Known([u32; 2]),
    Traced([Tensor<'t>; 2]),
}

/// What a counter is used for: its second word, so that uses never overlap.
#[derive(Clone, Copy)]
enum Use {
    Bits = 0,
    MoreBits = 1,
    Split = 2,
    Fold = 3,
}

const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
const PARITY: u32 = 0x1BD1_1BDA;

impl Trace {
    /// The key of a seed.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let same = t.key(3).bits([4]).eq(t.key(3).bits([4]));
    /// assert!(same.all().is_true()?);
    /// assert!(t.key(3).bits([4]).ne(t.key(4).bits([4])).any().is_true()?);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    pub fn key(&self, seed: u64) -> Key<'_> {
        Key { trace: self, words: Words::Known([seed as u32, (seed >> 32) as u32]) }
    }
}

impl<'t> Key<'t> {
    /// A key that is an input of the program: two `i32`.
    ///
    /// ```
    /// # use backstitch_trace::{Key, Trace};
    /// let t = Trace::eager();
    /// let key = Key::from_tensor(t.constant(ndarray::arr1(&[42, 0])));
    /// assert!(key.bits([4]).eq(t.key(42).bits([4])).all().is_true()?);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn from_tensor(x: Tensor<'t>) -> Self {
        let ty = x.ty();
        let wanted = Type::new(DType::I32, [2]);
        let x = if ty == wanted {
            x
        } else {
            let message = format!("a key is {wanted}, not {ty}");
            x.mistake("key", Problem::DType, message, wanted)
        };
        Self { trace: x.trace, words: Words::Traced([x.index(0, 0), x.index(0, 1)]) }
    }

    /// The key as two `i32`, to pass it on.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.key(42).to_tensor().array()?.to_f64_vec(), [42.0, 0.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn to_tensor(self) -> Tensor<'t> {
        self.trace.stack(self.tensors(), 0)
    }

    /// Independent keys in place of this one.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// let [a, b] = t.key(42).split();
    /// assert!(a.bits([4]).ne(b.bits([4])).any().is_true()?);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn split<const N: usize>(self) -> [Self; N] {
        let _line = self.trace.line();
        std::array::from_fn(|i| self.derive(i as u32, Use::Split))
    }

    /// An independent key for each number, such as that of a training step.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let key = t.key(42);
    /// let noise = |step| key.fold_in(step).uniform(DType::F64, [4]);
    /// assert!(noise(0).eq(noise(0)).all().is_true()?);
    /// assert!(noise(0).ne(noise(1)).any().is_true()?);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn fold_in(self, n: u32) -> Self {
        self.derive(n, Use::Fold)
    }

    #[track_caller]
    fn derive(self, i: u32, used: Use) -> Self {
        let words = match self.words {
            Words::Known(key) => Words::Known(threefry(key, [i, used as u32])),
            Words::Traced(_) => {
                let count = self.trace.scalar(i as i32);
                Words::Traced(self.rounds(count, used))
            }
        };
        Self { words, ..self }
    }

    /// Numbers from 0 (included) to 1 (not included), all multiples of 2⁻²⁴ (`f32`)
    /// or 2⁻⁵³ (`f64`) equally often.
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let u = t.key(1).uniform(DType::F64, [1000]);
    /// assert!(u.min().item::<f64>()? >= 0.0 && u.max().item::<f64>()? < 1.0);
    /// assert!((u.mean().item::<f64>()? - 0.5).abs() < 0.05);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn uniform(self, dtype: DType, shape: impl Into<Shape>) -> Tensor<'t> {
        let shape = shape.into();
        match self.uniforms("uniform", dtype, &shape) {
            Ok([u, _]) => u,
            Err(poisoned) => poisoned,
        }
    }

    /// Numbers with mean 0 and variance 1, normally distributed (Box and Muller).
    ///
    /// ```
    /// # use backstitch_trace::{DType, Trace};
    /// let t = Trace::eager();
    /// let z = t.key(1).normal(DType::F64, [1000]);
    /// assert!(z.mean().item::<f64>()?.abs() < 0.1);
    /// assert!((z.std().item::<f64>()? - 1.0).abs() < 0.1);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn normal(self, dtype: DType, shape: impl Into<Shape>) -> Tensor<'t> {
        let shape = shape.into();
        match self.uniforms("normal", dtype, &shape) {
            Ok([u, v]) => {
                let radius = ((1.0 - u).log() * -2.0).sqrt();
                radius * (v * std::f64::consts::TAU).cos()
            }
            Err(poisoned) => poisoned,
        }
    }

    /// Two independent arrays of uniform numbers.
    #[track_caller]
    fn uniforms(
        self,
        operation: &'static str,
        dtype: DType,
        shape: &Shape,
    ) -> Result<[Tensor<'t>; 2], Tensor<'t>> {
        let _line = self.trace.line();
        if !dtype.is_float() {
            let guess = Type::new(DType::F64, shape.clone());
            let message = format!("random {dtype}: expected a float type");
            return Err(self.trace.mistake(operation, Problem::DType, message, &[], guess));
        }
        let count = self.counters(operation, dtype, shape)?;
        let [a, b] = self.rounds(count, Use::Bits);
        if dtype == DType::F32 {
            let unit = |x: Tensor<'t>| x.shift_right(8).cast(dtype) * (0.5f32).powi(24);
            return Ok([unit(a), unit(b)]);
        }
        let [c, d] = self.rounds(count, Use::MoreBits);
        let unit = |x: Tensor<'t>, y: Tensor<'t>| {
            let (high, low) = (x.shift_right(5).cast(dtype), y.shift_right(6).cast(dtype));
            (high * (0.5f64).powi(27)) + low * (0.5f64).powi(53)
        };
        Ok([unit(a, b), unit(c, d)])
    }

    /// The number of each element.
    #[track_caller]
    fn counters(
        self,
        operation: &'static str,
        dtype: DType,
        shape: &Shape,
    ) -> Result<Tensor<'t>, Tensor<'t>> {
        match shape.checked_len().filter(|&n| u32::try_from(n).is_ok()) {
            Some(len) => Ok(self.trace.iota(DType::I32, [len], 0).reshape(shape.clone())),
            None => {
                let guess = Type::new(dtype, shape.clone());
                let message = format!("{shape} has more than 2^32 elements");
                Err(self.trace.mistake(operation, Problem::Shape, message, &[], guess))
            }
        }
    }

    #[track_caller]
    fn tensors(self) -> [Tensor<'t>; 2] {
        match self.words {
            Words::Traced(words) => words,
            Words::Known([a, b]) => [self.trace.scalar(a as i32), self.trace.scalar(b as i32)],
        }
    }

    /// The two random words for each counter: [`threefry`] on tensors.
    #[track_caller]
    fn rounds(self, count: Tensor<'t>, used: Use) -> [Tensor<'t>; 2] {
        let [k0, k1] = self.tensors();
        let keys = [k0, k1, k0.xor(k1).xor(PARITY as i32)];
        let (mut x, mut y) = (count + keys[0], keys[1] + (used as i32));
        for group in 0..5 {
            for r in ROTATIONS[group % 2] {
                x = x + y;
                y = y.shift_left(r as i32).or(y.shift_right(32 - r as i32)).xor(x);
            }
            x = x + keys[(group + 1) % 3];
            y = y + (keys[(group + 2) % 3] + (group as i32 + 1));
        }
        [x, y]
    }
}

impl<'t> Tensor<'t> {
    /// Bits moved to the left, that is, up. The distance counts modulo the width.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(5).shift_left(2).item::<i32>()?, 20);
    /// assert_eq!(t.constant(5).shift_left(32).item::<i32>()?, 5);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn shift_left(self, by: impl Into<Operand<'t>>) -> Self {
        self.binary(Scalar::Shl, by)
    }

    /// Bits moved to the right, that is, down; zeros come in. The distance counts
    /// modulo the width.
    ///
    /// ```
    /// # use backstitch_trace::Trace;
    /// let t = Trace::eager();
    /// assert_eq!(t.constant(20).shift_right(2).item::<i32>()?, 5);
    /// assert_eq!(t.constant(-1).shift_right(28).item::<i32>()?, 15);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    pub fn shift_right(self, by: impl Into<Operand<'t>>) -> Self {
        self.binary(Scalar::Shr, by)
    }
}

/// The block function on words.
fn threefry(key: [u32; 2], count: [u32; 2]) -> [u32; 2] {
    let keys = [key[0], key[1], key[0] ^ key[1] ^ PARITY];
    let (mut x, mut y) = (count[0].wrapping_add(keys[0]), count[1].wrapping_add(keys[1]));
    for group in 0..5 {
        for r in ROTATIONS[group % 2] {
            x = x.wrapping_add(y);
            y = y.rotate_left(r) ^ x;
        }
        x = x.wrapping_add(keys[(group + 1) % 3]);
        y = y.wrapping_add(keys[(group + 2) % 3]).wrapping_add(group as u32 + 1);
    }
    [x, y]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_paper() {
        // From the known-answer tests of Random123.
        assert_eq!(threefry([0, 0], [0, 0]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry([!0, !0], [!0, !0]), [0x1cb9_96fc, 0xbb00_2be7]);
        assert_eq!(
            threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]),
            [0xc492_3a9c, 0x483d_f7a0]
        );
    }

    #[test]
    fn tensors_and_words_agree() {
        let t = Trace::eager();
        let key = t.key(0x0123_4567_89ab_cdef);
        let [a, b] = key.rounds(t.iota(DType::I32, [3], 0), Use::Bits);
        let (a, b) = (a.to_array::<i32>().unwrap(), b.to_array::<i32>().unwrap());
        for i in 0..3 {
            let words = threefry([0x89ab_cdef, 0x0123_4567], [i as u32, 0]);
            assert_eq!([a[[i]] as u32, b[[i]] as u32], words);
        }
    }

    #[test]
    fn known_and_traced_keys_split_alike() {
        let t = Trace::eager();
        let known = t.key(7);
        let traced = Key::from_tensor(known.to_tensor());
        let [_, a] = known.split();
        let [_, b] = traced.split();
        let bits = |k: Key<'_>| k.to_tensor().array().unwrap();
        assert!(bits(a).same_bits(&bits(b)));
        assert!(bits(known.fold_in(9)).same_bits(&bits(traced.fold_in(9))));
        assert!(!bits(a).same_bits(&bits(known)));
    }

    #[test]
    fn uniform_numbers_fill_the_unit_interval() {
        let t = Trace::eager();
        for dtype in [DType::F32, DType::F64] {
            let u = t.key(1).uniform(dtype, [20_000]).cast(DType::F64);
            let at = |x: Tensor<'_>| x.item::<f64>().unwrap();
            assert!(at(u.min()) >= 0.0 && at(u.min()) < 0.001);
            assert!(at(u.max()) < 1.0 && at(u.max()) > 0.999);
            assert!((at(u.mean()) - 0.5).abs() < 0.01);
            assert!((at(u.var()) - 1.0 / 12.0).abs() < 0.002);
        }
    }
}
