//! Functions as the interpreter and machine code of all widths compute them.

use backstitch_ir::build::NestBuilder;
use backstitch_ir::eval_nest::{cells, eval, pack, unpack};
use backstitch_ir::index::IndexVec;
use backstitch_ir::nest::{Access, At, Const, Mode, Nest, Range};
use backstitch_ir::plan::{BufferDecl, BufferRef, Place, Plan, Step};
use backstitch_ir::scalar::Scalar;
use backstitch_ir::verify_nest::verify;
use backstitch_ir::{Array, Element, Shape, Type};
use backstitch_passes::math::legalise;
use backstitch_runtime::jit::{Options, Vectors, testing};
use backstitch_runtime::{ArrayRef, Backend, Executable};

/// `f` of each tuple of arguments, by the interpreter; machine code gives the same bits with
/// vectors of any width.
pub fn apply<A: Element, R: Element>(f: Scalar, args: &[&[A]]) -> Vec<R> {
    let len = args[0].len();
    let mut b = NestBuilder::new(f.name());
    let params: Vec<_> = args.iter().map(|_| b.param(A::DTYPE, len, Access::In)).collect();
    let out = b.param(R::DTYPE, len, Access::Out);
    let i = b.axis(len);
    b.open(i, Range::Whole, Mode::Vector { lanes: 4 });
    let at = At { strides: [(i, 1)].into_iter().collect(), ..At::default() };
    let xs: Vec<_> = params.iter().map(|&p| b.load(p, at.clone())).collect();
    let y = legalise(&mut b, f, R::DTYPE, &xs);
    b.store(out, at, y);
    b.close(&[]);
    let nest = b.finish();
    assert_eq!(verify(&nest), Ok(()));
    let mut bytes: Vec<_> = args.iter().map(|a| pack(a)).collect();
    bytes.push(vec![0; len * R::DTYPE.size()]);
    let mems: Vec<_> = bytes.iter_mut().map(|b| cells(b)).collect();
    eval(&nest, &mems);
    let results = unpack(bytes.last().unwrap());
    for vectors in [Vectors::Widest, Vectors::Bits256, Vectors::Bits128] {
        let got: Vec<R> = run(&nest, vectors, args);
        let differs = results.iter().zip(&got).position(|(x, y)| !same_bits(x, y));
        if let Some(at) = differs {
            let args: Vec<A> = args.iter().map(|a| a[at]).collect();
            panic!(
                "{} of {args:?} with {vectors:?}: {:?}, not {:?}",
                f.name(),
                got[at],
                results[at]
            );
        }
    }
    results
}

/// Both NaN, or the same.
fn same_bits<T: Element>(a: &T, b: &T) -> bool {
    let (a, b) = (a.to_const(), b.to_const());
    let nan = |c: Const| c.dtype.is_float() && c.to_f64().is_nan();
    a == b || (nan(a) && nan(b))
}

/// The nest's results as machine code with such vectors.
fn run<A: Element, R: Element>(nest: &Nest, vectors: Vectors, args: &[&[A]]) -> Vec<R> {
    let len = args[0].len();
    let mut buffers = IndexVec::new();
    let mut buffer = |dtype, place| buffers.push(BufferDecl { dtype, len, place });
    let whole = |buffer| BufferRef { buffer, offset: 0 };
    let mut refs: Vec<_> =
        (0..args.len()).map(|k| whole(buffer(A::DTYPE, Place::Input(k)))).collect();
    refs.push(whole(buffer(R::DTYPE, Place::Output(0))));
    let mut kernels = IndexVec::new();
    let kernel = kernels.push(nest.clone());
    let plan = Plan {
        name: nest.name.clone(),
        inputs: vec![Type::new(A::DTYPE, [len]); args.len()],
        outputs: vec![Type::new(R::DTYPE, [len])],
        buffers,
        kernels,
        stores: IndexVec::new(),
        steps: vec![Step::Run { kernel, args: refs }],
        arena_bytes: 0,
    };
    let options = Options { vectors, ..Options::default() };
    let code = Executable::with_options(plan, Backend::Cpu, options).expect("it compiles");
    // Long arrays are where the processor's vectors are what is tested.
    let wide = code.stats().wide_functions == 1;
    let is_long = len >= 1000;
    assert!(!is_long || wide == testing::has_wide(vectors), "{} with {vectors:?}", nest.name);
    let array = |a: &&[A]| Array::from_vec(&Shape::from([len]), a.to_vec()).expect("as many");
    let arrays: Vec<Array> = args.iter().map(array).collect();
    let views: Vec<_> = arrays.iter().map(|a| ArrayRef::try_from(a).expect("contiguous")).collect();
    let results = code.call(&views).expect("it runs");
    results[0].view::<R>().expect("the output's type").iter().copied().collect()
}
