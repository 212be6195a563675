use backstitch_trace::{Tensor, control_flow};

#[control_flow(crate = backstitch_trace)]
fn doubled<'t>(x: Tensor<'t>) -> Tensor<'t> {
    let mut y = x;
    loop {
        y = y * 2.0;
        if y.gt(5.0) {
            break y;
        }
    }
}

fn main() {}
