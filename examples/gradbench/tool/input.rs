//! Arrays of inputs, and arrays as outputs.

use ndarray::{Array1, Array2, ArrayD};
use serde_json::Value;

use super::run::Result;

/// Rows of numbers, as messages have them.
pub type Rows = Vec<Vec<f64>>;

/// The matrix of these rows, if it is of these extents.
pub fn matrix(name: &str, rows: &Rows, [n, m]: [usize; 2]) -> Result<Array2<f64>> {
    if rows.len() != n {
        return Err(format!("`{name}` has {} rows, not {n}", rows.len()).into());
    }
    if let Some((i, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != m) {
        return Err(format!("row {i} of `{name}` has {} numbers, not {m}", row.len()).into());
    }
    Ok(Array2::from_shape_vec((n, m), rows.concat())?)
}

/// The vector of these numbers, if there are so many.
pub fn vector(name: &str, numbers: Vec<f64>, n: usize) -> Result<Array1<f64>> {
    if numbers.len() != n {
        return Err(format!("`{name}` has {} numbers, not {n}", numbers.len()).into());
    }
    Ok(numbers.into())
}

/// A size that is not zero.
pub fn positive(name: &str, size: usize) -> Result<usize> {
    if size == 0 { Err(format!("`{name}` is 0").into()) } else { Ok(size) }
}

/// The array as nested lists; of rank 0 as a number.
pub fn output(array: &ArrayD<f64>) -> Value {
    nested(array.shape(), array.as_slice().expect("made row by row"))
}

fn nested(dims: &[usize], numbers: &[f64]) -> Value {
    match dims {
        [] => numbers[0].into(),
        [_] => numbers.into(),
        [n, inner @ ..] => {
            let size = numbers.len() / n.max(&1);
            (0..*n).map(|i| nested(inner, &numbers[i * size..][..size])).collect()
        }
    }
}
