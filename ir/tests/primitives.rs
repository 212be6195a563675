//! Every rule of every primitive, on every sample: types against values, values
//! against layouts, derivatives against differences and against each other,
//! batches against lanes, structure against values, parameters against text.
//!
//! A new primitive is tested by being in the list and giving samples.

use backstitch_ir::eval::eval_arrays;
use backstitch_ir::nest::Monoid;
use backstitch_ir::op::{Family, Lane, Primitive, Sample, Site, Structure};
use backstitch_ir::ops::{Lu, Map, Reduce};
use backstitch_ir::range::Range;
use backstitch_ir::text::parse_graph;
use backstitch_ir::{Array, DType, Graph, Idx, Op, Scalar, Shape, Type, Value, with_dtype};

use ndarray::{ArrayD, Axis, IxDyn, SliceInfoElem};

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn for_sample(i: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (i as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    /// In `[0, 1)`.
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In `[lo, hi]`; whole for integers.
    fn number(&mut self, dtype: DType, (lo, hi): (f64, f64)) -> f64 {
        match dtype {
            DType::F32 => f64::from((lo + (hi - lo) * self.unit()) as f32),
            DType::F64 => lo + (hi - lo) * self.unit(),
            DType::I32 | DType::I64 => (lo.ceil() + ((hi - lo.ceil() + 1.0) * self.unit())).floor(),
            DType::Bool => f64::from(self.unit() < 0.5),
        }
    }

    fn array(&mut self, ty: &Type, domain: (f64, f64)) -> Array {
        array(ty, (0..ty.len()).map(|_| self.number(ty.dtype, domain)).collect())
    }

    /// Operands for a sample, away from the kinks of a scalar function.
    fn operands(&mut self, s: &Sample) -> Vec<Array> {
        let mut columns: Vec<Vec<f64>> = vec![Vec::new(); s.args.len()];
        // All operands of a map have as many elements; others are filled in turn.
        if let Op::Map(Map { f }) = s.op {
            for _ in 0..s.args[0].len() {
                let tuple = loop {
                    let each = s.args.iter().zip(&s.domain);
                    let tuple: Vec<f64> = each.map(|(t, &d)| self.number(t.dtype, d)).collect();
                    if !s.args[0].is_float() || !(f.def().kink)(&tuple) {
                        break tuple;
                    }
                };
                columns.iter_mut().zip(tuple).for_each(|(c, x)| c.push(x));
            }
            return s.args.iter().zip(columns).map(|(t, c)| array(t, c)).collect();
        }
        let arrays = s.args.iter().zip(&s.domain).map(|(t, &d)| self.array(t, d));
        let mut x: Vec<Array> = arrays.collect();
        if let Op::Cholesky(_) | Op::TriangularSolve(_) | Op::Lu(_) = s.op {
            x[0] = regular(&x[0]);
        } else if takes_factor(&s.op) {
            x[0] = regular(&x[0]);
            settle(&s.op, &mut x);
        }
        x
    }
}

/// Square matrices with something added to the diagonal, so that they are
/// regular, and positive definite.
fn regular(a: &Array) -> Array {
    let n = a.dims()[a.dims().len() - 1];
    let shifted = |(i, x): (usize, f64)| {
        let (row, column) = (i / n % n, i % n);
        x + if row == column { 4.0 } else { 0.0 }
    };
    array(&a.ty(), a.to_f64_vec().into_iter().enumerate().map(shifted).collect())
}

/// Whether the second operand is the factor of the first.
const fn takes_factor(op: &Op) -> bool {
    matches!(op, Op::LuSolve(_) | Op::Det(_) | Op::Cofactors(_))
}

/// Makes the operands fit each other, after one was changed.
fn settle(op: &Op, x: &mut [Array]) {
    if takes_factor(op) {
        x[1] = Lu.eval(&[&x[0]]);
    }
}

fn array(ty: &Type, data: Vec<f64>) -> Array {
    with_dtype!(ty.dtype, T => {
        let constant = |x| backstitch_ir::Const::of_float(ty.dtype, x);
        let data = data.into_iter().map(|x| <T as backstitch_ir::Element>::from_const(constant(x)));
        Array::from_vec(&ty.shape, data.collect::<Vec<T>>()).expect("as many as the shape has")
    })
}

/// All samples with their number, to name a failure by and to seed with.
fn samples() -> impl Iterator<Item = (usize, Sample)> {
    Op::samples().into_iter().enumerate()
}

fn primitive(op: &Op) -> &dyn Primitive {
    match op.family() {
        Family::Array(p) => p,
        _ => {
            unreachable!("samples are of array primitives")
        }
    }
}

fn describe(i: usize, s: &Sample) -> String {
    format!("sample {i}: {:?} of {:?}", s.op, s.args)
}

/// A graph that applies the operation to inputs.
fn apply(s: &Sample) -> (Graph, Vec<Value>, Value) {
    let mut g = Graph::new("sample");
    let inputs: Vec<Value> = s.args.iter().map(|t| g.input(t.clone(), None)).collect();
    let out = g.push(s.op.clone(), &inputs);
    (g, inputs, out)
}

fn run(g: &Graph, inputs: &[Array]) -> Vec<Array> {
    eval_arrays(g, inputs)
}

fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 1e-4,
        DType::F64 => 1e-11,
        _ => 0.0,
    }
}

fn assert_close(got: &Array, want: &Array, tolerance: f64, what: &str) {
    assert_eq!(got.ty(), want.ty(), "{what}");
    for (x, y) in got.to_f64_vec().into_iter().zip(want.to_f64_vec()) {
        let same = x == y || x.is_nan() && y.is_nan();
        let close = (x - y).abs() <= tolerance * (1.0 + x.abs().max(y.abs()));
        assert!(same || close, "{what}:\ngot  {got:?}\nwant {want:?}");
    }
}

/// The same elements as slices of something larger, or with axes in another
/// order in memory.
fn other_layouts(a: &Array) -> Vec<Array> {
    fn of<T: backstitch_ir::Element>(a: &Array) -> Vec<Array> {
        let a = a.view::<T>().expect("of this type");
        let turned = a.t().as_standard_layout().into_owned();
        let turned = T::wrap(turned.reversed_axes().into_shared());
        let Some(&filler) = a.first() else { return vec![turned] };
        let wider: Vec<usize> = a.shape().iter().map(|n| 2 * n).collect();
        let mut host = ArrayD::from_elem(IxDyn(&wider), filler).into_shared();
        let part = SliceInfoElem::Slice { start: 0, end: None, step: -2 };
        let parts = vec![part; a.ndim()];
        host.slice_mut(&parts[..]).assign(&a);
        vec![turned, T::wrap(host.slice_move(&parts[..]))]
    }
    with_dtype!(a.dtype(), T => of::<T>(a))
}

/// Reverse mode, as plainly as can be: cotangents of `wrt`, given those of some
/// values.
fn reverse(g: &mut Graph, seeds: &[(Value, Value)], wrt: &[Value]) -> Vec<Option<Value>> {
    let mut cts: Vec<Option<Value>> = vec![None; g.value_count()];
    let nodes = g.nodes();
    let add = |g: &mut Graph, slot: &mut Option<Value>, ct| {
        *slot = Some(slot.map_or(ct, |old| g.map(Scalar::Add, &[old, ct])));
    };
    seeds.iter().for_each(|&(v, ct)| add(g, &mut cts[v.index()], ct));
    for n in nodes.rev() {
        let (args, results) = (g.args(n), g.results(n));
        let Some(ct) = cts[results[0].index()] else { continue };
        let op = g.op(n).clone();
        let wanted = vec![true; args.len()];
        let at = Site { node: n, args: &args, results: &results, wanted: &wanted };
        for (&arg, part) in args.iter().zip(primitive(&op).vjp(g, &at, ct)) {
            if let Some(part) = part {
                assert_eq!(g.ty(part), g.ty(arg), "cotangent of an operand of {op:?}");
                add(g, &mut cts[arg.index()], part);
            }
        }
    }
    wrt.iter().map(|v| cts[v.index()]).collect()
}

/// Forward mode: tangent of `of`, given those of some values.
fn forward(g: &mut Graph, seeds: &[(Value, Value)], of: Value) -> Option<Value> {
    let mut tangents: Vec<Option<Value>> = vec![None; g.value_count()];
    seeds.iter().for_each(|&(v, t)| tangents[v.index()] = Some(t));
    for n in g.nodes() {
        let (args, results) = (g.args(n), g.results(n));
        let each: Vec<Option<Value>> = args.iter().map(|a| tangents[a.index()]).collect();
        if each.iter().all(Option::is_none) {
            continue;
        }
        let op = g.op(n).clone();
        let wanted = vec![true; args.len()];
        let at = Site { node: n, args: &args, results: &results, wanted: &wanted };
        let t = primitive(&op).jvp(g, &at, &each);
        if let Some(t) = t {
            assert_eq!(g.ty(t), g.ty(results[0]), "tangent of {op:?}");
        }
        tangents[results[0].index()] = t;
    }
    tangents[of.index()]
}

fn inner(xs: &[Array], ys: &[Array]) -> f64 {
    let all = |a: &[Array]| a.iter().flat_map(Array::to_f64_vec).collect::<Vec<f64>>();
    all(xs).iter().zip(all(ys)).map(|(x, y)| x * y).sum()
}

/// `x + h·t` for the operands that have a tangent.
fn moved(x: &[Array], t: &[Option<Array>], h: f64) -> Vec<Array> {
    let step = |(x, t): (&Array, &Option<Array>)| match t {
        Some(t) => {
            let sums = x.to_f64_vec().into_iter().zip(t.to_f64_vec()).map(|(x, t)| x + h * t);
            array(&x.ty(), sums.collect())
        }
        None => x.clone(),
    };
    x.iter().zip(t).map(step).collect()
}

/// `(f(x + h t) - f(x - h t)) / 2h`, all outputs one after the other.
fn difference(op: &Op, g: &Graph, x: &[Array], t: &[Option<Array>]) -> Vec<f64> {
    let h = 1e-5;
    let at = |h| {
        let mut x = moved(x, t, h);
        settle(op, &mut x);
        run(g, &x).iter().flat_map(Array::to_f64_vec).collect::<Vec<f64>>()
    };
    // What does not change has no slope, even if it is infinite.
    let slope = |(a, b): (f64, f64)| if a == b { 0.0 } else { (a - b) / (2.0 * h) };
    at(h).into_iter().zip(at(-h)).map(slope).collect()
}

/// All floats are `f64`, there are some, and the derivative is meant to be the
/// slope.
fn has_slope(s: &Sample, result: &Type) -> bool {
    result.dtype == DType::F64
        && s.op.name() != "stop_gradient"
        && s.args.iter().any(|t| t.dtype == DType::F64)
        && s.args.iter().all(|t| t.dtype != DType::F32)
}

#[test]
fn results_have_the_inferred_type_in_any_layout() {
    for (i, s) in samples() {
        let what = describe(i, &s);
        let args: Vec<&Type> = s.args.iter().collect();
        let types = s.op.infer(&args).unwrap_or_else(|e| panic!("{what}: {e}"));
        let p = primitive(&s.op);
        let x = Random::for_sample(i).operands(&s);
        let standard = p.eval(&x.iter().collect::<Vec<_>>());
        assert_eq!(standard.ty(), types[0], "{what}");
        for layout in 0..2 {
            let pick = |a: &Array| other_layouts(a).get(layout).unwrap_or(a).clone();
            let x: Vec<Array> = x.iter().map(pick).collect();
            let got = p.eval(&x.iter().collect::<Vec<_>>());
            assert_close(&got, &standard, tolerance(got.dtype()), &what);
        }
    }
}

#[test]
fn ranges_hold() {
    for (i, s) in samples() {
        let what = describe(i, &s);
        let (mut g, _, out) = apply(&s);
        g.set_outputs([out]);
        let x = Random::for_sample(i).operands(&s);
        let y = &run(&g, &x)[0];
        let domain = |(t, &(lo, hi)): (&Type, &(f64, f64))| match t.dtype {
            DType::Bool => Range::BOOL,
            _ => Range::between(lo, hi),
        };
        let domain: Vec<Range> = s.args.iter().zip(&s.domain).map(domain).collect();
        let narrow = primitive(&s.op).range(&domain);
        let empty = s.args.iter().any(Type::is_empty);
        for r in [(!empty).then_some(narrow), Some(g.range(out))].into_iter().flatten() {
            for y in y.to_f64_vec() {
                let slack = 1e-6 * y.abs();
                assert!(!r.finite || y.is_finite(), "{what}: {y} in {r:?}");
                let inside = y >= r.lo - slack && y <= r.hi + slack;
                assert!(y.is_nan() || inside, "{what}: {y} in {r:?}");
            }
        }
    }
}

#[test]
fn forward_rules_agree_with_differences() {
    let mut tested = 0;
    for (i, s) in samples() {
        let (mut g, inputs, out) = apply(&s);
        if !has_slope(&s, g.ty(out)) {
            continue;
        }
        let what = describe(i, &s);
        g.set_outputs([out]);
        let mut random = Random::for_sample(i);
        let x = random.operands(&s);
        let mut tangent = |t: &Type| t.is_float().then(|| random.array(t, (-1.0, 1.0)));
        let t: Vec<Option<Array>> = s.args.iter().map(&mut tangent).collect();
        let want = difference(&s.op, &g, &x, &t);

        let constants: Vec<Option<Value>> =
            t.iter().map(|t| t.as_ref().map(|t| g.constant(t.clone()))).collect();
        let seeds: Vec<(Value, Value)> =
            inputs.iter().zip(constants).filter_map(|(&v, t)| Some((v, t?))).collect();
        let t_out = forward(&mut g, &seeds, out);
        let t_out = t_out.unwrap_or_else(|| g.like(out, 0.0));
        g.set_outputs([t_out]);
        let got = &run(&g, &x)[0];
        assert_close(got, &array(&got.ty(), want), 1e-6, &what);
        tested += 1;
    }
    assert!(tested > 100);
}

#[test]
fn reverse_rules_are_the_transposes_of_forward_rules() {
    for (i, s) in samples() {
        let (mut g, inputs, out) = apply(&s);
        if !g.ty(out).is_float() || !s.args.iter().any(Type::is_float) {
            continue;
        }
        let what = describe(i, &s);
        let mut random = Random::for_sample(i);
        let x = random.operands(&s);
        let ct = random.array(g.ty(out), (-1.0, 1.0));
        let floats: Vec<usize> = (0..s.args.len()).filter(|&k| s.args[k].is_float()).collect();
        let t: Vec<Array> = floats.iter().map(|&k| random.array(&s.args[k], (-1.0, 1.0))).collect();
        let wrt: Vec<Value> = floats.iter().map(|&k| inputs[k]).collect();

        let seeds: Vec<(Value, Value)> =
            wrt.iter().zip(&t).map(|(&v, t)| (v, g.constant(t.clone()))).collect();
        let t_out = forward(&mut g, &seeds, out);
        let seed = g.constant(ct.clone());
        let cts = reverse(&mut g, &[(out, seed)], &wrt);
        assert_eq!(t_out.is_some(), cts.iter().any(Option::is_some), "{what}");
        for (&k, ct) in floats.iter().zip(&cts) {
            let carries = primitive(&s.op).carries(k) == Some(true);
            assert_eq!(ct.is_some(), carries, "{what}: operand {k}");
        }
        let Some(t_out) = t_out else { continue };
        let cts: Vec<Value> =
            cts.iter().zip(&wrt).map(|(c, &v)| c.unwrap_or_else(|| g.like(v, 0.0))).collect();
        g.set_outputs(std::iter::once(t_out).chain(cts));
        let all = run(&g, &x);
        let (a, b) = (inner(&all[..1], &[ct]), inner(&all[1..], &t));
        let slack = tolerance(if s.args.iter().chain([g.ty(out)]).any(|t| t.dtype == DType::F32) {
            DType::F32
        } else {
            DType::F64
        });
        assert!((a - b).abs() <= slack * (1.0 + a.abs()), "{what}: {a} and {b}");
    }
}

#[test]
fn reverse_rules_can_be_differentiated_again() {
    let mut tested = 0;
    for (i, s) in samples() {
        let (mut g, inputs, out) = apply(&s);
        if !has_slope(&s, g.ty(out)) {
            continue;
        }
        let what = describe(i, &s);
        let mut random = Random::for_sample(i);
        let x = random.operands(&s);
        let floats: Vec<usize> = (0..s.args.len()).filter(|&k| s.args[k].is_float()).collect();
        let wrt: Vec<Value> = floats.iter().map(|&k| inputs[k]).collect();
        let ct = g.constant(random.array(&g.ty(out).clone(), (-1.0, 1.0)));
        let cts = reverse(&mut g, &[(out, ct)], &wrt);
        // s = Σ ⟨ct of operand, weight⟩: its gradient, and its slope along t.
        let mut seeds = Vec::new();
        let mut total = g.constant(0.0f64);
        for (&k, ct) in floats.iter().zip(cts) {
            let weight = g.constant(random.array(&s.args[k], (-1.0, 1.0)));
            let Some(ct) = ct else { continue };
            seeds.push((ct, weight));
            let product = g.map(Scalar::Mul, &[ct, weight]);
            let axes: Vec<usize> = (0..s.args[k].rank()).collect();
            let sum = g.reduce(Monoid::Sum, product, &axes);
            total = g.map(Scalar::Add, &[total, sum]);
        }
        let mut primal = g.clone();
        primal.set_outputs([total]);
        let mut t: Vec<Option<Array>> = vec![None; s.args.len()];
        for &k in &floats {
            t[k] = Some(random.array(&s.args[k], (-1.0, 1.0)));
        }
        let want = difference(&s.op, &primal, &x, &t)[0];

        let again = reverse(&mut g, &seeds, &wrt);
        let again = again.iter().zip(&wrt).map(|(c, &v)| c.unwrap_or_else(|| g.like(v, 0.0)));
        let again: Vec<Value> = again.collect();
        g.set_outputs(again);
        let t: Vec<Array> = t.into_iter().flatten().collect();
        let got = inner(&run(&g, &x), &t);
        assert!((got - want).abs() <= 1e-6 * (1.0 + want.abs()), "{what}: {got} and {want}");
        tested += 1;
    }
    assert!(tested > 100);
}

/// Operands for a batch of `n`; those in `batched` have `n` lanes.
fn lanes(random: &mut Random, s: &Sample, batched: &[bool], n: usize) -> Vec<Vec<Array>> {
    let mut lanes: Vec<Vec<Array>> = (0..n.max(1)).map(|_| random.operands(s)).collect();
    let first = lanes[0].clone();
    for lane in &mut lanes {
        for (k, a) in lane.iter_mut().enumerate().filter(|&(k, _)| !batched[k]) {
            a.clone_from(&first[k]);
        }
    }
    lanes
}

fn stack(arrays: &[&Array], n: usize) -> Array {
    with_dtype!(arrays[0].dtype(), T => {
        let views: Vec<_> = arrays.iter().map(|a| a.view::<T>().expect("one type")).collect();
        if n == 0 {
            let dims: Vec<usize> = std::iter::once(0).chain(arrays[0].dims().iter().copied()).collect();
            return Array::from_vec::<T>(&Shape::from(dims), Vec::new()).expect("empty");
        }
        ndarray::stack(Axis(0), &views).expect("one shape").into()
    })
}

#[test]
fn batches_are_loops_over_lanes() {
    for (i, s) in samples().filter(|(_, s)| !s.args.is_empty()) {
        let p = primitive(&s.op);
        let args: Vec<&Type> = s.args.iter().collect();
        let ty = &s.op.infer(&args).expect("a sample")[0];
        for mask in 1..1usize << s.args.len() {
            let batched: Vec<bool> = (0..s.args.len()).map(|k| mask >> k & 1 == 1).collect();
            for n in [0, 1, 3] {
                let what = format!("{} batched {batched:?} by {n}", describe(i, &s));
                let lanes = lanes(&mut Random::for_sample(i), &s, &batched, n);
                let x: Vec<Array> = (0..s.args.len())
                    .map(|k| match batched[k] {
                        true => stack(&lanes.iter().map(|l| &l[k]).collect::<Vec<_>>(), n),
                        false => lanes[0][k].clone(),
                    })
                    .collect();
                let mut g = Graph::new("batch");
                let inputs: Vec<Lane> = x
                    .iter()
                    .zip(&batched)
                    .map(|(x, &batched)| Lane { value: g.input(x.ty(), None), batched })
                    .collect();
                let out = p.vmap(&mut g, &inputs, n);
                g.set_outputs([out]);
                let each: Vec<Array> =
                    lanes.iter().map(|l| p.eval(&l.iter().collect::<Vec<_>>())).collect();
                let want = stack(&each.iter().collect::<Vec<_>>(), n);
                assert_close(&run(&g, &x)[0], &want, tolerance(ty.dtype), &what);
            }
        }
    }
}

/// All multi-indices of a shape in row-major order.
fn places(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..dims.iter().product()).map(move |mut i| {
        let mut place = vec![0; dims.len()];
        for (p, &n) in place.iter_mut().zip(dims).rev() {
            *p = i % n;
            i /= n;
        }
        place
    })
}

#[test]
fn views_and_pieces_are_where_their_structure_says() {
    for (i, s) in samples() {
        let args: Vec<&Type> = s.args.iter().collect();
        let x = Random::for_sample(i).operands(&s);
        let y = primitive(&s.op).eval(&x.iter().collect::<Vec<_>>());
        let what = describe(i, &s);
        match primitive(&s.op).structure(&args) {
            Structure::View(v) => {
                assert_eq!(v.strides.len(), y.dims().len(), "{what}");
                for (k, place) in places(y.dims()).enumerate() {
                    let steps = place.iter().zip(&v.strides).map(|(&i, &s)| i as isize * s);
                    let from = v.offset + steps.sum::<isize>();
                    let from = usize::try_from(from).expect("inside the operand");
                    assert_eq!(y.get(k), x[0].get(from), "{what} at {place:?}");
                }
            }
            Structure::Assemble { fill, pieces } => {
                let strides = Shape::from(y.dims()).strides();
                let mut made = vec![fill; y.dims().iter().product()];
                assert_eq!(pieces.len(), x.len(), "{what}");
                for (x, piece) in x.iter().zip(&pieces) {
                    for (k, place) in places(x.dims()).enumerate() {
                        let at = (0..place.len()).map(|a| {
                            let at = piece.offset[a] + piece.steps[a] * place[a];
                            assert!(at < y.dims()[a], "{what}");
                            at * strides[a] as usize
                        });
                        made[at.sum::<usize>()] = x.get(k);
                    }
                }
                for (k, made) in made.into_iter().enumerate() {
                    let bits = |c: backstitch_ir::Const| c.bits;
                    assert_eq!(y.get(k).map(bits), made.map(bits), "{what} at {k}");
                }
            }
            _ => {}
        }
    }
}

#[test]
fn parameters_survive_text() {
    for (i, s) in samples() {
        let what = describe(i, &s);
        let (mut g, _, out) = apply(&s);
        g.set_outputs([out]);
        let text = g.to_string();
        let back = parse_graph(&text).unwrap_or_else(|e| panic!("{what}: {e}\n{text}"));
        assert_eq!(back, g, "{what}\n{text}");
        assert_eq!(back.to_string(), text, "{what}");
    }
}

/// Operand types that differ from a sample's in one respect.
fn spoiled(args: &[Type]) -> Vec<Vec<Type>> {
    let mut all = Vec::new();
    let mut with = |k: usize, t: Type| {
        let mut types = args.to_vec();
        types[k] = t;
        all.push(types);
    };
    for (k, t) in args.iter().enumerate() {
        DType::ALL.into_iter().for_each(|d| with(k, t.with_dtype(d)));
        with(k, t.stacked());
        for a in 0..t.rank() {
            with(k, t.with_shape(t.shape.without(&[a])));
            for n in [0, 1, t.dims()[a] + 1] {
                let mut dims = t.dims().to_vec();
                dims[a] = n;
                with(k, t.with_shape(dims));
            }
        }
        for n in [0, 1, 2] {
            let mut dims = t.dims().to_vec();
            dims.push(n);
            with(k, t.with_shape(dims));
        }
    }
    all
}

#[test]
fn wrong_operands_are_errors_and_right_ones_work() {
    for (i, s) in samples() {
        let what = describe(i, &s);
        let infer = |types: &[Type]| s.op.infer(&types.iter().collect::<Vec<_>>());
        let more: Vec<Type> = s.args.iter().cloned().chain([Type::scalar(DType::F64)]).collect();
        assert!(infer(&more).is_err(), "{what}");
        if let Some((_, fewer)) = s.args.split_last()
            && (fewer.is_empty() || s.op.name() != "concat")
        {
            let error = infer(fewer).expect_err(&what);
            assert!(!error.expected.is_empty() && error.op == s.op.name(), "{what}: {error}");
        }
        for types in spoiled(&s.args) {
            let Ok(result) = infer(&types) else { continue };
            assert!(types.iter().all(|t| t.stack == 0), "{what} takes {types:?}");
            let arrays: Vec<Array> = types.iter().map(|t| array(t, vec![1.0; t.len()])).collect();
            let y = primitive(&s.op).eval(&arrays.iter().collect::<Vec<_>>());
            assert_eq!(y.ty(), result[0], "{what} of {types:?}");
        }
    }
}

fn product_gradients(x: &[f64]) -> Vec<Vec<f64>> {
    let mut g = Graph::new("product");
    let v = g.input(Type::new(DType::F64, [x.len()]), None);
    let out = g.push(Reduce { monoid: Monoid::Prod, axes: [0].as_slice().into() }, &[v]);
    let one = g.constant(1.0f64);
    let mut outputs = vec![reverse(&mut g, &[(out, one)], &[v])[0].expect("a gradient")];
    for k in 0..x.len() {
        let mut unit = vec![0.0; x.len()];
        unit[k] = 1.0;
        let unit = g.constant(ndarray::arr1(&unit));
        let row = reverse(&mut g, &[(outputs[0], unit)], &[v])[0];
        outputs.push(row.unwrap_or_else(|| g.like(v, 0.0)));
    }
    g.set_outputs(outputs);
    run(&g, &[ndarray::arr1(x).into()]).iter().map(Array::to_f64_vec).collect()
}

#[test]
fn products_have_right_derivatives_at_zeros() {
    // Gradient first, then the rows of the matrix of second derivatives.
    assert_eq!(product_gradients(&[2.0, 3.0]), [[3.0, 2.0], [0.0, 1.0], [1.0, 0.0]]);
    let one = product_gradients(&[2.0, 0.0, 5.0]);
    assert_eq!(one, [[0.0, 10.0, 0.0], [0.0, 5.0, 0.0], [5.0, 0.0, 2.0], [0.0, 2.0, 0.0]]);
    let two = product_gradients(&[0.0, 0.0, 5.0]);
    assert_eq!(two, [[0.0; 3], [0.0, 5.0, 0.0], [5.0, 0.0, 0.0], [0.0; 3]]);
    assert_eq!(product_gradients(&[7.0]), [[1.0], [0.0]]);
    assert_eq!(product_gradients(&[]), [[0.0; 0]]);
}

#[test]
fn ties_share_the_derivative_and_nan_has_none() {
    for (x, want) in [
        ([3.0, 1.0, 3.0], [0.5, 0.0, 0.5]),
        ([2.0, 2.0, 2.0], [1.0 / 3.0; 3]),
        ([f64::INFINITY, 1.0, 0.0], [1.0, 0.0, 0.0]),
        ([f64::NAN, 1.0, 2.0], [0.0; 3]),
    ] {
        let mut g = Graph::new("max");
        let v = g.input(Type::new(DType::F64, [3]), None);
        let out = g.reduce(Monoid::Max, v, &[0]);
        let one = g.constant(1.0f64);
        let ct = reverse(&mut g, &[(out, one)], &[v])[0].expect("a gradient");
        let ones = g.like(v, 1.0);
        let t = forward(&mut g, &[(v, ones)], out).expect("a tangent");
        g.set_outputs([ct, t]);
        let got = run(&g, &[ndarray::arr1(&x).into()]);
        assert_eq!(got[0].to_f64_vec(), want, "{x:?}");
        assert_eq!(got[1].to_f64_vec(), [want.iter().sum::<f64>()], "{x:?}");
    }
}
