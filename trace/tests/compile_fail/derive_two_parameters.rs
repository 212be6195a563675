use backstitch_trace::Tree;

#[derive(Tree)]
#[tree(crate = backstitch_trace)]
struct Layer<T, A> {
    w: T,
    #[tree(skip)]
    activation: A,
}

fn main() {}
