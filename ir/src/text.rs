//! The textual form of graphs, nests and plans.
//!
//! Text is what tests are written in, what a failing case prints, and what a
//! panic shows. It holds all there is: `parse(print(x))` is `x`, and
//! `print(parse(t))` is `t` for text that was printed. Types stand on each
//! definition, so that no parser infers anything and a reader can check.
//!
//! One definition or step a line; `#` starts a comment, blank lines and spaces
//! do not count.
//!
//! # Graphs
//!
//! ```text
//! graph @loss(x: f32[32,4], w: f32[4,8]) -> (f32[]) {
//!   z    = contract x, w over (1) (0) batch () ()  : f32[32,8]  # src/main.rs:12:9
//!   %3   = tanh z                                  : f32[32,8]
//!   %4   = mul %3, %3                              : f32[32,8]
//!   loss = reduce %4 by sum over (0, 1)            : f32[]
//!   return loss
//! }
//! ```
//!
//! A value is called by its name, or by its number after `%`. Inputs that were
//! added after other nodes stand behind a `;` in the header, and have a line
//! `ct = input 2 : f32[]` at their place. The graphs of loops and conditionals
//! stand in braces, `while graph … do graph …` and `then graph … else graph …`.
//! A comment says which line of the user's asked for a node and, in an adjoint,
//! which primal value it belongs to.
//!
//! # Nests
//!
//! ```text
//! kernel @scaled(p0: in f32[1000], p1: out f32[1000], p2: inout f32[1]) {
//!   v0 = const 2.0 : f32
//!   for i0:1000 vector 16 (v3 = sum v2 : f32) {
//!     v1 = load p0[i0] : f32
//!     v2 = mul v0, v1 : f32
//!     p1[i0] = v2
//!   }
//!   p2[0] sum= v3
//! }
//! ```
//!
//! Loops are sequential unless `parallel` or `vector` stands behind the extent;
//! `chunk 128 of i0` is the part of the axis that iteration `i0` of the loop
//! around takes. A variable or axis without a definition is declared on top:
//! `var v7 : f32`, `axis i3:10`.
//!
//! # Plans
//!
//! ```text
//! plan @loss arena 4096 {
//!   inputs f32[1000]
//!   outputs f32[]
//!   buffer b0 : f32[1000] input 0
//!   buffer b1 : f32[2] const f32[2] [1.0, 2.0]
//!   buffer b2 : f32[1000] at 0
//!   store s0 : 8
//!   kernel k0 @scaled(p0: in f32[1000], …) {
//!     …
//!   }
//!   run k0(b0, b2+16)
//!   gemm f32 b3[8, 1] = b1[4, 1] * b2+16[8, 1] over m 32 n 8 k 4 batch (10: 256, 0, 256)
//!   call b4 = argsort f32 rows 4 len 9 take 2 (b2) work b7
//!   repeat b5 {
//!     push b6 b2
//!   }
//! }
//! ```
//!
//! `b2+16` is `b2` from element 16 on; `[8, 1]` are the strides between rows and
//! between columns of a matrix; a batch axis has an extent and three strides. The
//! parameters of a routine stand before its operands.

mod attrs;
mod dot;
mod graph;
mod names;
mod nest;
mod parse_graph;
mod parse_nest;
mod parse_plan;
mod plan;
mod source;

pub use attrs::{Attrs, ParseError};
pub(crate) use attrs::{Commas, Constant};
pub use dot::{DotOptions, to_dot};
pub(crate) use graph::{inner_graphs, node_line};
pub(crate) use names::Names;
pub use parse_graph::parse_graph;
pub use parse_nest::parse_nest;
pub use parse_plan::parse_plan;
pub(crate) use plan::{buffer_line, step_line};
