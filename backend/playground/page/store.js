// What was done last, kept by the browser so that a reload of the page loses nothing. The image never leaves by this.

import { findVisitor } from "./server.js";
import { isAwaited } from "./state.js";

const DATABASE = "m2n2-playground", STORE = "work", KEY = "last";

/** Keep the image and its objects in place of what was kept before; without an image keep nothing. */
export async function save({ image, state }) {
  const work = image && { visitor: findVisitor(), file: image.file, name: image.name, ...flatten(state) };
  await run("readwrite", (store) => (work ? store.put(work, KEY) : store.delete(KEY)));
}

/** What this tab kept, as {file, objects, selected} with masks as run lengths; null where there is nothing. */
export async function load() {
  const work = await run("readonly", (store) => store.get(KEY));
  if (!work || work.visitor !== findVisitor()) return null;
  return { ...work, file: new File([work.file], work.name, { type: work.file.type }) };
}

function flatten(state) {
  const objects = state.objects.map((object) => ({
    ...object,
    // An answer that is awaited is asked for again by the next click.
    prompt: { ...(isAwaited(object) ? object.answered : object.prompt) },
    answered: null,
    mask: object.mask?.runs ?? null,
    sizes: [],
  }));
  for (const { prompt } of objects) prompt.start = prompt.start?.runs ?? null;
  return { objects, selected: state.selected };
}

/** The result of one request to the store; undefined where this browser keeps nothing, as in private windows. */
async function run(mode, ask) {
  try {
    const database = await finish(openDatabase());
    const result = await finish(ask(database.transaction(STORE, mode).objectStore(STORE)));
    database.close();
    return result;
  } catch {
    return undefined;
  }
}

function openDatabase() {
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return request;
}

function finish(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
