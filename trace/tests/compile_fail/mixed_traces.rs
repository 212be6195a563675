//! A tensor of one trace is no operand in another.

use backstitch_trace::{Spec, trace};

fn main() {
    let _ = trace(Spec::f64([]), (), |_, x, ()| {
        let inner = trace(Spec::f64([]), (), |_, y, ()| x * y);
        drop(inner);
        x
    });
}
