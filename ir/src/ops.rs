//! The primitives, a file each.

mod broadcast;
mod concat;
mod cond;
mod contract;
mod gather;
mod input;
mod iota;
mod literal;
mod loops;
mod map;
mod pad;
mod permute;
mod reduce;
mod reshape;
mod scatter_add;
mod slice;
mod stop_gradient;

pub use broadcast::Broadcast;
pub use concat::Concat;
pub use cond::Cond;
pub use contract::Contract;
pub use gather::Gather;
pub use input::Input;
pub use iota::Iota;
pub use literal::Literal;
pub use loops::{Loop, Trip};
pub use map::Map;
pub use pad::{Pad, PadAxis};
pub use permute::Permute;
pub use reduce::Reduce;
pub use reshape::Reshape;
pub use scatter_add::ScatterAdd;
pub use slice::{Slice, SliceAxis};
pub use stop_gradient::StopGradient;

use smallvec::SmallVec;

/// A short list of axes or extents.
pub type Axes = SmallVec<[usize; 4]>;
