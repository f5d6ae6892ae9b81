// What the page's modules make of masks: JSON of masks on stdin, JSON of results on stdout. Argument: their folder.
import { text } from "node:stream/consumers";

const folder = process.argv[2];
const { countColumns, readMask } = await import(`${folder}/masks.js`);
const { findPolygons, traceRings } = await import(`${folder}/outlines.js`);
const asked = JSON.parse(await text(process.stdin));
const results = asked.map(({ runs, width, height }) => {
  const mask = readMask(runs, width, height);
  return { area: mask.area, box: mask.box, counts: countColumns(mask), rings: traceRings(mask), polygons: findPolygons(mask, 0) };
});
process.stdout.write(JSON.stringify(results));
