// Pictures open large on a click; without this script they are simply pictures.
(() => {
  const box = document.getElementById("lightbox");
  if (!box || !box.showModal) return;
  const image = box.querySelector("img"), text = box.querySelector("p");
  const all = [...document.querySelectorAll("[data-zoom]")];
  let at = 0;
  const show = (n) => {
    at = (n + all.length) % all.length;
    const own = all[at].querySelector("img");
    image.src = own.src;
    image.alt = own.alt;
    text.textContent = all[at].dataset.zoom;
  };
  all.forEach((figure, n) => {
    figure.tabIndex = 0;
    figure.setAttribute("role", "button");
    const open = () => { show(n); box.showModal(); };
    figure.addEventListener("click", open);
    figure.addEventListener("keydown", (e) => {
      if (e.key === "Enter" || e.key === " ") { e.preventDefault(); open(); }
    });
  });
  box.addEventListener("click", () => box.close());
  box.addEventListener("keydown", (e) => {
    if (e.key === "ArrowRight") show(at + 1);
    if (e.key === "ArrowLeft") show(at - 1);
  });
})();
