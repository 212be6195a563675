//! Sparse derivatives: several columns, or rows, by one sweep.
//!
//! The sweeps of all colours are one linear map applied to a batch of seeds, as in
//! [`jacobian`](crate::jacobian): the seed of a colour is 1 at the elements of that
//! colour. Then each entry is picked from the products.

use backstitch_ir::{Array, DType, Graph, Scalar, Shape, Type, Value, ops};
use backstitch_passes::{Colouring, Direction, forward, reverse};

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
    let colours = sweeps.colouring.count();
    if sweeps.places.is_empty() {
        return g.splat(&Type::new(dtype, [0]), 0.0);
    }
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
    let products = map.apply(g, &seeds, colours);
    // All products of one value stand together, then those of the next.
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
    let index: Vec<i64> = sweeps.places.iter().map(place).collect();
    let index = Array::from_vec(&Shape::from([index.len()]), index).expect("as many as there are");
    let index = g.constant(index);
    g.push(ops::Gather { axis: 0 }, &[all, index])
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
