//! The tool for GradBench: what it answers, against formulas in plain loops and
//! differences, and what it does with messages that are wrong. The code is that of the
//! example of the same name.
#![allow(missing_docs)]

#[path = "gradbench/reference.rs"]
mod reference;
#[path = "../examples/gradbench/tool/mod.rs"]
mod tool;

use reference::{Mixture, Network, Numbers, Rows, gradient, rows};
use serde_json::{Value, json};
use tool::Session;

fn answer(message: &Value) -> Value {
    serde_json::from_str(&Session::new(1).answer(&message.to_string())).expect("strict JSON")
}

fn evaluate(module: &str, function: &str, input: Value) -> Value {
    let (kind, id) = ("evaluate", 7);
    answer(&json!({
        "id": id, "kind": kind, "module": module, "function": function, "input": input,
    }))
}

#[track_caller]
fn output(module: &str, function: &str, input: Value) -> Value {
    let mut answer = evaluate(module, function, input);
    assert_eq!(answer["success"], true, "{module}.{function}: {answer}");
    assert!(answer.get("error").is_none());
    answer["output"].take()
}

/// Why it is refused.
#[track_caller]
fn error(module: &str, function: &str, input: Value) -> String {
    let answer = evaluate(module, function, input);
    assert_eq!((&answer["success"], &answer["id"]), (&json!(false), &json!(7)), "{answer}");
    assert!(answer.get("output").is_none());
    answer["error"].as_str().expect("a text").to_owned()
}

/// All numbers of nested lists, in order.
fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(all) => all.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().expect("a number")],
    }
}

#[track_caller]
fn assert_close(got: &Value, wanted: &[f64], tolerance: f64) {
    let got = flat(got);
    assert_eq!(got.len(), wanted.len());
    for (i, (&x, &y)) in got.iter().zip(wanted).enumerate() {
        let near = (x - y).abs() <= tolerance * (1.0 + y.abs());
        assert!(near, "number {i} of {}: {x}, not {y}", got.len());
    }
}

#[test]
fn hello_squares_and_doubles() {
    let mut x = json!(1.0);
    let mut all = vec![];
    for function in ["square", "double"].repeat(4) {
        x = output("hello", function, x);
        all.push(x.as_f64().unwrap());
    }
    assert_eq!(all, [1.0, 2.0, 4.0, 8.0, 64.0, 128.0, 16384.0, 32768.0]);
}

#[test]
fn gmm_is_a_density_with_a_prior() {
    for (d, k, n, m, gamma) in [(1, 1, 1, 0, 1.0), (2, 3, 5, 0, 1.0), (4, 2, 7, 3, 0.7)] {
        let mut numbers = Numbers(31337);
        let below = d * (d - 1) / 2;
        let (alpha, mu) = (numbers.row(k), numbers.rows(k, d));
        let (q, l, x) = (numbers.rows(k, d), numbers.rows(k, below), numbers.rows(n, d));
        let input = json!({
            "d": d, "k": k, "n": n, "alpha": alpha, "mu": mu, "q": q, "l": l, "x": x,
            "m": m, "gamma": gamma, "min_runs": 1, "min_seconds": 0,
        });
        let all = [alpha, mu.concat(), q.concat(), l.concat()].concat();
        let objective = |p: &[f64]| {
            let (alpha, p) = p.split_at(k);
            let (mu, p) = p.split_at(k * d);
            let (q, l) = p.split_at(k * d);
            let (mu, q, l) = (rows(mu, d), rows(q, d), rows(l, below));
            reference::mixture(
                &Mixture { alpha: alpha.to_vec(), mu, q, l },
                &x,
                f64::from(m),
                gamma,
            )
        };
        assert_close(&output("gmm", "objective", input.clone()), &[objective(&all)], 1e-12);
        let jacobian = output("gmm", "jacobian", input);
        assert_eq!(jacobian.as_object().unwrap().len(), 4);
        assert_eq!(jacobian["l"].as_array().unwrap().len(), k);
        let parts = json!([jacobian["alpha"], jacobian["mu"], jacobian["q"], jacobian["l"]]);
        assert_close(&parts, &gradient(objective, &all), 1e-8);
    }
}

#[test]
fn llsq_fits_polynomials() {
    for (n, m) in [(2, 1), (16, 5), (17, 8), (40, 37), (64, 128)] {
        let x = Numbers(n as u64).row(m);
        let input = json!({ "x": x, "n": n, "min_runs": 1, "min_seconds": 0 });
        let objective = |x: &[f64]| reference::least_squares(x, n);
        assert_close(&output("llsq", "primal", input.clone()), &[objective(&x)], 1e-12);
        assert_close(&output("llsq", "gradient", input), &gradient(objective, &x), 1e-8);
    }
}

#[test]
fn lse_is_stable_and_its_gradient_a_softmax() {
    for (n, shift) in [(1, 0.0), (2, 1000.0), (1000, -3.0)] {
        let x: Vec<f64> = Numbers(n).row(n as usize).iter().map(|x| x + shift).collect();
        let input = json!({ "x": x, "min_runs": 1, "min_seconds": 0 });
        let value = reference::log_sum_exp(&x);
        assert_close(&output("lse", "primal", input.clone()), &[value], 1e-12);
        let softmax: Vec<f64> = x.iter().map(|x| (x - value).exp()).collect();
        // Relative to what they are: a thousand of them are each nearly zero.
        let got = flat(&output("lse", "gradient", input));
        assert!(got.iter().zip(&softmax).all(|(x, y)| (x - y).abs() <= 1e-11 * y));
    }
    let ties = json!({ "x": [2.0, 2.0, 2.0, 2.0] });
    assert_close(&output("lse", "gradient", ties), &[0.25; 4], 1e-15);
}

#[test]
fn lstm_learns_a_sequence() {
    for (layers, bits, length) in [(1, 1, 2), (2, 3, 6), (3, 14, 9)] {
        let mut numbers = Numbers(5);
        let (main, extra) = (numbers.rows(2 * layers, 4 * bits), numbers.rows(3, bits));
        let state = numbers.rows(2 * layers, bits);
        let bit = |x: &f64| f64::from(u8::from(*x > 0.0));
        let sequence: Rows =
            numbers.rows(length, bits).iter().map(|row| row.iter().map(bit).collect()).collect();
        let input = json!({
            "main_params": main, "extra_params": extra, "state": state, "sequence": sequence,
        });
        let all = [main.concat(), extra.concat()].concat();
        let objective = |p: &[f64]| {
            let (main, extra) = p.split_at(8 * layers * bits);
            let network = Network { main: rows(main, 4 * bits), extra: rows(extra, bits) };
            reference::lstm(&network, &state, &sequence)
        };
        assert_close(&output("lstm", "objective", input.clone()), &[objective(&all)], 1e-12);
        assert_close(&output("lstm", "jacobian", input), &gradient(objective, &all), 1e-9);
    }
}

#[test]
fn ba_has_a_sparse_jacobian() {
    // Rotated, and at the limit of no rotation, where derivatives are of the limit's branch.
    for (rotation, (n, m, p)) in [([0.1, -0.4, 0.2], (3, 5, 11)), ([0.0; 3], (2, 1, 3))] {
        let camera = [&rotation[..], &[0.3, -0.2, 0.1, 1.3, 0.05, -0.07, 0.11, -0.03]].concat();
        let (x, w, feature) = ([0.4, 0.6, 2.0], 0.8, [0.2, -0.1]);
        let input =
            json!({ "n": n, "m": m, "p": p, "cam": camera, "x": x, "w": w, "feat": feature });
        let row = [&camera[..], &x[..], &[w]].concat();
        let errors = reference::reprojection(&row, &feature);

        let objective = output("ba", "objective", input.clone());
        assert_close(&objective["reproj_error"]["elements"], &errors, 1e-13);
        assert_close(&objective["w_err"]["element"], &[1.0 - w * w], 1e-13);
        assert_eq!(objective["reproj_error"]["repeated"], p);
        assert_eq!(objective["w_err"]["repeated"], p);

        let jacobian = output("ba", "jacobian", input);
        assert_eq!(jacobian.as_object().unwrap().len(), 3);
        let starts: Vec<usize> =
            (0..=2 * p).map(|i| 15 * i).chain((1..=p).map(|i| 30 * p + i)).collect();
        let excerpt =
            |all: &[usize]| -> Value { all.iter().take(30).chain(all.last()).copied().collect() };
        assert_eq!(jacobian["rows"], excerpt(&starts));
        // The first observation is of the first camera and the first point.
        let columns = (0..11).chain((0..3).map(|j| 11 * n + j)).chain([11 * n + 3 * m]);
        let columns: Vec<usize> = columns.collect();
        let last = 11 * n + 3 * m + p - 1;
        assert_eq!(jacobian["cols"], excerpt(&[&columns[..], &columns, &[last]].concat()));
        if rotation == [0.0; 3] {
            // Differences would leave the branch; by hand, where nothing but r × v turns.
            let values = flat(&jacobian["vals"]);
            let (du, dv) = by_rotation(&row);
            assert!((values[0] - du).abs() < 1e-9 && (values[15] - dv).abs() < 1e-9);
            continue;
        }
        let mut values: Vec<f64> = (0..2)
            .flat_map(|i| gradient(|row| reference::reprojection(row, &feature)[i], &row))
            .collect();
        values.push(-2.0 * w);
        assert_close(&jacobian["vals"], &values, 1e-8);
    }
}

/// The derivatives of both residuals by the first number of a rotation that is zero: the
/// point moves by (0, -z, y).
fn by_rotation(row: &[f64]) -> (f64, f64) {
    let zero = [0.0; 2];
    let moved = |by: f64| {
        let mut row = row.to_vec();
        let (y, z) = (row[12] - row[4], row[13] - row[5]);
        row[12] -= by * z;
        row[13] += by * y;
        reference::reprojection(&row, &zero)
    };
    let partial = |i: usize| gradient(|by| moved(by[0])[i], &[0.0])[0];
    (partial(0), partial(1))
}

#[test]
fn ba_joins_each_observation_to_its_camera_and_point() {
    // Of a matrix of 31 entries in all, everything is answered.
    let input = json!({
        "n": 1, "m": 1, "p": 1, "cam": vec![0.1; 11], "x": [0.5, 0.25, 1.0], "w": 0.5, "feat": [0, 0],
    });
    let jacobian = output("ba", "jacobian", input);
    let mut columns: Vec<usize> = (0..15).chain(0..15).collect();
    columns.push(14);
    assert_eq!(jacobian["cols"], json!(columns));
    assert_eq!(jacobian["rows"], json!([0, 15, 30, 31, 31]));
}

#[test]
fn kmeans_steps_to_the_means() {
    for (k, n, d) in [(1, 1, 1), (3, 10, 2), (7, 50, 9)] {
        let points = Numbers(11).rows(n, d);
        let centroids = points[n - k..].to_vec();
        let input = json!({ "points": points, "centroids": centroids });
        let cost = reference::cost(&points, &centroids);
        assert_close(&output("kmeans", "cost", input.clone()), &[cost], 1e-12);
        let direction = reference::direction(&points, &centroids).concat();
        assert_close(&output("kmeans", "dir", input), &direction, 1e-12);
    }
}

#[test]
fn ode_ends_where_the_scheme_does() {
    // So few components that information from the first has reached the last.
    for (n, s) in [(1, 1), (4, 1), (7, 2), (30, 10)] {
        let x: Vec<f64> = Numbers(3).row(n).iter().map(|x| 1.0 + 0.1 * x).collect();
        let input = json!({ "x": x, "s": s });
        let end = reference::runge_kutta(&x, s);
        assert_close(&output("ode", "primal", input.clone()), &end, 1e-13);
        let wanted = gradient(|x| reference::runge_kutta(x, s)[n - 1], &x);
        let got = output("ode", "gradient", input);
        let scale = wanted.iter().fold(0.0f64, |scale, x| scale.max(x.abs()));
        assert!(scale > 0.0);
        let relative: Value = flat(&got).iter().map(|x| x / scale).collect();
        let wanted: Vec<f64> = wanted.iter().map(|x| x / scale).collect();
        assert_close(&relative, &wanted, 1e-7);
    }
    // What no information reaches is zero, and so is its gradient.
    let far = json!({ "x": vec![0.5; 20], "s": 4 });
    assert_close(&output("ode", "gradient", far), &[0.0; 20], 0.0);
}

#[test]
fn det_expands_to_the_determinant() {
    for ell in 1..=7 {
        let a = Numbers(ell as u64).row(ell * ell);
        let input = json!({ "A": a, "ell": ell });
        let determinant = |a: &[f64]| reference::determinant(a, ell);
        assert_close(&output("det", "primal", input.clone()), &[determinant(&a)], 1e-12);
        assert_close(&output("det", "gradient", input), &gradient(determinant, &a), 1e-8);
    }
    // A singular matrix has cofactors, too.
    let ones = json!({ "A": [1, 2, 2, 4], "ell": 2 });
    assert_close(&output("det", "gradient", ones), &[4.0, -2.0, -2.0, 1.0], 0.0);
}

#[test]
fn answers_have_the_times_that_were_asked_for() {
    let input = json!({ "x": [1, 2], "min_runs": 5, "min_seconds": 0 });
    let answer = evaluate("lse", "primal", input);
    let timings = answer["timings"].as_array().unwrap();
    let names: Vec<_> = timings.iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["prepare", "evaluate", "evaluate", "evaluate", "evaluate", "evaluate"]);
    assert!(timings.iter().all(|t| t["nanoseconds"].is_u64()));

    let input = json!({ "x": [1, 2], "min_runs": 1, "min_seconds": 0.01 });
    let answer = evaluate("lse", "primal", input);
    let timings = answer["timings"].as_array().unwrap()[1..].iter();
    let total: u64 = timings.map(|t| t["nanoseconds"].as_u64().unwrap()).sum();
    assert!(total >= 10_000_000);
}

#[test]
fn several_threads_give_the_same_bits() {
    let x = Numbers(1).row(100_000);
    let message = json!({
        "id": 0, "kind": "evaluate", "module": "lse", "function": "gradient", "input": { "x": x },
    });
    let output = |threads| -> Value {
        let answer = Session::new(threads).answer(&message.to_string());
        serde_json::from_str::<Value>(&answer).unwrap()["output"].take()
    };
    let (one, two) = (output(1), output(2));
    assert!(one == two && one.as_array().unwrap().len() == 100_000);
}

#[test]
fn messages_are_answered_with_their_ids() {
    assert_eq!(answer(&json!({ "id": 0, "kind": "start", "eval": "gmm" }))["id"], 0);
    for module in ["hello", "gmm", "llsq", "lse", "lstm", "ba", "kmeans", "ode", "det"] {
        let define = answer(&json!({ "id": 1, "kind": "define", "module": module }));
        assert_eq!(define, json!({ "id": 1, "success": true }));
    }
    let undefined = answer(&json!({ "id": 2, "kind": "define", "module": "ht" }));
    assert_eq!(undefined["success"], false);
    let analysis = json!({ "id": 3, "kind": "analysis", "of": 2, "valid": true });
    assert_eq!(answer(&analysis), json!({ "id": 3 }));
    assert_eq!(answer(&json!({ "id": 4, "kind": "what" })), json!({ "id": 4 }));
}

#[test]
fn wrong_messages_are_refused_with_a_reason() {
    let session = Session::new(1);
    let refused = |line: &str| -> Value {
        let answer: Value = serde_json::from_str(&session.answer(line)).unwrap();
        assert_eq!(answer["success"], false, "{line}");
        assert!(answer["error"].as_str().is_some_and(|why| !why.is_empty()));
        answer["id"].clone()
    };
    assert_eq!(refused("what"), Value::Null);
    assert_eq!(refused("[]"), Value::Null);
    assert_eq!(refused(r#"{"id": 5}"#), 5);
    assert_eq!(refused(r#"{"id": 6, "kind": 1}"#), 6);
    assert_eq!(refused(r#"{"id": 7, "kind": "evaluate"}"#), 7);
    assert_eq!(
        refused(r#"{"id": 8, "kind": "evaluate", "module": "lse", "function": "hessian"}"#),
        8
    );
    assert_eq!(
        refused(r#"{"id": 9, "kind": "evaluate", "module": "lse", "function": "primal"}"#),
        9
    );
}

#[test]
fn wrong_inputs_are_refused_with_a_reason() {
    let says = |why: String, what: &str| assert!(why.contains(what), "{why}");
    says(error("hello", "square", json!("one")), "expected f64");
    says(error("lse", "primal", json!({})), "missing field `x`");
    says(error("lse", "primal", json!({ "x": [] })), "is 0");
    says(error("lse", "primal", json!({ "x": [1], "min_runs": -1 })), "expected u64");
    says(error("llsq", "primal", json!({ "x": [1], "n": 0 })), "`n` is 0");
    says(error("ode", "primal", json!({ "x": [1], "s": 0 })), "`s` is 0");
    says(error("det", "primal", json!({ "A": [1, 2, 3], "ell": 2 })), "3 numbers, not 4");
    says(error("det", "primal", json!({ "A": [], "ell": 1_000_000 })), "at most");
    let uneven = json!({ "points": [[1, 2], [3]], "centroids": [[1, 2]] });
    says(error("kmeans", "cost", uneven), "row 1 of `points` has 1 numbers, not 2");
    let gmm = json!({
        "d": 2, "k": 1, "n": 1, "alpha": [0], "mu": [[0, 0]], "q": [[0, 0]], "l": [[0, 0]],
        "x": [[0, 0]], "m": 0, "gamma": 1,
    });
    says(error("gmm", "jacobian", gmm), "row 0 of `l` has 2 numbers, not 1");
    let lstm = json!({
        "main_params": [[0, 0, 0, 0], [0, 0, 0, 0]], "extra_params": [[0], [0], [0]],
        "state": [[0], [0]], "sequence": [[0]],
    });
    says(error("lstm", "objective", lstm), "at least two");
    let ba = json!({
        "n": 1, "m": 1, "p": 1_u64 << 60, "cam": vec![0.1; 11], "x": [0, 0, 1], "w": 1, "feat": [0, 0],
    });
    says(error("ba", "jacobian", ba), "more entries");
}

#[test]
fn what_is_not_a_number_is_no_answer() {
    // One point: the distance between points is 2/0.
    assert!(error("llsq", "primal", json!({ "x": [1], "n": 1 })).contains("not finite"));
    // A centroid without points has no mean.
    let lonely = json!({ "points": [[0], [1]], "centroids": [[0], [9]] });
    assert!(error("kmeans", "dir", lonely).contains("not finite"));
}
