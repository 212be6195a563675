//! Densities of nuts-rs: their sign, what ends a chain and what does not, and draws that are
//! distributed as they should be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backstitch::adapters::EvaluationError;
use backstitch::adapters::nuts::{Draw, LogDensity, Posterior};
use backstitch::prelude::*;
use backstitch::{Bound, Compiled, Error};
use ndarray::{arr1, arr2};
use nuts_rs::rand::{SeedableRng, rngs::ChaCha8Rng};
use nuts_rs::{
    Chain, CpuLogpFunc, CpuMath, DiagNutsSettings, HasDims, HashMapConfig, HashMapValue, ItemType,
    LogpError, Model as _, Sampler, SamplerWaitResult, Settings, Storable, Value,
};

fn program(
    n: usize,
    f: impl for<'t> FnOnce(Tensor<'t>) -> Tensor<'t>,
) -> Compiled<Spec, (), (Spec, Spec)> {
    let traced = trace(Spec::f64([n]), (), |_, x, ()| f(x)).unwrap();
    traced.value_and_grad().unwrap().compile().unwrap()
}

fn bind<P: Tree<Spec> + Clone, O>(program: &Compiled<P, (), O>) -> Bound<'_, P, f64> {
    program.bind(&()).unwrap()
}

/// Draws of a chain after 400 that are not looked at, and how many diverged.
fn draws<P: Tree<Spec> + Clone>(
    density: LogDensity<'_, P>,
    start: &[f64],
    n: u64,
    seed: u64,
) -> (Vec<Vec<f64>>, usize) {
    let settings = DiagNutsSettings { num_tune: 400, ..Default::default() };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut chain = settings.new_chain(seed, CpuMath::new(density), &mut rng).unwrap();
    chain.set_position(start).unwrap();
    let draws = (0..400 + n).map(|_| chain.draw().unwrap()).skip(400);
    let (draws, diverged): (Vec<_>, Vec<_>) =
        draws.map(|(x, progress)| (x.into_vec(), progress.diverging)).unzip();
    (draws, diverged.into_iter().filter(|&diverging| diverging).count())
}

fn mean(draws: &[Vec<f64>], of: impl Fn(&[f64]) -> f64) -> f64 {
    draws.iter().map(|x| of(x)).sum::<f64>() / draws.len() as f64
}

#[test]
fn the_sign_is_what_the_name_says() {
    let (loss, density) = (program(2, |x| x.square().sum()), program(2, |x| -x.square().sum()));
    let mut a = LogDensity::from_negative_log_density(bind(&loss));
    let mut b = LogDensity::from_log_density(bind(&density));
    let (mut to_a, mut to_b) = ([0.0; 2], [0.0; 2]);
    assert_eq!(a.logp(&[1.0, -2.0], &mut to_a).unwrap(), -5.0);
    assert_eq!(b.logp(&[1.0, -2.0], &mut to_b).unwrap(), -5.0);
    assert_eq!(to_a, [-2.0, 4.0]);
    assert_eq!(to_b, to_a);
    assert_eq!((a.dim(), b.dim()), (2, 2));
    assert_eq!(a.evaluate(&[0.5, 0.0], &mut to_a).unwrap(), -0.25);
}

#[test]
fn mistakes_end_a_chain_and_points_without_a_density_do_not() {
    let root = program(2, |x| x.sqrt().sum());
    let mut density = LogDensity::from_log_density(bind(&root));
    let mut gradient = [0.0; 2];
    for error in [
        density.logp(&[1.0; 3], &mut gradient).unwrap_err(),
        density.logp(&[1.0; 2], &mut [0.0; 3]).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "expected a vector of 2 elements, got 3");
        assert!(!error.is_recoverable());
    }
    let value = density.logp(&[1.0, -1.0], &mut gradient).unwrap_err();
    assert_eq!(value.to_string(), "the value is NaN, which is not finite");
    assert!(value.is_recoverable());
    let slope = density.logp(&[1.0, 0.0], &mut gradient).unwrap_err();
    assert_eq!(slope.to_string(), "the gradient is inf, which is not finite, at element 1");
    assert!(slope.is_recoverable());
    // After them all is as before.
    assert_eq!(density.logp(&[1.0, 4.0], &mut gradient).unwrap(), 3.0);
    assert_eq!(gradient, [0.5, 0.25]);

    let factor = trace(Spec::f64([2, 2]), (), |_, a, ()| a.cholesky().sum()).unwrap();
    let factor = factor.value_and_grad().unwrap().compile().unwrap();
    let mut density = LogDensity::from_log_density(bind(&factor));
    let error = density.logp(&[-1.0, 0.0, 0.0, 1.0], &mut [0.0; 4]).unwrap_err();
    assert!(matches!(&error, EvaluationError::Call(Error::Runtime(_))), "{error}");
    assert!(error.is_recoverable());
}

#[test]
fn a_chain_that_cannot_begin_says_why() {
    let root = program(2, |x| x.sqrt().sum());
    let begin = |at: &[f64]| {
        let math = CpuMath::new(LogDensity::from_log_density(bind(&root)));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut chain = DiagNutsSettings::default().new_chain(0, math, &mut rng).unwrap();
        format!("{:#}", chain.set_position(at).unwrap_err())
    };
    let text = begin(&[-1.0, 1.0]);
    // The sampler prints the error as it is for programs.
    assert!(text.contains("Value { value: NaN }"), "{text}");
}

#[test]
fn draws_have_the_mean_and_the_covariance_of_the_density() {
    // A normal distribution, by its precision; its covariance is [2 1; 1 1].
    let precision = arr2(&[[1.0, -1.0], [-1.0, 2.0]]);
    let centre = [3.0, -1.0];
    let f = trace(Spec::f64([2]), (Spec::f64([2]), Spec::f64([2, 2])), |_, x, (centre, a)| {
        let d = x - centre;
        0.5 * d.dot(a.matmul(d))
    });
    let program = f.unwrap().value_and_grad().unwrap().compile().unwrap();
    let data = (arr1(&centre), precision);
    let density = || LogDensity::from_negative_log_density(program.bind(&data).unwrap());
    let (all, diverged) = draws(density(), &[0.0; 2], 4000, 7);
    assert_eq!(diverged, 0);
    // Draws of such a density are worth about as many independent ones: errors of means are
    // some 0.02, of squares some 0.05.
    let (a, b) = (mean(&all, |x| x[0]), mean(&all, |x| x[1]));
    assert!((a - 3.0).abs() < 0.1 && (b + 1.0).abs() < 0.1, "{a} {b}");
    for (i, j, covariance) in [(0, 0, 2.0), (0, 1, 1.0), (1, 1, 1.0)] {
        let found = mean(&all, |x| (x[i] - centre[i]) * (x[j] - centre[j]));
        assert!((found - covariance).abs() < 0.2, "{i} {j}: {found}, not {covariance}");
    }
    // The same seed gives the same bits, on another thread, too.
    std::thread::scope(|scope| {
        let again = scope.spawn(|| draws(density(), &[0.0; 2], 4000, 7).0);
        let others = scope.spawn(|| draws(density(), &[0.0; 2], 4000, 8).0);
        assert_eq!(again.join().unwrap(), all);
        assert_ne!(others.join().unwrap(), all);
    });
}

#[test]
fn a_chain_goes_on_where_it_diverges() {
    // A gamma distribution of shape 3, of which there is nothing below 0: NaN.
    let gamma = program(1, |x| (2.0 * x.log() - x).sum());
    let (all, _) = draws(LogDensity::from_log_density(bind(&gamma)), &[1.0], 4000, 3);
    assert!(all.iter().all(|x| x[0] > 0.0));
    let found = mean(&all, |x| x[0]);
    assert!((found - 3.0).abs() < 0.3, "{found}");
}

#[derive(Tree, Clone)]
struct Model<T> {
    layers: Vec<T>,
    scale: T,
}

#[test]
fn traces_have_a_variable_for_each_parameter() {
    let layers = vec![Spec::f64([2, 3]), Spec::f64([4])];
    let model = Model { layers, scale: Spec::f64([]) };
    let f = trace(model, (), |_, m: Model<Tensor<'_>>, ()| {
        m.layers[0].square().sum() + m.layers[1].square().sum() + m.scale.square()
    });
    let program = f.unwrap().value_and_grad().unwrap().compile().unwrap();
    let mut density = LogDensity::from_negative_log_density(bind(&program));
    assert_eq!(<Draw as Storable<_>>::names(&density), ["layers.0", "layers.1", "scale"]);
    let axes = |name: &str| <Draw as Storable<_>>::dims(&density, name);
    assert_eq!(axes("layers.0"), ["layers.0_dim_0", "layers.0_dim_1"]);
    assert_eq!(axes("layers.1"), ["layers.1_dim_0"]);
    assert_eq!(axes("scale"), [""; 0]);
    assert_eq!(axes("nothing"), [""; 0]);
    assert_eq!(<Draw as Storable<_>>::item_type(&density, "scale"), ItemType::F64);
    let sizes: BTreeMap<String, u64> = density.dim_sizes().into_iter().collect();
    let expected = [
        ("layers.0_dim_0", 2),
        ("layers.0_dim_1", 3),
        ("layers.1_dim_0", 4),
        ("unconstrained_parameter", 11),
    ];
    assert!(sizes.iter().map(|(name, &n)| (name.as_str(), n)).eq(expected));

    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let x: Vec<f64> = (0..11).map(f64::from).collect();
    let mut draw = density.expand_vector(&mut rng, &x).unwrap();
    assert_eq!(draw.as_slice(), x);
    let expected = [
        ("layers.0", Some(Value::F64(x[..6].to_vec()))),
        ("layers.1", Some(Value::F64(x[6..10].to_vec()))),
        ("scale", Some(Value::ScalarF64(10.0))),
    ];
    assert_eq!(draw.get_all(&density), expected);
    assert!(density.expand_vector(&mut rng, &x[1..]).is_err());
}

#[test]
fn one_array_without_a_name_has_one_in_traces() {
    let f = program(2, |x| x.square().sum());
    let density = LogDensity::from_negative_log_density(bind(&f));
    assert_eq!(<Draw as Storable<_>>::names(&density), ["x"]);
    assert_eq!(<Draw as Storable<_>>::dims(&density, "x"), ["x_dim_0"]);
}

#[test]
fn a_sampler_makes_its_chains_from_a_posterior() {
    let specs = Model { layers: vec![Spec::f64([2])], scale: Spec::f64([]) };
    let f = trace(specs, Spec::f64([2]), |_, m: Model<Tensor<'_>>, centre| {
        0.5 * ((m.layers[0] - centre).square().sum() + (m.scale + 1.0).square())
    });
    let normal = f.unwrap().value_and_grad().unwrap().compile().unwrap();
    // What it takes of the data is its own.
    let posterior = {
        let wide = arr2(&[[1.0, 0.0], [2.0, 0.0]]);
        Posterior::from_negative_log_density(&normal, &wide.column(0)).unwrap()
    };
    let settings = DiagNutsSettings {
        num_chains: 2,
        num_tune: 300,
        num_draws: 1000,
        seed: 5,
        ..Default::default()
    };
    let sample = |posterior: Posterior<_, _, _>| {
        let storage = HashMapConfig::new();
        let sampler = Sampler::new(Arc::new(posterior), settings, storage, 2, None).unwrap();
        match sampler.wait_timeout(Duration::from_secs(600)) {
            SamplerWaitResult::Trace(traces) => Ok(traces),
            SamplerWaitResult::Timeout(_) => panic!("not done"),
            SamplerWaitResult::Err(error, _) => Err(format!("{error:#}")),
        }
    };
    let traces = sample(posterior).unwrap();
    assert_eq!(traces.len(), 2);
    for trace in &traces {
        let HashMapValue::F64(layer) = &trace.draws["layers.0"] else { panic!("numbers") };
        let HashMapValue::F64(scale) = &trace.draws["scale"] else { panic!("numbers") };
        assert_eq!((layer.len(), scale.len()), (2600, 1300));
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / 1000.0;
        let first = mean(&mut layer.iter().copied().step_by(2).skip(300));
        let second = mean(&mut layer.iter().copied().skip(1).step_by(2).skip(300));
        let third = mean(&mut scale.iter().copied().skip(300));
        for (found, known) in [(first, 1.0), (second, 2.0), (third, -1.0)] {
            assert!((found - known).abs() < 0.2, "{found}, not {known}");
        }
    }

    // A start that is none, and one that is.
    let root = program(1, |x| (x.sqrt() - x).sum());
    let start = |x: f64| Posterior::from_log_density(&root, &()).unwrap().start(&arr1(&[x]));
    let sample = |x: f64| {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let posterior = start(x).unwrap();
        let mut position = [0.0];
        posterior.init_position(&mut rng, 0, &mut position).unwrap();
        let math = Arc::new(posterior).math(&mut rng).unwrap();
        let mut chain = DiagNutsSettings::default().new_chain(0, math, &mut rng).unwrap();
        chain.set_position(&position).and_then(|()| chain.draw().map(|_| ()))
    };
    assert!(sample(-1.0).is_err());
    assert!(sample(1.0).is_ok());
    let long = Posterior::from_log_density(&root, &()).unwrap().start(&arr1(&[1.0, 2.0]));
    assert_eq!(long.unwrap_err().to_string(), "input 0: expected f64[1], got f64[2]");
}

#[test]
fn data_of_another_type_is_refused_at_once() {
    let f = trace(Spec::f64([2]), Spec::f64([2]), |_, x, a| (a * x).sum()).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let error = Posterior::from_log_density(&program, &arr1(&[1.0; 3])).unwrap_err();
    assert_eq!(error.to_string(), "input 1: expected f64[2], got f64[3]");
}
