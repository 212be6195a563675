//! Stacks of loops, as the plan language defines them.
//!
//! A store is a byte vector that only grows during a call and keeps its memory
//! for the next one. The machine code calls the three functions here; they
//! trust its pointers, not its numbers: a handle that makes no sense is noted
//! and the call reports it, nothing is read or written out of bounds.

use std::ffi::c_void;
use std::slice;

use backstitch_ir::plan::HANDLE_LEN;

/// The stores of a workspace.
#[derive(Default)]
pub(crate) struct Stores {
    /// All that were ever needed, the first `used` of which are in use.
    all: Vec<Store>,
    used: usize,
    failure: Option<Failure>,
}

#[derive(Default)]
struct Store {
    /// Bytes of an entry.
    entry: usize,
    bytes: Vec<u8>,
}

/// What went wrong during a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// No memory for a store of that many bytes.
    Memory(usize),
    /// The plan breaks the rules of stacks.
    Plan(&'static str),
}

impl Stores {
    /// Makes them those of a program.
    pub fn fit(&mut self, entries: &[usize]) {
        if self.all.len() < entries.len() {
            self.all.resize_with(entries.len(), Store::default);
        }
        for (store, &entry) in self.all.iter_mut().zip(entries) {
            store.entry = entry;
        }
        self.used = entries.len();
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.all.iter().map(|s| s.bytes.capacity()).sum()
    }

    /// Empties them: a call begins.
    #[inline]
    pub fn begin(&mut self) {
        for store in &mut self.all[..self.used] {
            store.bytes.clear();
        }
        self.failure = None;
    }

    /// What went wrong since, if anything.
    #[inline]
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    fn open(&mut self, store: u32) -> [i64; HANDLE_LEN] {
        let start = match self.all[..self.used].get(store as usize) {
            Some(s) => s.bytes.len() as i64,
            None => {
                self.failure = Some(Failure::Plan("a stack in a store that does not exist"));
                0
            }
        };
        [store.into(), start, 0]
    }

    /// Appends an entry, which `entry` gives when told its size.
    fn push<'a>(
        &mut self,
        handle: &mut [i64; HANDLE_LEN],
        entry: impl FnOnce(usize) -> &'a [u8],
    ) -> Result<(), Failure> {
        let (store, end) = self.find(*handle)?;
        if store.bytes.len() != end {
            return Err(Failure::Plan("a push to a stack that is not the last of its store"));
        }
        let bytes = end + store.entry;
        store.bytes.try_reserve(store.entry).map_err(|_| Failure::Memory(bytes))?;
        store.bytes.extend_from_slice(entry(store.entry));
        handle[2] += 1;
        Ok(())
    }

    /// The last entry.
    fn pop(&mut self, handle: &mut [i64; HANDLE_LEN]) -> Result<&[u8], Failure> {
        if handle[2] <= 0 {
            return Err(Failure::Plan("a pop from an empty stack"));
        }
        let (store, end) = self.find(*handle)?;
        handle[2] -= 1;
        let start = end - store.entry;
        store.bytes.get(start..end).ok_or(Failure::Plan("a stack outside its store"))
    }

    /// A stack's store, and where in it the stack ends.
    fn find(
        &mut self,
        [store, start, count]: [i64; HANDLE_LEN],
    ) -> Result<(&mut Store, usize), Failure> {
        let broken = Failure::Plan("a broken handle of a stack");
        let index = usize::try_from(store).map_err(|_| broken)?;
        let store = self.all[..self.used].get_mut(index).ok_or(broken)?;
        let end = usize::try_from(count).ok().and_then(|n| n.checked_mul(store.entry));
        let end = usize::try_from(start).ok().zip(end).and_then(|(start, n)| start.checked_add(n));
        end.map(|end| (store, end)).ok_or(broken)
    }
}

/// Makes a stack.
///
/// # Safety
///
/// `ctx` is a [`Stores`] that nobody else uses; `handle` has room for a handle.
pub(crate) unsafe extern "C" fn open(ctx: *mut c_void, store: u32, handle: *mut i64) {
    // SAFETY: as required.
    let (stores, handle) = unsafe { (&mut *ctx.cast::<Stores>(), handle_at(handle)) };
    *handle = stores.open(store);
}

/// Appends an entry. Not 0 if it cannot.
///
/// # Safety
///
/// As for [`open`]; at `from` there is an entry of the handle's store, which is
/// not in any store.
pub(crate) unsafe extern "C" fn push(ctx: *mut c_void, handle: *mut i64, from: *const u8) -> i32 {
    // SAFETY: as required.
    let (stores, handle) = unsafe { (&mut *ctx.cast::<Stores>(), handle_at(handle)) };
    // SAFETY: as required.
    match stores.push(handle, |n| unsafe { slice::from_raw_parts(from, n) }) {
        Ok(()) => 0,
        Err(failure) => {
            stores.failure = Some(failure);
            1
        }
    }
}

/// Takes the last entry.
///
/// # Safety
///
/// As for [`open`]; at `to` there is room for an entry of the handle's store.
pub(crate) unsafe extern "C" fn pop(ctx: *mut c_void, handle: *mut i64, to: *mut u8) {
    // SAFETY: as required.
    let (stores, handle) = unsafe { (&mut *ctx.cast::<Stores>(), handle_at(handle)) };
    match stores.pop(handle) {
        // SAFETY: as required.
        Ok(entry) => unsafe { to.copy_from_nonoverlapping(entry.as_ptr(), entry.len()) },
        Err(failure) => stores.failure = Some(failure),
    }
}

unsafe fn handle_at<'a>(handle: *mut i64) -> &'a mut [i64; HANDLE_LEN] {
    // SAFETY: the caller has a handle there.
    unsafe { &mut *handle.cast() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(entries: &[usize]) -> Stores {
        let mut s = Stores::default();
        s.fit(entries);
        s.begin();
        s
    }

    fn push(s: &mut Stores, h: &mut [i64; 3], entry: &[u8]) -> Result<(), Failure> {
        s.push(h, |n| {
            assert_eq!(n, entry.len());
            entry
        })
    }

    #[test]
    fn last_in_first_out() {
        let mut s = stores(&[2, 1]);
        let mut h = s.open(0);
        for i in 0..100 {
            push(&mut s, &mut h, &[i, i + 1]).unwrap();
        }
        let mut copy = h;
        for i in (0..100).rev() {
            assert_eq!(s.pop(&mut h).unwrap(), [i, i + 1]);
        }
        assert!(s.pop(&mut h).is_err());
        assert_eq!(s.pop(&mut copy).unwrap(), [99, 100]);
    }

    #[test]
    fn stacks_in_a_row() {
        let mut s = stores(&[1]);
        let mut a = s.open(0);
        push(&mut s, &mut a, &[1]).unwrap();
        let mut b = s.open(0);
        push(&mut s, &mut b, &[2]).unwrap();
        push(&mut s, &mut b, &[3]).unwrap();
        assert_eq!(
            push(&mut s, &mut a, &[4]),
            Err(Failure::Plan("a push to a stack that is not the last of its store"))
        );
        assert_eq!(s.pop(&mut a).unwrap(), [1]);
        assert_eq!(s.pop(&mut b).unwrap(), [3]);
        assert_eq!(s.pop(&mut b).unwrap(), [2]);
    }

    #[test]
    fn entries_of_no_bytes() {
        let mut s = stores(&[0]);
        let mut h = s.open(0);
        push(&mut s, &mut h, &[]).unwrap();
        push(&mut s, &mut h, &[]).unwrap();
        assert!(s.pop(&mut h).is_ok() && s.pop(&mut h).is_ok() && s.pop(&mut h).is_err());
    }

    #[test]
    fn nonsense_is_noticed() {
        let mut s = stores(&[8]);
        s.open(1);
        assert!(s.failure().is_some());
        s.begin();
        assert_eq!(s.failure(), None);
        for h in [[1, 0, 1], [-1, 0, 1], [0, -1, 1], [0, 0, 1], [0, i64::MAX, i64::MAX], [0, 8, 1]]
        {
            assert!(s.pop(&mut { h }).is_err(), "{h:?}");
        }
        for h in [[1, 0, 0], [0, 0, -1], [0, 1, 0], [0, 0, i64::MAX]] {
            assert!(push(&mut s, &mut { h }, &[0; 8]).is_err(), "{h:?}");
        }
    }

    #[test]
    fn memory_is_kept_between_calls() {
        let mut s = stores(&[1]);
        let mut h = s.open(0);
        push(&mut s, &mut h, &[7]).unwrap();
        let bytes = s.bytes();
        s.fit(&[]);
        s.fit(&[4]);
        s.begin();
        assert_eq!((s.bytes(), s.open(0)), (bytes, [0, 0, 0]));
    }
}
