use backstitch_trace::control_flow;

#[control_flow(crate = backstitch_trace)]
async fn twice(x: backstitch_trace::Tensor<'_>) -> backstitch_trace::Tensor<'_> {
    x * 2.0
}

fn main() {}
