// Where things are: lanes and rows from top to bottom, time from left to right.

const ROW = 19;
const FAULT_ROW = 20;
const AXIS = 26;
const FAULT_ROWS_MAX = 8;
const OP_ROWS_MAX = 8;
const KINDS = ["client", "node", "registry"];

/** Puts spans into as few rows as possible, those that overlap in different ones. Sets `row`, returns how many rows. */
function pack(spans, rowsMax, gap) {
  const free = [];
  for (const it of [...spans].sort((a, b) => (a.began ?? a.from) - (b.began ?? b.from))) {
    const begin = it.began ?? it.from;
    let row = free.findIndex((end) => end <= begin);
    if (row === -1) row = free.length < rowsMax ? free.length : free.indexOf(Math.min(...free));
    free[row] = Math.max(it.end + gap, free[row] ?? 0);
    it.row = row;
  }
  return free.length;
}

const faultRows = pack(faults, FAULT_ROWS_MAX, END / 200);
const FAULTS_TOP = AXIS;
const LANES_TOP = AXIS + (faultRows === 0 ? 0 : faultRows * FAULT_ROW + 8);

/** Each lane with `top`, `height` and `line`, the height at which messages leave and arrive. In the order of the page. */
const lanes = data.lanes
  .map((lane, index) => ({ ...lane, index, ops: ops.filter((op) => op.lane === index), downs: [] }))
  .sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || a.index - b.index);
let bottom = LANES_TOP;
for (const lane of lanes) {
  lane.rows = pack(lane.ops, OP_ROWS_MAX, 0);
  lane.top = bottom;
  lane.height = lane.kind === "client" ? 6 + Math.max(lane.rows, 1) * ROW + 6 : 37;
  lane.line = lane.kind === "client" ? lane.top + lane.height : lane.top + 24;
  bottom += lane.height;
}
const LANES_BOTTOM = bottom;
const laneAt = [];
lanes.forEach((lane) => { laneAt[lane.index] = lane; });
data.downs.forEach(([lane, from, to]) => laneAt[lane].downs.push({ from, to }));
const noteY = (note) => (note.lane === null ? AXIS - 4 : laneAt[note.lane].top + 9);
const opY = (op) => laneAt[op.lane].top + 6 + op.row * ROW;

/** What is seen: microseconds from `from` to `to` across `width` pixels after the names. */
const view = { from: 0, to: END, left: 84, width: 800 };
const x = (us) => view.left + ((us - view.from) / (view.to - view.from)) * view.width;
const timeAt = (px) => view.from + ((px - view.left) / view.width) * (view.to - view.from);
const inView = (from, to) => from <= view.to && to >= view.from;

/** The part around some times, with room at both sides for labels. */
function around(from, to) {
  const room = Math.max((to - from) * 0.18, END / 2000, 200);
  return limited(from - room, to + room * 1.6);
}

/** A view within the run, at least 50 µs long. */
function limited(from, to) {
  const length = Math.min(Math.max(to - from, 50), END);
  const begin = Math.min(Math.max((from + to - length) / 2, 0), END - length);
  return { from: begin, to: begin + length };
}

/** What a reader should see first. */
function guiltyPart() {
  if (guilty.length > 0) {
    const from = Math.min(...guilty.map((op) => op.began));
    const told = guilty.map((op) => op.ended).filter((ended) => ended !== null);
    const to = Math.max(from, ...guilty.map((op) => op.began), ...told);
    return around(from, told.length === guilty.length ? to : Math.max(to, Math.min(END, to + (to - from) / 2 + 20_000)));
  }
  const errors = notes.filter((note) => note.level === "error").map((note) => note.at);
  return errors.length > 0 && !data.passed ? around(Math.max(...errors) - 50_000, Math.max(...errors) + 20_000) : { from: 0, to: END };
}

/** A step of the axis, 1, 2 or 5 times a power of ten, so that labels are at least `apart` pixels apart. */
function axisStep(apart) {
  const least = ((view.to - view.from) * apart) / view.width;
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least);
}

const pen = document.createElement("canvas").getContext("2d");
const FONT = getComputedStyle(document.body).fontFamily;

const widths = new Map();

/** How wide a text is, in pixels. */
function textWidth(text, size, weight = 400) {
  const id = `${weight} ${size} ${text}`;
  let width = widths.get(id);
  if (width === undefined) {
    pen.font = `${weight} ${size}px ${FONT}`;
    width = pen.measureText(text).width;
    if (widths.size > 20_000) widths.clear();
    widths.set(id, width);
  }
  return width;
}

/** As much of a text as has room, with an ellipsis; nothing if that says nothing. */
function fitted(text, room, size, weight) {
  if (room < 14) return "";
  if (text.length < 300 && textWidth(text, size, weight) <= room) return text;
  let low = 0;
  let high = Math.min(text.length, 300);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (textWidth(`${text.slice(0, middle)}…`, size, weight) <= room) low = middle;
    else high = middle - 1;
  }
  return low < 2 ? "" : `${text.slice(0, low)}…`;
}

/** Keeps labels apart: `take` says whether a rectangle is still free, and takes it. */
class Room {
  taken = [];

  take(left, top, width, height) {
    const hit = this.taken.some((r) => left < r[0] + r[2] && r[0] < left + width && top < r[1] + r[3] && r[1] < top + height);
    if (!hit) this.taken.push([left, top, width, height]);
    return !hit;
  }
}
