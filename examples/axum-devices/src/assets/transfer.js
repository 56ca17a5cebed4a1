// Counts down while a code is valid. Display only: the server enforces the end.
const card = document.getElementById("transfer");
const over = Date.now() + Number(card.dataset.left) * 1000;

function tick() {
  const left = Math.max(0, Math.ceil((over - Date.now()) / 1000));
  const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  card.querySelector("[data-code-clock]").textContent = clock;
  card.querySelector("[data-code-progress]").value = left;
  if (left > 0) return;
  clearInterval(ticking);
  card.classList.add("over");
  for (const element of card.querySelectorAll("[data-over]")) element.hidden = false;
  for (const element of card.querySelectorAll("[data-live]")) element.hidden = true;
}

const ticking = setInterval(tick, 500);
tick();
