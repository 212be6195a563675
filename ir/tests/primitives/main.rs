//! Every rule of every primitive, on every sample: types against values, values
//! against layouts, derivatives against differences and against each other,
//! batches against lanes, structure against values, parameters against text.
//!
//! A new primitive is tested by being in the list and giving samples.

mod batches;
mod derivatives;
mod samples;
mod structure;
mod types;
mod values;
