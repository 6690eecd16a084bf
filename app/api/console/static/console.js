// Empty fields of the search are left out of its address, a picture that does not come makes room for a letter, and no
// more products can be ticked than can be compared.
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

for (const link of document.querySelectorAll("a[data-as]")) {
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const answer = await fetch(link.href, { headers: { Accept: link.dataset.as } });
    const file = document.createElement("a");
    file.href = URL.createObjectURL(await answer.blob());
    file.download = link.download;
    file.click();
  });
}
