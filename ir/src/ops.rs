//! The primitives, a file each.

mod argsort;
mod broadcast;
mod cholesky;
mod cofactors;
mod concat;
mod cond;
mod contract;
mod cumulate;
mod det;
mod gather;
mod input;
mod iota;
mod literal;
mod loop_limit;
mod loops;
mod lu;
mod lu_solve;
mod map;
mod matrix;
mod pad;
mod permute;
mod reduce;
mod region;
mod reshape;
mod rows;
mod scatter_add;
mod slice;
mod stop_gradient;
mod triangular_solve;
mod window;

pub use argsort::Argsort;
pub use broadcast::Broadcast;
pub use cholesky::Cholesky;
pub use cofactors::Cofactors;
pub use concat::Concat;
pub use cond::Cond;
pub use contract::Contract;
pub use cumulate::{Cumulate, Recurrence};
pub use det::Det;
pub use gather::Gather;
pub use input::Input;
pub use iota::Iota;
pub use literal::Literal;
pub use loop_limit::LoopLimit;
pub use loops::{Loop, Trip, Unroll};
pub use lu::Lu;
pub use lu_solve::LuSolve;
pub use map::{Map, strong_product};
pub use pad::{Pad, PadAxis};
pub use permute::Permute;
pub use reduce::Reduce;
pub use region::{FixedPoint, Region, Rule};
pub use reshape::Reshape;
pub use rows::Rows;
pub use scatter_add::ScatterAdd;
pub use slice::{Slice, SliceAxis};
pub use stop_gradient::StopGradient;
pub use triangular_solve::TriangularSolve;
pub use window::Window;

use smallvec::SmallVec;

/// A short list of axes or extents.
pub type Axes = SmallVec<[usize; 4]>;

#[cfg(test)]
mod testing {
    use ndarray::{ArrayD, IxDyn};

    use crate::array::{Array, Element};
    use crate::nest::Const;
    use crate::ty::Type;
    use crate::with_dtype;

    /// An array of small whole numbers, some negative, some repeated; sums and
    /// products of a few of them are exact in any type.
    pub(super) fn whole(ty: &Type, seed: usize) -> Array {
        let number = |i: usize| ((i + seed) * (5 + 2 * seed) % 11) as i64 - 4;
        with_dtype!(ty.dtype, T => {
            let element = |i| T::from_const(Const::of_int(ty.dtype, number(i)));
            let data: Vec<T> = (0..ty.len()).map(element).collect();
            Array::from_vec(&ty.shape, data).expect("as many elements as the shape has")
        })
    }

    /// Elements as numbers.
    pub(super) fn elements(a: &Array) -> ArrayD<f64> {
        let elements = ArrayD::from_shape_vec(IxDyn(a.dims()), a.to_f64_vec());
        elements.expect("as many elements as the shape has")
    }
}
