//! What is timed: each as a program, as plain loops, and in ndarray.

use backstitch::prelude::*;
use ndarray::{ArrayD, Axis, IxDyn, Slice};

use crate::Real;

type Program = Box<dyn for<'t> Fn(&'t Trace, &[Tensor<'t>]) -> Tensor<'t>>;
type ByHand<T> = Box<dyn Fn(&[&[T]], &mut [T])>;
type InNdarray<T> = Box<dyn Fn(&[ArrayD<T>]) -> ArrayD<T>>;

/// A program of some arrays, three times.
pub struct Case<T> {
    pub name: String,
    pub inputs: Vec<Vec<usize>>,
    pub program: Program,
    pub by_hand: ByHand<T>,
    pub ndarray: InNdarray<T>,
}

/// All of them.
pub fn cases<T: Real>() -> Vec<Case<T>> {
    let mut all = Vec::new();
    for n in [64, 500, 512, 2048] {
        all.push(transposed_operand(n));
        all.push(transpose(n));
    }
    all.extend([permuted(), permuted_rows(), strided_columns(), strided_rows()]);
    all.extend([
        added_along([1, 1000], "first"),
        added_along([1000, 1], "last"),
        added_in_the_middle(),
    ]);
    for (axes, name) in [(&[0][..], "first"), (&[1], "middle"), (&[2], "last"), (&[0, 2], "outer")]
    {
        all.push(summed(axes, name));
    }
    all.extend([columns_summed(4096, 256), columns_summed(64, 64), squares_over_rows()]);
    all.extend([greatest(0), greatest(1), product_with_transposed(), slice_summed()]);
    all.extend([narrow_summed(1), narrow_summed(0)]);
    for width in [2, 3, 4] {
        all.push(narrow_plus_row(width));
        all.push(narrow_times_column(width));
    }
    all.extend([outer(), running(0), running(1), rows_taken(), rows_added()]);
    all
}

/// A case from its parts.
fn case<T: Real>(
    name: impl Into<String>,
    inputs: &[&[usize]],
    program: impl for<'t> Fn(&'t Trace, &[Tensor<'t>]) -> Tensor<'t> + 'static,
    by_hand: impl Fn(&[&[T]], &mut [T]) + 'static,
    ndarray: impl Fn(&[ArrayD<T>]) -> ArrayD<T> + 'static,
) -> Case<T> {
    Case {
        name: name.into(),
        inputs: inputs.iter().map(|d| d.to_vec()).collect(),
        program: Box::new(program),
        by_hand: Box::new(by_hand),
        ndarray: Box::new(ndarray),
    }
}

/// In the standard layout.
fn rows<T: Real>(x: ndarray::CowArray<'_, T, IxDyn>) -> ArrayD<T> {
    x.as_standard_layout().into_owned()
}

/// Blocks of this size, so that the lines of a column stay in the cache.
const BLOCK: usize = 16;

fn transposed_operand<T: Real>(n: usize) -> Case<T> {
    case(
        format!("x + yᵀ, {n}×{n}"),
        &[&[n, n], &[n, n]],
        |_, p| p[0] + p[1].transpose(),
        move |p, out| {
            let (x, y) = (p[0], p[1]);
            for i0 in (0..n).step_by(BLOCK) {
                for j0 in (0..n).step_by(BLOCK) {
                    for i in i0..n.min(i0 + BLOCK) {
                        for j in j0..n.min(j0 + BLOCK) {
                            out[i * n + j] = x[i * n + j] + y[j * n + i];
                        }
                    }
                }
            }
        },
        |p| &p[0] + &p[1].t(),
    )
}

fn transpose<T: Real>(n: usize) -> Case<T> {
    case(
        format!("yᵀ, {n}×{n}"),
        &[&[n, n]],
        |_, p| p[0].transpose(),
        move |p, out| {
            for i0 in (0..n).step_by(BLOCK) {
                for j0 in (0..n).step_by(BLOCK) {
                    for i in i0..n.min(i0 + BLOCK) {
                        for j in j0..n.min(j0 + BLOCK) {
                            out[i * n + j] = p[0][j * n + i];
                        }
                    }
                }
            }
        },
        |p| p[0].t().as_standard_layout().into_owned(),
    )
}

fn permuted<T: Real>() -> Case<T> {
    let (a, b, c) = (64, 96, 128);
    case(
        "permute(2, 0, 1), 64×96×128",
        &[&[a, b, c]],
        |_, p| p[0].permute([2, 0, 1]),
        move |p, out| {
            let n = a * b;
            for i0 in (0..c).step_by(BLOCK) {
                for j0 in (0..n).step_by(BLOCK) {
                    for i in i0..c.min(i0 + BLOCK) {
                        for j in j0..n.min(j0 + BLOCK) {
                            out[i * n + j] = p[0][j * c + i];
                        }
                    }
                }
            }
        },
        |p| rows(p[0].view().permuted_axes(IxDyn(&[2, 0, 1])).into()),
    )
}

fn permuted_rows<T: Real>() -> Case<T> {
    let (a, b, c) = (64, 96, 128);
    case(
        "permute(1, 0, 2), 64×96×128",
        &[&[a, b, c]],
        |_, p| p[0].permute([1, 0, 2]),
        move |p, out| {
            for j in 0..b {
                for i in 0..a {
                    out[(j * a + i) * c..][..c].copy_from_slice(&p[0][(i * b + j) * c..][..c]);
                }
            }
        },
        |p| rows(p[0].view().permuted_axes(IxDyn(&[1, 0, 2])).into()),
    )
}

fn strided_columns<T: Real>() -> Case<T> {
    let n = 512;
    case(
        "x[:, ::2] + y, 512×256",
        &[&[n, n], &[n, n / 2]],
        |_, p| p[0].slice(1, .., 2) + p[1],
        move |p, out| {
            for ((o, x), y) in out.iter_mut().zip(p[0].chunks_exact(2)).zip(p[1]) {
                *o = x[0] + *y;
            }
        },
        |p| &p[0].slice_axis(Axis(1), Slice::new(0, None, 2)) + &p[1],
    )
}

fn strided_rows<T: Real>() -> Case<T> {
    let n = 512;
    case(
        "x[::2] + y, 256×512",
        &[&[n, n], &[n / 2, n]],
        |_, p| p[0].slice(0, .., 2) + p[1],
        move |p, out| {
            for i in 0..n / 2 {
                let (x, y) = (&p[0][2 * i * n..][..n], &p[1][i * n..][..n]);
                for ((o, x), y) in out[i * n..][..n].iter_mut().zip(x).zip(y) {
                    *o = *x + *y;
                }
            }
        },
        |p| &p[0].slice_axis(Axis(0), Slice::new(0, None, 2)) + &p[1],
    )
}

fn added_along<T: Real>(other: [usize; 2], name: &str) -> Case<T> {
    let n = 1000;
    case(
        format!("x + b along the {name} axis, 1000×1000"),
        &[&[n, n], &other],
        |_, p| p[0] + p[1],
        move |p, out| {
            for (i, (o, x)) in out.chunks_exact_mut(n).zip(p[0].chunks_exact(n)).enumerate() {
                if other[0] == 1 {
                    for ((o, x), b) in o.iter_mut().zip(x).zip(p[1]) {
                        *o = *x + *b;
                    }
                } else {
                    let b = p[1][i];
                    for (o, x) in o.iter_mut().zip(x) {
                        *o = *x + b;
                    }
                }
            }
        },
        |p| &p[0] + &p[1],
    )
}

fn added_in_the_middle<T: Real>() -> Case<T> {
    let n = 100;
    case(
        "x + b along the middle axis, 100³",
        &[&[n, n, n], &[n, 1, n]],
        |_, p| p[0] + p[1],
        move |p, out| {
            for (i, (o, x)) in out.chunks_exact_mut(n).zip(p[0].chunks_exact(n)).enumerate() {
                for ((o, x), b) in o.iter_mut().zip(x).zip(&p[1][i / n * n..][..n]) {
                    *o = *x + *b;
                }
            }
        },
        |p| &p[0] + &p[1],
    )
}

/// A sum of eight partial sums, as the compiler makes vectors of it.
fn sum_of<T: Real>(xs: &[T]) -> T {
    let mut s = [T::zero(); 16];
    let mut chunks = xs.chunks_exact(16);
    for c in &mut chunks {
        for (s, x) in s.iter_mut().zip(c) {
            *s += *x;
        }
    }
    let mut sum = T::zero();
    s.iter().chain(chunks.remainder()).for_each(|x| sum += *x);
    sum
}

fn summed<T: Real>(axes: &'static [i32], name: &str) -> Case<T> {
    let n = 100;
    case(
        format!("sum over the {name} axes, 100³"),
        &[&[n, n, n]],
        move |_, p| p[0].sum_over(axes),
        move |p, out| {
            out.fill(T::zero());
            for (i, x) in p[0].chunks_exact(n).enumerate() {
                match *axes {
                    [0] => out[i % n * n..][..n].iter_mut().zip(x).for_each(|(o, x)| *o += *x),
                    [1] => out[i / n * n..][..n].iter_mut().zip(x).for_each(|(o, x)| *o += *x),
                    [2] => out[i] = sum_of(x),
                    _ => out[i % n] += sum_of(x),
                }
            }
        },
        move |p| {
            let mut x = p[0].view().into_owned();
            for &a in axes.iter().rev() {
                x = x.sum_axis(Axis(a as usize));
            }
            x
        },
    )
}

fn columns_summed<T: Real>(n: usize, m: usize) -> Case<T> {
    case(
        format!("sum over rows, {n}×{m}"),
        &[&[n, m]],
        |_, p| p[0].sum_over(0),
        move |p, out| {
            out.fill(T::zero());
            for x in p[0].chunks_exact(m) {
                out.iter_mut().zip(x).for_each(|(o, x)| *o += *x);
            }
        },
        |p| p[0].sum_axis(Axis(0)),
    )
}

fn squares_over_rows<T: Real>() -> Case<T> {
    let n = 1000;
    case(
        "sum of squares over rows, 1000×1000",
        &[&[n, n]],
        |_, p| p[0].square().sum_over(0),
        move |p, out| {
            out.fill(T::zero());
            for x in p[0].chunks_exact(n) {
                out.iter_mut().zip(x).for_each(|(o, x)| *o += *x * *x);
            }
        },
        |p| (&p[0] * &p[0]).sum_axis(Axis(0)),
    )
}

fn greater<T: Real>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

fn greatest<T: Real>(axis: usize) -> Case<T> {
    let n = 1000;
    case(
        format!("max over axis {axis}, 1000×1000"),
        &[&[n, n]],
        move |_, p| p[0].max_over(axis as i32),
        move |p, out| {
            out.fill(T::of(f64::NEG_INFINITY));
            for (i, x) in p[0].chunks_exact(n).enumerate() {
                if axis == 0 {
                    out.iter_mut().zip(x).for_each(|(o, x)| *o = greater(*o, *x));
                } else {
                    let mut s = [T::of(f64::NEG_INFINITY); 8];
                    for c in x.chunks_exact(8) {
                        s.iter_mut().zip(c).for_each(|(s, x)| *s = greater(*s, *x));
                    }
                    out[i] = s.into_iter().fold(T::of(f64::NEG_INFINITY), greater);
                }
            }
        },
        move |p| p[0].fold_axis(Axis(axis), T::of(f64::NEG_INFINITY), |a, b| greater(*a, *b)),
    )
}

fn product_with_transposed<T: Real>() -> Case<T> {
    let n = 512;
    case(
        "sum(xᵀ · yᵀ), 512×512",
        &[&[n, n], &[n, n]],
        |_, p| (p[0].transpose() * p[1].transpose()).sum(),
        |p, out| {
            let mut s = [T::zero(); 8];
            for (x, y) in p[0].chunks_exact(8).zip(p[1].chunks_exact(8)) {
                for ((s, x), y) in s.iter_mut().zip(x).zip(y) {
                    *s += *x * *y;
                }
            }
            out[0] = sum_of(&s);
        },
        |p| ndarray::arr0((&p[0].t() * &p[1].t()).sum()).into_dyn(),
    )
}

fn slice_summed<T: Real>() -> Case<T> {
    let n = 512;
    case(
        "sum of x[::2, ::2], 512×512",
        &[&[n, n]],
        |_, p| p[0].slice(0, .., 2).slice(1, .., 2).sum(),
        move |p, out| {
            let mut s = [T::zero(); 8];
            for x in p[0].chunks_exact(n).step_by(2) {
                for c in x.chunks_exact(16) {
                    for k in 0..8 {
                        s[k] += c[2 * k];
                    }
                }
            }
            out[0] = sum_of(&s);
        },
        |p| {
            let x = p[0].slice_axis(Axis(0), Slice::new(0, None, 2));
            ndarray::arr0(x.slice_axis(Axis(1), Slice::new(0, None, 2)).sum()).into_dyn()
        },
    )
}

/// Rows of the narrow arrays.
const MANY: usize = 100_000;

fn narrow_summed<T: Real>(axis: usize) -> Case<T> {
    case(
        format!("sum over axis {axis}, {MANY}×3"),
        &[&[MANY, 3]],
        move |_, p| p[0].sum_over(axis as i32),
        move |p, out| {
            if axis == 1 {
                for (o, x) in out.iter_mut().zip(p[0].chunks_exact(3)) {
                    *o = x[0] + x[1] + x[2];
                }
                return;
            }
            let mut s = [T::zero(); 12];
            let mut chunks = p[0].chunks_exact(12);
            for c in &mut chunks {
                s.iter_mut().zip(c).for_each(|(s, x)| *s += *x);
            }
            out.fill(T::zero());
            for (k, x) in s.iter().chain(chunks.remainder()).enumerate() {
                out[k % 3] += *x;
            }
        },
        move |p| p[0].sum_axis(Axis(axis)),
    )
}

fn narrow_plus_row<T: Real>(width: usize) -> Case<T> {
    case(
        format!("x + row, {MANY}×{width}"),
        &[&[MANY, width], &[width]],
        |_, p| p[0] + p[1],
        move |p, out| {
            for (o, x) in out.chunks_exact_mut(width).zip(p[0].chunks_exact(width)) {
                for k in 0..width {
                    o[k] = x[k] + p[1][k];
                }
            }
        },
        |p| &p[0] + &p[1],
    )
}

fn narrow_times_column<T: Real>(width: usize) -> Case<T> {
    case(
        format!("x · column, {MANY}×{width}"),
        &[&[MANY, width], &[MANY, 1]],
        |_, p| p[0] * p[1],
        move |p, out| {
            let both = p[0].chunks_exact(width).zip(p[1]);
            for (o, (x, w)) in out.chunks_exact_mut(width).zip(both) {
                for k in 0..width {
                    o[k] = x[k] * *w;
                }
            }
        },
        |p| &p[0] * &p[1],
    )
}

fn outer<T: Real>() -> Case<T> {
    let n = 1000;
    case(
        "outer product, 1000×1000",
        &[&[n, 1], &[1, n]],
        |_, p| p[0] * p[1],
        move |p, out| {
            for (o, x) in out.chunks_exact_mut(n).zip(p[0]) {
                for (o, y) in o.iter_mut().zip(p[1]) {
                    *o = *x * *y;
                }
            }
        },
        |p| &p[0] * &p[1],
    )
}

fn running<T: Real>(axis: usize) -> Case<T> {
    let n = 512;
    case(
        format!("running sum along axis {axis}, 512×512"),
        &[&[n, n]],
        move |_, p| p[0].cumsum(axis as i32),
        move |p, out| {
            out.copy_from_slice(p[0]);
            if axis == 0 {
                for i in 1..n {
                    let (before, now) = out.split_at_mut(i * n);
                    let before = &before[(i - 1) * n..];
                    now[..n].iter_mut().zip(before).for_each(|(o, b)| *o += *b);
                }
            } else {
                for o in out.chunks_exact_mut(n) {
                    let mut sum = T::zero();
                    for o in o {
                        sum += *o;
                        *o = sum;
                    }
                }
            }
        },
        move |p| {
            let mut out = p[0].clone();
            out.accumulate_axis_inplace(Axis(axis), |a, b| *b += *a);
            out
        },
    )
}

/// Every third row, and round again.
fn picks() -> Vec<usize> {
    (0..1000).map(|i| i * 3 % 1000).collect()
}

fn pick_tensor(t: &Trace) -> Tensor<'_> {
    let picks: Vec<i64> = picks().into_iter().map(|i| i as i64).collect();
    t.constant(ndarray::Array1::from(picks).into_dyn())
}

fn rows_taken<T: Real>() -> Case<T> {
    let m = 64;
    case(
        "rows taken, 1000 of 1000×64",
        &[&[1000, m]],
        |t, p| p[0].take(pick_tensor(t), 0) * 2.0,
        move |p, out| {
            for (o, i) in out.chunks_exact_mut(m).zip(picks()) {
                o.iter_mut().zip(&p[0][i * m..]).for_each(|(o, x)| *o = *x + *x);
            }
        },
        |p| p[0].select(Axis(0), &picks()) * T::of(2.0),
    )
}

fn rows_added<T: Real>() -> Case<T> {
    let m = 64;
    case(
        "rows added at indices, 1000×64",
        &[&[1000, m], &[1000, m]],
        |t, p| p[0].scatter_add(pick_tensor(t), p[1], 0),
        move |p, out| {
            out.copy_from_slice(p[0]);
            for (u, i) in p[1].chunks_exact(m).zip(picks()) {
                out[i * m..][..m].iter_mut().zip(u).for_each(|(o, u)| *o += *u);
            }
        },
        |p| {
            let mut out = p[0].clone();
            for (u, i) in p[1].outer_iter().zip(picks()) {
                let mut row = out.index_axis_mut(Axis(0), i);
                row += &u;
            }
            out
        },
    )
}
