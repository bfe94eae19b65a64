//! Where one cluster's facts lie in the registry.

use holdfast_core::error::Invalid;
use holdfast_core::ids::{NodeId, check_cluster_name};

/// The keys of one cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Checks the cluster's name.
    pub fn new(cluster: &str) -> Result<Self, Invalid> {
        Ok(Self { prefix: format!("/holdfast/{}/", check_cluster_name(cluster)?) })
    }

    /// All of them begin with it.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A node's registration.
    pub fn node(&self, id: NodeId) -> String {
        format!("{}nodes/{id}", self.prefix)
    }

    /// The layout.
    pub fn layout(&self) -> String {
        format!("{}layout", self.prefix)
    }

    /// What a key under the prefix holds. `None`: nothing that this version knows.
    pub(super) fn parse(&self, key: &str) -> Option<Fact> {
        let rest = key.strip_prefix(&self.prefix)?;
        if rest == "layout" {
            return Some(Fact::Layout);
        }
        rest.strip_prefix("nodes/")?.parse().ok().map(Fact::Node)
    }
}

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fact {
    /// The layout.
    Layout,
    /// A node's registration.
    Node(NodeId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let keys = Keys::new("main").unwrap();
        let id = NodeId(7);
        assert_eq!(keys.node(id), "/holdfast/main/nodes/00000000000000000000000000000007");
        assert_eq!(keys.parse(&keys.node(id)), Some(Fact::Node(id)));
        assert_eq!(keys.parse(&keys.layout()), Some(Fact::Layout));
        assert_eq!(keys.parse("/holdfast/main/nodes/x"), None);
        assert_eq!(keys.parse("/holdfast/main2/layout"), None);
    }

    #[test]
    fn a_cluster_name_cannot_reach_into_another_cluster() {
        assert!(Keys::new("a/nodes").is_err());
        assert!(Keys::new("").is_err());
    }
}
