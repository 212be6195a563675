//! Objectives of argmin: one run for cost and gradient, errors that say what is wrong, and the
//! minimum by several solvers.

use ::argmin::core::{CostFunction, Executor, Gradient, Hessian, State};
use ::argmin::solver::gradientdescent::SteepestDescent;
use ::argmin::solver::linesearch::condition::ArmijoCondition;
use ::argmin::solver::linesearch::{BacktrackingLineSearch, MoreThuenteLineSearch};
use ::argmin::solver::newton::NewtonCG;
use ::argmin::solver::quasinewton::LBFGS;
use ::argmin::solver::trustregion::{Steihaug, TrustRegion};
use argmin_math::ArgminDot;
use backstitch::adapters::EvaluationError;
use backstitch::adapters::argmin::{CurvedObjective, Objective};
use backstitch::prelude::*;
use backstitch::{BindError, Compiled, DType, Error};
use ndarray::{Array1, Array2, arr1};

type ValueAndGrad = Compiled<Spec, (), (Spec, Spec)>;

/// A loss of one array, without data, and its value and gradient.
fn program(
    dtype: DType,
    n: usize,
    f: impl for<'t> FnOnce(Tensor<'t>) -> Tensor<'t>,
) -> (ValueAndGrad, Traced<Spec, (), Spec>) {
    let traced = trace(Spec::new(dtype, [n]), (), |_, x, ()| f(x)).unwrap();
    (traced.value_and_grad().unwrap().compile().unwrap(), traced)
}

fn rosenbrock(x: Tensor<'_>) -> Tensor<'_> {
    let (a, b) = (x.slice(0, ..-1, 1), x.slice(0, 1.., 1));
    (100.0 * (b - a.square()).square() + (1.0 - a).square()).sum()
}

fn evaluation(error: ::argmin::core::Error) -> EvaluationError {
    error.downcast().expect("an error of this crate")
}

#[test]
fn cost_and_gradient_at_a_point_run_the_program_once() {
    let (program, _) = program(DType::F64, 2, |x| x.square().sum());
    let objective = Objective::new(program.bind::<f64, _>(&()).unwrap());
    let (x, y) = (vec![3.0, 4.0], vec![1.0, 0.0]);
    assert_eq!(objective.cost(&x).unwrap(), 25.0);
    assert_eq!(objective.gradient(&x).unwrap(), [6.0, 8.0]);
    assert_eq!(objective.cost(&x).unwrap(), 25.0);
    assert_eq!(objective.runs(), 1);
    assert_eq!(objective.gradient(&y).unwrap(), [2.0, 0.0]);
    assert_eq!(objective.cost(&y).unwrap(), 1.0);
    assert_eq!(objective.runs(), 2);
    assert_eq!(objective.into_bound().call(&x).unwrap().0, 25.0);
}

#[test]
fn a_vector_of_another_length_is_an_error_that_says_so() {
    let (program, traced) = program(DType::F64, 3, |x| x.square().sum());
    let products = traced.hvp().unwrap().compile().unwrap();
    let objective = Objective::new(program.bind::<f64, _>(&()).unwrap());
    let objective = CurvedObjective::new(objective, products.bind_hvp(&()).unwrap()).unwrap();
    let two = vec![1.0, 2.0];
    for error in [
        objective.cost(&two).unwrap_err(),
        objective.gradient(&two).unwrap_err(),
        objective.hessian(&two).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "expected a vector of 3 elements, got 2");
        let length = BindError::Length { expected: 3, got: 2 };
        let error = evaluation(error);
        assert!(matches!(error, EvaluationError::Call(Error::Bind(e)) if e == length));
    }
    assert_eq!((objective.runs(), objective.product_runs()), (0, 0));
    // A solver that starts with it says the same.
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), 3);
    let result = Executor::new(objective, solver).configure(|state| state.param(two)).run();
    let error = result.map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "expected a vector of 3 elements, got 2");
}

#[test]
fn what_is_no_loss_is_refused_before() {
    let specs = Spec::f64([2]);
    let vector = trace(specs.clone(), (), |_, x, ()| x * 2.0).unwrap();
    let error = vector.value_and_grad().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("scalar"), "{error}");
    let program = vector.compile().unwrap();
    let error = program.bind::<f64, _>(&()).map(Objective::new).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "outputs are to be (f64[], f64[2]), and are (f64[2])");
}

#[test]
fn products_of_another_loss_are_refused() {
    let (program, _) = program(DType::F64, 3, |x| x.square().sum());
    let other = trace(Spec::f64([2]), (), |_, x, ()| x.square().sum()).unwrap();
    let other = other.hvp().unwrap().compile().unwrap();
    let objective = Objective::new(program.bind::<f64, _>(&()).unwrap());
    let error = CurvedObjective::new(objective, other.bind_hvp(&()).unwrap()).unwrap_err();
    let text = "the product with the Hessian is of parameters (f64[2]), the value of (f64[3])";
    assert_eq!(error.to_string(), text);
}

#[test]
fn what_is_not_finite_is_an_error_that_says_where() {
    let specs = (Spec::f64([2]), Spec::f64([3]));
    let f = trace(specs, (), |_, (a, b), ()| a.sum() + b.sqrt().sum()).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let objective = Objective::new(program.bind::<f64, _>(&()).unwrap());
    let (edge, outside) = (vec![1.0, 1.0, 4.0, 0.0, 1.0], vec![0.0, 0.0, 1.0, 1.0, -1.0]);
    // On the edge there is a value, and the slope is infinite.
    assert_eq!(objective.cost(&edge).unwrap(), 5.0);
    let error = evaluation(objective.gradient(&edge).unwrap_err());
    assert_eq!(error.to_string(), "the gradient is inf, which is not finite, at element 1 of 1");
    let error = evaluation(objective.cost(&outside).unwrap_err());
    assert_eq!(error.to_string(), "the value is NaN, which is not finite");
    assert_eq!(objective.runs(), 2);

    let objective = Objective::new(program.bind::<f64, _>(&()).unwrap()).allow_non_finite();
    assert_eq!(objective.gradient(&edge).unwrap(), [1.0, 1.0, 0.25, f64::INFINITY, 0.5]);
    assert!(objective.cost(&outside).unwrap().is_nan());
}

#[test]
fn a_search_steps_back_from_where_there_is_no_value() {
    // The minimum is at 1; the first step of length 1 goes to where the logarithm is NaN.
    let (program, _) = program(DType::F64, 1, |x| (10.0 * (x - x.log())).sum());
    let solve = |allow: bool| {
        let objective = Objective::new(program.bind::<f64, _>(&()).unwrap());
        let objective = if allow { objective.allow_non_finite() } else { objective };
        let search = BacktrackingLineSearch::new(ArmijoCondition::new(1e-4).unwrap());
        let result = Executor::new(objective, SteepestDescent::new(search))
            .configure(|state| state.param(vec![3.0]).max_iters(100))
            .run()?;
        Ok(result.state().get_best_param().unwrap()[0])
    };
    let error = evaluation(solve(false).unwrap_err());
    assert!(matches!(error, EvaluationError::Value { value } if value.is_nan()));
    let x = solve(true).unwrap();
    assert!((x - 1.0).abs() < 1e-5, "{x}");
}

/// A ridge regression, and its minimum by the normal equations.
fn ridge() -> (Array2<f64>, Array1<f64>, Vec<f64>) {
    let wave = |i: usize, seed: f64| ((i * i) as f64 * seed).cos();
    let x = Array2::from_shape_fn((30, 3), |(i, j)| wave(3 * i + j, 1.7));
    let y = Array1::from_shape_fn(30, |i| wave(i, 0.9));
    let mut a = x.t().dot(&x) / 30.0;
    a.diag_mut().mapv_inplace(|d| d + 0.1);
    let b = x.t().dot(&y) / 30.0;
    // Cramer's rule.
    let det = |m: &Array2<f64>| {
        let minor = |i: usize, j: usize| m[(1, i)] * m[(2, j)] - m[(1, j)] * m[(2, i)];
        m[(0, 0)] * minor(1, 2) - m[(0, 1)] * minor(0, 2) + m[(0, 2)] * minor(0, 1)
    };
    let solution = (0..3).map(|j| {
        let mut replaced = a.clone();
        replaced.column_mut(j).assign(&b);
        det(&replaced) / det(&a)
    });
    let solution = solution.collect();
    (x, y, solution)
}

macro_rules! lbfgs_finds_the_minimum {
    ($($name:ident $t:ident $within:literal;)*) => {$(
        #[test]
        fn $name() {
            let (x, y, expected) = ridge();
            let (x, y) = (x.mapv(|v| v as $t), y.mapv(|v| v as $t));
            let dtype = <$t as backstitch::ir::Element>::DTYPE;
            let data = (Spec::new(dtype, [30, 3]), Spec::new(dtype, [30]));
            let f = trace(Spec::new(dtype, [3]), data, |_, w, (x, y)| {
                0.5 * (x.matmul(w) - y).square().mean() + 0.05 * w.square().sum()
            });
            let program = f.unwrap().value_and_grad().unwrap().compile().unwrap();
            let data = (&x, &y);
            let objective = Objective::new(program.bind::<$t, _>(&data).unwrap());
            let solver = LBFGS::new(MoreThuenteLineSearch::new(), 5);
            let result = Executor::new(objective, solver)
                .configure(|state| state.param(vec![0.0; 3]).max_iters(50).counting(true))
                .run()
                .unwrap();
            let found = result.state().get_best_param().unwrap();
            let close = |(a, b): (&$t, &f64)| (f64::from(*a) - b).abs() < $within;
            assert!(found.iter().zip(&expected).all(close), "{found:?}, not {expected:?}");
            // No point was computed twice: there are fewer runs than questions.
            let counts = result.state().get_func_counts();
            let questions = counts["cost_count"] + counts["gradient_count"];
            let runs = result.problem.problem.as_ref().unwrap().runs();
            assert!(runs <= counts["cost_count"] && runs < questions, "{runs} of {counts:?}");
        }
    )*};
}
lbfgs_finds_the_minimum! {
    lbfgs_finds_the_minimum_in_doubles f64 1e-7;
    lbfgs_finds_the_minimum_in_floats f32 1e-3;
}

#[test]
fn methods_that_multiply_with_the_hessian_find_the_minimum() {
    let (program, traced) = program(DType::F64, 6, rosenbrock);
    let products = traced.hvp().unwrap().compile().unwrap();
    let objective = Objective::new(program.bind::<f64, _>(&()).unwrap());
    let objective = CurvedObjective::new(objective, products.bind_hvp(&()).unwrap()).unwrap();
    let result = Executor::new(objective, TrustRegion::new(Steihaug::new()))
        .configure(|state| state.param(vec![0.5; 6]).max_iters(50))
        .run()
        .unwrap();
    let x = result.state().get_best_param().unwrap();
    assert!(x.iter().all(|x| (x - 1.0).abs() < 1e-6), "{x:?}");
    let objective = result.problem.problem.as_ref().unwrap();
    assert!(objective.runs() <= 51 && objective.product_runs() > 6);

    let (program, traced) = self::program(DType::F64, 6, |x| (x.exp() - x).sum());
    let products = traced.hvp().unwrap().compile().unwrap();
    let objective = Objective::new(program.bind::<f64, _>(&()).unwrap());
    let objective = CurvedObjective::new(objective, products.bind_hvp(&()).unwrap()).unwrap();
    let solver = NewtonCG::new(MoreThuenteLineSearch::new());
    let result = Executor::new(objective, solver)
        .configure(|state| state.param(vec![1.0, -1.0, 0.5, 2.0, 0.0, -0.5]).max_iters(50))
        .run()
        .unwrap();
    let x = result.state().get_best_param().unwrap();
    assert!(x.iter().all(|x| x.abs() < 1e-6), "{x:?}");
    assert!(result.problem.problem.as_ref().unwrap().product_runs() > 0);
}

#[test]
fn a_hessian_is_that_of_its_point() {
    let (program, traced) = program(DType::F64, 2, |x| (x * x * x).sum());
    let products = traced.hvp().unwrap().compile().unwrap();
    let objective = Objective::new(program.bind::<f64, _>(&()).unwrap());
    let objective = CurvedObjective::new(objective, products.bind_hvp(&()).unwrap()).unwrap();
    let at = |x: &[f64]| objective.hessian(&x.to_vec()).unwrap();
    let (a, b) = (at(&[1.0, 2.0]), at(&[-1.0, 0.5]));
    // Both may be used after the other was made, and so may a clone.
    assert_eq!(a.dot(&vec![1.0, 1.0]), [6.0, 12.0]);
    assert_eq!(b.dot(&vec![1.0, 1.0]), [-6.0, 3.0]);
    assert_eq!(a.clone().dot(&vec![1.0, -1.0]), [6.0, -12.0]);
    assert_eq!(a.point(), [1.0, 2.0]);
    assert_eq!(objective.product_runs(), 3);
    drop(objective);
    assert_eq!(b.dot(&vec![0.0, 2.0]), [0.0, 6.0]);
}

#[test]
fn a_product_that_fails_ends_the_search_at_the_next_call() {
    // The second derivative at 0 is infinite, value and gradient are not.
    let (program, traced) = program(DType::F64, 2, |x| x.pow(1.5).sum() + x.sum());
    let products = traced.hvp().unwrap().compile().unwrap();
    let bind = || {
        let objective = Objective::new(program.bind::<f64, _>(&()).unwrap());
        CurvedObjective::new(objective, products.bind_hvp(&()).unwrap()).unwrap()
    };
    let objective = bind();
    let hessian = objective.hessian(&vec![1.0, 0.0]).unwrap();
    assert_eq!(hessian.dot(&vec![1.0, 1.0]), [0.0, 0.0]);
    let error = evaluation(objective.cost(&vec![1.0, 1.0]).unwrap_err());
    assert!(matches!(&error, EvaluationError::Derivative { element: 1, .. }), "{error}");
    assert!(error.to_string().starts_with("the product with the Hessian is "), "{error}");
    // It is told once.
    assert_eq!(objective.cost(&vec![1.0, 1.0]).unwrap(), 4.0);
    // So is a direction of another length.
    assert_eq!(hessian.dot(&vec![1.0]), [0.0, 0.0]);
    let error = objective.gradient(&vec![1.0, 1.0]).unwrap_err();
    assert_eq!(error.to_string(), "expected a vector of 2 elements, got 1");

    let result = Executor::new(bind(), TrustRegion::new(Steihaug::new()))
        .configure(|state| state.param(vec![1.0, 0.0]).max_iters(10))
        .run();
    let error = evaluation(result.map(|_| ()).unwrap_err());
    assert!(matches!(error, EvaluationError::Derivative { .. }), "{error}");
    let result = Executor::new(bind(), NewtonCG::new(MoreThuenteLineSearch::new()))
        .configure(|state| state.param(vec![1.0, 0.0]).max_iters(10))
        .run();
    let error = evaluation(result.map(|_| ()).unwrap_err());
    assert!(matches!(error, EvaluationError::Derivative { .. }), "{error}");
}

#[test]
fn one_objective_serves_two_threads() {
    let f = trace(Spec::f64([2]), Spec::f64([2]), |_, x, a| (x * a).sin().sum()).unwrap();
    let program = f.value_and_grad().unwrap().compile().unwrap();
    let a = arr1(&[1.0, 2.0]);
    let objective = Objective::new(program.bind::<f64, _>(&a).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (objective, program, a) = (&objective, &program, &a);
            scope.spawn(move || {
                let mut alone = program.bind::<f64, _>(a).unwrap();
                for i in 0..200 {
                    let x = vec![f64::from(i), f64::from(thread)];
                    let (value, gradient) = alone.call(&x).unwrap();
                    assert_eq!(objective.cost(&x).unwrap(), value);
                    assert_eq!(objective.gradient(&x).unwrap(), gradient);
                }
            });
        }
    });
    assert!((400..=800).contains(&objective.runs()));
}
