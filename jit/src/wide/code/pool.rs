//! Constants behind the code.

use rustc_hash::FxHashMap;

/// A constant of the pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct PoolSlot(pub(super) u32);

/// Constants that the code reads relative to itself.
#[derive(Default)]
pub(crate) struct Pool {
    slots: FxHashMap<Vec<u8>, PoolSlot>,
    data: Vec<Vec<u8>>,
}

impl Pool {
    pub fn slot(&mut self, bytes: &[u8]) -> PoolSlot {
        if let Some(&slot) = self.slots.get(bytes) {
            return slot;
        }
        let slot = PoolSlot(self.data.len() as u32);
        self.data.push(bytes.to_vec());
        self.slots.insert(bytes.to_vec(), slot);
        slot
    }

    /// Whether all its bits are zero.
    pub fn is_zero(&self, slot: PoolSlot) -> bool {
        self.data[slot.0 as usize].iter().all(|byte| *byte == 0)
    }

    /// Where each constant is from the pool's beginning, and all bytes: the longest
    /// first, so that each is aligned to its length.
    pub(super) fn layout(&self) -> (Vec<usize>, Vec<u8>) {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.data[i].len()));
        let (mut at, mut bytes) = (vec![0; order.len()], Vec::new());
        for i in order {
            at[i] = bytes.len();
            bytes.extend_from_slice(&self.data[i]);
        }
        (at, bytes)
    }
}
