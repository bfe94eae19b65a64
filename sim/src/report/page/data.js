// What is in the data, and what follows from it: who could have influenced whom, and times in words.

const data = JSON.parse(document.getElementById("record").textContent);

/** Microseconds: the run, and never nothing. */
const END = Math.max(data.duration, 1);
const LEVELS = { info: "", warn: "Warning", error: "Error", up: "Process starts", down: "Process ends" };

const ops = data.ops.map(([number, lane, key, action, began, ended, seen, guilty], index) => ({
  index, number, lane, key, began, ended, guilty: guilty === 1,
  end: ended ?? END,
  keyText: data.texts[key] || "(empty)", action: data.texts[action], seen: data.texts[seen],
  reads: /^(read|get|list|head)\b/i.test(data.texts[action]),
}));
const messages = data.messages.map(([from, to, sent, received, label, bytes]) => ({
  from, to, sent, received, label: data.texts[label], bytes,
}));
const notes = data.notes.map(([lane, at, text, level]) => ({ lane, at, text: data.texts[text], level }));
const faults = data.faults.map((fault) => ({ ...fault, kind: fault.kind || "fault", end: fault.to ?? END }));

const guilty = ops.filter((op) => op.guilty);
const guiltyKeys = new Set(guilty.map((op) => op.key));
guilty.forEach((op, at) => { op.badge = at + 1; });

/** Where a message that never arrived is drawn to end: as long after its sending as most messages take. */
const usualLatency = (() => {
  const all = messages.filter((m) => m.received !== null).map((m) => m.received - m.sent).sort((a, b) => a - b);
  return all.length === 0 ? 1000 : Math.max(all[all.length >> 1], 1);
})();
const byReceipt = messages.filter((m) => m.received !== null).sort((a, b) => a.received - b.received);

/**
 * The messages that an operation can have caused and that can have mattered to its answer: those on some way of messages
 * that leaves its client after the question and is back before the answer, and the lost ones that might have been. Without
 * an answer: those of its client.
 */
function messagesOf(op) {
  if (op.ended === null) {
    return new Set(messages.filter((m) => (m.from === op.lane || m.to === op.lane) && m.sent >= op.began));
  }
  const within = byReceipt.filter((m) => m.sent >= op.began && m.received <= op.ended);
  const reached = data.lanes.map((_, lane) => (lane === op.lane ? op.began : Infinity));
  for (const m of within) {
    if (m.sent >= reached[m.from]) reached[m.to] = Math.min(reached[m.to], m.received);
  }
  const matters = data.lanes.map((_, lane) => (lane === op.lane ? op.ended : -Infinity));
  for (const m of [...within].sort((a, b) => b.sent - a.sent)) {
    if (m.received <= matters[m.to]) matters[m.from] = Math.max(matters[m.from], m.sent);
  }
  const found = within.filter((m) => m.sent >= reached[m.from] && m.received <= matters[m.to]);
  const lost = messages.filter((m) => m.received === null && m.sent >= reached[m.from] && m.sent <= matters[m.from]);
  return new Set([...found, ...lost]);
}
const messagesOfGuilty = new Set(guilty.flatMap((op) => [...messagesOf(op)]));

const laneName = (lane) => data.lanes[lane].name;
const circled = (number) => (number <= 20 ? String.fromCodePoint(0x245f + number) : `(${number})`);
const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** A length of time: `350 µs`, `12.4 ms`, `3.2 s`. */
function span(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  const digits = (value) => String(Number(value.toPrecision(3)));
  return us < 999_500 ? `${digits(us / 1e3)} ms` : us < 100e6 ? `${digits(us / 1e6)} s` : `${Math.round(us / 1e6)} s`;
}

/** A moment: `4.120 s`, with as many digits as steps of `step` need. */
function moment(us, step = 1000) {
  const digits = Math.min(6, Math.max(0, 6 - Math.floor(Math.log10(step))));
  return `${(us / 1e6).toFixed(digits)} s`;
}

/** The guilty operation that was answered last before this one began. */
const answeredBefore = (op) =>
  guilty.filter((other) => other.ended !== null && other.ended < op.began).sort((a, b) => b.ended - a.ended)[0];

/** The faults that began after that answer and were over when this one began: often the reason. */
function faultsBefore(op) {
  const done = answeredBefore(op);
  return done === undefined ? [] : faults.filter((fault) => fault.from >= done.ended && fault.end < op.began);
}

/** When an operation was, told by what came before it (the order is what a reader has to see), and under which faults. */
function whenInWords(op) {
  const answer = op.ended === null ? "never answered" : `answered ${span(op.ended - op.began)} later`;
  const done = answeredBefore(op);
  const open = guilty.filter((other) => other.index < op.index && other !== done && other.end >= op.began);
  const during = faultsIn(op.began, op.ended ?? op.began);
  const between = faultsBefore(op);
  const parts = [`Asked at ${moment(op.began)}`];
  if (done !== undefined) parts.push(`${span(op.began - done.ended)} after ${circled(done.badge)} was answered`);
  if (open.length > 0) parts.push(`while ${open.map((other) => circled(other.badge)).join(" ")} ${open.length === 1 ? "was" : "were"} open`);
  const names = (some) => [...new Set(some.map((fault) => fault.kind))].join(", ");
  return {
    when: `${parts.join(", ")}; ${answer}.`,
    faults: [
      between.length > 0 ? `Between ${circled(done.badge)} and ${circled(op.badge)}: ${names(between)}.` : "",
      during.length > 0 ? `During ${circled(op.badge)}: ${names(during)}.` : "",
    ].filter((text) => text !== "").join(" "),
  };
}

/** The faults that were on in a time, on anybody. */
const faultsIn = (from, to) => faults.filter((fault) => fault.from <= to && fault.end >= from);
