//! Random nests give the same bits compiled as interpreted.

mod common;
#[path = "common/random.rs"]
mod random;

use backstitch_ir::verify_nest;
use common::{Rng, check_nest};

#[test]
fn random_nests() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1500);
    let mut census = [0; 3];
    for seed in 0..rounds {
        let mut rng = Rng::new(seed);
        let nest = random::nest(&mut rng);
        if let Err(e) = verify_nest::verify(&nest) {
            panic!("seed {seed}: {e:?}");
        }
        random::census(&nest.body, &mut census);
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check_nest(&nest, &mut rng)));
        if let Err(e) = result {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(e);
        }
    }
    assert!(census.iter().all(|&n| n > rounds as usize / 10), "{census:?}");
}

/// As `fuzz/` makes them: from bytes of any kind, and from none.
#[test]
fn nests_of_bytes() {
    let mut bytes = Rng::new(0);
    for round in 0..150 {
        let chosen: Vec<u8> = (0..2 * round)
            .map(|i| match round % 4 {
                0 => 0,
                1 => 255,
                2 => i as u8,
                _ => bytes.bits() as u8,
            })
            .collect();
        let mut rng = Rng::of_bytes(&chosen);
        let taste = random::Taste::vectors(&mut rng);
        let nest = random::nest_of(&mut rng, taste);
        assert_eq!(verify_nest::verify(&nest), Ok(()), "{nest}");
        if random::iterations(&nest) < 1 << 14 {
            check_nest(&nest, &mut rng);
        }
    }
}
