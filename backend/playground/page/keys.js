// The keyboard: letters for the tools, and a cross that is moved by the arrow keys and clicks.

import { findSelected } from "./state.js";
import { thinOut } from "./gestures.js";

const NEAR = 8, FAR = 64;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const TOOLS = { p: "point", b: "box", s: "scribble", m: "move" };

export class Keys {
  /** As of Gestures. actions: what the buttons do, by their names. */
  constructor(session, view, tools, actions) {
    this.session = session;
    this.view = view;
    this.tools = tools;
    this.actions = actions;
    /** Where a box or a scribble of the keyboard began: {kind, points, positive}, or null. */
    this.begun = null;
    document.addEventListener("keydown", (event) => this.press(event));
    document.addEventListener("pointerdown", () => delete document.body.dataset.by, true);
    document.addEventListener("keyup", (event) => {
      if (event.key === " ") tools.isMoving = false;
    });
    view.canvas.addEventListener("blur", () => this.leave());
  }

  press(event) {
    document.body.dataset.by = "keys";
    if (event.defaultPrevented || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const isOnCanvas = event.target === this.view.canvas;
    const isDone = this.session.image ? this.act(event, isOnCanvas) : event.key === "?" && this.run("help");
    if (isDone) event.preventDefault();
  }

  /** Whether the key means something here. */
  act(event, isOnCanvas) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) return this.actWithControl(key, event.shiftKey);
    if (isOnCanvas && key in ARROWS) return this.moveCross(ARROWS[key], event.shiftKey ? FAR : NEAR);
    if (isOnCanvas && key === "Enter") return this.click(event.altKey ? !this.tools.positive : this.tools.positive);
    if (isOnCanvas && key === " ") return (this.tools.isMoving = true);
    if (key === "Escape") return this.leave();
    if (event.altKey) return false;
    if (key in TOOLS) return this.choose(TOOLS[key]);
    const names = { x: "changeSign", n: "nextSize", z: "undo", y: "redo", c: "clear", a: "newObject", h: "hide" };
    const others = { "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", 0: "fit", "?": "help", Delete: "remove", Backspace: "remove" };
    return this.run({ ...names, ...others }[key]);
  }

  actWithControl(key, isShifted) {
    if (key === "z") return this.run(isShifted ? "redo" : "undo");
    return key === "y" && this.run("redo");
  }

  run(name) {
    if (!name) return false;
    this.actions[name]();
    return true;
  }

  choose(tool) {
    this.leave();
    this.tools.choose(tool);
    return true;
  }

  moveCross([right, down], far) {
    const { view } = this, { width, height } = this.session.image;
    const [x, y] = view.cross ?? this.findFirstCross();
    const step = view.cross ? far / view.scale : 0;
    view.cross = [Math.min(Math.max(x + right * step, 0), width), Math.min(Math.max(y + down * step, 0), height)];
    view.show(view.cross);
    if (this.begun) {
      this.begun.points.push(view.cross);
      this.draw();
    }
    view.refresh();
    return true;
  }

  /** At the newest click, else in the middle of the image. */
  findFirstCross() {
    const { image, state } = this.session;
    const { marks } = findSelected(state).prompt;
    return marks.at(-1)?.points.at(-1) ?? [image.width / 2, image.height / 2];
  }

  click(positive) {
    const { view, session, tools } = this;
    view.cross ??= this.findFirstCross();
    if (tools.tool === "box" || tools.tool === "scribble") return this.beginOrEnd(positive);
    session.mark([view.cross], positive);
    return true;
  }

  beginOrEnd(positive) {
    const { view, session, tools, begun } = this;
    if (!begun) {
      this.begun = { kind: tools.tool, points: [view.cross], positive };
      session.tell("Move with the arrow keys, end with Enter.");
      return true;
    }
    this.leave();
    if (begun.kind === "box") {
      session.box(begun.points[0], view.cross);
      tools.choose("point");
    } else {
      session.mark(thinOut(begun.points), begun.positive);
    }
    return true;
  }

  draw() {
    const { kind, points, positive } = this.begun;
    this.view.draft = kind === "box" ? { box: [...points[0], ...points.at(-1)] } : { points, positive };
  }

  leave() {
    this.begun = null;
    this.view.draft = null;
    this.view.refresh();
    return true;
  }
}

function isTyping(target) {
  return target instanceof HTMLInputElement && target.type !== "range";
}
