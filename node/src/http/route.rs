//! Which part of the client port a path belongs to.

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// An RPC of `Objects`.
    Objects(Rpc),
    /// Another gRPC service: `Cluster`, health, reflection, or an unknown one.
    OtherGrpc,
    /// `/o/…`.
    Plain,
    /// `/healthz`.
    Health,
    /// `/readyz`.
    Ready,
    /// `/metrics`.
    Metrics,
    /// Anything else: the page.
    Page,
}

/// An RPC of `Objects`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rpc {
    Put,
    Get,
    Head,
    Delete,
    List,
    Outcome,
    PutMany,
    GetMany,
    Unknown,
}

impl Rpc {
    /// All of them, in the order of their discriminants.
    pub(super) const ALL: [(Self, &'static str); 9] = [
        (Self::Put, "Put"),
        (Self::Get, "Get"),
        (Self::Head, "Head"),
        (Self::Delete, "Delete"),
        (Self::List, "List"),
        (Self::Outcome, "Outcome"),
        (Self::PutMany, "PutMany"),
        (Self::GetMany, "GetMany"),
        (Self::Unknown, "unknown"),
    ];

    /// Whether its messages hold many bodies.
    pub(super) fn is_many(self) -> bool {
        matches!(self, Self::PutMany | Self::GetMany)
    }
}

/// Sorts a raw path.
pub(super) fn route(path: &str) -> Route {
    if let Some(name) = path.strip_prefix("/holdfast.v1.Objects/") {
        let known = Rpc::ALL.iter().find(|(rpc, text)| *text == name && *rpc != Rpc::Unknown);
        return Route::Objects(known.map_or(Rpc::Unknown, |(rpc, _)| *rpc));
    }
    match path {
        "/healthz" => Route::Health,
        "/readyz" => Route::Ready,
        "/metrics" => Route::Metrics,
        "/o" => Route::Plain,
        _ if path.starts_with("/o/") => Route::Plain,
        _ if path.starts_with("/holdfast.v1.") || path.starts_with("/grpc.") => Route::OtherGrpc,
        _ => Route::Page,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_sorted() {
        assert_eq!(route("/holdfast.v1.Objects/PutMany"), Route::Objects(Rpc::PutMany));
        assert_eq!(route("/holdfast.v1.Objects/unknown"), Route::Objects(Rpc::Unknown));
        assert_eq!(route("/holdfast.v1.Cluster/Status"), Route::OtherGrpc);
        assert_eq!(route("/grpc.health.v1.Health/Check"), Route::OtherGrpc);
        assert_eq!(route("/o/b/healthz"), Route::Plain);
        assert_eq!(route("/other"), Route::Page);
        for (at, (rpc, _)) in Rpc::ALL.iter().enumerate() {
            assert_eq!(at, *rpc as usize);
        }
    }
}
