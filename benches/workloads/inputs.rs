//! Inputs: from files, or made up.

use std::path::Path;

use backstitch::{Args, ArgsMut, Array, Element};
use ndarray::{ArrayD, IxDyn};
use ndarray_npy::{ReadableElement, read_npy};

use crate::by_hand::{self, ByHand};
use crate::programs::{Distribution, Input, Workload};

/// What elements can be here.
pub trait Real: Element + ReadableElement + Args + ArgsMut {
    fn of(x: f64) -> Self;
    fn to_f64(self) -> f64;
    /// What is written by hand for a workload.
    fn by_hand(workload: &str) -> Vec<(&'static str, ByHand<Self>)>;
}

impl Real for f32 {
    fn of(x: f64) -> Self {
        x as Self
    }
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn by_hand(workload: &str) -> Vec<(&'static str, ByHand<Self>)> {
        by_hand::functions(workload)
    }
}

impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn by_hand(workload: &str) -> Vec<(&'static str, ByHand<Self>)> {
        by_hand::functions_f64(workload)
    }
}

/// Parameters and data: from `folder/workload/name.npy`, or drawn where there is no
/// such folder.
pub fn arrays<T: Real>(
    workload: &Workload,
    folder: Option<&Path>,
) -> Result<(Vec<ArrayD<T>>, Vec<Array>), String> {
    let folder = folder.map(|all| all.join(workload.name)).filter(|own| own.is_dir());
    let reals = |input: &Input| match &folder {
        Some(folder) => read(&folder.join(input.name), input.dims),
        None => {
            let mut number = numbers(workload, input);
            Ok(ArrayD::from_shape_simple_fn(IxDyn(input.dims), || T::of(number())))
        }
    };
    let any = |input: &Input| match (input.from, &folder) {
        (Distribution::Class(_), Some(folder)) => {
            Ok(read::<i32>(&folder.join(input.name), input.dims)?.into())
        }
        (Distribution::Class(_), None) => {
            let mut number = numbers(workload, input);
            Ok(ArrayD::from_shape_simple_fn(IxDyn(input.dims), || number() as i32).into())
        }
        _ => reals(input).map(Array::from),
    };
    Ok((
        workload.params.iter().map(reals).collect::<Result<_, _>>()?,
        workload.data.iter().map(any).collect::<Result<_, _>>()?,
    ))
}

fn read<T: Element + ReadableElement>(stem: &Path, dims: &[usize]) -> Result<ArrayD<T>, String> {
    let path = stem.with_extension("npy");
    let array: ArrayD<T> = read_npy(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let got = array.shape().to_vec();
    // Scalars are saved as arrays of one element.
    let array = array.as_standard_layout().into_owned();
    array
        .into_shape_with_order(IxDyn(dims))
        .map_err(|_| format!("{}: shape {got:?} instead of {dims:?}", path.display()))
}

/// The same numbers each time.
fn numbers(workload: &Workload, input: &Input) -> impl FnMut() -> f64 {
    let seed = workload.name.bytes().chain(input.name.bytes());
    let mut state = seed.fold(0u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut uniform = move || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    let from = input.from;
    move || match from {
        Distribution::Constant(x) => x,
        Distribution::Uniform(lo, hi) => lo + (hi - lo) * uniform(),
        Distribution::Coin => f64::from(uniform() < 0.5),
        Distribution::Class(classes) => (f64::from(classes) * uniform()).floor(),
        Distribution::Normal(deviation) => {
            // Box and Muller.
            let (u, v) = (1.0 - uniform(), uniform());
            deviation * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        }
    }
}
