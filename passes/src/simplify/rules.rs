//! The rules, each with its two sides in the notation of the IR.

use backstitch_ir::nest::Const;
use backstitch_ir::op::Primitive;
use backstitch_ir::ops::{Axes, Broadcast, Concat, PadAxis, Permute};
use backstitch_ir::{Array, DType, Graph, Op, Scalar, Value};

/// What a rule does to the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The same bits.
    Exact,
    /// As good an approximation, some last places apart.
    Rounds,
}

/// A rewrite rule.
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What it does to the numbers.
    pub class: Class,
    /// What the value may be replaced with, given its operands.
    pub apply: fn(&mut Graph, Value, &[Value]) -> Option<Value>,
}

const fn exact(
    name: &'static str,
    apply: fn(&mut Graph, Value, &[Value]) -> Option<Value>,
) -> Rule {
    Rule { name, class: Class::Exact, apply }
}

/// All rules.
pub const RULES: &[Rule] = &[
    exact("mul_by_one", mul_by_one),
    exact("mul_by_minus_one", mul_by_minus_one),
    Rule { name: "mul_twice", class: Class::Rounds, apply: mul_twice },
    exact("div_by_one", div_by_one),
    exact("sub_zero", sub_zero),
    exact("neg_neg", neg_neg),
    exact("mul_neg", mul_neg),
    exact("add_neg", add_neg),
    exact("sub_neg", sub_neg),
    exact("select_same", select_same),
    exact("select_known", select_known),
    exact("cast_same", cast_same),
    exact("not_not", not_not),
    exact("pow_one", pow_one),
    Rule { name: "pow_two", class: Class::Rounds, apply: pow_two },
    Rule { name: "fold", class: Class::Rounds, apply: fold },
    exact("map_of_broadcasts", map_of_broadcasts),
    exact("broadcast_of_broadcast", broadcast_of_broadcast),
    exact("reshape_of_reshape", reshape_of_reshape),
    exact("permute_of_permute", permute_of_permute),
    exact("permute_nothing", permute_nothing),
    exact("slice_all", slice_all),
    exact("reduce_of_one", reduce_of_one),
    Rule { name: "add_padded", class: Class::Rounds, apply: add_padded },
    Rule { name: "add_scattered", class: Class::Rounds, apply: add_scattered },
];

fn scalar(g: &Graph, v: Value) -> Option<Scalar> {
    match g.op_of(v) {
        Op::Map(m) => Some(m.f),
        _ => None,
    }
}

fn is(g: &Graph, v: Value, f: Scalar) -> bool {
    scalar(g, v) == Some(f)
}

fn args_of(g: &Graph, v: Value) -> backstitch_ir::graph::Values {
    g.args(g.source(v).0)
}

/// `mul x, 1 = x`
fn mul_by_one(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    if !is(g, v, Scalar::Mul) {
        return None;
    }
    if g.is_splat(a[1], 1.0) { Some(a[0]) } else { g.is_splat(a[0], 1.0).then(|| a[1]) }
}

/// `mul x, -1 = neg x`
fn mul_by_minus_one(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    if !is(g, v, Scalar::Mul) || !g.ty(v).is_float() {
        return None;
    }
    let x = if g.is_splat(a[1], -1.0) {
        a[0]
    } else if g.is_splat(a[0], -1.0) {
        a[1]
    } else {
        return None;
    };
    Some(g.map(Scalar::Neg, &[x]))
}

/// `mul c, (add x, x) = mul 2c, x` of a constant
fn mul_twice(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    if !is(g, v, Scalar::Mul) || !g.ty(v).is_float() {
        return None;
    }
    let (c, twice) = match (g.as_splat(a[0]), g.as_splat(a[1])) {
        (Some(c), None) => (c, a[1]),
        (None, Some(c)) => (c, a[0]),
        _ => return None,
    };
    let terms = args_of(g, twice);
    // As a constant of the type, which has to hold it.
    let double = Const::of_float(c.dtype, 2.0 * c.to_f64()).to_f64();
    if !is(g, twice, Scalar::Add) || terms[0] != terms[1] || !double.is_finite() {
        return None;
    }
    let c = g.like(v, double);
    Some(g.map(Scalar::Mul, &[terms[0], c]))
}

/// `div x, 1 = x`
fn div_by_one(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    (is(g, v, Scalar::Div) && g.is_splat(a[1], 1.0)).then(|| a[0])
}

/// `sub x, 0 = x` (of `add x, 0` that is not so: `-0 + 0` is `+0`)
fn sub_zero(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    let zero = |g: &Graph| g.as_splat(a[1]).is_some_and(|c| c.bits == 0);
    (is(g, v, Scalar::Sub) && zero(g)).then(|| a[0])
}

/// `neg (neg x) = x`
fn neg_neg(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    (is(g, v, Scalar::Neg) && is(g, a[0], Scalar::Neg)).then(|| args_of(g, a[0])[0])
}

/// What a value is the negation of.
fn negated(g: &Graph, v: Value) -> Option<Value> {
    is(g, v, Scalar::Neg).then(|| args_of(g, v)[0])
}

/// `mul x, (neg y) = neg (mul x, y)`: negations go outwards, where they meet others.
fn mul_neg(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    if !is(g, v, Scalar::Mul) {
        return None;
    }
    let (x, y) = match (negated(g, a[0]), negated(g, a[1])) {
        (Some(x), _) => (x, a[1]),
        (None, Some(y)) => (a[0], y),
        (None, None) => return None,
    };
    let product = g.map(Scalar::Mul, &[x, y]);
    let product = super::normal(g, product);
    Some(g.map(Scalar::Neg, &[product]))
}

/// `add x, (neg y) = sub x, y`
fn add_neg(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    if !is(g, v, Scalar::Add) {
        return None;
    }
    if let Some(y) = negated(g, a[1]) {
        return Some(g.map(Scalar::Sub, &[a[0], y]));
    }
    negated(g, a[0]).map(|x| g.map(Scalar::Sub, &[a[1], x]))
}

/// `sub x, (neg y) = add x, y`
fn sub_neg(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    if !is(g, v, Scalar::Sub) {
        return None;
    }
    negated(g, a[1]).map(|y| g.map(Scalar::Add, &[a[0], y]))
}

/// `not (not x) = x`
fn not_not(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    (is(g, v, Scalar::Not) && is(g, a[0], Scalar::Not)).then(|| args_of(g, a[0])[0])
}

/// `select c, x, x = x`
fn select_same(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    (is(g, v, Scalar::Select) && a[1] == a[2]).then(|| a[1])
}

/// `select true, x, y = x`, `select false, x, y = y`
fn select_known(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    if !is(g, v, Scalar::Select) {
        return None;
    }
    g.as_splat(a[0]).map(|c| if c.bits != 0 { a[1] } else { a[2] })
}

/// A cast to the type it has.
fn cast_same(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    let f = scalar(g, v)?;
    let casts = DType::ALL.map(Scalar::cast_to);
    (casts.contains(&f) && g.ty(a[0]) == g.ty(v)).then(|| a[0])
}

/// `pow x, 1 = x`
fn pow_one(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    (is(g, v, Scalar::Pow) && g.is_splat(a[1], 1.0)).then(|| a[0])
}

/// `pow x, 2 = square x`
fn pow_two(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    (is(g, v, Scalar::Pow) && g.is_splat(a[1], 2.0)).then(|| g.map(Scalar::Square, &[a[0]]))
}

/// A function of constants is a constant.
fn fold(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    let f = scalar(g, v)?;
    let constants: Option<Vec<Array>> =
        a.iter().map(|&x| g.as_splat(x).map(Array::scalar)).collect();
    let constants = constants?;
    let result = backstitch_ir::ops::Map { f }.eval(&constants.iter().collect::<Vec<_>>());
    let shape = g.ty(v).shape.clone();
    let c = g.constant(result);
    Some(g.broadcast(c, &shape, &[]))
}

/// `f (broadcast x), (broadcast y) = broadcast (f x, y)`, constants included.
fn map_of_broadcasts(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    let f = scalar(g, v)?;
    let mut common: Option<(Axes, backstitch_ir::Type)> = None;
    for &x in a {
        if g.as_splat(x).is_some() {
            continue;
        }
        let Op::Broadcast(b) = g.op_of(x) else { return None };
        let from = g.ty(args_of(g, x)[0]).shape.clone();
        match &common {
            None => common = Some((b.dims.clone(), g.ty(x).with_shape(from))),
            Some((dims, ty)) if *dims == b.dims && ty.shape == from => {}
            Some(_) => return None,
        }
    }
    let (dims, ty) = common?;
    let inner: Vec<Value> = a
        .iter()
        .map(|&x| match g.as_splat(x) {
            Some(c) => {
                let c = g.constant(Array::scalar(c));
                g.broadcast(c, &ty.shape, &[])
            }
            None => args_of(g, x)[0],
        })
        .collect();
    let shape = g.ty(v).shape.clone();
    let inner = g.map(f, &inner);
    let inner = super::normal(g, inner);
    Some(g.push(Broadcast { shape, dims }, &[inner]))
}

/// `broadcast (broadcast x) = broadcast x`
fn broadcast_of_broadcast(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    let Op::Broadcast(outer) = g.op_of(v) else { return None };
    let Op::Broadcast(inner) = g.op_of(a[0]) else { return None };
    let dims: Axes = inner.dims.iter().map(|&d| outer.dims[d]).collect();
    let op = Broadcast { shape: outer.shape.clone(), dims };
    let x = args_of(g, a[0])[0];
    Some(g.push(op, &[x]))
}

/// `reshape (reshape x) = reshape x`
fn reshape_of_reshape(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    let Op::Reshape(outer) = g.op_of(v) else { return None };
    let shape = outer.shape.clone();
    if g.ty(a[0]).shape == shape {
        return Some(a[0]);
    }
    let Op::Reshape(_) = g.op_of(a[0]) else { return None };
    let x = args_of(g, a[0])[0];
    Some(g.reshape(x, shape))
}

/// `permute (permute x) = permute x`
fn permute_of_permute(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    let Op::Permute(outer) = g.op_of(v) else { return None };
    let Op::Permute(inner) = g.op_of(a[0]) else { return None };
    let perm: Axes = outer.perm.iter().map(|&d| inner.perm[d]).collect();
    let x = args_of(g, a[0])[0];
    Some(g.push(Permute { perm }, &[x]))
}

/// A permutation that moves nothing.
fn permute_nothing(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    let Op::Permute(p) = g.op_of(v) else { return None };
    p.perm.iter().enumerate().all(|(i, &d)| i == d).then(|| a[0])
}

/// A slice of everything.
fn slice_all(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    let Op::Slice(s) = g.op_of(v) else { return None };
    let all = s.axes.iter().zip(g.ty(a[0]).dims());
    let all = all.into_iter().all(|(x, &d)| x.len == d && (x.start == 0 && x.step == 1 || d == 0));
    all.then(|| a[0])
}

/// A reduction over axes of extent 1 is a reshape.
fn reduce_of_one(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    let Op::Reduce(r) = g.op_of(v) else { return None };
    let ones = r.axes.iter().all(|&x| g.ty(a[0]).dims()[x] == 1);
    if !ones {
        return None;
    }
    let shape = g.ty(v).shape.clone();
    Some(g.reshape(a[0], shape))
}

/// `add (pad x), (pad y) = concat x, y`, of as many as together cover everything: what the
/// parts that an array was split into give back. (Where it is, `-0 + 0` is not added up.)
fn add_padded(g: &mut Graph, v: Value, _: &[Value]) -> Option<Value> {
    /// Most parts.
    const MOST: usize = 16;
    let mut open = vec![v];
    // Where each part begins and ends, and the part.
    let mut parts: Vec<(usize, usize, Value)> = Vec::new();
    let mut along = None;
    while let Some(v) = open.pop() {
        if is(g, v, Scalar::Add) && open.len() + parts.len() < MOST {
            open.extend(args_of(g, v));
            continue;
        }
        let Op::Pad(p) = g.op_of(v) else { return None };
        let padded = |i: &usize| p.axes[*i] != PadAxis::NONE;
        let mut axes = (0..p.axes.len()).filter(padded);
        let (Some(axis), None) = (axes.next(), axes.next()) else { return None };
        let PadAxis { lo, hi, inner } = p.axes[axis];
        if *along.get_or_insert(axis) != axis || inner > 0 || p.value.to_f64() != 0.0 {
            return None;
        }
        parts.push((lo, g.ty(v).dims()[axis] - hi, args_of(g, v)[0]));
    }
    let axis = along.filter(|_| parts.len() > 1)?;
    parts.sort_unstable();
    let ends = parts.iter().map(|p| p.1);
    let begins = parts.iter().map(|p| p.0).skip(1).chain([g.ty(v).dims()[axis]]);
    if parts[0].0 > 0 || !ends.eq(begins) {
        return None;
    }
    let parts: Vec<Value> = parts.into_iter().map(|p| p.2).collect();
    Some(g.push(Concat { axis }, &parts))
}

/// `add x, (scatter_add 0, i, u) = scatter_add x, i, u`, and so of several one onto the
/// other: nothing as large as `x` is made of zeros. Where an index is there twice, the two
/// are added to `x` one after the other.
fn add_scattered(g: &mut Graph, v: Value, a: &[Value]) -> Option<Value> {
    /// Most of them at once.
    const MOST: usize = 16;
    if !is(g, v, Scalar::Add) {
        return None;
    }
    let chain = |mut at: Value| {
        let mut found = Vec::new();
        while let Op::ScatterAdd(s) = g.op_of(at)
            && found.len() < MOST
        {
            let args = args_of(g, at);
            found.push((s.clone(), args[1], args[2]));
            at = args[0];
        }
        (!found.is_empty() && g.is_splat(at, 0.0)).then_some(found)
    };
    let (x, found) = match (chain(a[1]), chain(a[0])) {
        (Some(found), _) => (a[0], found),
        (None, Some(found)) => (a[1], found),
        (None, None) => return None,
    };
    Some(found.into_iter().rev().fold(x, |x, (op, index, u)| g.push(op, &[x, index, u])))
}
