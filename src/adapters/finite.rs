//! What solvers go on with is finite, or else they are told where it is not.

use super::evaluation::EvaluationError;
use crate::bind::FlatParameter;

/// The value, if it is finite.
pub(super) fn finite_value<T: Copy + Into<f64>>(x: T) -> Result<T, EvaluationError> {
    let value = x.into();
    if value.is_finite() { Ok(x) } else { Err(EvaluationError::Value { value }) }
}

/// Whether all of a vector, laid out like the parameters, is finite.
pub(super) fn finite_derivative<T: Copy + Into<f64>>(
    of: &'static str,
    vector: &[T],
    layout: &[FlatParameter],
) -> Result<(), EvaluationError> {
    match vector.iter().position(|&x| !x.into().is_finite()) {
        None => Ok(()),
        Some(i) => Err(non_finite(of, vector[i].into(), i, layout)),
    }
}

#[cold]
fn non_finite(of: &'static str, value: f64, i: usize, layout: &[FlatParameter]) -> EvaluationError {
    let part = layout.iter().find(|part| part.range().contains(&i));
    let part = part.expect("each element of the vector belongs to a parameter");
    let (parameter, element) = (part.name().to_owned(), i - part.offset());
    EvaluationError::Derivative { of, value, parameter, element }
}
