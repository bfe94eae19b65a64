// The page around the timeline: words, tables, filters, and moving about.

const by = (id) => document.getElementById(id);

/** An HTML element with its children; texts stay texts. */
function html(name, properties = {}, ...children) {
  const it = Object.assign(document.createElement(name), properties);
  it.append(...children);
  return it;
}

// ---- Words ----

function fillHeader() {
  document.body.classList.toggle("passed", data.passed);
  by("verdict").textContent = data.verdict.kind;
  by("title").textContent = data.title;
  by("sentence").textContent = data.verdict.sentence;
  const facts = [
    data.seed === null ? "" : `seed ${data.seed}`,
    `${data.mode} mode`,
    `${span(END)} simulated`,
    plural(data.ops.length + data.dropped.ops, "operation"),
    plural(data.messages.length + data.dropped.messages, "message"),
    plural(data.faults.length + data.dropped.faults, "fault"),
  ];
  by("facts").append(...facts.filter((fact) => fact !== "").map((fact) => html("span", {}, fact)));
  by("replay").textContent = data.replay;
  by("options").append(...data.options.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
  const left = [
    [data.dropped.messages, "message"], [data.dropped.notes, "note"], [data.dropped.ops, "operation"], [data.dropped.faults, "fault"],
  ].filter(([count]) => count > 0).map(([count, one]) => plural(count, one));
  by("dropped").hidden = left.length === 0;
  const within = data.dropped.complete_within;
  const near = guilty.length > 0 ? "the guilty operations" : "the end";
  by("dropped").textContent = `Left out to keep this page small: ${left.join(", ")}, those farthest from ${near}.`
    + (within === null ? "" : ` Messages and notes are complete within ${span(within)} of them.`);
}

function fillGuilty() {
  by("guilty").hidden = guilty.length === 0;
  by("to-guilty").hidden = guilty.length === 0;
  const several = guiltyKeys.size > 1;
  if (!several && guilty.length > 0) by("guilty-head").append(" on key ", html("code", { title: guilty[0].keyText }, guilty[0].keyText));
  by("guilty").querySelector("tbody").append(...guilty.map((op) => {
    const words = whenInWords(op);
    const when = html("td", { className: "when" }, words.when, " ", html("span", { className: "during" }, words.faults));
    const button = html("button", { type: "button", className: "badge", ariaLabel: `Show operation ${op.badge}` }, String(op.badge));
    button.addEventListener("click", () => {
      goTo(around(op.began, op.ended ?? op.began + 20_000));
      choose({ op });
      timeline.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
    });
    const light = (on) => () => { lit.hover = on ? { op } : null; draw(); };
    const row = html("tr", {},
      html("td", {}, button),
      html("td", { className: "who" }, laneName(op.lane)),
      html("td", {}, html("bdi", {}, op.action), ...(several ? [" on ", html("code", {}, op.keyText)] : [])),
      html("td", {}, html("bdi", {}, op.ended === null && op.seen === "" ? "nothing" : op.seen)),
      when);
    row.addEventListener("pointerenter", light(true));
    row.addEventListener("pointerleave", light(false));
    button.addEventListener("focus", light(true));
    button.addEventListener("blur", light(false));
    return row;
  }));
}

function fillFaults() {
  const list = by("faults").querySelector("ol");
  list.append(...faults.map((fault) => {
    const time = fault.to === null ? `from ${moment(fault.from)} to the end` : `${moment(fault.from)} to ${moment(fault.to)}, ${span(fault.to - fault.from)}`;
    const name = html("button", { type: "button" }, html("span", { className: `mark ${fault.family}` }), fault.kind);
    name.addEventListener("click", () => {
      goTo(around(fault.from, fault.end));
      choose({ fault });
      timeline.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
    });
    const during = guilty.filter((op) => fault.from <= (op.ended ?? op.began) && fault.end >= op.began);
    const item = html("li", {}, html("span", { className: "first" }, name, html("span", { className: "fine" }, time)), html("span", {}, fault.text));
    const after = guilty.find((op) => faultsBefore(op).includes(fault));
    const relation = [
      during.length > 0 ? `On during ${during.map((op) => circled(op.badge)).join(" ")}` : "",
      after !== undefined ? `Between ${circled(answeredBefore(after).badge)} and ${circled(after.badge)}` : "",
    ].filter((text) => text !== "").join(", ");
    if (relation !== "") item.append(html("span", { className: "during" }, relation));
    return item;
  }));
  if (faults.length === 0) by("faults").append(html("p", { className: "fine" }, "None."));
}

/** The legend names what is there. */
function fillLegend() {
  const sample = (...parts) => {
    const it = element("svg", { width: 26, height: 14, "aria-hidden": "true" });
    it.append(...parts);
    return it;
  };
  const bar = (name) => element("path", { d: "M1 2H25V12H1Z", class: name });
  const line = (name, d = "M1 12L20 4") => element("path", { d, class: name });
  const entries = [
    guilty.length > 0 && [sample(bar("bar-sample")), "guilty operation"],
    ops.some((op) => !op.reads) && [sample(bar("op kin changes")), "change"],
    ops.some((op) => op.reads) && [sample(bar("op kin reads")), "read"],
    guiltyKeys.size > 0 && ops.some((op) => !guiltyKeys.has(op.key)) && [sample(bar("op other changes")), "on another key"],
    messagesOfGuilty.size > 0 && [sample(line("arrow important"), element("path", { d: "M25 2L18.5 7.5L16 2.5Z", class: "head important" })), "message that a guilty operation may depend on"],
    messages.length > 0 && [sample(line("arrow"), element("path", { d: "M25 2L18.5 7.5L16 2.5Z", class: "head" })), "other message"],
    messages.some((m) => m.received === null) && [sample(line("arrow lost"), line("cross", "M17 1l7 7m0 -7l-7 7")), "lost"],
    data.downs.length > 0 && [sample(bar("off"), element("path", { d: "M1 2H25V12H1Z", fill: "url(#hatch)" })), "process is down"],
    ...[...new Set(faults.map((fault) => fault.family))].map((family) => [sample(bar(`band ${family}`), element("path", { d: "M1 2V12M25 2V12", class: `band-end ${family}` })), `${family} fault`]),
  ];
  by("legend").append(...entries.filter(Boolean).map(([picture, words]) => html("li", {}, picture, words)));
}

function fillKeys() {
  const keys = [...new Map(ops.map((op) => [op.key, op.keyText]))];
  keys.sort((a, b) => Number(guiltyKeys.has(b[0])) - Number(guiltyKeys.has(a[0])) || (a[1] < b[1] ? -1 : 1));
  const short = (text) => (text.length > 48 ? `${text.slice(0, 40)}…${text.slice(-6)}` : text);
  by("key").append(html("option", { value: "" }, "all"),
    ...keys.map(([key, text]) => html("option", { value: String(key) }, `${short(text)}${guiltyKeys.has(key) ? "  (guilty)" : ""}`)));
}

/** How likely it fails when everything is drawn anew from a moment on. */
function fillBakeIn() {
  const points = data.bake_in;
  by("bake-in").hidden = points.length === 0;
  if (points.length === 0) return;
  const [left, top, width, height] = [46, 8, 480, 120];
  const px = (us) => left + (us / END) * width;
  const py = (percent) => top + height * (1 - Math.min(Math.max(percent, 0), 100) / 100);
  const line = points.map((point, at) => `${at === 0 ? "M" : "L"}${px(point.at_us).toFixed(1)} ${py(point.failing_percent).toFixed(1)}`).join("");
  const parts = [];
  for (const percent of [0, 50, 100]) {
    parts.push(element("path", { d: `M${left} ${py(percent)}H${left + width}`, class: "grid" }));
    parts.push(element("text", { x: left - 6, y: py(percent) + 4, "text-anchor": "end" }, `${percent} %`));
  }
  for (const fault of faults) parts.push(element("path", { d: `M${px(fault.from)} ${top}H${Math.max(px(fault.end), px(fault.from) + 1)}V${top + height}H${px(fault.from)}Z`, class: `band ${fault.family}` }));
  for (const op of guilty) parts.push(element("path", { d: `M${px(op.began)} ${top}V${top + height}`, class: "guilty-line" }));
  parts.push(element("path", { d: `${line}L${px(points.at(-1).at_us)} ${py(0)}L${px(points[0].at_us)} ${py(0)}Z`, class: "area" }));
  parts.push(element("path", { d: line, class: "curve" }));
  parts.push(...points.map((point) => element("circle", { cx: px(point.at_us), cy: py(point.failing_percent), r: 2.2, class: "dot" })));
  parts.push(element("text", { x: left, y: top + height + 16 }, "0 s"), element("text", { x: left + width, y: top + height + 16, "text-anchor": "end" }, moment(END, 100_000)));
  const svg = by("bake-in").querySelector("svg");
  svg.setAttribute("viewBox", `0 0 ${left + width + 6} ${top + height + 22}`);
  svg.append(...parts);
  const turn = points.findIndex((point, at) => at > 0 && point.failing_percent >= 50 && points[at - 1].failing_percent < 50);
  by("bake-in-text").textContent = turn > 0
    ? `Drawn anew from ${moment(points[turn - 1].at_us)} on, ${Math.round(points[turn - 1].failing_percent)} % of the runs fail; from ${moment(points[turn].at_us)} on, ${Math.round(points[turn].failing_percent)} %: what decided it happened between.`
    : `Drawn anew from a moment on, between ${Math.round(Math.min(...points.map((p) => p.failing_percent)))} % and ${Math.round(Math.max(...points.map((p) => p.failing_percent)))} % of the runs fail.`;
}

// ---- What is pointed at ----

const tip = by("tip");

/** Title, lines. */
function about(it) {
  if (it.op) {
    const { op } = it;
    return [`${op.guilty ? `${circled(op.badge)} ` : ""}${op.action}`, [
      ["key", op.keyText], ["told", op.ended === null ? op.seen || "nothing" : op.seen], ["client", `${laneName(op.lane)}, operation ${op.number}`],
      ["asked", moment(op.began, 1)], ["answered", op.ended === null ? "never" : `${span(op.ended - op.began)} later`],
      ["faults", faultsIn(op.began, op.ended ?? op.began).map((fault) => fault.kind).join(", ")],
    ], op.guilty ? "bad" : ""];
  }
  if (it.fault) {
    const { fault } = it;
    return [fault.kind, [["", fault.text], ["on", fault.lanes.map(laneName).join(", ")], ["from", moment(fault.from)],
      ["to", fault.to === null ? "the end" : `${moment(fault.to)}, ${span(fault.to - fault.from)}`]], ""];
  }
  if (it.message) {
    const { message: m } = it;
    return [m.label, [["", `${laneName(m.from)} → ${laneName(m.to)}, ${plural(m.bytes, "byte")}`], ["sent", moment(m.sent, 1)],
      ["arrived", m.received === null ? "never" : `${span(m.received - m.sent)} later`]], ""];
  }
  if (it.note) {
    const { note } = it;
    return [note.text, [["", LEVELS[note.level]], ["on", note.lane === null ? "" : laneName(note.lane)], ["at", moment(note.at, 1)],
      ["", it.more > 0 ? `and ${plural(it.more, "more note")} here: zoom in` : ""]], note.level === "error" ? "bad" : ""];
  }
  return [`${plural(it.sum.sent, "message")} sent by ${laneName(it.sum.lane)}`, [["lost", it.sum.lost > 0 ? String(it.sum.lost) : ""], ["", "zoom in to see arrows"]], ""];
}

function showTip(it, px, py) {
  const [title, lines, tone] = about(it);
  tip.className = tone;
  tip.replaceChildren(html("strong", {}, title), html("dl", {}, ...lines.filter(([, value]) => value !== "").flatMap(([name, value]) =>
    [html("dt", {}, name), html("dd", {}, value)])));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const room = document.documentElement.clientWidth;
  const left = Math.min(Math.max(8, px + 14), room - box.width - 8);
  const below = py + 18 + box.height < innerHeight;
  tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(below ? py + 18 : Math.max(8, py - box.height - 14))}px)`;
}

/** Chooses something: its words stay until Esc, or until something else is chosen. */
function choose(it) {
  lit.chosen = it;
  lit.hover = null;
  if (it === null) tip.hidden = true;
  draw();
}

/** After each drawing: the words of what is chosen follow it, and the line below tells what is seen. */
function onDrawn() {
  const seen = messages.filter((m) => inView(m.sent, m.received ?? m.sent));
  const digits = Math.min(1000, (view.to - view.from) / 100);
  const words = `${moment(view.from, digits)} to ${moment(view.to, digits)} (${span(view.to - view.from)})`;
  const many = activity === null ? "" : `; ${plural(seen.length, "message")} in view, too many for arrows: bars show how many each lane sent. Zoom in.`;
  by("state").textContent = words + many;
  drawOverview();
  const { chosen, hover } = lit;
  if (chosen !== null && hover === null) {
    const at = chosen.op?.began ?? chosen.fault?.from ?? chosen.message?.sent ?? chosen.note?.at ?? null;
    const end = chosen.op?.end ?? chosen.fault?.end ?? chosen.message?.received ?? at;
    const y = chosen.op ? opY(chosen.op) + ROW : chosen.fault ? FAULTS_TOP + (chosen.fault.row + 1) * FAULT_ROW : chosen.point?.[1];
    if (at === null || !inView(at, end)) tip.hidden = true;
    else {
      const box = timeline.getBoundingClientRect();
      showTip(chosen, box.left + Math.max(chosen.point?.[0] ?? x(at), view.left), box.top + (y ?? noteY(chosen.note ?? { lane: null })) - 14);
    }
  }
}

// ---- Moving about ----

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
let flight = 0;

/** Moves the view, in a quarter of a second. */
function goTo(target) {
  cancelAnimationFrame(flight);
  const [begin, from, to] = [performance.now(), view.from, view.to];
  if (calm()) return jump(target);
  const step = (now) => {
    const done = Math.min(1, Math.max(0, now - begin) / 250);
    const soft = 1 - (1 - done) ** 3;
    jump({ from: from + (target.from - from) * soft, to: to + (target.to - to) * soft });
    if (done < 1) flight = requestAnimationFrame(step);
  };
  flight = requestAnimationFrame(step);
}

function jump({ from, to }) {
  Object.assign(view, limited(from, to));
  draw();
}

const zoom = (factor, at = (view.from + view.to) / 2) => ({ from: at - (at - view.from) * factor, to: at + (view.to - at) * factor });
const shift = (us) => {
  const length = view.to - view.from;
  const from = Math.min(Math.max(view.from + us, 0), END - length);
  return { from, to: from + length };
};

/** The operation before or after the chosen one, in the order of time. */
function step(places) {
  const all = ops.filter(shownOp);
  if (all.length === 0) return;
  const now = all.indexOf(lit.chosen?.op);
  const first = places > 0 ? all.findIndex((op) => op.began >= view.from) : all.findLastIndex((op) => op.began <= view.to);
  const op = all[now === -1 ? Math.max(first, 0) : Math.min(Math.max(now + places, 0), all.length - 1)];
  if (op.began < view.from || op.began > view.to) jump(shift(op.began - (view.from + view.to) / 2));
  choose({ op });
}

const KEYS = {
  ArrowLeft: () => goTo(shift((view.from - view.to) / 5)),
  ArrowRight: () => goTo(shift((view.to - view.from) / 5)),
  "+": () => goTo(zoom(0.5)),
  "=": () => goTo(zoom(0.5)),
  "-": () => goTo(zoom(2)),
  0: () => goTo({ from: 0, to: END }),
  g: () => goTo(guiltyPart()),
  n: () => step(1),
  p: () => step(-1),
  Escape: () => choose(null),
};

function listen() {
  by("to-guilty").addEventListener("click", KEYS.g);
  by("to-all").addEventListener("click", KEYS[0]);
  by("zoom-in").addEventListener("click", KEYS["+"]);
  by("zoom-out").addEventListener("click", KEYS["-"]);
  by("key").addEventListener("change", (event) => { show.key = event.target.value === "" ? null : Number(event.target.value); draw(); });
  by("show-messages").addEventListener("change", (event) => { show.messages = event.target.checked; draw(); });
  by("show-notes").addEventListener("change", (event) => { show.notes = event.target.checked; draw(); });
  by("copy").addEventListener("click", copy);
  timeline.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || KEYS[event.key] === undefined) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  addEventListener("keydown", (event) => event.key === "Escape" && choose(null));
  addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(draw).observe(timeline);
  listenToPointers();
}

async function copy() {
  const said = (text) => { by("copy").textContent = text; setTimeout(() => { by("copy").textContent = "Copy"; }, 1500); };
  try {
    await navigator.clipboard.writeText(data.replay);
    said("Copied");
  } catch {
    // Not allowed here: it is marked, one keystroke is left.
    getSelection().selectAllChildren(by("replay"));
    said("Marked");
  }
}

function listenToPointers() {
  const down = new Map();
  let moved = false;
  const place = (event) => {
    const box = timeline.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  timeline.addEventListener("wheel", (event) => {
    const [px] = place(event);
    if (event.ctrlKey || event.metaKey) jump(zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 100), timeAt(px)));
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) jump(shift(((event.deltaX || event.deltaY) / view.width) * (view.to - view.from)));
    else return;
    event.preventDefault();
  }, { passive: false });
  timeline.addEventListener("dblclick", (event) => goTo(zoom(0.4, timeAt(place(event)[0]))));
  timeline.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    down.set(event.pointerId, place(event));
    if (down.size === 1) moved = false;
  });
  timeline.addEventListener("pointermove", (event) => {
    const [px, py] = place(event);
    const last = down.get(event.pointerId);
    if (last === undefined) return point(event, px, py);
    if (!moved && Math.hypot(px - last[0], py - last[1]) < 4) return;
    if (!moved) timeline.setPointerCapture(event.pointerId);
    moved = true;
    cancelAnimationFrame(flight);
    timeline.classList.add("dragged");
    const others = [...down].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    const perPx = (view.to - view.from) / view.width;
    if (others.length === 0) jump(shift((last[0] - px) * perPx));
    else {
      const before = Math.max(Math.abs(last[0] - others[0][0]), 12);
      const after = Math.max(Math.abs(px - others[0][0]), 12);
      jump(zoom(before / after, timeAt((px + others[0][0]) / 2)));
    }
    down.set(event.pointerId, [px, py]);
  });
  const up = (event) => {
    const last = down.get(event.pointerId);
    down.delete(event.pointerId);
    timeline.classList.remove("dragged");
    if (last === undefined || moved || event.type !== "pointerup") return;
    const [px, py] = place(event);
    const found = hit(px, py);
    choose(found === null || found.sum ? null : { ...found, point: [px, py] });
    if (found?.sum) goTo(zoom(0.3, timeAt(px)));
  };
  for (const type of ["pointerup", "pointercancel"]) timeline.addEventListener(type, up);
  timeline.addEventListener("pointerleave", () => {
    lit.hover = null;
    tip.hidden = true;
    draw();
  });
}

/** The mouse is over something, or no longer. */
function point(event, px, py) {
  if (event.pointerType === "touch") return;
  const found = hit(px, py);
  timeline.classList.toggle("over", found !== null);
  const same = ["op", "fault", "message", "note"].every((kind) => lit.hover?.[kind] === found?.[kind]);
  lit.hover = found;
  if (found !== null) showTip(found, event.clientX, event.clientY);
  else tip.hidden = true;
  if (!same) draw();
}

// ---- The whole run, small, with what is seen of it ----

const overview = by("overview");
const overviewWindow = element("rect", { y: 1, height: 32, rx: 3, class: "window" });
let overviewWidth = 0;

function drawOverview() {
  const width = view.width;
  const px = (us) => view.left + (us / END) * width;
  if (overviewWidth !== width) {
    overviewWidth = width;
    const parts = [element("rect", { x: view.left, y: 1, width, height: 32, class: "track" })];
    parts.push(element("text", { x: view.left - 10, y: 21, "text-anchor": "end" }, "whole run"));
    const buckets = new Array(Math.ceil(width / 3)).fill(0);
    for (const m of messages) buckets[Math.min(Math.floor(((m.sent / END) * width) / 3), buckets.length - 1)] += 1;
    const most = Math.max(1, ...buckets);
    parts.push(element("path", { class: "activity", d: buckets.map((count, at) => (count === 0 ? "" : `M${view.left + at * 3} 33v${-(2 + 16 * Math.sqrt(count / most)).toFixed(1)}h2V33Z`)).join("") }));
    for (const fault of faults) parts.push(element("rect", { x: px(fault.from), y: 3 + (fault.row % 4) * 4, width: Math.max(px(fault.end) - px(fault.from), 2), height: 3, class: `fault-edge ${fault.family}` }));
    for (const op of guilty) parts.push(element("path", { d: `M${px(op.began).toFixed(1)} 1v32`, class: "guilty-line" }));
    overview.replaceChildren(...parts, overviewWindow);
  }
  overviewWindow.setAttribute("x", px(view.from));
  overviewWindow.setAttribute("width", Math.max(px(view.to) - px(view.from), 6));
}

function listenToOverview() {
  const move = (event) => {
    const left = overview.getBoundingClientRect().left + view.left;
    const at = ((event.clientX - left) / view.width) * END;
    jump(shift(at - (view.from + view.to) / 2));
  };
  overview.addEventListener("pointerdown", (event) => {
    overview.setPointerCapture(event.pointerId);
    move(event);
  });
  overview.addEventListener("pointermove", (event) => overview.hasPointerCapture(event.pointerId) && move(event));
}

fillHeader();
fillGuilty();
fillFaults();
fillLegend();
fillKeys();
fillBakeIn();
listen();
listenToOverview();
Object.assign(view, guiltyPart());
drawNow();
