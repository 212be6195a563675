//! `det`: a determinant by expansion along the first row.
//!
//! The minor of the last r rows and some r columns is needed by many larger ones; it is
//! computed once. Level by level, from single elements to the whole matrix, that is
//! l·2ˡ⁻¹ products for the determinant, not the e·l! of a recursion that shares nothing.
//! All minors of a level are one array, so each level is three operations on arrays.

use backstitch::prelude::*;
use ndarray::{Array1, Array2};
use serde::Deserialize;

use super::input::{output, positive, vector};
use super::run::{Function, Recorded, Result};

/// What can be asked for.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("primal", |line, run| {
        let (a, ell) = run.input::<Input>(line)?.parts()?;
        Ok(output(&run.call(|| program(ell), &a, &())?))
    }),
    ("gradient", |line, run| {
        let (a, ell) = run.input::<Input>(line)?.parts()?;
        Ok(output(&run.call(|| program(ell)?.grad(), &a, &())?))
    }),
];

/// Beyond, minors are too many: they double with each row, and so does compilation.
const MOST: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    a: Vec<f64>,
    #[serde(rename = "ell")]
    ell: usize,
}

impl Input {
    fn parts(self) -> Result<(Array1<f64>, usize)> {
        let ell = positive("ell", self.ell)?;
        if ell > MOST {
            return Err(format!("`ell` is {ell}; expansion is for {MOST} at most").into());
        }
        Ok((vector("A", self.a, ell * ell)?, ell))
    }
}

fn program(ell: usize) -> Recorded<Spec, (), Spec> {
    trace(Spec::f64([ell * ell]), (), |t, a, ()| {
        let a = a.reshape([ell, ell]);
        // Of no rows and no columns.
        let mut minors = t.ones(backstitch::DType::F64, [1]);
        for level in levels(ell) {
            let row = a.index(0, (ell - level.columns.nrows()) as i64);
            let elements = row.take(t.constant(level.columns), 0);
            let minor = minors.take(t.constant(level.minors), 0);
            minors = (t.constant(level.signs) * elements * minor).sum_over(0);
        }
        minors.index(0, 0)
    })
}

/// How the minors with some number of columns come from those with one fewer: for the
/// i-th of a minor's columns (rows here) and each minor (columns here), the element's
/// column and the number of the smaller minor, without it.
struct Level {
    columns: Array2<i32>,
    minors: Array2<i32>,
    signs: Array2<f64>,
}

fn levels(ell: usize) -> impl Iterator<Item = Level> {
    // Sets of columns are bits; those of one size count in ascending order.
    let mut sets: Vec<Vec<u32>> = vec![Vec::new(); ell + 1];
    let mut place = vec![0; 1 << ell];
    for set in 0..1u32 << ell {
        let sets = &mut sets[set.count_ones() as usize];
        place[set as usize] = sets.len() as i32;
        sets.push(set);
    }
    (1..=ell).map(move |size| {
        let sets = &sets[size];
        let columns = Array2::from_shape_fn((size, sets.len()), |(i, s)| {
            (0..ell as i32).filter(|j| sets[s] >> j & 1 == 1).nth(i).expect("a set of this size")
        });
        let minors = Array2::from_shape_fn(columns.dim(), |(i, s)| {
            place[(sets[s] ^ (1 << columns[(i, s)])) as usize]
        });
        let signs = Array2::from_shape_fn((size, 1), |(i, _)| if i % 2 == 0 { 1.0 } else { -1.0 });
        Level { columns, minors, signs }
    })
}
