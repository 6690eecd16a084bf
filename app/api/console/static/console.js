// Empty fields of the search are left out of its address, and a picture that does not come makes room for a letter.
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
