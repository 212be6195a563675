//! Products of arrays, diagonals and triangles.

use std::collections::BTreeMap;

use backstitch_trace::{DType, Problem, Trace};
use ndarray::{ArrayD, IxDyn};

use super::{close, noise, smooth};

/// What an equation of letters means: a sum over all letters, one number at a time.
fn by_hand(equation: &str, operands: &[ArrayD<f64>]) -> Vec<f64> {
    let (inputs, output) = equation.split_once("->").unwrap();
    let inputs: Vec<Vec<char>> = inputs.split(',').map(|s| s.chars().collect()).collect();
    let mut extents = BTreeMap::new();
    for (letters, x) in inputs.iter().zip(operands) {
        letters.iter().zip(x.shape()).for_each(|(&c, &n)| _ = extents.insert(c, n));
    }
    let letters: Vec<char> = extents.keys().copied().collect();
    let all: Vec<usize> = extents.values().copied().collect();
    let out: Vec<usize> = output.chars().map(|c| extents[&c]).collect();
    let mut result = ArrayD::<f64>::zeros(IxDyn(&out));
    for at in ndarray::indices(IxDyn(&all)) {
        let place = |c: char| at[letters.iter().position(|&l| l == c).unwrap()];
        let index = |letters: &[char]| letters.iter().map(|&c| place(c)).collect::<Vec<_>>();
        let product: f64 = inputs.iter().zip(operands).map(|(l, x)| x[&index(l)[..]]).product();
        result[&index(&output.chars().collect::<Vec<_>>())[..]] += product;
    }
    result.into_iter().collect()
}

#[test]
fn einsum_is_a_sum_over_letters() {
    let extents = BTreeMap::from([('a', 2), ('b', 3), ('c', 4), ('d', 1), ('e', 2), ('z', 0)]);
    let equations = [
        "ab->ab",
        "ab->ba",
        "ab->b",
        "ab->",
        "->",
        "aa->a",
        "aa->",
        "aba->b",
        "abae->eb",
        "aaa->a",
        "ab,bc->ac",
        "ab,bc->ca",
        "ab,cb->ac",
        "ba,bc->ac",
        "ab,ab->",
        "ab,ab->a",
        "ab,ab->ba",
        "ab,ab->ab",
        "a,b->ba",
        "a,b->",
        "abc,abc->ac",
        "abc,cbe->aeb",
        "abc,bd->ac",
        ",ab->ba",
        "a,ab,b->",
        "ab,bc,ce->ae",
        "ab,bc,ca->",
        "ab,ab,ab->b",
        "ab,b,b,a->a",
        "a,b,c->cab",
        "abc,ade,ce->abd",
        "aab,bcc->",
        "az,zb->ab",
        "z->",
        "zb->b",
        "az,a->z",
        "d,d->d",
        "bd,dc->bc",
    ];
    for equation in equations {
        let inputs = equation.split_once("->").unwrap().0;
        let operands: Vec<ArrayD<f64>> = (inputs.split(',').enumerate())
            .map(|(i, s)| noise(&s.chars().map(|c| extents[&c]).collect::<Vec<_>>(), i as u64 + 1))
            .collect();
        let t = Trace::eager();
        let tensors: Vec<_> = operands.iter().map(|x| t.constant(x.clone())).collect();
        let result = t.einsum(equation, &tensors).array().unwrap_or_else(|e| panic!("{e}"));
        close(&result.to_f64_vec(), &by_hand(equation, &operands), 1e-13);
    }
}

#[test]
fn an_ellipsis_stands_for_stretched_axes() {
    let t = Trace::eager();
    let (x, y) = (t.constant(noise(&[2, 1, 3, 4], 1)), t.constant(noise(&[5, 4, 2], 2)));
    let want = x.matmul(y).array().unwrap();
    for equation in ["...ij,...jk->...ik", "...ij,...jk"] {
        let got = t.einsum(equation, [x, y]).array().unwrap();
        assert_eq!(got.dims(), want.dims());
        close(&got.to_f64_vec(), &want.to_f64_vec(), 1e-14);
    }
    let z = t.constant(noise(&[4], 3));
    let got = t.einsum("a...d,d->...a", [x, z]).array().unwrap();
    assert_eq!(got.dims(), [1, 3, 2]);
    close(&got.to_f64_vec(), &x.matmul(z).permute([1, 2, 0]).array().unwrap().to_f64_vec(), 1e-14);
}

#[test]
fn einsum_takes_all_numbers() {
    let t = Trace::eager();
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
        let x = t.range(0, 6, 1).cast(dtype).reshape([2, 3]);
        let got = t.einsum("ij,kj->ik", [x, x]).array().unwrap();
        assert_eq!((got.dtype(), got.to_f64_vec()), (dtype, vec![5.0, 14.0, 14.0, 50.0]));
    }
}

#[test]
fn products_have_both_derivatives() {
    smooth(
        |t, x| t.einsum("ab,bc,ac->b", [x, x.transpose(), t.constant(noise(&[2, 2], 5))]),
        &noise(&[2, 3], 1),
    );
    smooth(|t, x| t.einsum("aa,ab->b", [x, x]), &noise(&[3, 3], 2));
    smooth(|t, x| t.einsum("...a,a->...", [x.square(), x.index(0, 0)]), &noise(&[2, 3], 3));
    smooth(|_, x| x.kron(x.square()), &noise(&[2, 2], 4));
    smooth(|_, x| x.index(0, 0).cross(x.index(0, 1)), &noise(&[2, 3], 5));
    smooth(|_, x| x.diagonal(1, [2, 0]).square(), &noise(&[3, 2, 3], 6));
    smooth(
        |_, x| x.square().diag(-1).index(0, 1) * x.outer(x).diagonal_sum(0, [0, 1]),
        &noise(&[3], 7),
    );
}

#[test]
fn what_is_wrong_with_an_equation_is_said() {
    let t = Trace::eager();
    let (x, y) = (t.ones(DType::F64, [2, 3]), t.ones(DType::F64, [2, 3]));
    let wrong = [
        (t.einsum("ij,jk->ik", [x, y]), Problem::Shape, "`j` is 3 at first and 2 in operand 1"),
        (t.einsum("ii->i", [x]), Problem::Shape, "`i` is 2 at first and 3 in operand 0"),
        (t.einsum("...,...", [x, t.ones(DType::F64, [2])]), Problem::Shape, "3 and 2"),
        (t.einsum("ij,j", [x]), Problem::Parameter, "at \"j\": there are only 1 operands"),
        (t.einsum("ij->k", [x]), Problem::Parameter, "`k` of the result is in no operand"),
        (t.einsum("", []), Problem::Parameter, "there are only 0 operands"),
        (t.einsum("ij,ij", [x, y.to_f32()]), Problem::DType, "f64 and f32 differ"),
        (t.einsum("ij", [x.gt(0.0)]), Problem::DType, "expected numbers"),
    ];
    for (x, ..) in &wrong {
        assert!(x.array().is_err());
    }
    let e = t.check().unwrap_err();
    assert_eq!(e.mistakes.len(), wrong.len(), "{e}");
    for (m, (_, problem, words)) in e.mistakes.iter().zip(wrong) {
        assert_eq!((m.operation, m.problem, m.place.file()), ("einsum", problem, file!()));
        assert!(m.message.contains(words), "{m}");
    }
}

#[test]
fn diagonals_are_views_of_any_two_axes() {
    let t = Trace::eager();
    let x = noise(&[3, 2, 4], 1);
    let tensor = t.constant(x.clone());
    for (a, b) in [(0, 1), (1, 0), (0, 2), (2, 1), (-1, 0)] {
        for k in -5..=5i64 {
            let got = tensor.diagonal(k, [a, b]).array().unwrap();
            let (a, b) = (a.rem_euclid(3) as usize, b as usize);
            let rest = (0..3).find(|&i| i != a && i != b).unwrap();
            let mut want = Vec::new();
            for r in 0..x.shape()[rest] {
                for i in 0..x.shape()[a] {
                    let j = i as i64 + k;
                    if (0..x.shape()[b] as i64).contains(&j) {
                        let mut at = [0; 3];
                        (at[a], at[b], at[rest]) = (i, j as usize, r);
                        want.push(x[at]);
                    }
                }
            }
            assert_eq!(got.to_f64_vec(), want, "diagonal {k} of axes {a} and {b}");
        }
    }
    let traced = backstitch_trace::trace(backstitch_trace::Spec::f64([4, 4]), (), |_, x, ()| {
        x.diagonal(1, [0, 1])
    });
    let text = traced.unwrap().graph().to_string();
    assert!(!text.contains("gather") && !text.contains("select"), "{text}");
}

#[test]
fn odd_diagonals_are_empty_or_mistakes() {
    let t = Trace::eager();
    let x = t.ones(DType::Bool, [2, 3]);
    assert_eq!(x.diagonal(i64::MIN, [0, 1]).shape().dims(), [0]);
    assert_eq!(x.diag(i64::MAX).shape().dims(), [0]);
    assert_eq!(t.zeros(DType::F32, [0, 4]).diagonal_sum(0, [0, 1]).item::<f32>().unwrap(), 0.0);
    assert_eq!(t.zeros(DType::F32, [0]).diag(2).shape().dims(), [2, 2]);
    assert!(t.check().is_ok());
    let v = t.ones(DType::F64, [3]);
    let wrong = [
        x.diagonal(0, [0, 0]),
        x.diagonal(0, [0, 2]),
        x.diagonal_sum(0, [0, 1]),
        v.diag(i64::MAX),
        v.tril(0),
        v.cross(t.ones(DType::F64, [2])),
        t.zeros(DType::F64, [0]).kron(t.zeros(DType::F64, [usize::MAX])),
    ];
    for (i, x) in wrong.into_iter().enumerate() {
        assert!(x.array().is_err(), "case {i}");
    }
    assert_eq!(t.check().unwrap_err().mistakes.len(), wrong.len(), "{}", t.check().unwrap_err());
}
