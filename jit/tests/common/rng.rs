//! Random numbers.

// Each test binary uses a part of this.
#![allow(dead_code, reason = "shared by several test binaries")]

use backstitch_ir::DType;

/// A small generator of random numbers (xorshift64*). What it draws can also be chosen:
/// then it draws from bytes, for as long as there are some.
#[derive(Clone)]
pub struct Rng {
    state: u64,
    chosen: std::vec::IntoIter<u8>,
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { state, chosen: Vec::new().into_iter() }
    }

    /// Draws from these bytes first.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self { chosen: Vec::from(bytes).into_iter(), ..Self::new(1) }
    }

    pub fn bits(&mut self) -> u64 {
        if self.chosen.len() > 0 {
            return self.chosen.by_ref().take(8).fold(0, |bits, b| bits << 8 | u64::from(b));
        }
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        match self.chosen.next() {
            Some(byte) if n <= 256 => usize::from(byte) % n,
            Some(byte) => (usize::from(byte) << 8 | self.below(256)) % n,
            None => ((self.bits() >> 32) as usize) % n,
        }
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// An element: mostly tame, sometimes not.
    pub fn element(&mut self, dtype: DType) -> u64 {
        let tame = self.chance(80);
        let small = self.below(41) as i64 - 20;
        match dtype {
            DType::F32 => {
                let specials =
                    [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-42, 3e38, -2.5];
                let x = if tame { small as f32 * 0.37 } else { self.pick(&specials) };
                x.to_bits().into()
            }
            DType::F64 => {
                let specials =
                    [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-310, 1e300, 2.5];
                let x = if tame { small as f64 * 0.37 } else { self.pick(&specials) };
                x.to_bits()
            }
            DType::I32 => {
                let x =
                    if tame { small as i32 } else { self.pick(&[i32::MIN, i32::MAX, 65536, -1]) };
                u64::from(x as u32)
            }
            DType::I64 => {
                let x = if tame {
                    small
                } else {
                    self.pick(&[i64::MIN, i64::MAX, 1 << 32, (1 << 53) + 1])
                };
                x as u64
            }
            DType::Bool => self.bits() >> 63,
        }
    }

    /// The bytes of `len` elements.
    pub fn elements(&mut self, dtype: DType, len: usize) -> Vec<u8> {
        let size = dtype.size();
        (0..len).flat_map(|_| self.element(dtype).to_le_bytes()[..size].to_vec()).collect()
    }
}
