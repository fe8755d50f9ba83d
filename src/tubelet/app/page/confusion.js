// What people labeled beside what a model finds: seconds of every pair, and the stretches behind a cell as clips.

import { ask } from "/static/api.js";
import { percent, time } from "/static/look.js";

const byId = (id) => document.getElementById(id);
const FIRST = 12; // clips that are shown at once

export class Confusion {
  // on: state, sliced, guarded, say, openAt
  constructor(on) {
    this.on = on;
    this.answer = null;
    this.load = on.guarded(() => this.really());
    byId("confusion-show").addEventListener("click", this.load);
    byId("confusion-score").addEventListener("click", on.guarded(() => this.score()));
  }

  async really() {
    const { state } = this.on;
    if (!state.run) return;
    const answer = await ask(`/api/confusion/${state.run.id}?${this.on.sliced()}`);
    this.answer = answer;
    byId("confusion-clips").hidden = true;
    byId("confusion-score").hidden = !answer.unscored.length;
    const films = `${answer.films} labeled film${answer.films === 1 ? "" : "s"}`;
    let text = `${films}, by ${state.run.name}.`;
    if (answer.agreement !== null) text += ` It finds the label in ${percent(answer.agreement)} of the labeled time.`;
    if (answer.unscored.length) text += ` ${answer.unscored.length} labeled ${answer.unscored.length === 1 ? "film is" : "films are"} not scored yet.`;
    if (answer.unread.length) text += ` Not read: ${answer.unread.join("; ")}`;
    if (!answer.films && !answer.unscored.length) text = "No film has labels yet: accept suggestions, or mark stretches.";
    byId("confusion-text").textContent = text;
    this.table();
  }

  // Films with labels that the model has not looked at, one after the other.
  async score() {
    const { state, say } = this.on;
    const run = state.run;
    const films = this.answer.unscored;
    byId("confusion-score").disabled = true;
    try {
      for (const [number, film] of films.entries()) {
        for (;;) {
          const look = await ask(`/api/films/${film.id}/look/${run.id}?top_k=1`);
          if (look.state === "done" || look.state === "failed") break;
          say(`${film.name} (${number + 1} of ${films.length}): scored ${time(look.known_seconds || 0)}`);
          await new Promise((resolve) => setTimeout(resolve, 500));
        }
      }
      say("All labeled films are scored.");
    } finally {
      byId("confusion-score").disabled = false;
    }
    await this.really();
  }

  table() {
    const table = byId("confusion-table");
    const { labels, cells } = this.answer;
    byId("confusion-scroll").hidden = !cells.length;
    table.replaceChildren();
    if (!cells.length) return;
    const of = new Map(cells.map((cell) => [`${cell.labeled}\n${cell.found}`, cell]));
    const caption = table.createCaption();
    caption.textContent = "Seconds; rows are labels, columns what the model finds";
    const head = table.createTHead().insertRow();
    head.append(cellOf("th", "Label", "col"), ...labels.map((label) => cellOf("th", named(label, "nothing found"), "col")));
    const body = table.createTBody();
    for (const labeled of labels) {
      const row = body.insertRow();
      row.append(cellOf("th", named(labeled, "no label"), "row"));
      const whole = labels.reduce((sum, found) => sum + ((of.get(`${labeled}\n${found}`) || {}).seconds || 0), 0);
      for (const found of labels) {
        const cell = of.get(`${labeled}\n${found}`);
        const place = row.insertCell();
        if (!cell) continue;
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = cell.seconds.toFixed(1);
        button.dataset.pair = `${labeled}|${found}`;
        button.setAttribute("aria-label", `${named(labeled, "no label")}, found ${named(found, "nothing")}: ${cell.seconds.toFixed(1)} seconds in ${cell.count} stretches`);
        button.classList.add(`heat-${Math.round((4 * cell.seconds) / (whole || 1))}`);
        if (labeled === found) button.classList.add("right");
        button.addEventListener("click", () => this.clips(cell));
        place.append(button);
      }
    }
  }

  clips(cell, count = FIRST) {
    const box = byId("confusion-clips");
    box.hidden = false;
    const { labeled, found } = cell;
    byId("confusion-clips-title").textContent = `Labeled ${named(labeled, "nothing")}, found ${named(found, "nothing")}: ${cell.count} stretch${cell.count === 1 ? "" : "es"}, the longest first`;
    const list = byId("confusion-list");
    list.replaceChildren(...cell.stretches.slice(0, count).map((one) => this.clip(one)));
    if (cell.stretches.length > count) {
      const more = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `${cell.stretches.length - count} more`;
      button.addEventListener("click", () => this.clips(cell, cell.stretches.length));
      more.append(button);
      list.append(more);
    }
    byId("confusion-clips-title").focus();
  }

  // A picture that plays its stretch over and over when it is pressed, and a way to its place on the timeline.
  clip(one) {
    const item = document.createElement("li");
    const said = `${one.name}, ${time(one.start)} – ${time(one.stop)}`;
    const play = document.createElement("button");
    play.type = "button";
    play.className = "clip";
    play.setAttribute("aria-label", `Play ${said}`);
    play.setAttribute("aria-pressed", "false");
    const picture = document.createElement("img");
    picture.alt = "";
    picture.loading = "lazy";
    picture.src = `/api/films/${one.film}/at/${((one.start + one.stop) / 2).toFixed(4)}`;
    play.append(picture);
    play.addEventListener("click", () => loop(play, picture, one));
    const open = document.createElement("button");
    open.type = "button";
    open.className = "quiet";
    open.textContent = said;
    open.setAttribute("aria-label", `Open ${said} on the timeline`);
    open.addEventListener("click", () => this.on.openAt(one.film, one.start));
    item.append(play, open);
    return item;
  }
}

function loop(play, picture, one) {
  const before = play.querySelector("video");
  play.setAttribute("aria-pressed", String(!before));
  if (before) {
    before.remove();
    picture.hidden = false;
    return;
  }
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: `/api/films/${one.film}/video` });
  video.setAttribute("aria-hidden", "true");
  video.tabIndex = -1;
  const start = () => {
    video.currentTime = one.start + 1e-3;
    video.play().catch(() => {});
  };
  video.addEventListener("loadedmetadata", start);
  video.addEventListener("ended", start);
  video.addEventListener("timeupdate", () => video.currentTime >= one.stop && start());
  video.addEventListener("error", () => {
    video.remove();
    picture.hidden = false;
    play.setAttribute("aria-pressed", "false");
  });
  picture.hidden = true;
  play.append(video);
}

function cellOf(tag, text, scope) {
  const node = document.createElement(tag);
  node.textContent = text;
  node.scope = scope;
  return node;
}

function named(label, nothing) {
  return label === "" ? nothing : label;
}
