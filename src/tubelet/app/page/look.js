// How things look: times, and a color with a pattern for each label.

// Okabe and Ito's palette, which people with any color vision tell apart; the pattern says the same once more.
const COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8d8d8d", "#b5a800"];
const PATTERNS = ["solid", "rising", "dots", "falling", "rows", "cross", "columns", "solid"];
const made = new Map();

export function time(seconds) {
  const all = Math.max(0, Math.round(seconds * 1000));
  const hours = Math.floor(all / 3600000);
  const minutes = Math.floor(all / 60000) % 60;
  const rest = `${String(Math.floor(all / 1000) % 60).padStart(2, "0")}.${String(all % 1000).padStart(3, "0")}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

export function duration(seconds) {
  if (seconds >= 7200) return `${Math.round(seconds / 3600)} h`;
  if (seconds >= 120) return `${Math.round(seconds / 60)} min`;
  return `${Math.max(1, Math.round(seconds))} s`;
}

// The labels that a timeline has room for: all of a model that knows few, else those that hold most of the film.
export function shownLabels(run, curves) {
  if (run && run.labels.length <= 12) return run.labels;
  return curves ? curves.labels : [];
}

// How far a film is scored, where nothing else says so; empty once it is.
export function scoredText(look) {
  if (look.state === "failed") return `Not scored: ${look.error}`;
  return look.state === "done" ? "" : `Scored ${time(look.known_seconds || 0)}`;
}

export class Palette {
  constructor() {
    this.labels = [];
  }
  index(label) {
    let place = this.labels.indexOf(label);
    if (place < 0) place = this.labels.push(label) - 1;
    return place;
  }
  color(label) {
    return COLORS[this.index(label) % COLORS.length];
  }
  // What a canvas fills with: the color, with lines or dots of the paper in it.
  fill(context, label) {
    const place = this.index(label);
    const turn = Math.floor(place / COLORS.length);
    const kind = PATTERNS[(place + turn * 3) % PATTERNS.length];
    const color = COLORS[place % COLORS.length];
    const key = `${kind} ${color}`;
    if (!made.has(key)) made.set(key, tile(kind, color));
    return kind === "solid" ? color : context.createPattern(made.get(key), "repeat");
  }
  swatch(label) {
    const canvas = document.createElement("canvas");
    canvas.width = 26;
    canvas.height = 18;
    canvas.setAttribute("aria-hidden", "true");
    const context = canvas.getContext("2d");
    context.fillStyle = this.fill(context, label);
    context.fillRect(0, 0, 26, 18);
    return canvas;
  }
}

function tile(kind, color) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 8;
  const context = canvas.getContext("2d");
  context.fillStyle = color;
  context.fillRect(0, 0, 8, 8);
  context.strokeStyle = context.fillStyle = "rgba(255,255,255,.75)";
  context.lineWidth = 1.6;
  context.beginPath();
  if (kind === "rising" || kind === "cross") {
    context.moveTo(-2, 2); context.lineTo(2, -2);
    context.moveTo(0, 8); context.lineTo(8, 0);
    context.moveTo(6, 10); context.lineTo(10, 6);
  }
  if (kind === "falling" || kind === "cross") {
    context.moveTo(-2, 6); context.lineTo(2, 10);
    context.moveTo(0, 0); context.lineTo(8, 8);
    context.moveTo(6, -2); context.lineTo(10, 2);
  }
  if (kind === "rows") { context.moveTo(0, 2); context.lineTo(8, 2); context.moveTo(0, 6); context.lineTo(8, 6); }
  if (kind === "columns") { context.moveTo(2, 0); context.lineTo(2, 8); context.moveTo(6, 0); context.lineTo(6, 8); }
  context.stroke();
  if (kind === "dots") {
    for (const [x, y] of [[2, 2], [6, 6]]) {
      context.beginPath();
      context.arc(x, y, 1.3, 0, 7);
      context.fill();
    }
  }
  return canvas;
}
