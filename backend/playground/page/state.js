// The objects of one image and how they change. Nothing here draws or asks the server.
//
// Every change gives a new state and leaves the old one as it is, so undoing is going back to an old one. A state is
// {objects, selected}. An object is {id, number, name, color, prompt, answered, mask, sizes, isChosen}:
//   prompt    {marks, box, start}: what is asked. A mark is {points: [[x, y], ...], positive}, a click where it has one
//             point and else a stroke. box is [left, top, right, bottom]. start is the mask that is corrected, or null.
//   answered  the prompt that mask is the answer to; another one than prompt while an answer is awaited
//   sizes     masks that the newest mark may mean, none until they are asked for
//   isChosen  whether mask is one of those sizes: what is asked next starts from it

const COLORS = ["#3b82f6", "#f59e0b", "#10b981", "#ec4899", "#8b5cf6", "#06b6d4", "#ef4444", "#84cc16"];
const NOTHING = Object.freeze({ marks: [], box: null, start: null });
const MOST_STEPS = 200;

/** The state of an image that was just opened: one object that nothing is asked of yet. */
export function beginState() {
  return addObject({ objects: [], selected: null });
}

/** The object that marks go to. */
export function findSelected(state) {
  return state.objects.find((object) => object.id === state.selected);
}

/** Whether anything is asked of an object. */
export function isEmpty(object) {
  return !object.prompt.marks.length && !object.prompt.box;
}

/** Whether the object's mask, if any, is not that of its prompt yet. */
export function isAwaited(object) {
  return object.prompt !== object.answered && !isEmpty(object);
}

/** The objects that have a mask with a pixel. */
export function listFound(state) {
  return state.objects.filter((object) => object.mask && object.mask.area > 0);
}

/** With another object, which is selected. An empty one that is there already is taken. */
export function addObject(state) {
  const empty = state.objects.find(isEmpty);
  if (empty) return { ...state, selected: empty.id };
  const number = 1 + Math.max(0, ...state.objects.map((object) => object.number));
  const object = {
    id: `object-${number}`,
    number,
    name: `Object ${number}`,
    color: COLORS[(number - 1) % COLORS.length],
    prompt: NOTHING,
    answered: NOTHING,
    mask: null,
    sizes: [],
    isChosen: false,
  };
  return { objects: [...state.objects, object], selected: object.id };
}

/** Without an object; the one beside it is selected. */
export function removeObject(state, id) {
  const place = state.objects.findIndex((object) => object.id === id);
  const objects = state.objects.filter((object) => object.id !== id);
  if (!objects.length) return beginState();
  const selected = state.selected === id ? objects[Math.min(place, objects.length - 1)].id : state.selected;
  return { objects, selected };
}

/** With the object of this id changed. */
export function changeObject(state, id, changes) {
  return { ...state, objects: state.objects.map((each) => (each.id === id ? { ...each, ...changes } : each)) };
}

/** With one more mark on the selected object. */
export function addMark(state, mark) {
  const { prompt, start } = beginCorrection(findSelected(state));
  return ask(state, { ...prompt, start, marks: [...prompt.marks, mark] });
}

/** With this box around the selected object, in place of another one. */
export function setBox(state, box) {
  const { prompt, start } = beginCorrection(findSelected(state));
  return ask(state, { ...prompt, start, box });
}

/** With nothing asked of the selected object. */
export function clearObject(state) {
  return changeObject(state, state.selected, { ...forget(NOTHING), answered: NOTHING, mask: null });
}

/** With the next of the sizes as the mask of an object, after the largest the smallest. */
export function takeNextSize(state, id) {
  const { sizes, mask } = state.objects.find((object) => object.id === id);
  const place = sizes.findIndex((size) => size.key === mask.key);
  return changeObject(state, id, { mask: sizes[(place + 1) % sizes.length], isChosen: true });
}

/** A state that is gone back to, with the names that objects have by now: they are no steps. */
export function keepNames(state, { objects }) {
  const names = new Map(objects.map(({ id, name }) => [id, name]));
  return { ...state, objects: state.objects.map((each) => ({ ...each, name: names.get(each.id) ?? each.name })) };
}

function beginCorrection(object) {
  return { prompt: object.prompt, start: object.isChosen ? object.mask : object.prompt.start };
}

function ask(state, prompt) {
  return changeObject(state, state.selected, forget(prompt));
}

function forget(prompt) {
  return { prompt, sizes: [], isChosen: false };
}

/** The states before this one and, once something was undone, after it. */
export class History {
  constructor() {
    this.before = [];
    this.after = [];
  }

  /** A state that is left for a new one. */
  leave(state) {
    this.before.push(state);
    if (this.before.length > MOST_STEPS) this.before.shift();
    this.after = [];
  }

  /** The state before this one, or undefined. */
  undo(state) {
    const found = this.before.pop();
    if (found) this.after.push(state);
    return found;
  }

  /** The state that was undone last, or undefined. */
  redo(state) {
    const found = this.after.pop();
    if (found) this.before.push(state);
    return found;
  }
}
