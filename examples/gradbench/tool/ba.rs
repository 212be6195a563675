//! `ba`: bundle adjustment, how far cameras see points from where the pictures show them,
//! and the sparse Jacobian of that.
//!
//! Each observation takes a camera and a point from tables, and depends on nothing that
//! another does, but for copies: the Jacobian is one of independent rows, whose entries are
//! in the order of a matrix in compressed rows. Blocks of observations follow each other in
//! a loop, so that what is between residuals and derivatives stays in the cache. Each run
//! writes the whole matrix.

use std::mem;

use backstitch::prelude::*;
use ndarray::{Array1, Array2, ArrayViewMut1, ArrayViewMutD};
use serde::Deserialize;
use serde_json::json;

use super::input::{positive, vector};
use super::run::{Function, Recorded, Result, Run, finite};

/// What can be asked for.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("objective", |line, run| {
        let scene = run.input::<Input>(line)?.scene()?;
        let (errors, weights) = run.call(|| residuals(&scene), &(), &scene.arrays)?;
        Ok(json!({
            "reproj_error": { "elements": [errors[[0, 0]], errors[[0, 1]]], "repeated": weights.len() },
            "w_err": { "element": weights[0], "repeated": weights.len() },
        }))
    }),
    ("jacobian", |line, run| {
        let scene = run.input::<Input>(line)?.scene()?;
        let Matrix { starts, columns, values } = jacobian(&scene, run)?;
        let (rows, cols, vals) = (excerpt(&starts), excerpt(&columns), excerpt(&values));
        Ok(json!({ "rows": rows, "cols": cols, "vals": vals }))
    }),
];

/// Numbers of a camera: rotation (axis times angle), centre, focal length, principal
/// point, two coefficients of distortion.
const CAMERA: usize = 11;
/// Numbers an observation depends on: of a camera, of a point, and a weight.
const ROW: usize = CAMERA + 3 + 1;
/// Observations whose derivatives are computed at once, so that what is in between stays
/// in the cache.
const BLOCK: usize = 128;
/// Numbers of an observation's derivatives: of two residuals, and of the weight's.
const ENTRIES: usize = 2 * ROW + 1;

/// One camera, one point, one weight and one feature, each to be copied.
#[derive(Deserialize)]
struct Input {
    n: usize,
    m: usize,
    p: usize,
    cam: Vec<f64>,
    x: Vec<f64>,
    w: f64,
    feat: Vec<f64>,
}

/// Tables of cameras and points; of each observation its weight, where the picture shows
/// it, and the numbers of camera and point.
type Arrays<A, B, C> = ((A, A), (B, A), (C, C));

struct Scene {
    cameras: usize,
    points: usize,
    observations: usize,
    arrays: Arrays<Array2<f64>, Array1<f64>, Array1<i32>>,
}

impl Input {
    fn scene(self) -> Result<Scene> {
        let Self { n, m, p, .. } = self;
        let (n, m, p) = (positive("n", n)?, positive("m", m)?, positive("p", p)?);
        let too_large = || "the matrix has more entries than 32 bits count";
        let sizes = [(n, CAMERA), (m, 3), (p, ENTRIES)].map(|(n, each)| n.checked_mul(each));
        let [Some(a), Some(b), Some(c)] = sizes else { return Err(too_large().into()) };
        let all = a.checked_add(b).and_then(|ab| ab.checked_add(c)).ok_or_else(too_large)?;
        i32::try_from(all).map_err(|_| too_large())?;
        let copies = |name, one: Vec<f64>, width: usize, count: usize| -> Result<_> {
            let one = vector(name, one, width)?;
            Ok(Array2::from_shape_fn((count, width), |(_, j)| one[j]))
        };
        let tables = (copies("cam", self.cam, CAMERA, n)?, copies("x", self.x, 3, m)?);
        let features = copies("feat", self.feat, 2, p)?;
        let weights = Array1::from_elem(p, self.w);
        let which = |count: usize| Array1::from_shape_fn(p, |i| (i % count) as i32);
        let arrays = (tables, (weights, features), (which(n), which(m)));
        Ok(Scene { cameras: n, points: m, observations: p, arrays })
    }
}

impl Scene {
    fn specs(&self) -> Arrays<Spec, Spec, Spec> {
        let ((cameras, points), (weights, features), (camera, point)) = &self.arrays;
        (
            (Spec::of(cameras), Spec::of(points)),
            (Spec::of(weights), Spec::of(features)),
            (Spec::of(camera), Spec::of(point)),
        )
    }
}

/// A program on a scene.
type Program<O> = Recorded<(), Arrays<Spec, Spec, Spec>, O>;

/// How far off each observation is, and each weight from 1.
fn residuals(scene: &Scene) -> Program<(Spec, Spec)> {
    trace_tree((), scene.specs(), |t, (), (tables, (weights, features), which)| {
        let columns = columns(tables, weights, which);
        t.outputs(&(reprojection(t, columns, features), weight(weights)))
    })
}

/// Observations one after the other: so many blocks of so many.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    blocks: usize,
    size: usize,
}

/// Blocks of [`BLOCK`] observations, and those that remain.
fn parts(observations: usize) -> Vec<Part> {
    let blocks = observations / BLOCK;
    let whole = Part { start: 0, blocks, size: BLOCK };
    let rest = Part { start: blocks * BLOCK, blocks: 1, size: observations % BLOCK };
    [whole, rest].into_iter().filter(|part| part.blocks * part.size > 0).collect()
}

/// The derivatives of both, those of observations for each part.
fn derivatives(scene: &Scene) -> Program<(Vec<Spec>, Spec)> {
    let p = scene.observations;
    let weight = trace(Spec::f64([p]), (), |_, w, ()| weight(w))?.batch_jacobian()?;
    let mut jacobians = vec![];
    for part in parts(p) {
        let columns = vec![Spec::f64([part.size]); ROW];
        let block = trace(columns, Spec::f64([part.size, 2]), reprojection)?;
        jacobians.push((part, block.batch_jacobian()?));
    }
    trace_tree((), scene.specs(), |t, (), (tables, (weights, features), (camera, point))| {
        let entries = jacobians.iter().map(|(part, jacobian)| {
            let cut = |x| part.cut(x);
            let cuts = (cut(weights), cut(features), (cut(camera), cut(point)));
            t.map_rows(cuts, |(weights, features, which): (_, _, (_, _))| {
                t.stack(jacobian.apply(t, columns(tables, weights, which), features), 2)
            })
        });
        t.outputs(&(entries.collect::<Vec<_>>(), weight.apply(t, weights, ())))
    })
}

impl Part {
    /// A row for each block.
    fn cut(self, x: Tensor<'_>) -> Tensor<'_> {
        let Self { start, blocks, size } = self;
        let dims = [&[blocks, size], &x.shape().dims()[1..]].concat();
        x.slice(0, start as i64..(start + blocks * size) as i64, 1).reshape(dims)
    }
}

/// What observations depend on, each number of all of them.
fn columns<'t>(
    (cameras, points): (Tensor<'t>, Tensor<'t>),
    weights: Tensor<'t>,
    (camera, point): (Tensor<'t>, Tensor<'t>),
) -> Vec<Tensor<'t>> {
    let mut columns = cameras.take(camera, 0).unstack(1);
    columns.extend(points.take(point, 0).unstack(1));
    columns.push(weights);
    columns
}

fn weight(w: Tensor<'_>) -> Tensor<'_> {
    1.0 - w.square()
}

/// By how much each point is seen beside its feature, times a weight.
fn reprojection<'t>(t: &'t Trace, columns: Vec<Tensor<'t>>, features: Tensor<'t>) -> Tensor<'t> {
    type Three<'t> = [Tensor<'t>; 3];
    let [r0, r1, r2, c0, c1, c2, focal, u, v, k1, k2, x0, x1, x2, w] = columns[..] else {
        unreachable!("fifteen numbers");
    };
    let [seen_u, seen_v] = features.unstack(1)[..] else { unreachable!("two coordinates") };
    let dot = |a: Three<'t>, b: Three<'t>| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let cross = |a: Three<'t>, b: Three<'t>| -> Three<'t> {
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    };
    let (rotation, from) = ([r0, r1, r2], [x0 - c0, x1 - c1, x2 - c2]);
    // Rodrigues' formula, with the angle's functions in front of vectors that are not scaled;
    // where the angle is zero, its limit of first order.
    let still = dot(rotation, rotation).eq(0.0);
    let square = still.select(1.0, dot(rotation, rotation));
    let angle = square.sqrt();
    let cos = angle.cos();
    let across = still.select(1.0, angle.sin() / angle);
    let along = still.select(0.0, (1.0 - cos) / square) * dot(rotation, from);
    let (cos, turn) = (still.select(1.0, cos), cross(rotation, from));
    let [x, y, z]: Three<'t> =
        std::array::from_fn(|i| from[i] * cos + turn[i] * across + rotation[i] * along);
    let depth = z.reciprocal();
    let (x, y) = (x * depth, y * depth);
    let square = x * x + y * y;
    let stretch = (1.0 + square * (k1 + k2 * square)) * focal;
    t.stack([w * (x * stretch + u - seen_u), w * (y * stretch + v - seen_v)], 1)
}

/// A matrix in compressed rows.
struct Matrix {
    starts: Vec<i32>,
    columns: Vec<i32>,
    values: Vec<f64>,
}

fn jacobian(scene: &Scene, run: &mut Run) -> Result<Matrix> {
    let p = scene.observations;
    let (program, mut ws) = run.prepare(|| derivatives(scene))?;
    let mut matrix = Matrix {
        starts: vec![0; 3 * p + 1],
        columns: vec![0; ENTRIES * p],
        values: vec![0.0; ENTRIES * p],
    };
    run.evaluate(|| {
        let (mut blocks, weights) = matrix.values.split_at_mut(2 * ROW * p);
        let entries = parts(p).into_iter().map(|Part { blocks: count, size, .. }| {
            let (own, others) = mem::take(&mut blocks).split_at_mut(2 * ROW * count * size);
            blocks = others;
            ArrayViewMutD::from_shape(vec![count, size, 2, ROW], own)
        });
        let entries = entries.collect::<std::result::Result<Vec<_>, _>>()?;
        let weights = ArrayViewMut1::from(weights);
        program.call_into(&mut ws, &(), &scene.arrays, &mut (entries, weights))?;
        matrix.place(scene);
        Ok(())
    })?;
    finite(&matrix.values)?;
    Ok(matrix)
}

impl Matrix {
    /// Writes where rows start, and the columns of their entries: the cameras', then the
    /// points', then the weights'.
    fn place(&mut self, scene: &Scene) {
        let (_, _, (camera, point)) = &scene.arrays;
        let first_point = CAMERA * scene.cameras;
        let first_weight = first_point + 3 * scene.points;
        let (blocks, weights) = self.columns.split_at_mut(2 * ROW * scene.observations);
        let observations = camera.iter().zip(point).enumerate();
        for (block, (i, (&camera, &point))) in blocks.chunks_exact_mut(2 * ROW).zip(observations) {
            let (camera, point) = (CAMERA as i32 * camera, first_point as i32 + 3 * point);
            for row in block.chunks_exact_mut(ROW) {
                (0..CAMERA).for_each(|j| row[j] = camera + j as i32);
                (0..3).for_each(|j| row[CAMERA + j] = point + j as i32);
                row[ROW - 1] = (first_weight + i) as i32;
            }
        }
        (first_weight as i32..).zip(weights).for_each(|(column, to)| *to = column);
        let lengths = std::iter::repeat_n(ROW as i32, 2 * scene.observations);
        let lengths = lengths.chain(std::iter::repeat_n(1, scene.observations));
        let mut start = 0;
        for (to, length) in self.starts[1..].iter_mut().zip(lengths) {
            start += length;
            *to = start;
        }
    }
}

/// The first elements and the last, as the protocol wants them.
fn excerpt<T: Clone>(all: &[T]) -> Vec<T> {
    all.iter().take(2 * ROW).chain(all.last()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In whole, with cameras, points and weights that all differ: times a vector, it is
    /// how residuals change in that direction.
    #[test]
    fn the_matrix_is_the_derivative_of_all_residuals() {
        let input = Input {
            n: 5,
            m: 31,
            p: 2 * BLOCK + 3,
            cam: vec![0.1, -0.2, 0.3, 0.4, 0.3, -1.0, 1.5, 0.1, 0.2, 0.05, -0.02],
            x: vec![0.5, -0.3, 1.2],
            w: 0.7,
            feat: vec![0.2, -0.1],
        };
        let mut scene = input.scene().unwrap();
        let mut seed = 1.0;
        let mut next = || {
            seed = (seed * 16_807.0) % 2_147_483_647.0;
            seed / 2_147_483_647.0 - 0.5
        };
        let ((cameras, points), (weights, _), _) = &mut scene.arrays;
        let all = cameras.iter_mut().chain(&mut *points).chain(&mut *weights);
        all.for_each(|x| *x += 0.1 * next());
        let way: Vec<f64> =
            cameras.iter().chain(&*points).chain(&*weights).map(|_| next()).collect();
        let matrix = jacobian(&scene, &mut Run::new(1)).unwrap();

        let mut moved = |by: f64| -> Vec<f64> {
            let ((cameras, points), (weights, _), _) = &mut scene.arrays;
            let all = cameras.iter_mut().chain(points).chain(weights);
            all.zip(&way).for_each(|(x, way)| *x += by * way);
            let program = || residuals(&scene);
            let found = Run::new(1).call(program, &(), &scene.arrays).unwrap();
            found.0.iter().chain(&found.1).copied().collect()
        };
        let h = 1e-5;
        let (after, before) = (moved(h), moved(-2.0 * h));
        for (i, (after, before)) in after.iter().zip(&before).enumerate() {
            let row = matrix.starts[i] as usize..matrix.starts[i + 1] as usize;
            let entries = matrix.columns[row.clone()].iter().zip(&matrix.values[row]);
            let product: f64 = entries.map(|(&j, x)| x * way[j as usize]).sum();
            let change = (after - before) / (2.0 * h);
            assert!((product - change).abs() < 1e-7 * (1.0 + change.abs()), "row {i}");
        }
        assert_eq!(after.len() + 1, matrix.starts.len());
    }
}
