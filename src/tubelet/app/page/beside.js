// Several films side by side under one clock: what the model finds in each, and one playhead for all.

import { ask } from "/static/api.js";
import { scoredText, shownLabels, time } from "/static/look.js";
import { Timeline } from "/static/timeline.js";

const byId = (id) => document.getElementById(id);
const MOST = 4;
const POLL_MS = 500;
const DRIFT = 0.25; // seconds that a playing film may be away from the clock

export class Beside {
  // on: state, palette, sliced, guarded, say
  constructor(on) {
    this.on = on;
    this.tiles = [];
    this.seconds = 0;
    this.isPlaying = false;
    this.turn = 0;
    byId("beside-choose").addEventListener("toggle", () => this.offer());
    byId("beside-play").addEventListener("click", () => this.toggle());
    byId("beside-clock").addEventListener("input", () => this.seek(Number(byId("beside-clock").value)));
  }

  // Which films; those that are shown stay chosen.
  offer() {
    if (!byId("beside-choose").open) return;
    const chosen = new Set(this.tiles.map((tile) => tile.film.id));
    const { state } = this.on;
    if (!chosen.size && state.film) chosen.add(state.film.id);
    byId("beside-films").replaceChildren(
      ...state.home.films.slice(0, 500).map((film) => {
        const label = document.createElement("label");
        label.className = "check";
        const box = document.createElement("input");
        box.type = "checkbox";
        box.value = film.id;
        box.checked = chosen.has(film.id);
        box.addEventListener("change", this.on.guarded(() => this.choose(box)));
        label.append(box, film.name);
        return label;
      })
    );
  }

  async choose(box) {
    const chosen = [...byId("beside-films").querySelectorAll("input:checked")].map((one) => one.value);
    if (chosen.length > MOST) {
      box.checked = false;
      this.on.say(`At most ${MOST} films stand side by side.`);
      return;
    }
    await this.open(chosen);
  }

  async open(ids) {
    const turn = (this.turn += 1);
    this.pause();
    const kept = this.tiles.filter((tile) => ids.includes(tile.film.id));
    for (const tile of this.tiles) if (!kept.includes(tile)) tile.close();
    this.tiles = kept;
    for (const id of ids.filter((one) => !kept.some((tile) => tile.film.id === one))) {
      const film = await ask(`/api/films/${id}`);
      if (turn !== this.turn) return;
      const tile = new Tile(film, this);
      this.tiles.push(tile);
      byId("beside-tiles").append(tile.node);
      tile.timeline.reset(film.seconds);
      this.on.guarded(() => tile.look())();
    }
    const clock = byId("beside-clock");
    clock.max = String(this.length);
    byId("beside-transport").hidden = !this.tiles.length;
    this.seek(Math.min(this.seconds, this.length));
  }

  get length() {
    return Math.max(0, ...this.tiles.map((tile) => tile.film.seconds));
  }

  seek(seconds) {
    this.pause();
    this.seconds = seconds;
    for (const tile of this.tiles) tile.show(seconds);
    this.tell();
  }

  tell() {
    byId("beside-clock").value = String(this.seconds);
    byId("beside-clock").setAttribute("aria-valuetext", time(this.seconds));
    byId("beside-time").textContent = time(this.seconds);
    for (const tile of this.tiles) tile.timeline.show({ seconds: Math.min(this.seconds, tile.film.seconds) });
  }

  toggle() {
    if (this.isPlaying) {
      this.pause();
      for (const tile of this.tiles) tile.show(this.seconds);
      return;
    }
    if (this.seconds >= this.length - 1e-3) this.seconds = 0;
    this.isPlaying = true;
    byId("beside-play").textContent = "Pause all";
    let before = performance.now();
    for (const tile of this.tiles) tile.play(this.seconds);
    const step = (now) => {
      if (!this.isPlaying) return;
      this.seconds = Math.min(this.length, this.seconds + Math.max(0, now - before) / 1000);
      before = now;
      for (const tile of this.tiles) tile.follow(this.seconds);
      this.tell();
      if (this.seconds >= this.length) this.pause();
      else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  pause() {
    this.isPlaying = false;
    byId("beside-play").textContent = "Play all";
    for (const tile of this.tiles) tile.video.pause();
  }
}

class Tile {
  constructor(film, beside) {
    this.film = film;
    this.beside = beside;
    this.isOpen = true;
    this.node = document.createElement("div");
    this.node.className = "tile";
    this.node.setAttribute("role", "group");
    this.node.setAttribute("aria-label", film.name);
    const title = document.createElement("h3");
    title.textContent = film.name;
    const screen = document.createElement("div");
    screen.className = "player";
    this.video = document.createElement("video");
    Object.assign(this.video, { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
    this.video.setAttribute("aria-label", film.name);
    this.still = document.createElement("img");
    this.still.alt = "";
    this.still.addEventListener("load", () => (this.still.hidden = this.beside.isPlaying && this.canPlay));
    screen.append(this.video, this.still);
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `What the model finds in ${film.name}`);
    this.note = document.createElement("p");
    this.note.className = "progress";
    const holder = document.createElement("div");
    holder.className = "timeline";
    holder.append(canvas);
    this.node.append(title, screen, holder, this.note);
    const seek = (seconds) => beside.seek(seconds);
    this.timeline = new Timeline(canvas, beside.on.palette, { seek, stretch: () => {} });
    this.prepare();
  }

  async prepare() {
    while (this.isOpen) {
      const answer = await ask(`/api/films/${this.film.id}/playable`).catch(() => ({ state: "failed" }));
      if (answer.state === "done") {
        this.video.src = `/api/films/${this.film.id}/video`;
        this.canPlay = true;
      }
      if (answer.state !== "waiting" && answer.state !== "working") return;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  async look() {
    const { state, sliced } = this.beside.on;
    while (this.isOpen && state.run) {
      const run = state.run;
      const look = await ask(`/api/films/${this.film.id}/look/${run.id}?${sliced()}`);
      const curves = look.curves || null;
      const suggestions = look.suggestions || [];
      this.timeline.show({
        lanes: [...new Set([...shownLabels(run, curves), ...suggestions.map((one) => one.label)])],
        curves,
        suggestions,
        known: look.known_seconds || 0,
        isLooking: look.state !== "done",
      });
      this.note.textContent = scoredText(look);
      if (look.state === "done" || look.state === "failed") return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  // The picture of the reader, as in the large player.
  show(seconds) {
    this.still.src = `/api/films/${this.film.id}/at/${Math.min(seconds, this.film.seconds).toFixed(4)}`;
  }

  play(seconds) {
    this.isLate = !this.canPlay; // it joins the others when it can
    if (!this.canPlay || seconds >= this.film.seconds) return;
    this.still.hidden = true;
    this.video.currentTime = seconds;
    this.video.play().catch(() => (this.still.hidden = false));
  }

  follow(seconds) {
    if (!this.canPlay && this.still.complete) this.show(seconds);
    if (this.canPlay && this.isLate) this.play(seconds);
    if (!this.canPlay || this.video.paused) return;
    if (seconds >= this.film.seconds) this.video.pause();
    else if (Math.abs(this.video.currentTime - seconds) > DRIFT) this.video.currentTime = seconds;
  }

  close() {
    this.isOpen = false;
    this.video.pause();
    this.video.removeAttribute("src");
    this.node.remove();
  }
}
