//! Laws of the log of events and of the state that it moves.

mod asking;
mod crash;
mod damage;
mod faults;
mod kill;
mod model;
mod world;
