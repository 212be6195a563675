//! Full-width vector code: kernels as x86-64 machine code of our own.
//!
//! Cranelift's vectors have 128 bits. A kernel whose time goes into vector loops is
//! therefore written here a second time, for AVX-512 or AVX2, from the same
//! [`Nest`] with the same meaning: same operations, same partial results, same bits.
//! What comes out are the bytes of a function with a kernel's signature; it is placed and
//! linked like those that Cranelift makes. What cannot be expressed here is Cranelift's.
//!
//! * `lower`, `vector`, `beside`: statements and loops to instructions on as many registers as they
//!   like; `places`, `strided`, `dense`, `jam`, `hold`, `stream`: what they read and write;
//! * `ahead`: what is asked for before it is read;
//! * `apply`, `compare`, `convert`, `zeros`, `single`, `long`: operations of nests as instructions;
//! * `masks`, `memory`, `combine`: truth values, loads and stores, reductions;
//! * `ops`: what all of these are made of;
//! * `inst`: these instructions;
//! * `dead`, `fold`: instructions that turned out to be of no use, or operands of others;
//! * `schedule`: their order;
//! * `alloc`: registers, by linear scan;
//! * `emit`, `homes`, `code`, `table`: bytes.

mod ahead;
mod alloc;
mod apply;
mod beside;
mod code;
mod combine;
mod compare;
mod convert;
mod dead;
mod dense;
mod emit;
mod fold;
mod hold;
mod homes;
mod inst;
mod jam;
mod long;
mod lower;
mod masks;
mod memory;
mod ops;
mod places;
mod schedule;
mod single;
mod stream;
mod strided;
mod table;
mod vector;
mod zeros;

use backstitch_ir::nest::{Mode, Nest, Stmt};

pub(crate) use self::code::{ALIGN, Encoding};
pub(crate) use self::stream::LARGE;

/// The kernel as a function of a table of its parameters' addresses and a part of its
/// outermost parallel loop (System V's calling convention); nothing if it has no vector
/// loop, or something in it cannot be expressed. Results of `large` bytes or more
/// are stored past the caches.
pub(crate) fn compile(nest: &Nest, encoding: Encoding, large: usize) -> Option<Vec<u8>> {
    if !has_vectors(&nest.body) {
        return None;
    }
    let mut program = lower::lower(nest, encoding, large)?;
    dead::prune(&mut program);
    fold::fold(&mut program);
    schedule::schedule(&mut program, encoding);
    Some(emit::emit(&program, encoding))
}

fn has_vectors(body: &[Stmt]) -> bool {
    body.iter().any(|s| match s {
        Stmt::For(l) => matches!(l.mode, Mode::Vector { .. }) || has_vectors(&l.body),
        _ => false,
    })
}

#[cfg(test)]
mod tests;
