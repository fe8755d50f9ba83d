// The player. Frames and their times are the server's: the picture of a paused film comes from its reader, and while
// the film plays the time that the browser presents is looked up among them.

const byId = (id) => document.getElementById(id);
const SLICES_PER_SECOND = 10; // of a volume

export class Player {
  constructor(onFrame) {
    this.video = byId("video");
    this.still = byId("still");
    this.note = byId("player-note");
    this.onFrame = onFrame;
    this.film = null;
    this.frame = 0;
    this.watched = 0;
    this.wanted = -1;
    this.video.addEventListener("play", () => this.playing(true));
    this.video.addEventListener("pause", () => this.playing(false));
    this.video.addEventListener("ended", () => this.show(this.film ? this.film.times.length - 1 : 0));
    this.video.addEventListener("error", () => this.film && this.say("The browser cannot play this file; frames can be stepped through."));
    this.still.addEventListener("load", () => {
      this.still.hidden = false;
      this.still.dataset.frame = this.still.dataset.asked;
    });
  }

  open(film) {
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    this.film = film;
    this.still.hidden = true;
    this.say("");
    this.canPlay = this.isPictures = this.isGrowing = this.isAwaited = false;
    this.show(0);
  }

  // The film, or the whole copy. Who watched the copy grow goes on where they are.
  ready() {
    const seconds = this.video.currentTime;
    const isPlaying = this.isGrowing && !this.video.paused;
    this.canPlay = true;
    this.isGrowing = false;
    this.say("");
    this.video.src = `/api/films/${this.film.id}/video`;
    if (!isPlaying) {
      if (this.isAwaited) this.toggle();
      this.isAwaited = false;
      return;
    }
    this.video.currentTime = seconds;
    this.video.play().catch(() => {});
  }

  // The copy as far as it is made: it plays from where it is known.
  grows() {
    if (this.isGrowing) return;
    this.canPlay = this.isGrowing = true;
    this.say("A copy that browsers can play is being made; what is there of it plays already.");
    this.video.src = `/api/films/${this.film.id}/growing`;
  }

  say(text) {
    this.note.textContent = text;
    this.note.hidden = !text;
  }

  get seconds() {
    return this.film ? this.film.times[this.frame] : 0;
  }

  // When a frame leaves the screen.
  end(frame) {
    const times = this.film.times;
    return frame + 1 < times.length ? times[frame + 1] : this.film.seconds;
  }

  frameAt(seconds) {
    const times = this.film.times;
    let low = 0;
    let high = times.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (times[middle] <= seconds + 1e-4) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  show(frame) {
    if (!this.film) return;
    this.video.pause();
    this.leaf(false);
    this.frame = Math.min(Math.max(0, frame), this.film.times.length - 1);
    this.picture();
    this.onFrame();
  }

  seek(seconds) {
    if (this.film) this.show(this.frameAt(seconds));
  }

  step(number) {
    this.show(this.frame + number);
  }

  // The newest wanted frame is asked for; those in between are left out while one is on its way.
  picture() {
    this.wanted = this.frame;
    if (this.asking) return;
    this.asking = true;
    const film = this.film;
    const frame = this.wanted;
    const next = new Image();
    const done = () => {
      this.asking = false;
      if (film === this.film && next.naturalWidth) {
        this.still.dataset.asked = String(frame);
        this.still.src = next.src;
        this.still.alt = `Frame ${frame} of the film`;
      }
      if (this.film !== film || this.wanted !== frame) this.picture();
    };
    next.onload = done;
    next.onerror = done;
    next.src = `/api/films/${film.id}/frames/${frame}`;
  }

  toggle() {
    if (!this.film) return;
    if (!this.video.paused) {
      this.video.pause();
      return;
    }
    if (this.isPictures) {
      this.leaf(!this.leafing);
      return;
    }
    if (!this.canPlay) {
      this.isAwaited = !this.isAwaited; // it begins when it can
      return;
    }
    if (this.frame >= this.film.times.length - 1) this.frame = 0;
    const wanted = (this.seconds + this.end(this.frame)) / 2;
    const there = this.video.buffered;
    if (this.isGrowing && !(there.length && wanted < there.end(there.length - 1))) {
      this.say("The copy is not made so far yet; frames can be stepped through meanwhile.");
      return;
    }
    this.video.currentTime = wanted;
    this.video.play().catch(() => this.say("The browser cannot play this file; frames can be stepped through."));
  }

  // Plays what browsers have no player for, volumes and frame folders: picture by picture, as fast as they come.
  leaf(is) {
    if (Boolean(this.leafing) === is) return;
    clearInterval(this.leafing);
    this.leafing = null;
    this.button(is);
    if (!is) return;
    const film = this.film;
    const rate = film.fps > 1 ? film.fps : SLICES_PER_SECOND;
    if (this.frame >= film.times.length - 1) this.frame = 0;
    const first = this.frame;
    const began = performance.now();
    this.leafing = setInterval(() => {
      const frame = Math.min(film.times.length - 1, first + Math.floor(((performance.now() - began) / 1000) * rate));
      if (film !== this.film || frame >= film.times.length - 1) this.leaf(false);
      if (film !== this.film || frame === this.frame) return;
      this.frame = frame;
      this.picture();
      this.onFrame();
    }, 40);
  }

  button(is) {
    byId("play-icon").setAttribute("href", is ? "#i-pause" : "#i-play");
    byId("play-text").textContent = is ? "Pause" : "Play";
  }

  playing(is) {
    this.button(is);
    if (is) {
      this.follow();
    } else if (this.film) {
      this.picture();
    }
  }

  follow() {
    const turn = (this.following = (this.following || 0) + 1);
    const take = (now, presented) => {
      if (turn !== this.following || this.video.paused || !this.film) return;
      this.frame = this.frameAt(presented ? presented.mediaTime : this.video.currentTime);
      this.still.hidden = true;
      this.onFrame();
      this.follow();
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(take);
    else requestAnimationFrame((now) => take(now, null));
  }
}
