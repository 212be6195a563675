use backstitch_trace::{Tensor, control_flow};

#[control_flow(crate = backstitch_trace)]
fn scaled<'t>(x: Tensor<'t>, by: &str) -> Result<Tensor<'t>, std::num::ParseFloatError> {
    let mut y = x;
    while y.lt(10.0) {
        y = y * by.parse::<f64>()?;
    }
    Ok(y)
}

fn main() {}
