//! The file of programs: one JSON object a line.
//!
//! A program is a list of nodes. `iK` is input K, `nK` the result of node K, `nK.J`
//! result J of a node with several. Bodies of loops and branches are programs that
//! see nothing but their inputs. A gradient is that of the sum of all targets,
//! weighted with the cotangent if there is one.

use backstitch::{Array, Shape};
use serde::Deserialize;

/// A program, its inputs, and what is to come out.
#[derive(Deserialize)]
pub struct Seed {
    /// `seed/<tutorial>/<program>`.
    pub name: String,
    /// Values of the inputs.
    pub inputs: Vec<Literal>,
    /// What is computed.
    #[serde(flatten)]
    pub body: Body,
    /// Of what the gradient is asked for.
    pub grad: Grad,
    /// Whether the Jacobian of each target is asked for.
    #[serde(default)]
    pub jacobian: bool,
    /// Whether second derivatives are asked for.
    #[serde(default)]
    pub hessian: bool,
    /// What is to come out.
    pub expect: Expect,
    /// How far results may be off.
    pub tol: Tolerance,
}

/// Operations, and which results are given.
#[derive(Deserialize)]
pub struct Body {
    /// In order: each uses inputs and nodes before it.
    pub nodes: Vec<Node>,
    /// The results.
    pub outputs: Vec<Ref>,
}

/// An operation.
#[derive(Deserialize)]
pub struct Node {
    /// What it does.
    #[serde(flatten)]
    pub op: Op,
    /// What it takes.
    pub args: Vec<Arg>,
}

/// What a node does: named as in the API.
#[derive(Deserialize)]
#[serde(tag = "op", content = "attrs", rename_all = "snake_case")]
pub enum Op {
    Add {},
    Sub {},
    Mul {},
    Pow {},
    Lt {},
    Gt {},
    Matmul {},
    Tensordot { axes: [Vec<i32>; 2] },
    Identity {},
    Square {},
    Sigmoid {},
    Relu {},
    StopGradient {},
    IntegerPow { n: i32 },
    Cast { dtype: DType },
    Sum(Over),
    Mean(Over),
    Norm(Over),
    Index { axis: i32, index: i64 },
    Stack { axis: i32 },
    While { cond: Body, body: Body },
    Cond { then: Body, r#else: Body },
}

/// The axes of a reduction.
#[derive(Deserialize)]
pub struct Over {
    /// All if there is no list.
    pub axes: Option<Vec<i32>>,
    /// Whether they stay, with extent 1.
    pub keepdims: bool,
}

/// An operand.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Arg {
    /// An input or a result.
    Ref(Ref),
    /// A number.
    Const {
        /// Which one.
        r#const: f64,
        /// Its type.
        dtype: DType,
    },
}

/// The name of a value.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "String")]
pub enum Ref {
    /// Of an input.
    Input(usize),
    /// Of a result of a node.
    Node(usize, usize),
}

/// What is differentiated by what.
#[derive(Deserialize)]
pub struct Grad {
    /// The targets.
    pub target: OneOrMany,
    /// What the target is weighted with.
    pub cotangent: Option<Literal>,
    /// The sources.
    pub wrt: Vec<Ref>,
}

/// A name, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// A name.
    One(Ref),
    /// A list.
    Many(Vec<Ref>),
}

/// What is to come out.
#[derive(Deserialize)]
pub struct Expect {
    /// The results.
    pub outputs: Vec<Literal>,
    /// The gradient with respect to each source, if there is one.
    pub grads: Vec<Option<Literal>>,
    /// How each source is connected.
    pub status: Vec<String>,
    /// A row for each target, a block for each source.
    #[serde(default)]
    pub jacobian: Vec<Vec<Literal>>,
    /// A row and a column for each source.
    #[serde(default)]
    pub hessian: Vec<Vec<Literal>>,
}

/// An array.
#[derive(Deserialize)]
pub struct Literal {
    /// Extents.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// Elements, row by row.
    pub data: Vec<f64>,
}

/// An element type; the tutorials use no other.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

/// A result may be off by `atol + rtol · |expected|`.
#[derive(Deserialize)]
pub struct Tolerance {
    pub rtol: f64,
    pub atol: f64,
}

/// All programs of a file.
pub fn read(text: &str) -> serde_json::Result<Vec<Seed>> {
    text.lines().map(serde_json::from_str).collect()
}

impl Literal {
    /// As an array. `None` if the number of elements is not that of the shape.
    pub fn array(&self) -> Option<Array> {
        let shape = Shape::from(&self.shape);
        match self.dtype {
            DType::F32 => {
                Array::from_vec(&shape, self.data.iter().map(|&x| x as f32).collect::<Vec<f32>>())
            }
            DType::F64 => Array::from_vec(&shape, self.data.clone()),
        }
    }
}

impl From<DType> for backstitch::DType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32,
            DType::F64 => Self::F64,
        }
    }
}

impl OneOrMany {
    /// As a list.
    pub fn all(&self) -> &[Ref] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl TryFrom<String> for Ref {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let parse = || {
            if let Some(input) = name.strip_prefix('i') {
                return input.parse().ok().map(Self::Input);
            }
            let (node, result) =
                name.strip_prefix('n').map(|n| n.split_once('.').unwrap_or((n, "0")))?;
            Some(Self::Node(node.parse().ok()?, result.parse().ok()?))
        };
        parse().ok_or_else(|| format!("`{name}` names no value"))
    }
}

impl std::fmt::Display for Ref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Input(k) => write!(f, "i{k}"),
            Self::Node(k, 0) => write!(f, "n{k}"),
            Self::Node(k, j) => write!(f, "n{k}.{j}"),
        }
    }
}
