//! What the evals compute, in plain loops over numbers, and derivatives by differences.

/// A matrix, row by row.
pub type Rows = Vec<Vec<f64>>;

/// The gradient by central differences.
pub fn gradient(f: impl Fn(&[f64]) -> f64, x: &[f64]) -> Vec<f64> {
    let n = x.len();
    let mut x = x.to_vec();
    let partial = |i: usize| {
        let (at, h) = (x[i], 1e-5 * x[i].abs().max(1.0));
        let mut moved = |by: f64| {
            x[i] = at + by;
            f(&x)
        };
        // Of fourth order.
        let (near, far) = (moved(h) - moved(-h), moved(2.0 * h) - moved(-2.0 * h));
        x[i] = at;
        (8.0 * near - far) / (12.0 * h)
    };
    (0..n).map(partial).collect()
}

/// Numbers between -1 and 1 that look random.
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn row(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next()).collect()
    }

    pub fn rows(&mut self, n: usize, m: usize) -> Rows {
        (0..n).map(|_| self.row(m)).collect()
    }
}

/// Cuts numbers into rows.
pub fn rows(numbers: &[f64], width: usize) -> Rows {
    if width == 0 { Vec::new() } else { numbers.chunks(width).map(<[f64]>::to_vec).collect() }
}

pub fn log_sum_exp(x: &[f64]) -> f64 {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + x.iter().map(|x| (x - most).exp()).sum::<f64>().ln()
}

pub struct Mixture {
    pub alpha: Vec<f64>,
    pub mu: Rows,
    pub q: Rows,
    pub l: Rows,
}

/// With the densities written out: each point's is a sum over components of weight times
/// normal density, without logarithms until the end.
pub fn mixture(mixture: &Mixture, x: &Rows, m: f64, gamma: f64) -> f64 {
    let Mixture { alpha, mu, q, l } = mixture;
    let (k, d) = (mu.len(), mu[0].len());
    let triangle = |c: usize| {
        let mut triangle = vec![vec![0.0; d]; d];
        let mut below = l.get(c).into_iter().flatten();
        for j in 0..d {
            triangle[j][j] = q[c][j].exp();
            for row in &mut triangle[j + 1..] {
                row[j] = *below.next().unwrap();
            }
        }
        triangle
    };
    let triangles: Vec<Rows> = (0..k).map(triangle).collect();
    let weights: f64 = alpha.iter().map(|a| a.exp()).sum();
    let density = |x: &Vec<f64>| -> f64 {
        let component = |c: usize| {
            let turned = |row: &Vec<f64>| -> f64 {
                row.iter().zip(x.iter().zip(&mu[c])).map(|(q, (x, mu))| q * (x - mu)).sum()
            };
            let square: f64 = triangles[c].iter().map(|row| turned(row).powi(2)).sum();
            let determinant: f64 = (0..d).map(|j| triangles[c][j][j]).product();
            let normal = (-0.5 * square).exp() / std::f64::consts::TAU.powf(d as f64 / 2.0);
            alpha[c].exp() / weights * determinant * normal
        };
        (0..k).map(component).sum()
    };
    let likelihood: f64 = x.iter().map(|x| density(x).ln()).sum();
    let freedom = d as f64 + m + 1.0;
    let log_gamma = d as f64 * (d as f64 - 1.0) / 4.0 * std::f64::consts::PI.ln()
        + (1..=d).map(|j| libm::lgamma(freedom / 2.0 + (1.0 - j as f64) / 2.0)).sum::<f64>();
    let constant = freedom * d as f64 * (gamma / 2f64.sqrt()).ln() - log_gamma;
    let prior = |c: usize| {
        let frobenius: f64 = triangles[c].iter().flatten().map(|e| e * e).sum();
        constant - gamma * gamma / 2.0 * frobenius + m * q[c].iter().sum::<f64>()
    };
    likelihood + (0..k).map(prior).sum::<f64>()
}

pub fn least_squares(x: &[f64], n: usize) -> f64 {
    let miss = |i: usize| {
        let t = -1.0 + 2.0 * i as f64 / (n as f64 - 1.0);
        let sign = f64::from(i8::from(t > 0.0) - i8::from(t < 0.0));
        sign - x.iter().rev().fold(0.0, |sum, x| sum * t + x)
    };
    (0..n).map(|i| miss(i).powi(2)).sum::<f64>() / 2.0
}

pub struct Network {
    pub main: Rows,
    pub extra: Rows,
}

pub fn lstm(network: &Network, state: &Rows, sequence: &Rows) -> f64 {
    let Network { main, extra } = network;
    let bits = extra[0].len();
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let mut state = state.clone();
    let mut loss = 0.0;
    for pair in sequence.windows(2) {
        let mut y = vec![0.0; bits];
        for j in 0..bits {
            let mut input = pair[0][j] * extra[0][j];
            for layer in 0..main.len() / 2 {
                let (w, b) = (&main[2 * layer], &main[2 * layer + 1]);
                let gate = |gate: usize, x: f64| x * w[gate * bits + j] + b[gate * bits + j];
                let (h, g) = (state[2 * layer][j], state[2 * layer + 1][j]);
                let (forget, out) = (sigmoid(gate(0, input)), sigmoid(gate(2, input)));
                let (take, change) = (sigmoid(gate(1, h)), gate(3, h).tanh());
                let g = g * forget + take * change;
                state[2 * layer + 1][j] = g;
                state[2 * layer][j] = out * g.tanh();
                input = state[2 * layer][j];
            }
            y[j] = input * extra[1][j] + extra[2][j];
        }
        let log = (2.0 + y.iter().map(|y| y.exp()).sum::<f64>()).ln();
        loss -= pair[1].iter().zip(&y).map(|(s, y)| s * (y - log)).sum::<f64>();
    }
    loss / ((sequence.len() - 1) * bits) as f64
}

/// The two residuals of an observation of camera, point and weight, in this order.
pub fn reprojection(row: &[f64], feature: &[f64]) -> [f64; 2] {
    let (r, v) = (&row[..3], [row[11] - row[3], row[12] - row[4], row[13] - row[5]]);
    let square: f64 = r.iter().map(|r| r * r).sum();
    let cross = |a: &[f64]| {
        [a[1] * v[2] - a[2] * v[1], a[2] * v[0] - a[0] * v[2], a[0] * v[1] - a[1] * v[0]]
    };
    let x: [f64; 3] = if square == 0.0 {
        let turn = cross(r);
        std::array::from_fn(|i| v[i] + turn[i])
    } else {
        let angle = square.sqrt();
        let axis: Vec<f64> = r.iter().map(|r| r / angle).collect();
        let along: f64 = axis.iter().zip(v).map(|(a, v)| a * v).sum();
        let turn = cross(&axis);
        let (sin, cos) = angle.sin_cos();
        std::array::from_fn(|i| v[i] * cos + turn[i] * sin + axis[i] * along * (1.0 - cos))
    };
    let p = [x[0] / x[2], x[1] / x[2]];
    let s = p[0] * p[0] + p[1] * p[1];
    let stretch = row[6] * (1.0 + row[9] * s + row[10] * s * s);
    std::array::from_fn(|i| row[14] * (stretch * p[i] + row[7 + i] - feature[i]))
}

/// The number of the nearest centroid, and the squared distance to it.
fn nearest(point: &[f64], centroids: &Rows) -> (usize, f64) {
    let distance = |c: &Vec<f64>| point.iter().zip(c).map(|(p, c)| (p - c).powi(2)).sum::<f64>();
    let distances = centroids.iter().map(distance).enumerate();
    distances.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

pub fn cost(points: &Rows, centroids: &Rows) -> f64 {
    points.iter().map(|p| nearest(p, centroids).1).sum()
}

/// From each centroid to the mean of the points that it is nearest to, and back.
pub fn direction(points: &Rows, centroids: &Rows) -> Rows {
    let step = |j: usize| -> Vec<f64> {
        let own: Vec<_> = points.iter().filter(|p| nearest(p, centroids).0 == j).collect();
        let mean = |i: usize| own.iter().map(|p| p[i]).sum::<f64>() / own.len() as f64;
        centroids[j].iter().enumerate().map(|(i, c)| c - mean(i)).collect()
    };
    (0..centroids.len()).map(step).collect()
}

pub fn runge_kutta(x: &[f64], steps: usize) -> Vec<f64> {
    let h = 2.0 / steps as f64;
    let slope = |y: &[f64]| -> Vec<f64> {
        x.iter().enumerate().map(|(i, x)| if i == 0 { *x } else { x * y[i - 1] }).collect()
    };
    let along = |y: &[f64], k: &[f64], h: f64| -> Vec<f64> {
        y.iter().zip(k).map(|(y, k)| y + h * k).collect()
    };
    let mut y = vec![0.0; x.len()];
    for _ in 0..steps {
        let k1 = slope(&y);
        let k2 = slope(&along(&y, &k1, h / 2.0));
        let k3 = slope(&along(&y, &k2, h / 2.0));
        let k4 = slope(&along(&y, &k3, h));
        for (i, y) in y.iter_mut().enumerate() {
            *y += h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]);
        }
    }
    y
}

/// By elimination, with the largest element of each column as its pivot.
pub fn determinant(a: &[f64], n: usize) -> f64 {
    let mut a = rows(a, n);
    let mut product = 1.0;
    for j in 0..n {
        let pivot = (j..n).max_by(|&p, &q| a[p][j].abs().total_cmp(&a[q][j].abs())).unwrap();
        if pivot != j {
            a.swap(pivot, j);
            product = -product;
        }
        product *= a[j][j];
        let (above, below) = a.split_at_mut(j + 1);
        for row in below {
            let factor = row[j] / above[j][j];
            row.iter_mut().zip(&above[j]).for_each(|(x, y)| *x -= factor * y);
        }
    }
    product
}
