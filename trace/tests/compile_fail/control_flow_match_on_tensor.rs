use backstitch_trace::{Tensor, control_flow};

#[control_flow(crate = backstitch_trace)]
fn absolute<'t>(x: Tensor<'t>) -> Tensor<'t> {
    match x.gt(0.0) {
        true => x,
        false => -x,
    }
}

fn main() {}
