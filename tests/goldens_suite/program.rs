//! The files of programs: one JSON object a line.
//!
//! A program is a list of nodes. `iK` is input K, `nK` the result of node K, `nK.J`
//! result J of a node with several. Bodies of loops and branches are programs that
//! see nothing but their inputs. A gradient is that of the sum of all targets,
//! weighted with the cotangent if there is one.

use backstitch::{Array, Shape};
use serde::Deserialize;

use super::operation::Op;

/// A program, its inputs, and what is to come out.
#[derive(Deserialize)]
pub struct Program {
    /// Sort and name, as `op/exp/3`.
    pub name: String,
    /// Values of the inputs.
    pub inputs: Vec<Literal>,
    /// What is computed.
    #[serde(flatten)]
    pub body: Body,
    /// Of what the gradient is asked for, if it is.
    pub grad: Option<Grad>,
    /// Along what the sources move, if their tangents are asked for.
    pub jvp: Option<Tangents>,
    /// What second derivatives are multiplied with, if they are asked for.
    pub hvp: Option<Vectors>,
    /// Whether the Jacobian of each target is asked for.
    #[serde(default)]
    pub jacobian: bool,
    /// Whether second derivatives are asked for.
    #[serde(default)]
    pub hessian: bool,
    /// Whose conventions these are, where systems differ.
    pub profile: Option<String>,
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

/// An operand.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Arg {
    /// An input or a result.
    Ref(Ref),
    /// A constant.
    Const(Const),
}

/// A constant among operands.
#[derive(Deserialize)]
pub struct Const {
    /// A number, or lists of them.
    pub r#const: Nested,
    /// Its element type.
    pub dtype: DType,
}

/// A number, or a list for each axis.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Nested {
    /// An element.
    Element(Element),
    /// A list.
    List(Vec<Nested>),
}

/// The name of a value.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(try_from = "String")]
pub enum Ref {
    /// Of an input.
    Input(usize),
    /// Of a result of a node.
    Node(usize, usize),
}

/// What is differentiated by what.
#[derive(Deserialize, Clone)]
pub struct Grad {
    /// The targets.
    pub target: OneOrMany<Ref>,
    /// What the targets are weighted with; ones if nothing is said.
    pub cotangent: Option<OneOrMany<Literal>>,
    /// The sources.
    pub wrt: Vec<Ref>,
}

/// Directions of the sources.
#[derive(Deserialize)]
pub struct Tangents {
    /// One for each source.
    pub tangents: Vec<Literal>,
}

/// What second derivatives are multiplied with.
#[derive(Deserialize)]
pub struct Vectors {
    /// One for each source.
    pub vectors: Vec<Literal>,
}

/// Something, or a list of it.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// A single one.
    One(T),
    /// A list.
    Many(Vec<T>),
}

/// What is to come out.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Expect {
    /// The results.
    pub outputs: Vec<Literal>,
    /// The gradient with respect to each source, if there is one.
    pub grads: Vec<Option<Literal>>,
    /// How each source is connected.
    pub status: Vec<String>,
    /// How each target moves along the tangents.
    pub jvp: Vec<Literal>,
    /// Second derivatives times the vectors, for each source.
    pub hvp: Vec<Literal>,
    /// A row for each target, a block for each source.
    pub jacobian: Vec<Vec<Literal>>,
    /// A row and a column for each source.
    pub hessian: Vec<Vec<Literal>>,
    /// Nothing: the program is to be refused, for this reason.
    pub error: Option<String>,
}

/// An array.
#[derive(Deserialize, Clone)]
pub struct Literal {
    /// Extents.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// Elements, row by row.
    pub data: Vec<Element>,
}

/// An element of an array of any type. Integers beyond 2⁵³ do not occur.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "Raw")]
pub struct Element(pub f64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Bool(bool),
    Number(f64),
    Special(String),
}

/// An element type.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// 32-bit integers.
    I32,
    /// 64-bit integers.
    I64,
    /// Truth values.
    Bool,
}

/// A result may be off by `atol + rtol · |expected|`.
#[derive(Deserialize)]
pub struct Tolerance {
    pub rtol: f64,
    pub atol: f64,
}

/// A line that is no program: its name, and why.
pub type Unread = (String, String);

/// All programs of a file.
pub fn read(text: &str) -> Vec<Result<Program, Unread>> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let program = |(number, line): (usize, &str)| {
        serde_json::from_str::<Program>(line).map_err(|error| {
            let named = serde_json::from_str::<Named>(line);
            // Without the list of all operations there are.
            let error = error.to_string();
            let error = error.split(", expected").next().unwrap_or_default().to_owned();
            (named.map_or(format!("line {}", number + 1), |n| n.name), error)
        })
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(program).collect()
}

impl Program {
    /// The sources; none if no gradient is asked for.
    pub fn sources(&self) -> &[Ref] {
        self.grad.as_ref().map_or(&[], |grad| &grad.wrt)
    }

    /// The targets; none if no gradient is asked for.
    pub fn targets(&self) -> &[Ref] {
        self.grad.as_ref().map_or(&[], |grad| grad.target.all())
    }
}

impl Literal {
    /// As an array.
    ///
    /// # Panics
    /// If the number of elements is not that of the shape.
    pub fn array(&self) -> Array {
        array(&self.shape, self.dtype, self.data.iter().map(|x| x.0))
    }

    /// The elements as numbers; truth values are 0 and 1.
    pub fn numbers(&self) -> Vec<f64> {
        self.data.iter().map(|x| x.0).collect()
    }
}

impl Const {
    /// As an array.
    pub fn array(&self) -> Array {
        let (mut shape, mut data) = (Vec::new(), Vec::new());
        self.r#const.collect(0, &mut shape, &mut data);
        array(&shape, self.dtype, data.into_iter())
    }
}

impl Nested {
    fn collect(&self, axis: usize, shape: &mut Vec<usize>, data: &mut Vec<f64>) {
        match self {
            Self::Element(x) => data.push(x.0),
            Self::List(list) => {
                if shape.len() == axis {
                    shape.push(list.len());
                }
                list.iter().for_each(|inner| inner.collect(axis + 1, shape, data));
            }
        }
    }
}

fn array(shape: &[usize], dtype: DType, data: impl Iterator<Item = f64>) -> Array {
    let shape = Shape::from(shape);
    let array = match dtype {
        DType::F32 => Array::from_vec(&shape, data.map(|x| x as f32).collect()),
        DType::F64 => Array::from_vec(&shape, data.collect()),
        DType::I32 => Array::from_vec(&shape, data.map(|x| x as i32).collect()),
        DType::I64 => Array::from_vec(&shape, data.map(|x| x as i64).collect()),
        DType::Bool => Array::from_vec(&shape, data.map(|x| x != 0.0).collect()),
    };
    array.expect("as many elements as the shape has")
}

impl From<DType> for backstitch::DType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32,
            DType::F64 => Self::F64,
            DType::I32 => Self::I32,
            DType::I64 => Self::I64,
            DType::Bool => Self::Bool,
        }
    }
}

impl TryFrom<Raw> for Element {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        Ok(Self(match raw {
            Raw::Number(x) => x,
            Raw::Bool(x) => x.into(),
            Raw::Special(name) => match name.as_str() {
                "nan" => f64::NAN,
                "inf" => f64::INFINITY,
                "-inf" => f64::NEG_INFINITY,
                _ => return Err(format!("`{name}` is no number")),
            },
        }))
    }
}

impl<T> OneOrMany<T> {
    /// As a list.
    pub fn all(&self) -> &[T] {
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
