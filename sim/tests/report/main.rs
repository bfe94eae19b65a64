//! The page of a failed run: what is in it, how large it gets, and that no text can break it.
//!
//! How it looks and works in a browser is checked by `sim/report-check/run.mjs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use sim::report::{
    BakeInPoint, FaultBand, FaultFamily, Lane, LaneKind, Level, MessageArrow, Note, OpSpan, RecordError,
    RunRecord, Verdict, render,
};

mod example;

/// What a page may be at most.
const PAGE_BYTES_MAX: usize = 500_000;

/// One of everything.
fn small() -> RunRecord {
    let lane = |name: &str, kind| Lane { name: name.to_owned(), kind };
    RunRecord {
        format: RunRecord::FORMAT,
        title: "golden".to_owned(),
        seed: Some(u64::MAX),
        mode: "wire".to_owned(),
        options: vec![("nodes".to_owned(), "1".to_owned())],
        verdict: Verdict { kind: "liveness".to_owned(), sentence: "client-1 was never told.".to_owned() },
        duration_us: 50_000,
        lanes: vec![
            lane("client-1", LaneKind::Client),
            lane("node-1", LaneKind::Node),
            lane("registry", LaneKind::Registry),
        ],
        faults: vec![FaultBand {
            id: 1,
            kind: "kill -9".to_owned(),
            family: FaultFamily::Process,
            from_us: 12_000,
            to_us: None,
            lanes: vec![1],
            down: true,
            text: "node-1 is killed.".to_owned(),
        }],
        ops: vec![OpSpan {
            number: 0,
            lane: 0,
            key: "k".to_owned(),
            action: "put \"a\"".to_owned(),
            began_us: 10_000,
            ended_us: None,
            seen: String::new(),
            guilty: true,
        }],
        messages: vec![MessageArrow {
            from_lane: 0,
            to_lane: 1,
            sent_us: 10_000,
            received_us: Some(11_000),
            label: "Put".to_owned(),
            bytes: 120,
        }],
        notes: vec![Note { lane: Some(1), at_us: 12_000, text: "killed".to_owned(), level: Level::Down }],
        bake_in: Some(vec![BakeInPoint { at_us: 0, failing_percent: 12.5 }]),
        replay: "cargo run -p sim -- replay plan.json".to_owned(),
    }
}

/// The data of a page, as its program reads it.
fn data(page: &str) -> serde_json::Value {
    let (_, after) = page.split_once("<script type=\"application/json\" id=\"record\">").unwrap();
    serde_json::from_str(after.split_once("</script>").unwrap().0).unwrap()
}

/// The page is a stored file: a change of it is seen in review. `HOLDFAST_RENEW=1 cargo test -p sim --test report`
/// writes it anew; then open it in a browser, and run `sim/report-check/run.mjs`.
#[test]
fn the_page_is_the_stored_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report/golden.html");
    let page = render(&small());
    if std::env::var_os("HOLDFAST_RENEW").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    let differs = page.lines().zip(stored.lines()).find(|(new, old)| new != old);
    assert!(
        page == stored,
        "the page differs from {}, first at:\n{differs:#?}\nIs it meant? HOLDFAST_RENEW=1 cargo test -p sim --test report",
        path.display()
    );
}

#[test]
fn a_record_survives_its_json() {
    for record in [small(), example::stale_read(), example::hostile(), example::passed()] {
        assert_eq!(RunRecord::from_json(&record.to_json()).unwrap(), record);
    }
}

#[test]
fn what_is_no_record_of_this_version_is_refused() {
    let json = small().to_json();
    let later = json.replacen("\"format\":1", "\"format\":2,\"new\":true", 1);
    let error = RunRecord::from_json(&later).unwrap_err();
    assert_eq!(error, RecordError::OtherFormat { found: 2 });
    assert_eq!(error.to_string(), "this record has format 2; this simulator reads format 1");

    let no_format = RunRecord::from_json("{}").unwrap_err();
    assert_eq!(no_format.to_string(), "this is no record of a run: it names no format");
    for damaged in [&json[..json.len() / 2], "", "[1]", &json.replace("\"replay\"", "\"reply\"")] {
        assert!(matches!(RunRecord::from_json(damaged), Err(RecordError::Damaged(_))), "{damaged}");
    }
    let stray = RunRecord::from_json(&json.replace("\"to_lane\":1", "\"to_lane\":3")).unwrap_err();
    assert_eq!(stray.to_string(), "this is no record of a run: message 0 names lane 3 of 3");
}

#[test]
fn no_text_breaks_the_page() {
    let hostile = example::hostile();
    let page = render(&hostile);
    // As many elements and comments as a page without such texts.
    let harmless = render(&example::stale_read());
    for mark in ["<script", "</script", "<!--", "<img"] {
        assert_eq!(page.matches(mark).count(), harmless.matches(mark).count(), "{mark}");
    }
    assert!(!page.contains('\u{202e}') && !page.contains('\u{2066}') && !page.contains('\u{0}'));
    let data = data(&page);
    assert_eq!(data["verdict"]["kind"], hostile.verdict.kind, "what can be seen is shown as it is");
    assert_eq!(data["replay"], hostile.replay);
    let texts: Vec<&str> =
        data["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert!(texts.contains(&"ключ/鍵/🔑/\u{5d0}\u{5d1}\u{5d2}/e\u{301}\u{301}\u{301}"));
    assert!(texts.iter().any(|text| text.contains("kkk … 4600 characters … kkk")));
    assert!(texts.iter().all(|text| text.chars().count() < 600));
}

#[test]
fn a_typical_failure_fits_whole() {
    let page = render(&example::crowd(1_000, 5_000));
    assert!(page.len() < PAGE_BYTES_MAX, "{} bytes", page.len());
    let data = data(&page);
    assert_eq!(data["messages"].as_array().unwrap().len(), 5_000);
    assert_eq!(data["ops"].as_array().unwrap().len(), 1_000);
    for what in ["messages", "notes", "ops", "faults"] {
        assert_eq!(data["dropped"][what], 0, "{what}");
    }
}

#[test]
fn of_too_much_the_part_near_the_guilty_operations_stays() {
    let mut record = example::crowd(20_000, 60_000);
    for (at, message) in record.messages.iter_mut().enumerate() {
        message.label = format!("{} {at}", "x".repeat(at % 50));
    }
    for at in 0..3_000 {
        record.faults.push(FaultBand { id: 10 + at, text: "f".repeat(300), ..record.faults[0].clone() });
        record.options.push((at.to_string(), "o".repeat(1_000)));
    }
    let note = Note { lane: None, at_us: 1_750_000, text: "near".to_owned(), level: Level::Info };
    record.notes.push(note);
    let page = render(&record);
    assert!(page.len() < PAGE_BYTES_MAX, "{} bytes", page.len());
    assert!(page.len() > PAGE_BYTES_MAX * 3 / 5, "{} bytes: there is room for more", page.len());

    let data = data(&page);
    let rows = |what: &str| data[what].as_array().unwrap().clone();
    assert_eq!(rows("ops").iter().filter(|op| op[7] == 1).count(), 2);
    for (what, all) in
        [("messages", record.messages.len()), ("ops", record.ops.len()), ("faults", record.faults.len())]
    {
        let dropped = usize::try_from(data["dropped"][what].as_u64().unwrap()).unwrap();
        assert!(dropped > 0, "{what}");
        assert_eq!(rows(what).len() + dropped, all, "{what}");
    }
    // Complete up to the distance that it names.
    let within = data["dropped"]["complete_within"].as_u64().unwrap();
    assert!(within > 1_000, "complete within {within} µs");
    let guilty: Vec<(u64, u64)> =
        record.ops.iter().filter(|op| op.guilty).map(|op| (op.began_us, op.ended_us.unwrap())).collect();
    let near = record.messages.iter().filter(|message| {
        let (from, to) = (message.sent_us, message.received_us.unwrap_or(message.sent_us));
        guilty.iter().any(|(began, ended)| from < ended + within && to + within > *began)
    });
    assert!(rows("messages").len() >= near.count());
}

#[test]
fn lanes_that_are_not_there_are_left_out() {
    let mut record = small();
    record.messages[0].to_lane = 7;
    record.ops[0].lane = 7;
    record.notes[0].lane = Some(7);
    record.faults[0].lanes = vec![1, 7];
    let data = data(&render(&record));
    for what in ["messages", "ops", "notes"] {
        assert_eq!(
            (&data[what], &data["dropped"][what]),
            (&serde_json::json!([]), &serde_json::json!(1)),
            "{what}"
        );
    }
    assert_eq!(data["faults"][0]["lanes"], serde_json::json!([1]));
}

#[test]
fn down_times_are_those_of_faults_and_of_notes() {
    let mut record = small();
    assert_eq!(record.down_times(), [(1, 12_000, 50_000)]);
    record.faults[0].to_us = Some(20_000);
    let note = |at_us, level| Note { lane: Some(1), at_us, text: String::new(), level };
    // Down by the fault and until the process is there again; later by itself, for good.
    record.notes.extend([note(24_000, Level::Up), note(30_000, Level::Down)]);
    assert_eq!(record.down_times(), [(1, 12_000, 24_000), (1, 30_000, 50_000)]);
    record.faults[0].down = false;
    record.notes.clear();
    assert_eq!(record.down_times(), []);
}
