//! The workloads: what they compute, and on what. Inputs of the same names and shapes
//! are used in every system.

use backstitch::{DType, Spec, Tensor, Trace};

use crate::formulas::*;
use crate::matrices::Matrix;

/// A program and the inputs it is to be run on.
pub struct Workload {
    /// What it is called: a number, and what it is.
    pub name: &'static str,
    /// Element type of all that goes in and out, but classes.
    pub dtype: DType,
    /// What it is differentiated by.
    pub params: &'static [Input],
    /// What else it takes.
    pub data: &'static [Input],
    /// The value.
    pub loss: Loss,
}

/// A program: from parameters and data to a scalar.
pub type Loss = for<'t> fn(&'t Trace, &[Tensor<'t>], &[Tensor<'t>]) -> Tensor<'t>;

/// An input.
pub struct Input {
    pub name: &'static str,
    pub dims: &'static [usize],
    /// Where it is not given, it is drawn from this.
    pub from: Distribution,
}

/// Where inputs come from that are not given.
#[derive(Clone, Copy)]
pub enum Distribution {
    /// That number.
    Constant(f64),
    /// Normal, of mean 0 and this deviation.
    Normal(f64),
    /// 0 or 1, as likely as not.
    Coin,
    /// Between these numbers.
    Uniform(f64, f64),
    /// One of so many classes: integers.
    Class(i32),
}

use Distribution::{Class, Coin, Constant, Normal, Uniform};

impl Workload {
    /// The types of parameters and data.
    pub fn specs(&self) -> (Vec<Spec>, Vec<Spec>) {
        let all = |inputs: &[Input]| inputs.iter().map(|i| i.spec(self.dtype)).collect();
        (all(self.params), all(self.data))
    }
}

impl Input {
    fn spec(&self, dtype: DType) -> Spec {
        let dtype = if let Class(_) = self.from { DType::I32 } else { dtype };
        Spec::new(dtype, self.dims)
    }
}

const fn input(name: &'static str, dims: &'static [usize], from: Distribution) -> Input {
    Input { name, dims, from }
}

/// All of them.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "W01_scalar",
        dtype: DType::F32,
        params: &[input("w1", &[], Constant(5.0)), input("w2", &[], Constant(3.0))],
        data: &[],
        loss: scalar,
    },
    Workload {
        name: "W03_linreg_small",
        dtype: DType::F32,
        params: &[input("W", &[3, 1], Normal(1.0)), input("b", &[1], Normal(1.0))],
        data: &[input("X", &[2, 3], Normal(1.0)), input("y", &[2, 1], Normal(1.0))],
        loss: linear_regression,
    },
    Workload {
        name: "W04_linreg_big",
        dtype: DType::F32,
        params: &[input("W", &[100, 1], Normal(0.1)), input("b", &[1], Normal(1.0))],
        data: &[input("X", &[10_000, 100], Normal(1.0)), input("y", &[10_000, 1], Normal(1.0))],
        loss: linear_regression,
    },
    Workload {
        name: "W05_logreg",
        dtype: DType::F32,
        params: &[input("w", &[100], Normal(0.1)), input("b", &[], Normal(1.0))],
        data: &[input("X", &[10_000, 100], Normal(1.0)), input("t", &[10_000], Coin)],
        loss: logistic_regression,
    },
    Workload {
        name: "W06a_elem_1e3",
        dtype: DType::F32,
        params: &[input("x", &[1_000], Normal(1.0))],
        data: &[],
        loss: elementwise,
    },
    Workload {
        name: "W06b_elem_1e5",
        dtype: DType::F32,
        params: &[input("x", &[100_000], Normal(1.0))],
        data: &[],
        loss: elementwise,
    },
    Workload {
        name: "W06c_elem_1e7",
        dtype: DType::F32,
        params: &[input("x", &[10_000_000], Normal(1.0))],
        data: &[],
        loss: elementwise,
    },
    Workload {
        name: "W06d_elem_1e5_f64",
        dtype: DType::F64,
        params: &[input("x", &[100_000], Normal(1.0))],
        data: &[],
        loss: elementwise,
    },
    Workload {
        name: "W07_poly_1e6",
        dtype: DType::F32,
        params: &[
            input("a", &[], Constant(0.3)),
            input("b", &[], Constant(-0.7)),
            input("c", &[], Constant(0.2)),
        ],
        data: &[input("x", &[1_000_000], Normal(1.0)), input("y", &[1_000_000], Normal(1.0))],
        loss: polynomial,
    },
    // From the second cache rather than the third.
    Workload {
        name: "W07b_poly_1e5",
        dtype: DType::F32,
        params: &[
            input("a", &[], Constant(0.3)),
            input("b", &[], Constant(-0.7)),
            input("c", &[], Constant(0.2)),
        ],
        data: &[input("x", &[100_000], Normal(1.0)), input("y", &[100_000], Normal(1.0))],
        loss: polynomial,
    },
    Workload {
        name: "W08_mlp_small",
        dtype: DType::F32,
        params: &[
            input("W1", &[16, 32], Normal(0.25)),
            input("b1", &[32], Normal(0.1)),
            input("W2", &[32, 32], Normal(0.18)),
            input("b2", &[32], Normal(0.1)),
            input("W3", &[32, 1], Normal(0.18)),
            input("b3", &[1], Normal(0.1)),
        ],
        data: &[input("x", &[32, 16], Normal(1.0)), input("y", &[32, 1], Normal(1.0))],
        loss: perceptron,
    },
    Workload {
        name: "W09_mlp_mid",
        dtype: DType::F32,
        params: &[
            input("W1", &[784, 512], Normal(0.05)),
            input("b1", &[512], Normal(0.1)),
            input("W2", &[512, 512], Normal(0.06)),
            input("b2", &[512], Normal(0.1)),
            input("W3", &[512, 10], Normal(0.06)),
            input("b3", &[10], Normal(0.1)),
        ],
        data: &[input("x", &[128, 784], Normal(1.0)), input("labels", &[128], Class(10))],
        loss: classifier,
    },
    Workload {
        name: "W10_ln_lse",
        dtype: DType::F32,
        params: &[
            input("x", &[512, 1024], Normal(1.0)),
            input("g", &[1024], Normal(0.1)),
            input("b", &[1024], Normal(0.1)),
        ],
        data: &[],
        loss: normalised,
    },
    Workload {
        name: "W11_attention",
        dtype: DType::F32,
        params: &[
            input("Wq", &[64, 64], Normal(0.125)),
            input("Wk", &[64, 64], Normal(0.125)),
            input("Wv", &[64, 64], Normal(0.125)),
            input("Wo", &[64, 64], Normal(0.125)),
        ],
        data: &[input("x", &[4, 128, 64], Normal(1.0))],
        loss: attention,
    },
    Workload {
        name: "W12_lstm",
        dtype: DType::F32,
        params: &[
            input("Wx", &[64, 256], Normal(0.125)),
            input("Wh", &[64, 256], Normal(0.125)),
            input("b", &[256], Normal(0.1)),
        ],
        data: &[input("xs", &[100, 16, 64], Normal(1.0))],
        loss: lstm,
    },
    Workload {
        name: "W13b_rosen_grad",
        dtype: DType::F64,
        params: &[input("x", &[100], Normal(1.0))],
        data: &[],
        loss: rosenbrock,
    },
    Workload {
        name: "W02_while",
        dtype: DType::F32,
        params: &[input("a", &[], Constant(0.37))],
        data: &[],
        loss: doubling,
    },
    Workload {
        name: "W17_newton",
        dtype: DType::F64,
        params: &[input("a", &[1_000], Uniform(1.0, 8.0))],
        data: &[],
        loss: cube_roots,
    },
    Workload {
        name: "W18_nested",
        dtype: DType::F64,
        params: &[input("a", &[], Constant(0.8)), input("c", &[], Constant(0.7))],
        data: &[],
        loss: nested,
    },
    Workload {
        name: "W19_ode",
        dtype: DType::F64,
        params: &[
            input("alpha", &[], Constant(1.1)),
            input("beta", &[], Constant(0.4)),
            input("gamma", &[], Constant(0.4)),
            input("delta", &[], Constant(0.1)),
            input("x", &[], Constant(10.0)),
            input("y", &[], Constant(5.0)),
        ],
        data: &[],
        loss: predators,
    },
    Workload {
        name: "W15_gmm",
        dtype: DType::F64,
        params: &[
            input("alphas", &[25], Normal(1.0)),
            input("means", &[25, 10], Normal(1.0)),
            input("icf", &[25, 55], Normal(1.0)),
        ],
        data: &[input("x", &[1000, 10], Normal(1.0))],
        loss: mixture,
    },
];

/// Workloads whose derivative is a matrix.
pub const MATRICES: &[(Workload, Matrix)] = &[
    (
        Workload {
            name: "W13_rosen_hess",
            dtype: DType::F64,
            params: &[input("x", &[100], Normal(1.0))],
            data: &[],
            loss: rosenbrock,
        },
        Matrix::Hessian,
    ),
    (
        Workload {
            name: "W14_jacobian",
            dtype: DType::F32,
            params: &[input("x", &[64], Normal(1.0))],
            data: &[input("A", &[64, 64], Normal(0.125))],
            loss: gated,
        },
        Matrix::Jacobian,
    ),
    (
        Workload {
            name: "W16_ba",
            dtype: DType::F64,
            params: &[
                input("cams", &[OBSERVATIONS, 11], Normal(1.0)),
                input("pts", &[OBSERVATIONS, 3], Normal(1.0)),
                input("w", &[OBSERVATIONS], Normal(1.0)),
            ],
            data: &[input("feats", &[OBSERVATIONS, 2], Normal(1.0))],
            loss: reprojection,
        },
        Matrix::Rows { vectors: reprojection_of_vectors },
    ),
];

/// Of points by cameras, in the bundle adjustment.
const OBSERVATIONS: usize = 31_843;

/// The lengths of the chains that compilation is timed with.
pub const CHAINS: [(&str, usize); 2] = [("chain_1000", 1_000), ("chain_10000", 10_000)];
