// One image and what is done with it: changes the state, asks the server, and tells who listens.

import { readMask } from "./masks.js";
import * as server from "./server.js";
import {
  History,
  addMark,
  addObject,
  beginState,
  changeObject,
  clearObject,
  findSelected,
  isAwaited,
  isEmpty,
  keepNames,
  removeObject,
  setBox,
  takeNextSize,
} from "./state.js";

/**
 * image: {name, file, digest, bitmap, width, height}, or null. state: see state.js. pending: what is waited for, as a
 * sentence, or "". Events: "change" whenever any of these changes, "image" for another image, "tell" with a sentence,
 * "problem" with a Problem and what to do to try again.
 */
export class Session extends EventTarget {
  constructor() {
    super();
    this.image = null;
    this.state = beginState();
    this.pending = "";
    this.history = new History();
    // Object -> the prompt that is on its way to the server.
    this.asking = new Map();
    this.opening = null;
    this.prepared = Promise.resolve();
  }

  /** Whether anything is waited for. */
  get isBusy() {
    return this.pending !== "" || this.asking.size > 0;
  }

  /** Open a file in place of the image there is. saved: what was done on it before, see store.js. */
  async open(file, saved = null) {
    const own = (this.opening = {});
    this.wait("Sending the image…");
    let image;
    try {
      const sent = await server.upload(file);
      image = { ...sent, bitmap: await showImage(file, sent), file, name: file.name };
    } catch (problem) {
      if (own === this.opening) this.fail(problem, () => this.open(file, saved));
      return;
    }
    // Another file may have been opened meanwhile.
    if (own !== this.opening) return;
    this.image?.bitmap.close();
    this.image = image;
    this.asking = new Map();
    this.history = new History();
    this.state = saved ? restoreState(saved, this.image) : beginState();
    this.dispatchEvent(new Event("image"));
    this.prepared = this.prepare();
    await this.prepared;
  }

  /** Leave the image. */
  close() {
    this.image?.bitmap.close();
    this.image = null;
    this.opening = null;
    this.asking = new Map();
    this.history = new History();
    this.state = beginState();
    this.pending = "";
    this.dispatchEvent(new Event("image"));
    this.change();
  }

  /** One more click or stroke on the selected object. */
  mark(points, positive) {
    const { width, height } = this.image;
    const inside = points.map(([x, y]) => [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)]);
    this.step(addMark(this.state, { points: inside, positive }));
  }

  /** A box around the selected object, by two of its corners. */
  box([x1, y1], [x2, y2]) {
    const { width, height } = this.image;
    const [left, right] = [x1, x2].sort((one, other) => one - other);
    const [top, bottom] = [y1, y2].sort((one, other) => one - other);
    const box = [Math.max(left, 0), Math.max(top, 0), Math.min(right, width), Math.min(bottom, height)];
    if (box[0] < box[2] && box[1] < box[3]) this.step(setBox(this.state, box));
  }

  /** The next size of the selected object: a part, the object, a group. */
  async nextSize() {
    const object = findSelected(this.state);
    if (!object.mask || isAwaited(object)) {
      this.tell("There is no mask of another size yet.");
    } else if (object.sizes.length) {
      this.takeNextSize(object.id);
    } else if (!this.asking.has(object.id)) {
      await this.ask(object, true);
    }
  }

  undo() {
    this.goTo(this.history.undo(this.state));
  }

  redo() {
    this.goTo(this.history.redo(this.state));
  }

  clear() {
    if (!isEmpty(findSelected(this.state))) this.step(clearObject(this.state));
  }

  newObject() {
    this.step(addObject(this.state));
  }

  remove(id) {
    this.step(removeObject(this.state, id));
  }

  select(id) {
    this.state = { ...this.state, selected: id };
    this.change();
  }

  rename(id, name) {
    this.state = changeObject(this.state, id, { name });
    this.change();
  }

  step(state) {
    this.history.leave(this.state);
    this.state = state;
    this.change();
    this.askForAwaited();
  }

  goTo(state) {
    if (!state) return;
    this.state = keepNames(state, this.state);
    this.change();
    this.askForAwaited();
  }

  async prepare() {
    const image = this.image, started = performance.now();
    this.wait("Looking at the image…");
    try {
      await server.prepare(image);
      if (image === this.image) this.tell(`Ready after ${renderSeconds(started)}. Click on an object.`);
    } catch (problem) {
      // A click prepares the image, too, and says what is wrong where it still is.
      if (image === this.image) this.fail(problem, () => this.prepare());
    }
  }

  /** Ask for the masks that are awaited and not asked for yet. */
  askForAwaited() {
    for (const object of this.state.objects.filter(isAwaited)) {
      if (this.asking.get(object.id) !== object.prompt) void this.ask(object, false);
    }
  }

  async ask(object, wantsSizes) {
    const image = this.image;
    this.asking.set(object.id, object.prompt);
    // It would only wait for the same at the server, and take the place of others there.
    await this.prepared;
    if (image !== this.image || !this.isCurrent(object)) {
      this.forget(object);
      return;
    }
    const started = performance.now();
    this.wait(wantsSizes ? "Looking for other sizes…" : "Finding the object…");
    try {
      const masks = await server.segment(image, object, wantsSizes);
      this.forget(object);
      if (image === this.image) this.take(object, masks, wantsSizes, renderSeconds(started));
    } catch (problem) {
      this.forget(object);
      if (problem.isOvertaken || image !== this.image || !this.isCurrent(object)) return;
      this.fail(problem, () => this.ask(object, wantsSizes));
    }
  }

  /** Its question is answered, or nobody waits for that any more. */
  forget(object) {
    if (this.asking.get(object.id) === object.prompt) this.asking.delete(object.id);
    this.change();
  }

  /** Whether the question that an object was asked with is still the one that its answer is awaited for. */
  isCurrent(object) {
    return this.state.objects.find((each) => each.id === object.id)?.prompt === object.prompt;
  }

  take(object, masks, wantsSizes, seconds) {
    if (!this.isCurrent(object)) return;
    this.pending = "";
    if (wantsSizes) {
      this.state = changeObject(this.state, object.id, { sizes: masks });
      this.takeNextSize(object.id);
      return;
    }
    const [mask] = masks;
    this.state = changeObject(this.state, object.id, { mask, answered: object.prompt });
    this.tell(`${mask.area ? "Found" : "Nothing found"} in ${seconds}.`);
  }

  takeNextSize(id) {
    const { sizes } = this.state.objects.find((object) => object.id === id);
    if (sizes.length < 2) {
      this.tell("There is no other size.");
      return;
    }
    this.history.leave(this.state);
    this.state = takeNextSize(this.state, id);
    const { mask } = this.state.objects.find((object) => object.id === id);
    this.tell(`Size ${sizes.findIndex((size) => size.key === mask.key) + 1} of ${sizes.length}.`);
  }

  wait(sentence) {
    this.pending = sentence;
    this.dispatchEvent(new CustomEvent("tell", { detail: sentence }));
    this.change();
  }

  tell(sentence) {
    this.pending = "";
    this.dispatchEvent(new CustomEvent("tell", { detail: sentence }));
    this.change();
  }

  fail(problem, retry) {
    this.pending = "";
    this.dispatchEvent(new CustomEvent("problem", { detail: { problem, retry } }));
    this.change();
  }

  change() {
    this.dispatchEvent(new Event("change"));
  }
}

/** The pixels of a file, which must be as the server sees them. */
async function showImage(file, { width, height }) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new server.Problem(`This browser cannot show ${file.name || "the image"}. Use a JPEG, PNG or WebP file.`);
  }
  if (bitmap.width === width && bitmap.height === height) return bitmap;
  throw new server.Problem(
    `This browser shows the image as ${bitmap.width} x ${bitmap.height} pixels and the server as ${width} x ${height}. ` +
      "Save it once more in an image editor.",
  );
}

/** The state that was saved, with masks for this image. */
function restoreState(saved, { width, height }) {
  const read = (runs) => runs && readMask(runs, width, height);
  const objects = saved.objects.map((object) => {
    const prompt = { ...object.prompt, start: read(object.prompt.start) };
    return { ...object, prompt, answered: prompt, mask: read(object.mask), sizes: [] };
  });
  return { objects, selected: saved.selected };
}

function renderSeconds(started) {
  return `${((performance.now() - started) / 1000).toFixed(2)} s`;
}
