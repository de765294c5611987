//! A service whose answers can be checked, a server around it, and a client that sends bytes as they are.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use acclimate_data::RawValue;
use acclimate_registry::{Digest, Name, Version};
use acclimate_serve::api::{
    Adaptation, Answer, At, Caller, Choice, ColumnInfo, EventIn, Given, ModelInfo, PatchInfo, PatchSource, PatchVersion, Readiness,
    Recorded, Refusal, ScoreAsk, Served, Service, Source, StatePosition, SupportSet,
};
use acclimate_serve::http::{AdminConfig, Limits, ServeError, Server, ServerConfig, Stopped};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// What a value adds to a score.
fn size(value: &RawValue) -> f64 {
    match value {
        RawValue::Missing => 0.0,
        RawValue::Bool(value) => f64::from(u8::from(*value)),
        RawValue::Integer(value) => *value as f64,
        RawValue::Unsigned(value) => *value as f64,
        RawValue::Number(value) => *value,
        RawValue::Text(text) => text.bytes().map(f64::from).sum(),
        RawValue::List(list) => list.iter().map(|value| 1.0 + size(value)).sum(),
    }
}

/// The score of a row: its values, each times the length of its column's name.
pub(crate) fn score(shared: &Given, row: &Given, patch: Option<&str>) -> f32 {
    let columns = shared.iter().chain(row);
    let sum: f64 = columns.map(|(name, value)| name.len() as f64 * size(value)).sum();
    (sum + 1_000.0 * patch.map_or(0, str::len) as f64) as f32
}

/// Base `films` with patches `films-tab2` of everybody and `secret` of the tenant `a`.
pub(crate) struct Films {
    /// Requests wait here for a permit.
    pub(crate) open: Semaphore,
    /// One permit for each request that has begun.
    pub(crate) begun: Semaphore,
    /// Events as they came, with the base that was named.
    pub(crate) events: Mutex<Vec<(Option<Name>, EventIn)>>,
    /// What the last request asked for.
    pub(crate) last: Mutex<Option<ScoreAsk>>,
}

impl Films {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { open: Semaphore::new(1 << 20), begun: Semaphore::new(0), events: Mutex::default(), last: Mutex::default() })
    }

    fn served(caller: &Caller, ask: &ScoreAsk) -> Result<Served, Refusal> {
        if let Some(base) = ask.base.as_ref().filter(|base| base.as_str() != "films") {
            return Err(Refusal::Unknown { what: format!("the base {base}") });
        }
        let source = |text: &str, version| Source { name: name(text), version, digest: Digest::of(text.as_bytes()) };
        let (patch, at) = match &ask.choice {
            Choice::Base => (None, None),
            Choice::Domain(domain) if domain == "tab=2" => (Some(name("films-tab2")), Some(At::Alias(name("champion")))),
            Choice::Domain(domain) => return Err(Refusal::Unknown { what: format!("the domain {domain}") }),
            Choice::Patch { name, at } => (Some(name.clone()), Some(at.clone())),
        };
        let mine = |patch: &Name| patch.as_str().starts_with("films-") || (patch.as_str() == "secret" && caller.tenant == "a");
        if let Some(patch) = patch.as_ref().filter(|patch| !mine(patch)) {
            return Err(Refusal::Unknown { what: format!("the patch {patch}") });
        }
        let (alias, version) = match at {
            Some(At::Version(version)) => (None, version),
            Some(At::Alias(alias)) => (Some(alias), Version::new(2).unwrap()),
            None => (None, Version::FIRST),
        };
        let adapted = ask.support.as_ref().map(|support| match support {
            SupportSet::Rows(rows) => {
                Adaptation { key: Some(Digest::of(b"rows")), form: "closed_form", steps: 0, rows: rows.len(), cached: false }
            }
            SupportSet::Kept(key) => Adaptation { key: Some(*key), form: "closed_form", steps: 0, rows: 1, cached: true },
        });
        Ok(Served {
            users: None,
            base: source("films", Version::FIRST),
            kind: if patch.is_some() { "merged" } else { "base" },
            patch: patch.map(|patch| PatchSource { source: source(patch.as_str(), version), alias, verdict: None, forced: false }),
            state: None,
            adapted,
            fallback: None,
        })
    }
}

impl Service for Films {
    async fn score(&self, caller: &Caller, ask: ScoreAsk) -> Result<Answer, Refusal> {
        self.begun.add_permits(1);
        drop(self.open.acquire().await.unwrap());
        assert!(!ask.shared.contains_key("fault"), "a fault of the service");
        let served = Self::served(caller, &ask)?;
        let patch = served.patch.as_ref().map(|patch| patch.source.name.as_str());
        let scores = ask.items.iter().map(|row| score(&ask.shared, row, patch)).collect();
        *self.last.lock().unwrap() = Some(ask);
        Ok(Answer { scores, served, unknown: BTreeMap::new() })
    }

    async fn adapt(&self, caller: &Caller, ask: ScoreAsk) -> Result<Served, Refusal> {
        Self::served(caller, &ask)
    }

    async fn record(&self, _caller: &Caller, base: Option<Name>, events: Vec<EventIn>) -> Result<Recorded, Refusal> {
        let mut kept = self.events.lock().unwrap();
        let before = kept.len();
        for event in events {
            if !kept.iter().any(|(_, other)| other.id == event.id) {
                kept.push((base.clone(), event));
            }
        }
        let state = StatePosition { position: kept.len() as u64, event: kept.last().map(|(_, event)| event.id.clone()) };
        Ok(Recorded { recorded: (kept.len() - before) as u64, repeated: 0, late: 0, state })
    }

    async fn look_up(&self, caller: &Caller, _: Name, patch: Name, _: At) -> Result<(), Refusal> {
        let is_there = self.patches(caller).iter().any(|known| known.name == patch);
        if is_there { Ok(()) } else { Err(Refusal::Unknown { what: format!("patch `{patch}`") }) }
    }

    fn patches(&self, caller: &Caller) -> Vec<PatchInfo> {
        let patch = |text: &str| PatchInfo {
            name: name(text),
            base: name("films"),
            versions: vec![PatchVersion {
                version: Version::new(2).unwrap(),
                digest: Digest::of(text.as_bytes()),
                methods: vec!["lora".to_owned()],
                kind: "merged",
                bytes: 1,
            }],
            aliases: BTreeMap::from([(name("champion"), Version::new(2).unwrap())]),
            domains: vec!["tab=2".to_owned()],
            problem: None,
        };
        let mut patches = vec![patch("films-tab2")];
        patches.extend((caller.tenant == "a").then(|| patch("secret")));
        patches
    }

    fn models(&self) -> Vec<ModelInfo> {
        let column = |name: &str, kind, shared| ColumnInfo { name: name.to_owned(), kind, shared, derived: false };
        vec![ModelInfo {
            name: name("films"),
            version: Version::FIRST,
            digest: Digest::of(b"films"),
            columns: vec![
                column("user", "text", true),
                column("time", "number", true),
                column("device", "text", true),
                column("item", "text", false),
                column("genre", "list", false),
                column("price", "number", false),
            ],
            output: "value",
        }]
    }

    fn readiness(&self) -> Readiness {
        Readiness { ready: true, reasons: Vec::new() }
    }

    fn metrics(&self, out: &mut String) {
        out.push_str("films_tests 1\n");
    }

    async fn refresh(&self) -> Vec<String> {
        Vec::new()
    }

    async fn load(&self, patch: Name, _at: Option<At>) -> Result<PatchInfo, Refusal> {
        let caller = Caller { tenant: "a".to_owned(), roles: acclimate_serve::api::Roles::default() };
        self.patches(&caller).into_iter().find(|info| info.name == patch).ok_or(Refusal::Unknown { what: format!("the patch {patch}") })
    }

    async fn unload(&self, patch: Name) -> Result<(), Refusal> {
        self.load(patch, None).await.map(drop)
    }
}

/// A server of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) films: Arc<Films>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Stopped, ServeError>>,
}

/// A config for tests: a free port, no waiting at the end.
pub(crate) fn config() -> ServerConfig {
    let admin = AdminConfig { listen: None, ..AdminConfig::default() };
    ServerConfig { listen: vec!["127.0.0.1:0".parse().unwrap()], admin, drain_ms: 0, ..ServerConfig::default() }
}

pub(crate) fn limited(change: impl FnOnce(&mut Limits)) -> ServerConfig {
    let mut config = config();
    change(&mut config.limits);
    config
}

impl Running {
    pub(crate) fn start(config: ServerConfig) -> Self {
        let films = Films::new();
        let server = Server::bind(config, Arc::clone(&films)).unwrap();
        let (address, admin) = (server.addresses()[0], server.admin_address());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async { drop(stopped.await) }));
        Self { address, admin, films, stop, task }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::to(self.address).await
    }

    /// The answer on a connection of its own.
    pub(crate) async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.client().await.post(path, &[], body.as_ref()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.client().await.get(path).await
    }

    /// Gives the order to stop.
    pub(crate) fn order_to_stop(self) -> impl Future<Output = Stopped> {
        let _ = self.stop.send(());
        async { self.task.await.unwrap().unwrap() }
    }
}

/// A connection.
pub(crate) struct Client(pub(crate) TcpStream);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Status, code, place and message of an error.
    pub(crate) fn error(&self) -> (u16, String, String, String) {
        let json = self.json();
        let part = |key: &str| json["error"][key].as_str().unwrap_or_default().to_owned();
        (self.status, part("code"), part("what"), part("message"))
    }

    pub(crate) fn scores(&self) -> Vec<f32> {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_value(self.json()["scores"].clone()).unwrap()
    }
}

impl Client {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes()).await;
        self.reply().await
    }

    pub(crate) async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.request("POST", path, headers, body).await
    }

    pub(crate) async fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        self.send(&[head.as_bytes(), body].concat()).await;
        self.reply().await
    }

    /// The next answer; panics where the connection ends without one.
    pub(crate) async fn reply(&mut self) -> Reply {
        self.try_reply().await.expect("the connection ended without an answer")
    }

    /// The next answer, or nothing where the connection ends.
    pub(crate) async fn try_reply(&mut self) -> Option<Reply> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if self.0.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return None;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let headers: BTreeMap<String, String> =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = bytes.split_off(end);
        while body.len() < length {
            assert!(self.0.read_buf(&mut body).await.unwrap() > 0, "the connection ended inside an answer");
        }
        assert_eq!(body.len(), length, "more came than one answer");
        Some(Reply { status, headers, body })
    }

    /// Whether the server has closed the connection, once it has.
    pub(crate) async fn closed(&mut self) -> bool {
        let mut rest = [0; 1];
        matches!(self.0.read(&mut rest).await, Ok(0) | Err(_))
    }
}
