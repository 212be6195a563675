use backstitch_trace::{Tensor, control_flow};

#[control_flow(crate = backstitch_trace)]
fn doubled<'t>(x: Tensor<'t>) -> Tensor<'t> {
    let mut y = x;
    'outer: while y.lt(10.0) {
        while y.gt(-10.0) {
            y = y * 2.0;
            if y.gt(5.0) {
                break 'outer;
            }
        }
    }
    y
}

fn main() {}
