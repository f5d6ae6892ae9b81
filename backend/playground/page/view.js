// The canvas: where the image lies on it, and what is painted. Sizes on the canvas are in pixels of the page (CSS).

import { traceRings } from "./outlines.js";
import { findSelected } from "./state.js";

const LARGEST_SCALE = 32;
const MARGIN = 24;
const SMOOTH_UP_TO_SCALE = 3;
const MARK_RADIUS = 7;
const GREEN = "#16a34a", RED = "#dc2626";

export class View {
  /** canvas: filled by the image. work: has the image and the state, see session.js. */
  constructor(canvas, work) {
    this.canvas = canvas;
    this.work = work;
    this.context = canvas.getContext("2d");
    this.scale = 1;
    this.left = 0;
    this.top = 0;
    this.opacity = 0.45;
    this.isHidden = false;
    /** The cross of the keyboard, [x, y] in pixels of the image, or null. */
    this.cross = null;
    /** What is being drawn: {box: [x1, y1, x2, y2]} or {points, positive}, or null. */
    this.draft = null;
    this.isFitted = true;
    this.paths = new WeakMap();
    this.frame = 0;
    /** How much of the canvas lies under something else, from below. */
    this.findCovered = () => 0;
    /** Called whenever it was painted. */
    this.onPaint = () => {};
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Paint soon; however often it is asked for, once. */
  refresh() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
      this.onPaint();
    });
  }

  /** Show all of the image in the middle. */
  fit() {
    const { image } = this.work;
    if (!image) return;
    this.scale = this.findFit(image);
    this.left = (this.canvas.clientWidth - image.width * this.scale) / 2;
    this.top = (this.canvas.clientHeight - this.findCovered() - image.height * this.scale) / 2;
    this.isFitted = true;
    this.refresh();
  }

  /** Zoom by a factor around a place of the canvas, by default its middle. */
  zoom(factor, place = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    const { image } = this.work;
    if (!image) return;
    const smallest = Math.min(this.findFit(image), 1) / 4;
    const scale = Math.min(Math.max(this.scale * factor, smallest), LARGEST_SCALE);
    const [x, y] = this.toImage(place);
    this.scale = scale;
    this.left = place[0] - x * scale;
    this.top = place[1] - y * scale;
    this.keepInSight();
  }

  /** Move the image by so much. */
  pan(right, down) {
    this.left += right;
    this.top += down;
    this.keepInSight();
  }

  /** A place of the canvas in pixels of the image. */
  toImage([x, y]) {
    return [(x - this.left) / this.scale, (y - this.top) / this.scale];
  }

  /** Whether a place of the canvas lies on the image. */
  isOnImage(place) {
    const { image } = this.work;
    const [x, y] = this.toImage(place);
    return image !== null && x >= 0 && y >= 0 && x <= image.width && y <= image.height;
  }

  /** Move the image so far that a point of it can be seen. */
  show([x, y]) {
    const place = [x * this.scale + this.left, y * this.scale + this.top];
    const sizes = [this.canvas.clientWidth, this.canvas.clientHeight];
    const [right, down] = place.map((value, axis) => {
      const inside = Math.min(Math.max(value, MARGIN), sizes[axis] - MARGIN);
      return inside - value;
    });
    if (right || down) this.pan(right, down);
  }

  /** Paint the image with its masks, all of it and nothing else, for a file. */
  drawOverlay(context) {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    context.drawImage(this.work.image.bitmap, 0, 0);
    const wide = Math.max(1, context.canvas.width / 600);
    for (const object of this.work.state.objects) this.paintMask(context, object, wide, this.opacity);
  }

  findFit({ width, height }) {
    const { clientWidth, clientHeight } = this.canvas;
    const across = (clientWidth - 2 * MARGIN) / width;
    const down = (clientHeight - this.findCovered() - 2 * MARGIN) / height;
    return Math.min(Math.max(Math.min(across, down), 0.001), LARGEST_SCALE);
  }

  keepInSight() {
    const { width, height } = this.work.image;
    const { clientWidth, clientHeight } = this.canvas;
    this.left = Math.min(Math.max(this.left, MARGIN - width * this.scale), clientWidth - MARGIN);
    this.top = Math.min(Math.max(this.top, MARGIN - height * this.scale), clientHeight - MARGIN);
    this.isFitted = false;
    this.refresh();
  }

  resize() {
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.isFitted) this.fit();
    this.paint();
  }

  paint() {
    const { context, canvas, work } = this;
    const ratio = canvas.width / Math.max(canvas.clientWidth, 1);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!work.image) return;
    context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.left, ratio * this.top);
    this.paintImage(context, work.image);
    const selected = findSelected(work.state);
    for (const object of this.isHidden ? [] : work.state.objects) {
      const isSelected = object === selected;
      this.paintMask(context, object, (isSelected ? 2.5 : 1.25) / this.scale, this.opacity);
    }
    // From here on sizes are those of the canvas, whatever the zoom.
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.paintPrompt(context, selected);
    if (this.cross) this.paintCross(context, this.toCanvas(this.cross));
  }

  paintImage(context, { bitmap, width, height }) {
    context.imageSmoothingEnabled = this.scale < SMOOTH_UP_TO_SCALE;
    context.imageSmoothingQuality = "high";
    // Where the image is transparent the server sees white.
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
  }

  paintMask(context, { mask, color }, wide, opacity) {
    if (!mask || !mask.area) return;
    const path = this.findPath(mask);
    context.fillStyle = context.strokeStyle = color;
    context.globalAlpha = opacity;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    context.lineJoin = "round";
    context.lineWidth = wide;
    context.stroke(path);
  }

  findPath(mask) {
    let path = this.paths.get(mask);
    if (!path) {
      path = new Path2D();
      for (const ring of traceRings(mask)) {
        path.moveTo(ring[0], ring[1]);
        for (let place = 2; place < ring.length; place += 2) path.lineTo(ring[place], ring[place + 1]);
        path.closePath();
      }
      this.paths.set(mask, path);
    }
    return path;
  }

  paintPrompt(context, { prompt, color }) {
    if (prompt.box) this.paintBox(context, prompt.box, color);
    if (this.draft?.box) this.paintBox(context, this.draft.box, color);
    for (const mark of prompt.marks) this.paintMark(context, mark);
    if (this.draft?.points) this.paintMark(context, this.draft);
  }

  paintBox(context, [x1, y1, x2, y2], color) {
    const [left, top] = this.toCanvas([x1, y1]), [right, bottom] = this.toCanvas([x2, y2]);
    const sides = [left, top, right - left, bottom - top];
    context.lineWidth = 4;
    context.strokeStyle = "#fff";
    context.strokeRect(...sides);
    context.lineWidth = 2;
    context.setLineDash([8, 5]);
    context.strokeStyle = color;
    context.strokeRect(...sides);
    context.setLineDash([]);
  }

  paintMark(context, { points, positive }) {
    const color = positive ? GREEN : RED;
    const places = points.map((point) => this.toCanvas(point));
    if (places.length > 1) {
      context.lineCap = context.lineJoin = "round";
      context.beginPath();
      for (const place of places) context.lineTo(...place);
      for (const [style, wide] of [["#fff", 8], [color, 5]]) {
        context.strokeStyle = style;
        context.lineWidth = wide;
        context.stroke();
      }
      return;
    }
    const [x, y] = places[0];
    context.beginPath();
    context.arc(x, y, MARK_RADIUS, 0, 2 * Math.PI);
    context.fillStyle = color;
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = "#fff";
    context.stroke();
    context.beginPath();
    context.moveTo(x - 3, y);
    context.lineTo(x + 3, y);
    if (positive) {
      context.moveTo(x, y - 3);
      context.lineTo(x, y + 3);
    }
    context.stroke();
  }

  paintCross(context, [x, y]) {
    for (const [style, wide] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = wide;
      context.beginPath();
      for (const [right, down] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 4 * right, y + 4 * down);
        context.lineTo(x + 16 * right, y + 16 * down);
      }
      context.stroke();
    }
  }

  toCanvas([x, y]) {
    return [x * this.scale + this.left, y * this.scale + this.top];
  }
}
