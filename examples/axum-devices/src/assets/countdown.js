// Counts down to the end of the session and warns before it. Display only: the server enforces the end.
const banner = document.getElementById("expiry");
const total = Number(banner.dataset.left);
const warn = Number(banner.dataset.warn);
const grace = Number(banner.dataset.grace) * 1000;
const end = Date.now() + total * 1000;

function clock(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

function show() {
  const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
  for (const element of document.querySelectorAll("[data-clock]")) element.textContent = clock(left);
  for (const element of document.querySelectorAll("[data-progress]")) element.value = left;
  if (left <= warn) banner.hidden = false;
  // The session may last up to a tenth longer than the clock shows; only then is it certainly over.
  if (Date.now() < end + grace) return;
  clearInterval(timer);
  const action = banner.querySelector("[data-action]");
  banner.querySelector("[data-text]").textContent = "Your session has expired";
  banner.querySelector(".ticking").hidden = true;
  action.href = action.dataset.ended;
  action.textContent = "Sign in again";
}

const timer = setInterval(show, 500);
show();

// A page restored from the back/forward cache shows outdated values.
addEventListener("pageshow", (event) => event.persisted && location.reload());
