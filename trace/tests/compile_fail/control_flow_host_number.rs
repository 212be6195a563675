use backstitch_trace::{Tensor, control_flow};

#[control_flow(crate = backstitch_trace)]
fn count<'t>(x: Tensor<'t>) -> Tensor<'t> {
    let (mut y, mut steps) = (x, 0);
    while y.lt(10.0) {
        y = y * 2.0;
        steps += 1;
    }
    y + steps
}

fn main() {}
