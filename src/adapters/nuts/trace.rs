//! What traces store of a draw: a variable for each parameter.

use std::collections::HashMap;

use backstitch_trace::{Spec, Tree};
use nuts_rs::{HasDims, ItemType, Storable, Value};

use super::LogDensity;
use crate::bind::FlatParameter;

/// The axis of all parameters together: what nuts-rs calls it.
const ALL: &str = "unconstrained_parameter";

/// What a trace calls parameters that are one array without a name.
const UNNAMED: &str = "x";

/// A parameter in a trace.
pub(super) struct Variable {
    name: String,
    axes: Vec<String>,
    part: FlatParameter,
}

impl Variable {
    pub(super) fn new(part: &FlatParameter) -> Self {
        let name = if part.name().is_empty() { UNNAMED } else { part.name() }.to_owned();
        let axes = (0..part.dims().len()).map(|i| format!("{name}_dim_{i}")).collect();
        Self { name, axes, part: part.clone() }
    }
}

impl<P> HasDims for LogDensity<'_, P> {
    fn dim_sizes(&self) -> HashMap<String, u64> {
        let size = |n: usize| u64::try_from(n).expect("addresses have at most 64 bits");
        let all = self.variables.iter().map(|variable| variable.part.range().len()).sum();
        let axes = self.variables.iter().flat_map(|variable| {
            let sizes = variable.part.dims().iter().map(|&n| size(n));
            variable.axes.iter().cloned().zip(sizes)
        });
        axes.chain([(ALL.to_owned(), size(all))]).collect()
    }
}

fn variable<'a, P>(density: &'a LogDensity<'_, P>, name: &str) -> Option<&'a Variable> {
    density.variables.iter().find(|variable| variable.name == name)
}

/// A draw as traces store it: parameter by parameter.
#[derive(Clone, PartialEq, Debug)]
pub struct Draw {
    pub(super) vector: Vec<f64>,
}

impl Draw {
    /// All parameters, as they are laid out in [`Bound::layout`](crate::Bound::layout).
    pub fn as_slice(&self) -> &[f64] {
        &self.vector
    }
}

impl<P: Tree<Spec> + Clone> Storable<LogDensity<'_, P>> for Draw {
    fn names<'a>(parent: &'a LogDensity<'_, P>) -> Vec<&'a str> {
        parent.variables.iter().map(|variable| variable.name.as_str()).collect()
    }

    fn item_type(_parent: &LogDensity<'_, P>, _item: &str) -> ItemType {
        ItemType::F64
    }

    fn dims<'a>(parent: &'a LogDensity<'_, P>, item: &str) -> Vec<&'a str> {
        let axes = variable(parent, item).map(|variable| variable.axes.as_slice());
        axes.unwrap_or_default().iter().map(String::as_str).collect()
    }

    fn get_all<'a>(&'a mut self, parent: &'a LogDensity<'_, P>) -> Vec<(&'a str, Option<Value>)> {
        let value = |part: &FlatParameter| match (part.dims(), self.vector.get(part.range())) {
            (_, None) => None,
            ([], Some(elements)) => Some(Value::ScalarF64(elements[0])),
            (_, Some(elements)) => Some(Value::F64(elements.to_vec())),
        };
        let variables = parent.variables.iter();
        variables.map(|variable| (variable.name.as_str(), value(&variable.part))).collect()
    }
}
