use backstitch_trace::Tree;

#[derive(Tree)]
#[tree(crate = backstitch_trace)]
struct Layer<T> {
    w: T,
    #[tree(skip)]
    b: Option<T>,
}

fn main() {}
