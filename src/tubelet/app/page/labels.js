// The labels of the film that is open: edits with their version. An edit of labels that changed elsewhere meanwhile is
// kept until a person says what becomes of it.

import { ask, tell } from "/static/api.js";

export class Labels {
  constructor(on) {
    this.on = on;
    this.clear();
  }

  clear() {
    this.film = null;
    this.version = 0;
    this.marks = [];
    this.undoable = this.redoable = null;
    this.pending = null;
    this.queue = Promise.resolve();
  }

  async open(film) {
    this.clear();
    this.film = film;
    const state = await ask(`/api/films/${film}/labels`);
    if (film === this.film) this.take(state);
  }

  take(state) {
    this.version = state.version;
    this.marks = state.marks;
    this.undoable = state.undo;
    this.redoable = state.redo;
    this.on.changed();
  }

  // Another tab may have edited; what is shown should be what is.
  async refresh() {
    if (!this.film || this.pending) return;
    const film = this.film;
    const state = await ask(`/api/films/${film}/labels`);
    if (film === this.film && state.version !== this.version) {
      this.take(state);
      this.on.told("The labels were changed in another tab or program; this page shows them now.");
    }
  }

  edit(what, add, remove = []) {
    return this.send("", { what, add, remove });
  }

  undo() {
    return this.send("/undo", {});
  }

  redo() {
    return this.send("/redo", {});
  }

  // One after the other, so that fast fingers do not overtake each other's versions.
  send(way, content) {
    const film = this.film;
    this.queue = this.queue.then(() => this.really(film, way, content));
    return this.queue;
  }

  async really(film, way, content) {
    if (film !== this.film) return false;
    try {
      this.take(await tell(`/api/films/${film}/labels${way}`, { ...content, version: this.version }));
      return true;
    } catch (error) {
      if (error.status === 409) {
        this.take(error.body);
        if (!way) this.pending = content;
        this.on.conflict(error.message, content.what || null);
      } else {
        this.on.failed(error.message);
      }
      return false;
    }
  }

  applyPending() {
    const content = this.pending;
    this.pending = null;
    return content ? this.send("", content) : Promise.resolve(false);
  }

  dropPending() {
    this.pending = null;
  }

  // Whether people have decided about most of a suggestion: labeled it so, or said that it is not so.
  settles(suggestion) {
    let covered = 0;
    for (const mark of this.marks) {
      if (mark.label !== suggestion.label) continue;
      covered += Math.max(0, Math.min(mark.stop, suggestion.stop) - Math.max(mark.start, suggestion.start));
    }
    return covered >= 0.5 * (suggestion.stop - suggestion.start);
  }
}
