//! Programs that answer on a free port of this machine, started and ended by the benchmark.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Time for a server to load its model and listen.
const START: Duration = Duration::from_secs(180);
/// Time for it to end once it is told to.
const END: Duration = Duration::from_secs(30);

/// A server that runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a program and waits until `workers` lines of its output have told an address, `http://127.0.0.1:PORT`. What it says of problems goes to `log`.
    ///
    /// # Errors
    /// It can not be started, or ends before, or takes longer than three minutes.
    pub(crate) fn start(command: &mut Command, workers: usize, log: &Path) -> anyhow::Result<Self> {
        let problems = File::create(log).with_context(|| format!("{}", log.display()))?;
        let named = format!("{command:?}");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(problems).spawn().with_context(|| named.clone())?;
        let output = child.stdout.take().context("its output was asked for")?;
        let (tell, told) = mpsc::channel();
        // It reads on after the address, so that the server can always write.
        thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).for_each(|line| _ = tell.send(line)));
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let (until, mut ready) = (Instant::now() + START, 0);
        while ready < workers.max(1) {
            match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(address) = address_in(&line) {
                        (server.address, ready) = (address, ready + 1);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => bail!("{named} does not listen after {} s; see {}", START.as_secs(), log.display()),
                Err(mpsc::RecvTimeoutError::Disconnected) => bail!("{named} ended; see {}", log.display()),
            }
        }
        // A worker may say so a moment before its socket takes connections.
        while TcpStream::connect(server.address).is_err() {
            anyhow::ensure!(Instant::now() < until, "{named} said {} and takes no connection there; see {}", server.address, log.display());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Peak of the memory that it and its children hold, in MiB; none where the system does not say.
    pub(crate) fn memory_mib(&self) -> Option<f64> {
        self.sum(|process| {
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
        })
    }

    /// Seconds of processor time that it and its children have taken; none where the system does not say. What others do on the machine hardly shows in it.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        self.sum(|process| seconds_in(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?))
    }

    /// Adds something up over the process and its children.
    fn sum(&self, of: impl Fn(u32) -> Option<f64>) -> Option<f64> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        Some(of(id)? + children.split_whitespace().filter_map(|child| of(child.parse().ok()?)).sum::<f64>())
    }
}

/// User and system time in a line of `/proc/PID/stat`, which counts hundredths of a second. The name before them may hold anything, in brackets.
fn seconds_in(line: &str) -> Option<f64> {
    let mut fields = line.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / 100.0)
}

/// The address in a line such as `serving films v000001 on http://127.0.0.1:8787; ...`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}

impl Drop for Server {
    /// Tells it to end, as a system would, so that it can end its children; only what does not is killed.
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let until = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_is_read_out_of_a_sentence() {
        let expected: SocketAddr = "127.0.0.1:40123".parse().unwrap();
        for line in [
            "serving films v000001 on http://127.0.0.1:40123; every route: http://127.0.0.1:40123/docs",
            "ready http://127.0.0.1:40123",
            "http://127.0.0.1:40123.",
        ] {
            assert_eq!(address_in(line), Some(expected), "{line}");
        }
        assert_eq!(address_in("no address here"), None);
        assert_eq!(address_in("http://localhost"), None);
    }

    #[test]
    fn processor_time_stands_after_the_name() {
        let line = "4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 7 7 20 0";
        assert_eq!(seconds_in(line), Some(3.0));
        assert_eq!(seconds_in("4711 (a"), None);
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_server_is_waited_for_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (log, listener) = (folder.path().join("log"), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let script = format!("echo warming; echo ready http://127.0.0.1:1; echo ready http://{address}; exec sleep 600");
        let server = Server::start(&mut shell(&script), 2, &log).unwrap();
        assert_eq!(server.address, address);
        let id = server.child.id();
        drop(server);
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "it has ended and was waited for");
    }

    #[test]
    fn a_server_that_ends_before_it_listens_is_an_error_that_names_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let error = Server::start(&mut shell("echo no model >&2; exit 3"), 1, &log).err().unwrap().to_string();
        assert!(error.contains("ended") && error.contains("log"), "{error}");
        assert_eq!(std::fs::read_to_string(log).unwrap(), "no model\n");
    }
}
