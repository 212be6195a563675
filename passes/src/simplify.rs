//! Rewriting to something equal and cheaper.
//!
//! Rules are small functions of an operation and its operands. Canonical order:
//! views go outwards (a function of broadcasts is a broadcast of the function), and
//! so do negations; constants are folded. A rule never makes a program worse, and each is one step,
//! so one walk does it.
//!
//! Each rule states its numerical class. All rules here are [`Class::Exact`] (the
//! same bits, NaN payloads aside) or [`Class::Rounds`] (as good an approximation,
//! a few last places apart). The tests evaluate both sides on awkward numbers.

mod conds;
mod deviations;
mod factors;
mod loops;
mod rules;

pub use conds::merge_conds;
pub use deviations::drop_deviations;
pub(crate) use deviations::may_have_deviations;
pub use factors::factor_sums;
pub(crate) use factors::may_factor;
pub use loops::merge_loops;
pub use rules::{Class, RULES, Rule};

use backstitch_ir::graph::Values;
use backstitch_ir::{Graph, Value};
use smallvec::smallvec;

use crate::rebuild::{rebuild, same};

/// The same program, simpler.
pub fn simplify(g: &Graph) -> Graph {
    rebuild(g, |to, n, args| {
        let results = same(to, g, n, args);
        if results.len() != 1 { results } else { smallvec![normal(to, results[0])] }
    })
}

/// The value with rules applied until none applies. Each rule removes an operation
/// or moves a view or a negation outwards, so a value is rewritten a bounded number of times.
pub(crate) fn normal(g: &mut Graph, mut v: Value) -> Value {
    const MOST: usize = 16;
    for _ in 0..MOST {
        let n = g.source(v).0;
        let origin = g.origin(n);
        let args: Values = g.args(n);
        let before = g.set_origin(origin);
        let next = RULES.iter().find_map(|r| (r.apply)(g, v, &args));
        g.set_origin(before);
        match next {
            Some(next) if next != v => v = next,
            _ => break,
        }
    }
    v
}
