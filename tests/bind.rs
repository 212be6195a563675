//! Programs as functions of one vector: the numbers of a plain call, where things are, and
//! what is refused.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use backstitch::prelude::*;
use backstitch::{BindError, Compiled, DType, Error, Leaf, Path, runtime};
use ndarray::{Array1, Array2, arr1, arr2};

#[derive(Tree, Clone)]
struct Layer<T> {
    w: T,
    b: T,
}

#[derive(Tree, Clone)]
struct Net<T> {
    layers: Vec<Layer<T>>,
    scales: BTreeMap<String, T>,
    temperature: T,
    empty: T,
}

fn net(dtype: DType) -> Net<Spec> {
    let spec = |dims: &[usize]| Spec::new(dtype, dims);
    Net {
        layers: vec![
            Layer { w: spec(&[3, 4]), b: spec(&[4]) },
            Layer { w: spec(&[4, 1]), b: spec(&[1]) },
        ],
        scales: [("out".to_owned(), spec(&[])), ("in".to_owned(), spec(&[3]))].into(),
        temperature: spec(&[]),
        empty: spec(&[0, 2]),
    }
}

fn loss<'t>(net: &Net<Tensor<'t>>, x: Tensor<'t>, y: Tensor<'t>) -> Tensor<'t> {
    let [first, last] = &net.layers[..] else { unreachable!("two layers") };
    let h = ((x * net.scales["in"]).matmul(first.w) + first.b).tanh();
    let z = (h.matmul(last.w) + last.b) * net.scales["out"] / net.temperature.exp();
    (z - y).square().mean() + net.empty.sum()
}

fn traced(dtype: DType) -> Traced<Net<Spec>, (Spec, Spec), Spec> {
    let data = (Spec::new(dtype, [5, 3]), Spec::new(dtype, [5, 1]));
    trace(net(dtype), data, |_, p, (x, y)| loss(&p, x, y)).expect("a program")
}

fn numbers(n: usize, seed: f64) -> Array1<f64> {
    (0..n).map(|i| ((i as f64 + 1.0) * seed).sin()).collect()
}

macro_rules! same_as_a_plain_call {
    ($($name:ident $t:ty;)*) => {$(
        #[test]
        fn $name() {
            let traced = traced(<$t as backstitch::ir::Element>::DTYPE);
            let program = traced.value_and_grad().expect("a scalar").compile().expect("compiles");
            let x = numbers(15, 1.3).mapv(|v| v as $t).into_shape_with_order((5, 3)).expect("15");
            let y = numbers(5, 0.7).mapv(|v| v as $t).into_shape_with_order((5, 1)).expect("5");
            let data = (&x, &y);
            let mut f = program.bind::<$t, _>(&data).expect("fits");
            let w: Vec<$t> = numbers(f.len(), 2.1).iter().map(|&v| v as $t).collect();
            let params = f.unflatten(&w).expect("its length");
            assert_eq!(f.flatten(&params.leaves()).expect("its types"), w);

            let (value, gradients) = program.call(&params.leaves(), &data).expect("a call");
            let gradients = f.flatten(&gradients.leaves()).expect("its types");
            for _ in 0..2 {
                let (v, g) = f.call(&w).expect("a call");
                assert_eq!(Some(v.to_bits()), value.item::<$t>().map(<$t>::to_bits));
                assert!(g.iter().zip(&gradients).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
            let mut g = vec![<$t>::NAN; w.len()];
            let v = f.call_into(&w, &mut g).expect("a call");
            assert_eq!(Some(v), value.item::<$t>());
            assert_eq!(g, gradients);

            let hvp = traced.hvp().expect("a scalar").compile().expect("compiles");
            let mut flat = hvp.bind_hvp::<$t, _>(&data).expect("fits");
            let v: Vec<$t> = numbers(w.len(), 0.3).iter().map(|&v| v as $t).collect();
            let along = f.unflatten(&v).expect("its length");
            let plain = hvp.call(&params.leaves(), &(&data, along.leaves())).expect("a call");
            let plain = f.flatten(&plain.leaves()).expect("its types");
            assert_eq!(flat.call(&w, &v).expect("a call"), plain);
            let mut product = vec![<$t>::NAN; w.len()];
            flat.call_into(&w, &v, &mut product).expect("a call");
            assert_eq!(product, plain);
        }
    )*};
}
same_as_a_plain_call! {
    doubles_are_the_same_as_a_plain_call f64;
    floats_are_the_same_as_a_plain_call f32;
}

#[test]
fn the_layout_says_where_things_are() {
    let program = traced(DType::F64).value_and_grad().unwrap().compile().unwrap();
    let (x, y) = (Array2::<f64>::ones((5, 3)), Array2::<f64>::ones((5, 1)));
    let data = (x, y);
    let f = program.bind::<f64, _>(&data).unwrap();
    let layout: Vec<(&str, usize, &[usize])> =
        f.layout().iter().map(|p| (p.name(), p.offset(), p.dims())).collect();
    let expected: [(&str, usize, &[usize]); 8] = [
        ("layers.0.w", 0, &[3, 4]),
        ("layers.0.b", 12, &[4]),
        ("layers.1.w", 16, &[4, 1]),
        ("layers.1.b", 20, &[1]),
        ("scales.in", 21, &[3]),
        ("scales.out", 24, &[]),
        ("temperature", 25, &[]),
        ("empty", 26, &[0, 2]),
    ];
    assert_eq!(layout, expected);
    assert_eq!((f.len(), f.layout()[4].range(), f.layout()[7].range()), (26, 21..24, 26..26));
}

#[test]
fn data_that_is_not_contiguous_is_copied() {
    let spec = (Spec::f64([3, 2]), Spec::f64([]));
    let f = trace(Spec::f64([2]), spec, |_, w, (x, s)| x.matmul(w).square().sum() * s).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let x = arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let w = arr1(&[0.5, -1.5]);
    let (value, gradient) = program.call(&w, &(x.t(), 2.0)).unwrap();
    let data = (x.t(), 2.0);
    let mut bound = program.bind::<f64, _>(&data).unwrap();
    let (bound_value, bound_gradient) = bound.call(&[0.5, -1.5]).unwrap();
    assert_eq!(Some(bound_value), value.item());
    assert_eq!(bound_gradient, gradient.to_f64_vec());
}

#[test]
fn a_bound_copy_keeps_what_the_data_was() {
    let spec = (Spec::f64([2]), Spec::f64([]));
    let f = trace(Spec::f64([2]), spec, |_, w, (x, s)| (x * w).sum() * s).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let (mut x, s) = (arr1(&[1.0, 2.0]), 3.0);
    let mut bound = program.bind_copy::<f64, _>(&(&x, s)).unwrap();
    x.fill(f64::NAN);
    drop((x, program));
    assert_eq!(bound.call(&[1.0, 1.0]).unwrap(), (9.0, &mut [3.0, 6.0][..]));
}

fn binding<T: backstitch::ir::Element, O: Tree<Spec> + Clone>(
    program: &Traced<(Spec, Spec), (), O>,
) -> BindError {
    match program.compile().unwrap().bind::<T, _>(&()) {
        Err(Error::Bind(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_a_function_of_a_vector_is_refused() {
    let f = |a: DType, b: DType| {
        trace((Spec::new(a, [2]), Spec::new(b, [])), (), |_, (x, y), ()| {
            x.sum().cast(DType::F64) + y.cast(DType::F64)
        })
        .unwrap()
        .value_and_grad()
        .unwrap()
    };
    let mixed = binding::<f64, _>(&f(DType::F64, DType::F32));
    let expected = BindError::Element { name: "1".into(), expected: DType::F64, got: DType::F32 };
    assert_eq!(mixed, expected);
    assert_eq!(mixed.to_string(), "parameter 1 has elements of f32, the vector of f64");
    assert!(matches!(
        binding::<f32, _>(&f(DType::F64, DType::F64)),
        BindError::Element { got: DType::F64, .. }
    ));
    // The value is of another type than the parameters.
    assert_eq!(
        binding::<f32, _>(&f(DType::F32, DType::F32)).to_string(),
        "outputs are to be (f32[], f32[2], f32[]), and are (f64[], f32[2], f32[])"
    );
    let specs = (Spec::f64([2]), Spec::f64([]));
    let plain = trace(specs.clone(), (), |_, (x, y), ()| x.sum() * y).unwrap();
    assert_eq!(
        binding::<f64, _>(&plain).to_string(),
        "outputs are to be (f64[], f64[2], f64[]), and are (f64[])"
    );
    assert!(matches!(binding::<f64, _>(&plain.grad().unwrap()), BindError::Outputs { .. }));
    // A pair in the other order.
    let swapped = trace_tree(specs, (), |t, (x, y), ()| t.outputs(&(x * y, (x.sum(), y)))).unwrap();
    assert!(matches!(binding::<f64, _>(&swapped), BindError::Outputs { .. }));
}

#[test]
fn wrong_lengths_and_wrong_data_are_refused() {
    let f = trace(Spec::f64([3]), Spec::f64([3]), |_, x, y| (x * y).square().sum()).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let y = arr1(&[1.0, 2.0, 3.0]);
    let mut bound = program.bind::<f64, _>(&y).unwrap();
    let wrong = |e: Error| matches!(e, Error::Bind(BindError::Length { expected: 3, got: 2 }));
    assert!(wrong(bound.call(&[1.0, 2.0]).map(|_| ()).unwrap_err()));
    assert!(wrong(bound.call_into(&[1.0, 2.0, 3.0], &mut [0.0; 2]).unwrap_err()));
    assert!(wrong(bound.unflatten(&[0.0; 2]).map(|_| ()).unwrap_err()));
    assert!(bound.flatten(&arr1(&[1.0f32])).is_err());
    // After a refused call all is as before.
    assert_eq!(bound.call(&[1.0, 0.0, -1.0]).unwrap(), (10.0, &mut [2.0, 0.0, -18.0][..]));

    let short = arr1(&[1.0, 2.0]);
    let error = program.bind::<f64, _>(&short).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "input 1: expected f64[3], got f64[2]");
    let error = program.bind::<f64, _>(&()).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Runtime(runtime::Error::Count { expected: 1, got: 0, .. })));

    let hvp = f.hvp().unwrap().compile().unwrap();
    let mut product = hvp.bind_hvp::<f64, _>(&y).unwrap();
    assert!(wrong(product.call(&[0.0; 3], &[0.0; 2]).map(|_| ()).unwrap_err()));
    assert!(wrong(product.call(&[0.0; 2], &[0.0; 3]).map(|_| ()).unwrap_err()));
    for (x, v, out) in [(2, 3, 3), (3, 2, 3), (3, 3, 2)] {
        let (x, v, mut out) = (vec![1.0; x], vec![1.0; v], vec![0.0; out]);
        assert!(wrong(product.call_into(&x, &v, &mut out).unwrap_err()));
    }
    let error = hvp.bind_hvp::<f64, _>(&short).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "input 1: expected f64[3], got f64[2]");
}

/// The Hessian's product of a function that was traced with a direction of its own.
fn hvp_binding<P: Tree<Spec> + Clone, D, O>(program: Compiled<P, (D, P), O>) -> BindError {
    match program.bind_hvp::<f64, _>(&()) {
        Err(Error::Bind(error)) => error,
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn a_direction_that_is_not_like_the_parameters_is_refused() {
    // Would read a thousand elements of a vector of two.
    let specs = (Spec::f64([2]), (Spec::f64([5]), Spec::f64([1000])));
    let f = trace(specs.0, specs.1, |_, w, (_, v)| w * v.sum()).unwrap();
    let error = match f.compile().unwrap().bind_hvp::<f64, _>(&arr1(&[0.0; 5])) {
        Err(Error::Bind(error)) => error,
        other => panic!("{other:?}"),
    };
    let text = "the direction is to be (f64[2]) like the parameters, and is (f64[1000])";
    assert_eq!(error.to_string(), text);

    // Of another element type, of the same size.
    let f = trace(Spec::f64([2]), ((), Spec::new(DType::I64, [2])), |_, w, ((), v)| {
        w * v.cast(DType::F64)
    });
    let error = hvp_binding(f.unwrap().compile().unwrap());
    assert!(matches!(error, BindError::Direction { .. }), "{error}");

    // Of fewer leaves, and of none.
    for n in [0, 1] {
        let two = vec![Spec::f64([2]), Spec::f64([3])];
        let f = trace_tree(two.clone(), ((), two[1..=n].to_vec()), |t, w: Vec<Tensor<'_>>, _| {
            t.outputs(&w)
        });
        let error = hvp_binding(f.unwrap().compile().unwrap());
        assert!(matches!(error, BindError::Direction { .. }), "{error}");
    }
    // Of more: what is no direction is data, and is missing.
    let two = vec![Spec::f64([2]); 2];
    let f = trace_tree(two[1..].to_vec(), ((), two), |t, w: Vec<Tensor<'_>>, _| t.outputs(&w));
    let error = f.unwrap().compile().unwrap().bind_hvp::<f64, _>(&()).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Runtime(runtime::Error::Count { expected: 1, got: 0, .. })));
}

/// A structure that says something else of its leaves once it is asked to.
#[derive(Clone)]
struct Fickle<L> {
    before: Vec<L>,
    after: Vec<L>,
    turned: Rc<Cell<bool>>,
}

impl<L: Leaf> Tree<L> for Fickle<L> {
    type With<U: Leaf> = Vec<U>;
    type Nest<M: Leaf, V: Tree<M>> = Vec<V>;

    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a L))
    where
        L: 'a,
    {
        let leaves = if self.turned.get() { &self.after } else { &self.before };
        leaves.iter().for_each(|leaf| f(path, leaf));
    }

    fn map_leaves<U: Leaf>(&self, f: &mut dyn FnMut(&L) -> U) -> Vec<U> {
        self.before.iter().map(f).collect()
    }

    fn nest_leaves<M: Leaf, V: Tree<M>>(&self, f: &mut dyn FnMut(&L) -> V) -> Vec<V> {
        self.before.iter().map(f).collect()
    }
}

#[test]
fn a_structure_that_says_something_else_later_is_refused() {
    let large = || vec![Spec::f64([1000]), Spec::f64([3])];
    let others = [vec![], vec![Spec::f64([1])], vec![Spec::f64([2]), Spec::f64([3])]];
    let longer = [large(), large(), large()].concat();
    for after in others.into_iter().chain([longer]) {
        let turned = Rc::new(Cell::new(false));
        let params = Fickle { before: large(), after, turned: turned.clone() };
        let f = trace(params, (), |_, w: Vec<Tensor<'_>>, ()| {
            w[0].square().sum() * w[1].square().sum()
        })
        .unwrap();
        let program = f.value_and_grad().unwrap().compile().unwrap();
        assert!(program.bind::<f64, _>(&()).is_ok());
        turned.set(true);
        // A structure without leaves has them all taken for data, which is missing.
        match program.bind::<f64, _>(&()).map(|_| ()).unwrap_err() {
            Error::Bind(BindError::Parameters { .. }) => {}
            Error::Runtime(runtime::Error::Count { expected: 2, got: 0, .. }) => {}
            error => panic!("{error}"),
        }
    }
}

/// Limited-memory BFGS with backtracking, on vectors alone.
fn minimise(mut f: impl FnMut(&[f64]) -> (f64, Vec<f64>), x: &mut [f64]) -> (f64, usize) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut pairs: Vec<(Vec<f64>, Vec<f64>)> = vec![];
    let (mut value, mut g) = f(x);
    for step in 0..500 {
        if dot(&g, &g) < 1e-18 {
            return (value, step);
        }
        let mut d: Vec<f64> = g.iter().map(|g| -g).collect();
        let mut alphas = vec![];
        for (s, y) in pairs.iter().rev() {
            let alpha = dot(s, &d) / dot(s, y);
            d.iter_mut().zip(y).for_each(|(d, y)| *d -= alpha * y);
            alphas.push(alpha);
        }
        if let Some((s, y)) = pairs.last() {
            let scale = dot(s, y) / dot(y, y);
            d.iter_mut().for_each(|d| *d *= scale);
        }
        for ((s, y), alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
            let beta = dot(y, &d) / dot(s, y);
            d.iter_mut().zip(s).for_each(|(d, s)| *d += (alpha - beta) * s);
        }
        let (slope, mut t) = (dot(&g, &d), 1.0);
        let (next, new_value, new_g) = loop {
            let next: Vec<f64> = x.iter().zip(&d).map(|(x, d)| x + t * d).collect();
            let (v, g) = f(&next);
            if v <= value + 1e-4 * t * slope || t < 1e-12 {
                break (next, v, g);
            }
            t *= 0.5;
        };
        let s: Vec<f64> = next.iter().zip(&*x).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = new_g.iter().zip(&g).map(|(a, b)| a - b).collect();
        if dot(&s, &y) > 1e-12 {
            pairs.push((s, y));
        }
        if pairs.len() > 8 {
            pairs.remove(0);
        }
        x.copy_from_slice(&next);
        (value, g) = (new_value, new_g);
    }
    (value, 500)
}

#[test]
fn a_solver_of_vectors_finds_the_minimum() {
    let f = trace(Spec::f64([10]), (), |_, x, ()| {
        let (a, b) = (x.slice(0, ..-1, 1), x.slice(0, 1.., 1));
        (100.0 * (b - a.square()).square() + (1.0 - a).square()).sum()
    })
    .unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let mut bound = program.bind::<f64, _>(&()).unwrap();
    let mut x = vec![-0.5; 10];
    let call = |x: &[f64]| {
        let (value, gradient) = bound.call(x).expect("a call");
        (value, gradient.to_vec())
    };
    let (value, steps) = minimise(call, &mut x);
    assert!(value < 1e-15 && steps < 300, "{value} after {steps} steps");
    assert!(x.iter().all(|x| (x - 1.0).abs() < 1e-7), "{x:?}");
}

#[test]
fn bound_programs_go_to_other_threads() {
    let f = trace(Spec::f64([4]), Spec::f64([4]), |_, x, y| (x * y).sin().sum()).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let y = arr1(&[1.0, 2.0, 3.0, 4.0]);
    let expected = program.bind::<f64, _>(&y).unwrap().call(&[0.5; 4]).unwrap().0;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut bound = program.bind::<f64, _>(&y).unwrap();
            scope.spawn(move || {
                for _ in 0..100 {
                    assert_eq!(bound.call(&[0.5; 4]).unwrap().0, expected);
                }
            });
        }
    });
}
