// Tables that sort, filter and turn; a gallery; links that open what they lead to. Nothing is loaded and nothing is kept.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  // not `disabled`, which would take the focus away from who turns pages by key
  const grey = (button, off) => button.setAttribute("aria-disabled", off);

  // Tables -----------------------------------------------------------------------------------------------------------

  const ROWS = 50;

  function enliven(table) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const box = table.parentElement;
    let at = 0;

    const filter = make("input", { type: "search" });
    const back = make("button", { type: "button", textContent: "←" });
    const on = make("button", { type: "button", textContent: "→" });
    const place = make("output");
    back.setAttribute("aria-label", "previous rows");
    on.setAttribute("aria-label", "next rows");
    if (rows.length > 10) {
      box.before(make("div", { className: "pager" }, make("label", {}, "rows with ", filter), back, place, on));
    }

    function show() {
      const words = filter.value.toLowerCase();
      const hits = words ? rows.filter((row) => row.textContent.toLowerCase().includes(words)) : rows;
      const last = Math.max(0, Math.floor((hits.length - 1) / ROWS) * ROWS);
      at = Math.max(0, Math.min(at, last));
      rows.forEach((row) => { row.hidden = true; });
      hits.slice(at, at + ROWS).forEach((row) => { row.hidden = false; });
      place.textContent = hits.length ? `${at + 1}–${Math.min(at + ROWS, hits.length)} of ${hits.length}` : "none";
      grey(back, at === 0);
      grey(on, at === last);
    }

    function sort(column) {
      const falling = heads[column].getAttribute("aria-sort") === "ascending";
      heads.forEach((head) => head.setAttribute("aria-sort", "none"));
      heads[column].setAttribute("aria-sort", falling ? "descending" : "ascending");
      const key = new Map(rows.map((row) => {
        const cell = row.cells[column];
        return [row, cell.dataset.v ?? cell.textContent.trim()];
      }));
      const numbers = rows.every((row) => !Number.isNaN(Number(key.get(row))));
      rows.sort((a, b) => {
        const [x, y] = [key.get(a), key.get(b)];
        if ((x === "") !== (y === "")) return x === "" ? 1 : -1; // what is missing comes last either way
        const order = numbers ? Number(x) - Number(y) : x < y ? -1 : x > y ? 1 : 0;
        return falling ? -order : order;
      });
      body.append(...rows);
      at = 0;
      show();
    }

    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(column)));
    filter.addEventListener("input", () => { at = 0; show(); });
    back.addEventListener("click", () => { at -= ROWS; show(); });
    on.addEventListener("click", () => { at += ROWS; show(); });
    show();
  }

  document.querySelectorAll("table.sortable").forEach(enliven);

  // Links to cells ---------------------------------------------------------------------------------------------------

  function openTarget() {
    const target = location.hash.startsWith("#cell-") ? $(location.hash.slice(1)) : null;
    if (target) {
      target.open = true;
      target.scrollIntoView();
      target.querySelector("summary").focus({ preventScroll: true });
    }
  }

  addEventListener("hashchange", openTarget);
  // a link to where one already is changes no hash
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("a[href^='#cell-']")?.hash === location.hash) openTarget();
  });
  openTarget();

  // Gallery ----------------------------------------------------------------------------------------------------------

  const data = JSON.parse($("gallery-data").textContent);
  if (!$("viewer") || data.scenes.length === 0) return;
  const at = { scene: 0, attack: 0, budget: 0, image: 0 };
  const scene = () => data.scenes[at.scene];
  const attack = () => scene().attacks[at.attack];
  const cell = () => attack().budgets[at.budget];
  const image = () => cell().images[at.image];
  const source = (picture) => `data:image/png;base64,${data.pictures[picture]}`;
  let drawn = 0;

  function fill(select, names, chosen) {
    select.replaceChildren(...names.map((name, i) => make("option", { value: i, textContent: name })));
    select.selectedIndex = chosen;
  }

  // Keeps attack, budget and image where the other cell has them too.
  function go(change) {
    const [attackName, budgetName, example] = [attack().name, cell().name, image().example];
    Object.assign(at, change);
    const find = (list, wanted, otherwise) => {
      const found = list.findIndex(wanted);
      return found < 0 ? Math.min(otherwise, list.length - 1) : found;
    };
    if ("scene" in change) at.attack = find(scene().attacks, (a) => a.name === attackName, 0);
    if ("scene" in change || "attack" in change) at.budget = find(attack().budgets, (b) => b.name === budgetName, at.budget);
    if (!("image" in change)) at.image = find(cell().images, (i) => i.example === example, 0);
    $("times").value = cell().times;
    show();
  }

  function show() {
    const [i, c] = [image(), cell()];
    fill($("scene"), data.scenes.map((s) => s.name), at.scene);
    fill($("attack"), scene().attacks.map((a) => a.name), at.attack);
    fill($("budget"), attack().budgets.map((b) => b.name), at.budget);
    $("place").textContent = `${at.image + 1} of ${c.images.length}`;
    grey($("back"), at.image === 0);
    grey($("on"), at.image === c.images.length - 1);
    $("verdict").textContent = `${i.verdict} by ${attack().name}, ${c.name}`;
    $("verdict").className = i.fooled ? "fooled" : "";
    $("clean").src = source(i.clean);
    $("clean").alt = `clean image ${i.example}, predicted ${i.captions[0]}`;
    $("clean-says").textContent = i.captions[0];
    $("adversarial").src = source(i.adversarial);
    $("adversarial").alt = `adversarial image ${i.example}, predicted ${i.captions[1]}`;
    $("adversarial-says").textContent = i.captions[1];
    document.querySelectorAll(".pictures .map").forEach((figure, k) => {
      figure.hidden = !i.maps;
      const map = figure.querySelector("img");
      if (i.maps) map.src = source(i.maps[k]);
      map.alt = `Grad-CAM of the ${k ? "adversarial" : "clean"} image`;
      figure.querySelector(".layer").textContent = c.layer;
    });
    const row = ([name, ...values]) => make("tr", {}, make("td", { textContent: name }), ...values.map((value) => {
      const td = make("td", { className: "number", textContent: value });
      const bar = make("span", { className: "bar" });
      bar.style.width = `${Number(value)}%`;
      td.append(bar);
      return td;
    }));
    $("probabilities").tBodies[0].replaceChildren(...i.probabilities.map(row));
    $("size").textContent = i.text;
    $("of-cell").hash = `#cell-${c.cell}`;
    $("of-cell").hidden = !$(`cell-${c.cell}`);
    difference(i);
  }

  // Mid grey, and so many times the change on both sides of it.
  async function difference(i) {
    const mine = ++drawn;
    const times = Math.max(1, Number($("times").value) || 1);
    const pixels = await Promise.all([i.clean, i.adversarial].map(async (picture) => {
      const loaded = make("img", { src: source(picture) });
      await loaded.decode();
      const canvas = make("canvas", { width: loaded.naturalWidth, height: loaded.naturalHeight });
      const context = canvas.getContext("2d");
      context.drawImage(loaded, 0, 0);
      return context.getImageData(0, 0, canvas.width, canvas.height);
    }));
    if (mine !== drawn) return; // another image is shown by now
    const [clean, adversarial] = pixels;
    for (let k = 0; k < clean.data.length; k++) {
      if (k % 4 < 3) clean.data[k] = 128 + times * (adversarial.data[k] - clean.data[k]);
    }
    const canvas = $("difference");
    [canvas.width, canvas.height] = [clean.width, clean.height];
    canvas.getContext("2d").putImageData(clean, 0, 0);
    canvas.setAttribute("aria-label", `difference, ${times} times as large`);
    $("difference-says").textContent = `difference × ${times}`;
  }

  const turn = (key, list, by) => {
    const next = at[key] + by;
    if (next >= 0 && next < list.length) go({ [key]: next });
  };
  for (const key of ["scene", "attack", "budget"]) {
    $(key).addEventListener("change", (event) => go({ [key]: event.target.selectedIndex }));
  }
  $("back").addEventListener("click", () => turn("image", cell().images, -1));
  $("on").addEventListener("click", () => turn("image", cell().images, 1));
  $("times").addEventListener("input", () => difference(image()));
  $("viewer").addEventListener("keydown", (event) => {
    // lists and numbers have keys of their own
    if (event.target.matches("select, input") || event.ctrlKey || event.altKey || event.metaKey) return;
    const does = {
      ArrowLeft: () => turn("image", cell().images, -1),
      ArrowRight: () => turn("image", cell().images, 1),
      ArrowUp: () => turn("budget", attack().budgets, 1),
      ArrowDown: () => turn("budget", attack().budgets, -1),
      a: () => go({ attack: (at.attack + 1) % scene().attacks.length }),
    }[event.key];
    if (does) {
      event.preventDefault();
      does();
    }
  });
  // begin with something to see
  const fooled = (a) => a.budgets.some((b) => b.images.some((i) => i.fooled));
  at.attack = Math.max(0, scene().attacks.findIndex(fooled));
  at.budget = Math.max(0, attack().budgets.findIndex((b) => b.images.some((i) => i.fooled)));
  at.image = Math.max(0, cell().images.findIndex((i) => i.fooled));
  go({ image: at.image });
})();
