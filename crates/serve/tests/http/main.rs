//! The server seen from outside: bytes in, bytes out.

mod access;
mod common;
mod infer;
mod limits;
mod native;
mod tls;
mod triton;
