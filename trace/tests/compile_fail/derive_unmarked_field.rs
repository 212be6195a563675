use backstitch_trace::Tree;

#[derive(Tree)]
#[tree(crate = backstitch_trace)]
struct Layer<T> {
    w: T,
    name: String,
}

fn main() {}
