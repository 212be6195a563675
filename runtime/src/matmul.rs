//! Matrix products, by faer.
//!
//! With AVX2 or AVX-512 each element of a product is one sum, in order of `k` with fused
//! multiplications, in pieces of 512: so neither the layout of a matrix nor how it is cut for
//! several threads changes a bit, and it is cut as suits their number. Elsewhere the extents
//! decide the order: there a product is cut into the same blocks on any number of threads.
//! (Products of a single row, column or `k` are sums of another order. None comes from a
//! graph: those are nests, see `legalise` in passes. So are small ones: none is a piece of a
//! product that is not.)
//!
//! The library keeps memory for repacked factors, per thread, and takes it when a thread
//! first needs it.

use std::ops::Range;

use backstitch_ir::plan::{BatchAxis, Gemm};
use backstitch_ir::{DType, threshold};
use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef, Par};

use crate::guard;
use crate::threads::{COARSE, available, parts};

/// Where the order of sums follows from the extents, products are cut at multiples of so many
/// rows or columns.
const BLOCK: usize = threshold(96, 4);

/// Where it does not, pieces begin at multiples of so many: full vectors.
const VECTOR: usize = threshold(16, 4);

/// Columns of a piece, if the product is stored by rows, from which on pieces are as fast as
/// the whole; and if there is one for each thread.
const ALONG: [usize; 2] = threshold([64, 48], [8, 4]);

/// Rows of a piece: the library repacks the right factor for each.
const ACROSS: [usize; 2] = threshold([96, 16], [8, 4]);

/// Products of so many multiplications, or fewer, are another function of the library's
/// (`NANO_GEMM_THRESHOLD`), which adds in another order.
const SMALL: usize = 16 * 16 * 16;

/// Multiplications from which a piece is worth being more than one for each thread.
const PIECE: usize = threshold(1 << 20, 64);

/// `c = a · b` as described, or `c += a · b`.
///
/// # Safety
///
/// At `a`, `b` and `c` are the matrices described, the elements (0, 0) of the
/// first of the batch; `c` overlaps neither factor, nor its elements each other.
pub(crate) unsafe extern "C" fn gemm(
    desc: *const Gemm,
    a: *const u8,
    b: *const u8,
    c: *mut u8,
    threads: u32,
) {
    // SAFETY: as required.
    let desc = unsafe { &*desc };
    // SAFETY: as required.
    guard::catch(|| unsafe {
        match desc.dtype {
            DType::F32 => shared::<f32>(desc, threads, a.cast(), b.cast(), c.cast()),
            DType::F64 => shared::<f64>(desc, threads, a.cast(), b.cast(), c.cast()),
            other => panic!("matrix product of {other}"),
        }
    });
}

/// The scalars that products are made of.
trait Real: ComplexField + Copy {
    const ONE: Self;
}

impl Real for f32 {
    const ONE: Self = 1.0;
}

impl Real for f64 {
    const ONE: Self = 1.0;
}

/// Where the three matrices are.
#[derive(Clone, Copy)]
struct Places<T> {
    a: *const T,
    b: *const T,
    c: *mut T,
}

// SAFETY: factors are only read, and products of one batch do not overlap: each is
// written by one thread.
unsafe impl<T> Send for Places<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Places<T> {}

impl<T> Places<T> {
    /// Those at an index of a batch axis. Wrapping, because an empty matrix need not be
    /// anywhere.
    fn at(self, axis: &BatchAxis, i: usize) -> Self {
        let [a, b, c] = axis.strides.map(|stride| i as isize * stride);
        let Self { a: a0, b: b0, c: c0 } = self;
        Self { a: a0.wrapping_offset(a), b: b0.wrapping_offset(b), c: c0.wrapping_offset(c) }
    }

    /// Those of the product of that number in a batch.
    fn of(self, batch: &[BatchAxis], number: usize) -> Self {
        let (places, _) = batch.iter().rev().fold((self, number), |(places, rest), axis| {
            (places.at(axis, rest % axis.extent), rest / axis.extent)
        });
        places
    }
}

/// All products of a batch, which threads share piece by piece. Which thread makes an element
/// does not change how it is made.
unsafe fn shared<T: Real>(desc: &Gemm, threads: u32, a: *const T, b: *const T, c: *mut T) {
    let places = Places { a, b, c };
    let whole = is_one_order();
    if threads <= 1 && whole {
        // SAFETY: as required.
        return unsafe { batched(desc, &desc.batch, places) };
    }
    let batch: usize = desc.batch.iter().map(|axis| axis.extent).product();
    let cut = match whole {
        true => Cut::free(desc, batch, available(threads)),
        false => Cut::fixed(desc),
    };
    parts(threads, batch * cut.pieces, |range| {
        let mut next = range.start;
        while next < range.end {
            let (product, piece) = (next / cut.pieces, next % cut.pieces);
            let end = cut.run_end(piece, range.end - next);
            next += end - piece;
            // SAFETY: as required; pieces are rows or columns of `c` of their own.
            unsafe { cut.run(desc, piece..end, places.of(&desc.batch, product)) };
        }
    });
}

unsafe fn batched<T: Real>(desc: &Gemm, batch: &[BatchAxis], places: Places<T>) {
    let Some((axis, inner)) = batch.split_first() else {
        // SAFETY: as required.
        return unsafe { product(desc, [desc.m, desc.n], places) };
    };
    for i in 0..axis.extent {
        // SAFETY: as required.
        unsafe { batched(desc, inner, places.at(axis, i)) };
    }
}

/// How each product of a batch is cut.
struct Cut {
    /// Into rows, or else columns.
    rows: bool,
    /// How many there are of these.
    long: usize,
    pieces: usize,
    /// Rows or columns of a piece, where it matters to the bits; pieces that follow each other
    /// may be done at once where it does not.
    block: Option<usize>,
}

impl Cut {
    /// In any way, for so many products and threads.
    fn free(desc: &Gemm, batch: usize, threads: usize) -> Self {
        // For the library, columns of a matrix that is stored by rows are the rows of one
        // stored by columns.
        let by_rows = desc.c.row.unsigned_abs() > desc.c.col.unsigned_abs();
        let (along, across) = if by_rows { (desc.n, desc.m) } else { (desc.m, desc.n) };
        let wanted = Self::wanted(desc, batch, threads);
        let most = |long: usize, [well, least]: [usize; 2]| {
            (long / well).max(threads.min(long / least)).max(1)
        };
        let [most_along, most_across] = [most(along, ALONG), most(across, ACROSS)];
        let is_along = most_along >= wanted.min(most_across);
        let (long, other, most) =
            if is_along { (along, across, most_along) } else { (across, along, most_across) };
        let least = SMALL / other.saturating_mul(desc.k).max(1) + 1;
        let most = most.min(long / least.next_multiple_of(VECTOR)).max(1);
        let pieces = match wanted <= most {
            true => wanted,
            false => (1..=most).rev().find(Self::even(batch, threads)).unwrap_or(most),
        };
        Self { rows: is_along != by_rows, long, pieces, block: None }
    }

    /// Into how many pieces, if its extents were of no concern.
    fn wanted(desc: &Gemm, batch: usize, threads: usize) -> usize {
        if threads == 1 || batch == 0 || batch >= COARSE * threads {
            return 1;
        }
        let large = desc.m.saturating_mul(desc.n).saturating_mul(desc.k) / PIECE;
        let wanted = (COARSE * threads).div_ceil(batch).min(large).max(threads.div_ceil(batch));
        (wanted..=2 * wanted).find(Self::even(batch, threads)).unwrap_or(wanted)
    }

    /// Whether all threads get as many pieces, if each product is cut into so many.
    fn even(batch: usize, threads: usize) -> impl Fn(&usize) -> bool {
        move |pieces| (batch * pieces).is_multiple_of(threads)
    }

    /// Always the same.
    fn fixed(desc: &Gemm) -> Self {
        let long = desc.m.max(desc.n);
        // A rest of one is no piece: the library has another order for products of one row or
        // column.
        let pieces = long / BLOCK + usize::from(long % BLOCK > 1);
        Self { rows: desc.m > desc.n, long, pieces: pieces.max(1), block: Some(BLOCK) }
    }

    /// Where the pieces end that are done at once, from this one on, of so many.
    fn run_end(&self, from: usize, count: usize) -> usize {
        let count = if self.block.is_some() { 1 } else { count };
        self.pieces.min(from + count)
    }

    /// Where a piece begins.
    fn begin(&self, piece: usize) -> usize {
        match self.block {
            _ if piece == self.pieces => self.long,
            Some(block) => piece * block,
            None => piece * self.long / self.pieces / VECTOR * VECTOR,
        }
    }

    /// These pieces of a product.
    unsafe fn run<T: Real>(&self, desc: &Gemm, pieces: Range<usize>, places: Places<T>) {
        let (from, to) = (self.begin(pieces.start), self.begin(pieces.end));
        let (axis, size) = match self.rows {
            true => ([desc.a.row, 0, desc.c.row], [to - from, desc.n]),
            false => ([0, desc.b.col, desc.c.col], [desc.m, to - from]),
        };
        let axis = BatchAxis { extent: self.long, strides: axis };
        // SAFETY: as required: part of it.
        unsafe { product(desc, size, places.at(&axis, from)) };
    }
}

/// Whether the library adds up in the same order for any extents.
fn is_one_order() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// So many rows and columns of a product.
unsafe fn product<T: Real>(desc: &Gemm, [m, n]: [usize; 2], Places { a, b, c }: Places<T>) {
    let k = desc.k;
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: as required: these are matrices in bounds, and `c` overlaps neither factor.
    let (a, b, c) = unsafe {
        (
            MatRef::from_raw_parts(a, m, k, desc.a.row, desc.a.col),
            MatRef::from_raw_parts(b, k, n, desc.b.row, desc.b.col),
            MatMut::from_raw_parts_mut(c, m, n, desc.c.row, desc.c.col),
        )
    };
    let accum = if desc.add { Accum::Add } else { Accum::Replace };
    matmul(c, accum, a, b, T::ONE, Par::Seq);
}

#[cfg(test)]
mod tests {
    use backstitch_ir::index::Idx as _;
    use backstitch_ir::plan::{Buffer, BufferRef, Matrix};

    use super::*;

    fn desc([m, n, k]: [usize; 3], by_rows: bool) -> Gemm {
        let at = BufferRef { buffer: Buffer::new(0), offset: 0 };
        let stored = |rows: usize, cols: usize, by_rows: bool| match by_rows {
            true => Matrix { at, row: cols as isize, col: 1 },
            false => Matrix { at, row: 1, col: rows as isize },
        };
        let [a, b, c] = [stored(m, k, true), stored(k, n, true), stored(m, n, by_rows)];
        Gemm { dtype: DType::F32, m, n, k, add: false, batch: vec![], a, b, c }
    }

    #[test]
    fn pieces_are_the_whole_and_none_is_a_single_row() {
        let longs = (0..200).chain([511, 1600, 20_000]);
        for (long, by_rows) in longs.flat_map(|long| [(long, true), (long, false)]) {
            for [m, n, k] in [[long, 64, 512], [64, long, 512], [long, 2, 9], [long, long, 900]] {
                let desc = desc([m, n, k], by_rows);
                let free = |threads| [1, 3, 40].map(|batch| Cut::free(&desc, batch, threads));
                for cut in [1, 2, 3, 8, 1000].into_iter().flat_map(free).chain([Cut::fixed(&desc)])
                {
                    let ends: Vec<usize> = (0..=cut.pieces).map(|i| cut.begin(i)).collect();
                    assert_eq!((ends[0], ends[cut.pieces]), (0, if cut.rows { m } else { n }));
                    let widths = ends.windows(2).map(|w| w[1] - w[0]);
                    let is_wide = |width| cut.pieces == 1 || width > 1;
                    assert!(widths.clone().all(is_wide), "{m} {n} {k}: {ends:?}");
                    let other = if cut.rows { n } else { m };
                    let is_large = |width: usize| cut.pieces == 1 || width * other * k > SMALL;
                    let fixed = cut.block.is_some();
                    assert!(fixed || widths.clone().all(is_large), "{m} {n} {k}: {ends:?}");
                }
            }
        }
    }

    #[test]
    fn two_threads_get_the_same() {
        let columns = |cut: Cut| (!cut.rows, cut.pieces);
        let cut = |size, batch| columns(Cut::free(&desc(size, true), batch, 2));
        // Wide ones by columns, others by rows; two pieces if it is soon done.
        assert_eq!(cut([64, 256, 1600], 1), (true, 4));
        assert_eq!(cut([128, 512, 784], 1), (true, 8));
        assert_eq!(cut([1600, 256, 64], 1), (false, 8));
        assert_eq!(cut([512, 64, 64], 1), (false, 2));
        assert_eq!(cut([64, 64, 512], 1), (false, 2));
        // Batches are cut if they have to be.
        assert_eq!(cut([128, 64, 128], 4).1, 1);
        assert_eq!(cut([128, 64, 128], 3).1, 2);
        assert_eq!(cut([128, 64, 128], 33).1, 1);
        assert_eq!(columns(Cut::free(&desc([512; 3], true), 1, 1)).1, 1);
    }
}
