/// Something that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; `{name}` is any part between two slashes.
    pub path: &'static str,
    /// Who may ask.
    pub needs: Needs,
    /// What is done.
    pub call: Call,
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
}

/// Everything that is answered.
pub const ROUTES: &[Route] = &[
    Route { method: "POST", path: "/v1/score", needs: Needs::Score, call: Call::Score },
    Route { method: "POST", path: "/v1/rank", needs: Needs::Score, call: Call::Rank },
    Route { method: "POST", path: "/v1/adapt", needs: Needs::Adapt, call: Call::Adapt },
    Route { method: "POST", path: "/v1/events", needs: Needs::Adapt, call: Call::Events },
    Route { method: "GET", path: "/v1/patches", needs: Needs::Key, call: Call::Patches },
    Route { method: "GET", path: "/healthz", needs: Needs::Nothing, call: Call::Live },
    Route { method: "GET", path: "/readyz", needs: Needs::Nothing, call: Call::Ready },
    Route { method: "GET", path: "/metrics", needs: Needs::Key, call: Call::Metrics },
    Route { method: "GET", path: "/openapi.json", needs: Needs::Nothing, call: Call::OpenApi },
    Route { method: "GET", path: "/docs", needs: Needs::Nothing, call: Call::Docs },
];
