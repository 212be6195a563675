//! The operations and the shapes that they are tried on.

use backstitch::prelude::*;
use backstitch::{Conv, DType, PadMode, Pool, Shape};

/// A function of some arrays of numbers in (-1, 1).
pub type Operation = for<'t> fn(&'t Trace, &[Tensor<'t>]) -> Tensor<'t>;

fn positive(x: Tensor<'_>) -> Tensor<'_> {
    x.square() + 0.3
}

/// Ranks, odd extents, none at all.
pub const ANY: &[&[usize]] = &[&[], &[1], &[3], &[17], &[67], &[0], &[3, 5], &[2, 1, 9]];

/// Functions of any array.
pub const UNARY: &[(&str, Operation)] = &[
    ("relu", |_, x| x[0].relu()),
    ("leaky_relu", |_, x| x[0].leaky_relu(0.2)),
    ("elu", |_, x| x[0].elu(0.7)),
    ("celu", |_, x| x[0].celu(0.7)),
    ("selu", |_, x| x[0].selu()),
    ("softplus", |_, x| x[0].softplus()),
    ("log_sigmoid", |_, x| x[0].log_sigmoid()),
    ("silu", |_, x| x[0].silu()),
    ("mish", |_, x| x[0].mish()),
    ("softsign", |_, x| x[0].softsign()),
    ("relu6", |_, x| (x[0] * 5.0).relu6()),
    ("hard_tanh", |_, x| (x[0] * 2.0).hard_tanh()),
    ("hard_sigmoid", |_, x| (x[0] * 5.0).hard_sigmoid()),
    ("hard_silu", |_, x| (x[0] * 5.0).hard_silu()),
    ("gelu", |_, x| x[0].gelu()),
    ("gelu_tanh", |_, x| x[0].gelu_tanh()),
    ("sinc", |_, x| x[0].sinc()),
    ("ndtr", |_, x| x[0].ndtr()),
    ("erf", |_, x| x[0].erf()),
    ("erfc", |_, x| x[0].erfc()),
    ("erfinv", |_, x| (x[0] * 0.9).erfinv()),
    ("lgamma", |_, x| positive(x[0]).lgamma()),
    ("digamma", |_, x| positive(x[0]).digamma()),
    ("polygamma", |_, x| positive(x[0]).polygamma(2)),
    ("powi -3", |_, x| positive(x[0]).powi(-3)),
    ("powi 5", |_, x| x[0].powi(5)),
    ("pow 2.5", |_, x| positive(x[0]).pow(2.5)),
    ("clip", |_, x| x[0].clip(-0.5, 0.5)),
    ("sum", |_, x| x[0].sin().sum()),
    ("prod", |_, x| x[0].prod()),
    ("norm1", |_, x| x[0].norm1()),
    ("norm", |_, x| (x[0] + 2.0).norm()),
    ("nansum", |_, x| x[0].nansum().sin()),
    ("nanprod", |_, x| x[0].nanprod().sin()),
    ("flip", |_, x| x[0].sin().flip(()).square()),
];

/// Functions of arrays with an axis and elements.
pub const REDUCE: &[(&str, Operation)] = &[
    ("logsumexp", |_, x| x[0].logsumexp()),
    ("sort", |_, x| x[0].sin().sort(-1)),
    ("mean", |_, x| x[0].square().mean()),
    ("var", |_, x| x[0].var()),
    ("std", |_, x| x[0].std()),
    ("nanvar", |_, x| x[0].nanvar()),
    ("nanstd", |_, x| x[0].nanstd()),
    ("nanmean", |_, x| x[0].sin().nanmean()),
    ("max", |_, x| x[0].sin().max()),
    ("min", |_, x| x[0].sin().min()),
    ("ptp", |_, x| x[0].sin().ptp()),
    ("nanmax", |_, x| x[0].sin().nanmax()),
    ("norm_inf", |_, x| x[0].sin().norm_inf()),
    ("norm", |_, x| x[0].norm()),
    ("std -1", |_, x| x[0].std_over(-1)),
    ("var t", |_, x| x[0].transpose().var_keep(0)),
    ("max -1", |_, x| x[0].sin().max_keep(-1)),
    ("softmax", |_, x| x[0].softmax(-1)),
    ("softmax 0", |_, x| x[0].softmax(0)),
    ("log_softmax", |_, x| x[0].log_softmax(0)),
    ("normalize", |_, x| x[0].normalize(-1, 1e-9)),
    ("normalize 0", |_, x| x[0].normalize(0, 1e-9)),
    ("cumsum", |_, x| x[0].sin().cumsum(-1)),
    ("cumsum_reverse", |_, x| x[0].sin().cumsum_reverse(0)),
    ("cumprod", |_, x| x[0].cumprod(-1)),
    ("cumprod_reverse", |_, x| x[0].cumprod_reverse(0)),
    ("cummax", |_, x| x[0].sin().cummax(-1)),
    ("cummin_reverse", |_, x| x[0].sin().cummin_reverse(0)),
    ("cummax_reverse", |_, x| x[0].sin().cummax_reverse(-1)),
    ("logcumsumexp", |_, x| x[0].logcumsumexp(-1)),
    ("logcumsumexp_reverse", |_, x| x[0].logcumsumexp_reverse(0)),
    ("diff", |_, x| x[0].sin().diff(2, -1)),
    ("sort_descending", |_, x| x[0].sin().sort_descending(0)),
    ("top_k", |_, x| x[0].sin().top_k(1).0),
    ("median", |_, x| x[0].sin().median(-1)),
    ("nan_median", |_, x| x[0].sin().nan_median(0)),
    ("quantile", |_, x| x[0].sin().quantile(0.3, -1)),
    ("quantiles", |_, x| x[0].sin().quantiles([0.0, 0.77, 1.0], 0)),
    ("roll", |_, x| x[0].sin().roll(2, -1).square()),
    ("repeat", |_, x| x[0].sin().repeat(3, 0).square()),
    ("pad reflect", |_, x| {
        let mut m = vec![(0, 0); x[0].rank()];
        let n = x[0].shape().dims()[0];
        m[0] = (n - 1, n / 2);
        x[0].sin().pad_with(m, PadMode::Reflect).square()
    }),
    ("pad symmetric", |_, x| {
        let mut m = vec![(0, 0); x[0].rank()];
        let n = x[0].shape().dims()[0];
        m[0] = (n, n / 2);
        x[0].sin().pad_with(m, PadMode::Symmetric).square()
    }),
    ("pad edge", |_, x| x[0].sin().pad_with(vec![(2, 3); x[0].rank()], PadMode::Edge).square()),
    ("pad wrap", |_, x| {
        let mut m = vec![(0, 0); x[0].rank()];
        let n = x[0].shape().dims()[0];
        m[0] = (n, n / 2);
        x[0].sin().pad_with(m, PadMode::Wrap).square()
    }),
    ("slice_update", |_, x| x[0].sin().slice_update(0, .., 2, 0.5).square()),
    ("slice -2", |_, x| x[0].sin().slice(-1, .., -2).square()),
    ("take", |t, x| {
        let n = x[0].shape().dims()[0] as i64;
        let i = t.constant(ndarray::arr2(&[[0i64, n - 1], [n / 2, 0]]));
        x[0].sin().take(i, 0).square()
    }),
    ("gather_nd", |t, x| {
        let n = x[0].shape().dims()[0] as i64;
        let i = t.constant(ndarray::arr3(&[[[0i64], [n - 1]], [[n / 2], [0]]]));
        x[0].sin().gather_nd(i).square()
    }),
    ("scatter_add", |t, x| {
        let i = t.constant(ndarray::arr1(&[0i64, 0, 0]));
        let u = t.stack(vec![x[0].sin().index(0, 0); 3], 0);
        x[0].scatter_add(i, u, 0).square()
    }),
    ("scatter_update", |t, x| {
        let i = t.constant(ndarray::arr1(&[0i64]));
        let u = t.stack(vec![x[0].sin().index(0, -1); 1], 0);
        x[0].scatter_update(i, u, 0).square()
    }),
    ("segment_sum", |t, x| {
        let n = x[0].shape().dims()[0];
        let i = (t.iota(DType::I64, [n], 0) * 3).modulo(5);
        x[0].sin().segment_sum(i, 7).square()
    }),
    ("sparse_cross_entropy", |t, x| {
        let s = x[0].shape();
        let s: Shape = s.dims()[..s.rank() - 1].into();
        x[0].sparse_cross_entropy(t.zeros(DType::I64, s))
    }),
    ("smooth_labels", |_, x| x[0].sin().smooth_labels(0.1).square()),
    ("take_along", |_, x| {
        let i = x[0].argsort(0);
        x[0].sin().take_along_axis(i, 0).square()
    }),
    ("attention", |_, x| {
        let y = x[0].reshape([1, x[0].shape().len()]).transpose();
        y.attention(y.sin(), y.cos(), None)
    }),
    ("causal", |_, x| {
        let y = x[0].reshape([1, x[0].shape().len()]).transpose();
        y.causal_attention(y.sin(), y.cos())
    }),
    ("outer", |_, x| x[0].flatten().outer(x[0].flatten().sin())),
    ("kron", |_, x| x[0].slice(0, ..2, 1).kron(x[0].sin())),
    ("triu", |_, x| x[0].expand_dims(0).sin().triu(1).square()),
    ("diag", |_, x| x[0].flatten().diag(-2).square()),
    ("tile", |_, x| x[0].sin().tile(vec![2; x[0].rank()]).square()),
    ("uniform", |t, x| {
        let u = t.key(3).uniform(x[0].dtype(), x[0].shape());
        u * x[0].sin()
    }),
    ("normal_with", |t, x| {
        t.key(3).normal_with(x[0].sin(), positive(x[0]), x[0].dtype(), x[0].shape())
    }),
    ("truncated", |t, x| {
        t.key(3).truncated_normal(x[0] - 1.0, x[0].sin() + 2.0, x[0].dtype(), x[0].shape())
    }),
    ("uniform_between", |t, x| {
        t.key(4).uniform_between(x[0] - 1.0, x[0].sin() + 2.0, x[0].dtype(), x[0].shape())
    }),
    ("dropout", |t, x| x[0].sin().dropout(t.key(5), 0.4).square()),
];
/// Without those that have no axis or no element.
pub const SOME: &[&[usize]] = &[&[1], &[3], &[17], &[67], &[3, 5], &[2, 3, 9]];

/// Functions of two arrays of one shape.
pub const BINARY: &[(&str, Operation)] = &[
    ("add", |_, x| (x[0] + x[1]).square()),
    ("div", |_, x| x[0] / positive(x[1])),
    ("pow", |_, x| positive(x[0]).pow(x[1])),
    ("hypot", |_, x| x[0].hypot(x[1])),
    ("atan2", |_, x| x[0].atan2(x[1])),
    ("maximum", |_, x| x[0].sin().maximum(x[1].sin())),
    ("logaddexp", |_, x| x[0].logaddexp(x[1])),
    ("xlogy", |_, x| x[0].xlogy(positive(x[1]))),
    ("xlog1py", |_, x| x[0].xlog1py(positive(x[1]))),
    ("fmod", |_, x| (x[0] * 5.0).fmod(positive(x[1]))),
    ("modulo", |_, x| (x[0] * 5.0).modulo(positive(x[1]))),
    ("squared_error", |_, x| x[0].squared_error(x[1])),
    ("absolute_error", |_, x| x[0].sin().absolute_error(x[1])),
    ("huber", |_, x| x[0].huber(x[1], 0.4)),
    ("log_cosh", |_, x| (x[0] * 3.0).log_cosh(x[1])),
    ("quantile_loss", |_, x| x[0].sin().quantile_loss(x[1], 0.3)),
    ("poisson", |_, x| x[0].poisson_nll(x[1].square())),
    ("hinge", |_, x| x[0].sin().hinge(x[1])),
    ("squared_hinge", |_, x| x[0].squared_hinge(x[1])),
    ("bce", |_, x| (x[0] * 3.0).bce_with_logits(x[1].sigmoid())),
    ("prelu", |_, x| x[0].prelu(x[1])),
];
/// Functions of rows.
pub const ROWS: &[(&str, Operation)] = &[
    ("kl", |_, x| x[0].softmax(-1).kl_div(x[1].softmax(-1))),
    ("cross_entropy", |_, x| x[0].cross_entropy(x[1].softmax(-1))),
    ("cosine_similarity", |_, x| x[0].cosine_similarity(x[1], -1, 1e-9)),
    ("cosine_distance", |_, x| x[0].cosine_distance(x[1], 1e-9)),
    ("triplet", |_, x| x[0].triplet(x[1], x[0].cos() + 0.3, 2.0)),
    ("linear_recurrence", |_, x| x[0].linear_recurrence(x[1], -1)),
    ("linear_recurrence_reverse", |_, x| x[0].linear_recurrence_reverse(x[1], 0)),
    ("contrastive", |t, x| {
        let s = x[0].shape();
        let s: Shape = s.dims()[..s.rank() - 1].into();
        let k = t.key(9).bernoulli(0.5, s);
        x[0].contrastive(x[1], k, 3.0)
    }),
];

/// Loops and parts with derivatives of their own, in each other.
pub const CONTROL: &[(&str, Operation)] = &[
    ("scan", |t, x| {
        let (last, all) = t.scan(x[0].index(0, 0), x[0], |s, x| {
            let s = (s * 0.7 + x.sin()).tanh();
            (s, s * x)
        });
        t.concat([all.flatten(), last.flatten()], 0)
    }),
    ("scan of checkpoints", |t, x| {
        t.scan(x[0].index(0, 0), x[0], |s, x| {
            let s = t.checkpoint(|| (s + x).sin() * x.exp());
            (s, s.square())
        })
        .1
    }),
    ("scan of scans", |t, x| {
        t.scan(x[0].sum() * 0.1, x[0], |s, row| {
            let (s, rows) = t.scan(s, row.flatten(), |s, x| ((s * x).sin() + x, s * x));
            (s, rows + s)
        })
        .1
    }),
    ("checkpoint of a scan", |t, x| {
        t.checkpoint(|| t.scan(x[0].index(0, 0), x[0], |s, x| ((s * x).cos(), s + x)).1)
    }),
    ("loop of cumulative sums", |t, x| {
        t.for_loop(3, x[0], |i, x| (x.cumsum(0).sin() + i.cast(x.dtype()) * x).tanh())
    }),
    ("loop of a condition", |t, x| {
        t.for_loop(4, x[0], |i, x| t.cond(i.modulo(2).eq(0), || x.sin() * x, || x.cos() + x))
    }),
    ("map_rows of sorted rows", |t, x| {
        t.map_rows(x[0], |row| row.flatten().sin().sort(0).cumprod(0) + row.sum())
    }),
    ("vmap of a scan", |t, x| {
        t.vmap(x[0], |row| t.scan(row.sum(), row.flatten(), |s, x| (s.sin() + x, s * x)).1)
    }),
    ("associative_scan", |t, x| t.associative_scan(x[0].sin(), |a, b| a + b - a * b)),
    ("vmap of windows", |t, x| {
        t.vmap(x[0], |row| {
            let n = row.shape().len();
            row.reshape([1, 1, n]).sin().max_pool(&Pool::new(3).padding(1).stride(1)) * row.sum()
        })
    }),
];

/// Functions of two arrays of two shapes: convolutions, pools, layers, products.
pub const PAIRS: &[(&[usize], &[usize], Operation)] = &[
    (&[2, 3, 7], &[4, 3, 2], |_, x| x[0].conv(x[1], &Conv::default())),
    (&[2, 3, 7], &[4, 3, 2], |_, x| x[0].conv(x[1], &Conv::default().stride(3))),
    (&[1, 2, 5], &[2, 1, 3], |_, x| {
        x[0].conv(x[1], &Conv::default().groups(2).padding(4).dilation(2))
    }),
    (&[1, 4, 5], &[2, 2, 3], |_, x| {
        x[0].conv(x[1], &Conv::default().groups(2).padding((0, 5)).stride(4))
    }),
    (&[2, 2, 5, 4], &[3, 2, 3, 1], |_, x| x[0].conv(x[1], &Conv::default().padding(1).stride(2))),
    (&[2, 3, 4, 4], &[3, 1, 2, 3], |_, x| {
        x[0].conv(x[1], &Conv::default().groups(3).dilation(2).padding(2))
    }),
    (&[1, 1, 3, 3, 3], &[2, 1, 2, 2, 2], |_, x| {
        x[0].conv(x[1], &Conv::default().padding(1).stride(2))
    }),
    (&[0, 3, 7], &[4, 3, 2], |_, x| x[0].conv(x[1], &Conv::default())),
    (&[1, 2, 20], &[2, 2, 19], |_, x| x[0].conv(x[1], &Conv::default().padding(3))),
    (&[2, 4, 5], &[4, 3, 2], |_, x| x[0].conv_transpose(x[1], &Conv::default().stride(3))),
    (&[2, 4, 5], &[4, 3, 2], |_, x| {
        x[0].conv_transpose(x[1], &Conv::default().stride(3).padding(2))
    }),
    (&[2, 4, 5], &[4, 1, 3], |_, x| {
        x[0].conv_transpose(
            x[1],
            &Conv::default().groups(4).stride(2).dilation(2).padding(3).output_padding(1),
        )
    }),
    (&[2, 4, 5], &[4, 2, 3], |_, x| {
        x[0].conv_transpose(
            x[1],
            &Conv::default().groups(2).stride(2).padding((0, 4)).output_padding(3),
        )
    }),
    (&[1, 2, 3, 4], &[2, 3, 2, 3], |_, x| {
        x[0].conv_transpose(x[1], &Conv::default().stride(2).padding(1))
    }),
    (&[1, 2, 1], &[2, 3, 1], |_, x| x[0].conv_transpose(x[1], &Conv::default())),
    (&[1, 2, 4], &[2, 3, 1], |_, x| {
        x[0].conv_transpose(x[1], &Conv::default().stride(3).padding(2))
    }),
    (&[2, 2, 7], &[1], |_, x| x[0].sin().max_pool(&Pool::new(3).stride(2).padding(1)) * x[1]),
    (&[2, 2, 7], &[1], |_, x| x[0].sin().max_pool(&Pool::new(2).stride(5).padding(1)) * x[1]),
    (&[2, 2, 2], &[1], |_, x| x[0].sin().max_pool(&Pool::new(5).stride(1).padding(4)) * x[1]),
    (&[2, 2, 7, 5], &[1], |_, x| x[0].sin().max_pool(&Pool::new(3).stride(2).padding(1)) * x[1]),
    (&[2, 2, 7], &[1], |_, x| {
        x[0].sin().avg_pool(&Pool::new(3).stride(2).padding((1, 2)).count_padding(false)) * x[1]
    }),
    (&[2, 2, 7, 5], &[1], |_, x| {
        x[0].sin().avg_pool(&Pool::new(3).stride(1).padding(2).count_padding(false)) * x[1]
    }),
    (&[2, 2, 7, 5], &[1], |_, x| x[0].sin().avg_pool(&Pool::new(2).stride(3)) * x[1]),
    (&[3, 4, 5], &[4], |_, x| x[0].batch_norm(x[1], x[1].sin(), 1e-3)),
    (&[3, 4, 5], &[4], |_, x| {
        x[0].batch_norm_with(x[1], positive(x[1]), x[1].cos(), x[1].sin(), 1e-3)
    }),
    (&[3, 4, 5], &[4], |_, x| x[0].group_norm(2, x[1], x[1].sin(), 1e-3)),
    (&[3, 4, 5], &[4], |_, x| x[0].instance_norm(x[1], x[1].sin(), 1e-3)),
    (&[3, 67], &[67], |_, x| x[0].layer_norm(x[1], x[1].sin(), 1e-3)),
    (&[3, 3], &[3, 3], |t, x| t.einsum("ii,ij->j", [x[0], x[1]])),
    (&[3, 3], &[3, 3], |t, x| t.einsum("ij,ji", [x[0], x[1]])),
    (&[2, 3, 4], &[1, 4, 5], |t, x| t.einsum("...ij,...jk->...ik", [x[0], x[1]])),
    (&[2, 3, 4], &[4, 5], |t, x| t.einsum("...ij,jk->...ki", [x[0], x[1]])),
    (&[3, 3, 2], &[2], |t, x| t.einsum("iij,j->ij", [x[0], x[1]])),
    (&[3, 4], &[4], |t, x| t.einsum("ij,j,j->i", [x[0], x[1], x[1].sin()])),
    (&[3, 4], &[5], |t, x| t.einsum("ij,k->", [x[0], x[1]])),
    (&[2, 3], &[2, 3], |_, x| x[0].cross(x[1])),
    (&[2, 3, 4], &[4, 3], |_, x| x[0].tensordot(x[1], [1, 2], [1, 0])),
    (&[0, 3], &[3, 4], |_, x| x[0].matmul(x[1])),
    (&[2, 0], &[0, 4], |_, x| x[0].matmul(x[1])),
    (&[5, 2, 3], &[3, 4], |_, x| x[0].matmul(x[1])),
    (&[5], &[5], |_, x| x[0].dot(x[1])),
    (&[6], &[2, 4], |_, x| x[0].slice(0, 1..5, 1).matmul(x[1].transpose())),
    (&[5, 4], &[3, 4], |_, x| {
        let m = x[0].matmul(x[1].transpose()).stop_gradient().gt(100.0);
        x[0].attention(x[1], x[1].sin(), m)
    }),
    (&[4, 5], &[3], |_, x| x[0].sin().diagonal(1, [0, 1]) * x[1].slice(0, ..1, 1)),
    (&[4, 5, 4], &[3], |_, x| x[0].sin().diagonal_sum(-1, [2, 0]) * x[1].index(0, 0)),
    (&[4, 5], &[2, 5], |t, x| t.concat([x[0].sin(), x[1]], 0).square()),
    (&[3], &[4], |t, x| {
        let g = t.grid([x[0], x[1]]);
        (g[0] * g[1].sin()).square()
    }),
];
