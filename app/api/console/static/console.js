// Empty fields of the search are left out of its address, a picture that does not come makes room for a letter, and no
// more products can be ticked than can be compared. The page of a run that is under way follows it.
"use strict";

for (const form of document.querySelectorAll("form.search")) {
  form.addEventListener("submit", () => {
    for (const input of form.elements) if (input.name && input.value === "" && input.name !== "q") input.disabled = true;
  });
}

for (const picture of document.querySelectorAll(".picture img")) {
  const replace = () => {
    const letter = document.createElement("span");
    letter.textContent = (picture.closest(".product, main")?.querySelector("h2, h1")?.textContent ?? "").trim().slice(0, 1);
    picture.replaceWith(letter);
  };
  if (picture.complete && picture.naturalWidth === 0) replace();
  else picture.addEventListener("error", replace);
}

for (const form of document.querySelectorAll("form.compare")) {
  const boxes = [...form.querySelectorAll("input[name=urn]")];
  const button = form.querySelector("button");
  const update = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    for (const box of boxes) box.disabled = ticked >= 5 && !box.checked;
    if (button) button.disabled = ticked < 2;
  };
  form.addEventListener("change", update);
  addEventListener("pageshow", update);
}

const SAID = { waiting: "waiting", reading: "being read", read: "read", unchanged: "unchanged", failed: "not read" };
const number = (value) => Math.round(value).toLocaleString("en");

function shardTold({ state, items, of }) {
  if (!of) return SAID[state];
  return `${SAID[state]}: ${state === "reading" ? `${number(items)} of ` : ""}${number(of)} item${of === 1 ? "" : "s"}`;
}

function shardBar(shard) {
  const line = document.createElement("li");
  const [name, bar, told] = ["span", "progress", "small"].map((tag) => line.appendChild(document.createElement(tag)));
  line.className = shard.state;
  name.textContent = shard.shard;
  bar.ariaLabel = shard.shard;
  if (shard.state !== "reading") bar.value = shard.state === "waiting" ? 0 : 1;
  else if (shard.of) bar.value = shard.items / shard.of;
  told.textContent = shardTold(shard);
  return line;
}

function showShards(place, { counts = {}, shards }) {
  place.hidden = !shards;
  const told = Object.entries(counts).filter(([, count]) => count);
  place.querySelector("p").textContent = told.map(([state, count]) => `${number(count)} ${SAID[state]}`).join(", ");
  place.querySelector("ol").replaceChildren(...(shards ?? []).map(shardBar));
}

function showEmbedding(place, { embedding }) {
  place.hidden = !embedding;
  if (!embedding) return;
  const { done, pending, perSecond } = embedding;
  const rate = perSecond === undefined ? "" : `, ${number(perSecond)} a second`;
  Object.assign(place.querySelector("progress"), { max: pending, value: done });
  place.querySelector("p").textContent = `${number(done)} of ${number(pending)} products${rate}`;
}

const live = document.querySelector("#progress[data-live]");

async function follow() {
  const answer = await fetch(location.href, { headers: { Accept: "application/json" } }).catch(() => null);
  const run = answer?.ok ? await answer.json() : null;
  if (run && run.status !== "running") return location.reload();
  if (run) {
    showShards(document.querySelector("#shards"), run.progress);
    showEmbedding(document.querySelector("#embedding"), run.progress);
  }
  setTimeout(follow, 1000 * live.dataset.live);
}

if (live) setTimeout(follow, 1000 * live.dataset.live);
