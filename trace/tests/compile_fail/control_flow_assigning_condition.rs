use backstitch_trace::{Tensor, control_flow};

#[control_flow(crate = backstitch_trace)]
fn doubled<'t>(x: Tensor<'t>) -> Tensor<'t> {
    let mut y = x;
    while {
        y = y * 2.0;
        y.lt(10.0)
    } {}
    y
}

fn main() {}
