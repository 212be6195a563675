use backstitch_trace::Tree;

#[derive(Tree)]
#[tree(crate = backstitch_trace)]
struct Linear {
    w: f64,
}

fn main() {}
