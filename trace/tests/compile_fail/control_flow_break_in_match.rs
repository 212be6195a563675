use backstitch_trace::{Tensor, control_flow};

#[control_flow(crate = backstitch_trace)]
fn doubled<'t>(x: Tensor<'t>, n: usize) -> Tensor<'t> {
    let mut y = x;
    while y.lt(10.0) {
        y = y * 2.0;
        match n {
            0 => break,
            _ => {}
        }
    }
    y
}

fn main() {}
