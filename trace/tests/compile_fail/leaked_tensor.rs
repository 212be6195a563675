use backstitch_trace::{Spec, trace};

fn main() {
    let mut leaked = None;
    let _ = trace(Spec::f64([]), (), |_, x, ()| {
        leaked = Some(x);
        x
    });
}
