//! Parts of arrays, arrays put together, and arrays with margins.

use backstitch_trace::{DType, PadMode, Problem, Tensor, Trace};
use ndarray::arr1;

use super::{mistakes, noise, smooth};

fn read(x: Tensor<'_>) -> Vec<f64> {
    x.array().unwrap_or_else(|e| panic!("{e}")).to_f64_vec()
}

/// The element that NumPy puts at a place of a padded axis.
fn source(mode: PadMode, at: i64, n: i64) -> i64 {
    let mirrored = |period: i64, extra: i64| {
        let m = at.rem_euclid(period);
        if m < n { m } else { period - m - extra }
    };
    match mode {
        PadMode::Reflect if n > 1 => mirrored(2 * (n - 1), 0),
        PadMode::Symmetric => mirrored(2 * n, 1),
        PadMode::Wrap => at.rem_euclid(n),
        _ => at.clamp(0, n - 1),
    }
}

#[test]
fn margins_go_on_as_the_pattern_does() {
    let t = Trace::eager();
    for mode in [PadMode::Edge, PadMode::Reflect, PadMode::Symmetric, PadMode::Wrap] {
        for n in 1..5i64 {
            let x = t.range(0, n, 1);
            for (lo, hi) in [(0, 0), (1, 0), (0, 1), (2, 3), (3, 2), (4, 4), (11, 7), (0, 13)] {
                let got = read(x.pad_with([(lo, hi)], mode));
                let want = (-(lo as i64)..n + hi as i64).map(|at| source(mode, at, n) as f64);
                assert_eq!(got, want.collect::<Vec<_>>(), "{mode:?} of {n}: {lo} and {hi}");
            }
        }
        smooth(|_, x| x.square().pad_with([(1, 2), (0, 7)], mode), &noise(&[3, 2], 1));
        let flags = t.constant(arr1(&[true, false])).pad_with([(1, 1)], mode);
        assert_eq!(flags.shape().dims(), [4]);
    }
}

#[test]
fn parts_are_replaced_and_added_to() {
    let t = Trace::eager();
    let x = t.range(0, 7, 1);
    let bounds = [(None, None), (Some(1), Some(-1)), (Some(-3), None), (Some(5), Some(1))];
    for range in bounds {
        for step in [1i64, 2, 3, 100, -1, -2, -100, i64::MIN] {
            let part = x.slice(0, range, step);
            let values = t.range(100, 100 + part.size() as i64, 1).cast(DType::I32);
            // What was put there is found there, and nothing else has changed.
            let new = x.slice_update(0, range, step, values);
            assert_eq!(read(new.slice(0, range, step)), read(values), "{range:?} by {step}");
            assert_eq!(read(new.slice_update(0, range, step, part)), read(x));
            let more = x.slice_add(0, range, step, values);
            assert_eq!(read(more.slice(0, range, step)), read(part + values));
            assert_eq!(read(more.slice_add(0, range, step, -values)), read(x));
        }
    }
    let m = t.zeros(DType::F64, [2, 3]);
    assert_eq!(read(m.index_update(1, -1, 1.0)), [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    let column = t.constant(arr1(&[5.0, 6.0]));
    assert_eq!(read(m.index_add(1, 0, column)), [5.0, 0.0, 0.0, 6.0, 0.0, 0.0]);
    let row = t.constant(arr1(&[1.0, 2.0, 3.0]));
    assert_eq!(read(m.index_update(0, 1, row)), [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    let both = m.slice_update(0, 1.., 1, m.slice(0, 1.., 1).slice_update(1, ..2, 1, 4.0));
    assert_eq!(read(both), [0.0, 0.0, 0.0, 4.0, 4.0, 0.0]);
    let flags = t.ones(DType::Bool, [3]).index_update(0, 1, false);
    assert_eq!(read(flags), [1.0, 0.0, 1.0]);
    assert!(t.check().is_ok());
}

#[test]
fn parts_and_wholes_have_both_derivatives() {
    let x = noise(&[3, 4], 1);
    smooth(|_, x| x.slice_update(1, .., -2, x.slice(1, 0..2, 1).square()), &x);
    smooth(|_, x| x.sin().slice_add(0, 1.., 1, x.index(0, 0) * x.index(0, 1)), &x);
    smooth(|_, x| x.index_update(1, 0, x.index(1, 1).exp()), &x);
    smooth(|t, x| t.concat(x.square().split_into(1, 2), 0), &x);
    smooth(|t, x| t.stack(x.sin().unstack(1), 0), &x);
    smooth(|_, x| x.exp().roll(-5, 1).flip(()).move_axis(0, 1).repeat(2, 0).tile([2, 1, 1]), &x);
    smooth(|t, x| t.grid_xy([x.index(0, 0), x.index(0, 1).exp()])[1].square(), &x);
}

#[test]
fn axes_are_moved_split_and_joined() {
    let t = Trace::eager();
    let x = t.range(0, 24, 1).reshape([2, 3, 4]);
    assert_eq!(x.move_axis(-1, 0).shape().dims(), [4, 2, 3]);
    assert_eq!(read(x.move_axis(0, 2)), read(x.permute([1, 2, 0])));
    assert_eq!(read(x.move_axis(2, 1)), read(x.permute([0, 2, 1])));
    let parts = x.split(2, [1, 0, 3]);
    assert_eq!(parts[1].shape().dims(), [2, 3, 0]);
    assert_eq!(read(t.concat(parts, 2)), read(x));
    assert_eq!(read(t.stack(x.unstack(1), 1)), read(x));
    assert_eq!(read(t.concat(x.split_into(1, 3), 1)), read(x));
    assert!(t.zeros(DType::F64, [0, 2]).unstack(0).is_empty());
    let grid = t.grid_xy([t.range(0, 2, 1), t.range(0, 3, 1), t.range(0, 4, 1)]);
    assert!(grid.iter().all(|g| g.shape().dims() == [3, 2, 4]));
    assert_eq!(t.grid_xy([t.range(0, 2, 1)])[0].shape().dims(), [2]);
    assert_eq!(read(t.range(0, 3, 1).roll(-7, 0)), [1.0, 2.0, 0.0]);
}

#[test]
fn what_does_not_fit_is_a_mistake() {
    let t = Trace::eager();
    let (x, none) = (t.ones(DType::F64, [2, 3]), t.zeros(DType::F64, [0]));
    let huge = usize::MAX;
    let wrong = [
        (x.pad_with([(1, 1)], PadMode::Wrap), Problem::Parameter),
        (none.pad_with([(1, 0)], PadMode::Edge), Problem::Shape),
        (x.pad_with([(huge, 1), (0, 0)], PadMode::Reflect), Problem::Shape),
        (x.pad([(huge, 1), (0, 0)], 0), Problem::Shape),
        (x.slice_update(2, .., 1, 0), Problem::Axis),
        (x.slice_update(0, .., 0, 0), Problem::Parameter),
        (x.slice_update(0, .., 1, 0.5).slice_add(0, 0..1, 1, none), Problem::Shape),
        (x.slice_update(1, .., 1, t.ones(DType::F32, [3])), Problem::DType),
        (x.index_update(0, 2, 0.0), Problem::Parameter),
        (x.index_add(0, -3, 0.0), Problem::Parameter),
        (x.index_add(3, 0, 0.0), Problem::Axis),
        (x.index_add(0, 0, x), Problem::Shape),
        (x.move_axis(0, 2), Problem::Axis),
        (x.split_into(1, 2)[0], Problem::Parameter),
        (x.split(1, [1, 1])[0], Problem::Parameter),
        (t.grid([x])[0], Problem::Shape),
    ];
    mistakes(&t, &wrong);
    assert!(x.unstack(2).is_empty());
    assert_eq!(t.check().unwrap_err().mistakes.len(), wrong.len() + 1);
}
