// Mouse, pen and fingers on the canvas: clicks, boxes, scribbles, moving and zooming.

const DRAG_FROM = { mouse: 5, pen: 6, touch: 10 };
const MOST_STROKE_POINTS = 150;

export class Gestures {
  /** session: see session.js. view: see view.js. tools: has tool, positive, isMoving (while Space is held). */
  constructor(session, view, tools) {
    this.session = session;
    this.view = view;
    this.tools = tools;
    /** Pointer -> its last place on the canvas. */
    this.pointers = new Map();
    /** What the first pointer does: {kind, from, positive, points}, or null. */
    this.gesture = null;
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.end(event));
    canvas.addEventListener("pointercancel", (event) => this.cancel(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.turnWheel(event), { passive: false });
  }

  /** Forget what is being drawn. */
  leave() {
    this.gesture = null;
    this.view.draft = null;
    this.view.refresh();
  }

  begin(event) {
    if (!this.session.image) return;
    this.view.canvas.setPointerCapture(event.pointerId);
    const place = findPlace(event);
    this.pointers.set(event.pointerId, place);
    this.view.cross = null;
    if (this.pointers.size > 1) {
      // Two fingers move and zoom, whatever the first one began.
      this.leave();
      return;
    }
    this.gesture = { kind: this.chooseKind(event), from: place, positive: this.chooseSign(event), points: [place], isDrag: false };
  }

  chooseKind(event) {
    if (event.button === 1 || this.tools.isMoving || this.tools.tool === "move") return "move";
    if (event.shiftKey) return "scribble";
    return this.tools.tool;
  }

  /** The right button, and Alt, mean the other sign; so does Ctrl, which is a Mac's right button. */
  chooseSign(event) {
    const isOther = event.button === 2 || event.altKey || event.ctrlKey;
    return isOther ? !this.tools.positive : this.tools.positive;
  }

  move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const place = findPlace(event);
    if (this.pointers.size > 1) {
      this.pinch(event.pointerId, last, place);
    } else if (this.gesture) {
      this.drag(event, last, place);
    }
    this.pointers.set(event.pointerId, place);
  }

  drag(event, last, place) {
    const { gesture, view } = this;
    gesture.isDrag ||= Math.hypot(place[0] - gesture.from[0], place[1] - gesture.from[1]) >= DRAG_FROM[event.pointerType];
    if (!gesture.isDrag) return;
    if (gesture.kind === "box") {
      view.draft = { box: [...view.toImage(gesture.from), ...view.toImage(place)] };
    } else if (gesture.kind === "scribble") {
      gesture.points.push(place);
      view.draft = { points: gesture.points.map((each) => view.toImage(each)), positive: gesture.positive };
    } else {
      view.pan(place[0] - last[0], place[1] - last[1]);
    }
    view.refresh();
  }

  pinch(id, last, place) {
    const [other] = [...this.pointers].find(([each]) => each !== id).slice(1);
    const before = Math.hypot(last[0] - other[0], last[1] - other[1]);
    const after = Math.hypot(place[0] - other[0], place[1] - other[1]);
    this.view.pan((place[0] - last[0]) / 2, (place[1] - last[1]) / 2);
    if (before > 0) this.view.zoom(after / before, [(place[0] + other[0]) / 2, (place[1] + other[1]) / 2]);
  }

  end(event) {
    const { gesture } = this;
    this.pointers.delete(event.pointerId);
    this.leave();
    if (gesture) this.finish(gesture, findPlace(event));
  }

  finish({ kind, from, positive, points, isDrag }, place) {
    const { view, session } = this;
    if (kind === "box" && isDrag) {
      session.box(view.toImage(from), view.toImage(place));
      this.tools.choose("point");
    } else if (kind === "scribble" && isDrag) {
      session.mark(thinOut(points).map((each) => view.toImage(each)), positive);
    } else if (!isDrag && kind !== "move" && view.isOnImage(from)) {
      session.mark([view.toImage(from)], positive);
    }
  }

  cancel(event) {
    this.pointers.delete(event.pointerId);
    this.leave();
  }

  turnWheel(event) {
    event.preventDefault();
    if (!this.session.image) return;
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    this.view.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), findPlace(event));
  }
}

/** So few points that the server takes them, both ends among them. */
export function thinOut(points) {
  if (points.length <= MOST_STROKE_POINTS) return points;
  const step = (points.length - 1) / (MOST_STROKE_POINTS - 1);
  return Array.from({ length: MOST_STROKE_POINTS }, (_, place) => points[Math.round(place * step)]);
}

function findPlace(event) {
  const { left, top } = event.currentTarget.getBoundingClientRect();
  return [event.clientX - left, event.clientY - top];
}
