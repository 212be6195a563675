use backstitch_trace::control_flow;

#[control_flow(crate = backstitch_trace)]
fn doubled<'t>(x: backstitch_trace::Tensor<'t>) -> backstitch_trace::Tensor<'t> {
    let (mut y, z) = (x, x);
    while y.lt(10.0) {
        if y.gt(0.0) {
            let z = y * 2.0;
            if z.gt(8.0) {
                break;
            }
        }
        y = y + z;
    }
    y
}

fn main() {}
