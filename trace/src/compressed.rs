//! Sparse derivatives: several columns, or rows, by one sweep.
//!
//! The sweeps of all colours are one linear map applied to a batch of seeds, as in
//! [`jacobian`](crate::jacobian): the seed of a colour is 1 at the elements of that
//! colour. Then each entry is picked from the products. A dense derivative that is mostly
//! zeros is found the same way, and its entries are put into zeros.

use backstitch_ir::{Array, DType, Graph, Scalar, Shape, Type, Value, ops};
use backstitch_passes::{Colouring, Direction, Pattern, colour, forward, reverse, sparsity_within};

use crate::jacobian::linear;

/// How a matrix is found.
pub(crate) struct Sweeps<'a> {
    /// By which sweeps.
    pub direction: Direction,
    /// Of the columns, or of the rows.
    pub colouring: &'a Colouring,
    /// For each entry the colour of the sweep that has it, and the row, or the column,
    /// where it is.
    pub places: Vec<(usize, usize)>,
}

impl<'a> Sweeps<'a> {
    /// Of a pattern that is coloured.
    pub(crate) fn of(pattern: &Pattern, direction: Direction, colouring: &'a Colouring) -> Self {
        let of = |k: usize| colouring.of(k).expect("what has an entry has a colour");
        let places = pattern.entries().map(|(i, j)| match direction {
            Direction::Forward => (of(j), i),
            Direction::Reverse => (of(i), j),
        });
        Self { direction, colouring, places: places.collect() }
    }
}

/// Adds the entries of the derivative of the targets by the sources: one array.
pub(crate) fn values(
    g: &mut Graph,
    targets: &[Value],
    sources: &[Value],
    sweeps: &Sweeps<'_>,
) -> Value {
    let (from, to) = match sweeps.direction {
        Direction::Forward => (sources, targets),
        Direction::Reverse => (targets, sources),
    };
    let dtype = common(g, targets);
    if sweeps.places.is_empty() {
        return g.splat(&Type::new(dtype, [0]), 0.0);
    }
    let products = products(g, from, to, sweeps);
    // All products of one value stand together, then those of the next.
    let colours = sweeps.colouring.count();
    let mut starts = Vec::with_capacity(to.len());
    let mut flat = Vec::with_capacity(to.len());
    let mut start = 0;
    for (product, &v) in products.into_iter().zip(to) {
        let len = g.ty(v).len();
        starts.push(start);
        start += len;
        if len == 0 {
            continue;
        }
        let product = match product {
            Some(product) => g.cast(product, dtype),
            None => g.splat(&Type::new(dtype, [colours, len]), 0.0),
        };
        flat.push(g.reshape(product, [colours * len]));
    }
    let all = match flat[..] {
        [one] => one,
        _ => g.push(ops::Concat { axis: 0 }, &flat),
    };
    let place = |&(colour, k): &(usize, usize)| {
        let v = starts.partition_point(|&start| start <= k) - 1;
        let len = g.ty(to[v]).len();
        (colours * starts[v] + colour * len + (k - starts[v])) as i64
    };
    let places = sweeps.places.iter().map(place).collect();
    let index = index(g, places);
    g.push(ops::Gather { axis: 0 }, &[all, index])
}

/// Adds the products of the derivative with the seeds of all colours.
fn products(
    g: &mut Graph,
    from: &[Value],
    to: &[Value],
    sweeps: &Sweeps<'_>,
) -> Vec<Option<Value>> {
    let types: Vec<Type> = from.iter().map(|&v| g.ty(v).clone()).collect();
    let map = linear(g, &types, |h, seeds| {
        let pairs = from.iter().copied().zip(seeds.iter().copied());
        match sweeps.direction {
            Direction::Forward => forward(h, &pairs.collect::<Vec<_>>(), to),
            Direction::Reverse => {
                let pairs: Vec<_> = pairs.map(|(v, ct)| (v, Some(ct))).collect();
                reverse(h, &pairs, to)
            }
        }
    });
    let mut first = 0;
    let mut seeds = Vec::with_capacity(types.len());
    for ty in &types {
        seeds.push(seed(g, sweeps.colouring, first, ty));
        first += ty.len();
    }
    map.apply(g, &seeds, sweeps.colouring.count())
}

/// Adds the dense derivative of a target by each source, found by its pattern, where
/// that takes far fewer sweeps than there are rows or columns.
pub(crate) fn dense(g: &mut Graph, target: Value, sources: &[Value]) -> Option<Vec<Option<Value>>> {
    /// Fewer rows or columns are not worth the trouble.
    const FEWEST: usize = 16;
    /// What entries are computed must be this many times fewer.
    const GAIN: usize = 4;
    let rows = g.ty(target).len();
    let columns: usize = sources.iter().map(|&s| g.ty(s).len()).sum();
    let sweeps = rows.min(columns);
    if sweeps < FEWEST || columns >= u32::MAX as usize {
        return None;
    }
    // Where the pattern is worth having, its sets are small.
    let room = 32 * (rows + columns);
    let pattern = sparsity_within(g, &[target], sources, room)?;
    let (direction, colouring) = colour(&pattern);
    if colouring.count() * GAIN > sweeps {
        return None;
    }
    let all = Sweeps::of(&pattern, direction, &colouring);
    let values = values(g, &[target], sources, &all);
    let mut blocks = Vec::with_capacity(sources.len());
    let mut first = 0;
    for &source in sources {
        let ty = g.ty(source).clone();
        let n = ty.len();
        // Which entries are of this block, and where they go.
        let own = |&(_, (_, j)): &(usize, (usize, usize))| (first..first + n).contains(&j);
        let (from, to): (Vec<i64>, Vec<i64>) = pattern
            .entries()
            .enumerate()
            .filter(own)
            .map(|(k, (i, j))| (k as i64, (i * n + (j - first)) as i64))
            .unzip();
        first += n;
        if to.is_empty() {
            blocks.push(None);
            continue;
        }
        let mut part = values;
        if from.len() < pattern.nnz() {
            let from = index(g, from);
            part = g.push(ops::Gather { axis: 0 }, &[values, from]);
        }
        let dtype = g.ty(target).dtype;
        let zeros = g.splat(&Type::new(dtype, [rows * n]), 0.0);
        let to = index(g, to);
        let filled = g.push(ops::ScatterAdd { axis: 0 }, &[zeros, to, part]);
        let dims: Shape = g.ty(target).dims().iter().chain(ty.dims()).copied().collect();
        blocks.push(Some(g.reshape(filled, dims)));
    }
    Some(blocks)
}

/// A constant index.
fn index(g: &mut Graph, places: Vec<i64>) -> Value {
    let shape = Shape::from([places.len()]);
    g.constant(Array::from_vec(&shape, places).expect("as many as there are"))
}

/// The element type that holds all of them.
fn common(g: &Graph, values: &[Value]) -> DType {
    let mut dtypes = values.iter().map(|&v| g.ty(v).dtype);
    let first = dtypes.next().unwrap_or(DType::F64);
    if dtypes.all(|d| d == first) { first } else { DType::F64 }
}

/// For each colour, 1 at the elements of that colour, of a value whose first element is
/// number `first`.
fn seed(g: &mut Graph, colouring: &Colouring, first: usize, ty: &Type) -> Value {
    let colours = colouring.count();
    let n = ty.len();
    let of: Vec<i32> =
        (first..first + n).map(|k| colouring.of(k).map_or(-1, |c| c as i32)).collect();
    let of = Array::from_vec(&Shape::from([n]), of).expect("as many as there are");
    let of = g.constant(of);
    let all = Shape::from([colours, n]);
    let of = g.broadcast(of, &all, &[1]);
    let colour = g.push(ops::Iota { ty: Type::new(DType::I32, all), axis: 0 }, &[]);
    let same = g.map(Scalar::Eq, &[of, colour]);
    let ones = g.cast(same, ty.dtype);
    g.reshape(ones, std::iter::once(colours).chain(ty.dims().iter().copied()).collect::<Shape>())
}
