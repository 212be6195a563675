//! Golden programs: what they look like in a file, how they run through the public
//! API, and what is compared. `tests/goldens/README.md` describes the files.

pub mod interpret;
pub mod modes;
pub mod operation;
pub mod program;
pub mod report;
pub mod second;
