"use strict";
// All that comes from files goes into the page as text: nothing here parses HTML.
const facts = JSON.parse(document.getElementById("facts").textContent);
const COLOURS = ["#1f77d0", "#e8710a", "#159a5b", "#c63d96", "#8a63d2", "#c9a000", "#0aa3b5", "#d64545", "#7d8590", "#6b8e23"];
const DASHES = ["", "6 3", "2 3", "9 3 2 3"];
const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function draw(tag, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  return element;
}

function shown(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return { inf: "∞", "-inf": "-∞" }[value] ?? value;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2).replace("e+", "e");
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return size >= 1000 ? value.toFixed(0) : size >= 100 ? value.toFixed(1) : String(Number(value.toPrecision(digits)));
}

const count = (value) => (value === null ? "?" : value.toLocaleString("en"));
const asNumber = (value) => (value === "inf" ? Infinity : value === "-inf" ? -Infinity : value);
const runs = facts.runs.map((run, number) => ({
  ...run,
  number,
  colour: COLOURS[number % COLOURS.length],
  dash: DASHES[Math.floor(number / COLOURS.length) % DASHES.length],
  visible: true,
}));
const page = document.getElementById("page");
const sections = [];
const watchers = []; // what draws itself anew when a run is hidden or a switch is turned
const again = () => watchers.forEach((watcher) => watcher());

function section(title) {
  const id = "s" + sections.length;
  const place = make("section", { id }, make("h2", {}, title));
  sections.push([title, id]);
  page.append(place);
  return place;
}

function notes(list) {
  if (!list.length) return null;
  const items = make("ul", { class: "notes" }, ...list.slice(0, 12).map((text) => make("li", {}, text)));
  if (list.length > 12) items.append(make("li", {}, `and ${list.length - 12} more`));
  return items;
}

function labelled(text, control) {
  return make("label", {}, text, control);
}

// ---------------------------------------------------------------------------------------------- tables

function table({ columns, rows, foot, start, chosen, filter }) {
  // columns: {name, number, higher}; rows: {cells, sort, open, note, title}
  let by = start ?? null, down = by !== null && columns[by].higher === false ? false : true, limit = 200;
  let text = "";
  const head = make("tr"), body = make("tbody");
  const element = make("table", {}, make("thead", {}, head), body);
  const more = make("button", { onclick: () => { limit += 1000; fill(); } });
  columns.forEach((column, place) => {
    const button = make("button", {
      title: "Sort",
      onclick: () => {
        down = by === place ? !down : column.number ? column.higher !== false : false;
        by = place;
        fill();
      },
    }, column.name);
    head.append(make("th", { class: column.number ? "number" : null, scope: "col" }, button));
  });
  if (foot) {
    element.append(make("tfoot", {}, make("tr", {}, ...foot.map((cell, place) =>
      make("td", { class: columns[place].number ? "number" : null }, cell)))));
  }
  function order() {
    let list = rows.filter((row) => !text || row.text.toLowerCase().includes(text));
    if (by === null) return list;
    const key = (row) => row.sort[by];
    const absent = (value) => value === null || value === undefined || value === "";
    return list.map((row, place) => [row, place]).sort(([a, i], [b, j]) => {
      const x = key(a), y = key(b);
      if (absent(x) || absent(y)) return absent(x) - absent(y) || i - j;
      const way = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
      return (down ? -way : way) || i - j;
    }).map(([row]) => row);
  }
  function fill() {
    [...head.children].forEach((cell, place) => {
      if (place === by) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    const list = order();
    body.replaceChildren(...list.slice(0, limit).map((row) => {
      const line = make("tr", { title: row.note || null, class: chosen && chosen() === row ? "chosen" : null });
      if (row.open) {
        line.tabIndex = 0;
        line.addEventListener("click", row.open);
        line.addEventListener("keydown", (event) => { if (event.key === "Enter") row.open(); });
      }
      line.append(...row.cells.map((cell, place) =>
        make("td", { class: columns[place].number ? "number" : place ? "value" : "name" }, cell)));
      return line;
    }));
    more.hidden = list.length <= limit;
    more.textContent = `Show more (${Math.min(limit, list.length)} of ${list.length.toLocaleString("en")})`;
  }
  fill();
  const box = make("div", {}, make("div", { class: "scroll", tabindex: 0 }, element), more);
  if (filter) {
    box.prepend(make("div", { class: "bar" }, make("input", {
      type: "search", placeholder: "Filter", "aria-label": "Filter",
      oninput: (event) => { text = event.target.value.toLowerCase(); fill(); },
    })));
  }
  return { box, fill, order: () => order() };
}

// ---------------------------------------------------------------------------------------------- charts

const FEW = 40; // values that are marked each, and not smoothed
const look = { smooth: 0, log: false, samples: false };

function smoothed(values, weight) {
  // mean with weights that fall off backwards, without the pull of the first value towards zero; of few
  // values, such as those of the held-out part, each counts as it is
  if (!weight || values.length <= FEW) return values;
  let total = 0, mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    total = total * weight + value * (1 - weight);
    mass = mass * weight + (1 - weight);
    return total / mass;
  });
}

function ticks(low, high, wanted) {
  const span = high - low;
  const rough = span / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((times) => times * power >= rough) * power;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6 && found.length < 20; value += step) {
    found.push(Math.abs(value) < step * 1e-6 ? 0 : value);
  }
  return found;
}

function logTicks(low, high) {
  const found = [];
  const decades = Math.log10(high / low);
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    if (decades > 6 && power % Math.ceil(decades / 6)) continue;
    for (const times of decades > 2.5 ? [1] : decades > 1 ? [1, 3] : [1, 1.5, 2, 3, 5, 7]) {
      const value = times * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  }
  return found;
}

function chart(curve) {
  const plot = draw("svg", { class: "chart", role: "img" });
  const values = make("div", { class: "values" });
  const wide = make("button", { title: "Larger", "aria-label": "Larger", onclick: () => { card.classList.toggle("wide"); redraw(); } }, "⤢");
  const title = curve.name.replace(/^(losses|validation|rates)\//, "");
  const card = make("div", { class: "card" }, make("h4", {}, title, wide), plot, values);
  plot.setAttribute("aria-label", title);
  let view = null;

  function lines() {
    return Object.entries(curve.lines).map(([number, line]) => {
      const run = runs[number];
      const y = smoothed(line.y, look.smooth);
      return { run, x: look.samples ? line.n : line.x, y, raw: line.y, low: line.low, high: line.high };
    }).filter((line) => line.run.visible && line.x.length);
  }

  function redraw() {
    const width = Math.max(plot.clientWidth || 420, 200);
    const height = card.classList.contains("wide") ? 420 : 210;
    const left = 52, right = 10, top = 8, bottom = 22;
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    plot.style.height = height + "px";
    plot.replaceChildren();
    values.replaceChildren();
    view = null;
    const list = lines();
    const fits = (value) => value !== null && (!look.log || value > 0);
    let lowX = Infinity, highX = -Infinity, low = Infinity, high = -Infinity;
    for (const line of list) {
      for (const value of line.x) { if (value < lowX) lowX = value; if (value > highX) highX = value; }
      for (const part of look.smooth ? [line.y] : [line.low ?? line.y, line.high ?? line.y]) {
        for (const value of part) if (fits(value)) { if (value < low) low = value; if (value > high) high = value; }
      }
    }
    if (low === Infinity) {
      const reason = !list.length ? "no run is chosen" : look.log ? "nothing above 0 for a log scale" : "no finite value";
      plot.append(draw("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, reason));
      return;
    }
    if (lowX === highX) { lowX -= 0.5; highX += 0.5; }
    if (look.log) { if (high / low < 1.02) { low /= 1.1; high *= 1.1; } }
    else {
      const margin = (high - low) * 0.04 || Math.abs(high) * 0.1 || 1;
      low = low >= 0 && low - margin < 0 ? 0 : low - margin;
      high += margin;
    }
    const atX = (value) => left + ((value - lowX) / (highX - lowX)) * (width - left - right);
    const scale = look.log ? Math.log10 : (value) => value;
    const atY = (value) => top + (1 - (scale(value) - scale(low)) / (scale(high) - scale(low))) * (height - top - bottom);
    for (const value of look.log ? logTicks(low, high) : ticks(low, high, 4)) {
      const y = atY(value);
      plot.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y, y2: y }));
      plot.append(draw("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, shown(value, 3)));
    }
    const across = ticks(lowX, highX, Math.max(2, Math.floor(width / 110)));
    for (const value of across) {
      const x = atX(value);
      plot.append(draw("line", { class: "grid", x1: x, x2: x, y1: height - bottom, y2: height - bottom + 4 }));
      plot.append(draw("text", { x: Math.min(x, width - right - 4), y: height - 6, "text-anchor": x > width - 40 ? "end" : "middle" }, count(value)));
    }
    const path = (x, y) => {
      let text = "", open = false;
      y.forEach((value, place) => {
        if (!fits(value)) { open = false; return; }
        text += `${open ? "L" : "M"}${atX(x[place]).toFixed(1)},${atY(value).toFixed(1)}`;
        open = true;
      });
      return text;
    };
    for (const line of list) {
      const stroke = { stroke: line.run.colour, "stroke-dasharray": line.run.dash };
      if (line.low && !look.smooth) {
        const there = [], back = [];
        line.x.forEach((x, place) => {
          if (fits(line.low[place]) && fits(line.high[place])) {
            there.push(`${atX(x).toFixed(1)},${atY(line.high[place]).toFixed(1)}`);
            back.unshift(`${atX(x).toFixed(1)},${atY(line.low[place]).toFixed(1)}`);
          }
        });
        if (there.length) plot.append(draw("path", { class: "band", style: `fill:${line.run.colour}`, d: `M${there.join("L")}L${back.join("L")}Z` }));
      }
      const raw = look.smooth && line.y !== line.raw ? draw("path", { class: "raw", d: path(line.x, line.raw), ...stroke }) : null;
      if (raw && line.x.length > 1) plot.append(raw);
      plot.append(draw("path", { d: path(line.x, line.y), ...stroke }));
      if (line.x.length <= FEW) {
        line.y.forEach((value, place) => {
          if (fits(value)) plot.append(draw("circle", { cx: atX(line.x[place]), cy: atY(value), r: 2.2, fill: line.run.colour }));
        });
      }
    }
    view = { list, atX, left, right, top, bottom, width, height, lowX, highX, fits, atY };
    told(null);
  }

  function told(step) {
    // the values under the pointer, or the last ones
    values.replaceChildren();
    for (const line of view.list) {
      let place = line.x.length - 1;
      if (step !== null) {
        let best = Infinity;
        line.x.forEach((x, i) => { const away = Math.abs(x - step); if (away < best) { best = away; place = i; } });
      }
      const square = draw("svg", { class: "dot", viewBox: "0 0 22 8" });
      square.append(draw("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke: line.run.colour, "stroke-width": 3, "stroke-dasharray": line.run.dash }));
      values.append(make("span", { title: line.run.name }, square, " ", make("b", {}, shown(line.y[place])), ` at ${count(line.x[place])}`));
      if (values.children.length >= 12) { values.append(make("span", {}, `and ${view.list.length - 12} more`)); break; }
    }
  }

  function point(event) {
    if (!view) return;
    const box = plot.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * view.width;
    const step = view.lowX + ((x - view.left) / (view.width - view.left - view.right)) * (view.highX - view.lowX);
    plot.querySelectorAll(".cursor").forEach((old) => old.remove());
    if (x >= view.left && x <= view.width - view.right) {
      plot.append(draw("line", { class: "cursor", x1: x, x2: x, y1: view.top, y2: view.height - view.bottom }));
    }
    told(Math.min(Math.max(step, view.lowX), view.highX));
  }
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerleave", () => {
    plot.querySelectorAll(".cursor").forEach((old) => old.remove());
    if (view) told(null);
  });
  watchers.push(redraw);
  return card;
}

function charts() {
  if (!facts.curves.length) return;
  const place = section("Curves");
  const smooth = make("input", { type: "range", id: "smooth", min: 0, max: 0.99, step: 0.01, value: 0, oninput: (event) => { look.smooth = Number(event.target.value); again(); } });
  const log = make("input", { type: "checkbox", id: "log", onchange: (event) => { look.log = event.target.checked; again(); } });
  const across = make("select", { id: "across", onchange: (event) => { look.samples = event.target.value === "samples"; again(); } },
    make("option", { value: "steps" }, "steps"), make("option", { value: "samples" }, "pictures seen"));
  place.append(make("div", { class: "bar" }, labelled("Smoothing", smooth), labelled("Log scale", log), labelled("Across:", across)));
  const order = ["Held-out part", "Losses", "Other numbers", "Gradient norms", "Learning rates", "Speed"];
  for (const group of order) {
    const curves = facts.curves.filter((curve) => curve.group === group);
    if (!curves.length) continue;
    place.append(make("h3", {}, group), make("div", { class: "charts" }, ...curves.map(chart)));
  }
}

// ---------------------------------------------------------------------------------------------- pictures

function viewer() {
  // shows one picture, or two of them on both sides of a line; wheel zooms, dragging moves
  const before = make("img", { alt: "" }), after = make("img", { alt: "" });
  const cover = make("div", { class: "after" }, after);
  const stage = make("div", { class: "stage" }, before, cover);
  const handle = make("div", { class: "handle" });
  const left = make("div", { class: "tag left" }), right = make("div", { class: "tag right" });
  const box = make("div", { class: "viewer" }, stage, handle, left, right);
  const slider = make("input", { type: "range", min: 0, max: 1, step: 0.001, value: 0.5, "aria-label": "Before and after", class: "divider" });
  let width = 1, height = 1, zoom = 1, x = 0, y = 0, split = 0.5, two = false, whole = false, difference = false;

  function place() {
    stage.style.width = width + "px";
    stage.style.height = height + "px";
    stage.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
    box.classList.toggle("pixels", zoom >= 2);
    const at = split * box.clientWidth;
    handle.style.left = at + "px";
    handle.hidden = !two || difference;
    handle.style.display = two && !difference ? "" : "none";
    cover.style.display = two ? "" : "none";
    const cut = (at - x) / zoom;
    cover.style.clipPath = difference ? "none" : `polygon(${cut}px -9999999px, 9999999px -9999999px, 9999999px 9999999px, ${cut}px 9999999px)`;
    percent.textContent = `${Math.round(zoom * 100)} %`;
  }
  function fit() {
    zoom = Math.min(box.clientWidth / width, box.clientHeight / height);
    if (zoom > 1 && zoom < 2) zoom = 1;
    if (zoom >= 2) zoom = Math.floor(zoom);
    x = (box.clientWidth - width * zoom) / 2;
    y = (box.clientHeight - height * zoom) / 2;
    whole = true;
    place();
  }
  function zoomed(times, centreX = box.clientWidth / 2, centreY = box.clientHeight / 2) {
    const next = Math.min(Math.max(zoom * times, 0.02), 40);
    x = centreX - ((centreX - x) * next) / zoom;
    y = centreY - ((centreY - y) * next) / zoom;
    zoom = next;
    whole = false;
    place();
  }
  box.addEventListener("wheel", (event) => {
    event.preventDefault();
    const edge = box.getBoundingClientRect();
    zoomed(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.003), event.clientX - edge.left, event.clientY - edge.top);
  }, { passive: false });
  let drag = null;
  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    drag = { line: event.target === handle, x: event.clientX, y: event.clientY };
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (drag.line) {
      const edge = box.getBoundingClientRect();
      divide(Math.min(Math.max((event.clientX - edge.left) / edge.width, 0), 1));
    } else {
      x += event.clientX - drag.x;
      y += event.clientY - drag.y;
      drag.x = event.clientX;
      drag.y = event.clientY;
      whole = false;
      place();
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) box.addEventListener(kind, () => { drag = null; });
  function divide(value) {
    split = value;
    slider.value = value;
    place();
  }
  slider.addEventListener("input", () => divide(Number(slider.value)));
  const button = (text, title, act) => make("button", { title, "aria-label": title, onclick: act }, text);
  const percent = make("span", { class: "soft zoom" });
  const differs = make("input", { type: "checkbox", onchange: (event) => { difference = event.target.checked; box.classList.toggle("difference", difference); place(); } });
  const both = make("span", { class: "bar" }, slider, labelled("Difference", differs));
  const bar = make("div", { class: "bar" }, button("−", "Smaller", () => zoomed(1 / 1.5)), button("+", "Larger", () => zoomed(1.5)),
    button("Fit", "Whole picture", fit), button("1:1", "Pixel for pixel", () => zoomed(1 / zoom)), percent, both);
  new ResizeObserver(() => (whole ? fit() : place())).observe(box);
  return {
    box, bar,
    show(one, other, names) {
      const same = one.w === width && one.h === height;
      [width, height, two] = [one.w, one.h, Boolean(other)];
      before.src = one.src;
      if (other) after.src = other.src; else after.removeAttribute("src");
      [left.textContent, right.textContent] = names;
      left.hidden = !names[0];
      right.hidden = !two;
      both.style.display = two ? "" : "none";
      if (same && !whole) place(); else fit();
    },
  };
}

function lightbox() {
  const view = viewer();
  const title = make("span", { class: "soft" });
  const box = make("dialog", {}, make("div", { class: "bar" }, title, make("span", { class: "grow" }), view.bar, make("button", { onclick: () => box.close() }, "Close")), view.box);
  document.body.append(box);
  return (picture, name) => {
    title.textContent = name;
    box.showModal();
    view.show(picture, null, ["", ""]);
  };
}

function grids(enlarge) {
  const withGrids = runs.filter((run) => run.grids.length);
  if (!withGrids.length) return;
  const place = section("Samples through time");
  const steps = [...new Set(withGrids.flatMap((run) => run.grids.map((grid) => grid.step)))].sort((a, b) => a - b);
  const slider = make("input", { type: "range", id: "time", min: 0, max: steps.length - 1, value: steps.length - 1, style: "flex: 1", "aria-label": "Step" });
  const label = make("b", { style: "min-width: 9em" });
  let timer = null;
  const play = make("button", { onclick: () => {
    if (timer) return stop();
    if (Number(slider.value) === steps.length - 1) slider.value = 0;
    play.textContent = "Pause";
    timer = setInterval(() => {
      if (Number(slider.value) >= steps.length - 1) return stop();
      slider.value = Number(slider.value) + 1;
      fill();
    }, 500);
    fill();
  } }, "Play");
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  slider.addEventListener("input", () => { if (timer) stop(); fill(); });
  const area = make("div", { class: "grids" });
  place.append(make("div", { class: "bar" }, play, slider, label), area);
  const figures = withGrids.map((run) => {
    const image = make("img", { alt: `samples of ${run.name}` });
    const caption = make("figcaption");
    const figure = make("figure", { class: "card" }, caption, image);
    image.addEventListener("click", () => enlarge(figure.grid, caption.textContent));
    area.append(figure);
    return { run, image, caption, figure };
  });
  function fill() {
    const step = steps[slider.value];
    label.textContent = `step ${count(step)}`;
    for (const { run, image, caption, figure } of figures) {
      figure.hidden = !run.visible;
      figure.style.display = run.visible ? "" : "none";
      const grid = run.grids.filter((each) => each.step <= step).pop() ?? run.grids[0];
      if (figure.grid === grid) continue;
      figure.grid = grid;
      image.src = grid.src;
      caption.textContent = `${run.name}, step ${count(grid.step)}`;
    }
  }
  watchers.push(fill);
  fill();
}

function aligned(columns, rows) {
  // says how many decimals the numbers of each column have, the same for all of them
  return columns.map((_, place) => {
    const sizes = rows.map((row) => Math.abs(row.values[place])).filter((size) => Number.isFinite(size) && size > 0);
    const largest = sizes.reduce((a, b) => Math.max(a, b), 0);
    if (!sizes.length || largest >= 1e6 || largest < 1e-3) return (value) => shown(value);
    const decimals = largest >= 1000 ? 0 : largest >= 100 ? 1 : largest >= 10 ? 2 : largest >= 1 ? 3 : 4;
    return (value) => (typeof value === "number" ? value.toFixed(decimals) : shown(value));
  });
}

function gallery(table_, place) {
  const { folders, columns } = table_;
  const rows = table_.rows.map((row, number) => ({ ...row, number }));
  const open = rows.filter((row) => row.pictures && Object.keys(row.pictures).length);
  place.append(notes(table_.notes) ?? "");
  const print = aligned(columns, rows);
  let current = null;
  const lines = rows.map((row) => ({
    row,
    text: row.name,
    note: row.note || (row.pictures ? "" : "Its picture is not in this page."),
    cells: [row.name, ...row.values.map((value, column) => print[column](value))],
    sort: [row.name, ...row.values.map(asNumber)],
    open: row.pictures && Object.keys(row.pictures).length ? () => { choose(row); left.scrollIntoView({ block: "nearest" }); } : null,
  }));
  const view = open.length ? viewer() : null;
  const pick = (chosen) => {
    const select = make("select", {}, ...folders.map((name, number) => make("option", { value: number }, name)));
    select.value = chosen;
    select.addEventListener("change", () => choose(current));
    return select;
  };
  const before = pick(folders.length > 2 ? 1 : 0), after = pick(folders.length - 1);
  const name = make("b");
  function choose(row) {
    if (!row) return;
    current = row;
    const has = Object.keys(row.pictures);
    const one = row.pictures[before.value] ?? row.pictures[has[0]];
    const other = before.value !== after.value ? row.pictures[after.value] : null;
    view.show(one, row.pictures[before.value] ? other : null, [folders[row.pictures[before.value] ? before.value : has[0]], folders[after.value]]);
    const absent = [before, after].filter((each) => !row.pictures[each.value]).map((each) => folders[each.value]);
    name.textContent = row.name + (absent.length && folders.length > 1 ? ` (not there: ${absent.join(", ")})` : "");
    list.fill();
    strips.forEach((mark) => mark());
  }
  const list = table({
    columns: [{ name: "name" }, ...columns.map((column) => ({ ...column, number: true }))],
    rows: lines,
    foot: columns.length && rows.length > 1 ? [rows.every((row) => row.values.every(Number.isFinite)) ? `mean of ${rows.length.toLocaleString("en")}` : "mean", ...table_.means.map((value, column) => print[column](value))] : null,
    filter: rows.length > 12,
    chosen: () => lines.find((line) => line.row === current),
  });
  const strips = [];
  const ends = make("div");
  function extremes(column) {
    // the best and the worst of a number, of which pictures are here
    strips.length = 0;
    ends.replaceChildren();
    const by = open.filter((row) => row.values[column] !== null).sort((a, b) => asNumber(a.values[column]) - asNumber(b.values[column]));
    if (columns[column].higher) by.reverse();
    const most = Math.min(8, Math.ceil(by.length / 2));
    const folder = folders.findIndex((each) => columns[column].name.startsWith(each + ": "));
    for (const [title, some] of [["Best", by.slice(0, most)], ["Worst", by.slice(-most).reverse()]]) {
      const strip = make("div", { class: "strip" });
      for (const row of some) {
        const picture = row.pictures[folder] ?? Object.values(row.pictures).pop();
        const tile = make("button", { title: row.name, onclick: () => choose(row) }, make("img", { src: picture.src, alt: "", loading: "lazy" }),
          make("div", {}, row.name), make("div", { class: "soft" }, print[column](row.values[column])));
        strips.push(() => tile.classList.toggle("chosen", row === current));
        strip.append(tile);
      }
      ends.append(make("h3", {}, `${title} by ${columns[column].name}`), strip);
    }
    strips.forEach((mark) => mark());
  }
  if (!view) { place.append(list.box); return; }
  const step = (way) => {
    const order = list.order().map((line) => line.row).filter((row) => open.includes(row));
    choose(order[(order.indexOf(current) + way + order.length) % order.length]);
  };
  const choices = make("div", { class: "bar" },
    make("button", { onclick: () => step(-1), "aria-label": "Previous" }, "◂"), make("button", { onclick: () => step(1), "aria-label": "Next" }, "▸"),
    folders.length > 1 ? labelled("Before", before) : null, folders.length > 1 ? labelled("After", after) : null, name);
  const left = make("div", {}, choices, view.box, view.bar);
  const extreme = make("div");
  if (columns.length && open.length > 1) {
    const by = make("select", { class: "by", onchange: () => extremes(Number(by.value)) }, ...columns.map((column, number) => make("option", { value: number }, column.name)));
    const last = columns.findIndex((column) => column.name.startsWith(folders[folders.length - 1] + ": "));
    by.value = Math.max(last, 0);
    extreme.append(make("div", { class: "bar" }, labelled("Best and worst by", by)), ends);
    extremes(Number(by.value));
  }
  const many = columns.length > 4; // a wide table lies below
  place.append(make("div", { class: "split" }, left, many ? extreme : list.box), many ? list.box : extreme);
  choose(open[0]);
}

// ---------------------------------------------------------------------------------------------- runs

function chips() {
  if (runs.length < 2) return;
  const bar = make("div", { class: "bar legend" });
  for (const run of runs) {
    const square = draw("svg", { class: "dot", viewBox: "0 0 22 8" });
    square.append(draw("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke: run.colour, "stroke-width": 5, "stroke-dasharray": run.dash }));
    const chip = make("button", { class: "chip", "aria-pressed": "true", title: "Show or hide " + run.name, onclick: () => {
      run.visible = !run.visible;
      chip.setAttribute("aria-pressed", run.visible);
      again();
    } }, square, make("span", {}, run.name));
    bar.append(chip);
  }
  page.append(bar);
}

function overview() {
  if (!runs.length) return;
  const place = section(runs.length > 1 ? "Runs" : "Run");
  const state = (run) => make("span", { class: "state " + run.state, title: run.reason || null }, run.state);
  const best = (run) => (run.best ? `${run.best.metric} ${shown(run.best.value)} at ${count(run.best.step)}` : "–");
  const list = table({
    columns: [{ name: "run" }, { name: "method" }, { name: "state" }, { name: "step", number: true }, { name: "of", number: true },
      { name: "pictures seen", number: true }, { name: "best", number: true }, { name: "last change" }],
    rows: runs.map((run) => ({
      cells: [run.name, run.method || "–", state(run), count(run.step), count(run.total), count(run.samples), best(run), run.changed],
      sort: [run.name, run.method, run.state, run.step, run.total, run.samples, run.best ? asNumber(run.best.value) : null, run.changed],
      text: run.name,
    })),
  });
  place.append(list.box);
  const said = runs.flatMap((run) => [run.reason, ...run.notes].filter(Boolean).map((note) => (runs.length > 1 ? `${run.name}: ${note}` : note)));
  place.append(notes(said) ?? "");
}

function differences(title, key) {
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run[key])))];
  if (!keys.length) return;
  const place = section(title);
  const value = (run, name) => (Object.hasOwn(run[key], name) ? run[key][name] : undefined); // not "constructor"
  const differs = (name) => new Set(runs.map((run) => value(run, name))).size > 1;
  const area = make("div");
  let only = runs.length > 1 && keys.some(differs);
  function fill() {
    area.replaceChildren(table({
      columns: [{ name: "key" }, ...runs.map((run) => ({ name: runs.length > 1 ? run.name : "value" }))],
      rows: keys.filter((name) => !only || differs(name)).map((name) => ({
        cells: [name, ...runs.map((run) => value(run, name) ?? "–")],
        sort: [name, ...runs.map((run) => value(run, name) ?? null)],
        text: name + " " + runs.map((run) => value(run, name) ?? "").join(" "),
      })),
      filter: keys.length > 12,
    }).box);
  }
  if (runs.length > 1) {
    const box = make("input", { type: "checkbox", class: "only", onchange: (event) => { only = event.target.checked; fill(); } });
    box.checked = only;
    place.append(make("div", { class: "bar" }, keys.some(differs) ? labelled("Only what differs", box) : make("span", { class: "soft" }, "All runs have the same.")));
  }
  place.append(area);
  fill();
}

function heading() {
  const theme = make("button", { title: "Light or dark", onclick: () => {
    const dark = (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  } }, "◐");
  const links = make("nav");
  const head = make("header", {}, make("h1", {}, facts.title), make("span", { class: "soft" }, `${facts.made}, img2img ${facts.version}`), make("span", { class: "grow" }), links, theme);
  page.append(head);
  page.append(notes(facts.notes) ?? "");
  return () => links.append(...sections.map(([title, id]) => make("a", { href: "#" + id }, title)));
}

const link = heading();
chips();
overview();
charts();
const enlarge = lightbox();
grids(enlarge);
for (const each of facts.galleries) gallery(each, section(each.title));
differences("Configuration", "config");
differences("Environment", "environment");
link();
again();
let resizing = null;
addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(again, 100); });
