use backstitch_trace::Trace;

fn main() {
    let t = Trace::eager();
    let x = t.variable(3.0);
    let tape = t.tape();
    let y = x * x;
    tape.gradient(&y, &x);
    tape.gradient(&y, &x);
}
