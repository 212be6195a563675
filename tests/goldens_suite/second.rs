//! Second derivatives against differences of first ones.
//!
//! Few programs of the files say what their second derivatives are, but each that
//! has a gradient can be asked: along a random direction `v`, the product of the
//! second derivatives with `v` is the slope of the gradient, which differences of
//! fourth order tell, `(8 (g(h) - g(-h)) - (g(2h) - g(-2h))) / 12 h`. Two step sizes
//! say how much the differences themselves can be trusted.

use backstitch::{Array, DType, Error, Shape};

use super::modes::{Extra, arrays, eager_at};
use super::program::{Program, Ref};

/// How a check came out.
pub enum Outcome {
    /// Both agree.
    Agrees,
    /// Differences say nothing: there is a kink or a steep place nearby.
    Unclear,
    /// They do not agree.
    Differs(String),
}

/// The number of elements up to which programs are checked.
const FEW: usize = 64;
const STEP: f64 = 1e-3;
const TOLERANCE: f64 = 1e-6;
/// Where two step sizes differ by more than this, neither is believed.
const TRUSTED: f64 = 1e-3;

/// Checks a program whose sources are small inputs in double precision; `None` for
/// others.
pub fn check(program: &Program) -> Result<Option<Outcome>, Error> {
    let inputs = arrays(&program.inputs);
    let input = |name: &Ref| match *name {
        Ref::Input(k) if inputs[k].dtype() == DType::F64 => Some(k),
        _ => None,
    };
    let sources: Option<Vec<usize>> = program.sources().iter().map(input).collect();
    let Some(sources) = sources else { return Ok(None) };
    let elements: usize = sources.iter().map(|&k| inputs[k].ty().len()).sum();
    if elements == 0 || elements > FEW || program.expect.error.is_some() {
        return Ok(None);
    }

    let mut random = Random::new(&program.name);
    let direction = |k: &usize| {
        let ty = inputs[*k].ty();
        array(&ty.shape, (0..ty.len()).map(|_| random.next()).collect())
    };
    let vectors: Vec<Array> = sources.iter().map(direction).collect();
    let mut extra = Extra::of(program)?;
    extra.tangents.clear();
    extra.vectors.clone_from(&vectors);
    let products = eager_at(program, &inputs, &extra)?.hvp;

    extra.vectors.clear();
    let gradient = |step: f64| {
        let mut moved = inputs.clone();
        for (&k, v) in sources.iter().zip(&vectors) {
            let (x, v) = (inputs[k].to_f64_vec(), v.to_f64_vec());
            let data = x.iter().zip(v).map(|(x, v)| x + step * v).collect();
            moved[k] = array(&inputs[k].ty().shape, data);
        }
        let gradients = eager_at(program, &moved, &extra)?.gradients;
        Ok::<_, Error>(flat(&gradients, &inputs, &sources))
    };
    let slope = |h: f64| {
        let [a, b, c, d] = [gradient(h)?, gradient(-h)?, gradient(2.0 * h)?, gradient(-2.0 * h)?];
        let each = |i: usize| (8.0 * (a[i] - b[i]) - (c[i] - d[i])) / (12.0 * h);
        Ok::<Vec<f64>, Error>((0..a.len()).map(each).collect())
    };
    let (coarse, fine) = (slope(STEP)?, slope(STEP / 2.0)?);
    let got = flat(&products, &inputs, &sources);
    let scale = fine.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    let doubt = |i: usize| (coarse[i] - fine[i]).abs();
    if !(0..fine.len()).all(|i| doubt(i) <= TRUSTED * scale) {
        return Ok(Some(Outcome::Unclear));
    }
    let agrees = |&i: &usize| (got[i] - fine[i]).abs() <= TOLERANCE * scale + 10.0 * doubt(i);
    let wrong = (0..fine.len()).find(|i| !agrees(i));
    Ok(Some(match wrong {
        None => Outcome::Agrees,
        Some(i) => Outcome::Differs(format!(
            "element {i} of the second derivatives is {}, by differences {}",
            got[i], fine[i]
        )),
    }))
}

/// All elements, zeros for what is not there.
fn flat(found: &[Option<Array>], inputs: &[Array], sources: &[usize]) -> Vec<f64> {
    let elements = |(array, &k): (&Option<Array>, &usize)| match array {
        Some(array) => array.to_f64_vec(),
        None => vec![0.0; inputs[k].ty().len()],
    };
    found.iter().zip(sources).flat_map(elements).collect()
}

fn array(shape: &Shape, data: Vec<f64>) -> Array {
    Array::from_vec(shape, data).expect("as many elements as before")
}

/// Numbers in [-1, 1) that depend on a name alone.
struct Random(u64);

impl Random {
    fn new(name: &str) -> Self {
        Self(
            name.bytes()
                .fold(1, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
        )
    }

    fn next(&mut self) -> f64 {
        // Knuth's multiplier for 64-bit congruential generators.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}
