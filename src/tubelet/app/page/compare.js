// Two models on one film: a second timeline that follows the first, and the stretches on which they differ.

import { ask } from "/static/api.js";
import { percent, scoredText, shownLabels, time } from "/static/look.js";
import { Timeline } from "/static/timeline.js";

const byId = (id) => document.getElementById(id);
const POLL_MS = 400;
const SHOWN = 200; // differences in the list
const STRIP = 22; // pixels, height

export class Compare {
  // on: state, palette, player, timeline, sliced, guarded
  constructor(on) {
    this.on = on;
    this.turn = 0;
    this.answer = null;
    this.place = -1;
    this.second = new Timeline(byId("second-timeline"), on.palette, {
      seek: (seconds) => on.player.seek(seconds),
      stretch: () => {},
      drawn: (second) => this.lead(second),
    });
    this.look = on.guarded(() => this.really());
    byId("other").addEventListener("change", () => this.look());
    byId("next-difference").addEventListener("click", () => this.next(1));
    byId("last-difference").addEventListener("click", () => this.next(-1));
  }

  get run() {
    return this.on.state.home.runs.find((run) => run.id === byId("other").value) || null;
  }

  // The models that can stand beside the one of the page.
  offer() {
    const { state } = this.on;
    const select = byId("other");
    const before = select.value;
    const others = state.home.runs.filter((run) => !state.run || run.id !== state.run.id);
    select.replaceChildren(new Option("no other model", ""), ...others.map((run) => new Option(run.name, run.id)));
    if (others.some((run) => run.id === before)) select.value = before;
    byId("other-label").hidden = state.home.runs.length < 2;
  }

  async really() {
    const turn = (this.turn += 1);
    const { state } = this.on;
    const run = this.run;
    byId("second").hidden = byId("differences-list").hidden = !run || !state.film || !state.run;
    this.answer = null;
    this.place = -1;
    if (!run || !state.film || !state.run) return;
    for (const label of run.labels) this.on.palette.index(label);
    byId("second-title").textContent = run.name;
    byId("agreement").textContent = "The other model looks at the film…";
    byId("second-progress").textContent = "";
    this.second.reset(state.film.seconds);
    this.show({}, 0);
    const film = `/api/films/${state.film.id}`;
    for (;;) {
      const query = this.on.sliced();
      const look = await ask(`${film}/look/${run.id}?${query}`);
      const answer = await ask(`${film}/compare/${state.run.id}/${run.id}?${query}`);
      if (turn !== this.turn) return;
      this.answer = answer;
      this.show(look, look.known_seconds || 0);
      this.tell(look);
      if (look.state === "failed" || answer.state === "done") return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      if (turn !== this.turn) return;
    }
  }

  show(look, known) {
    const curves = look.curves || null;
    const suggestions = look.suggestions || [];
    const first = this.on.timeline.content.lanes.filter((label) => this.run.labels.includes(label));
    this.second.show({
      lanes: [...new Set([...first, ...shownLabels(this.run, curves), ...suggestions.map((one) => one.label)])],
      curves,
      suggestions,
      marks: [],
      chosen: null,
      seconds: this.on.player.seconds,
      known,
      isLooking: look.state !== "done",
    });
  }

  tell(look) {
    const { answer } = this;
    byId("second-progress").textContent = scoredText(look);
    const { shared, only_first: one, only_second: other } = answer;
    const alone = one.length + other.length;
    let text = "They have no label in common; the timelines stand below each other.";
    if (shared.length && answer.agreement === null) text = "Nothing can be compared yet.";
    if (answer.agreement !== null) {
      const number = answer.differences.length;
      text = `They say the same in ${percent(answer.agreement)} of the time; ${number} stretch${number === 1 ? "" : "es"} differ${number === 1 ? "s" : ""}.`;
      if (answer.left_out) text += ` ${answer.left_out} shorter ones are left out.`;
      if (alone) text += ` ${alone} label${alone === 1 ? " that only one of them knows is" : "s that only one of them knows are"} left out.`;
    }
    if (byId("agreement").textContent !== text) byId("agreement").textContent = text;
    byId("next-difference").disabled = byId("last-difference").disabled = !answer.differences.length;
    const list = byId("differences-items");
    list.replaceChildren(...answer.differences.slice(0, SHOWN).map((one, place) => this.item(one, place)));
  }

  item(one, place) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-current", String(place === this.place));
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = `${said(one.first)} | ${said(one.second)}`;
    const times = document.createElement("span");
    times.className = "times";
    times.textContent = `${time(one.start)} – ${time(one.stop)}`;
    button.append(name, times);
    button.addEventListener("click", () => this.choose(place));
    const row = document.createElement("li");
    row.append(button);
    return row;
  }

  choose(place) {
    this.place = place;
    const one = this.answer.differences[place];
    this.on.player.seek(one.start);
    this.on.timeline.keep(one.start);
    this.strip();
    [...byId("differences-items").querySelectorAll("button")].forEach((button, at) => button.setAttribute("aria-current", String(at === place)));
    byId("agreement").textContent = `${time(one.start)} – ${time(one.stop)}: ${said(one.first)}, beside it ${said(one.second)}.`;
  }

  // By key: the difference behind, or before, the frame on screen.
  next(by) {
    const all = this.answer ? this.answer.differences : [];
    if (!all.length) return;
    const seconds = this.on.player.seconds;
    let place = by > 0 ? all.findIndex((one) => one.start > seconds + 1e-4) : all.findLastIndex((one) => one.start < seconds - 1e-4);
    if (place < 0) place = by > 0 ? 0 : all.length - 1;
    this.choose(place);
  }

  // The first timeline was drawn: the second shows the same time.
  follow(first) {
    if (byId("second").hidden) return;
    Object.assign(this.second, { from: first.from, to: first.to });
    this.second.show({ seconds: first.content.seconds });
    this.strip();
  }

  // The second one was zoomed.
  lead(second) {
    const first = this.on.timeline;
    if (byId("second").hidden || (first.from === second.from && first.to === second.to)) return;
    Object.assign(first, { from: second.from, to: second.to });
    first.draw();
  }

  strip() {
    const canvas = byId("differences");
    const width = canvas.clientWidth;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(STRIP * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    context.fillStyle = color("--paper");
    context.fillRect(0, 0, width, STRIP);
    context.fillStyle = color("--ink");
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillText("differ", 8, STRIP / 2);
    const { second } = this;
    context.beginPath();
    context.rect(second.gutter, 0, width, STRIP);
    context.clip();
    (this.answer ? this.answer.differences : []).forEach((one, place) => {
      const a = second.x(one.start);
      const b = Math.max(a + 2, second.x(one.stop));
      context.fillStyle = color("--no");
      context.fillRect(a, 4, b - a, STRIP - 8);
      context.fillStyle = color("--paper");
      for (let x = a + 3; x < b; x += 6) context.fillRect(x, 4, 1.5, STRIP - 8);
      if (place === this.place) {
        context.strokeStyle = color("--ink");
        context.lineWidth = 2;
        context.strokeRect(a, 2, b - a, STRIP - 4);
      }
    });
  }
}

function said(labels) {
  return labels.length ? labels.join(" + ") : "nothing";
}
