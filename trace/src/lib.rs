//! Tensors, tapes and transformations: what users write.
