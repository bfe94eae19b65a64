//! Ids and names are checked when they are made, and every one that is made can be written down and read again.

use holdfast_core::ids::{
    BUCKET_BYTES_MAX, BucketName, KEY_BYTES_MAX, NodeId, ObjectKey, ObjectName, OpId, Partition,
    check_cluster_name,
};
use proptest::prelude::*;

/// The rule for bucket names as it is documented, told another way than the code tells it.
fn is_bucket_name(text: &str) -> bool {
    let plain = "abcdefghijklmnopqrstuvwxyz0123456789";
    (1..=63).contains(&text.len())
        && text.chars().all(|char| plain.contains(char) || char == '-' || char == '.')
        && text.starts_with(|char| plain.contains(char))
        && text.ends_with(|char| plain.contains(char))
}

proptest! {
    #[test]
    fn ids_survive_text_and_bytes(number: u128) {
        let id = NodeId(number);
        prop_assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
        prop_assert_eq!(NodeId::from_slice(&id.to_bytes()), Ok(id));
        prop_assert_eq!(id.to_string().len(), 32);
    }

    #[test]
    fn the_order_of_bytes_and_of_texts_is_the_order_of_ids(a: u128, b: u128) {
        let (a, b) = (OpId(a), OpId(b));
        prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
    }

    #[test]
    fn an_id_is_read_from_32_hex_digits_only(text in "[0-9a-fA-F]{30,34}|\\PC{0,40}|\\+[0-9a-f]{31}") {
        let fits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        prop_assert_eq!(text.parse::<NodeId>().is_ok(), fits);
    }

    #[test]
    fn an_id_is_read_from_16_bytes_only(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(OpId::from_slice(&bytes).is_ok(), bytes.len() == 16);
    }

    #[test]
    fn op_ids_are_version_7_and_ordered_by_time(ms in 0..1_u64 << 48, random: [u8; 10], later: [u8; 10]) {
        let op = OpId::from_parts(ms, random);
        prop_assert_eq!(op.unix_ms(), ms);
        prop_assert_eq!(op.to_bytes()[6] >> 4, 7);
        prop_assert_eq!(op.to_bytes()[8] >> 6, 2);
        if ms + 1 < 1 << 48 {
            prop_assert!(op < OpId::from_parts(ms + 1, later));
        }
    }

    #[test]
    fn bucket_names_follow_their_rule(text in "[a-z0-9.-]{0,70}|[ -~]{0,5}|\\PC{0,3}") {
        prop_assert_eq!(BucketName::new(&text).is_ok(), is_bucket_name(&text), "{}", text);
        prop_assert_eq!(check_cluster_name(&text).is_ok(), is_bucket_name(&text));
        if let Ok(name) = BucketName::new(&text) {
            prop_assert_eq!(name.as_str(), text);
        }
    }

    #[test]
    fn keys_may_be_any_text_without_controls_and_dot_segments(text in "[ab./\\x00é\u{85}]{0,6}|\\PC{0,400}") {
        let mut segments = text.split('/');
        let fits = !text.is_empty()
            && text.len() <= 1024
            && !text.chars().any(|char| matches!(char, '\0'..='\x1f' | '\x7f'..='\u{9f}'))
            && segments.all(|segment| segment != "." && segment != "..");
        prop_assert_eq!(ObjectKey::new(&text).is_ok(), fits, "{:?}", text);
    }

    #[test]
    fn every_name_has_a_partition(bucket in "[a-z]{1,63}", key in "[^\\p{C}./]{1,100}") {
        let partition = ObjectName::new(&bucket, &key).unwrap().partition();
        prop_assert_eq!(Partition::new(partition.number().into()), Ok(partition));
        prop_assert!(partition.index() < usize::from(Partition::COUNT));
    }
}

#[test]
fn names_at_their_limits_are_taken_and_beyond_them_refused() {
    assert!(BucketName::new(&"b".repeat(BUCKET_BYTES_MAX)).is_ok());
    assert!(BucketName::new(&"b".repeat(BUCKET_BYTES_MAX + 1)).is_err());
    assert!(ObjectKey::new(&"k".repeat(KEY_BYTES_MAX)).is_ok());
    assert!(ObjectKey::new(&"k".repeat(KEY_BYTES_MAX + 1)).is_err());
    // The limit counts bytes, not characters.
    assert!(ObjectKey::new(&"é".repeat(KEY_BYTES_MAX / 2)).is_ok());
    assert!(ObjectKey::new(&"é".repeat(KEY_BYTES_MAX / 2 + 1)).is_err());
}

#[test]
fn keys_that_urls_or_terminals_would_spoil_are_refused() {
    for key in ["", ".", "..", "a/..", "../a", "a/./b", "a\0b", "a\nb", "\u{7f}"] {
        assert!(ObjectKey::new(key).is_err(), "{key:?}");
    }
    for key in ["...", "a..b", ".a", "a.", " ", "/", "//", "a/", "100%", "a#b?c", "\"'", "日本語"] {
        assert!(ObjectKey::new(key).is_ok(), "{key:?}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    assert_eq!(
        BucketName::new("").unwrap_err().to_string(),
        "the bucket name is empty: give 1 to 63 of a-z, 0-9, '-' and '.'"
    );
    assert_eq!(
        ObjectKey::new("").unwrap_err().to_string(),
        "the key is empty: give 1 to 1024 bytes of UTF-8"
    );
}

/// Clients compute partitions too, and a cluster's data lies by them: they may never change. The numbers come from an
/// independent implementation of BLAKE3.
#[test]
fn partitions_of_known_names_stay() {
    let known = [
        ("b", "k", 850),
        ("photos", "2024/summer.jpg", 242),
        ("a", "a", 505),
        ("my-bucket", "日本語.txt", 593),
        // Not the same, though bucket and key put together are.
        ("ab", "c", 438),
        ("a", "bc", 852),
        ("0", " ", 757),
        ("photos", "é", 397),
    ];
    for (bucket, key, partition) in known {
        assert_eq!(ObjectName::new(bucket, key).unwrap().partition().number(), partition, "{bucket}/{key}");
    }
}

#[test]
fn partitions_are_numbered_below_1024() {
    assert_eq!(Partition::all().count(), 1024);
    assert!(Partition::all().enumerate().all(|(at, partition)| partition.index() == at));
    assert!(Partition::new(1023).is_ok());
    for number in [1024, 1 << 16, u32::MAX] {
        assert!(Partition::new(number).is_err());
    }
}

#[test]
fn keys_spread_evenly_over_partitions() {
    let mut counts = vec![0; usize::from(Partition::COUNT)];
    for number in 0..64 * 1024 {
        counts[ObjectName::new("b", &format!("key-{number}")).unwrap().partition().index()] += 1;
    }
    // 64 expected, standard deviation 8: beyond 6 of them something is wrong with the bits that are taken.
    assert!(counts.iter().all(|count| (16..=112).contains(count)));
}
