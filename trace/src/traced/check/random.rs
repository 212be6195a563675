//! Numbers that look random.

use backstitch_ir::Array;

use super::array;

/// Numbers that look random (G. L. Steele, D. Lea, C. H. Flood, "Fast splittable
/// pseudorandom number generators", 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    /// Between 1/2 and 1 in size, so that each counts, of either sign.
    pub(super) fn numbers(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.number()).collect()
    }

    /// The same as an array.
    pub(super) fn array(&mut self, dims: &[usize]) -> Array {
        array(dims, self.numbers(dims.iter().product()))
    }

    fn number(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        let size = 0.5 + (z >> 12) as f64 / (1u64 << 53) as f64;
        if z & 1 == 0 { size } else { -size }
    }
}
