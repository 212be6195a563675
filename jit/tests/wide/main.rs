//! Kernels with vectors of all widths give the same bits as the interpreter, and touch
//! nothing but the elements of their parameters.
//!
//! Each parameter has pages of its own, between pages that cannot be read or written; its
//! elements end where its pages end, or begin where they begin. So addresses are as little
//! aligned as they can be, and what reads beyond is found out at once.
#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
mod crowds;
mod loops;
#[path = "../common/random.rs"]
mod random;
mod rows;
mod trial;

use common::Rng;
use trial::{Taken, check_named};

#[test]
fn random_nests() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(500);
    let mut taken = Taken::default();
    for seed in 0..rounds {
        let mut rng = Rng::new(seed);
        let taste = random::Taste::vectors(&mut rng);
        let nest = random::nest_of(&mut rng, taste);
        let mut census = [0; 3];
        random::census(&nest.body, &mut census);
        if census[0] > 0 {
            taken.see(&nest);
        }
        check_named(&|| format!("seed {seed}"), &nest, &mut rng);
    }
    taken.insist(60);
}
