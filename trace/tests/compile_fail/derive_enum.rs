use backstitch_trace::Tree;

#[derive(Tree)]
#[tree(crate = backstitch_trace)]
enum Either<T> {
    Left(T),
    Right(T),
}

fn main() {}
