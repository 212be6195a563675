//! The operations of the files: a row for each, with its name (in camel case), its
//! attributes, its operands, and what it is in the public API.

use backstitch::{Conv, PadMode, Pool, Tensor, Trace, Triangle};
use serde::Deserialize;

use super::interpret::{cond, for_loop, scan, while_loop};
use super::program::{Body, DType};

macro_rules! operations {
    (
        $t:ident;
        $($name:ident $({ $($(#[$serde:meta])* $attr:ident: $ty:ty),* })? $args:pat => $result:expr;)*
    ) => {
        /// What a node does, with its attributes.
        #[derive(Deserialize)]
        #[serde(tag = "op", content = "attrs", rename_all = "snake_case")]
        pub enum Op {
            $($name { $($($(#[$serde])* $attr: $ty),*)? },)*
        }

        impl Op {
            /// Its results.
            pub fn apply<'t>(&self, $t: &'t Trace, args: &[Tensor<'t>]) -> Vec<Tensor<'t>> {
                match self {
                    $(Self::$name { $($($attr),*)? } => match args {
                        $args => Results::from($result).0,
                        #[allow(unreachable_patterns, reason = "some take any number")]
                        _ => panic!("{} does not take {} operands", stringify!($name), args.len()),
                    },)*
                }
            }
        }
    };
}

/// A reduction by the method that keeps axes, or the one that does not.
macro_rules! reduce {
    ($x:expr, $axes:ident, $keepdims:ident, $over:ident, $keep:ident) => {
        if *$keepdims { $x.$keep(over($axes)) } else { $x.$over(over($axes)) }
    };
}
/// A running combination, from either end.
macro_rules! running {
    ($x:expr, $axis:ident, $reverse:ident, $method:ident, $method_reverse:ident) => {
        if *$reverse { $x.$method_reverse(*$axis) } else { $x.$method(*$axis) }
    };
}

operations! {
    t;

    // Elementwise, one operand.
    Identity {} &[x] => x;
    StopGradient {} &[x] => x.stop_gradient();
    Neg {} &[x] => -x;
    Abs {} &[x] => x.abs();
    Sign {} &[x] => x.sign();
    Floor {} &[x] => x.floor();
    Ceil {} &[x] => x.ceil();
    Round {} &[x] => x.round();
    Trunc {} &[x] => x.trunc();
    Square {} &[x] => x.square();
    Sqrt {} &[x] => x.sqrt();
    Rsqrt {} &[x] => x.rsqrt();
    Cbrt {} &[x] => x.cbrt();
    Reciprocal {} &[x] => x.reciprocal();
    Exp {} &[x] => x.exp();
    Exp2 {} &[x] => x.exp2();
    Expm1 {} &[x] => x.expm1();
    Log {} &[x] => x.log();
    Log2 {} &[x] => x.log2();
    Log10 {} &[x] => x.log10();
    Log1p {} &[x] => x.log1p();
    Sin {} &[x] => x.sin();
    Cos {} &[x] => x.cos();
    Tan {} &[x] => x.tan();
    Asin {} &[x] => x.asin();
    Acos {} &[x] => x.acos();
    Atan {} &[x] => x.atan();
    Sinh {} &[x] => x.sinh();
    Cosh {} &[x] => x.cosh();
    Tanh {} &[x] => x.tanh();
    Asinh {} &[x] => x.asinh();
    Acosh {} &[x] => x.acosh();
    Atanh {} &[x] => x.atanh();
    Sinc {} &[x] => x.sinc();
    Erf {} &[x] => x.erf();
    Erfc {} &[x] => x.erfc();
    Erfinv {} &[x] => x.erfinv();
    Lgamma {} &[x] => x.lgamma();
    Digamma {} &[x] => x.digamma();
    Sigmoid {} &[x] => x.sigmoid();
    LogSigmoid {} &[x] => x.log_sigmoid();
    Softplus {} &[x] => x.softplus();
    Softsign {} &[x] => x.softsign();
    Relu {} &[x] => x.relu();
    Relu6 {} &[x] => x.relu6();
    Selu {} &[x] => x.selu();
    Silu {} &[x] => x.silu();
    Mish {} &[x] => x.mish();
    HardTanh {} &[x] => x.hard_tanh();
    HardSigmoid {} &[x] => x.hard_sigmoid();
    HardSilu {} &[x] => x.hard_silu();
    Isfinite {} &[x] => x.is_finite();
    Isnan {} &[x] => x.is_nan();
    LogicalNot {} &[x] => x.not();
    IntegerPow { n: i32 } &[x] => x.powi(*n);
    LeakyRelu { slope: f64 } &[x] => x.leaky_relu(*slope);
    Elu { alpha: f64 } &[x] => x.elu(*alpha);
    Gelu { approximate: bool } &[x] => if *approximate { x.gelu_tanh() } else { x.gelu() };
    Celu { alpha: f64 } &[x] => x.celu(*alpha);
    Clip { min: Option<f64>, max: Option<f64> } &[x] => {
        x.clip(min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY))
    };
    Cast { dtype: DType } &[x] => x.cast((*dtype).into());

    // Elementwise, two or three operands.
    Add {} &[x, y] => x + y;
    Sub {} &[x, y] => x - y;
    Mul {} &[x, y] => x * y;
    Div {} &[x, y] => x / y;
    Pow {} &[x, y] => x.pow(y);
    Maximum {} &[x, y] => x.maximum(y);
    Minimum {} &[x, y] => x.minimum(y);
    Atan2 {} &[y, x] => y.atan2(x);
    Hypot {} &[x, y] => x.hypot(y);
    Logaddexp {} &[x, y] => x.logaddexp(y);
    Xlogy {} &[x, y] => x.xlogy(y);
    Xlog1py {} &[x, y] => x.xlog1py(y);
    Mod {} &[x, y] => x.modulo(y);
    Fmod {} &[x, y] => x.fmod(y);
    FloorDivide {} &[x, y] => x.floor_divide(y);
    Eq {} &[x, y] => x.eq(y);
    Ne {} &[x, y] => x.ne(y);
    Lt {} &[x, y] => x.lt(y);
    Le {} &[x, y] => x.le(y);
    Gt {} &[x, y] => x.gt(y);
    Ge {} &[x, y] => x.ge(y);
    LogicalAnd {} &[x, y] => x.and(y);
    LogicalOr {} &[x, y] => x.or(y);
    LogicalXor {} &[x, y] => x.xor(y);
    Where {} &[c, x, y] => c.select(x, y);
    Clamp {} &[x, lo, hi] => x.maximum(lo).minimum(hi);

    // Reductions.
    Sum { axes: Axes, keepdims: bool } &[x] => reduce!(x, axes, keepdims, sum_over, sum_keep);
    Mean { axes: Axes, keepdims: bool } &[x] => reduce!(x, axes, keepdims, mean_over, mean_keep);
    Prod { axes: Axes, keepdims: bool } &[x] => reduce!(x, axes, keepdims, prod_over, prod_keep);
    Max { axes: Axes, keepdims: bool } &[x] => reduce!(x, axes, keepdims, max_over, max_keep);
    Min { axes: Axes, keepdims: bool } &[x] => reduce!(x, axes, keepdims, min_over, min_keep);
    All { axes: Axes, keepdims: bool } &[x] => reduce!(x, axes, keepdims, all_over, all_keep);
    Any { axes: Axes, keepdims: bool } &[x] => reduce!(x, axes, keepdims, any_over, any_keep);
    Logsumexp { axes: Axes, keepdims: bool } &[x] => {
        reduce!(x, axes, keepdims, logsumexp_over, logsumexp_keep)
    };
    Var { axes: Axes, keepdims: bool, ddof: usize } &[x] => {
        kept(x, axes, *keepdims, x.var_with(over(axes), *ddof))
    };
    Std { axes: Axes, keepdims: bool, ddof: usize } &[x] => {
        kept(x, axes, *keepdims, x.std_with(over(axes), *ddof))
    };
    Norm { axes: Axes, keepdims: bool, ord: Order } &[x] => match ord {
        Order::Number(1) => reduce!(x.abs(), axes, keepdims, sum_over, sum_keep),
        Order::Named(NamedOrder::Inf) => reduce!(x.abs(), axes, keepdims, max_over, max_keep),
        Order::Number(_) | Order::Named(NamedOrder::Fro) => reduce!(x, axes, keepdims, norm_over, norm_keep),
    };
    Argmax { axis: Option<i32>, keepdims: bool } &[x] => match axis {
        Some(axis) => kept(x, &Some(vec![*axis]), *keepdims, x.argmax(*axis)),
        None => kept(x, &None, *keepdims, x.flatten().argmax(0)),
    };
    Argmin { axis: Option<i32>, keepdims: bool } &[x] => match axis {
        Some(axis) => kept(x, &Some(vec![*axis]), *keepdims, x.argmin(*axis)),
        None => kept(x, &None, *keepdims, x.flatten().argmin(0)),
    };

    // Normalisation.
    Softmax { axis: i32 } &[x] => x.softmax(*axis);
    LogSoftmax { axis: i32 } &[x] => x.log_softmax(*axis);
    Normalize { axis: i32, eps: f64 } &[x] => x.normalize(*axis, *eps);
    CosineSimilarity { axis: i32, eps: f64 } &[x, y] => x.cosine_similarity(y, *axis, *eps);
    LayerNorm { eps: f64 } &[x, gamma, beta] => x.layer_norm(gamma, beta, *eps);
    RmsNorm { eps: f64 } &[x, gamma] => x.rms_norm(gamma, *eps);
    BatchNorm { eps: f64 } &[x, gamma, beta] => x.batch_norm(gamma, beta, *eps);

    // Products.
    Matmul {} &[x, y] => x.matmul(y);
    Dot {} &[x, y] => x.dot(y);
    Solve {} &[a, b] => a.solve(b);
    TriangularSolve { lower: bool, transpose: bool, unit_diagonal: bool } &[a, b] => {
        let [lower, transpose, unit_diagonal] = [lower, transpose, unit_diagonal].map(|&x| x);
        a.triangular_solve(b, Triangle { lower, transpose, unit_diagonal })
    };
    Inverse {} &[a] => a.inverse();
    Det {} &[a] => a.det();
    Slogdet {} &[a] => {
        let (sign, log) = a.slogdet();
        vec![sign, log]
    };
    Cholesky {} &[a] => a.cholesky();
    Outer {} &[x, y] => x.outer(y);
    Einsum { equation: String } operands => t.einsum(equation, operands);
    Tensordot { axes: [Vec<i32>; 2] } &[x, y] => x.tensordot(y, &axes[0], &axes[1]);

    // Shape and selection.
    Transpose { perm: Vec<i32> } &[x] => x.permute(perm);
    Reshape { shape: Vec<usize> } &[x] => x.reshape(shape.as_slice());
    BroadcastTo { shape: Vec<usize> } &[x] => x.broadcast_to(shape.as_slice());
    ExpandDims { axis: i32 } &[x] => x.expand_dims(*axis);
    Squeeze { axes: Vec<i32> } &[x] => x.squeeze(axes);
    Concat { axis: i32 } parts => t.concat(parts, *axis);
    Stack { axis: i32 } parts => t.stack(parts, *axis);
    Split { axis: i32, sizes: Vec<usize> } &[x] => x.split(*axis, sizes);
    Slice { slices: Vec<[Option<i64>; 3]> } &[x] => {
        slices.iter().enumerate().fold(x, |x, (axis, &[start, stop, step])| {
            x.slice(axis as i32, (start, stop), step.unwrap_or(1))
        })
    };
    Index { axis: i32, index: i64 } &[x] => x.index(*axis, *index);
    Trace { k: i64 } &[x] => x.diagonal_sum(*k, [0, 1]);
    Diag { k: i64 } &[x] => x.diag(*k);
    Tril { k: i64 } &[x] => x.tril(*k);
    Triu { k: i64 } &[x] => x.triu(*k);
    Flip { axes: Vec<i32> } &[x] => x.flip(axes);
    Roll { shifts: Vec<i64>, axes: Vec<i32> } &[x] => {
        shifts.iter().zip(axes).fold(x, |x, (&shift, &axis)| x.roll(shift, axis))
    };
    Tile { reps: Vec<usize> } &[x] => x.tile(reps);
    Repeat { repeats: usize, axis: i32 } &[x] => x.repeat(*repeats, *axis);
    Pad { pads: Vec<(usize, usize)>, mode: Padding, value: f64 } &[x] => match mode {
        Padding::Constant => x.pad(pads, *value),
        Padding::Edge => x.pad_with(pads, PadMode::Edge),
        Padding::Reflect => x.pad_with(pads, PadMode::Reflect),
    };
    Meshgrid { indexing: Indexing } axes => match indexing {
        Indexing::Ij => t.grid(axes),
        Indexing::Xy => t.grid_xy(axes),
    };

    // Indices.
    Take { axis: i32 } &[x, index] => x.take(index, *axis);
    TakeAlongAxis { axis: i32 } &[x, index] => x.take_along_axis(index, *axis);
    GatherNd {} &[x, index] => x.gather_nd(index);
    ScatterAdd { axis: i32 } &[x, index, updates] => x.scatter_add(index, updates, *axis);
    ScatterUpdate { axis: i32 } &[x, index, updates] => x.scatter_update(index, updates, *axis);
    SegmentSum { num_segments: usize } &[x, ids] => x.segment_sum(ids, *num_segments);
    OneHot { depth: usize, dtype: DType } &[index] => index.one_hot(*depth, (*dtype).into());

    // Along an axis.
    Cumsum { axis: i32, reverse: bool } &[x] => running!(x, axis, reverse, cumsum, cumsum_reverse);
    Cumprod { axis: i32, reverse: bool } &[x] => running!(x, axis, reverse, cumprod, cumprod_reverse);
    Cummax { axis: i32, reverse: bool } &[x] => running!(x, axis, reverse, cummax, cummax_reverse);
    Cummin { axis: i32, reverse: bool } &[x] => running!(x, axis, reverse, cummin, cummin_reverse);
    Logcumsumexp { axis: i32, reverse: bool } &[x] => running!(x, axis, reverse, logcumsumexp, logcumsumexp_reverse);
    Sort { axis: i32, descending: bool } &[x] => running!(x, axis, descending, sort, sort_descending);
    Argsort { axis: i32, descending: bool } &[x] => {
        running!(x, axis, descending, argsort, argsort_descending)
    };
    TopK { k: usize } &[x] => <[Tensor<'_>; 2]>::from(x.top_k(*k)).to_vec();
    Median { axis: Option<i32>, keepdims: bool } &[x] => match axis {
        Some(axis) => kept(x, &Some(vec![*axis]), *keepdims, x.median(*axis)),
        None => kept(x, &None, *keepdims, x.flatten().median(0)),
    };
    Quantile { q: f64, axis: Option<i32>, keepdims: bool } &[x] => match axis {
        Some(axis) => kept(x, &Some(vec![*axis]), *keepdims, x.quantile(*q, *axis)),
        None => kept(x, &None, *keepdims, x.flatten().quantile(*q, 0)),
    };

    // Convolution and pooling.
    Conv1d { stride: Vec<usize>, padding: Vec<(usize, usize)>, dilation: Vec<usize>, groups: usize } &[x, w] => {
        x.conv(w, &sliding(stride, padding, dilation, *groups))
    };
    Conv2d { stride: Vec<usize>, padding: Vec<(usize, usize)>, dilation: Vec<usize>, groups: usize } &[x, w] => {
        x.conv(w, &sliding(stride, padding, dilation, *groups))
    };
    MaxPool1d { window: Vec<usize>, stride: Vec<usize>, padding: Vec<(usize, usize)> } &[x] => {
        x.max_pool(&pool(window, stride, padding))
    };
    MaxPool2d { window: Vec<usize>, stride: Vec<usize>, padding: Vec<(usize, usize)> } &[x] => {
        x.max_pool(&pool(window, stride, padding))
    };
    AvgPool1d { window: Vec<usize>, stride: Vec<usize>, padding: Vec<(usize, usize)>, count_include_pad: bool } &[x] => {
        x.avg_pool(&pool(window, stride, padding).count_padding(*count_include_pad))
    };
    AvgPool2d { window: Vec<usize>, stride: Vec<usize>, padding: Vec<(usize, usize)>, count_include_pad: bool } &[x] => {
        x.avg_pool(&pool(window, stride, padding).count_padding(*count_include_pad))
    };

    // Losses.
    Mse { reduction: Reduction } &[p, y] => reduction.of(p.squared_error(y));
    Mae { reduction: Reduction } &[p, y] => reduction.of(p.absolute_error(y));
    Huber { delta: f64, reduction: Reduction } &[p, y] => reduction.of(p.huber(y, *delta));
    BceWithLogits { reduction: Reduction } &[z, y] => reduction.of(z.bce_with_logits(y));
    Hinge { reduction: Reduction } &[s, y] => reduction.of(s.hinge(y));
    KlDiv { reduction: Reduction } &[p, q] => reduction.of(p.kl_div(q));
    SoftmaxCrossEntropy { reduction: Reduction } &[z, y] => reduction.of(z.cross_entropy(y));
    SparseSoftmaxCrossEntropy { reduction: Reduction } &[z, classes] => {
        reduction.of(z.sparse_cross_entropy(classes))
    };

    // Sources.
    Full { shape: Vec<usize>, value: f64, dtype: DType } [] => {
        t.full((*dtype).into(), shape.as_slice(), *value)
    };
    Arange { start: f64, stop: f64, step: f64, dtype: DType } [] => {
        t.range(*start, *stop, *step).cast((*dtype).into())
    };
    Eye { n: usize, m: usize, dtype: DType } [] => t.eye((*dtype).into(), *n, *m);

    // Control flow.
    Cond { then: Body, r#else: Body } [predicate, args @ ..] => {
        cond(t, (then, r#else), *predicate, args)
    };
    While { cond: Body, body: Body } carry => while_loop(t, (cond, body), carry);
    For { trips: i64, body: Body } carry => for_loop(t, body, *trips, carry);
    Scan { length: usize, n_carry: usize, reverse: bool, body: Body } args => {
        let (carry, rows) = args.split_at(*n_carry);
        scan(t, body, (*length, *reverse), carry, rows)
    };
}

impl Op {
    /// Whether it is a branch or a loop.
    pub fn is_control_flow(&self) -> bool {
        matches!(
            self,
            Self::Cond { .. } | Self::While { .. } | Self::For { .. } | Self::Scan { .. }
        )
    }
}

/// The axes of a reduction; all if there is no list.
type Axes = Option<Vec<i32>>;

fn over(axes: &Axes) -> backstitch::Axes {
    axes.as_ref().map_or(().into(), Into::into)
}

fn sliding(
    stride: &[usize],
    padding: &[(usize, usize)],
    dilation: &[usize],
    groups: usize,
) -> Conv {
    Conv::default().stride(stride).padding(padding).dilation(dilation).groups(groups)
}

fn pool(window: &[usize], stride: &[usize], padding: &[(usize, usize)]) -> Pool {
    Pool::new(window).stride(stride).padding(padding)
}

/// The result of a reduction with the axes that went away, if they are to stay.
fn kept<'t>(x: Tensor<'t>, axes: &Axes, keepdims: bool, reduced: Tensor<'t>) -> Tensor<'t> {
    if !keepdims {
        return reduced;
    }
    let rank = x.rank() as i32;
    let mut axes: Vec<i32> = match axes {
        Some(axes) => axes.iter().map(|axis| axis.rem_euclid(rank)).collect(),
        None => (0..rank).collect(),
    };
    axes.sort_unstable();
    axes.into_iter().fold(reduced, |reduced, axis| reduced.expand_dims(axis))
}

/// The order of a norm.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Order {
    Number(u8),
    Named(NamedOrder),
}

/// The norms that are not called by a number.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedOrder {
    Inf,
    Fro,
}

/// What is done about a loss of each example.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    None,
    Mean,
    Sum,
}

impl Reduction {
    fn of<'t>(&self, losses: Tensor<'t>) -> Tensor<'t> {
        match self {
            Self::None => losses,
            Self::Mean => losses.mean(),
            Self::Sum => losses.sum(),
        }
    }
}

/// What stands in a margin.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    Constant,
    Edge,
    Reflect,
}

/// Which of a grid's axes comes first.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Indexing {
    Xy,
    Ij,
}

/// What rows of the table may give.
struct Results<'t>(Vec<Tensor<'t>>);

impl<'t> From<Tensor<'t>> for Results<'t> {
    fn from(result: Tensor<'t>) -> Self {
        Self(vec![result])
    }
}

impl<'t> From<Vec<Tensor<'t>>> for Results<'t> {
    fn from(results: Vec<Tensor<'t>>) -> Self {
        Self(results)
    }
}
