// The files that a visitor can take home. Each is made from {image, state} and named after the image.

import { countColumns, fillMask } from "./masks.js";
import { findPolygons } from "./outlines.js";
import { encodeGrey } from "./png.js";
import { findSelected, listFound } from "./state.js";

const TOLERANCE_PIXELS = 1;

/** Kind -> [ending of the file's name, what makes its content]. */
const FILES = {
  mask: ["mask.png", makeMask],
  labels: ["labels.png", makeLabels],
  coco: ["coco.json", makeCoco],
  polygons: ["polygons.json", makePolygons],
  overlay: ["overlay.png", makeOverlay],
};

/** Make a file and hand it to the browser. drawOverlay: paints the image and its masks on a context of its size. */
export async function download(kind, work, drawOverlay) {
  const [ending, make] = FILES[kind];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await make(work, drawOverlay));
  link.download = `${work.image.name.replace(/\.[^.]*$/, "") || "image"}_${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** The selected object is 255, the rest 0. */
function makeMask({ image, state }) {
  const values = new Uint8Array(image.width * image.height);
  const { mask } = findSelected(state);
  if (mask) fillMask(mask, values, 255);
  return encodeGrey(values, image.width, image.height);
}

/** The first object is 1, the second 2, and so on; where two overlap, the later one. */
function makeLabels({ image, state }) {
  const values = new Uint8Array(image.width * image.height);
  listFound(state).forEach(({ mask }, place) => fillMask(mask, values, place + 1));
  return encodeGrey(values, image.width, image.height);
}

function makeCoco({ image, state }) {
  const found = listFound(state);
  const names = [...new Set(found.map(({ name }) => name))];
  return makeJson({
    info: { description: "Made with the M2N2 playground" },
    images: [{ id: 1, file_name: image.name, width: image.width, height: image.height }],
    categories: names.map((name, place) => ({ id: place + 1, name })),
    annotations: found.map(({ name, mask }, place) => ({
      id: place + 1,
      image_id: 1,
      category_id: names.indexOf(name) + 1,
      bbox: [mask.box.left, mask.box.top, mask.box.right - mask.box.left, mask.box.bottom - mask.box.top],
      area: mask.area,
      iscrowd: 0,
      segmentation: { size: [image.height, image.width], counts: countColumns(mask) },
    })),
  });
}

function makePolygons({ image, state }) {
  return makeJson({
    image: { file_name: image.name, width: image.width, height: image.height },
    objects: listFound(state).map(({ name, mask }) => ({ name, polygons: findPolygons(mask, TOLERANCE_PIXELS) })),
  });
}

async function makeOverlay({ image }, drawOverlay) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  drawOverlay(canvas.getContext("2d"));
  return canvas.convertToBlob({ type: "image/png" });
}

function makeJson(content) {
  return new Blob([JSON.stringify(content)], { type: "application/json" });
}
