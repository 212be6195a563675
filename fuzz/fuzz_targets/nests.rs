//! A nest from any bytes, on any data: machine code of all generators does what the
//! interpreter does.
#![no_main]

#[path = "../../jit/tests/common/mod.rs"]
mod common;
#[path = "../../jit/tests/common/random.rs"]
mod random;

use backstitch_ir::verify_nest;
use common::{Rng, check_nest};
use libfuzzer_sys::fuzz_target;

/// Iterations of all loops together, above which a nest takes too long.
const MOST: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let mut rng = Rng::of_bytes(bytes);
    let taste =
        if rng.chance(50) { random::Taste::anything() } else { random::Taste::vectors(&mut rng) };
    let nest = random::nest_of(&mut rng, taste);
    assert_eq!(verify_nest::verify(&nest), Ok(()), "{nest}");
    if random::iterations(&nest) <= MOST {
        check_nest(&nest, &mut rng);
    }
});
