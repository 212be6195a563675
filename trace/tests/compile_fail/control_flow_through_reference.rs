use backstitch_trace::{Tensor, control_flow};

#[control_flow(crate = backstitch_trace)]
fn double<'t>(x: &mut Tensor<'t>) {
    if x.lt(10.0) {
        *x = *x * 2.0;
    }
}

fn main() {}
