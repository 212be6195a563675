//! Calls of all operations, by the number of operands.

use backstitch_trace::{DType, Key, LoopOptions, Policy, Solver, Triangle, Unroll};

use crate::calls::*;

macro_rules! table {
    ($(#[$doc:meta])* $table:ident: |$t:ident, $x:ident, $y:ident, $z:ident| $($call:expr;)*) => {
        $(#[$doc])*
        pub fn $table() -> Vec<Row> {
            vec![$((
                stringify!($call),
                |$t, [$x, $y, $z]| {
                    let _ = ($t, $x, $y, $z);
                    Results::all($call)
                },
            )),*]
        }
    };
}

macro_rules! reductions {
    ($x:ident: $($all:ident $over:ident $keep:ident;)*) => {
        vec![$((
            stringify!($x.$all() $x.$over() $x.$keep()),
            |_, [$x, ..]| {
                let mut all = vec![$x.$all()];
                for axes in axis_lists() {
                    all.extend([$x.$over(axes.clone()), $x.$keep(axes)]);
                }
                all
            },
        )),*]
    };
}

pub fn reductions() -> Vec<Row> {
    reductions! {
        x:
        sum sum_over sum_keep;
        prod prod_over prod_keep;
        max max_over max_keep;
        min min_over min_keep;
        any any_over any_keep;
        all all_over all_keep;
        mean mean_over mean_keep;
        var var_over var_keep;
        std std_over std_keep;
        ptp ptp_over ptp_keep;
        count_nonzero count_nonzero_over count_nonzero_keep;
        logsumexp logsumexp_over logsumexp_keep;
        norm norm_over norm_keep;
        norm1 norm1_over norm1_keep;
        norm_inf norm_inf_over norm_inf_keep;
        nansum nansum_over nansum_keep;
        nanprod nanprod_over nanprod_keep;
        nanmax nanmax_over nanmax_keep;
        nanmin nanmin_over nanmin_keep;
        nanmean nanmean_over nanmean_keep;
        nanvar nanvar_over nanvar_keep;
        nanstd nanstd_over nanstd_keep;
    }
}

table! {
    of_one: |t, x, y, z|
    -x;
    x.relu();
    each(FLOATS, |a| x.leaky_relu(a));
    each(NUMBERS, |a| x.prelu(a));
    each(FLOATS, |a| x.elu(a));
    each(FLOATS, |a| x.celu(a));
    x.selu();
    x.softplus();
    x.log_sigmoid();
    x.silu();
    x.mish();
    x.softsign();
    x.relu6();
    x.hard_tanh();
    x.hard_sigmoid();
    x.hard_silu();
    each(AXES, |a| x.glu(a));
    x.not();
    each(STEPS, |k| pairs([-1, 0, 1, 7], [-1, 0, 1, 7], |a, b| x.diagonal(k, [a, b])));
    each(STEPS, |k| pairs([-1, 0, 1, 7], [-1, 0, 1, 7], |a, b| x.diagonal_sum(k, [a, b])));
    each(STEPS, |k| x.diag(k));
    each(STEPS, |k| x.triu(k));
    each(STEPS, |k| x.tril(k));
    each(NUMBERS, |n| x + n);
    each(NUMBERS, |n| x - n);
    each(NUMBERS, |n| x * n);
    each(NUMBERS, |n| x / n);
    vec![1.0 - x, 2 / x, 0.5 + x, 2 * x];
    each(NUMBERS, |n| x.floor_divide(n));
    each(NUMBERS, |n| x.modulo(n));
    each(NUMBERS, |n| x.atan2(n));
    each(NUMBERS, |n| x.lt(n));
    each(NUMBERS, |n| x.select(n, 2.0));
    each(NUMBERS, |n| x.pow(n));
    each(NUMBERS, |n| x.nan_to(n));
    pairs(NUMBERS, NUMBERS, |a, b| x.clip(a, b));
    each([i32::MIN, -2, 0, 1, 3, i32::MAX], |n| x.powi(n));
    x.exp();
    x.exp2();
    x.expm1();
    x.log();
    x.log2();
    x.log10();
    x.log1p();
    x.cbrt();
    x.sin();
    x.cos();
    x.tan();
    x.asin();
    x.acos();
    x.atan();
    x.sinh();
    x.cosh();
    x.tanh();
    x.asinh();
    x.acosh();
    x.atanh();
    x.rsqrt();
    x.reciprocal();
    x.sigmoid();
    x.abs();
    x.sign();
    x.floor();
    x.ceil();
    x.round();
    x.trunc();
    x.square();
    x.sqrt();
    each(DTYPES, |d| x.cast(d));
    x.stop_gradient();
    x.is_finite();
    x.is_nan();
    x.zeros_like();
    x.ones_like();
    x.erf();
    x.erfc();
    x.erfinv();
    x.ndtr();
    x.lgamma();
    x.digamma();
    each([0, 1, 7, u32::MAX], |n| x.polygamma(n));
    each(SIZES, |n| x.bincount(n));
    pairs(SIZES, DTYPES, |n, d| x.one_hot(n, d));
    x.cholesky();
    x.inverse();
    x.det();
    x.slogdet();
    each(FLOATS, |a| x.smooth_labels(a));
    axis_lists().into_iter().flat_map(|a| [x.nanvar_with(a.clone(), 0), x.nanvar_with(a, usize::MAX)]).collect::<Vec<_>>();
    axis_lists().into_iter().flat_map(|a| [x.nanstd_with(a.clone(), 0), x.nanstd_with(a, usize::MAX)]).collect::<Vec<_>>();
    axis_lists().into_iter().flat_map(|a| [x.var_with(a.clone(), 1), x.var_with(a, usize::MAX)]).collect::<Vec<_>>();
    axis_lists().into_iter().flat_map(|a| [x.std_with(a.clone(), 1), x.std_with(a, usize::MAX)]).collect::<Vec<_>>();
    each(AXES, |a| x.nanargmax(a));
    each(AXES, |a| x.nanargmin(a));
    x.gelu();
    x.gelu_tanh();
    each(AXES, |a| x.softmax(a));
    each(AXES, |a| x.log_softmax(a));
    pairs(AXES, FLOATS, |a, e| x.normalize(a, e));
    pairs(SIZES, SIZES, |a, b| x.pad([(a, b)], 0));
    pairs(SIZES, NUMBERS, |a, n| x.pad([(0, a), (1, 2)], n));
    pairs(MODES, [0, 1, 7, usize::MAX], |m, a| x.pad_with([(a, 0)], m));
    pairs(MODES, [0, 1, 7, usize::MAX], |m, a| x.pad_with([(a, 0), (1, a)], m));
    each(AXES, |a| x.argmax(a));
    each(AXES, |a| x.argmin(a));
    x.argmax_flat();
    x.argmin_flat();
    each(AXES, |a| x.cumsum(a));
    each(AXES, |a| x.cumsum_reverse(a));
    each(AXES, |a| x.cumprod(a));
    each(AXES, |a| x.cumprod_reverse(a));
    each(AXES, |a| x.cummax(a));
    each(AXES, |a| x.cummax_reverse(a));
    each(AXES, |a| x.cummin(a));
    each(AXES, |a| x.cummin_reverse(a));
    each(AXES, |a| x.logcumsumexp(a));
    each(AXES, |a| x.logcumsumexp_reverse(a));
    pairs([0, 1, 4, usize::MAX], AXES, |n, a| x.diff(n, a));
    shapes().into_iter().map(|s| x.reshape(s)).collect::<Vec<_>>();
    shapes().into_iter().map(|s| x.broadcast_to(s)).collect::<Vec<_>>();
    x.flatten();
    each([&[0, 1][..], &[1, 0], &[0, 0], &[], &[0], &[-1, 0], &[i32::MIN, 0]], |p| x.permute(p));
    x.transpose();
    pairs(AXES, AXES, |a, b| x.swap_axes(a, b));
    pairs(AXES, AXES, |a, b| x.move_axis(a, b));
    each(AXES, |a| x.expand_dims(a));
    axis_lists().into_iter().map(|a| x.squeeze(a)).collect::<Vec<_>>();
    axis_lists().into_iter().map(|a| x.flip(a)).collect::<Vec<_>>();
    pairs(STEPS, AXES, |n, a| x.roll(n, a));
    pairs(SIZES, AXES, |n, a| x.repeat(n, a));
    each([&[][..], &[0], &[2], &[2, 3], &[1, 1, 2], &[usize::MAX], &[usize::MAX, usize::MAX]], |n| x.tile(n));
    pairs(STEPS, AXES, |n, a| x.slice(a, .., n));
    pairs(STEPS, STEPS, |n, m| x.slice(0, (n, m), n));
    pairs(STEPS, AXES, |n, a| x.index(a, n));
    pairs([&[][..], &[1, 2], &[0], &[usize::MAX, 4]], AXES, |s, a| x.split(a, s));
    pairs([0, 1, 2, 3], AXES, |n, a| x.split_into(a, n));
    x.split_into(0, usize::MAX);
    each(AXES, |a| x.unstack(a));
    pairs(STEPS, NUMBERS, |n, v| x.slice_update(0, .., n, v));
    pairs(STEPS, AXES, |n, a| x.slice_update(a, .., n, 1));
    pairs(STEPS, NUMBERS, |n, v| x.slice_add(-1, .., n, v));
    pairs(STEPS, AXES, |n, a| x.slice_add(a, .., n, 1));
    pairs(STEPS, NUMBERS, |n, v| x.index_update(0, n, v));
    pairs(STEPS, AXES, |n, a| x.index_update(a, n, 1));
    pairs(STEPS, NUMBERS, |n, v| x.index_add(0, n, v));
    pairs(STEPS, AXES, |n, a| x.index_add(a, n, 1));
    each(AXES, |a| x.sort(a));
    each(AXES, |a| x.sort_descending(a));
    each(AXES, |a| x.argsort(a));
    each(AXES, |a| x.argsort_descending(a));
    each(SIZES, |n| x.top_k(n));
    each(AXES, |a| x.median(a));
    each(AXES, |a| x.nan_median(a));
    pairs(FLOATS, AXES, |q, a| x.quantile(q, a));
    pairs([&[][..], &[0.5, 0.0], &[f64::NAN]], AXES, |q, a| x.quantiles(q, a));
    x.sinc();
    x.to_f64();
    x.to_f32();
    each(STEPS, |n| x.shift_left(n));
    each(STEPS, |n| x.shift_right(n));
    Key::from_tensor(x).to_tensor();
    Key::from_tensor(x).fold_in(u32::MAX).to_tensor();
    Key::from_tensor(x).split::<2>().map(Key::to_tensor).to_vec();
    Key::from_tensor(x).split::<0>().map(Key::to_tensor).to_vec();
    each(AXES, |a| t.key(1).categorical(x, a));
    t.key(1).bernoulli(x, [2, 3]);
    each(DTYPES, |d| t.key(1).uniform_between(x, 2, d, [2, 3]));
    each(DTYPES, |d| t.key(1).uniform_between(0, x, d, [1]));
    each(DTYPES, |d| t.key(1).normal_with(x, 2, d, [2, 3]));
    each(DTYPES, |d| t.key(1).truncated_normal(x, x, d, [2, 3]));
    each(FLOATS, |p| x.dropout(t.key(1), p));
    each(AXES, |a| t.concat([x], a));
    each(AXES, |a| t.stack([x], a));
    t.grid([x]);
    each(EQUATIONS, |e| t.einsum(e, [x]));
    each(POOLS.iter(), |p| pools(|how| x.max_pool(how), p));
    each(POOLS.iter(), |p| pools(|how| x.avg_pool(how), p));
    t.cond(x, || x, || -x);
    t.while_loop(x, |c| c, |c| c.not());
    t.while_loop(x, |c| c.lt(1), |c| c + 1);
    each(SIZES, |n| {
        let limited = t.loops(LoopOptions::new().limit(n).unroll(Unroll::By(n)));
        limited.for_loop(2, x, |_, c| c);
        limited.scan_back(x, x, |c, r| (c, r));
        limited.while_loop(x, |c| c.lt(1), |c| c + 1)
    });
    t.for_loop(x, x, |_, c| c);
    t.for_loop(1, x, |_, c| c.sum());
    each(NUMBERS, |n| t.for_loop(n, x, |_, c| c.abs()));
    t.scan(x, x, |c, r| (c, r));
    t.scan_back(t.scalar(0.0), x, |c, r| (c + r.sum(), r));
    t.checkpoint(|| x.exp());
    t.checkpoint_with(Policy::keep(["a", "b"]), || x.exp().named("a"));
    each([0, usize::MAX], |n| t.checkpoint_with(Policy::fewest_bytes().limit(n), || x.dot(x).exp()));
    t.associative_scan(x, |a, b| a + b);
    t.associative_scan(x, |a, _| a.sum());
    t.switch(x, [Box::new(|| x), Box::new(|| -x)]);
    t.switch(t.scalar(1), [Box::new(|| x), Box::new(|| x.sum())]);
    t.vmap(x, |x| x.exp());
    t.vmap(x, |x| x.index(0, 5));
    t.map_rows(x, |x| x.sum());
    t.fixed_point(x, |x| x * 0.5, &Solver::default().limit(3));
    t.fixed_point(x, |x| x.sum(), &Solver::default());
    t.root(x, |x| x * x - 1, &Solver::default().limit(3));
    t.root(x, |x| x.sum(), &Solver::default());
    t.custom(x, |x| x.exp()).call();
    t.custom(x, |x| x.sum()).vjp(|x, ct| x * ct).call();
    t.custom(x, |x| x.sum()).jvp(|x, dot| x * dot).call();
}

table! {
    of_two: |t, x, y, z|
    x + y;
    x - y;
    x * y;
    x / y;
    x.prelu(y);
    x.lt(y);
    x.le(y);
    x.gt(y);
    x.ge(y);
    x.eq(y);
    x.ne(y);
    x.and(y);
    x.or(y);
    x.xor(y);
    x.select(y, y);
    x.select(y, 1);
    t.where_(x, 0, y);
    x.floor_divide(y);
    x.trunc_divide(y);
    x.modulo(y);
    x.fmod(y);
    x.atan2(y);
    x.hypot(y);
    x.mul_add(y, 1.0);
    x.mul_add(2, y);
    x.logaddexp(y);
    x.xlogy(y);
    x.xlog1py(y);
    x.pow(y);
    x.maximum(y);
    x.minimum(y);
    x.shift_left(y);
    x.shift_right(y);
    each(AXES, |a| x.take(y, a));
    each(AXES, |a| x.take_along_axis(y, a));
    x.gather_nd(y);
    each(SIZES, |n| x.segment_sum(y, n));
    x.embedding(y);
    x.cholesky_solve(y);
    each([Triangle::LOWER, Triangle::LOWER.transposed()], |s| x.triangular_solve(y, s));
    x.solve(y);
    x.squared_error(y);
    x.absolute_error(y);
    each(FLOATS, |d| x.huber(y, d));
    x.log_cosh(y);
    each(FLOATS, |q| x.quantile_loss(y, q));
    x.poisson_nll(y);
    x.hinge(y);
    x.squared_hinge(y);
    x.kl_div(y);
    x.bce_with_logits(y);
    x.cross_entropy(y);
    x.sparse_cross_entropy(y);
    each(STEPS, |n| x.sparse_cross_entropy_except(y, n));
    x.cosine_distance(y, 1e-9);
    x.contrastive(y, x.eq(y), 1.0);
    x.matmul(y);
    x.dot(y);
    x.outer(y);
    x.kron(y);
    x.cross(y);
    pairs([&[][..], &[0], &[0, 0], &[9], &[-1, 0]], [&[][..], &[0], &[1, 1]], |a, b| x.tensordot(y, a, b));
    each(AXES, |a| x.cosine_similarity(y, a, 1e-9));
    x.rms_norm(y, 1e-5);
    each(AXES, |a| x.linear_recurrence(y, a));
    each(AXES, |a| x.linear_recurrence_reverse(y, a));
    pairs(STEPS, AXES, |n, a| x.slice_update(a, .., n, y));
    pairs(STEPS, AXES, |n, a| x.slice_add(a, 1.., n, y));
    pairs(STEPS, AXES, |n, a| x.index_update(a, n, y));
    pairs(STEPS, AXES, |n, a| x.index_add(a, n, y));
    x.search_sorted(y);
    x.causal_attention(y, y);
    x.attention(y, y, None);
    x.layer_norm(y, y, 1e-5);
    x.batch_norm(y, y, 1e-5);
    each(SIZES, |n| x.group_norm(n, y, y, 1e-5));
    x.instance_norm(y, y, 1e-5);
    each(AXES, |a| t.concat([x, y], a));
    each(AXES, |a| t.stack([x, y], a));
    t.grid([x, y]);
    t.grid_xy([x, y]);
    each(EQUATIONS, |e| t.einsum(e, [x, y]));
    each(POOLS.iter(), |p| convs(|how| x.conv(y, how), p));
    each(POOLS.iter(), |p| convs(|how| x.conv_transpose(y, how), p));
    t.cond(x, || y, || y.sum());
    t.cond(x.sum().gt(0), || x, || y);
    t.while_loop((x, y), |c| c.0.not(), |c| (c.0.not(), c.1));
    t.for_loop(2, (x, y), |_, c| (c.1, c.0));
    t.for_loop(x, y, |_, c| c);
    t.vmap((x, y), |(x, y)| x * y);
    t.fixed_point((x, y), |(x, y)| (y, x), &Solver::default().limit(3));
    t.root((x, y), |(x, y)| (x * 2, y + x), &Solver::default().limit(3));
    t.root(x, |x| x * y, &Solver::default().limit(3));
    t.scan(x, y, |c, r| (c + r, r));
    t.scan_back(x, y, |c, r| (r, c));
}

table! {
    of_three: |t, x, y, z|
    x.select(y, z);
    t.where_(x, y, z);
    each(AXES, |a| x.scatter_add(y, z, a));
    each(AXES, |a| x.scatter_update(y, z, a));
    x.attention(y, z, None);
    x.attention(y, y, z);
    x.causal_attention(y, z);
    x.layer_norm(y, z, f64::NAN);
    x.batch_norm(y, z, 1e-5);
    x.batch_norm_with(y, z, y, z, 1e-5);
    each([0, 1, 2], |n| x.group_norm(n, y, z, 1e-5));
    x.instance_norm(y, z, 1e-5);
    x.triplet(y, z, 1.0);
    x.contrastive(y, z, 1.0);
    each(AXES, |a| t.concat([x, y, z], a));
    t.einsum("ij,jk,kl", [x, y, z]);
    t.einsum("...,...i,i...->...", [x, y, z]);
    t.grid([x, y, z]);
}

table! {
    of_none: |t, x, y, z|
    each(NUMBERS, |n| t.scalar(n));
    each(AXES, |a| t.concat([], a));
    each(AXES, |a| t.stack([], a));
    t.grid([]);
    t.grid_xy([]);
    each(EQUATIONS, |e| t.einsum(e, []));
    pairs(NUMBERS, DTYPES, |n, d| t.full(d, [2], n));
    sized(|s, d| t.full(d, s, 1));
    sized(|s, d| t.zeros(d, s));
    sized(|s, d| t.ones(d, s));
    each([0, 1, usize::MAX], |a| sized(|s, d| t.iota(d, s, a)));
    each(NUMBERS, |a| pairs(NUMBERS, NUMBERS, |b, c| t.range(a, b, c)));
    t.range(i64::MIN, i64::MAX, 1);
    t.range(i64::MIN, i64::MAX, -1);
    t.range(i64::MIN, i64::MAX, i64::MAX);
    t.range(0, 3, 1i64 << 40);
    t.range(0.0, 1e300, 1.0);
    t.range(0, i64::MAX, 1);
    pairs(NUMBERS, NUMBERS, |a, b| t.linspace(a, b, 3));
    each(SIZES, |n| t.linspace(0, 1, n));
    pairs(SIZES, SIZES, |n, m| t.eye(DType::F32, n, m));
    sized(|s, d| t.key(u64::MAX).uniform(d, s));
    sized(|s, d| t.key(1).normal(d, s));
    sized(|s, d| t.key(1).exponential(d, s));
    sized(|s, d| t.key(1).gumbel(d, s));
    sized(|s, d| t.key(1).uniform_between(2, 1, d, s));
    sized(|s, d| t.key(1).normal_with(0.5, -1, d, s));
    sized(|s, d| t.key(1).truncated_normal(f64::NAN, -1, d, s));
    sized(|s, _| t.key(1).bits(s));
    each(NUMBERS, |p| t.key(1).bernoulli(p, [2]));
    sized(|s, _| t.key(1).bernoulli(0.5, s));
    sized(|s, _| t.key(1).integers(1..7, s));
    pairs(STEPS, STEPS, |a, b| t.key(1).integers(a..b, [2]));
}
