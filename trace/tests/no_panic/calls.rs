//! Odd parameters, and calls with all of them.

use backstitch_trace::{Axes, Conv, DType, Number, PadMode, Pool, Tensor, Trace};

pub const AXES: [i32; 7] = [-3, -1, 0, 1, 2, i32::MIN, i32::MAX];
pub const SIZES: [usize; 6] = [0, 1, 3, 1 << 40, usize::MAX / 2, usize::MAX];
pub const STEPS: [i64; 7] = [i64::MIN, -3, -1, 0, 1, 2, i64::MAX];
pub const NUMBERS: [Number; 7] = [
    Number::F64(0.5),
    Number::F64(f64::NAN),
    Number::F64(-1.0),
    Number::F32(f32::INFINITY),
    Number::I32(300),
    Number::I64(i64::MIN),
    Number::Bool(true),
];
pub const FLOATS: [f64; 6] = [0.5, 0.0, -1.0, 2.0, f64::NAN, f64::INFINITY];
pub const DTYPES: [DType; 5] = [DType::F32, DType::F64, DType::I32, DType::I64, DType::Bool];
pub const MODES: [PadMode; 4] =
    [PadMode::Edge, PadMode::Reflect, PadMode::Symmetric, PadMode::Wrap];

/// Tensors among what an operation gives.
pub trait Results<'t> {
    fn all(self) -> Vec<Tensor<'t>>;
}

impl<'t> Results<'t> for Tensor<'t> {
    fn all(self) -> Vec<Tensor<'t>> {
        vec![self]
    }
}

impl<'t> Results<'t> for (Tensor<'t>, Tensor<'t>) {
    fn all(self) -> Vec<Tensor<'t>> {
        vec![self.0, self.1]
    }
}

impl<'t> Results<'t> for Vec<Tensor<'t>> {
    fn all(self) -> Vec<Tensor<'t>> {
        self
    }
}

pub type Call = for<'t> fn(&'t Trace, [Tensor<'t>; 3]) -> Vec<Tensor<'t>>;

/// A call as it is written, and to be made.
pub type Row = (&'static str, Call);

/// Calls with each of these parameters; what is given by all.
pub fn each<'t, P: Copy, R: Results<'t>>(
    parameters: impl IntoIterator<Item = P>,
    mut f: impl FnMut(P) -> R,
) -> Vec<Tensor<'t>> {
    parameters.into_iter().flat_map(|p| f(p).all()).collect()
}

/// Calls with each pair of parameters.
pub fn pairs<'t, P: Copy, Q: Copy, R: Results<'t>>(
    parameters: impl IntoIterator<Item = P>,
    others: impl IntoIterator<Item = Q> + Clone,
    mut f: impl FnMut(P, Q) -> R,
) -> Vec<Tensor<'t>> {
    each(parameters, |p| each(others.clone(), |q| f(p, q)))
}

pub fn axis_lists() -> Vec<Axes> {
    let lists: [&[i32]; 6] = [&[], &[0, 0], &[0, -1], &[1, 0], &[5], &[i32::MIN]];
    lists.into_iter().map(Axes::from).chain([Axes::All]).collect()
}

pub fn shapes() -> Vec<Vec<usize>> {
    let mut shapes = vec![vec![], vec![6], vec![3, 2], vec![0, 3], vec![1; 9]];
    shapes.extend([vec![usize::MAX], vec![usize::MAX, 0], vec![0, usize::MAX, usize::MAX]]);
    shapes.extend([vec![1 << 32, 1 << 32], vec![usize::MAX / 2, 3], vec![1 << 60, 1 << 2]]);
    shapes
}

/// Calls with each shape and element type.
pub fn sized<'t>(f: impl Fn(Vec<usize>, DType) -> Tensor<'t>) -> Vec<Tensor<'t>> {
    let all = shapes().into_iter().flat_map(|s| DTYPES.map(|d| (s.clone(), d)));
    all.map(|(s, d)| f(s, d)).collect()
}

pub const EQUATIONS: [&str; 34] = [
    "",
    "->",
    ",",
    ",,",
    "i",
    "ij",
    "ii",
    "iij",
    "i->",
    "ij->ji",
    "ij->ii",
    "ij->k",
    "i->ii",
    "->i",
    "i,i",
    "ij,jk",
    "ij,jk->ik",
    "i,j->ij",
    "i,j,k",
    "...",
    "...i",
    "i...->...",
    "...->",
    "......",
    "..i",
    ".",
    "i.j",
    "i->j->k",
    "i-j",
    "i>j",
    "1,2",
    "i ,\tj",
    "é,é->é",
    "...i,...i->...i...",
];

/// Window, stride, margin, dilation, groups.
pub const POOLS: [[usize; 5]; 12] = [
    [1, 1, 0, 1, 1],
    [2, 1, 1, 1, 1],
    [2, 2, 1, 2, 2],
    [0, 1, 0, 1, 1],
    [1, 0, 0, 1, 1],
    [1, 1, 0, 0, 1],
    [1, 1, 0, 1, 0],
    [3, 3, 3, 3, 3],
    [usize::MAX, 1, 0, 1, 1],
    [1, usize::MAX, 0, usize::MAX, 1],
    [2, 1, usize::MAX, 1, usize::MAX],
    [2, 1, usize::MAX / 2, 1, 1],
];

pub fn pools<'t>(f: impl Fn(&Pool) -> Tensor<'t>, p: &[usize; 5]) -> Vec<Tensor<'t>> {
    let [window, stride, padding, ..] = *p;
    let all = [
        Pool::new(window).stride(stride).padding(padding),
        Pool::new(window).stride(stride).padding((0, padding)).count_padding(false),
        Pool::new([window, window]).padding([(padding, 0), (0, padding)]),
        Pool::new([window]).stride([stride, 1]),
        Pool::new(vec![]),
    ];
    all.iter().map(f).collect()
}

pub fn convs<'t>(f: impl Fn(&Conv) -> Tensor<'t>, p: &[usize; 5]) -> Vec<Tensor<'t>> {
    let [more, stride, padding, dilation, groups] = *p;
    let how = || Conv::default().stride(stride).padding(padding).dilation(dilation);
    let all = [
        how(),
        how().groups(groups),
        how().output_padding(more),
        how().output_padding([more, 1]).stride([stride]),
        Conv::default().padding([(padding, 0), (0, padding)]).dilation([dilation, 1]),
        Conv::default().padding(vec![]),
    ];
    all.iter().map(f).collect()
}
