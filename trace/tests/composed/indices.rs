//! Elements picked and written by index, and indices that are out of range.

use backstitch_trace::{DType, Problem, Spec, Tensor, Trace, trace};
use ndarray::{arr1, arr2};

use super::{mistakes, noise, smooth};

fn read(x: Tensor<'_>) -> Vec<f64> {
    x.array().unwrap_or_else(|e| panic!("{e}")).to_f64_vec()
}

#[test]
fn an_index_out_of_range_is_a_mistake_where_it_is_known() {
    let t = Trace::eager();
    let x = t.ones(DType::F64, [2, 3]);
    let i = |i: [i64; 2]| t.constant(arr1(&i));
    let wrong = [
        (x.take(i([0, 3]), 1), Problem::Parameter),
        (x.take(i([-1, 0]).cast(DType::I32), 0), Problem::Parameter),
        (x.take_along_axis(i([0, 3]).expand_dims(1), 1), Problem::Parameter),
        (x.gather_nd(i([1, 3]).expand_dims(0)), Problem::Parameter),
        (x.gather_nd(i([2, 0]).expand_dims(0)), Problem::Parameter),
        (x.scatter_add(i([0, 2]), x, 0), Problem::Parameter),
        (x.scatter_update(i([0, -2]), x, 0), Problem::Parameter),
        (x.scatter_update(i([1, 1]), x, 0), Problem::Parameter),
        (x.segment_sum(i([0, 4]), 4), Problem::Parameter),
        (i([0, 4]).bincount(4), Problem::Parameter),
        (x.embedding(i([0, 9])), Problem::Parameter),
        (x.sparse_cross_entropy(i([0, 3])), Problem::Parameter),
        (x.index(1, 3), Problem::Parameter),
        (x.index(1, i64::MIN), Problem::Parameter),
    ];
    let messages = mistakes(&t, &wrong);
    assert_eq!(messages[0], "take: index 3 of axis 1, which has extent 3");
    assert_eq!(messages[1], "take: index -1 of axis 0, which has extent 2");
    assert_eq!(messages[3], "gather_nd: index 3 of axis 1, which has extent 3");
    assert_eq!(messages[7], "scatter_update: index 1 is there twice");
    assert_eq!(messages[8], "segment_sum: index 4 of the segments, of which there are 4");
    assert_eq!(messages[11], "sparse_cross_entropy: index 3 of the classes, of which there are 3");
}

#[test]
fn a_constant_index_is_known_while_tracing() {
    let line = line!() + 2;
    let e = trace(Spec::f64([3]), (), |t, x, ()| {
        x.take(t.constant(arr1(&[0, 5])), 0) + x.gather_nd(t.constant(arr2(&[[0], [-1]])))
    });
    let e = e.unwrap_err();
    assert_eq!(e.mistakes.len(), 2, "{e}");
    assert!(e.mistakes.iter().all(|m| m.place.line() == line));
    assert!(e.first().message.contains("index 5 of axis 0, which has extent 3"), "{e}");
    // In the body of a loop as well.
    let e = trace(Spec::f64([3]), (), |t, x, ()| {
        t.for_loop(2, x, |_, x| x + x.take(t.constant(arr1(&[3])), 0))
    });
    assert_eq!(e.unwrap_err().mistakes.len(), 1);
}

#[test]
fn an_index_that_is_not_known_is_taken_as_the_nearest() {
    let f = trace(Spec::f64([3]), Spec::i64([2]), |_, x, i| {
        let pairs = i.expand_dims(1);
        x.take(i, 0) + x.take_along_axis(i, 0) + x.gather_nd(pairs)
    });
    let (x, i) = (arr1(&[1.0, 2.0, 4.0]), arr1(&[i64::MIN, 7]));
    assert_eq!(f.unwrap().eval(&x, &i).unwrap().to_f64_vec(), [3.0, 12.0]);
    let f = trace(Spec::f64([3]), Spec::i64([2]), |t, x, i| {
        x.scatter_add(i, t.ones(DType::F64, [2]), 0) + t.ones(DType::F64, [2]).segment_sum(i, 3)
    });
    assert_eq!(f.unwrap().eval(&x, &i).unwrap().to_f64_vec(), [3.0, 2.0, 6.0]);
}

#[test]
fn what_is_written_is_there() {
    let t = Trace::eager();
    let x = t.range(0, 12, 1).reshape([3, 4]);
    let i = t.constant(arr1(&[3, 0]));
    let u = -t.range(1, 7, 1).reshape([3, 2]);
    let new = x.scatter_update(i, u, 1);
    assert_eq!(read(new), [-2., 1., 2., -1., -4., 5., 6., -3., -6., 9., 10., -5.]);
    assert_eq!(read(new.take(i, 1)), read(u));
    let flags = t.zeros(DType::Bool, [3]).scatter_update(
        i - i + t.range(0, 2, 1),
        t.ones(DType::Bool, [2]),
        0,
    );
    assert_eq!(read(flags), [1.0, 1.0, 0.0]);
    let none = t.constant(arr1(&[0i64; 0]));
    assert_eq!(read(x.scatter_update(none, t.zeros(DType::I32, [3, 0]), 1)), read(x));
    assert_eq!(none.bincount(2).array().unwrap().to_f64_vec(), [0.0, 0.0]);
    assert_eq!(x.take_along_axis(t.zeros(DType::I64, [3, 2]), 1).shape().dims(), [3, 2]);
    assert!(t.check().is_ok());
}

#[test]
fn picks_and_sums_have_both_derivatives() {
    let x = noise(&[3, 4], 1);
    smooth(|t, x| x.square().take(t.constant(arr1(&[2, 2, 0])), 1), &x);
    smooth(|t, x| x.sin().gather_nd(t.constant(arr2(&[[0, 1], [2, 3], [0, 1]]))), &x);
    smooth(|t, x| x.exp().take_along_axis(t.constant(arr2(&[[0], [3], [3]])), 1), &x);
    smooth(|t, x| x.square().segment_sum(t.constant(arr1(&[1, 1, 0])), 2), &x);
    smooth(
        |t, x| x.sin().scatter_update(t.constant(arr1(&[2])), x.slice(0, 0..1, 1).square(), 0),
        &x,
    );
    smooth(|t, x| x.scatter_add(t.constant(arr1(&[1, 1])), x.slice(0, ..2, 1).exp(), 0), &x);
}

#[test]
fn odd_indices_are_mistakes() {
    let t = Trace::eager();
    let (x, i) = (t.ones(DType::F64, [2, 3]), t.zeros(DType::I64, [2]));
    let none = t.zeros(DType::F64, [0, 2]);
    let wrong = [
        (x.take(x, 0), Problem::DType),
        (x.take(i, 2), Problem::Axis),
        (none.take(i, 0), Problem::Shape),
        (none.take_along_axis(t.zeros(DType::I64, [1, 2]), 0), Problem::Shape),
        (x.take_along_axis(i, 0), Problem::Shape),
        (x.gather_nd(t.zeros(DType::I64, [1, 3])), Problem::Shape),
        (x.gather_nd(t.zeros(DType::I64, [])), Problem::Shape),
        (x.scatter_add(i, x.index(0, 0), 0), Problem::Shape),
        (x.scatter_update(i, x.to_f32(), 0), Problem::Shape),
        (x.scatter_update(x, x, 0), Problem::DType),
        (none.scatter_add(i, t.ones(DType::F64, [2, 2]), 0), Problem::Shape),
        (x.segment_sum(t.zeros(DType::I64, [3]), 3), Problem::Shape),
        (x.bincount(3), Problem::DType),
    ];
    mistakes(&t, &wrong);
}
