//! num-dual: dual numbers, in programs of few parameters. Derivatives are those of forward
//! mode, all at once.

use nalgebra::{DVector, SVector};
use num_dual::{
    Dual2DVec64, DualDVec64, DualNum, DualSVec, DualSVec64, gradient, hessian, jacobian,
};

use crate::arrays::Arrays;
use crate::{Program, program as timed};

/// Value and derivatives of a workload.
pub fn program<'a>(number: &str, arrays: &'a Arrays) -> Option<Box<dyn Program + 'a>> {
    let f32s = |name: &str| arrays.get(name).f32();
    let one = |name: &str| f32s(name)[0];
    Some(match number {
        "W01" => {
            let at = SVector::from([one("w1"), one("w2")]);
            let f = |w: SVector<DualSVec<f32, 2>, 2>| w[0] * w[0] * 3.0 + w[0] * w[1] * 2.0;
            let read = |(value, g): &(f32, SVector<f32, 2>)| {
                (f64::from(*value), g.iter().map(|&x| vec![f64::from(x)]).collect())
            };
            timed(move || gradient(f, std::hint::black_box(&at)), read)
        }
        "W02" => {
            let at = SVector::from([one("a")]);
            let f = |a: SVector<DualSVec<f32, 1>, 1>| {
                let mut b = a[0] * 2.0;
                while b.re.abs() < 1000.0 {
                    b *= 2.0;
                }
                if b.re > 0.0 { b } else { b * 100.0 }
            };
            let read = |(value, g): &(f32, SVector<f32, 1>)| {
                (f64::from(*value), vec![vec![f64::from(g[0])]])
            };
            timed(move || gradient(f, std::hint::black_box(&at)), read)
        }
        "W03" => {
            let (x, y, w) = (f32s("X"), f32s("y"), f32s("W"));
            let at = SVector::from([w[0], w[1], w[2], one("b")]);
            let f = move |p: SVector<DualSVec<f32, 4>, 4>| {
                let row = |i: usize| {
                    let r =
                        p[0] * x[3 * i] + p[1] * x[3 * i + 1] + p[2] * x[3 * i + 2] + p[3] - y[i];
                    r * r
                };
                (row(0) + row(1)) * 0.5
            };
            let read = |(value, g): &(f32, SVector<f32, 4>)| {
                let g: Vec<f64> = g.iter().map(|&x| x.into()).collect();
                (f64::from(*value), vec![g[..3].to_vec(), g[3..].to_vec()])
            };
            timed(move || gradient(&f, std::hint::black_box(&at)), read)
        }
        "W07" | "W07b" => {
            let (x, y) = (f32s("x"), f32s("y"));
            let at = SVector::from([one("a"), one("b"), one("c")]);
            // In double precision, as a plain sum of a million terms in `f32` is not the mean.
            let at = at.map(f64::from);
            let f = move |p: SVector<DualSVec64<3>, 3>| {
                let term = |(&x, &y): (&f32, &f32)| {
                    let (x, y) = (f64::from(x), f64::from(y));
                    let r = p[0] * (x * x) + p[1] * x + p[2] - y;
                    r * r
                };
                x.iter().zip(&y).map(term).fold(DualSVec64::from(0.0), |a, b| a + b)
                    / x.len() as f64
            };
            let read = |(value, g): &(f64, SVector<f64, 3>)| {
                (*value, g.iter().map(|&x| vec![x]).collect())
            };
            timed(move || gradient(&f, std::hint::black_box(&at)), read)
        }
        "W13b" => {
            let at = DVector::from_vec(arrays.get("x").values.clone());
            let f = |x: DVector<DualDVec64>| rosenbrock(x.as_slice());
            let read = |(value, g): &(f64, DVector<f64>)| (*value, vec![g.as_slice().to_vec()]);
            timed(move || gradient(f, std::hint::black_box(&at)), read)
        }
        "W13" => {
            let at = DVector::from_vec(arrays.get("x").values.clone());
            let f = |x: DVector<Dual2DVec64>| rosenbrock(x.as_slice());
            timed(
                move || hessian(f, std::hint::black_box(&at)),
                |(value, _, h)| (*value, vec![h.as_slice().to_vec()]),
            )
        }
        "W16" => {
            let n = arrays.get("w").values.len();
            let (cams, pts) = (&arrays.get("cams").values, &arrays.get("pts").values);
            let (w, feats) = (&arrays.get("w").values, &arrays.get("feats").values);
            let params = move |i: usize| {
                let mut p = SVector::<f64, 15>::zeros();
                p.as_mut_slice()[..11].copy_from_slice(&cams[11 * i..11 * (i + 1)]);
                p.as_mut_slice()[11..14].copy_from_slice(&pts[3 * i..3 * (i + 1)]);
                p[14] = w[i];
                p
            };
            let call = move || {
                let (mut values, mut jacobians) = (vec![0.0; 2 * n], vec![0.0; 30 * n]);
                for i in 0..n {
                    let seen = [feats[2 * i], feats[2 * i + 1]];
                    let f = |p: SVector<DualSVec64<15>, 15>| SVector::from(reprojection(&p, seen));
                    let (r, j) = jacobian(f, &params(i));
                    values[2 * i..2 * (i + 1)].copy_from_slice(r.as_slice());
                    let rows = j.transpose();
                    jacobians[30 * i..30 * (i + 1)].copy_from_slice(rows.as_slice());
                }
                (values, jacobians)
            };
            timed(call, |(r, j): &(Vec<f64>, Vec<f64>)| (r.iter().sum(), vec![j.clone()]))
        }
        _ => return None,
    })
}

fn rosenbrock<T: DualNum<Primitive = f64>>(x: &[T]) -> T {
    let term = |pair: &[T]| {
        let (x, next) = (pair[0].clone(), pair[1].clone());
        let (a, b) = (next - x.clone() * x.clone(), -x + 1.0);
        a.clone() * a * 100.0 + b.clone() * b
    };
    x.windows(2).map(term).reduce(|a, b| a + b).expect("two variables")
}

fn reprojection(p: &SVector<DualSVec64<15>, 15>, seen: [f64; 2]) -> [DualSVec64<15>; 2] {
    type Three = [DualSVec64<15>; 3];
    let dot = |a: Three, b: Three| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let cross = |a: Three, b: Three| -> Three {
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    };
    let rotation = [p[0], p[1], p[2]];
    let from: Three = std::array::from_fn(|i| p[11 + i] - p[3 + i]);
    let square = dot(rotation, rotation);
    let turned: Three = if square.re == 0.0 {
        let small = cross(rotation, from);
        std::array::from_fn(|i| from[i] + small[i])
    } else {
        let angle = square.sqrt();
        let (sin, cos) = angle.sin_cos();
        let axis = rotation.map(|r| r / angle);
        let along = dot(axis, from) * (-cos + 1.0);
        let turn = cross(axis, from);
        std::array::from_fn(|i| from[i] * cos + turn[i] * sin + axis[i] * along)
    };
    let (x, y) = (turned[0] / turned[2], turned[1] / turned[2]);
    let square = x * x + y * y;
    let stretch = (p[9] * square + p[10] * square * square + 1.0) * p[6];
    [p[14] * (x * stretch + p[7] - seen[0]), p[14] * (y * stretch + p[8] - seen[1])]
}
