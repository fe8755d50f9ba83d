// The timeline: a lane per label with its probability, what is suggested (outlined) and what is labeled (filled).

import { time } from "/static/look.js";

const AXIS = 22;
const STEPS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

export class Timeline {
  constructor(canvas, palette, on) {
    this.canvas = canvas;
    this.palette = palette;
    this.on = on;
    this.from = 0;
    this.to = 1;
    this.length = 1;
    this.content = { lanes: [], curves: null, suggestions: [], marks: [], chosen: null, seconds: 0, known: 0 };
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => (this.pressed = null));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  reset(length) {
    this.length = length;
    this.from = 0;
    this.to = length;
  }

  show(content) {
    Object.assign(this.content, content);
    this.draw();
  }

  zoom(factor, around = null) {
    const middle = around === null ? this.content.seconds : around;
    const width = Math.min(this.length, Math.max(0.2, (this.to - this.from) * factor));
    const share = (middle - this.from) / (this.to - this.from || 1);
    this.from = Math.min(Math.max(0, middle - width * Math.min(1, Math.max(0, share))), this.length - width);
    this.to = this.from + width;
    this.draw();
  }

  fit() {
    this.from = 0;
    this.to = this.length;
    this.draw();
  }

  // Keeps the playhead in sight.
  keep(seconds) {
    if (seconds < this.from || seconds > this.to) {
      const width = this.to - this.from;
      this.from = Math.min(Math.max(0, seconds - width / 5), this.length - width);
      this.to = this.from + width;
    }
  }

  get gutter() {
    return this.canvas.clientWidth < 480 ? 84 : 132;
  }

  x(seconds) {
    return this.gutter + ((seconds - this.from) / (this.to - this.from || 1)) * (this.canvas.clientWidth - this.gutter - 6);
  }

  seconds(x) {
    const share = (x - this.gutter) / (this.canvas.clientWidth - this.gutter - 6);
    return Math.min(this.length, Math.max(0, this.from + Math.min(1, Math.max(0, share)) * (this.to - this.from)));
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed = { x: event.offsetX, y: event.offsetY, seconds: this.seconds(event.offsetX), moved: false };
  }

  move(event) {
    if (!this.pressed) return;
    if (Math.abs(event.offsetX - this.pressed.x) > 6) this.pressed.moved = true;
    if (this.pressed.moved) this.on.stretch(this.pressed.seconds, this.seconds(event.offsetX), this.lane(this.pressed.y), false);
  }

  release(event) {
    if (!this.pressed) return;
    const { moved, seconds, y } = this.pressed;
    this.pressed = null;
    if (moved) this.on.stretch(seconds, this.seconds(event.offsetX), this.lane(y), true);
    else this.on.seek(this.seconds(event.offsetX), this.lane(y));
  }

  lane(y) {
    return this.content.lanes[Math.floor((y - AXIS) / this.height)] || null;
  }

  wheel(event) {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
    event.preventDefault();
    if (event.shiftKey) {
      const by = ((event.deltaY || event.deltaX) / 600) * (this.to - this.from);
      const width = this.to - this.from;
      this.from = Math.min(Math.max(0, this.from + by), this.length - width);
      this.to = this.from + width;
      this.draw();
    } else {
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.seconds(event.offsetX));
    }
  }

  draw() {
    const { canvas, content } = this;
    const style = getComputedStyle(document.documentElement);
    this.ink = style.getPropertyValue("--ink").trim();
    this.dim = style.getPropertyValue("--dim").trim();
    this.line = style.getPropertyValue("--line").trim();
    this.panel = style.getPropertyValue("--panel").trim();
    this.accent = style.getPropertyValue("--accent").trim();
    this.paper = style.getPropertyValue("--paper").trim();
    const count = Math.max(1, content.lanes.length);
    this.height = count > 8 ? 30 : 36;
    const width = canvas.clientWidth;
    const height = AXIS + count * this.height + 4;
    const ratio = window.devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.fillStyle = this.panel;
    context.fillRect(0, 0, width, height);
    this.axis(context, width, height);
    content.lanes.forEach((label, row) => this.row(context, label, AXIS + row * this.height, width));
    this.names(context, height);
    this.playhead(context, height);
    if (this.on.drawn) this.on.drawn(this);
  }

  axis(context, width, height) {
    const per = (this.to - this.from) / Math.max(1, (width - this.gutter) / 90);
    const step = STEPS.find((candidate) => candidate >= per) || 7200;
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (let at = Math.ceil(this.from / step) * step; at <= this.to + 1e-9; at += step) {
      const x = Math.round(this.x(at)) + 0.5;
      context.strokeStyle = this.line;
      context.beginPath();
      context.moveTo(x, AXIS - 4);
      context.lineTo(x, height);
      context.stroke();
      context.fillStyle = this.dim;
      const text = step < 1 ? time(at) : time(at).slice(0, -4);
      if (x + 4 + context.measureText(text).width < width) context.fillText(text, x + 4, AXIS / 2);
    }
  }

  row(context, label, top, width) {
    const { content } = this;
    const bottom = top + this.height;
    context.save();
    context.beginPath();
    context.rect(this.gutter, top, width - this.gutter, this.height);
    context.clip();
    context.strokeStyle = this.line;
    context.beginPath();
    context.moveTo(this.gutter, bottom - 0.5);
    context.lineTo(width, bottom - 0.5);
    context.stroke();
    this.curve(context, label, top + 3, bottom - 3);
    for (const one of content.suggestions) {
      if (one.label === label) this.box(context, one, bottom - 11, 8, false, one === content.chosen);
    }
    for (const mark of content.marks) {
      if (mark.label === label) this.box(context, mark, top + 3, mark.kind === "rejected" ? 4 : 11, mark.kind === "label", mark === content.chosen);
    }
    const chosen = content.chosen;
    if (chosen && chosen.label === label) {
      const a = this.x(chosen.start);
      const b = Math.max(a + 2, this.x(chosen.stop));
      context.strokeStyle = this.ink;
      context.lineWidth = 2;
      context.strokeRect(a, top + 1.5, b - a, this.height - 3);
      context.lineWidth = 1;
    }
    context.restore();
  }

  curve(context, label, top, bottom) {
    const curves = this.content.curves;
    const row = curves ? curves.labels.indexOf(label) : -1;
    if (row < 0) return;
    const probs = curves.probs[row];
    const edges = curves.edges;
    context.globalAlpha = 0.34;
    context.fillStyle = this.palette.color(label);
    context.beginPath();
    for (let i = 0; i < probs.length; i += 1) {
      if (edges[i + 1] < this.from || edges[i] > this.to || probs[i] === null) continue;
      const a = this.x(edges[i]);
      const height = (bottom - top) * probs[i];
      context.rect(a, bottom - height, Math.max(0.6, this.x(edges[i + 1]) - a + 0.3), height);
    }
    context.fill();
    context.globalAlpha = 1;
  }

  box(context, one, y, height, isFilled, isChosen) {
    const a = this.x(one.start);
    const b = this.x(one.stop);
    if (b < this.gutter || one.start > this.to) return;
    const width = Math.max(2, b - a - 1);
    const color = this.palette.color(one.label);
    if (one.kind === "rejected") {
      context.strokeStyle = this.dim;
      context.setLineDash([2, 2]);
      context.beginPath();
      context.moveTo(a, y + 2);
      context.lineTo(b, y + 2);
      context.stroke();
      context.setLineDash([]);
      return;
    }
    context.fillStyle = isFilled ? this.palette.fill(context, one.label) : this.panel;
    context.fillRect(a, y, width, height);
    context.strokeStyle = isFilled ? this.ink : color;
    context.lineWidth = isChosen ? 2.5 : isFilled ? 1 : 1.8;
    if (one.settled) context.setLineDash([3, 3]);
    context.strokeRect(a + 0.5, y + 0.5, width - 1, height - 1);
    context.setLineDash([]);
    context.lineWidth = 1;
  }

  names(context, height) {
    context.fillStyle = this.paper;
    context.fillRect(0, 0, this.gutter, height);
    context.strokeStyle = this.line;
    context.strokeRect(this.gutter - 0.5, -1, 1, height + 2);
    context.textBaseline = "middle";
    this.content.lanes.forEach((label, row) => {
      const y = AXIS + row * this.height + this.height / 2;
      context.fillStyle = this.palette.fill(context, label);
      context.fillRect(8, y - 6, 12, 12);
      context.fillStyle = this.ink;
      context.font = "12px system-ui, sans-serif";
      let text = label;
      while (text.length > 2 && context.measureText(text).width > this.gutter - 32) text = `${text.replace("…", "").slice(0, -1)}…`;
      context.fillText(text, 26, y);
    });
    context.fillStyle = this.dim;
    context.font = "11px system-ui, sans-serif";
    context.fillText("m:ss", 8, AXIS / 2);
  }

  playhead(context, height) {
    const { seconds, known } = this.content;
    if (known < this.length - 1e-3 && this.content.isLooking && known < this.to) {
      const x = Math.max(this.gutter, this.x(known));
      context.fillStyle = this.dim;
      context.globalAlpha = 0.1;
      context.fillRect(x, AXIS, this.canvas.clientWidth - x, height);
      context.globalAlpha = 1;
    }
    const x = Math.round(this.x(seconds)) + 0.5;
    if (x < this.gutter) return;
    context.strokeStyle = this.accent;
    context.fillStyle = this.accent;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x, 8);
    context.lineTo(x, height);
    context.stroke();
    context.beginPath();
    context.moveTo(x - 6, 3);
    context.lineTo(x + 6, 3);
    context.lineTo(x, 12);
    context.fill();
    context.lineWidth = 1;
  }
}
