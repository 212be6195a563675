use backstitch_trace::{Tensor, control_flow};

#[control_flow(crate = backstitch_trace)]
fn forever<'t>(x: Tensor<'t>) -> Tensor<'t> {
    while x.lt(10.0) {
        let _ = x * 2.0;
    }
    x
}

fn main() {}
