//! Random numbers are the same in every mode.
#![allow(missing_docs)]

use backstitch::prelude::*;
use backstitch::{Array, Backend, DType, Error, Key, Options};

/// What is made of exact operations alone.
fn exact(key: Key<'_>) -> Vec<Tensor<'_>> {
    let keys: [_; 7] = key.fold_in(3).split();
    vec![
        keys[0].uniform(DType::F32, [7, 33]),
        keys[1].uniform(DType::F64, [129]),
        keys[2].bits([3, 5, 2]),
        keys[3].integers(-7..1000, [64]),
        keys[4].bernoulli(0.3, [100]),
        keys[5].to_tensor().trace().ones(DType::F32, [50]).dropout(keys[5], 0.5),
        keys[6].uniform(DType::F64, []),
    ]
}

/// What takes a logarithm, a cosine, or an inverse.
fn smooth(key: Key<'_>) -> Vec<Tensor<'_>> {
    let keys: [_; 5] = key.split();
    vec![
        keys[0].normal(DType::F64, [40]),
        keys[1].truncated_normal(-1.0, 2.0, DType::F64, [40]),
        keys[2].exponential(DType::F64, [40]),
        keys[3].gumbel(DType::F64, [40]),
        keys[4].uniform_between(-2.0, 5.0, DType::F64, [40]),
    ]
}

type Program = fn(Key<'_>) -> Vec<Tensor<'_>>;

/// In eager mode, by the interpreter, and as machine code, with and without
/// optimisation; from a known key, and from one that is an argument.
fn modes(program: Program) -> Result<Vec<Vec<Array>>, Error> {
    let t = Trace::eager();
    let seed = t.key(99);
    let words = seed.to_tensor().array()?;
    let mut all = vec![program(seed).into_iter().map(|x| x.array()).collect::<Result<_, _>>()?];
    let known = trace_tree((), Spec::i32([2]), |t, (), _| t.outputs(&program(t.key(99))))?;
    let passed =
        trace_tree((), Spec::i32([2]), |t, (), k| t.outputs(&program(Key::from_tensor(k))))?;
    for traced in [known, passed] {
        for backend in [Backend::Cpu, Backend::Interpreter] {
            for optimise in [true, false] {
                let options = Options::default().backend(backend).optimise(optimise);
                all.push(traced.compile_with(&options)?.call(&(), &words)?);
            }
        }
    }
    Ok(all)
}

#[test]
fn exact_streams_are_the_same_to_the_bit() -> Result<(), Error> {
    let all = modes(exact)?;
    for other in &all[1..] {
        for (i, (a, b)) in all[0].iter().zip(other).enumerate() {
            assert!(a.same_bits(b), "output {i}: {a:?} and {b:?}");
        }
    }
    Ok(())
}

#[test]
fn smooth_streams_agree() -> Result<(), Error> {
    let all = modes(smooth)?;
    for other in &all[1..] {
        for (a, b) in all[0].iter().zip(other) {
            for (a, b) in a.to_f64_vec().into_iter().zip(b.to_f64_vec()) {
                assert!((a - b).abs() <= 1e-14 * a.abs().max(1.0), "{a} and {b}");
            }
        }
    }
    Ok(())
}
