//! The recipes, one file each: accept → select → connect → copy.

pub(crate) mod local_tcp;
