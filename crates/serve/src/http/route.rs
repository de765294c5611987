use crate::api::Roles;

/// Something that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it is answered.
    pub listener: Listener,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; `{name}` is any part between two slashes.
    pub path: &'static str,
    /// Who may ask.
    pub needs: Needs,
    /// What is done.
    pub call: Call,
}

/// A listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// That of those who ask.
    Public,
    /// That of the operator.
    Admin,
}

/// What a key must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// No key.
    Nothing,
    /// Any key.
    Key,
    /// A key that scores.
    Score,
    /// A key that adapts.
    Adapt,
    /// The token of the operator, or a key that may do the same.
    Admin,
}

impl Needs {
    /// The role that is needed and is not there.
    pub(crate) fn lacking(self, roles: Roles) -> Option<&'static str> {
        match self {
            Self::Score if !roles.score => Some("score"),
            Self::Adapt if !roles.adapt => Some("adapt"),
            Self::Admin if !roles.admin => Some("admin"),
            _ => None,
        }
    }
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Scores of rows.
    Score,
    /// Rows in the order of their scores.
    Rank,
    /// A support set, kept under a key.
    Adapt,
    /// Events.
    Events,
    /// The patches that are served.
    Patches,
    /// Whether the process runs.
    Live,
    /// Whether it can answer.
    Ready,
    /// Counts for Prometheus.
    Metrics,
    /// The description of all this.
    OpenApi,
    /// The same for people.
    Docs,
    /// Name and extensions of the server.
    ServerMetadata,
    /// The columns of a model.
    ModelMetadata,
    /// Whether a model can answer.
    ModelReady,
    /// Scores of tensors.
    Infer,
    /// The models that there are.
    Index,
    /// Reads the registry again.
    Refresh,
    /// Loads a patch.
    Load,
    /// Lets a patch go.
    Unload,
    /// What the operator looks at.
    Status,
}

/// Everything that is answered.
pub const ROUTES: &[Route] = &[
    public("POST", "/v1/score", Needs::Score, Call::Score),
    public("POST", "/v1/rank", Needs::Score, Call::Rank),
    public("POST", "/v1/adapt", Needs::Adapt, Call::Adapt),
    public("POST", "/v1/events", Needs::Adapt, Call::Events),
    public("GET", "/v1/patches", Needs::Key, Call::Patches),
    public("GET", "/healthz", Needs::Nothing, Call::Live),
    public("GET", "/readyz", Needs::Nothing, Call::Ready),
    public("GET", "/metrics", Needs::Key, Call::Metrics),
    public("GET", "/openapi.json", Needs::Nothing, Call::OpenApi),
    public("GET", "/docs", Needs::Nothing, Call::Docs),
    public("GET", "/v2", Needs::Key, Call::ServerMetadata),
    public("GET", "/v2/health/live", Needs::Nothing, Call::Live),
    public("GET", "/v2/health/ready", Needs::Nothing, Call::Ready),
    public("GET", "/v2/models/{model}", Needs::Key, Call::ModelMetadata),
    public("GET", "/v2/models/{model}/versions/{version}", Needs::Key, Call::ModelMetadata),
    public("GET", "/v2/models/{model}/ready", Needs::Key, Call::ModelReady),
    public("GET", "/v2/models/{model}/versions/{version}/ready", Needs::Key, Call::ModelReady),
    public("POST", "/v2/models/{model}/infer", Needs::Score, Call::Infer),
    public("POST", "/v2/models/{model}/versions/{version}/infer", Needs::Score, Call::Infer),
    public("POST", "/v2/repository/index", Needs::Key, Call::Index),
    admin("POST", "/admin/refresh", Call::Refresh),
    admin("POST", "/admin/patches/{patch}/load", Call::Load),
    admin("POST", "/admin/patches/{patch}/unload", Call::Unload),
    admin("GET", "/admin/status", Call::Status),
    admin("GET", "/metrics", Call::Metrics),
    admin("GET", "/healthz", Call::Live),
];

const fn public(method: &'static str, path: &'static str, needs: Needs, call: Call) -> Route {
    Route { listener: Listener::Public, method, path, needs, call }
}

const fn admin(method: &'static str, path: &'static str, call: Call) -> Route {
    Route { listener: Listener::Admin, method, path, needs: Needs::Admin, call }
}
