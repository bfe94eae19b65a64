//! Terms, ballots and versions are ordered as the protocol needs it; a version's text is canonical.

use holdfast_core::ids::NodeId;
use holdfast_core::term::{Ballot, ConfigVersion, Term, Version};
use proptest::prelude::*;

/// Small and large numbers, so that equal parts are met as well as extreme ones.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..3_u64, any::<u64>(), Just(u64::MAX)]
}

fn any_term() -> impl Strategy<Value = Term> {
    let node = prop_oneof![(0..3_u128), any::<u128>(), Just(u128::MAX)].prop_map(NodeId);
    (number(), number(), node).prop_map(|(config, round, node)| Term {
        config: ConfigVersion(config),
        round,
        node,
    })
}

fn any_ballot() -> impl Strategy<Value = Ballot> {
    (any_term(), number()).prop_map(|(term, seq)| Ballot { term, seq })
}

proptest! {
    #[test]
    fn a_version_survives_its_text(ballot in any_ballot()) {
        let version = Version(ballot);
        prop_assert_eq!(version.to_text().parse::<Version>(), Ok(version));
        prop_assert_eq!(version.to_text(), version.to_string());
        // It fits in an HTTP ETag as it is.
        prop_assert!(version.to_text().bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
    }

    #[test]
    fn equal_versions_have_one_text(text in "(0|1|00|01|A|a|g|\\+1|-|[0-9a-f]{15,18}){0,2}(-(0|1|00|a|A|[0-9a-f]{31,33})){0,5}") {
        if let Ok(version) = text.parse::<Version>() {
            prop_assert_eq!(version.to_text(), text);
        }
    }

    #[test]
    fn versions_from_anywhere_never_panic(text in "\\PC{0,80}") {
        let _ = text.parse::<Version>();
    }

    #[test]
    fn config_outranks_round_outranks_node_outranks_sequence(a in any_ballot(), b in any_ballot()) {
        let parts = |ballot: &Ballot| (ballot.term.config.0, ballot.term.round, ballot.term.node.0, ballot.seq);
        prop_assert_eq!(a.cmp(&b), parts(&a).cmp(&parts(&b)));
        prop_assert_eq!(Version(a).cmp(&Version(b)), a.cmp(&b));
        prop_assert!(Ballot::ZERO <= a && Term::ZERO <= a.term);
    }

    #[test]
    fn the_next_term_outranks_the_one_before(term in any_term(), config in number(), node: u128) {
        prop_assume!(term.round < u64::MAX);
        let next = term.next(ConfigVersion(config), NodeId(node));
        prop_assert!(next > term);
        prop_assert_eq!(next.node, NodeId(node));
        prop_assert_eq!(next.config, term.config.max(ConfigVersion(config)));
    }
}

#[test]
fn a_version_is_written_as_it_always_was() {
    let term = Term { config: ConfigVersion(1), round: 26, node: NodeId(0xbeef) };
    assert_eq!(Version(Ballot { term, seq: 255 }).to_text(), "1-1a-ff-beef");
    assert_eq!(Version(Ballot::ZERO).to_text(), "0-0-0-0");
}

#[test]
fn texts_that_are_not_canonical_are_refused() {
    let refused = [
        "",
        "0",
        "0-0-0",
        "0-0-0-0-0",
        "0-0-0-",
        "-0-0-0",
        "01-0-0-0",
        "0-00-0-0",
        "A-0-0-0",
        "+1-0-0-0",
        " 0-0-0-0",
        "0-0-0-0 ",
        "0x1-0-0-0",
        "10000000000000000-0-0-0",
        "0-10000000000000000-0-0",
        "0-0-10000000000000000-0",
        "0-0-0-100000000000000000000000000000000",
        "\"0-0-0-0\"",
        "é-0-0-0",
    ];
    for text in refused {
        assert!(text.parse::<Version>().is_err(), "{text:?}");
    }
    let largest = format!("{:x}-{0:x}-{0:x}-{:x}", u64::MAX, u128::MAX);
    assert_eq!(largest.parse::<Version>().unwrap().to_text(), largest);
}
