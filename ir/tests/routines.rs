//! Routines on matrices, directly: where arrays lie does not matter, extents that
//! no memory holds are no panic.
#![allow(missing_docs)]

use backstitch_ir::DType;
use backstitch_ir::routine::{
    Cholesky, Lu, Routine, Sliced, Task, Triangle, TriangularSolve, Word,
};

fn routines(n: usize, k: usize) -> Vec<Routine> {
    let (dtype, batch) = (DType::F64, 1);
    let lu = |task| Routine::Lu(Lu { dtype, batch, n, task });
    let solve =
        |triangle| Routine::TriangularSolve(TriangularSolve { dtype, batch, n, k, triangle });
    vec![
        Routine::Cholesky(Cholesky { dtype, batch, n }),
        solve(Triangle::LOWER),
        solve(Triangle::LOWER.transposed()),
        solve(Triangle::UPPER),
        solve(Triangle::UPPER.with_unit_diagonal()),
        lu(Task::Factor),
        lu(Task::Solve { k, transpose: false }),
        lu(Task::Solve { k, transpose: true }),
        lu(Task::Cofactors),
    ]
}

/// A number for each place, large on the diagonal of rows of `n`.
fn number(i: usize, n: usize) -> f64 {
    let wave = (i as f64 * 12.9898).sin();
    // The row behind a factor holds exchanges.
    if i >= n * n {
        (i - n * n) as f64
    } else if i.is_multiple_of(n + 1) {
        n as f64
    } else {
        wave
    }
}

#[test]
fn bits_do_not_depend_on_where_arrays_lie() {
    for (n, k) in [(3, 1), (17, 5), (50, 1), (50, 70), (130, 3)] {
        for routine in routines(n, k) {
            let signature = routine.signature();
            let run = |shift: usize| {
                let args: Vec<Vec<f64>> = (signature.args.iter())
                    .map(|&(_, len)| (0..shift + len).map(|i| number(i.saturating_sub(shift), n)))
                    .map(Iterator::collect)
                    .collect();
                let args: Vec<_> = args.iter().map(|a| f64::wrap(&a[shift..])).collect();
                let mut work = vec![Word::MAX; shift + signature.words];
                let mut result = vec![f64::NAN; shift + signature.result.1];
                let out = f64::wrap_mut(&mut result[shift..]);
                routine.run(&args, &mut work[shift..], out).unwrap();
                result[shift..].iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            let first = run(0);
            for shift in 1..8 {
                assert!(run(shift) == first, "{routine}, moved by {shift}");
            }
        }
    }
}

#[test]
fn extents_without_bound_have_a_signature() {
    for routine in routines(usize::MAX, usize::MAX) {
        assert_eq!(routine.signature().result.1, usize::MAX, "{routine}");
    }
}
