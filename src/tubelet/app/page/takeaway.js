// What people take away: tables at once; films with scores, pages and files of the model when they are made.

import { ask } from "/static/api.js";

const byId = (id) => document.getElementById(id);
const POLL_MS = 500;

export class Takeaway {
  // on: state, sliced, guarded, say, complain
  constructor(on) {
    this.on = on;
    for (const button of document.querySelectorAll("[data-make]")) {
      button.addEventListener("click", on.guarded(() => this.make(button)));
    }
  }

  // Links of the film and model that are open, as the controls show their scores.
  show() {
    const { state } = this.on;
    const isReady = Boolean(state.film && state.run && state.look && state.look.state === "done");
    for (const link of document.querySelectorAll("[data-table]")) {
      if (isReady) link.href = `/api/films/${state.film.id}/result/${state.run.id}/${link.dataset.table}?${this.on.sliced()}`;
      else link.removeAttribute("href");
    }
    byId("confusion-show").disabled = !state.run;
    for (const button of document.querySelectorAll("[data-make]")) {
      const isOfModel = button.dataset.of === "model";
      button.disabled = button.dataset.busy === "1" || (isOfModel ? !state.run : !isReady);
      if (button.dataset.make === "onnx") button.hidden = Boolean(state.run && state.run.kind === "steps");
    }
  }

  async make(button) {
    const { state, say } = this.on;
    const kind = button.dataset.make;
    const name = button.textContent.trim();
    const place =
      button.dataset.of === "model"
        ? `/api/models/${state.run.id}/make/${kind}`
        : `/api/films/${state.film.id}/make/${state.run.id}/${kind}?${this.on.sliced()}`;
    button.dataset.busy = "1";
    this.show();
    try {
      let made = await ask(place, { method: "POST" });
      while (made.state !== "done") {
        if (made.state === "failed") throw new Error(`${name}: ${made.error}`);
        const share = made.total ? ` ${Math.round((100 * made.done) / made.total)} %` : "";
        say(`${name}: ${made.state === "waiting" ? "waits for the file before it" : "is being made"}…${share}`);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        made = await ask(`/api/made/${made.id}`);
      }
      say(`${name} is ready.`);
      const link = document.createElement("a");
      link.href = `/api/made/${made.id}/file`;
      link.download = "";
      document.body.append(link);
      link.click();
      link.remove();
    } finally {
      delete button.dataset.busy;
      this.show();
    }
  }
}
