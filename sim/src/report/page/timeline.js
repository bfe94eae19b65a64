// Draws the timeline. What there is much of (messages, ordinary operations, notes) becomes one path of each kind, so that a
// frame costs a few milliseconds whatever the run; only labels and guilty operations are elements of their own.

const SVG = "http://www.w3.org/2000/svg";
const timeline = document.getElementById("timeline");
const show = { key: null, messages: true, notes: true };
/** What is pointed at or chosen: `{ op }`, `{ fault }`, `{ message }`, `{ note }`. */
const lit = { hover: null, chosen: null };

/** An element; texts are set as texts, so nothing in a record can become markup. */
function element(name, attributes = {}, text = undefined) {
  const it = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) it.setAttribute(key, value);
  if (text !== undefined) it.textContent = text;
  return it;
}

// The layers, from the back to the front. All but the axis and the names are clipped to the part after the names.
const clip = element("clipPath", { id: "plot" });
const clipRect = element("rect");
clip.append(clipRect);
const hatch = element("pattern", { id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
hatch.append(element("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" }));
const defs = element("defs");
defs.append(clip, hatch);
const plot = element("g", { "clip-path": "url(#plot)" });
const layer = {};
for (const name of ["ground", "bands", "columns", "messages", "notes", "ops", "guilty", "faults"]) {
  layer[name] = element("g", { class: name });
  plot.append(layer[name]);
}
layer.axis = element("g", { class: "axis" });
layer.names = element("g", { class: "names" });
timeline.append(defs, layer.axis, plot, layer.names);

const shownOp = (op) => show.key === null || op.key === show.key;
const lightOp = () => lit.hover?.op ?? lit.chosen?.op ?? null;
const lightFault = () => lit.hover?.fault ?? lit.chosen?.fault ?? null;
const clamped = (px) => Math.min(Math.max(px, view.left - 50), view.left + view.width + 50).toFixed(1);
const rect = (from, to, y, height) => `M${clamped(from)} ${y}H${clamped(to)}V${y + height}H${clamped(from)}Z`;
/** Activity instead of arrows: how many messages each lane sent per bucket of pixels. Null while there are arrows. */
let activity = null;
const BUCKET = 4;
let frame = 0;
let nameSize = 13;
/** What labels have taken of this frame. Guilty operations come first, then other operations, notes, messages. */
let room = new Room();

/** Draws at the next frame. */
function draw() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    drawNow();
  });
}

function drawNow() {
  const width = Math.max(timeline.clientWidth, 200);
  nameSize = width < 600 ? 12 : 13;
  const names = lanes.map((lane) => textWidth(lane.name.slice(0, 40), nameSize, 600));
  view.left = width < 600 ? Math.min(84, 14 + Math.max(48, ...names)) : Math.min(170, 24 + Math.max(70, ...names));
  view.width = width - view.left;
  timeline.setAttribute("height", LANES_BOTTOM + 1);
  for (const [key, value] of Object.entries({ x: view.left, y: 0, width: view.width, height: LANES_BOTTOM + 1 })) clipRect.setAttribute(key, value);
  room = new Room();
  drawAxis();
  drawLanes();
  drawBands();
  drawFaults();
  drawOps();
  drawNotes();
  drawMessages();
  onDrawn();
}

function drawAxis() {
  const step = axisStep(view.width < 400 ? 78 : 100);
  const parts = [];
  let grid = "";
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    grid += `M${x(at).toFixed(1)} ${AXIS - 5}V${LANES_BOTTOM}`;
    const label = moment(at, step);
    const half = textWidth(label, 11) / 2;
    if (x(at) - half >= view.left - 4 && x(at) + half <= view.left + view.width) {
      parts.push(element("text", { x: x(at), y: AXIS - 10, "text-anchor": "middle" }, label));
    }
  }
  layer.axis.replaceChildren(element("path", { d: grid, class: "grid" }), ...parts);
}

function drawLanes() {
  const ground = [];
  const names = [element("rect", { x: 0, y: 0, width: view.left, height: LANES_BOTTOM + 1, class: "gutter" })];
  if (faultRows > 0) names.push(element("text", { x: view.left - 10, y: FAULTS_TOP + 14, "text-anchor": "end", class: "head" }, "faults"));
  let before = null;
  for (const lane of lanes) {
    if (before !== lane.kind) {
      const edge = { d: `M0 ${lane.top}H${view.left + view.width}`, class: "edge" };
      ground.push(element("path", edge));
      names.push(element("path", { ...edge, d: `M0 ${lane.top}H${view.left}` }));
    }
    const middle = lane.kind === "client" ? lane.top + lane.height / 2 : lane.line;
    names.push(element("text", { x: view.left - 10, y: middle + 4, "text-anchor": "end", class: "name", style: `font-size: ${nameSize}px` }, fitted(lane.name, view.left - 12, nameSize, 600)));
    before = lane.kind;
    ground.push(element("path", { d: `M${view.left} ${lane.line}H${view.left + view.width}`, class: "life" }));
    for (const down of lane.downs.filter(({ from, to }) => inView(from, to))) {
      const d = rect(x(down.from), x(down.to), lane.top + 1, lane.height - 1);
      ground.push(element("path", { d, class: "off" }), element("path", { d, fill: "url(#hatch)" }));
      const left = Math.max(x(down.from), view.left);
      if (Math.min(x(down.to), view.left + view.width) - left > 60) {
        ground.push(element("text", { x: left + 8, y: lane.line + 4, class: "off-text" }, "down"));
      }
    }
  }
  ground.push(element("path", { d: `M0 ${LANES_BOTTOM}H${view.left + view.width}`, class: "edge" }));
  layer.ground.replaceChildren(...ground);
  layer.names.replaceChildren(...names);
}

/** Each fault over the lanes that it concerns, from its beginning to its end. */
function drawBands() {
  const parts = [];
  for (const fault of faults.filter((fault) => inView(fault.from, fault.end))) {
    let area = "";
    let ends = "";
    for (const lane of fault.lanes.map((lane) => laneAt[lane])) {
      area += rect(x(fault.from), x(fault.end), lane.top + 1, lane.height - 1);
      ends += `M${clamped(x(fault.from))} ${lane.top + 1}v${lane.height - 1}`;
      if (fault.to !== null) ends += `M${clamped(x(fault.end))} ${lane.top + 1}v${lane.height - 1}`;
    }
    const bright = lightFault() === fault ? " bright" : "";
    parts.push(element("path", { d: area, class: `band ${fault.family}${bright}` }));
    parts.push(element("path", { d: ends, class: `band-end ${fault.family}${bright}` }));
  }
  layer.bands.replaceChildren(...parts);
  // Where a guilty operation is, in all lanes: what else happened then.
  layer.columns.replaceChildren(...guilty.filter((op) => shownOp(op) && op.ended !== null && inView(op.began, op.end)).map((op) =>
    element("path", { d: rect(x(op.began), Math.max(x(op.end), x(op.began) + 1), LANES_TOP, LANES_BOTTOM - LANES_TOP), class: "column" })));
}

/** The faults' own rows on top: one labelled bar for each. */
function drawFaults() {
  const parts = [];
  const seen = faults.filter((fault) => inView(fault.from, fault.end));
  for (const fault of seen) {
    const y = FAULTS_TOP + fault.row * FAULT_ROW;
    const left = Math.max(x(fault.from), view.left + 1);
    const right = Math.max(Math.min(x(fault.end), view.left + view.width), left + 3);
    const next = Math.min(view.left + view.width, ...seen.filter((other) => other.row === fault.row && other.from > fault.from).map((other) => x(other.from)));
    const bright = lightFault() === fault ? " bright" : "";
    parts.push(element("rect", { x: left, y: y + 2, width: right - left, height: FAULT_ROW - 4, rx: 3, class: `fault ${fault.family}${bright}` }));
    if (x(fault.from) >= view.left) parts.push(element("rect", { x: left, y: y + 2, width: 3, height: FAULT_ROW - 4, rx: 1.5, class: `fault-edge ${fault.family}` }));
    const name = `${fault.kind}${fault.lanes.length > 0 ? `: ${fault.lanes.map(laneName).join(", ")}` : ""}`;
    parts.push(element("text", { x: left + 7, y: y + 14, class: "fault-text" }, fitted(name, next - left - 10, 11)));
  }
  layer.faults.replaceChildren(...parts);
}

function drawMessages() {
  activity = null;
  if (!show.messages) return layer.messages.replaceChildren();
  const seen = messages.filter((m) => inView(m.sent, m.received ?? m.sent + usualLatency));
  const light = lightOp();
  const important = light === null ? messagesOfGuilty : messagesOf(light);
  if (seen.length > view.width * 0.45) return drawActivity(seen, light === null ? new Set() : important);
  layer.messages.replaceChildren(
    ...arrows(seen.filter((m) => !important.has(m)), ""),
    ...arrows(seen.filter((m) => important.has(m)), " important"),
    ...messageLabels(seen.filter((m) => important.has(m))),
    ...arrows(seen.filter((m) => m === lit.hover?.message || m === lit.chosen?.message), " bright"),
  );
}

/** Where an arrow begins and ends; a lost one ends on its way. */
function ends(m) {
  const [x1, y1, y2] = [x(m.sent), laneAt[m.from].line, laneAt[m.to].line];
  const x2 = x(m.received ?? m.sent + usualLatency);
  return m.received === null ? [x1, y1, x1 + (x2 - x1) * 0.55, y1 + (y2 - y1) * 0.55] : [x1, y1, x2, y2];
}

function arrows(some, kind) {
  let lines = "";
  let heads = "";
  let lost = "";
  let crosses = "";
  for (const m of some) {
    const [x1, y1, x2, y2] = ends(m).map((n) => Math.round(n * 10) / 10);
    const length = Math.hypot(x2 - x1, y2 - y1) || 1;
    const [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
    if (m.received === null) {
      lost += `M${x1} ${y1}L${x2} ${y2}`;
      crosses += `M${x2 - 3.5} ${y2 - 3.5}l7 7m0 -7l-7 7`;
    } else if (m.from === m.to) {
      lines += `M${x1} ${y1}C${x1} ${y1 + 12} ${x2} ${y2 + 12} ${x2} ${y2}`;
    } else {
      lines += `M${x1} ${y1}L${x2} ${y2}`;
      const [bx, by] = [x2 - dx * 7, y2 - dy * 7];
      heads += `M${x2} ${y2}L${(bx - dy * 2.8).toFixed(1)} ${(by + dx * 2.8).toFixed(1)}L${(bx + dy * 2.8).toFixed(1)} ${(by - dx * 2.8).toFixed(1)}Z`;
    }
  }
  return [["arrow", lines], ["head", heads], ["arrow lost", lost], ["cross", crosses]]
    .filter(([, d]) => d !== "")
    .map(([name, d]) => element("path", { d, class: `${name}${kind}` }));
}

/** Words beside those arrows that are flat enough for words not to lie on the next one. */
function messageLabels(some) {
  const parts = [];
  for (const m of some) {
    const [x1, y1, x2, y2] = ends(m);
    if (Math.abs(x2 - x1) < 26 || m.from === m.to) continue;
    const label = fitted(m.label, 130, 10);
    const [left, top] = [x1 + (x2 - x1) * 0.72 + 6, y1 + (y2 - y1) * 0.72 + (y2 > y1 ? -2 : 8)];
    if (label !== "" && left > view.left && room.take(left, top - 9, textWidth(label, 10) + 6, 13)) {
      parts.push(element("text", { x: left, y: top, class: "message-text" }, label));
    }
  }
  return parts;
}

/** Too many arrows to see one: how much each lane sent, as bars on its line; what was lost in another colour. */
function drawActivity(seen, important) {
  activity = new Map();
  for (const m of seen) {
    const bucket = Math.floor((x(m.sent) - view.left) / BUCKET);
    const id = `${m.from}:${bucket}`;
    const sum = activity.get(id) ?? { lane: m.from, bucket, sent: 0, lost: 0 };
    sum.sent += 1;
    if (m.received === null) sum.lost += 1;
    activity.set(id, sum);
  }
  const most = Math.max(...[...activity.values()].map((sum) => sum.sent));
  let sent = "";
  let lost = "";
  for (const { lane, bucket, sent: count, lost: gone } of activity.values()) {
    const left = view.left + bucket * BUCKET;
    const height = 2 + 13 * Math.sqrt(count / most);
    const y = laneAt[lane].line;
    sent += `M${left} ${y}v${-height.toFixed(1)}h${BUCKET - 1}v${height.toFixed(1)}Z`;
    if (gone > 0) lost += `M${left} ${y}v${-(height * gone / count).toFixed(1)}h${BUCKET - 1}v${(height * gone / count).toFixed(1)}Z`;
  }
  layer.messages.replaceChildren(element("path", { d: sent, class: "activity" }), element("path", { d: lost, class: "activity lost" }),
    ...arrows(seen.filter((m) => important.has(m)), " important"));
}

function drawNotes() {
  if (!show.notes) return layer.notes.replaceChildren();
  const seen = notes.filter((note) => inView(note.at, note.at));
  const paths = { info: "", warn: "", error: "", up: "", down: "" };
  for (const note of seen) {
    const [left, top] = [Math.round(x(note.at) * 10) / 10, noteY(note)];
    if (note.level === "up") paths.up += `M${left} ${top - 5}l4.5 8h-9Z`;
    else if (note.level === "down") paths.down += `M${left} ${top + 3}l4.5 -8h-9Z`;
    else if (note.level === "info") paths.info += `M${left} ${top - 4}v7`;
    else paths[note.level] += `M${left} ${top - 5}l4 4l-4 4l-4 -4Z`;
  }
  const parts = Object.entries(paths).filter(([, d]) => d !== "").map(([level, d]) => element("path", { d, class: `note ${level}` }));
  for (const note of seen) room.take(x(note.at) - 5, noteY(note) - 5, 10, 10);
  // Words for those that matter, where there is room.
  const order = ["error", "down", "up", "warn", "info"];
  const words = seen.filter((note) => note.lane !== null).sort((a, b) => order.indexOf(a.level) - order.indexOf(b.level) || a.at - b.at);
  for (const note of words.slice(0, 200)) {
    const label = fitted(note.text, 190, 10);
    const left = x(note.at) + 7;
    if (label !== "" && left + 30 < view.left + view.width && room.take(left, noteY(note) - 6, textWidth(label, 10) + 4, 12)) {
      parts.push(element("text", { x: left, y: noteY(note) + 3, class: `note-text ${note.level}` }, label));
    }
  }
  layer.notes.replaceChildren(...parts);
}

function drawOps() {
  const seen = ops.filter((op) => shownOp(op) && inView(op.began, op.end));
  const light = lightOp();
  const paths = {};
  const add = (name, d) => { paths[name] = (paths[name] ?? "") + d; };
  for (const op of seen.filter((op) => !op.guilty)) {
    const kin = guiltyKeys.has(op.key) || show.key !== null ? "kin" : "other";
    const name = `op ${kin} ${op.reads ? "reads" : "changes"}${op.ended === null ? " open" : ""}`;
    add(name, rect(x(op.began), Math.max(x(op.end), x(op.began) + 2.5), opY(op) + 2, ROW - 6));
  }
  if (light !== null && shownOp(light)) add("op light", rect(x(light.began) - 2, Math.max(x(light.end), x(light.began) + 2.5) + 2, opY(light), ROW - 2));
  for (const op of seen.filter((op) => op.guilty)) room.take(x(op.began), opY(op), x(op.end) - x(op.began), ROW - 1);
  layer.guilty.replaceChildren(...seen.filter((op) => op.guilty).map(guiltyOp));
  layer.ops.replaceChildren(...Object.entries(paths).map(([name, d]) => element("path", { d, class: name })), ...opLabels(seen));
}

/** Words for the other operations on the guilty keys, inside their bars or behind them where there is room. */
function opLabels(seen) {
  for (const op of seen) room.take(x(op.began), opY(op), Math.max(x(op.end) - x(op.began), 3), ROW - 2);
  const parts = [];
  const kin = seen.filter((op) => !op.guilty && (guiltyKeys.has(op.key) || show.key !== null));
  const few = kin.length <= view.width / 60;
  for (const op of kin) {
    const [left, right] = [Math.max(x(op.began), view.left), Math.min(x(op.end), view.left + view.width)];
    const full = `${op.action} → ${op.ended === null ? "no answer" : op.seen}`;
    const inside = fitted(full, right - left - 8, 11);
    const width = textWidth(full, 11);
    if (inside === full || inside.length > 8) {
      parts.push(element("text", { x: left + 4, y: opY(op) + 13, class: `op-text ${op.reads || op.ended === null ? "reads" : "changes"}` }, inside));
    } else if (few && width < 260 && right + width + 8 < view.left + view.width && room.take(right + 2, opY(op), width + 8, ROW - 2)) {
      parts.push(element("text", { x: right + 5, y: opY(op) + 13, class: "op-text beside" }, full));
    }
  }
  return parts;
}

/** A red bar with its number and its words. */
function guiltyOp(op) {
  const it = element("g", { class: `op guilty ${op.reads ? "reads" : "changes"}${op.ended === null ? " open" : ""}`, "data-op": op.number });
  const [left, right, y] = [x(op.began), Math.max(x(op.end), x(op.began) + 4), opY(op)];
  it.append(element("path", { d: rect(left, right, y + 1, ROW - 4), class: "bar" }));
  const [from, to] = [Math.max(left, view.left), Math.min(right, view.left + view.width)];
  const words = `${circled(op.badge)} ${op.action} → ${op.ended === null ? "no answer" : op.seen}`;
  const width = Math.min(textWidth(words, 12, 650), 340);
  const places = [
    [from + 5, to - from - 10, "inside"],
    [to + 5, view.left + view.width - to - 10, "beside"],
    [Math.max(view.left + 2, from - width - 6), from - view.left - 8, "beside"],
  ];
  // Whole words somewhere, else what there is room for where there is most.
  places.sort((a, b) => Math.min(b[1], width) - Math.min(a[1], width));
  for (const [at, space, where] of places) {
    const label = fitted(words, Math.min(space, 340), 12, 650) || (space > 12 ? circled(op.badge) : "");
    if (label !== "" && (where === "inside" || room.take(at, y, textWidth(label, 12, 650), ROW - 1))) {
      it.append(element("text", { x: at, y: y + 13, class: where }, label));
      return it;
    }
  }
  // No room anywhere: at least its number.
  it.append(element("text", { x: to + 2, y: y + 13, class: "beside" }, circled(op.badge)));
  return it;
}

/** What is at a point of the timeline, the smallest first. */
function hit(px, py) {
  if (px < view.left) return null;
  const near = ops.filter((op) => shownOp(op) && py >= opY(op) - 1 && py <= opY(op) + ROW && px >= x(op.began) - 4 && px <= Math.max(x(op.end), x(op.began) + 3) + 4);
  near.sort((a, b) => Number(b.guilty) - Number(a.guilty) || b.began - a.began);
  if (near.length > 0) return { op: near[0] };
  const fault = faults.find((f) => py >= FAULTS_TOP + f.row * FAULT_ROW && py < FAULTS_TOP + (f.row + 1) * FAULT_ROW && px >= x(f.from) - 3 && px <= x(f.end) + 3);
  if (fault !== undefined) return { fault };
  if (show.notes) {
    const close = notes.filter((note) => Math.abs(x(note.at) - px) < 6 && Math.abs(noteY(note) - py) < 8);
    close.sort((a, b) => Math.abs(x(a.at) - px) - Math.abs(x(b.at) - px));
    if (close.length > 0) return { note: close[0], more: close.length - 1 };
  }
  if (activity !== null) {
    const bucket = Math.floor((px - view.left) / BUCKET);
    const lane = lanes.find((lane) => py >= lane.line - 18 && py <= lane.line + 5);
    const sum = lane && activity.get(`${lane.index}:${bucket}`);
    if (sum) return { sum };
  } else if (show.messages) {
    let best = null;
    for (const m of messages.filter((m) => inView(m.sent, m.received ?? m.sent + usualLatency))) {
      const away = distance(px, py, ends(m));
      if (away < 5 && (best === null || away < best.away)) best = { message: m, away };
    }
    if (best !== null) return { message: best.message };
  }
  const lane = lanes.find((lane) => py >= lane.top && py < lane.top + lane.height);
  const at = timeAt(px);
  const over = lane && faults.find((f) => f.lanes.includes(lane.index) && f.from <= at && f.end >= at);
  return over ? { fault: over } : null;
}

function distance(px, py, [x1, y1, x2, y2]) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const along = Math.min(1, Math.max(0, ((px - x1) * dx + (py - y1) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(px - x1 - along * dx, py - y1 - along * dy);
}
