"use strict";
(() => {
  const table = document.getElementById("table");
  if (!table) return;
  const body = table.tBodies[0], tail = document.querySelector("details.tail"), all = [...document.querySelectorAll(".runs tbody tr")];
  const runs = all.filter((row) => !row.classList.contains("rule"));
  const filter = document.getElementById("filter"), count = document.getElementById("count");
  let sorted = "";
  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const touched = words.length > 0 || sorted !== "";
    const order = sorted ? [...runs].sort((a, b) => b.dataset[sorted] - a.dataset[sorted]) : all;
    if (touched && tail) tail.hidden = true;
    if (touched || body.dataset.moved) { body.append(...order); body.dataset.moved = "1"; if (tail) tail.hidden = true; }
    let shown = 0;
    for (const row of all) {
      const rule = row.classList.contains("rule"), text = row.textContent.toLowerCase();
      row.hidden = rule ? touched : !words.every((word) => text.includes(word));
      if (!rule && !row.hidden) shown += 1;
    }
    count.textContent = shown === runs.length ? `${runs.length} runs` : `${shown} of ${runs.length} runs`;
  };
  filter.addEventListener("input", show);
  document.querySelector(".tools").hidden = false;
  for (const head of table.querySelectorAll("[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      sorted = sorted === head.dataset.sort ? "" : head.dataset.sort;
      for (const other of table.querySelectorAll("[data-sort]")) other.removeAttribute("aria-sort");
      if (sorted) head.setAttribute("aria-sort", "descending");
      show();
    });
  }
  addEventListener("beforeprint", () => { if (tail) tail.open = true; });
})();
