//! Routines, called by machine code.

use std::slice;

use backstitch_ir::plan::Call;
use backstitch_ir::routine::{Raised, Slice, SliceMut, Sliced, Word, raise};
use backstitch_ir::{DType, with_dtype};
use smallvec::SmallVec;

use crate::guard;

/// Runs a routine.
///
/// # Safety
///
/// The table has the addresses of what `desc.refs()` lists, each of as many
/// elements as the routine's signature says, aligned; what it works in is
/// aligned for [`Word`]. Result and work overlap nothing else.
pub(crate) unsafe extern "C" fn call(desc: *const Call, table: *const *mut u8) {
    // SAFETY: as required.
    let desc = unsafe { &*desc };
    guard::catch(|| {
        let signature = desc.routine.signature();
        // SAFETY: the table has that many entries.
        let table = unsafe { slice::from_raw_parts(table, desc.refs().count()) };
        let (args, rest) = table.split_at(desc.args.len());
        let args: SmallVec<[Slice<'_>; 3]> = (args.iter().zip(&signature.args))
            // SAFETY: as required.
            .map(|(&at, &of)| unsafe { elements(at, of) })
            .collect();
        // SAFETY: as required.
        let result = unsafe { elements_mut(rest[0], signature.result) };
        let work = match rest.get(1) {
            // SAFETY: as required; any bytes are a word.
            Some(&at) => unsafe { slice::from_raw_parts_mut(at.cast::<Word>(), signature.words) },
            None => &mut [],
        };
        if let Err(fault) = desc.routine.run(&args, work, result) {
            raise(Raised { fault, operation: desc.routine.name(), place: desc.place });
        }
    });
}

/// # Safety
///
/// There are so many elements of that type, aligned, and nobody writes them.
unsafe fn elements<'a>(at: *const u8, (dtype, len): (DType, usize)) -> Slice<'a> {
    if len == 0 {
        // An empty array need not be anywhere.
        return with_dtype!(dtype, T => <T as Sliced>::wrap(&[]));
    }
    // SAFETY: as required.
    with_dtype!(dtype, T => T::wrap(unsafe { slice::from_raw_parts(at.cast(), len) }))
}

/// # Safety
///
/// There are so many elements of that type, aligned, and nobody else uses them.
unsafe fn elements_mut<'a>(at: *mut u8, (dtype, len): (DType, usize)) -> SliceMut<'a> {
    if len == 0 {
        return with_dtype!(dtype, T => <T as Sliced>::wrap_mut(&mut []));
    }
    // SAFETY: as required.
    with_dtype!(dtype, T => T::wrap_mut(unsafe { slice::from_raw_parts_mut(at.cast(), len) }))
}
