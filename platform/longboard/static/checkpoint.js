// Sends the chosen files in pieces, with progress, and goes on where a broken upload stopped. Without it the plain form works.
"use strict";

const form = document.querySelector("form[data-pieces]");
const line = form.querySelector(".progress-line");
const [bar, says] = [line.querySelector("progress"), line.querySelector("span")];

form.addEventListener("submit", async (event) => {
  const files = [...form.elements.chosen.files];
  if (!window.crypto?.subtle || !files.length) return; // no digests outside a secure context: the plain form
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  line.hidden = false;
  try {
    const model = await send(files);
    location.assign(`/models/${model.slug}/`);
  } catch (error) {
    says.textContent = error.message;
    button.disabled = false;
  }
});

async function send(files) {
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const announced = {
    title: form.elements.title.value,
    licence: form.elements.licence.value,
    files: files.map((file) => ({ name: file.name, size: file.size })),
  };
  const upload = await call("POST", "/checkpoints", JSON.stringify(announced), "application/json");
  let sent = upload.files.reduce((sum, file) => sum + file.next_offset, 0);
  for (const file of files) {
    let at = upload.files.find((known) => known.name === file.name).next_offset;
    while (at < file.size) {
      const piece = await file.slice(at, at + Number(form.dataset.pieces)).arrayBuffer();
      const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", piece))];
      const hex = digest.map((byte) => byte.toString(16).padStart(2, "0")).join("");
      const path = `/checkpoints/${upload.id}/files/${encodeURIComponent(file.name)}?offset=${at}&sha256=${hex}`;
      const next = (await call("PUT", path, piece, "application/octet-stream")).next_offset;
      sent += next - at;
      at = next;
      bar.value = sent / total;
      says.textContent = `${Math.floor((100 * sent) / total)} % sent`;
    }
  }
  says.textContent = "Looking into the files…";
  return call("POST", `/checkpoints/${upload.id}/complete`, "", "application/json");
}

// Repeated after a lost connection or a busy site; a refusal is told.
async function call(method, path, body, type) {
  const token = form.elements.csrfmiddlewaretoken.value;
  for (let attempt = 0; ; attempt += 1) {
    let answer = null;
    try {
      answer = await fetch(`/api/v1${path}`, { method, body, headers: { "Content-Type": type, "X-CSRFToken": token } });
    } catch {
      answer = null;
    }
    if (answer?.ok) return answer.json();
    const isBusy = !answer || answer.status === 429 || answer.status >= 500;
    if (!isBusy || attempt === 5) {
      const told = await answer?.json().catch(() => null);
      throw new Error(told?.error?.message ?? "The site cannot be reached. Choose the same files again to go on.");
    }
    const wait = Number(answer?.headers.get("Retry-After")) || 2 ** attempt;
    says.textContent = `No answer; trying again in ${wait} s.`;
    await new Promise((done) => setTimeout(done, 1000 * wait));
  }
}
