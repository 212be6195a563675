use backstitch_trace::Tree;

#[derive(Tree)]
#[tree(crate = backstitch_trace)]
struct Layer<T: Clone> {
    w: T,
}

fn main() {}
