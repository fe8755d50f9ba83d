// Puts the page together: films, the player, the timeline, and what is reviewed.

import { ask, upload } from "/static/api.js";
import { Beside } from "/static/beside.js";
import { Compare } from "/static/compare.js";
import { Confusion } from "/static/confusion.js";
import { Labels } from "/static/labels.js";
import { Palette, duration, percent, scoredText, shownLabels, time } from "/static/look.js";
import { Player } from "/static/player.js";
import { Takeaway } from "/static/takeaway.js";
import { Teach } from "/static/teach.js";
import { Timeline } from "/static/timeline.js";

const byId = (id) => document.getElementById(id);
const POLL_MS = 400;
const state = { home: { runs: [], films: [] }, film: null, run: null, look: null, chosen: null, threshold: null };
const palette = new Palette();
const player = new Player(onFrame);
const timeline = new Timeline(byId("timeline"), palette, { seek: onSeek, stretch: onStretch, drawn: (first) => compare.follow(first) });
const labels = new Labels({ changed: onLabels, told: say, failed: complain, conflict: onConflict });
const compare = new Compare({ state, palette, player, timeline, sliced, guarded });
const takeaway = new Takeaway({ state, sliced, guarded, say });
new Confusion({ state, sliced, guarded, say, openAt: (film, seconds) => openAt(film, seconds) });
new Beside({ state, palette, sliced, guarded, say });

const teach = new Teach({
  player,
  labels,
  palette,
  say,
  complain,
  guarded,
  film: () => state.film,
  films: () => state.home.films,
  open: (id) => openFilm(id),
  changed: () => {
    listFilms();
    refresh();
  },
  trained: async (id) => {
    await loadHome().then(guarded(() => teach.load()));
    byId("run").value = id;
    chooseRun();
    state.chosen = state.look = null;
    refresh();
    look();
  },
});

function say(text) {
  byId("status").textContent = text;
  byId("status").classList.remove("bad");
}

function complain(text) {
  byId("status").textContent = text;
  byId("status").classList.add("bad");
}

function guarded(work) {
  return async (...words) => {
    try {
      return await work(...words);
    } catch (error) {
      complain(error.message);
      return undefined;
    }
  };
}

// Films and models

const loadHome = guarded(async (open = null) => {
  state.home = await ask("/api/home");
  listRuns();
  listFilms();
  const wanted = open || (state.film ? null : (state.home.films[0] || {}).id);
  if (wanted) await openFilm(wanted);
  if (!state.home.films.length) say("Add a film to begin.");
});

function listRuns() {
  const select = byId("run");
  const [isFirst, before] = [!select.options.length, select.value];
  select.replaceChildren(...state.home.runs.map((run) => new Option(run.name, run.id)));
  if (!state.home.runs.length) select.add(new Option("none: labels alone", ""));
  if ([...select.options].some((option) => option.value === before)) select.value = before;
  if (isFirst || select.value !== before) chooseRun();
  else compare.offer();
}

function listFilms() {
  const list = byId("films");
  list.replaceChildren();
  for (const film of state.home.films) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.film = film.id;
    button.setAttribute("aria-current", String(state.film !== null && state.film.id === film.id));
    button.append(text("span", film.name, "name"));
    if (film.labeled) button.append(text("span", "labeled", "times"));
    if (teach.sorted[film.id]) button.append(text("span", teach.sorted[film.id], "times"));
    button.addEventListener("click", () => openFilm(film.id));
    const item = document.createElement("li");
    item.append(button);
    list.append(item);
  }
  if (!state.home.films.length) list.append(text("li", "No films yet.", "empty"));
}

let opening = 0;

// Of several films that are chosen quickly the last one counts, whichever answer comes last.
const openFilm = guarded(async (id) => {
  const turn = (opening += 1);
  say("Opening the film…");
  const film = await ask(`/api/films/${id}`);
  if (turn !== opening) return;
  state.chosen = null;
  state.look = null;
  state.film = film;
  teach.opened(film.id);
  byId("film-title").textContent = film.name;
  byId("result-vtt").href = `/api/labels/export?layout=vtt&film_id=${film.id}`;
  timeline.reset(film.seconds);
  player.open(film);
  listFilms();
  labels.clear();
  refresh(); // nothing of the film before stands under the name of this one
  await labels.open(film.id);
  if (turn !== opening) return;
  say(film.notes.join(" "));
  look();
  prepare(film.id);
});

const openAt = guarded(async (id, seconds) => {
  if (!state.film || state.film.id !== id) await openFilm(id);
  byId("timeline").focus();
  player.seek(seconds);
  timeline.keep(seconds);
  onFrame();
});

const prepare = guarded(async (id) => {
  for (;;) {
    const answer = await ask(`/api/films/${id}/playable`);
    if (!state.film || state.film.id !== id) return;
    if (answer.state === "done") {
      player.ready();
      return;
    }
    if (answer.state === "pictures") {
      player.isPictures = true;
      return;
    }
    if (answer.state === "failed") {
      player.say(`It cannot be played: ${answer.error} Frames can be stepped through.`);
      return;
    }
    if (answer.grows) player.grows();
    else player.say("A copy that browsers can play is being made; frames can be stepped through meanwhile.");
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
});

function chooseRun() {
  state.run = state.home.runs.find((run) => run.id === byId("run").value) || null;
  document.body.classList.remove("windows", "steps", "none");
  document.body.classList.add(state.run ? state.run.kind : "none");
  state.threshold = null;
  for (const label of state.run ? state.run.labels : []) palette.index(label);
  byId("heat").hidden = !state.run;
  showThreshold();
  compare.offer();
}

// Scores

let looking = 0;

function sliced() {
  const query = new URLSearchParams({ top_k: byId("topk").value || "5" });
  if (state.run.kind === "windows") {
    query.set("merge", String(byId("merge").checked));
    query.set("group", byId("group").value);
  } else {
    if (byId("least").value) query.set("least_seconds", byId("least").value);
    if (byId("gap").value) query.set("gap_seconds", byId("gap").value);
  }
  if (state.threshold !== null) query.set("threshold", String(state.threshold));
  return query;
}

const look = guarded(async () => {
  const turn = (looking += 1);
  compare.look();
  if (!state.film) return;
  if (!state.run) {
    state.look = null;
    refresh();
    return;
  }
  byId("result-json").href = `/api/films/${state.film.id}/result/${state.run.id}`;
  for (;;) {
    const answer = await ask(`/api/films/${state.film.id}/look/${state.run.id}?${sliced()}`);
    if (turn !== looking) return;
    state.look = answer;
    refresh();
    if (answer.state === "done" || answer.state === "failed") return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (turn !== looking) return;
  }
});

function progressText() {
  const now = state.look;
  if (!state.run || !now || !state.film) return "";
  if (now.state === "failed") return scoredText(now);
  if (now.state === "done") return "Scored. Outlines are suggestions, filled boxes are labels, areas are probabilities.";
  if (!now.known_seconds) return now.state === "waiting" ? "Waiting for the film before this one…" : "Reading the film…";
  const rate = now.rate ? `, ${now.rate.toFixed(1)} × as fast as the film, about ${duration(now.seconds_left)} left` : "";
  return `${scoredText(now)} of ${time(state.film.seconds)}${rate}`;
}

function suggestions() {
  return state.look && state.look.suggestions ? state.look.suggestions : [];
}

function open() {
  return suggestions().filter((one) => !labels.settles(one)).sort((a, b) => a.score - b.score || a.start - b.start);
}

function known() {
  const names = new Set([...teach.classes, ...(state.run ? state.run.labels : [])]);
  for (const mark of labels.marks) names.add(mark.label);
  return [...names];
}

// Everything that is shown

function refresh() {
  if (!state.film) return;
  const curves = state.look && state.look.curves ? state.look.curves : null;
  const lanes = [...new Set([...shownLabels(state.run, curves), ...labels.marks.map((mark) => mark.label), ...suggestions().map((one) => one.label)])];
  if (state.chosen && state.chosen.label && !lanes.includes(state.chosen.label)) lanes.push(state.chosen.label);
  for (const one of suggestions()) one.settled = labels.settles(one);
  timeline.show({
    lanes,
    curves,
    suggestions: suggestions(),
    marks: labels.marks,
    chosen: state.chosen,
    seconds: player.seconds,
    known: state.look ? state.look.known_seconds || 0 : 0,
    isLooking: Boolean(state.look && state.look.state !== "done"),
  });
  byId("progress").textContent = progressText();
  takeaway.show();
  list(byId("suggestions"), open().slice(0, 200), "suggestion", state.run ? "Nothing is left to review." : "No model.");
  list(byId("marks"), labels.marks.filter((mark) => mark.kind === "label"), "mark", "No labels yet: drag over the timeline.");
  byId("open-count").textContent = suggestions().length ? `${open().length} of ${suggestions().length} open` : "";
  byId("mark-count").textContent = String(labels.marks.filter((mark) => mark.kind === "label").length || "");
  byId("labels").replaceChildren(...known().map((name) => new Option(name, name)));
  showChosen();
  onFrame();
}

function list(node, items, kind, empty) {
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  node.replaceChildren();
  for (const item of items) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.key = key(item);
    button.setAttribute("aria-current", String(Boolean(state.chosen && state.chosen.key === key(item))));
    button.append(palette.swatch(item.label), text("span", item.label, "name"));
    const score = item.score === undefined ? "" : ` · ${percent(item.score)}`;
    button.append(text("span", `${time(item.start)} – ${time(item.stop)}${score}`, "times"));
    button.addEventListener("click", () => choose(item, kind));
    const row = document.createElement("li");
    row.append(button);
    node.append(row);
    if (button.dataset.key === focused) button.focus();
  }
  if (!items.length) node.append(text("li", empty, "empty"));
}

function key(item) {
  return `${item.kind || "suggestion"} ${item.label} ${item.start} ${item.stop}`;
}

function text(tag, content, name = "") {
  const node = document.createElement(tag);
  node.textContent = content;
  if (name) node.className = name;
  return node;
}

function choose(item, kind, isSought = true) {
  state.chosen = { label: item.label, start: item.start, stop: item.stop, key: key(item), kind, original: item };
  byId("label").value = item.label || "";
  if (isSought) {
    player.seek(item.start);
    timeline.keep(item.start);
  }
  refresh();
}

function showChosen() {
  const chosen = state.chosen;
  const what = { suggestion: "Suggested", mark: "Labeled", stretch: "New stretch" };
  byId("chosen-text").textContent = chosen
    ? `${what[chosen.kind]}: ${chosen.label || "no label yet"}, ${time(chosen.start)} – ${time(chosen.stop)}`
    : "Choose a suggestion, or drag over the timeline to mark a stretch.";
  byId("accept").disabled = !chosen || chosen.kind !== "suggestion";
  byId("reject").disabled = !chosen || chosen.kind === "stretch";
  byId("reject-text").textContent = chosen && chosen.kind === "mark" ? "Remove" : "Reject";
  byId("apply").disabled = !chosen;
  byId("apply-text").textContent = chosen && chosen.kind !== "stretch" ? "Change" : "Add";
  byId("undo").disabled = !labels.undoable;
  byId("undo").title = labels.undoable ? `Undo: ${labels.undoable}` : "Nothing to undo";
  byId("redo").disabled = !labels.redoable;
  byId("redo").title = labels.redoable ? `Redo: ${labels.redoable}` : "Nothing to do again";
}

function onFrame() {
  if (!state.film) return;
  const seconds = player.seconds;
  byId("time").textContent = time(seconds);
  byId("frame").textContent = `frame ${player.frame} of ${state.film.times.length - 1}`;
  const canvas = byId("timeline");
  canvas.setAttribute("aria-valuemax", String(state.film.times.length - 1));
  canvas.setAttribute("aria-valuenow", String(player.frame));
  canvas.setAttribute("aria-valuetext", `${time(seconds)}, frame ${player.frame}`);
  timeline.keep(seconds);
  timeline.show({ seconds });
  showNow(seconds);
}

function showNow(seconds) {
  const curves = state.look && state.look.curves;
  const node = byId("now");
  const best = [];
  if (curves && curves.edges.length > 1) {
    let low = 0;
    let high = curves.edges.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (curves.edges[middle] <= seconds + 1e-4) low = middle;
      else high = middle - 1;
    }
    if (seconds <= curves.edges[low + 1] + 1e-3) {
      curves.labels.forEach((label, row) => {
        const prob = curves.probs[row][low];
        if (prob !== null) best.push([label, prob]);
      });
    }
  }
  best.sort((a, b) => b[1] - a[1]);
  const shown = best.slice(0, Number(byId("topk").value) || 5);
  node.replaceChildren(
    ...shown.map(([label, prob]) => {
      const row = document.createElement("li");
      const meter = document.createElement("meter");
      meter.min = 0;
      meter.max = 1;
      meter.value = prob;
      meter.setAttribute("aria-label", `${label}, ${percent(prob)}`);
      row.append(text("span", label), meter, text("span", percent(prob)));
      return row;
    })
  );
}

function showThreshold() {
  const isSteps = state.run && state.run.kind === "steps";
  const own = isSteps ? "model's own" : "none";
  byId("threshold-text").textContent = state.threshold === null ? own : percent(state.threshold);
  if (state.threshold === null) byId("threshold").value = isSteps ? Math.round(100 * state.run.threshold) : 1;
}

// What people do

const accept = guarded(async () => {
  const chosen = state.chosen;
  if (!chosen || chosen.kind !== "suggestion") return;
  const place = open().findIndex((one) => key(one) === chosen.key);
  if (await labels.edit(`accept ${chosen.label}`, [mark(chosen.label)])) following(place, `Accepted ${chosen.label}; saved.`);
});

const reject = guarded(async () => {
  const chosen = state.chosen;
  if (!chosen || chosen.kind === "stretch") return;
  const place = open().findIndex((one) => key(one) === chosen.key);
  if (chosen.kind === "mark") {
    if (await labels.edit(`remove ${chosen.label}`, [], [chosen.original])) following(-1, `Removed ${chosen.label}; saved.`);
  } else if (await labels.edit(`reject ${chosen.label}`, [rejected(chosen.original)])) {
    following(place, `Rejected ${chosen.label}; saved.`);
  }
});

const apply = guarded(async (label) => {
  const chosen = state.chosen;
  if (!chosen) return;
  if (!label.trim()) {
    complain("Give the stretch a label.");
    byId("label").focus();
    return;
  }
  const place = open().findIndex((one) => key(one) === chosen.key);
  const add = [mark(label.trim())];
  const remove = chosen.kind === "mark" ? [chosen.original] : [];
  if (chosen.kind === "suggestion" && chosen.label !== label.trim()) add.push(rejected(chosen.original));
  const what = chosen.kind === "stretch" ? `add ${label.trim()}` : `change ${chosen.label} to ${label.trim()}`;
  if (await labels.edit(what, add, remove)) following(chosen.kind === "suggestion" ? place : -1, `Labeled ${label.trim()}; saved.`);
});

function mark(label) {
  const cells = state.chosen.kind === "mark" ? state.chosen.original.cells || [] : [];
  return { label, start: state.chosen.start, stop: state.chosen.stop, kind: "label", cells };
}

function rejected(one) {
  return { label: one.label, start: one.start, stop: one.stop, kind: "rejected" };
}

function following(place, told) {
  say(told);
  const left = open();
  if (place >= 0 && left.length) choose(left[Math.min(place, left.length - 1)], "suggestion");
  else {
    state.chosen = null;
    refresh();
  }
}

function next(by) {
  const all = open();
  if (!all.length) {
    say("Nothing is left to review.");
    return;
  }
  const place = state.chosen ? all.findIndex((one) => key(one) === state.chosen.key) : -1;
  const to = place < 0 ? (by > 0 ? 0 : all.length - 1) : (place + by + all.length) % all.length;
  choose(all[to], "suggestion");
}

const moveEdge = guarded(async (edge) => {
  if (!state.film) return;
  const start = player.seconds;
  const stop = player.end(player.frame);
  if (!state.chosen) {
    state.chosen = { label: byId("label").value, start, stop, key: "new", kind: "stretch", original: null };
  } else {
    const chosen = { ...state.chosen };
    if (edge === "start") chosen.start = start;
    else chosen.stop = stop;
    if (chosen.stop <= chosen.start) {
      if (edge === "start") chosen.stop = stop;
      else chosen.start = start;
    }
    if (chosen.kind === "mark") {
      const moved = { label: chosen.label, start: chosen.start, stop: chosen.stop, kind: "label", cells: chosen.original.cells || [] };
      if (await labels.edit(`move ${chosen.label}`, [moved], [chosen.original])) {
        const found = labels.marks.find((one) => one.label === chosen.label && one.start <= chosen.start + 1e-3 && one.stop >= chosen.stop - 1e-3);
        if (found) choose(found, "mark", false);
      }
      return;
    }
    state.chosen = chosen;
  }
  refresh();
});

const undo = guarded(async () => {
  const what = labels.undoable;
  if (what && (await labels.undo())) following(-1, `Undone: ${what}; saved.`);
});

const redo = guarded(async () => {
  const what = labels.redoable;
  if (what && (await labels.redo())) following(-1, `Done again: ${what}; saved.`);
});

function onLabels() {
  const film = state.film && state.home.films.find((one) => one.id === state.film.id);
  const isLabeled = labels.marks.some((one) => one.kind === "label");
  if (film && film.labeled !== isLabeled) {
    film.labeled = isLabeled;
    listFilms();
  }
  refresh();
}

function onConflict(message, what) {
  byId("conflict").hidden = !what;
  byId("conflict-text").textContent = `${message[0].toUpperCase()}${message.slice(1)}. Your edit “${what}” is kept here.`;
  complain("The labels were changed elsewhere; this page shows them now.");
}

function onSeek(seconds, lane) {
  player.seek(seconds);
  const here = (one) => one.label === lane && one.start <= seconds && seconds < one.stop;
  const found = labels.marks.find((one) => one.kind === "label" && here(one));
  const suggested = suggestions().find((one) => here(one) && !labels.settles(one));
  if (found) choose(found, "mark", false);
  else if (suggested) choose(suggested, "suggestion", false);
}

function onStretch(a, b, lane, isDone) {
  if (!state.film) return;
  const first = player.frameAt(Math.min(a, b));
  const last = player.frameAt(Math.max(a, b));
  const start = state.film.times[first];
  const stop = player.end(last);
  state.chosen = { label: lane || byId("label").value, start, stop, key: "new", kind: "stretch", original: null };
  byId("label").value = state.chosen.label;
  if (isDone) player.show(first);
  refresh();
}

const sendFiles = guarded(async (files) => {
  let last = null;
  for (const file of files) {
    const row = text("div", file.name, "small");
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.setAttribute("aria-label", `Upload of ${file.name}`);
    row.append(bar);
    byId("uploads").append(row);
    try {
      last = (await upload(file, (share) => (bar.value = share))).film;
      say(`${file.name} is here.`);
    } catch (error) {
      complain(`${file.name}: ${error.message}`);
    }
    row.remove();
  }
  if (last) await loadHome(last);
});

const importLabels = guarded(async (file) => {
  const answer = await ask(`/api/labels/import?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
  const number = Object.keys(answer.films).length;
  if (state.film) await labels.open(state.film.id);
  await loadHome().then(guarded(() => teach.load()));
  say(`Labels of ${number} film${number === 1 ? "" : "s"} were read in.`);
});

// A film whose labels cannot be read is named; the others are saved.
const exported = guarded(async (link) => {
  const answer = await fetch(link.href);
  if (!answer.ok) throw new Error((await answer.json()).error);
  const leftOut = answer.headers.get("x-tubelet-left-out");
  const saved = document.createElement("a");
  saved.href = URL.createObjectURL(await answer.blob());
  saved.download = /filename="([^"]*)"/.exec(answer.headers.get("content-disposition") || "")?.[1] || "labels";
  saved.click();
  setTimeout(() => URL.revokeObjectURL(saved.href), 60000);
  if (leftOut) complain(`Left out: ${decodeURIComponent(leftOut)}`);
  else say("All labels were saved.");
});

// One heat map at a time: what was asked for last is shown, and how long it takes so far.
let heated = 0;

const showHeat = guarded(async () => {
  if (!state.film || !state.run) return;
  const turn = (heated += 1);
  const chosen = state.chosen;
  const start = chosen ? chosen.start : player.seconds;
  const stop = chosen ? chosen.stop : Math.min(state.film.seconds, player.seconds + 2);
  const query = new URLSearchParams({ start: String(start), stop: String(stop) });
  if (chosen && state.run.labels.includes(chosen.label)) query.set("label", chosen.label);
  const what = query.get("label") || "The best class";
  const note = byId("heat-note");
  const picture = byId("heat-picture");
  picture.hidden = byId("heat-film").hidden = true;
  byId("heat-film").href = `/api/films/${state.film.id}/explain/${state.run.id}?${query}&as_film=true`;
  byId("heat-dialog").showModal();
  const began = Date.now();
  const told = () => {
    note.textContent = `${what}, ${time(start)} – ${time(stop)}: computing for ${duration((Date.now() - began) / 1000)}. A large model takes minutes on a CPU.`;
  };
  told();
  const clock = setInterval(() => turn === heated && told(), 1000);
  try {
    const answer = await fetch(`/api/films/${state.film.id}/explain/${state.run.id}?${query}`);
    if (turn !== heated) return;
    if (!answer.ok) {
      note.textContent = (await answer.json()).error;
      return;
    }
    const [first, last] = (answer.headers.get("x-tubelet-shown") || `${start} ${stop}`).split(" ").map(Number);
    picture.src = URL.createObjectURL(await answer.blob());
    picture.hidden = byId("heat-film").hidden = false;
    const part = last - first < stop - start - 1e-3 ? ` It is of the middle of the stretch, ${time(first)} – ${time(last)}.` : "";
    note.textContent = `Red speaks for the class, blue against it.${part}`;
  } finally {
    clearInterval(clock);
  }
});

// Wires

function click(id, work) {
  byId(id).addEventListener("click", work);
}

click("play", () => player.toggle());
click("step-back", () => player.step(-1));
click("step-forward", () => player.step(1));
click("zoom-in", () => timeline.zoom(0.5));
click("zoom-out", () => timeline.zoom(2));
click("zoom-fit", () => timeline.fit());
click("accept", accept);
click("reject", reject);
click("undo", undo);
click("redo", redo);
click("set-start", () => moveEdge("start"));
click("set-stop", () => moveEdge("stop"));
click("heat", showHeat);
click("keys-button", () => byId("keys-dialog").showModal());
click("conflict-apply", guarded(async () => {
  byId("conflict").hidden = true;
  if (await labels.applyPending()) following(-1, "Your edit was applied too; saved.");
}));
click("conflict-drop", () => {
  byId("conflict").hidden = true;
  labels.dropPending();
});
click("reset", () => {
  state.threshold = null;
  for (const id of ["least", "gap"]) byId(id).value = "";
  byId("group").value = "1";
  byId("merge").checked = true;
  showThreshold();
  look();
});
click("theme-button", () => {
  const isDark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
  refresh();
});
for (const layout of ["csv", "boris", "json"]) {
  byId(`export-${layout}`).addEventListener("click", (event) => {
    event.preventDefault();
    exported(event.currentTarget);
  });
}
byId("change").addEventListener("submit", (event) => {
  event.preventDefault();
  apply(byId("label").value);
});
byId("run").addEventListener("change", () => {
  chooseRun();
  state.chosen = state.look = null;
  refresh();
  look();
});
for (const id of ["group", "merge", "least", "gap", "topk"]) byId(id).addEventListener("change", () => look());
let slid = 0;
byId("threshold").addEventListener("input", () => {
  state.threshold = Number(byId("threshold").value) / 100;
  showThreshold();
  clearTimeout(slid);
  slid = setTimeout(look, 120);
});
byId("file").addEventListener("change", async (event) => {
  await sendFiles([...event.target.files]);
  event.target.value = "";
});
byId("import").addEventListener("change", async (event) => {
  if (event.target.files[0]) await importLabels(event.target.files[0]);
  event.target.value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) sendFiles([...event.dataTransfer.files]);
  });
}
document.addEventListener("visibilitychange", guarded(async () => {
  if (!document.hidden) await labels.refresh();
}));
window.addEventListener("focus", guarded(() => labels.refresh()));

const KEYS = {
  " ": () => player.toggle(),
  n: () => next(1),
  p: () => next(-1),
  a: accept,
  r: reject,
  c: () => byId("label").select(),
  d: () => compare.next(1),
  D: () => compare.next(-1),
  u: undo,
  U: redo,
  "[": () => moveEdge("start"),
  "]": () => moveEdge("stop"),
  "+": () => timeline.zoom(0.5),
  "-": () => timeline.zoom(2),
  0: () => timeline.fit(),
  ArrowLeft: (event) => (event.shiftKey ? player.seek(player.seconds - 1) : player.step(-1)),
  ArrowRight: (event) => (event.shiftKey ? player.seek(player.seconds + 1) : player.step(1)),
  Home: () => player.show(0),
  End: () => player.show(state.film ? state.film.times.length - 1 : 0),
  "?": () => byId("keys-dialog").showModal(),
};

document.addEventListener("keydown", (event) => {
  const where = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (where.matches("input:not([type='checkbox']):not([type='radio']), select, textarea")) {
    if (event.key === "Escape") byId("timeline").focus();
    return;
  }
  if (where.matches("input[type='radio']") && event.key.startsWith("Arrow")) return;
  if (where.matches("button, a, summary") && (event.key === " " || event.key === "Enter")) return;
  let work = KEYS[event.key];
  if (/^[1-9]$/.test(event.key) && teach.key(Number(event.key))) {
    event.preventDefault();
    return;
  }
  if (/^[1-9]$/.test(event.key)) {
    const label = known()[Number(event.key) - 1];
    if (label && state.chosen) work = () => apply(label);
  }
  if (!work) return;
  event.preventDefault();
  work(event);
});

const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
loadHome().then(guarded(() => teach.load()));
