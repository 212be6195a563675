//! From graph to graph and from graph to plan: derivatives, simplification, fusion, lowering.
