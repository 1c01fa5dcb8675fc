// Lines of a figure are switched on and off by the names in its key; the best few are on at first.
const SHOWN = 8;
for (const board of document.querySelectorAll(".board")) {
  const data = JSON.parse(board.querySelector("script.data").textContent);
  const first = new Set(data.order.slice(0, SHOWN).map(String));
  for (const key of board.querySelectorAll(".toggles")) {
    const figure = key.closest("figure");
    const set = (button, on) => {
      button.setAttribute("aria-pressed", String(on));
      const series = button.parentNode.dataset.series;
      for (const part of figure.querySelectorAll(`svg [data-series="${series}"]`)) part.classList.toggle("off", !on);
    };
    const buttons = [...key.children].map((item) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...item.childNodes);
      item.append(button);
      button.addEventListener("click", () => set(button, button.getAttribute("aria-pressed") !== "true"));
      set(button, first.has(item.dataset.series));
      return button;
    });
    if (buttons.length > SHOWN) {
      const item = document.createElement("li");
      const all = document.createElement("button");
      all.type = "button";
      all.className = "all";
      all.textContent = "show all";
      all.addEventListener("click", () => {
        const on = all.textContent === "show all";
        for (const button of buttons) set(button, on || first.has(button.parentNode.dataset.series));
        all.textContent = on ? "show the best" : "show all";
      });
      item.append(all);
      key.append(item);
    }
  }
  for (const details of board.querySelectorAll("details.studies")) {
    details.addEventListener("toggle", () => fill(details, data));
  }
}

function element(name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
}

function fill(details, data) {
  const list = details.querySelector(".list");
  if (!details.open || list.childElementCount) return;
  data.studies.forEach((study, index) => {
    if (String(study.method) !== details.dataset.method) return;
    const one = element("details", undefined, { class: "study", id: `study-${data.board}-${index}` });
    one.append(element("summary", `${data.tasks[study.task]}, seed ${study.seed}: ${study.points} points`));
    one.addEventListener("toggle", () => {
      if (one.open && one.childElementCount === 1) show(one, study, data, index);
    });
    list.append(one);
  });
}

function show(one, study, data, index) {
  if (study.trace.length > 1) one.append(drawing(study.trace, data.budget));
  if (study.mixture.length) {
    const bars = element("div", undefined, { class: "bars" });
    const widest = Math.max(...study.mixture.map((m) => m[1]), 1e-9);
    for (const [domain, share] of study.mixture) {
      const bar = element("span", undefined, { class: "bar" });
      bar.append(element("i", undefined, { style: `width: ${(100 * share / widest).toFixed(1)}%` }));
      bars.append(element("span", domain), bar, element("span", `${(100 * share).toFixed(1)} %`, { class: "n" }));
    }
    one.append(bars);
  }
  const facts = element("dl", undefined, { class: "facts" });
  for (const [name, value] of study.facts) {
    facts.append(element("dt", name), element("dd", value));
  }
  const link = element("a", `#${one.id}`, { href: `#${one.id}` });
  const where = element("dd");
  where.append(link);
  facts.append(element("dt", "link"), where);
  one.append(facts);
  if (data.commands[study.command]) one.append(element("pre", data.commands[study.command]));
}

function drawing(trace, budget) {
  const space = "http://www.w3.org/2000/svg";
  const ys = trace.map((p) => p[1]);
  const low = Math.min(...ys, 0), high = Math.max(...ys, 100);
  const x = (spent) => (300 * spent / budget).toFixed(2);
  const y = (score) => (100 - 100 * (score - low) / (high - low)).toFixed(2);
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 -2 300 104");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Recommended score over the budget, from ${ys[0]} to ${ys[ys.length - 1]} points; lines at 0 and 100`);
  for (const level of [0, 100]) {
    const line = document.createElementNS(space, "line");
    for (const [name, value] of Object.entries({ x1: 0, x2: 300, y1: y(level), y2: y(level) })) line.setAttribute(name, value);
    svg.append(line);
  }
  let path = `M${x(trace[0][0])} ${y(trace[0][1])}`;
  for (const [spent, score] of trace.slice(1)) path += `H${x(spent)}V${y(score)}`;
  const drawn = document.createElementNS(space, "path");
  drawn.setAttribute("d", `${path}H300`);
  svg.append(drawn);
  return svg;
}

// A link to a study opens what hides it.
function reveal() {
  const found = /^#study-(\d+)-(\d+)$/.exec(location.hash);
  if (!found) return;
  const board = document.querySelector(`.board[data-board="${found[1]}"]`);
  if (!board) return;
  const data = JSON.parse(board.querySelector("script.data").textContent);
  const study = data.studies[Number(found[2])];
  if (!study) return;
  const outer = board.querySelector(`details.studies[data-method="${study.method}"]`);
  outer.open = true;
  fill(outer, data);
  const one = document.getElementById(location.hash.slice(1));
  one.open = true;
  one.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();
