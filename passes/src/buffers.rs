//! Lifetimes and places: where in the arena each buffer is.
//!
//! 1. What becomes of donated inputs is made late ([`delay`]); copies that need not be go
//!    away ([`coalesce`]): what is computed to be copied is computed where the copy would
//!    be.
//! 2. A buffer lives from the first step that mentions it to the last ([`lives`]); if it
//!    is mentioned inside a loop and was there before, to the end of that loop.
//! 3. What a kernel makes takes the place of what it reads for the last time, where it
//!    reads each element before it stores over it ([`in_place`]).
//! 4. What is left are blocks with a beginning, an end and a size ([`fit`]).

mod coalesce;
mod delay;
mod fit;
mod in_place;
mod lives;

use backstitch_ir::index::{Idx, IndexVec};
use backstitch_ir::nest::Nest;
use backstitch_ir::plan::{ALIGN, Buffer, BufferDecl, Kernel, Place, SCALAR_ALIGN, Step};

use fit::Block;

/// The arena of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arena {
    /// How large it is.
    pub bytes: usize,
    /// How large it has to be at least: the bytes of all that lives at the worst moment.
    pub live: usize,
    /// The same, with each array filled up to a multiple of its alignment.
    pub padded: usize,
}

/// Places all buffers of the arena. Those without elements are at 0.
pub(crate) fn place(
    buffers: &mut IndexVec<Buffer, BufferDecl>,
    kernels: &mut IndexVec<Kernel, Nest>,
    steps: &mut Vec<Step>,
) -> Arena {
    delay::delay(buffers, kernels, steps);
    coalesce::coalesce(buffers, kernels, steps);
    let lives = lives::of(steps, buffers.len());
    let next = in_place::choose(buffers, kernels, &lives);
    let lives = lives.spans;
    let round = |n: usize, to: usize| n.div_ceil(to) * to;
    let bytes = |b: Buffer| buffers[b].len.saturating_mul(buffers[b].dtype.size());
    let is_scalar = |b: Buffer| buffers[b].len == 1;

    // Buffers that take each other's place are one block.
    let mut block_of: IndexVec<Buffer, Option<(bool, usize)>> =
        IndexVec::filled(None, buffers.len());
    let (mut scalars, mut arrays): (Vec<Block>, Vec<Block>) = (Vec::new(), Vec::new());
    let mut alive: Vec<Block> = Vec::new();
    for b in (0..buffers.len()).map(Buffer::new) {
        let Some((first, mut last)) = lives[b] else { continue };
        let is_placed = matches!(buffers[b].place, Place::Arena(_)) && buffers[b].len > 0;
        if !is_placed || next.taken[b] {
            continue;
        }
        let scalar = is_scalar(b);
        let (blocks, align) =
            if scalar { (&mut scalars, SCALAR_ALIGN) } else { (&mut arrays, ALIGN) };
        let (mut now, number) = (Some(b), blocks.len());
        while let Some(b) = now {
            block_of[b] = Some((scalar, number));
            last = lives[b].map_or(last, |l| l.1);
            now = next.after[b];
        }
        let bytes = bytes(b);
        alive.push(Block { first, last, bytes });
        let bytes = round(bytes.min(usize::MAX / 2), align);
        blocks.push(Block { first, last, bytes });
    }
    let (scalar_places, end) = fit::fit(&scalars);
    let (array_places, arrays_end) = fit::fit(&arrays);
    // Single elements have an arena of their own, packed closely, before the rest.
    let base = round(end, ALIGN);
    for b in (0..buffers.len()).map(Buffer::new) {
        if let (Place::Arena(offset), Some((scalar, number))) = (&mut buffers[b].place, block_of[b])
        {
            *offset = if scalar { scalar_places[number] } else { base + array_places[number] };
        }
    }
    let padded = base.saturating_add(fit::most(&arrays));
    Arena { bytes: base.saturating_add(arrays_end), live: fit::most(&alive), padded }
}
