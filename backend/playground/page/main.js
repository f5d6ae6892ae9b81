// Puts the parts of the page together.

import { download } from "./downloads.js";
import { Gestures } from "./gestures.js";
import { Keys } from "./keys.js";
import { Panel, Tools } from "./panel.js";
import { fetchSample, fetchStatus } from "./server.js";
import { Session } from "./session.js";
import { load, save } from "./store.js";
import { View } from "./view.js";

const ASK_AGAIN_MILLISECONDS = 2000;
const ZOOM_STEP = 1.25;

const session = new Session();
const view = new View(document.getElementById("canvas"), session);
const tools = new Tools();
const file = document.getElementById("file");

const actions = {
  help: () => document.getElementById("help").showModal(),
  zoomIn: () => view.zoom(ZOOM_STEP),
  zoomOut: () => view.zoom(1 / ZOOM_STEP),
  fit: () => view.fit(),
  nextSize: () => session.nextSize(),
  undo: () => session.undo(),
  redo: () => session.redo(),
  clear: () => session.clear(),
  newObject: () => session.newObject(),
  remove: () => session.remove(session.state.selected),
  close: () => session.close(),
  changeSign: () => tools.setSign(!tools.positive),
  hide() {
    view.isHidden = !view.isHidden;
    session.tell(view.isHidden ? "The masks are hidden. H shows them." : "The masks are shown.");
  },
  chooseFile: () => file.click(),
  openSample: (name) => attempt(async () => open(await fetchSample(name))),
  download: (kind) => attempt(() => download(kind, session, (context) => view.drawOverlay(context))),
};

const panel = new Panel(session, view, tools, actions);
new Gestures(session, view, tools);
new Keys(session, view, tools, actions);

session.addEventListener("image", () => {
  tools.choose("point");
  view.cross = view.draft = null;
  view.fit();
  if (session.image) view.canvas.focus({ preventScroll: true });
  else void save(session);
});
let saving = 0;
session.addEventListener("change", () => {
  clearTimeout(saving);
  if (session.image) saving = setTimeout(() => save(session), 200);
});
view.findCovered = () => {
  const stage = view.canvas.getBoundingClientRect(), bar = document.getElementById("tools").getBoundingClientRect();
  return bar.height && bar.top < stage.bottom && bar.bottom <= stage.bottom ? stage.bottom - bar.top : 0;
};
view.onPaint = () => panel.showZoom();

file.addEventListener("change", () => {
  if (file.files.length) open(file.files[0]);
  // The same file may be chosen once more.
  file.value = "";
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) open(event.clipboardData.files[0]);
});
acceptDrops(document.getElementById("drop-here"));
void watchServer();
void restore();

function open(image) {
  void session.open(image);
}

/** Do what may fail for reasons that the visitor should know. */
async function attempt(action) {
  try {
    await action();
  } catch (problem) {
    session.fail(problem, () => attempt(action));
  }
}

/** Files may be dropped anywhere on the page. sign: says so while one is held over it. */
function acceptDrops(sign) {
  let depth = 0;
  const show = (change) => {
    depth = Math.max(depth + change, 0);
    sign.hidden = depth === 0;
  };
  document.addEventListener("dragenter", () => show(1));
  document.addEventListener("dragleave", () => show(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    show(-depth);
    if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  });
}

/** Show what the server is and has, again and again until it is ready. */
async function watchServer() {
  try {
    const { state, reason, preset, backbone, device } = await fetchStatus();
    if (state === "ready") {
      panel.showEngine("ready", ["Preset", preset, "·", backbone, "on", device].filter(Boolean).join(" "));
      return;
    }
    panel.showEngine(state, state === "failed" ? `No model: ${reason}` : "Loading the model…");
  } catch (problem) {
    panel.showEngine("failed", problem.message);
  }
  setTimeout(watchServer, ASK_AGAIN_MILLISECONDS);
}

/** Go on with what was done before a reload. */
async function restore() {
  const saved = await load();
  if (saved && !session.image) await session.open(saved.file, saved);
}
