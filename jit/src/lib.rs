//! From plan to machine code, through Cranelift.
