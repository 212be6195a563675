//! Where results come from, as rules of sparsity are told.

use backstitch_ir::op::Structure;
use backstitch_ir::{Shape, Type};

use super::samples::{Random, describe, primitive, samples};

/// All multi-indices of a shape in row-major order.
fn places(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..dims.iter().product()).map(move |mut i| {
        let mut place = vec![0; dims.len()];
        for (p, &n) in place.iter_mut().zip(dims).rev() {
            *p = i % n;
            i /= n;
        }
        place
    })
}

#[test]
fn views_and_pieces_are_where_their_structure_says() {
    for (i, s) in samples() {
        let args: Vec<&Type> = s.args.iter().collect();
        let x = Random::for_sample(i).operands(&s);
        let y = primitive(&s.op).eval(&x.iter().collect::<Vec<_>>());
        let what = describe(i, &s);
        match primitive(&s.op).structure(&args) {
            Structure::View(v) => {
                assert_eq!(v.strides.len(), y.dims().len(), "{what}");
                for (k, place) in places(y.dims()).enumerate() {
                    let steps = place.iter().zip(&v.strides).map(|(&i, &s)| i as isize * s);
                    let from = v.offset + steps.sum::<isize>();
                    let from = usize::try_from(from).expect("inside the operand");
                    assert_eq!(y.get(k), x[0].get(from), "{what} at {place:?}");
                }
            }
            Structure::Assemble { fill, pieces } => {
                let strides = Shape::from(y.dims()).strides();
                let mut made = vec![fill; y.dims().iter().product()];
                assert_eq!(pieces.len(), x.len(), "{what}");
                for (x, piece) in x.iter().zip(&pieces) {
                    for (k, place) in places(x.dims()).enumerate() {
                        let at = (0..place.len()).map(|a| {
                            let at = piece.offset[a] + piece.steps[a] * place[a];
                            assert!(at < y.dims()[a], "{what}");
                            at * strides[a] as usize
                        });
                        made[at.sum::<usize>()] = x.get(k);
                    }
                }
                for (k, made) in made.into_iter().enumerate() {
                    let bits = |c: backstitch_ir::Const| c.bits;
                    assert_eq!(y.get(k).map(bits), made.map(bits), "{what} at {k}");
                }
            }
            _ => {}
        }
    }
}
