//! Nests that break one rule each.

use smallvec::smallvec;

use super::*;
use crate::build::NestBuilder;
use crate::index::Idx;
use crate::nest::{Access, At, Param, ScalarOp};

fn at(strides: &[(Axis, i64)]) -> At {
    At { strides: strides.iter().copied().collect(), ..At::default() }
}

/// Stores zeros over two axes, the outer one parallel.
fn fill(len: usize, extents: [usize; 2], strides: [i64; 2]) -> Nest {
    let mut b = NestBuilder::new("fill");
    let y = b.param(DType::F32, len, Access::Out);
    let (i, j) = (b.axis(extents[0]), b.axis(extents[1]));
    b.open(i, Range::Whole, Mode::Parallel);
    b.open(j, Range::Whole, Mode::Sequential);
    let zero = b.float(DType::F32, 0.0);
    b.store(y, at(&[(i, strides[0]), (j, strides[1])]), zero);
    b.close(&[]);
    b.close(&[]);
    b.finish()
}

fn says(nest: &Nest, what: &str) -> bool {
    verify(nest).is_err_and(|m| m.iter().any(|m| m.contains(what)))
}

#[test]
fn accesses_are_in_bounds() {
    assert_eq!(verify(&fill(12, [4, 3], [3, 1])), Ok(()));
    assert!(says(&fill(11, [4, 3], [3, 1]), "11 elements"));
    assert!(says(&fill(12, [4, 3], [-3, 1]), "-9..=2"));
    assert_eq!(verify(&fill(0, [0, 3], [3, 1])), Ok(()));
}

#[test]
fn parallel_iterations_write_apart() {
    assert_eq!(verify(&fill(12, [4, 3], [1, 4])), Ok(()));
    assert!(says(&fill(12, [4, 3], [2, 1]), "same element"));
    assert!(says(&fill(12, [4, 3], [0, 1]), "same element"));
}

#[test]
fn an_axis_with_one_value_shares_a_stride() {
    // Outer and inner loops have the same stride; one of them runs once.
    assert_eq!(verify(&fill(4, [4, 1], [1, 1])), Ok(()));
    assert_eq!(verify(&fill(4, [4, 1], [-1, 1])).map_err(|m| m.len()), Err(1));
    assert_eq!(verify(&fill(4, [1, 4], [1, 1])), Ok(()));
    assert!(says(&fill(5, [4, 2], [1, 1]), "same element"));
}

#[test]
fn chunks_tell_themselves_apart() {
    let chunked = |len: usize, by_chunk: i64| {
        let mut b = NestBuilder::new("chunked");
        let y = b.param(DType::F32, len, Access::Out);
        let (c, i) = (b.axis(3), b.axis(10));
        b.open(c, Range::Whole, Mode::Parallel);
        b.open(i, Range::Chunk { of: c, size: 4 }, Mode::Vector { lanes: 4 });
        let zero = b.float(DType::F32, 0.0);
        b.store(y, at(&[(c, by_chunk), (i, 1)]), zero);
        b.close(&[]);
        b.close(&[]);
        b.finish()
    };
    assert_eq!(verify(&chunked(10, 0)), Ok(()));
    // Positions within a chunk: 0..=3. No two iterations of the vector
    // loop meet, but those of the parallel loop do.
    assert_eq!(verify(&chunked(4, -4)).map_err(|m| m.len()), Err(1));
    assert!(says(&chunked(11, 1), "0..=11"));
}

#[test]
fn variables_are_visible_and_typed() {
    let mut nest = fill(12, [4, 3], [3, 1]);
    let wrong = nest.vars.push(DType::F64);
    let op = ScalarOp::Sqrt;
    nest.body.insert(0, Stmt::Let { var: wrong, op, args: smallvec![Var::new(0)] });
    assert!(says(&nest, "v0 is not visible"));
    nest.body.swap(0, 1);
    assert!(says(&nest, "no sqrt from f32 to f64"));
}

#[test]
fn what_is_only_read_is_not_written() {
    let mut nest = fill(12, [4, 3], [3, 1]);
    nest.params[Param::new(0)].access = Access::In;
    assert!(says(&nest, "only read"));
}

#[test]
fn carried_variables_are_of_loops_in_order() {
    let running = |mode: &str, init: &str, next: &str| {
        let text = format!(
            "kernel @t(p0: out f32[4]) {{\n  v0 = const 1.0 : f32\n  v1 = const 2 : i64\n  \
             for i0:4{mode} carry (v2 = {init} then {next} : f32) {{\n    v3 = add v2, v0 : f32\n    \
             p0[i0] = v3\n  }}\n}}"
        );
        crate::text::parse_nest(&text).expect("a nest")
    };
    assert_eq!(verify(&running("", "v0", "v3")), Ok(()));
    assert!(says(&running(" parallel", "v0", "v3"), "carries variables out of order"));
    assert!(says(&running(" vector 4", "v0", "v3"), "carries variables out of order"));
    assert!(says(&running("", "v3", "v3"), "v3 is not visible"));
    assert!(says(&running("", "v0", "v1"), "v1 should be f32"));
}

#[test]
fn vector_loops_are_innermost() {
    let mut nest = fill(12, [4, 3], [3, 1]);
    let Some(Stmt::For(outer)) = nest.body.last_mut() else { panic!() };
    outer.mode = Mode::Vector { lanes: 3 };
    assert!(says(&nest, "inside a vector loop"));
    assert!(says(&nest, "3 lanes"));
}
