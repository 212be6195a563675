//! Derivatives of structured control flow: graphs inside graphs.

mod checkpoint;
mod cond;
mod fixed_point;
mod joint;
mod loop_jvp;
mod loop_vjp;
mod region;
mod stacks;

pub use checkpoint::{Keep, checkpoint};
pub(crate) use cond::{cond_jvp, cond_vjp};
pub use fixed_point::fixed_point;
pub(crate) use loop_jvp::loop_jvp;
pub(crate) use loop_vjp::loop_vjp;
pub use region::inline_regions;
pub(crate) use region::{region_jvp, region_vjp};
pub(crate) use stacks::{add_stacks, zeros_like};

use backstitch_ir::{Graph, Value};

use crate::rebuild::{Map, rebuild_into, same};

/// A copy of the graph's live part with the same inputs, whose outputs are yet to
/// be set, and the images of its inputs and outputs.
pub(crate) fn open(g: &Graph) -> (Graph, Vec<Value>, Vec<Value>) {
    let mut to = Graph::new(g.name.clone());
    let mut map = Map::filled(None, g.value_count());
    for &v in g.inputs() {
        map[v] = Some(to.input(g.ty(v).clone(), g.name_of(v)));
    }
    rebuild_into(&mut to, g, &mut map, g.outputs(), |to, n, args| same(to, g, n, args));
    let image = |v: &Value| map[*v].expect("inputs and outputs are copied");
    let (inputs, outputs) = (g.inputs().iter().map(image), g.outputs().iter().map(image));
    let (inputs, outputs) = (inputs.collect(), outputs.collect());
    (to, inputs, outputs)
}
