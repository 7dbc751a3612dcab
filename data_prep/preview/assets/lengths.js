// Histograms of lengths: one column for each length, one row for each recipe or language.

const LENGTHS = [
  { title: "Prompt", unit: "view", note: "of a view", of: (view) => view.tokens[0] },
  { title: "Response", unit: "view", note: "preamble, answer and end",
    of: (view, group) => view.tokens[1] + group.pieces.length },
  { title: "View", unit: "view", note: "prompt and response",
    of: (view, group) => view.tokens[0] + view.tokens[1] + group.pieces.length },
  // The end is predicted, never read, so that it takes no place in a row.
  { title: "Group", unit: "group", note: "what it takes of a row", limit: data.row_tokens,
    of: (group) => group.views.reduce(
      (sum, view) => sum + view.tokens[0] + view.tokens[1] + group.pieces.length - 1, 0) },
];
const ROWS = {
  recipe: { of: (_, group) => [group.recipe], name: (recipe) => recipe },
  language: { of: (views) => unique(views.map((view) => view.language)), name: nameOf },
};
const WIDTH = 220, HEIGHT = 56, BINS = 32;

/** The lengths of each row: key -> numbers. A group counts once for each language of a student. */
function measure(length, by) {
  const found = new Map();
  const add = (key, value) => found.set(key, [...(found.get(key) ?? []), value]);
  for (const group of data.groups) {
    if (length.unit === "group") {
      for (const key of ROWS[by].of(studentsOf(group), group)) add(key, length.of(group));
    } else {
      for (const view of group.views) {
        for (const key of ROWS[by].of([view], group)) add(key, length.of(view, group));
      }
    }
  }
  return found;
}

function layOutLengths() {
  if (!data.tokenized) return;
  $("#lengths").hidden = false;
  const row = number(data.row_tokens ?? 0);
  $("#lengths-note").textContent =
    `Over the ${number(data.groups.length)} groups of this page` + (data.groups.length < total()
      ? ", which are drawn evenly, not in the proportions of the dataset" : "") +
    ". Rows share the axis of their column; each has its own scale of counts, whose highest is " +
    "given. A tick under the axis marks the median." + (data.row_tokens
      ? " All views of a group stand in one row: a group longer than " +
        `data.row_tokens = ${row} does not fit.` : "");
  for (const radio of $$("[name=by]")) radio.onchange = () => layOutHistograms(radio.value);
  layOutHistograms("recipe");
}

function layOutHistograms(by) {
  const columns = LENGTHS.map((length) => ({ length, values: measure(length, by) }));
  const keys = by === "recipe" ? [...columns[0].values.keys()].sort()
    : Object.keys(data.languages).filter((code) => columns[0].values.has(code));
  const scales = columns.map(({ length, values }) => scaleOf([...values.values()].flat(), length));
  const cells = keys.flatMap((key) => [
    make("div", { class: "row" }, ROWS[by].name(key), make("small", {},
      counted(columns[0].values.get(key).length, "view")), make("small", {},
      counted(columns[3].values.get(key)?.length ?? 0, "group"))),
    ...columns.map(({ length, values }, c) => {
      const row = values.get(key) ?? [];
      return layOutHistogram(row, scales[c], length, ROWS[by].name(key), key === keys.at(-1));
    })]);
  $("#histograms").replaceChildren(make("div", { class: "histograms" },
    make("div", { class: "head" }),
    ...LENGTHS.map(({ title, note }) =>
      make("div", { class: "head" }, title, make("small", {}, note))), ...cells));
}

/** Bins of a round width from 0 to beyond the longest; to the limit too, if that is near. */
function scaleOf(values, { limit }) {
  const longest = Math.max(...values);
  const near = limit && limit <= 2.5 * longest;
  const reach = Math.max(longest + 1, near ? limit * 1.02 : 0);
  const step = [1, 2, 5].flatMap((digit) => [0, 1, 2, 3, 4, 5].map((zeros) => digit * 10 ** zeros))
    .sort((a, b) => a - b).find((width) => reach / width <= BINS) ?? 1e6;
  const bins = Math.ceil(reach / step);
  return { step, bins, near, x: (tokens) => tokens / (bins * step) * WIDTH };
}

function layOutHistogram(values, { step, bins, near, x }, { unit, limit, title }, name, last) {
  if (!values.length) return make("div"); // a language that only teachers speak
  const counts = Array(bins).fill(0);
  for (const value of values) counts[Math.floor(value / step)] += 1;
  const top = Math.max(...counts, 1);
  const y = (count) => HEIGHT - count / top * (HEIGHT - 14);
  const sorted = [...values].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  const beyond = limit ? values.filter((value) => value > limit).length : 0;
  const label = `${title}, ${name}: ${counted(values.length, unit)}, median ${median} tokens, ` +
    `longest ${sorted.at(-1)}`;
  const bars = counts.map((count, bin) => count && draw("rect",
    { class: "bar", x: x(bin * step) + .5, y: y(count), width: Math.max(x(step) - 1, .5),
      height: HEIGHT - y(count) },
    draw("title", {}, `${bin * step}–${(bin + 1) * step - 1} tokens: ${counted(count, unit)}`)));
  const summary = [`median ${number(median)}, longest ${number(sorted.at(-1))}`,
    beyond && draw("tspan", { class: "limit-text" }, `, ${number(beyond)} longer than a row`)];
  const marks = [draw("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
    draw("line", { class: "median", x1: x(median), x2: x(median), y1: HEIGHT, y2: HEIGHT + 4 }),
    draw("line", { class: "base", x1: -3, x2: WIDTH, y1: y(top), y2: y(top) }),
    draw("text", { x: -5, y: y(top) + 4, "text-anchor": "end" }, number(top)),
    draw("text", { x: 0, y: 8 }, ...summary.filter(Boolean))];
  if (near) {
    marks.push(draw("line", { class: "limit", x1: x(limit), x2: x(limit), y1: 11, y2: HEIGHT }));
  }
  if (last) marks.push(...axis(step * bins, x, near ? limit : 0));
  return draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + (last ? 30 : 4)}`, role: "img",
    "aria-label": label }, ...marks, ...bars.filter(Boolean));
}

/** Ticks, their numbers, and the limit's name. */
function axis(reach, x, limit) {
  const step = [1, 2, 5].flatMap((digit) => [1, 2, 3, 4].map((zeros) => digit * 10 ** zeros))
    .sort((a, b) => a - b).find((width) => reach / width <= 5) ?? 1e5;
  const marks = [draw("text", { x: 0, y: HEIGHT + 27 }, "tokens")];
  for (let tick = 0; tick <= reach; tick += step) {
    const at = x(tick);
    marks.push(draw("line", { class: "base", x1: at, x2: at, y1: HEIGHT, y2: HEIGHT + 4 }),
      draw("text", { x: at, y: HEIGHT + 15, "text-anchor": tick ? "middle" : "start" },
        number(tick)));
  }
  if (limit) {
    marks.push(draw("text", { class: "limit-text", x: x(limit), y: HEIGHT + 27,
      "text-anchor": "end" }, `row_tokens ${number(limit)}`));
  }
  return marks;
}
