"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const said = { problems };
  try {
    said.width = document.documentElement.clientWidth;
    said.dark = matchMedia("(prefers-color-scheme: dark)").matches;
    said.paper = getComputedStyle(document.body).backgroundColor;

    const table = document.querySelector("#summary table");
    const heads = [...table.tHead.rows[0].cells];
    const robust = heads.findIndex((head) => head.textContent === "robust");
    const column = () => [...table.tBodies[0].rows].map((row) => row.cells[robust].textContent);
    heads[robust].querySelector("button").click();
    [said.rising, said.sorted] = [column(), heads[robust].getAttribute("aria-sort")];
    heads[robust].querySelector("button").click();
    [said.falling, said.sorted_again] = [column(), heads[robust].getAttribute("aria-sort")];
    const filter = document.querySelector("#summary input");
    filter.value = "NET-B";
    filter.dispatchEvent(new Event("input"));
    said.filtered = [...table.tBodies[0].rows].filter((row) => !row.hidden).length;
    filter.value = "";
    filter.dispatchEvent(new Event("input"));

    const viewer = $("viewer");
    const press = (key) => {
      viewer.focus();
      document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    };
    said.place = $("place").textContent;
    said.clean = $("clean").src;
    press("ArrowRight");
    said.place_next = $("place").textContent;
    said.clean_next = $("clean").src;
    press("ArrowLeft");
    said.place_back = $("place").textContent;
    await wait(500);
    const canvas = $("difference");
    const pixel = canvas.getContext("2d").getImageData(3, 5, 1, 1).data;
    said.difference = [canvas.width, canvas.height, ...pixel.slice(0, 3)];
    const chosen = (id) => $(id).selectedOptions[0].textContent;
    said.budget = chosen("budget");
    press("ArrowUp");
    said.budget_up = chosen("budget");
    const image = () => $("verdict").textContent.split(":")[0];
    said.attack = chosen("attack");
    said.verdict_kept = image();
    press("a");
    said.attack_next = chosen("attack");
    said.verdict_next = image();
    $("scene").selectedIndex = 1;
    $("scene").dispatchEvent(new Event("change"));
    said.scene_chosen = $("scene").selectedIndex;

    const link = table.querySelector("td.number a");
    link.click();
    await wait(200);
    said.opened = document.querySelector(link.getAttribute("href")).open;
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
    await wait(100);
    said.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    $("back").focus({ focusVisible: true });
    said.focus = getComputedStyle($("back")).outlineStyle;
    await wait(500);
  } catch (error) {
    problems.push(String(error.stack));
  }
  parent.postMessage(btoa(unescape(encodeURIComponent(JSON.stringify(said)))), "*");
})();
