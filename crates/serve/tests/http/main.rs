//! The server seen from outside: bytes in, bytes out.

mod common;
mod native;
