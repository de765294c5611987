use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

/// What a server under test does.
#[derive(Clone, Copy)]
struct Behaviour {
    /// How long an answer takes.
    delay: Duration,
    /// Every so many requests of the server are refused; 0: none.
    refuses: usize,
    /// Whether a connection ends after one answer.
    closes: bool,
    /// Whether all connections share one worker.
    alone: bool,
}

const QUICK: Behaviour = Behaviour { delay: Duration::ZERO, refuses: 0, closes: false, alone: false };

/// A server of blocking threads; it ends with the process. Gives how often it was asked, and how many connections it has had.
fn serve(behaviour: Behaviour) -> (SocketAddr, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, counts) = (listener.local_addr().unwrap(), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
    let (of_server, one) = (counts.clone(), Arc::new(Mutex::new(())));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            of_server[1].fetch_add(1, Ordering::SeqCst);
            let (counts, one) = (of_server.clone(), one.clone());
            thread::spawn(move || answer(stream, behaviour, &counts[0], &one));
        }
    });
    (address, counts)
}

fn answer(mut stream: TcpStream, behaviour: Behaviour, asked: &AtomicUsize, one: &Mutex<()>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        assert_eq!(body, b"{\"items\":[1]}", "the body comes whole");
        let count = asked.fetch_add(1, Ordering::SeqCst) + 1;
        {
            let _held = behaviour.alone.then(|| one.lock().unwrap());
            thread::sleep(behaviour.delay);
        }
        let status = if behaviour.refuses > 0 && count.is_multiple_of(behaviour.refuses) { "503 Busy" } else { "200 OK" };
        let close = if behaviour.closes { "connection: close\r\n" } else { "" };
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n{close}\r\n{{}}");
        if stream.write_all(text.as_bytes()).is_err() || behaviour.closes {
            return;
        }
    }
}

fn asks() -> Arc<[Ask]> {
    vec![Ask::post("/v1/score", "{\"items\":[1]}".into())].into()
}

fn load(rate: f64, warm_up: f64, seconds: f64) -> OpenLoop {
    OpenLoop { rate, warm_up, seconds }
}

#[test]
fn every_request_is_sent_once_and_none_is_faster_than_the_server() {
    let (address, counts) = serve(Behaviour { delay: Duration::from_millis(20), ..QUICK });
    let measured = run(address, &asks(), load(200.0, 0.25, 0.5)).unwrap();
    assert_eq!((measured.requests, counts[0].load(Ordering::SeqCst)), (100, 150), "the warm-up is sent and not counted");
    assert!(measured.errors.is_empty() && measured.p50_ms >= Some(20.0), "{measured:?}");
    assert_eq!(counts[1].load(Ordering::SeqCst), CONNECTIONS, "connections are kept");
}

/// One after the other at 10 ms each and due at one a millisecond: request k can not be answered before 10 (k + 1) ms, and was due at k ms.
#[test]
fn what_a_stalled_server_keeps_waiting_counts() {
    let (address, _) = serve(Behaviour { delay: Duration::from_millis(10), alone: true, ..QUICK });
    let measured = run(address, &asks(), load(1000.0, 0.0, 0.1)).unwrap();
    assert!(measured.errors.is_empty(), "{measured:?}");
    assert!(measured.p50_ms >= Some(10.0 * 50.0 - 49.0) && measured.p99_ms >= Some(10.0 * 99.0 - 98.0), "{measured:?}");
}

#[test]
fn refusals_are_counted_and_no_quantile_hides_them() {
    let (address, _) = serve(Behaviour { refuses: 4, ..QUICK });
    let measured = run(address, &asks(), load(400.0, 0.0, 0.5)).unwrap();
    assert_eq!(measured.errors.get("status 503"), Some(&50));
    assert!(measured.p50_ms.is_some() && measured.p99_ms.is_none() && !measured.holds(f64::INFINITY), "{measured:?}");
}

#[test]
fn a_server_that_closes_is_connected_to_again() {
    let (address, counts) = serve(Behaviour { closes: true, ..QUICK });
    let measured = run(address, &asks(), load(300.0, 0.0, 0.5)).unwrap();
    assert!(measured.errors.is_empty(), "{measured:?}");
    assert!(counts[1].load(Ordering::SeqCst) >= 150);
}

#[test]
fn what_is_never_answered_is_an_error() {
    let (address, _) = serve(Behaviour { delay: Duration::from_secs(3600), ..QUICK });
    let measured = run(address, &asks(), load(100.0, 0.0, 0.2)).unwrap();
    assert_eq!(measured.errors.get("no answer in time"), Some(&20));
    assert_eq!(measured.p50_ms, None);
}

#[test]
fn a_peak_is_no_more_than_the_server_can_do() {
    let (address, _) = serve(Behaviour { delay: Duration::from_millis(10), ..QUICK });
    let rate = peak(address, &asks(), 4, 0.5).unwrap();
    assert!(rate > 0.0 && rate <= 4.0 * 100.0, "four connections of ten milliseconds: {rate}");
    let (refusing, _) = serve(Behaviour { refuses: 2, ..QUICK });
    assert!(peak(refusing, &asks(), 2, 0.2).is_err());
}

#[test]
fn nobody_there_and_no_load_are_errors() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(run(free, &asks(), load(10.0, 0.0, 0.5)).is_err());
    let (address, _) = serve(QUICK);
    for rate in [0.0, -1.0, f64::NAN, 1e12] {
        assert!(run(address, &asks(), load(rate, 0.0, 1.0)).is_err(), "{rate}");
    }
    assert!(run(address, &Vec::new().into(), load(10.0, 0.0, 1.0)).is_err());
}
