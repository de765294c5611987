//! Ctrl-C and the request to end: the first asks runs to stop after a checkpoint, the second ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::progress::say_line;

/// Exit code of a program that was interrupted, as shells count it.
pub const EXIT_CODE: i32 = 130;

/// A flag that the first Ctrl-C or SIGTERM sets.
///
/// # Errors
/// The system gives no handler, or the program has one already.
pub fn stop_flag() -> Result<Arc<AtomicBool>, ctrlc::Error> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::SeqCst) {
            std::process::exit(EXIT_CODE);
        }
        say_line("stopping after a checkpoint; press Ctrl-C again to stop at once");
    })?;
    // A terminal that closes is left to the system, so that `nohup` keeps its meaning.
    #[cfg(unix)]
    {
        use signal_hook::{consts::SIGTERM, flag as on_signal};
        let system = ctrlc::Error::System;
        on_signal::register_conditional_shutdown(SIGTERM, EXIT_CODE, Arc::clone(&flag)).map_err(system)?;
        on_signal::register(SIGTERM, Arc::clone(&flag)).map_err(ctrlc::Error::System)?;
    }
    Ok(flag)
}
