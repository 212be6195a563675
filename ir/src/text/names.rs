//! What values are called in text.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::graph::{Graph, Value};
use crate::index::{Idx, IndexVec};

/// The word that stands behind the operands of a loop, of which there may be
/// none: the only one that is no name.
pub(super) const AFTER_OPERANDS: &str = "carries";

/// Whether names may have this character (see [`Attrs::word`](super::Attrs::word)).
pub(super) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '\'')
}

/// `name` with `_` for what cannot be in a name.
pub(super) fn sanitized(name: &str) -> String {
    name.chars().map(|c| if is_name_char(c) { c } else { '_' }).collect()
}

/// A name of its own for each value of a graph.
pub(crate) struct Names {
    of: IndexVec<Value, Option<Box<str>>>,
}

impl Names {
    /// The names that values were given, made unique.
    pub fn new(g: &Graph) -> Self {
        let mut taken = FxHashSet::<Box<str>>::default();
        let mut copies = FxHashMap::<String, usize>::default();
        let mut name = |v: Value| -> Option<Box<str>> {
            let mut wanted = sanitized(g.name_of(v)?);
            if !wanted.starts_with(|c: char| c.is_alphabetic() || c == '_')
                || wanted == AFTER_OPERANDS
            {
                wanted.insert(0, '_');
            }
            let mut unique = wanted.clone();
            while taken.contains(&*unique) {
                let n = copies.entry(wanted.clone()).or_insert(1);
                *n += 1;
                unique = format!("{wanted}_{n}");
            }
            taken.insert(unique.as_str().into());
            Some(unique.into())
        };
        Self { of: (0..g.value_count()).map(|i| name(Value::new(i))).collect() }
    }

    /// What `v` is called.
    pub fn get(&self, v: Value) -> String {
        match self.of.get(v) {
            Some(Some(name)) => name.to_string(),
            _ => v.to_string(),
        }
    }

    /// What these are called, with commas between.
    pub fn list(&self, values: &[Value]) -> String {
        let names: Vec<String> = values.iter().map(|&v| self.get(v)).collect();
        names.join(", ")
    }
}
