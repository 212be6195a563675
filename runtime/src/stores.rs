//! Stacks of loops, as the plan language defines them.
//!
//! A store is memory for entries of one size, that only grows during a call and keeps
//! its memory for the next one. Machine code sees all of them as a table of records
//! ([`Store`]) and pushes and pops by itself; what it checks is said there. It calls the
//! functions here when a store is full, and where it does not know enough of a stack to
//! do without. Those trust its pointers, not its numbers: a handle that makes no sense
//! is noted and the call reports it, nothing is read or written out of bounds.

use std::alloc::{self, Layout};
use std::ffi::c_void;
use std::{iter, ptr, slice};

use backstitch_ir::plan::HANDLE_LEN;
use backstitch_ir::threshold;
use backstitch_jit::Store;

/// Entries begin at a multiple of this: machine code loads vectors from them.
const ALIGN: usize = 16;

/// A store that grows has room for so many bytes at least.
const LEAST: usize = threshold(4096, 16);

/// The stores of a workspace.
///
/// The address of the table comes first: that is what machine code knows of it.
#[repr(C)]
pub(crate) struct Stores {
    table: *mut Store,
    /// All that were ever needed, the first `used` of which are in use. `data` is of
    /// memory that this owns, for `room` entries, and `len` is at most `room`.
    all: Vec<Store>,
    /// How many bytes each was given.
    bytes: Vec<usize>,
    used: usize,
    failure: Option<Failure>,
    /// Most bytes that a store may have.
    most: usize,
}

// SAFETY: it owns the memory of its stores, and `&Stores` gives no access to it.
unsafe impl Send for Stores {}
// SAFETY: as above.
unsafe impl Sync for Stores {}

impl Default for Stores {
    fn default() -> Self {
        let most = isize::MAX as usize - (ALIGN - 1);
        Self { table: ptr::null_mut(), all: vec![], bytes: vec![], used: 0, failure: None, most }
    }
}

/// What went wrong during a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// No memory for a store of that many bytes.
    Memory(usize),
    /// A store needs more than it may have.
    Limit { bytes: usize, limit: usize },
    /// The plan breaks the rules of stacks.
    Plan(&'static str),
}

impl Stores {
    /// Makes them those of a program.
    pub fn fit(&mut self, entries: &[usize]) {
        let more = entries.len().saturating_sub(self.all.len());
        let none = Store { data: ptr::without_provenance_mut(ALIGN), len: 0, room: 0, entry: 0 };
        self.all.extend(iter::repeat_n(none, more));
        self.bytes.extend(iter::repeat_n(0, more));
        for ((store, &bytes), &entry) in self.all.iter_mut().zip(&self.bytes).zip(entries) {
            let room = bytes.checked_div(entry).unwrap_or(usize::MAX / 2);
            *store = Store { len: 0, room, entry, ..*store };
        }
        self.used = entries.len();
        self.table = self.all.as_mut_ptr();
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.iter().sum()
    }

    /// Gives no store more than so many bytes from now on.
    pub fn limit(&mut self, most: usize) {
        self.most = most.min(Self::default().most);
    }

    /// Empties them: a call begins.
    #[inline]
    pub fn begin(&mut self) {
        for store in &mut self.all[..self.used] {
            store.len = 0;
        }
        self.failure = None;
    }

    /// What went wrong since, if anything.
    #[inline]
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Makes room in a store for another entry, and so many that are there beyond its
    /// length.
    fn grow(&mut self, store: u32, more: usize) -> Result<(), Failure> {
        const WRONG: Failure = Failure::Plan("a store that cannot be what it is");
        let most = self.most;
        let bytes = self.bytes.get_mut(store as usize).ok_or(WRONG)?;
        let store = self.all[..self.used].get_mut(store as usize).ok_or(WRONG)?;
        let len = store.len.checked_add(more).filter(|&len| len <= store.room).ok_or(WRONG)?;
        if len < store.room {
            return Ok(());
        }
        // Entries are not of 0 bytes: of those there is room for any number.
        let needed = len.saturating_add(1).saturating_mul(store.entry);
        let failed = Failure::Memory(needed);
        if needed > most {
            return Err(Failure::Limit { bytes: needed, limit: most });
        }
        let size = needed.max(bytes.saturating_mul(2)).max(LEAST).min(most);
        let new = layout(size).ok_or(failed)?;
        let data = match *bytes {
            // SAFETY: the size is not 0.
            0 => unsafe { alloc::alloc(new) },
            // SAFETY: this is how it was allocated, and the size is not 0.
            old => unsafe { alloc::realloc(store.data, layout(old).ok_or(failed)?, size) },
        };
        if data.is_null() {
            return Err(failed);
        }
        (store.data, store.room, *bytes) = (data, size / store.entry, size);
        Ok(())
    }

    /// Appends an entry, which `entry` gives when told its size.
    fn push<'a>(
        &mut self,
        handle: &mut [i64; HANDLE_LEN],
        entry: impl FnOnce(usize) -> &'a [u8],
    ) -> Result<(), Failure> {
        let (index, end) = self.find(*handle)?;
        if self.all[index].len != end {
            return Err(Failure::Plan("a push to a stack that is not the last of its store"));
        }
        if self.all[index].room == end {
            self.grow(index as u32, 0)?;
        }
        let store = &mut self.all[index];
        let entry = entry(store.entry);
        assert_eq!(entry.len(), store.entry, "an entry of the store");
        // SAFETY: there is room for more than `end` entries; the entry is not among
        // them, as they are not lent to anybody.
        unsafe {
            let to = store.data.add(end * store.entry);
            to.copy_from_nonoverlapping(entry.as_ptr(), store.entry);
        }
        store.len += 1;
        handle[2] += 1;
        Ok(())
    }

    /// The last entry.
    fn pop(&mut self, handle: &mut [i64; HANDLE_LEN]) -> Result<&[u8], Failure> {
        if handle[2] <= 0 {
            return Err(Failure::Plan("a pop from an empty stack"));
        }
        let (index, end) = self.find(*handle)?;
        let store = &self.all[index];
        if end > store.len {
            return Err(Failure::Plan("a stack outside its store"));
        }
        handle[2] -= 1;
        // SAFETY: there are `len` entries, of which this is one: `end` is not 0.
        Ok(unsafe { slice::from_raw_parts(store.data.add((end - 1) * store.entry), store.entry) })
    }

    /// The number of a stack's store, and where in it the stack ends, in entries.
    fn find(&self, [store, start, count]: [i64; HANDLE_LEN]) -> Result<(usize, usize), Failure> {
        let broken = Failure::Plan("a broken handle of a stack");
        let index = usize::try_from(store).ok().filter(|&i| i < self.used).ok_or(broken)?;
        let end = start.checked_add(count).filter(|_| start >= 0 && count >= 0).ok_or(broken)?;
        Ok((index, usize::try_from(end).map_err(|_| broken)?))
    }
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, ALIGN).ok()
}

impl Drop for Stores {
    fn drop(&mut self) {
        for (store, &bytes) in self.all.iter().zip(&self.bytes).filter(|s| *s.1 > 0) {
            let layout = layout(bytes).expect("it was allocated with that");
            // SAFETY: this is how it was allocated.
            unsafe { alloc::dealloc(store.data, layout) }
        }
    }
}

/// Makes room for another entry. Not 0 if it cannot.
///
/// # Safety
///
/// `ctx` is a [`Stores`] that nobody else uses.
pub(crate) unsafe extern "C" fn grow(ctx: *mut c_void, store: u32, more: usize) -> i32 {
    // SAFETY: as required.
    let stores = unsafe { &mut *ctx.cast::<Stores>() };
    match stores.grow(store, more) {
        Ok(()) => 0,
        Err(failure) => {
            stores.failure = Some(failure);
            1
        }
    }
}

/// Notes that a loop asks for what stacks cannot do.
///
/// # Safety
///
/// As for [`grow`].
pub(crate) unsafe extern "C" fn refuse(ctx: *mut c_void) {
    // SAFETY: as required.
    let stores = unsafe { &mut *ctx.cast::<Stores>() };
    stores.failure =
        Some(Failure::Plan("a loop over stacks that are not as long as it, or not the last"));
}

/// Appends an entry. Not 0 if it cannot.
///
/// # Safety
///
/// As for [`grow`]; `handle` is that of a stack; at `from` there is an entry of the handle's store, which is
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
/// As for [`push`]; at `to` there is room for an entry of the handle's store.
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

    impl Stores {
        /// What machine code does.
        fn open(&self, store: u32) -> [i64; HANDLE_LEN] {
            [store.into(), self.all[store as usize].len as i64, 0]
        }
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
        // SAFETY: nobody else uses it.
        assert_eq!(unsafe { grow((&raw mut s).cast(), 1, 0) }, 1);
        assert!(s.failure().is_some());
        s.begin();
        assert_eq!(s.failure(), None);
        // More than there is room for cannot be there.
        assert!(s.grow(0, 1).is_err() && s.grow(0, usize::MAX).is_err());
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
        for entry in [4, 0, 3, bytes, bytes + 1] {
            s.fit(&[entry]);
            s.begin();
            assert_eq!((s.bytes(), s.open(0)), (bytes, [0, 0, 0]));
        }
        assert_eq!(s.all[0].room, 0);
        let mut h = s.open(0);
        push(&mut s, &mut h, &vec![1; bytes + 1]).unwrap();
        assert!(s.bytes() > bytes);
    }

    #[test]
    fn stores_grow_by_half_at_least_and_not_beyond_the_limit() {
        let mut s = stores(&[8, 8]);
        s.limit(10_000);
        let mut h = s.open(1);
        let mut rooms = vec![];
        let failure = loop {
            if let Err(failure) = push(&mut s, &mut h, &[5; 8]) {
                break failure;
            }
            rooms.push(s.all[1].room);
        };
        rooms.dedup();
        assert_eq!(
            (rooms, failure),
            (vec![512, 1024, 1250], Failure::Limit { bytes: 10_008, limit: 10_000 })
        );
        assert_eq!((s.all[0].room, s.all[1].len, h), (0, 1250, [1, 0, 1250]));
        // Entries beyond the length are kept.
        let mut s = stores(&[1]);
        s.grow(0, 0).unwrap();
        // SAFETY: there is room for so many.
        unsafe { s.all[0].data.write_bytes(7, s.all[0].room) };
        let before = s.all[0].room;
        s.grow(0, before).unwrap();
        s.all[0].len = before;
        assert_eq!(s.pop(&mut [0, 0, before as i64]).unwrap(), [7]);
    }
}
