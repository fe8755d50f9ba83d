// Teaching: classes with a key each, stretches that are marked while the film plays, clips that are sorted, and the
// training of a model from them. The server keeps all of it; this page only asks and shows.

import { ask, tell } from "/static/api.js";
import { duration, time } from "/static/look.js";

const byId = (id) => document.getElementById(id);
const POLL_MS = 700;
const SVG = "http://www.w3.org/2000/svg";

function node(tag, content = "", name = "") {
  const made = document.createElement(tag);
  made.textContent = content;
  if (name) made.className = name;
  return made;
}

export class Teach {
  constructor(page) {
    this.page = page;
    this.guarded = page.guarded;
    this.classes = [];
    this.sorted = {};
    this.job = null;
    this.begun = new Map(); // by label, the frame at which a stretch that is still open starts
    this.film = null;
    this.asking = false;
    this.wire();
  }

  get mode() {
    return document.querySelector("input[name='teach-mode']:checked").value;
  }

  wire() {
    byId("class-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.addClass();
    });
    byId("train-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.train();
    });
    for (const id of ["train-kind", "train-how"]) byId(id).addEventListener("change", () => this.showKind());
    byId("train-stop").addEventListener("click", this.guarded(async () => this.take(await tell("/api/teach/stop"))));
    byId("train-on").addEventListener("click", this.guarded(async () => this.take(await tell("/api/teach/go-on"))));
    for (const radio of document.querySelectorAll("input[name='teach-mode']")) {
      radio.addEventListener("change", () => {
        this.begun.clear();
        this.show();
      });
    }
  }

  async load() {
    this.take(await ask("/api/teach"));
  }

  take(content) {
    const was = this.job;
    const taught = JSON.stringify([this.classes, this.sorted]);
    this.classes = content.classes;
    this.sorted = content.sorted;
    this.job = content.job;
    const select = byId("train-encoder");
    const chosen = select.value;
    select.replaceChildren(...content.encoders.map((name) => new Option(name, name)));
    if (content.encoders.includes(chosen)) select.value = chosen;
    byId("train-none").hidden = content.encoders.length > 0;
    this.show();
    this.showJob();
    if (this.job && this.job.state === "working") this.poll();
    else if (was && was.state === "working" && this.job) this.ended();
    if (content.left_out && content.left_out.length) this.page.complain(`Left out: ${content.left_out.join("; ")}`);
    if (taught !== JSON.stringify([this.classes, this.sorted])) this.page.changed();
  }

  poll() {
    if (this.asking) return;
    this.asking = true;
    setTimeout(this.guarded(async () => {
      this.asking = false;
      try {
        this.take(await ask("/api/teach"));
      } catch (error) {
        this.poll(); // a server that comes back shows the training again
        throw error;
      }
    }), POLL_MS);
  }

  ended() {
    if (this.job.state === "done") {
      this.page.trained(this.job.run);
      this.page.say("The model is trained and chosen; the film is scored with it.");
    } else if (this.job.state === "failed") this.page.complain(`Not trained: ${this.job.error}`);
    else this.page.say("The training stopped; it can go on where it was.");
  }

  addClass = () => this.guarded(async () => {
    const name = byId("class-name").value.trim();
    if (!name) {
      this.page.complain("Give the class a name.");
      byId("class-name").focus();
      return;
    }
    this.take(await tell("/api/teach/classes", { classes: [...this.classes, name] }));
    byId("class-name").value = "";
    this.page.say(`Class ${name} has the key ${this.classes.length <= 9 ? this.classes.length : "of its button"}.`);
  })();

  removeClass = (name) => this.guarded(async () => {
    this.take(await tell("/api/teach/classes", { classes: this.classes.filter((one) => one !== name) }));
    byId("class-name").focus();
    this.page.say(`Class ${name} was removed from the keys; its labels stay.`);
  })();

  // Whether a digit was meant for a class.
  key(number) {
    const name = this.classes[number - 1];
    if (this.mode === "review" || !name) return false;
    this.use(name);
    return true;
  }

  use(name) {
    const { film } = this.page;
    if (!film()) this.page.complain("Choose a film first.");
    else if (this.mode === "sort") this.sort(name);
    else if (this.mode === "mark") this.mark(name);
    else this.page.complain("Choose “Mark stretches” or “Sort clips” first.");
  }

  mark = (name) => this.guarded(async () => {
    const { player, labels } = this.page;
    if (!this.begun.has(name)) {
      this.begun.set(name, player.frame);
      this.show();
      this.page.say(`${name} begins at ${time(player.seconds)}; the same key ends it.`);
      return;
    }
    const [first, last] = [this.begun.get(name), player.frame].sort((a, b) => a - b);
    this.begun.delete(name);
    this.show();
    const made = { label: name, start: this.page.film().times[first], stop: player.end(last), kind: "label" };
    if (await labels.edit(`mark ${name}`, [made])) {
      this.page.say(`${name}, ${time(made.start)} – ${time(made.stop)}; saved.`);
    }
  })();

  sort = (name) => this.guarded(async () => {
    const film = this.page.film();
    this.take(await tell("/api/teach/sort", { film_id: film.id, label: name }));
    const left = this.page.films().filter((one) => !this.sorted[one.id]);
    if (left.length) await this.page.open(left[0].id);
    this.page.say(`${film.name} is ${name}; saved. ${left.length ? `${left.length} clips left.` : "All clips are sorted."}`);
  })();

  // Another film: what began in the last one does not go on in this one.
  opened(film) {
    if (this.film !== film) this.begun.clear();
    this.film = film;
    this.show();
  }

  show() {
    const list = byId("classes");
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.class : null;
    list.replaceChildren();
    const sortedAs = this.film ? this.sorted[this.film] : null;
    this.classes.forEach((name, place) => {
      const item = node("li", "", "row");
      const button = node("button");
      button.type = "button";
      button.dataset.class = name;
      const isOn = this.mode === "sort" ? sortedAs === name : this.begun.has(name);
      button.setAttribute("aria-pressed", String(isOn));
      if (place < 9) button.append(node("kbd", String(place + 1)));
      button.append(this.page.palette.swatch(name), node("span", name, "name"));
      if (isOn) button.append(node("span", this.mode === "sort" ? "this clip" : "open", "times"));
      button.addEventListener("click", () => this.use(name));
      const remove = node("button", "", "quiet");
      remove.type = "button";
      remove.setAttribute("aria-label", `Remove class ${name}`);
      remove.append(icon("i-reject"));
      remove.addEventListener("click", () => this.removeClass(name));
      item.append(button, remove);
      list.append(item);
      if (name === focused) button.focus();
    });
    if (!this.classes.length) list.append(node("li", "No classes yet.", "empty"));
    const how = {
      review: "Keys 1 to 9 give the chosen stretch a class.",
      mark: "While the film plays, a key begins a stretch of its class, and ends it.",
      sort: "A key gives the whole clip its class and opens the next one.",
    };
    byId("mode-note").textContent = how[this.mode];
    this.showKind();
  }

  showKind() {
    const isClips = byId("train-kind").value === "clips";
    const isFull = byId("train-how").value === "full";
    const number = Object.keys(this.sorted).length;
    const data = isClips
      ? `${number} of ${this.page.films().length} clips are sorted.`
      : `Films with labels: ${this.page.films().filter((one) => one.labeled).length}.`;
    byId("train-data").textContent = isFull ? `${data} Without a GPU this takes long; try a head first.` : data;
  }

  train = () => this.guarded(async () => {
    const content = {
      kind: byId("train-kind").value,
      how: byId("train-how").value,
      encoder: byId("train-encoder").value,
    };
    this.take(await tell("/api/teach/train", content));
    this.page.say("The training began; it goes on when this page is closed.");
  })();

  showJob() {
    const { job } = this;
    byId("job").hidden = !job;
    const isWorking = Boolean(job) && job.state === "working";
    byId("train-go").disabled = isWorking;
    if (!job) return;
    byId("train-stop").hidden = !isWorking;
    byId("train-on").hidden = isWorking || job.state === "done";
    const left = isWorking && job.seconds_left !== null ? `, about ${duration(job.seconds_left)} left of this part` : "";
    const text = {
      working: `${job.text || "Starting"}${left}`,
      done: `Trained in ${duration(job.seconds)}. ${job.result}${job.result.startsWith("train:") ? ". No film was held out: this says nothing about other films." : ""}`,
      failed: `Not trained: ${job.error}`,
      stopped: `Stopped${job.text ? ` at: ${job.text}` : ""}. Nothing is lost.`,
    };
    byId("job-text").textContent = text[job.state];
    const bar = byId("job-bar");
    bar.hidden = !isWorking;
    if (job.total) {
      bar.max = job.total;
      bar.value = job.done;
    } else bar.removeAttribute("value");
    this.showLosses(job.losses);
    byId("job-validations").replaceChildren(...job.validations.slice(-5).map((line) => node("li", line)));
    byId("job-notes").replaceChildren(...job.notes.slice(-8).map((line) => node("li", line)));
  }

  showLosses(losses) {
    const chart = byId("job-losses");
    chart.toggleAttribute("hidden", losses.length < 2);
    if (losses.length < 2) return;
    const most = Math.max(...losses.map(([, loss]) => loss)) || 1;
    const [first, last] = [losses[0][0], losses[losses.length - 1][0]];
    const points = losses.map(([step, loss]) => `${(100 * (step - first)) / (last - first || 1)},${30 - (28 * loss) / most}`);
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", points.join(" "));
    chart.replaceChildren(line);
    chart.setAttribute("aria-label", `Loss over ${last} steps: ${losses[0][1].toFixed(3)} at first, now ${losses[losses.length - 1][1].toFixed(3)}`);
  }
}

function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#${name}`);
  drawing.append(use);
  return drawing;
}
