use backstitch_trace::{Tensor, control_flow};

#[control_flow(crate = backstitch_trace)]
fn collected<'t>(x: Tensor<'t>) -> Vec<Tensor<'t>> {
    let mut all = Vec::new();
    let mut y = x;
    while y.lt(10.0) {
        y = y * 2.0;
        all.push(y);
    }
    all
}

fn main() {}
